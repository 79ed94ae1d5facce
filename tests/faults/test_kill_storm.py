"""Fault case 2: writers are killed at random moments, again and again, with lines up to 1 MiB."""

import time
from collections.abc import Callable

import pytest

from tests.faults.harness import Harness, Job, caught, seeds

WRITERS = 4
MIB = 1_048_576


def storm(harness: Harness, kills: int, mutant: str | None = None) -> list[str]:
    """Kill a writer and start another one, many times; return what the judge finds."""
    job = Job(sizes=(250, MIB - 4096), max_bytes=4 * MIB, backup_count=1000, mutant=mutant)
    living = [harness.start(job) for _ in range(WRITERS)]
    for _ in range(kills):
        time.sleep(harness.rng.uniform(0.002, 0.03))  # so that the kill comes at any moment
        victim = living.pop(harness.rng.randrange(WRITERS))
        victim.kill()
        living.append(harness.start(job, wait=False))
    harness.prove_alive(Job(count=1, mutant=mutant))
    harness.finish()
    return harness.judge(torn_by_kills=True)


class TestKillStorm:
    @pytest.mark.timeout(120)
    @pytest.mark.parametrize("run", range(5))
    def test_a_kill_costs_no_accepted_record(self, new_harness: Callable[..., Harness], run: int) -> None:
        """Every record whose `log()` returned survives 20 SIGKILLs, once, in order, and whole.

        The kernel breaks off a large write of a killed process, so the line in the making may be torn, and only that.
        """
        assert [] == storm(new_harness(), kills=20)

    @pytest.mark.timeout(60)
    def test_catches_records_kept_in_memory(self, new_harness: Callable[..., Harness]) -> None:
        """The storm fails where a sink keeps records in memory after `log()` returned."""
        first = new_harness()
        found = storm(first, 5, "buffered_writes")
        for seed in seeds(first.seed, 3):
            if caught(found, "O"):
                break
            found = storm(new_harness(seed), 5, "buffered_writes")
        assert caught(found, "O"), found
