"""The soak: four processes log for half an hour through faults at random, and nothing that was accepted is lost.

    python -m tests.faults.soak --minutes 30 [--seed 123] [--directory DIR]

Two of the writers live through the whole run, two are killed and started anew. Meanwhile the disk is full for some
writer, somebody moves or removes the live file, writers fork, sinks beside the file stall and fail, and a reader
follows. Rotated files are judged and deleted as they come, so that the disk does not fill. A line every few seconds
says how it goes; the exit code is 1 where the end finds something wrong:

- `O` a record that the file sink took is not in the log; those are excused that were in a file when it was removed.
- `D` a record is there twice. `P` a line does not parse, beyond the torn ones that the sinks counted.
- `S` within one file, the records of a thread are not in order.
- `C` an account that did not add up in one of its samples. `L` somebody stands still when the faults are over.
- `M` memory or open files of the writers that live long grow over the last two thirds: by 1 MB, by one file.
"""

import argparse
import contextlib
import fcntl
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.faults.cases import Brood, program
from tests.faults.harness import ROOT, TIMEOUT_S, Duty, Harness, Job, Writer, until
from tests.faults.judge import log_files
from tests.faults.soak_judge import Ledger, Samples
from tests.faults.soak_writer import MAX_BYTES, THREADS, talk

WRITERS = 4
MORTAL = 2
"""The first of them are killed."""

TOLD = 10
QUIET_S = 3.0
"""A file that was left alone for so long is written to no more."""

WHOLE_RUN_S = 600.0
"""A run shorter than this has not done with warming up in its first third, and so may grow by more."""


class Soak:
    """One run.

    Args:
        directory: Scratch; its path must be short enough for a socket.
        seconds: How long there are faults.
        seed: Of everything random.
        mutant: Damage to the writers, by its name in `mutants`.
        status_s: How often to say how it goes.
    """

    def __init__(
        self, directory: Path, seconds: float, seed: int, mutant: str | None = None, status_s: float = 5.0
    ) -> None:
        self._brood = Brood("tests.faults.soak_writer")
        self._harness = Harness(directory, self._brood, seed)
        self._rng = self._harness.rng
        self._directory = directory
        self._seconds = seconds
        self._status_s = status_s
        self._samples = Samples(directory / "samples")
        job = Job(threads=THREADS + 1, mutant=mutant)
        self._job = program(talk, job, socket=str(directory / "samples"))
        self._ledger = Ledger()
        self._faults: Counter[str] = Counter()
        self._aside: list[tuple[float, Path]] = []
        self._full_until: dict[str, float] = {}
        self._read = 0
        self._began_s = time.monotonic()

    def run(self) -> list[str]:
        """Do all of it, and return what is wrong at the end."""
        self._harness.log.parent.mkdir()
        self._harness.log.touch()
        reader = subprocess.Popen(
            [sys.executable, "-m", "structllm", "tail", "-f", "-n", "0", "--json", str(self._harness.log)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            threading.Thread(target=self._follow, args=(reader,), daemon=True).start()
            self._writers = [self._harness.start(self._job) for _ in range(WRITERS)]
            self._hurt_for_long()
            return self._ended()
        finally:
            reader.kill()
            reader.wait(TIMEOUT_S)
            self._harness.abort()
            self._brood.close()

    def _follow(self, reader: "subprocess.Popen[bytes]") -> None:
        assert reader.stdout is not None
        for _ in reader.stdout:
            self._read += 1

    def _hurt_for_long(self) -> None:
        faults: Sequence[Callable[[], str | None]] = (self._kill, self._fill_disk, self._move, self._remove)
        status_at_s = fault_at_s = 0.0
        self._began_s = time.monotonic()
        while (now_s := time.monotonic()) < self._began_s + self._seconds:
            if now_s >= fault_at_s:
                fault_at_s = now_s + self._rng.uniform(0.2, 1.5)
                fault = self._rng.choice(faults)()
                self._faults.update([fault] if fault else [])
            self._end_full_disks(now_s)
            self._samples.receive()
            self._judge_old_files()
            if now_s >= status_at_s:
                status_at_s = now_s + self._status_s
                print(self._status(), flush=True)
            time.sleep(0.05)  # the pace of the faults, and the time of the writers

    # --- faults ---

    def _kill(self) -> str:
        number = self._rng.randrange(MORTAL)
        self._full_until.pop(self._writers[number].name, None)
        self._writers[number].kill()
        self._writers[number] = self._harness.start(self._job)
        return "kill"

    def _fill_disk(self) -> str | None:
        """Let one writer make no file larger than this."""
        writer = self._rng.choice(self._writers)
        if writer.name in self._full_until:
            return None
        limit = self._rng.choice([0, self._rng.randrange(MAX_BYTES)])
        resource.prlimit(writer.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        self._full_until[writer.name] = time.monotonic() + self._rng.uniform(0.1, 2.0)
        return "full disk"

    def _end_full_disks(self, now_s: float) -> None:
        for writer in self._writers:
            if self._full_until.get(writer.name, now_s) < now_s:
                del self._full_until[writer.name]
                resource.prlimit(writer.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _move(self) -> str | None:
        """Move the live file away; whoever has it open writes to it for a moment yet."""
        target = self._directory / f"moved.{sum(self._faults.values())}"
        try:
            self._harness.log.rename(target)
        except FileNotFoundError:
            return None
        self._aside.append((time.monotonic() + QUIET_S, target))
        return "mv"

    def _remove(self) -> str | None:
        """Remove the live file; what was in it is taken back. A descriptor shows what that was."""
        try:
            fd = os.open(self._harness.log, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # so that nobody rotates it meanwhile
            if os.fstat(fd).st_ino != self._harness.log.stat().st_ino:
                return None
            self._harness.log.unlink()
            fcntl.flock(fd, fcntl.LOCK_UN)
            time.sleep(0.1)  # a writer finds out within 50 ms
            self._ledger.read(Path(f"/proc/self/fd/{fd}"), removed=True)
        except FileNotFoundError:
            return None
        finally:
            os.close(fd)
        return "rm"

    # --- what comes of it ---

    def _judge_old_files(self) -> None:
        """Judge and delete the rotated and moved files that nobody writes to any more, the oldest first."""
        for at_s, path in self._aside[:]:
            if at_s <= time.monotonic():
                self._aside.remove((at_s, path))
                self._judge(path)
        old_s = time.time() - QUIET_S
        target = self._directory / "judged"
        for path in log_files(self._harness.log):
            try:
                if path == self._harness.log or path.stat().st_mtime > old_s:
                    break
                path.rename(target)  # whatever has this name now
            except FileNotFoundError:
                break
            if target.stat().st_mtime > old_s:
                self._aside.append((time.monotonic() + QUIET_S, target.rename(target.with_name(f"young.{path.name}"))))
                break
            self._judge(target)

    def _judge(self, path: Path) -> None:
        self._ledger.read(path)
        path.unlink()

    def _ended(self) -> list[str]:
        """End the faults, then the writers, and return what is wrong."""
        self._end_full_disks(float("inf"))
        found: list[str] = []
        before, read = [writer.owed[:THREADS] for writer in self._writers], self._read
        newcomer = self._harness.start(self._job)
        for writer, then in [*zip(self._writers, before, strict=True), (newcomer, [0] * THREADS)]:
            try:
                until(partial(_goes_on, writer, then), f"{writer.name} goes on")
            except AssertionError as error:
                found.append(f"L {error}")
        with contextlib.suppress(AssertionError):
            until(lambda: self._read > read, "the reader goes on", TIMEOUT_S / 3)
        if self._read <= read:
            found.append("L the reader stands still")
        self._harness.finish()
        self._samples.receive()
        for path in [*(path for _, path in self._aside), *log_files(self._harness.log)]:
            self._judge(path)
        print(self._status(), flush=True)
        return [*found, *self._judged()]

    def _judged(self) -> Iterator[str]:
        yield from self._ledger.violations
        yield from self._samples.violations
        for writer in self._harness.writers:
            yield from self._ledger.missing(writer)
            if writer.status and not (writer.killed and writer.status == -signal.SIGKILL):
                yield f"X {writer.name} ended with {writer.status}"
        # Of a writer that was killed, what came after its last sample is not known: one torn line at most.
        torn = self._samples.counted("short_writes") + self._faults["kill"]
        if len(self._ledger.bad) > torn:
            yield f"P {len(self._ledger.bad)} bad lines, {torn} torn: {self._ledger.bad[:3]}"
        allowance = max(1.0, WHOLE_RUN_S / self._seconds)
        for writer in self._writers[MORTAL:]:
            rss_bytes, files = self._samples.growth(writer.name)
            if rss_bytes > allowance * 1_000_000 or files > allowance:
                yield f"M {writer.name} grew by {rss_bytes / 1e6:.2f} MB and {files:.2f} open files"

    def _status(self) -> str:
        growths = [self._samples.growth(writer.name) for writer in self._writers[MORTAL:]]
        rss_bytes = max((self._samples.last.get(w.name, {}).get("rss_bytes", 0) for w in self._writers), default=0)
        forks = sum(writer.duty[Duty.SPARE] for writer in self._harness.writers)
        faults = ", ".join(f"{fault} {count}" for fault, count in sorted([*self._faults.items(), ("fork", forks)]))
        problems = len(self._ledger.violations) + len(self._samples.violations)
        return " | ".join(
            [
                f"{time.monotonic() - self._began_s:6.0f} s  {self._ledger.events:,} events judged",
                f"{self._read:,} followed",
                f"{self._samples.counted('rotations'):,} rotations",
                faults,
                f"RSS {rss_bytes / 1e6:.1f} MB",
                "growth " + ", ".join(f"{rss / 1e6:+.2f} MB {files:+.2f} files" for rss, files in growths),
                f"bad lines {len(self._ledger.bad)}",
                f"problems {problems}",
            ]
        )


def _goes_on(writer: Writer, then: Sequence[int]) -> bool:
    """Return whether each thread has logged more than it had then."""
    return all(now > before for now, before in zip(writer.owed, then, strict=False))


def _some_of_each(found: Sequence[str]) -> Iterator[str]:
    """Yield up to ten violations of each kind."""
    told: Counter[str] = Counter()
    for violation in found:
        told[violation[0]] += 1
        if told[violation[0]] <= TOLD:
            yield violation
    yield from (f"{kind} {count} in all" for kind, count in told.items() if count > TOLD)


def main() -> int:
    """Run the soak as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description="Log through faults at random.")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long there are faults (default: 30)")
    parser.add_argument("--seed", type=int, help="of everything random; default: a new one, which is printed")
    parser.add_argument("--directory", type=Path, help="scratch; default: a temporary one")
    parser.add_argument("--mutant", help="damage the writers, to see the soak fail (see tests/faults/mutants.py)")
    parser.add_argument("--status", type=float, default=5.0, help="seconds between two status lines (default: 5)")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().getrandbits(32)
    with tempfile.TemporaryDirectory(prefix="soak.", dir=given.directory) as scratch:
        print(f"{given.minutes:g} minutes in {scratch}; again with --seed {seed}", flush=True)
        try:
            found = Soak(Path(scratch), given.minutes * 60, seed, given.mutant, given.status).run()
        except KeyboardInterrupt:
            found = ["stopped before the end"]
    print(*_some_of_each(found), "FAILED" if found else "ok: nothing lost, nothing twice", sep="\n", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
