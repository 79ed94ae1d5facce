"""Real processes that log through faults, the obligations that they take on, and the judge of what is left on disk.

A test makes a `Harness` (the fixture `harness`), starts writers, hurts them, stops them, and asks `judge()`::

    def test_x(harness):
        writers = [harness.start(Job(threads=4, sizes=(200, 4096))) for _ in range(3)]
        writers[0].kill()                       # SIGKILL
        harness.prove_alive()                   # L: who lives goes on, and a newcomer can log
        harness.finish()                        # the living end by themselves and leave their stats()
        assert [] == harness.judge()

**Processes.** `start(job)` asks the nursery to fork a writer: a subprocess that has imported structllm and has neither
logger nor thread. That takes 30 ms instead of a second, so a storm can afford a hundred. Such a writer leaves by
`os._exit`; `start(job, alone=True)` runs `sys.executable -m tests.faults.child` for this writer alone instead. Programs
of your own: `start(job, module="tests.faults.x")` runs `python -m tests.faults.x JOB.json`; it reads
`job, duty = begin()` from `tests.faults.child`, and ends with `leave_stats(duty, job, logger)`.

**Obligations.** Every writer has a `Duty`, an mmap'ed file of counters. A thread bumps its counter after `log()`
returned, so what the counter says is owed, also by a writer that was killed. Event `n` of thread `t` of writer `w`
carries `who="w.t"` and `n` (0, 1, 2 ...). A record that was in the making when the writer died may be there or not.

**The judge** (`judge.py`) parses the files itself. It returns violations, each beginning with its letter:

- `O` obligations: every record that is owed is in the log (or was logged before `owed_from`).
- `D` no (writer, seq) and no (who, n) twice; nothing that nobody logged.
- `P` every line is whole and parses, but for exactly `bad_lines`. An empty line is none: readers pass over it.
- `S` in file order the numbers of each thread rise, and so do those of a writer with one thread.
- `C` a writer that ended by itself accounts for every record: accepted = delivered + dropped + pending, and with
  `lossless` all of them are delivered.
- `L` liveness; found by `prove_alive()`, told by `judge()`.
- `X` a writer died of anything but our kill, or saw an exception.

Hidden files (`.NAME.rotation`, those that rotation moved aside) are no part of the log; `.gz` and `.zst` files are.

**Seeds.** `harness.seed` is printed, so that pytest shows it beside a failure; `FAULT_SEED=123 pytest ...` repeats it.

**Mutants.** `Job(mutant="no_nlink_check")` damages the real classes inside the writer (see `mutants.py`), and
`caught(harness.judge(), "O")` says whether the judge saw it.
"""

import contextlib
import json
import mmap
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.judge import Line, accounted, caught, delivered, log_files, ordered, parsed, read_lines
from tests.uncovered import without_coverage
from tests.waiting import comes_true

__all__ = [
    "ROOT",
    "TIMEOUT_S",
    "Duty",
    "Harness",
    "Job",
    "Line",
    "Nursery",
    "Writer",
    "caught",
    "log_files",
    "read_lines",
    "seeds",
    "until",
]

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 30.0
"""How long anything here is waited for, when one hundredth of it should do."""


def until(condition: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """Poll until the condition holds; raise AssertionError with `what` at the deadline."""
    if not comes_true(condition, timeout_s):
        raise AssertionError(f"not within {timeout_s:.0f} s: {what}")


class Duty:
    """What one writer owes: counters in a file that is mapped by the writer and by the test. It outlives a SIGKILL.

    Slots of 8 bytes: `stop` (test to writer), `ready`, `reached` (how often a hook has held it), `go_on` (its answer),
    `spare` (for programs of your own), then one per thread.
    """

    STOP, READY, REACHED, GO_ON, SPARE, THREADS = range(6)

    def __init__(self, path: str | Path, threads: int = 0) -> None:
        if threads:
            Path(path).write_bytes(bytes(8 * (self.THREADS + threads)))
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._slots = memoryview(self._map).cast("Q")

    def returned(self, thread: int) -> None:
        """Take on the obligation: `log()` has returned."""
        self._slots[self.THREADS + thread] += 1

    @property
    def counts(self) -> list[int]:
        """Records owed, by thread."""
        return self._slots[self.THREADS :].tolist()

    def __getitem__(self, slot: int) -> int:
        return self._slots[slot]

    def __setitem__(self, slot: int, value: int) -> None:
        self._slots[slot] = value


@dataclass(frozen=True)
class Job:
    """What a writer does.

    Attributes:
        threads: Threads that log.
        count: Records per thread; None: until stopped.
        sizes: Least and greatest size of a line in bytes, about; drawn log-uniformly.
        linger: Do not end by itself when all is logged, but wait to be killed or stopped.
        pause_ms: Greatest pause after a record, drawn uniformly.
        max_bytes: Of the file sink.
        backup_count: Of the file sink.
        sink: Further settings of the file sink.
        sinks: Instead of the file sink at the log's path.
        options: Keyword arguments for `create_llm_logger`, e.g. `settings`.
        mutant: Damage done to the real classes, by name.
        system: Give the file sink a `systems.Hooked` with these arguments.
        extra: For programs of your own.
    """

    threads: int = 1
    count: int | None = None
    sizes: tuple[int, int] = (250, 400)
    linger: bool = False
    pause_ms: float = 0.0
    max_bytes: int = 200_000
    backup_count: int = 1000
    sink: Mapping[str, Any] = field(default_factory=dict)
    sinks: Sequence[Mapping[str, Any]] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    mutant: str | None = None
    system: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class Writer:
    """One process that logs. Made by `Harness.start`."""

    def __init__(self, name: str, job: Job, directory: Path) -> None:
        self.name = name
        self.job = job
        self.duty = Duty(directory / f"{name}.duty", job.threads)
        self.stats_path = directory / f"{name}.stats.json"
        self.errors_path = directory / f"{name}.errors"
        self.killed = False
        self.status: int | None = None
        self.pid = 0
        self._wait: Callable[[float], int | None] = lambda timeout_s: None

    def born(self, pid: int, wait: Callable[[float], int | None]) -> None:
        """Note the process, and how to wait for it."""
        self.pid, self._wait = pid, wait

    @property
    def threads(self) -> int:
        """How many threads log."""
        return self.job.threads

    @property
    def owed(self) -> list[int]:
        """Records owed, by thread."""
        return self.duty.counts

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.killed = True
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """Ask for a clean end."""
        self.duty[Duty.STOP] = 1

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Wait for the end and return the exit status; minus the signal's number where it died of one."""
        if self.status is None:
            self.status = self._wait(timeout_s)
            if self.status is None:
                raise AssertionError(f"{self.name} has not ended within {timeout_s:.0f} s")
        return self.status

    def stats(self) -> dict[str, Any]:
        """Return what `stats()` said at the clean end."""
        stats: dict[str, Any] = json.loads(self.stats_path.read_text())
        return stats

    def accounts(self) -> Mapping[str, Mapping[str, Any]] | None:
        """Return the account of each sink at the clean end, or None where there was none."""
        accounts: Mapping[str, Mapping[str, Any]] | None = None
        if self.stats_path.exists():
            accounts = self.stats()["sinks"]
        return accounts

    def sink_stats(self, name: str = "file") -> dict[str, Any]:
        """Return the account of one sink at the clean end."""
        stats: dict[str, Any] = self.stats()["sinks"][name]
        return stats


class Nursery:
    """A process that has imported everything and forks writers on demand. One for the whole test session."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.child", "--nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=without_coverage(),
        )

    def fork(self, job_path: Path) -> tuple[int, Callable[[float], int | None]]:
        """Fork a writer and return its pid and how to wait for it."""
        pid = self._ask({"job": str(job_path)})
        assert pid is not None
        return pid, lambda timeout_s: self._ask({"wait": pid, "timeout_s": timeout_s})

    def close(self) -> None:
        """End it; it kills what it has forked."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=TIMEOUT_S)
        self._process.kill()
        self._process.wait(timeout=TIMEOUT_S)

    def _ask(self, request: Mapping[str, Any]) -> int | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: int | None = json.loads(self._process.stdout.readline())
        return answer


class Harness:
    """One log, its writers, and the judge.

    Args:
        directory: Scratch; the log is `directory/logs/x.log`.
        nursery: Forks the writers.
        seed: Of everything random.
    """

    def __init__(self, directory: Path, nursery: Nursery, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.log = directory / "logs" / "x.log"
        self.writers: list[Writer] = []
        self.liveness: list[str] = []
        self._directory = directory
        self._nursery = nursery
        directory.mkdir(parents=True, exist_ok=True)
        print(f"FAULT_SEED={seed}")

    def start(self, job: Job, *, alone: bool = False, module: str | None = None, wait: bool = True) -> Writer:
        """Start a writer; with `wait`, return when its logger is built (or it has ended)."""
        name = f"w{len(self.writers)}"
        writer = Writer(name, job, self._directory)
        self.writers.append(writer)
        path = self._directory / f"{name}.json"
        where = {"log": str(self.log), "directory": str(self._directory)}
        path.write_text(json.dumps({**asdict(job), "name": name, "seed": self.rng.getrandbits(32), **where}))
        if alone or module is not None:
            command = [sys.executable, "-m", module or "tests.faults.child", str(path)]
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, env=without_coverage())
            writer.born(process.pid, lambda timeout_s: _waited(process, timeout_s))
        else:
            writer.born(*self._nursery.fork(path))
        if wait:
            until(lambda: writer.duty[Duty.READY] or _ended(writer), f"{name} is ready")
        return writer

    def finish(self) -> None:
        """Stop and wait for all writers that still run."""
        for writer in self.writers:
            writer.stop()
        for writer in self.writers:
            writer.wait()

    def abort(self) -> None:
        """Kill all writers that still run."""
        for writer in self.writers:
            if writer.status is None:
                writer.kill()

    def prove_alive(self, job: Job | None = None) -> None:
        """Note a violation of L unless each running writer logs another record, and so does a newcomer."""
        running = [writer for writer in self.writers if writer.status is None and writer.job.count is None]
        before = {writer.name: list(writer.owed) for writer in running}
        for writer in running:
            try:
                until(
                    lambda writer=writer: all(
                        now > then for now, then in zip(writer.owed, before[writer.name], strict=True)
                    ),
                    f"{writer.name} goes on",
                )
            except AssertionError as error:
                self.liveness.append(f"L {error}")
        newcomer = self.start(job or Job(count=1))
        if newcomer.wait() or newcomer.owed != [newcomer.job.count] * newcomer.job.threads:
            self.liveness.append(f"L {newcomer.name} could not log a fresh record")

    def files(self, *beside: Path) -> list[Path]:
        """Return the files of the log, the oldest first; `beside` are older ones under other names."""
        return [*beside, *log_files(self.log)]

    def lines(self, *beside: Path) -> list[Line]:
        """Return the lines of the log in file order."""
        return [line for file in self.files(*beside) for line in read_lines(file)]

    def judge(
        self,
        *,
        bad_lines: int = 0,
        beside: Sequence[Path] = (),
        owed_from: Mapping[str, Sequence[int]] | None = None,
        in_order: bool = True,
        lossless: bool = True,
        torn_by_kills: bool = False,
    ) -> list[str]:
        """Return the violations; none for a log that keeps its promises. Call it when all writers have ended.

        Args:
            bad_lines: Lines that must not parse.
            beside: Files that outsiders renamed, which are part of the log all the same; taken as the oldest.
            owed_from: By writer, the first number of each thread that is owed; those before may be there or not.
            in_order: Whether to hold the writers to the order of their records.
            lossless: Whether every record must be delivered according to the accounts.
            torn_by_kills: Let each thread of a killed writer leave half of the one line that it was writing.
        """
        lines = self.lines(*beside)
        found = [*self.liveness, *self._died(), *parsed(lines, bad_lines, self.writers if torn_by_kills else ())]
        found += delivered(lines, self.writers, owed_from or {})
        if in_order:
            found += ordered(lines, self.writers)
        for writer in self.writers:
            found += accounted(writer, lossless)
        print(*found, sep="\n")
        return found

    def _died(self) -> Iterator[str]:
        for writer in self.writers:
            assert writer.status is not None, f"{writer.name} still runs"
            if writer.status and not (writer.killed and writer.status == -signal.SIGKILL):
                yield f"X {writer.name} ended with {writer.status}"
            if writer.errors_path.exists():
                yield f"X {writer.name} saw {writer.errors_path.read_text()[-2000:]}"


def seeds(seed: int, tries: int) -> Iterator[int]:
    """Yield a seed and others drawn from it, for a test that must catch a mutant in one of several runs."""
    rng = random.Random(seed)
    yield from (rng.getrandbits(32) for _ in range(tries))


def _waited(process: "subprocess.Popen[bytes]", timeout_s: float) -> int | None:
    try:
        return process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None


def _ended(writer: Writer) -> bool:
    try:
        writer.wait(timeout_s=0.0)
    except AssertionError:
        return False
    return True
