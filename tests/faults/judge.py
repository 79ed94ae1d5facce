"""The judge: what the lines of a log must be like, given what its writers owe. It uses no code of the product."""

import contextlib
import gzip
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson
import zstandard

_IDENTITY = re.compile(rb'"who":"([^"]*)","n":(\d+)[,}]')
_BEGINNING = b'{"event_type"'
_FEW = 3  # violations of one kind that are told in full


class Debtor(Protocol):
    """A writer, as the judge sees it."""

    name: str
    killed: bool
    status: int | None

    @property
    def threads(self) -> int: ...
    @property
    def owed(self) -> list[int]: ...
    def accounts(self) -> Mapping[str, Mapping[str, Any]] | None: ...


class Line(NamedTuple):
    """One line of a log: where it is and what it says; `event` is None where it does not parse."""

    file: str
    number: int
    size_bytes: int
    event: dict[str, Any] | None
    start: bytes


def log_files(log: Path) -> list[Path]:
    """Return a log's files, the oldest first: what is numbered, then the live one."""
    numbered = re.compile(re.escape(log.name) + r"\.(\d+)(?:\.(?:gz|zst))?")
    found: list[tuple[int, Path]] = []
    for path in log.parent.iterdir() if log.parent.is_dir() else ():
        if path == log:
            found.append((0, path))
        elif match := numbered.fullmatch(path.name):
            found.append((int(match[1]), path))
    return [path for _, path in sorted(found, key=lambda item: -item[0])]


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a file, compressed or not. A line without newline at the end does not parse."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    elif path.suffix == ".zst":
        content = zstandard.ZstdDecompressor().stream_reader(content).read()
    for number, line in enumerate(content.splitlines(keepends=True) if b"\r" not in content else _split(content)):
        event = None
        with contextlib.suppress(orjson.JSONDecodeError):
            event = orjson.loads(line) if line.endswith(b"\n") else None
        yield Line(path.name, number, len(line), event if isinstance(event, dict) else None, line[:2000])


def _split(content: bytes) -> list[bytes]:
    return re.findall(rb"[^\n]*\n|[^\n]+$", content)


def caught(violations: Sequence[str], letters: str) -> bool:
    """Return whether the judge found a violation of one of these kinds."""
    return any(violation[0] in letters for violation in violations)


def parsed(lines: Iterable[Line], bad_lines: int, killed: Iterable[Debtor] = ()) -> list[str]:
    """Find the lines that are none, besides one of each thread of the killed writers."""
    excused = {f"{dead.name}.{thread}": n for dead in killed if dead.killed for thread, n in enumerate(dead.owed)}
    bad = [line for line in lines if line.event is None and line.start != b"\n"]
    unexplained = [line for line in bad if not _is_half_of_one(line, excused)]
    if len(unexplained) == bad_lines:
        return []
    told = [f"{line.file}:{line.number} ({line.size_bytes} bytes) {line.start[:300]!r}" for line in unexplained[:_FEW]]
    return [f"P {len(unexplained)} bad lines instead of {bad_lines}: " + "; ".join(told)]


def _is_half_of_one(line: Line, excused: dict[str, int]) -> bool:
    """Return whether a line begins with what a killed thread was writing, and take that from the excused."""
    half = line.start.split(_BEGINNING)[1] if line.start.startswith(_BEGINNING) else line.start
    match = _IDENTITY.search(half)
    if match is None and excused:  # cut off before its name, or a name that somebody else's line brought
        excused.popitem()
        return True
    return match is not None and excused.pop(match[1].decode(), None) == int(match[2])


def delivered(lines: Iterable[Line], writers: Sequence[Debtor], owed_from: Mapping[str, Sequence[int]]) -> list[str]:
    """Find what is owed and not there, there twice, or there without having been logged."""
    found: list[str] = []
    there: dict[str, set[int]] = defaultdict(set)
    identities: set[tuple[Any, Any]] = set()
    twice = 0
    for line in lines:
        if line.event is None or "who" not in line.event:
            continue
        identity, who, n = (line.event["writer"], line.event["seq"]), line.event["who"], line.event["n"]
        if identity in identities or n in there[who]:
            twice += 1
            if twice <= _FEW:
                found.append(f"D {who} n={n} {identity} once more in {line.file}:{line.number}")
        identities.add(identity)
        there[who].add(n)
    if twice > _FEW:
        found.append(f"D {twice} duplicates in all")
    for writer in writers:
        first = owed_from.get(writer.name, [0] * len(writer.owed))
        for thread, owed in enumerate(writer.owed):
            who = f"{writer.name}.{thread}"
            numbers = there.pop(who, set())
            missing = sorted(set(range(first[thread], owed)) - numbers)
            if missing:
                found.append(f"O {who} lost {len(missing)} of {owed}: {missing[:10]} ... {missing[-1]}")
            if invented := sorted(n for n in numbers if n > owed):
                found.append(f"D {who} never logged {invented[:10]}")
    return found + [f"D nobody is {who}" for who in there]


def ordered(lines: Iterable[Line], writers: Sequence[Debtor]) -> list[str]:
    """Find records that come behind later ones of their thread, or of their writer where it has one thread."""
    found: list[str] = []
    last: dict[str, int] = {}
    single = {f"{writer.name}.0" for writer in writers if writer.threads == 1}
    for line in lines:
        if line.event is None or "who" not in line.event:
            continue
        ranks = {line.event["who"]: line.event["n"]}
        if line.event["who"] in single:
            ranks[line.event["writer"]] = line.event["seq"]
        for name, rank in ranks.items():
            if rank < last.get(name, -1):
                found.append(f"S {name}: {rank} behind {last[name]} in {line.file}:{line.number}")
            last[name] = rank
    return found[:_FEW]


def accounted(writer: Debtor, lossless: bool) -> list[str]:
    """Find accounts of a writer that ended by itself which do not add up."""
    if writer.killed or writer.status:
        return []
    accounts = writer.accounts()
    if accounts is None:
        return [f"C {writer.name} left no stats()"]
    found: list[str] = []
    for name, account in accounts.items():
        accepted, dropped = account["accepted"], sum(account["dropped"].values())
        if accepted != account["delivered"] + dropped + account["pending"]:
            found.append(f"C {writer.name} {name}: {account} does not add up")
        if accepted < sum(writer.owed) or (lossless and account["delivered"] != accepted):
            found.append(f"C {writer.name} {name}: {account} for {sum(writer.owed)} records")
    return found
