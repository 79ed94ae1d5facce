"""The judge of the soak: takes files into account as they come, and remembers little of them."""

import contextlib
import json
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.faults.harness import Writer
from tests.faults.judge import read_lines


class Seen:
    """The numbers of one thread that were found: all below `mark`, and some beyond it."""

    def __init__(self) -> None:
        self.mark = 0
        self._beyond: set[int] = set()

    def add(self, n: int) -> bool:
        """Add a number; return whether it is a new one."""
        if n < self.mark or n in self._beyond:
            return False
        self._beyond.add(n)
        while self.mark in self._beyond:
            self._beyond.discard(self.mark)
            self.mark += 1
        return True


class Ledger:
    """What was found in the log so far, file by file."""

    def __init__(self) -> None:
        self.events = 0
        self.bad: list[str] = []
        self.violations: list[str] = []
        self._seen: defaultdict[str, Seen] = defaultdict(Seen)
        self._removed: set[tuple[str, int]] = set()

    def read(self, path: Path, *, removed: bool = False) -> None:
        """Take a file into account; one that was removed excuses what is in it."""
        last: dict[str, int] = {}
        for line in read_lines(path):
            if line.event is None:
                if line.start != b"\n" and not removed:
                    self.bad.append(f"{path.name}:{line.number} {line.start[:200]!r}")
                continue
            if "who" not in line.event:
                continue
            who, n = line.event["who"], line.event["n"]
            if removed:
                if self._seen[who].add(n):
                    self._removed.add((who, n))
                continue
            self.events += 1
            if n < last.get(who, -1):
                self.violations.append(f"S {who}: {n} behind {last[who]} in {path.name}:{line.number}")
            last[who] = n
            if not self._seen[who].add(n) and (who, n) not in self._removed:
                self.violations.append(f"D {who} n={n} once more in {path.name}:{line.number}")
            self._removed.discard((who, n))

    def missing(self, writer: Writer) -> Iterator[str]:
        """Yield what a writer owes and was not found."""
        for number, owed in enumerate(writer.owed):
            who = f"{writer.name}.{number}"
            if self._seen[who].mark < owed:
                yield f"O {who} lost {self._seen[who].mark} or a later one of {owed}"


class Samples:
    """What the writers say of themselves, twice a second."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.violations: list[str] = []
        self.last: dict[str, dict[str, Any]] = {}
        self._sizes: defaultdict[str, list[tuple[float, int, int]]] = defaultdict(list)

    def receive(self) -> None:
        """Take what has come."""
        with contextlib.suppress(BlockingIOError):
            while True:
                sample = json.loads(self._socket.recv(1 << 20))
                name = sample["name"]
                self.last[name] = sample
                self._sizes[name].append((time.monotonic(), sample["rss_bytes"], sample["files"]))
                for sink, account in sample["sinks"].items():
                    if account["accepted"] != sum(account["dropped"].values()) + sum(
                        account[part] for part in ("delivered", "pending")
                    ):
                        self.violations.append(f"C {name} {sink}: {account}")

    def counted(self, name: str) -> int:
        """Return the sum over all writers of one count of the file sink."""
        return sum(sample["sinks"]["Witness"]["health"][name] for sample in self.last.values())

    def growth(self, name: str) -> tuple[float, float]:
        """Return by how many bytes, and how many open files, a writer grew over the last two thirds."""
        sizes = self._sizes[name]
        late = [size for size in sizes if size[0] >= sizes[0][0] + (sizes[-1][0] - sizes[0][0]) / 3] if sizes else []
        times = [size[0] for size in late]
        return growth(times, [size[1] for size in late]), growth(times, [size[2] for size in late])


def growth(times: Sequence[float], sizes: Sequence[float]) -> float:
    """Return the slope of the straight line through the sizes (least squares), times the time."""
    if len(times) < 3:
        return 0.0
    mean_time, mean_size = sum(times) / len(times), sum(sizes) / len(sizes)
    spread = sum((time - mean_time) ** 2 for time in times)
    rise = sum((time - mean_time) * (size - mean_size) for time, size in zip(times, sizes, strict=True))
    return rise / spread * (times[-1] - times[0])
