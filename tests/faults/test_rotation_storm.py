"""Fault case 1: processes with several threads each write one log through many rotations."""

from collections.abc import Callable

import pytest

from tests.faults.harness import Harness, Job, caught, seeds

PROCESSES = 4
MAX_BYTES = 200_000


def storm(harness: Harness, mutant: str | None = None, count: int = 1250) -> list[str]:
    """Run the storm and return what the judge finds."""
    job = Job(threads=4, count=count, max_bytes=MAX_BYTES, mutant=mutant)
    for _ in range(PROCESSES):
        harness.start(job, wait=False)
    for writer in harness.writers:
        writer.wait()
    return [*harness.judge(), *wrong_sizes(harness)]


def wrong_sizes(harness: Harness) -> list[str]:
    """Return a violation Z for each rotated file that is too large, or was not full when it was rotated."""
    rotated = [(path.name, path.stat().st_size) for path in harness.files() if path != harness.log]
    largest = max((line.size_bytes for line in harness.lines()), default=0)
    # Each process may have been about to write when the file became full.
    allowed = range(MAX_BYTES - largest, MAX_BYTES + PROCESSES * largest + 1)
    return [f"Z {name} has {size} bytes" for name, size in rotated if size not in allowed]


class TestStorm:
    @pytest.mark.timeout(90)
    def test_nothing_is_lost_torn_repeated_or_out_of_order(self, harness: Harness) -> None:
        """20,000 records of 4 processes with 4 threads each are there once, whole and in order, and accounted for.

        No file is larger than its limit and one record of each process, and none was rotated before it was full.
        """
        assert [] == storm(harness)
        assert len(harness.files()) > 20

    @pytest.mark.timeout(90)
    @pytest.mark.parametrize(
        ("mutant", "letters"),
        [
            ("no_rotation_lock", "OZ"),
            ("no_lock_check", "OZ"),
            ("no_append", "OP"),
            ("two_writes", "P"),
            ("cascade_upside_down", "O"),
        ],
    )
    def test_catches(self, new_harness: Callable[..., Harness], mutant: str, letters: str) -> None:
        """The storm fails where rotation takes no lock, appends are no appends, or files move in the wrong order."""
        first = new_harness()
        found = storm(first, mutant, count=500)
        for seed in seeds(first.seed, 4):
            if caught(found, letters):
                break
            found = storm(new_harness(seed), mutant, count=500)
        assert caught(found, letters), found
