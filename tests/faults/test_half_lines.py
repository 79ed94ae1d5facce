"""Fault case 4: a log ends in half a line, as a power failure or a full disk leaves it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.harness import Duty, Harness, Job, Line, caught, read_lines, until

RECORD = (
    b'{"event_type":"decision_outcome","who":"torn","n":0,"note":"caf\xc3\xa9 \\"x\\" \\u00e9","l":[1,{"a":null}]}\n'
)
WHOLE = b'{"event_type":"decision_outcome","who":"whole","n":0}\n'


def after_each_prefix(harness: Harness, mutant: str | None = None) -> dict[int, tuple[list[Line], dict[str, Any]]]:
    """Log one record behind each prefix of a record; return the lines and the health of the sink by its length."""
    harness.log.parent.mkdir(parents=True)
    for length in range(len(RECORD) + 1):
        (harness.log.parent / f"{length}.log").write_bytes(WHOLE + RECORD[:length])
    lengths = list(range(len(RECORD) + 1))
    writer = harness.start(Job(mutant=mutant, extra={"lengths": lengths}), module="tests.faults.half_lines")
    assert 0 == writer.wait()
    health = writer.stats()
    return {length: (list(read_lines(harness.log.parent / f"{length}.log")), health[str(length)]) for length in lengths}


def lengths_with_trouble(harness: Harness, mutant: str | None = None) -> list[int]:
    """Return the lengths at which the log is not: the whole line, at most one bad line, the new record."""
    trouble: list[int] = []
    for length, (lines, health) in after_each_prefix(harness, mutant).items():
        who = [line.event["who"] if line.event else None for line in lines]
        half = {0: [], len(RECORD) - 1: ["torn"], len(RECORD): ["torn"]}.get(length, [None])
        torn = 0 < length < len(RECORD)
        if who != ["whole", *half, "w0.0"] or health["repaired_tails"] != torn:
            trouble.append(length)
    return trouble


class TestHalfLines:
    @pytest.mark.timeout(60)
    def test_the_first_write_ends_them(self, harness: Harness) -> None:
        """Behind each prefix of a record the next one has a line of its own: one bad line, one repair counted."""
        assert [] == lengths_with_trouble(harness)

    @pytest.mark.timeout(60)
    def test_catches_a_sink_that_does_not_look(self, harness: Harness) -> None:
        """The test fails where a sink believes that every file ends in a whole line."""
        assert list(range(1, len(RECORD))) == lengths_with_trouble(harness, "no_tail_repair")


def tear(nth: int) -> dict[str, object]:
    """Return what kills a writer in the middle of its nth record."""
    return {"action": "tear", "call": "write", "ending": "}\n", "nth": nth}


def torn_beside_a_living_writer(harness: Harness, mutant: str | None = None) -> list[str]:
    """Tear a write of one process between two of another that has the file open; return what the judge finds."""
    held = {"action": "hold", "call": "write", "ending": "}\n", "nth": 4}
    living = harness.start(Job(count=8, system=held, mutant=mutant), wait=False)
    until(lambda: living.duty[Duty.REACHED], "it is about to write its fourth record")
    victim = harness.start(Job(system=tear(harness.rng.randint(1, 5))), wait=False)
    victim.killed = True
    victim.wait()
    living.duty[Duty.GO_ON] = 1
    living.wait()
    return harness.judge(bad_lines=1)


class TestTornByAKill:
    @pytest.mark.timeout(60)
    def test_a_newcomer_ends_the_line_of_the_dead(self, new_harness: Callable[..., Harness]) -> None:
        """What a writer killed in the middle of a write leaves is one bad line and costs no other record."""
        found: list[str] = []
        for nth in range(1, 6):
            harness = new_harness()
            victim = harness.start(Job(system=tear(nth)), wait=False)
            victim.killed = True
            victim.wait()
            harness.prove_alive(Job(count=3))
            found += harness.judge(bad_lines=1)
        assert [] == found

    @pytest.mark.timeout(60)
    def test_the_living_end_the_line_of_the_dead(self, harness: Harness) -> None:
        """A writer that has the file open loses nothing to half a line that another one left before its record."""
        assert [] == torn_beside_a_living_writer(harness)

    @pytest.mark.timeout(60)
    def test_catches_a_sink_that_does_not_look(self, harness: Harness) -> None:
        """The test fails where a record is left behind the half line of another process."""
        assert caught(torn_beside_a_living_writer(harness, "no_tail_repair"), "O")
