"""Fault case 16: what the host program does to us: it closes our descriptors, stops reading its stderr, keeps files
beside ours, drops loggers unclosed, gives up its privileges, and has sinks whose errors are odd.

None of it costs an event without a word, none of it makes the host wait, and nothing of the host's is touched.
"""

import errno
import gc
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import structllm
from structllm import FileSink, _background, _delivery, _diagnostics, assemble
from structllm._background import BackgroundDelivery
from structllm._fanout import Route
from structllm._system import Status, System
from structllm._types import Record
from structllm.errors import SinkError, SinkRejected, SinkUnavailable
from structllm.sinks import rotation
from structllm.sinks.lines import LineSink
from structllm.sinks.live import LiveFile
from structllm.sinks.rotation import LogFiles
from tests.faults.cases import fixtures, program
from tests.faults.child import SETTINGS
from tests.faults.harness import TIMEOUT_S, Duty, Harness, Writer, until
from tests.faults.judge import log_files, read_lines
from tests.standing_in import stand_in

HANG_S = 1.0
"""How long a mutant that hangs is watched, after it has got to where it hangs."""

HOSTS_OWN = b"the host's own data" * 100
AFTER = 20


def one(logger: structllm.ChatCompletionLogger, who: str, size: int = 1) -> None:
    """Log one event."""
    logger.log_decision_outcome("d", "fault", who=who, pad="x" * size)


def said(log: Path) -> list[str]:
    """Return who is in the log, in order; every line must parse."""
    lines = [line for file in log_files(log) for line in read_lines(file)]
    assert [] == [line.start for line in lines if line.event is None]
    return [line.event["who"] for line in lines if line.event is not None]


def account_of(logger: structllm.ChatCompletionLogger, sink: str = "FileSink") -> tuple[Any, ...]:
    """Return accepted, delivered, dropped and pending of a sink."""
    account = logger.stats()["sinks"][sink]
    return tuple(account[name] for name in ("accepted", "delivered", "dropped", "pending"))


# --- programs --------------------------------------------------------------------------------------------------------


def answer(job: Mapping[str, Any], **told: Any) -> None:
    """Leave what the test asks."""
    Path(job["directory"], f"{job['name']}.answer.json").write_text(json.dumps(told))


def become_a_daemon(job: Mapping[str, Any], duty: Duty) -> None:
    """Log, close every descriptor as daemons do, open files of the host's, and log on."""
    if job["extra"].get("mutant") == "never_verified":
        stand_in(LiveFile, _is_ours=lambda self: self.fd >= 0)
    max_bytes = job["extra"]["max_bytes"]
    sink = FileSink(job["log"], max_bytes=max_bytes, backup_count=100)
    logger = structllm.create_llm_logger(settings=SETTINGS, sinks=[sink])
    duty[Duty.READY] = 1
    one(logger, "before", size=400)
    os.closerange(3, 256)
    hosts: list[tuple[str, int]] = []
    for number in range(job["extra"]["hosts"]):
        path = os.path.join(job["directory"], f"host{number}.db")
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.write(fd, HOSTS_OWN)
        os.lseek(fd, 0, os.SEEK_SET)
        hosts.append((path, fd))
    for number in range(AFTER):
        one(logger, f"after {number}", size=400)
    stats = logger.stats()
    logger.close()
    closed: list[str] = []
    for path, fd in hosts:
        try:
            os.fstat(fd)
        except OSError:
            closed.append(path)
    answer(job, stats=stats, closed=closed)


def complain(job: Mapping[str, Any], duty: Duty) -> None:
    """Have something to say on stderr, a pipe that is full and that nobody reads."""
    if job["extra"].get("mutant") == "never_asks":
        stand_in(_diagnostics, _takes_text=lambda stream: True)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"h" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    os.dup2(writer, 2)
    logger = structllm.create_llm_logger(settings=SETTINGS, sinks=[Odd(lambda: SinkRejected("odd"), 1)])
    duty[Duty.READY] = duty[Duty.REACHED] = 1
    one(logger, "host")
    one(logger, "host")
    answer(job, account=account_of(logger, "Odd"))
    os.close(reader)
    os._exit(0)


# --- parts -----------------------------------------------------------------------------------------------------------


class Odd:
    """A sink that raises something odd at its first writes."""

    def __init__(self, make: Callable[[], BaseException], times: int) -> None:
        self._make = make
        self._times = times
        self.got = 0

    def write(self, batch: Sequence[Record], /) -> None:
        """Raise, or count."""
        if self._times:
            self._times -= 1
            raise self._make()
        self.got += len(batch)

    def flush(self, timeout_s: float, /) -> bool:
        """Nothing to do."""
        return True

    def close(self) -> None:
        """Nothing to do."""


class Hanging:
    """A sink that hangs until it is let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.has_come = threading.Event()

    def write(self, batch: Sequence[Record], /) -> None:
        """Hang."""
        self.has_come.set()
        assert self.go_on.wait(TIMEOUT_S)

    def flush(self, timeout_s: float, /) -> bool:
        """Nothing to do."""
        return True

    def close(self) -> None:
        """Nothing to do."""


class _TakenRaises(Exception):
    @property
    def taken(self) -> int:
        raise ValueError


class _Nameless(type):
    @property
    def __name__(cls) -> str:
        raise RuntimeError


class _NamelessError(Exception, metaclass=_Nameless):
    pass


class _ReasonRaises(SinkRejected):
    @property
    def reason(self) -> str:
        raise RuntimeError

    @reason.setter
    def reason(self, value: str) -> None:
        """Forget it."""


def _with(name: str, value: object) -> SinkRejected:
    error = SinkRejected("odd")
    setattr(error, name, value)
    return error


ODD: Mapping[str, Callable[[], BaseException]] = {
    "taken raises": _TakenRaises,
    "taken is text": lambda: _with("taken", "1"),
    "taken is negative": lambda: _with("taken", -3),
    "taken is too much": lambda: _with("taken", 99),
    "reason is a list": lambda: _with("reason", ["odd"]),
    "reason is a number": lambda: _with("reason", 7),
    "reason raises": lambda: _ReasonRaises("odd"),
    "reason is none": lambda: SinkUnavailable(None),  # type: ignore[arg-type]  # which is odd
    "class has no name": _NamelessError,
    "stop iteration": StopIteration,
}
NOT_THE_HOSTS: Mapping[str, Callable[[], BaseException]] = {
    **ODD,
    "system exit": lambda: SystemExit(3),
    "generator exit": GeneratorExit,
}
"""In the thread of the delivery nobody asked for an exit."""

CASES = [("direct", name) for name in ODD] + [("background", name) for name in NOT_THE_HOSTS]


def odd_outcome(
    monkeypatch: pytest.MonkeyPatch, mode: str, make: Callable[[], BaseException], flush_s: float = TIMEOUT_S
) -> list[object]:
    """Log through a sink that raises, and beside it through one that works; return what is wrong."""
    odd, fine = Odd(make, 1), Odd(Exception, 0)
    real = assemble._route

    def route(item: Any, taken: set[str]) -> Route:
        if item is odd and mode == "background":
            return Route("Odd", BackgroundDelivery(item, uniform=lambda least, most: least))
        return real(item, taken)

    monkeypatch.setattr(assemble, "_route", route)
    logger = structllm.create_llm_logger(settings=SETTINGS, sinks=[odd, fine])
    wrong: list[object] = []
    for number in range(4):
        try:
            one(logger, f"host {number}")
        except BaseException as error:
            wrong.append(f"raised {type(error).__mro__}")
        logger.flush(flush_s)
    accepted, delivered, dropped, pending = account_of(logger, "Odd")
    try:
        balance = accepted == delivered + sum(dropped.values()) + pending
        told_in_json = json.loads(json.dumps(dropped)) == dropped
    except TypeError:
        balance = told_in_json = False
    # Of the first one the sink says, or cannot say, that it has taken it; then all come, and what tells of a gap.
    if not (balance and told_in_json and odd.got >= 3 and accepted >= 4 and pending == 0):
        wrong.append((accepted, delivered, dropped, pending, odd.got))
    if fine.got < 4:
        wrong.append(f"the other sink got {fine.got}")
    return wrong


class Clocked(System):
    """Has a clock that is moved by hand, and may say that the log's path is not to be looked at."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.monotonic = lambda: self.now_s
        self.forbidden = False

    def status_at(self, path: str) -> Status:
        """Return the status, where that is allowed."""
        self._ask(path)
        return super().status_at(path)

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """Open the file, where that is allowed."""
        self._ask(path)
        return super().open(path, flags, mode)

    def names_in(self, directory: str) -> list[str]:
        """Return the names, where that is allowed."""
        self._ask(directory)
        return super().names_in(directory)

    def _ask(self, path: str) -> None:
        if self.forbidden:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def open_in(directory: Path) -> set[int]:
    """Return the descriptors of this process that are of files in a directory."""
    found: set[int] = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one of the listing
            continue
        if target.startswith(f"{directory}/"):
            found.add(int(name))
    return found


def dropped_loggers(directory: Path) -> set[int]:
    """Log with loggers that nobody closes; return the descriptors that they leave open."""
    for _ in range(5):
        logger = structllm.create_llm_logger(settings=SETTINGS, sinks=[FileSink(directory / "x.log")])
        one(logger, "host")
        assert open_in(directory) != set()
        del logger
    gc.collect()
    return open_in(directory)


def callers_that_waited(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Have eight threads log to a full queue whose sink hangs; return the names of those that waited for room."""
    sink = Hanging()
    waited: set[str] = set()

    def wait(condition: threading.Condition, seconds: float) -> None:
        waited.add(threading.current_thread().name)
        condition.wait(seconds)

    delivery = BackgroundDelivery(sink, on_full="block", block_timeout_s=0.05, queue_max_items=4, wait=wait)
    monkeypatch.setattr(assemble, "_route", lambda item, taken: Route("Hanging", delivery))
    logger = structllm.create_llm_logger(settings=SETTINGS, sinks=[sink])
    for _ in range(4):
        one(logger, "host")
    assert sink.has_come.wait(TIMEOUT_S)
    waited.clear()
    threads = [threading.Thread(target=one, args=(logger, "host"), name=f"caller {n}") for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    sink.go_on.set()
    logger.close()
    return {name for name in waited if name.startswith("caller")}


# --- the tests -------------------------------------------------------------------------------------------------------


brood, harness = fixtures(__name__)


def told(harness: Harness, writer: Writer) -> Any:
    """Wait for a program, which must not hang, and return what it left."""
    assert 0 == writer.wait()
    return json.loads((harness.log.parents[1] / f"{writer.name}.answer.json").read_text())


def after_closing(harness: Harness, hosts: int, max_bytes: int, **extra: object) -> list[object]:
    """Have the host close all descriptors; return what is wrong with the log and the host's files."""
    program_told = told(harness, harness.start(program(become_a_daemon, hosts=hosts, max_bytes=max_bytes, **extra)))
    wrong: list[object] = []
    if said(harness.log) != ["before", *(f"after {number}" for number in range(AFTER))]:
        wrong.append(said(harness.log))
    if program_told["closed"]:
        wrong.append(program_told["closed"])
    account = program_told["stats"]["sinks"]["FileSink"]
    if (account["accepted"], account["delivered"]) != (1 + AFTER, 1 + AFTER):
        wrong.append(account)
    if account["health"]["degraded"] is not None:
        wrong.append(account["health"])
    touched = [path for path in harness.log.parents[1].glob("host*.db") if path.read_bytes() != HOSTS_OWN]
    lines = sum(path.read_bytes().count(b"\n") for path in touched)
    if len(touched) > 1 or lines > 1:
        wrong.append(f"{lines} lines in {len(touched)} files of the host")
    return wrong


class TestClosedDescriptors:
    @pytest.mark.parametrize("max_bytes", [1_000_000, 1100, 2048])
    @pytest.mark.parametrize("hosts", [0, 4])
    def test_logs_on(self, harness: Harness, hosts: int, max_bytes: int) -> None:
        """Every event is in the log, at most one line gets into a file that the host opened under our number, and
        closing closes nothing of the host's."""
        assert [] == after_closing(harness, hosts, max_bytes)

    @pytest.mark.parametrize("hosts", [0, 4])
    def test_catches_a_descriptor_taken_for_ours(self, harness: Harness, hosts: int) -> None:
        """The test fails where a number is believed to be our file for ever."""
        assert [] != after_closing(harness, hosts, 1_000_000, mutant="never_verified")


class TestFullStderr:
    def test_notice(self, harness: Harness) -> None:
        """What we have to say is left out where stderr takes nothing; nobody waits, and stats() still says it."""
        answer = told(harness, harness.start(program(complain)))
        accepted, delivered, dropped, pending = answer["account"]
        assert ({"odd": 1}, 0, accepted - 1) == (dropped, pending, delivered)

    def test_catches_a_notice_that_waits(self, harness: Harness) -> None:
        """The test fails where stderr is written to without asking."""
        writer = harness.start(program(complain, mutant="never_asks"))
        until(lambda: writer.duty[Duty.REACHED], "it is about to complain")
        with pytest.raises(AssertionError, match="has not ended"):
            writer.wait(HANG_S)


class TestBlockTimeout:
    def test_is_waited_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of many threads that find the queue full, and the sink hanging, one waits for room; the sum is one
        timeout."""
        assert 1 == len(callers_that_waited(monkeypatch))

    def test_catches_waits_one_after_the_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test fails where nobody remembers that one has waited in vain."""
        forgetful = property(lambda self: -1, lambda self, value: None)
        monkeypatch.setattr(BackgroundDelivery, "_waited_in_vain_at", forgetful, raising=False)
        assert 8 == len(callers_that_waited(monkeypatch))


class TestOddErrors:
    @pytest.mark.parametrize(("mode", "name"), CASES)
    def test_delivery_goes_on(self, monkeypatch: pytest.MonkeyPatch, mode: str, name: str) -> None:
        """Whatever a sink raises: later records get to it, the account adds up, other sinks get all, no host hears."""
        assert [] == odd_outcome(monkeypatch, mode, NOT_THE_HOSTS[name])

    @pytest.mark.parametrize("mode", ["direct", "background"])
    def test_catches_a_trusted_reason(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        """The test fails where the error's own reason is believed."""

        def trusting(error: BaseException) -> str:
            return error.reason if isinstance(error, SinkError) else "sink_bug"

        monkeypatch.setattr(threading, "excepthook", lambda args: None)
        monkeypatch.setattr(_delivery, "drop_reason", trusting)
        monkeypatch.setattr(_background, "drop_reason", trusting)
        assert [] != odd_outcome(monkeypatch, mode, ODD["reason is a list"], flush_s=HANG_S / 5)

    def test_catches_a_trusted_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test fails where the error's own count is believed."""
        monkeypatch.setattr(threading, "excepthook", lambda args: None)
        monkeypatch.setattr(_background, "taken_of", lambda error, offered: getattr(error, "taken", 0))
        assert [] != odd_outcome(monkeypatch, "background", ODD["taken raises"], flush_s=HANG_S / 5)


FOREIGN = ("x.log.31337", "x.log.2024", "x.log.1001", "x.log.20241123.gz", "x.log.07")


def foreign_left(directory: Path) -> tuple[set[str], int]:
    """Rotate often beside files of others; return those that are gone or changed, and how many rotations there were."""
    for name in FOREIGN:
        (directory / name).write_text(name)
        os.utime(directory / name, (0, 0))  # old enough to be deleted, if it were ours
    system = Clocked()
    sink = FileSink(directory / "x.log", max_bytes=1024, backup_count=2, max_age_s=5.0, system=system)
    write_some(sink, system)
    left = {name for name in FOREIGN if (directory / name).is_file() and (directory / name).read_text() == name}
    rotations = sink.health()["rotations"]
    sink.close()
    return set(FOREIGN) - left, rotations


def write_some(sink: FileSink, system: Clocked) -> None:
    """Write as many lines as fill ten files, a minute after each other."""
    for number in range(20):
        system.now_s += 60.0
        sink.write([Record("fault", 20, json.dumps({"who": number, "pad": "x" * 500}).encode() + b"\n", {})])


class TestForeignNames:
    def test_numbers_of_others(self, tmp_path: Path) -> None:
        """A date or a process number behind the log's name is no number of a rotation: such files are left alone."""
        gone, rotations = foreign_left(tmp_path)
        assert set() == gone
        assert rotations >= 8

    def test_catches_any_number(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test fails where every number is taken for ours."""
        real = LogFiles.__init__

        def taking_any(self: LogFiles, system: System, path: str) -> None:
            real(self, system, path)
            self._rotated = rotation.re.compile(rotation.re.escape(self._name) + r"\.(\d+)(\.gz|\.zst)?")

        monkeypatch.setattr(LogFiles, "__init__", taking_any)
        assert set() != foreign_left(tmp_path)[0]

    def test_directory(self, tmp_path: Path) -> None:
        """A directory under a number of ours is left where it is, with what is in it, and every line is written."""
        assert ([], list(range(20))) == beside_a_directory(tmp_path)

    def test_catches_a_directory_taken_for_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test fails where nobody asks what has the number."""
        monkeypatch.setattr(rotation, "S_ISREG", lambda mode: True)
        assert ["x.log.7"] == beside_a_directory(tmp_path)[0]


def beside_a_directory(directory: Path) -> tuple[list[str], list[int]]:
    """Log beside a directory `x.log.7`; return it if it is gone, and the lines."""
    (directory / "x.log.7").mkdir()
    (directory / "x.log.7" / "kept").write_text("kept")
    system = Clocked()
    sink = FileSink(directory / "x.log", max_bytes=1024, backup_count=30, system=system)
    write_some(sink, system)
    sink.close()
    kept = (directory / "x.log.7" / "kept").is_file()
    files = [file for file in log_files(directory / "x.log") if file.is_file()]
    lines = [line.event and line.event["who"] for file in files for line in read_lines(file)]
    return [] if kept else ["x.log.7"], lines


class TestDroppedLogger:
    def test_leaves_no_descriptor(self, tmp_path: Path) -> None:
        """A logger that is dropped without `close` closes its files, for nobody collects a descriptor."""
        assert set() == dropped_loggers(tmp_path)

    def test_catches_a_leak(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test fails where a dropped sink leaves its files open."""
        monkeypatch.delattr(LineSink, "__del__")
        leaked = dropped_loggers(tmp_path)
        for fd in leaked:
            os.close(fd)
        assert 10 == len(leaked)


def without_privilege(directory: Path, deleted: bool = False) -> tuple[structllm.ChatCompletionLogger, Path]:
    """Log, take the right away to look at the log's directory (or the log itself as well), and log on."""
    system = Clocked()
    log = directory / "x.log"
    logger = structllm.create_llm_logger(settings=SETTINGS, sinks=[FileSink(log, system=system)])
    one(logger, "before")
    if deleted:
        log.unlink()
    system.forbidden = True
    for number in range(AFTER):
        system.now_s += 0.1  # so that each one looks
        one(logger, f"after {number}")
    return logger, log


class TestLostPrivilege:
    def test_goes_on_with_the_open_file(self, tmp_path: Path) -> None:
        """A process that may not look at the log's path any more goes on writing to the file that it has open."""
        logger, log = without_privilege(tmp_path)
        assert (1 + AFTER, 1 + AFTER, {}, 0) == account_of(logger)
        logger.close()
        assert ["before", *(f"after {number}" for number in range(AFTER))] == said(log)

    def test_says_what_it_cannot_write(self, tmp_path: Path) -> None:
        """Where that file has no name any more, what comes is dropped, and counted."""
        logger, _ = without_privilege(tmp_path, deleted=True)
        assert (1 + AFTER, 1, {"no_permission": AFTER}, 0) == account_of(logger)
        logger.close()

    def test_catches_a_look_that_must_succeed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test fails where a record is dropped because the path may not be looked at."""
        monkeypatch.setattr(LiveFile, "_named", lambda self: self._files.id_at(self._files.live))
        logger, _ = without_privilege(tmp_path)
        assert (1 + AFTER, 1 + AFTER, {}, 0) != account_of(logger)
        logger.close()
