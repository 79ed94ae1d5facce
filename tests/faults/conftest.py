"""The harness of every fault test, and the nursery that forks its writers."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.harness import Harness, Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Return a process that forks writers; it and they are gone at the end."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def new_harness(tmp_path: Path, nursery: Nursery) -> Iterator[Callable[..., Harness]]:
    """Return a function that makes a harness in a directory of its own; its writers are killed at the end."""
    made: list[Harness] = []

    def make(seed: int | None = None) -> Harness:
        drawn = random.SystemRandom().getrandbits(32) if seed is None else seed
        made.append(Harness(tmp_path / f"run{len(made)}", nursery, int(os.environ.get("FAULT_SEED", drawn))))
        return made[-1]

    yield make
    for harness in made:
        harness.abort()


@pytest.fixture
def harness(new_harness: Callable[..., Harness]) -> Harness:
    """Return a harness with a random seed, which it prints."""
    return new_harness()
