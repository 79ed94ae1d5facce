"""Fault case 3: a writer is killed at each single step of a rotation."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import Harness, Job, caught, log_files

BACKUPS = 8
MAX_BYTES = 2_000
MOST_STEPS = 80
LIVE_STEPS = 24


def job(count: int | None, mutant: str | None = None, **system: object) -> Job:
    """Return a job with five records in a file."""
    return Job(
        count=count,
        sizes=(380, 400),
        max_bytes=MAX_BYTES,
        backup_count=BACKUPS,
        mutant=mutant,
        system=system or None,
    )


def bystanding(**given: Any) -> Job:
    """Return a job with ten records in a file, of which all are kept."""
    return Job(**{"sizes": (380, 400), "max_bytes": 2 * MAX_BYTES, "backup_count": 1000, **given})


def fill(log: Path) -> None:
    """Make all the rotated files that are kept, so that the next rotation has to delete one."""
    log.parent.mkdir(parents=True)
    for number in range(1, BACKUPS + 1):
        (log.parent / f"{log.name}.{number}").write_text(f'{{"old": {number}}}\n')


def gaps(log: Path) -> list[int]:
    """Return the numbers between 1 and the highest that no file has."""
    numbers = {int(path.name.removeprefix(f"{log.name}.")) for path in log_files(log) if path != log}
    return sorted(set(range(1, max(numbers, default=0))) - numbers)


def killed_at(harness: Harness, step: int, mutant: str | None = None) -> tuple[list[str], list[str]]:
    """Kill a writer at a step of its first rotation and let another go on.

    Returns:
        What the judge finds, and the names of the steps.
    """
    fill(harness.log)
    victim = harness.start(job(None, mutant, action="kill", nth=step, rotation=1), wait=False)
    victim.killed = True
    victim.wait()
    wide = len(gaps(harness.log))
    harness.start(job(12, mutant)).wait()
    found = harness.judge()
    if len(gaps(harness.log)) > 0 or wide > 1:
        found.append(f"G numbers {gaps(harness.log)} are free, {wide} were after the kill")
    steps: list[str] = json.loads((harness.log.parent.parent / f"{victim.name}.trace.json").read_text())
    return found, steps


class TestKillInRotation:
    @pytest.mark.timeout(120)
    def test_each_step_may_be_the_last(self, new_harness: Callable[..., Harness]) -> None:
        """Wherever a rotation is broken off, nothing is lost or repeated, and the next process rotates on."""
        found: dict[str, list[str]] = {}
        steps: list[str] = []
        for step in range(1, MOST_STEPS):
            violations, steps = killed_at(new_harness(), step)
            if violations:
                found[f"{step}: {steps[-1]}"] = violations
            if "append" in steps[:-1]:  # the first record after the rotation has been written
                break
        assert {} == found
        assert {"names_in", "rename", "write", "unlock", "open", "append"} <= set(steps)
        assert BACKUPS + 1 == steps.count("rename")

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("mutant", ["cascade_upside_down", "cascade_moves_all"])
    def test_catches(self, new_harness: Callable[..., Harness], mutant: str) -> None:
        """The test fails where files move in the wrong order, or where a free number is never used again."""
        tried = (killed_at(new_harness(), step, mutant) for step in range(1, MOST_STEPS))
        moving = itertools.takewhile(lambda tried: "append" not in tried[1], tried)
        assert any(caught(found, "OG") for found, _ in moving)

    @pytest.mark.timeout(120)
    def test_others_write_through_it(self, new_harness: Callable[..., Harness]) -> None:
        """A process that writes and rotates while another is killed in the middle of a rotation loses nothing."""
        found: dict[int, list[str]] = {}
        for step in range(1, LIVE_STEPS):
            harness = new_harness()
            bystander = harness.start(bystanding(pause_ms=0.5))
            system = {"action": "kill", "nth": step, "rotation": 1 + step % 3}
            victim = harness.start(bystanding(system=system), wait=False)
            victim.killed = True
            victim.wait()
            harness.prove_alive(bystanding(count=20))
            bystander.stop()
            bystander.wait()
            if violations := [*harness.judge(), *(f"G {number} is free" for number in gaps(harness.log)[1:])]:
                found[step] = violations
        assert {} == found
