"""A writer is held between opening the file and writing to it, while others rotate the file out of existence."""

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.harness import Duty, Harness, Job, Writer, caught, until

MAX_BYTES = 2_000
HELD_AT = 4
BACKUPS = 8


def rotator(backup_count: int, **given: Any) -> Job:
    """Return a job that rotates every five records."""
    return Job(**{"count": 30, "sizes": (380, 400), "max_bytes": MAX_BYTES, "backup_count": backup_count, **given})


def owed_by(harness: Harness, straggler: Writer, first: int) -> dict[str, list[int]]:
    """Return the first number owed by each writer: those of the others were deleted with the files that they filled."""
    return {writer.name: [first if writer is straggler else 1_000_000] for writer in harness.writers}


def hold(harness: Harness, backup_count: int, mutant: str | None = None) -> Writer:
    """Return a writer that is held before the write of its fourth record."""
    system = {"action": "hold", "call": "write", "ending": "}\n", "nth": HELD_AT}
    job = Job(count=HELD_AT, linger=True, system=system, backup_count=backup_count, mutant=mutant)
    straggler = harness.start(job, wait=False)
    until(lambda: straggler.duty[Duty.REACHED], "the straggler is held")
    return straggler


def let_go(harness: Harness, straggler: Writer) -> list[str]:
    """Let it write, and kill it when its `log()` has returned; return what the judge finds.

    A writer that ends by itself looks after its last lines, so only a killed one shows what `log()` had promised.
    """
    straggler.duty[Duty.GO_ON] = 1
    until(lambda: straggler.owed == [HELD_AT], "the straggler has logged its record")
    straggler.kill()
    harness.prove_alive()
    return harness.judge(owed_from=owed_by(harness, straggler, HELD_AT - 1), in_order=False)


def held(harness: Harness, backup_count: int, mutant: str | None = None, others: str | None = None) -> list[str]:
    """Hold a writer before a write while another one rotates its file out of existence."""
    straggler = hold(harness, backup_count, mutant)
    harness.start(rotator(backup_count, mutant=others)).wait()
    for path in harness.log.parent.glob(".x.log.*.old"):  # what the other one left for the next to delete
        path.unlink()
    return let_go(harness, straggler)


def held_while_set_aside(harness: Harness, mutant: str | None = None) -> list[str]:
    """Hold a writer before a write while its file is moved aside as for a deletion that never comes."""
    straggler = hold(harness, 1, mutant)
    which = harness.log.stat().st_ino
    harness.start(rotator(BACKUPS, count=12)).wait()
    [rotated] = [path for path in harness.files() if path.stat().st_ino == which]
    assert rotated != harness.log
    rotated.rename(harness.log.parent / ".x.log.0123456789ab.old")
    return let_go(harness, straggler)


def stands_still(writer: Writer) -> bool:
    """Return whether a writer has logged nothing for some milliseconds, in which it would log dozens of records."""
    before = writer.owed
    time.sleep(0.005)
    return before == writer.owed


class TestHeld:
    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("backup_count", [0, 1, 3])
    def test_before_its_write_it_loses_nothing(self, new_harness: Callable[..., Harness], backup_count: int) -> None:
        """A record whose file was rotated away and deleted before the write is in the log when `log()` returns."""
        assert [] == held(new_harness(), backup_count)

    @pytest.mark.timeout(60)
    def test_a_file_that_waits_for_its_deletion_is_no_place(self, harness: Harness) -> None:
        """A record that goes into a file that somebody has moved aside, to delete it, is written again."""
        assert [] == held_while_set_aside(harness)

    @pytest.mark.timeout(60)
    def test_catches_a_writer_that_does_not_look_aside(self, harness: Harness) -> None:
        """The test fails where a file that waits for its deletion passes for one of the log."""
        assert caught(held_while_set_aside(harness, "no_look_aside"), "O")

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("mutant", ["no_nlink_check", "no_generation_compare"])
    def test_catches_a_writer_that_does_not_look_behind_itself(self, harness: Harness, mutant: str) -> None:
        """The test fails where a writer does not compare the generation, or takes a nameless file for the log."""
        assert caught(held(harness, 1, mutant), "O")

    @pytest.mark.timeout(60)
    def test_catches_a_rotation_that_tells_nobody(self, harness: Harness) -> None:
        """The test fails where a rotation does not change the generation."""
        assert caught(held(harness, 1, others="no_generation_bump"), "O")


class TestStopped:
    @pytest.mark.timeout(60)
    def test_at_any_time_it_loses_nothing(self, new_harness: Callable[..., Harness]) -> None:
        """A process that is stopped (SIGSTOP) at random, and goes on when its file is gone, loses nothing from then on.

        What it had written before was rotated away with its file.
        """
        found: list[str] = []
        for _ in range(10):
            harness = new_harness()
            straggler = harness.start(Job(backup_count=1, sizes=(380, 400)))
            time.sleep(harness.rng.uniform(0, 0.005))  # so that the stop comes at any moment
            straggler.signal(signal.SIGSTOP)
            until(lambda straggler=straggler: stands_still(straggler), "it is stopped")
            written = max((line.event["n"] + 1 for line in harness.lines() if line.event), default=0)
            harness.start(rotator(1)).wait()
            straggler.stop()
            straggler.signal(signal.SIGCONT)
            straggler.wait()
            found += harness.judge(owed_from=owed_by(harness, straggler, written), in_order=False)
        assert [] == found
