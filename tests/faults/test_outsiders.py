"""Fault case 5: others remove, rename and truncate what belongs to the log, while two processes write to it."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.harness import Duty, Harness, Job, Writer, caught, seeds

TIMES = 200
HARMLESS = 40
"""So many of them come last, and take nothing out of the log: what is logged during those is owed."""


class Outsider:
    """Hurts a log in one of five ways."""

    def __init__(self, harness: Harness) -> None:
        self._log = harness.log
        self._harness = harness
        self.renamed: list[Path] = []
        self._count = 0

    def remove(self) -> None:
        """`rm x.log`."""
        self._log.unlink(missing_ok=True)

    def remove_directory(self) -> None:
        """`rm -r` of the directory."""
        shutil.rmtree(self._log.parent, ignore_errors=True)

    def copy_and_truncate(self) -> None:
        """What logrotate does with `copytruncate`; the copy is left out of the log."""
        if self._log.exists():
            with self._log.open("r+b") as file:
                shutil.copyfile(self._log, self._log.with_name("copy"))
                file.truncate(0)

    def remove_generation(self) -> None:
        """`rm .x.log.rotation`."""
        (self._log.parent / ".x.log.rotation").unlink(missing_ok=True)

    def rename(self) -> None:
        """What logrotate does by default."""
        target = self._log.with_name(f"x.log-{self._count}")
        self._count += 1
        if self._log.exists():
            self._log.rename(target)
            self.renamed.append(target)

    def hurt(self, *ways: Callable[[], None]) -> None:
        """Do one of these. A rotation may take the file away between two of our calls, which is its right."""
        try:
            self._harness.rng.choice(ways)()
        except FileNotFoundError:
            return


def hurt_often(harness: Harness, mutant: str | None = None, times: int = TIMES) -> list[str]:
    """Hurt a log many times while two processes write to it; return what the judge finds."""
    extra = {"alone": str(harness.log.parent.with_name("sentinel"))}
    job = Job(pause_ms=0.3, max_bytes=20_000, backup_count=1000, mutant=mutant, extra=extra)
    writers = [harness.start(job) for _ in range(2)]
    outsider = Outsider(harness)
    harmless = (outsider.remove_generation, outsider.rename)
    harmful = (outsider.remove, outsider.remove_directory, outsider.copy_and_truncate)
    for _ in range(times - HARMLESS):
        outsider.hurt(*harmful, *harmless)
        time.sleep(harness.rng.uniform(0, 0.01))  # the writers go on meanwhile, for some records or none
    for harm in harmful:
        harm()
    owed_from = {writer.name: begun_after(writer) for writer in writers}
    for _ in range(HARMLESS):
        outsider.hurt(*harmless)
        time.sleep(harness.rng.uniform(0, 0.01))  # the writers go on meanwhile, for some records or none
    harness.prove_alive(Job(count=1, mutant=mutant))
    harness.finish()
    beside = [path for path in outsider.renamed if path.exists()]
    return harness.judge(beside=beside, owed_from=owed_from, in_order=False)


def overlaps(harness: Harness, mutant: str | None = None) -> list[str]:
    """Rename and delete a log while four processes write to it; return the rotations that began during another."""
    extra = {"alone": str(harness.log.parent.with_name("sentinel"))}
    job = Job(count=2000, sizes=(1000, 4000), max_bytes=8000, backup_count=1000, extra=extra, mutant=mutant)
    writers = [harness.start(job) for _ in range(4)]
    outsider = Outsider(harness)
    for _ in range(HARMLESS):
        outsider.hurt(outsider.rename, outsider.remove)
        time.sleep(harness.rng.uniform(0, 0.02))  # some rotations happen meanwhile, or none
    harness.finish()
    assert all(writer.duty[Duty.READY] for writer in writers)
    return [found for found in harness.judge() if "during another" in found]


def begun_after(writer: Writer) -> list[int]:
    """Return the first number of each thread whose `log()` has not begun yet: the one before it may be under way."""
    return [owed + 1 for owed in writer.owed]


class TestOutsiders:
    @pytest.mark.timeout(90)
    def test_what_is_logged_afterwards_is_there(self, harness: Harness) -> None:
        """After 200 removals, renames and truncations nothing has raised and no record logged since is missing."""
        assert [] == hurt_often(harness)

    @pytest.mark.timeout(60)
    def test_rotations_are_alone(self, harness: Harness) -> None:
        """While others rename and delete the live file, no two processes move files at once."""
        assert [] == overlaps(harness)

    @pytest.mark.timeout(60)
    def test_catches_rotations_that_are_not(self, new_harness: Callable[..., Harness]) -> None:
        """The test fails where a rotation takes no lock."""
        first = new_harness()
        assert any(overlaps(new_harness(seed), "no_rotation_lock") for seed in (first.seed, *seeds(first.seed, 7)))

    @pytest.mark.timeout(60)
    def test_catches(self, new_harness: Callable[..., Harness]) -> None:
        """The test fails where a writer does not ask whether its file still has a name."""
        first = new_harness()
        found = hurt_often(first, "no_nlink_check", HARMLESS + 10)
        for seed in seeds(first.seed, 4):
            if caught(found, "O"):
                break
            found = hurt_often(new_harness(seed), "no_nlink_check", HARMLESS + 10)
        assert caught(found, "O"), found
