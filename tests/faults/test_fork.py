"""Fault case 9: a process forks while its threads log, and the children log as well."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.faults.harness import Harness, Job, Line, Writer, caught
from tests.faults.judge import accounted, delivered, ordered, parsed

FORKS, RECORDS = 200, 10
LONGEST_S = 2.0


@dataclass
class Child:
    """A forked child, as the judge sees it."""

    name: str
    owed: list[int]
    killed: bool = False
    status: int | None = 0
    threads: int = 1
    accounts_at_end: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])

    def accounts(self) -> Mapping[str, Mapping[str, Any]]:
        """Return nothing: a child checks its accounts itself."""
        return self.accounts_at_end


def forked(harness: Harness, delivery: str, damage: str = "", forks: int = FORKS, **given: Any) -> list[str]:
    """Fork while two threads log; return what is wrong."""
    extra = {"forks": forks, "records": RECORDS, "longest_s": LONGEST_S, "damage": damage, **given.pop("extra", {})}
    given = {"pause_ms": 0.3, "max_bytes": 300_000, **given}
    job = Job(threads=3, extra=extra, sink={"delivery": delivery}, **given)
    parent = harness.start(job, module="tests.faults.forker", wait=False)
    parent.wait(timeout_s=60.0)
    path = harness.log.parent.parent / f"{parent.name}.children.json"
    statuses: list[int | None] = json.loads(path.read_text())
    lines = harness.lines()
    found = list(stuck(statuses)) if None in statuses else judged(parent, statuses, lines, forks)
    print(*found, sep="\n")
    return found


def stuck(statuses: list[int | None]) -> list[str]:
    """Return the violation of children that did not end; what they logged is not owed."""
    return [f"L child {statuses.index(None)} took more than {LONGEST_S} s"]


def judged(parent: Writer, statuses: list[int | None], lines: list[Line], forks: int) -> list[str]:
    """Return what is wrong with the log."""
    children = [Child(f"{parent.name}c{number}", [RECORDS]) for number in range(forks)]
    family = [parent, *children]
    found = [f"C child {number} ended with {status}" for number, status in enumerate(statuses) if status]
    found += [*parsed(lines, 0), *delivered(lines, family, {}), *ordered(lines, family), *accounted(parent, True)]
    processes: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        if line.event is not None:
            processes[line.event["writer"]].add(line.event["who"].partition(".")[0])
    found += [f"D {writer} is the id of {sorted(names)[:4]}" for writer, names in processes.items() if len(names) > 1]
    if len(processes) != forks + 1:
        found.append(f"D {len(processes)} writers")
    return found


class TestFork:
    @pytest.mark.timeout(90)
    @pytest.mark.parametrize("delivery", ["direct", "background"])
    def test_parent_and_children_lose_and_repeat_nothing(self, harness: Harness, delivery: str) -> None:
        """200 children of a process whose threads log: none hangs, and each record of all of them is there once."""
        assert [] == forked(harness, delivery)

    @pytest.mark.timeout(90)
    @pytest.mark.parametrize(
        ("damage", "delivery", "letters"),
        [
            ("keeps_everything", "direct", "LD"),
            ("keeps_its_lock", "direct", "L"),
            ("keeps_its_writer", "direct", "D"),
            ("keeps_its_queue", "background", "DC"),
        ],
    )
    def test_catches(self, harness: Harness, damage: str, delivery: str, letters: str) -> None:
        """The test fails where a child goes on with what belongs to its parent: locks, the writer id, the queue."""
        assert caught(forked(harness, delivery, damage), letters)


SCANNING: Mapping[str, Any] = {
    "extra": {"text_chars": 3000},
    "options": {"settings": {"enable_token_usage_tracking": False}},
    "pause_ms": 0,
    "max_bytes": 3_000_000,
    "forks": 40,
}
"""Redaction as it is by default, and texts that keep it busy: its engine has locks of its own."""


class TestForkWhileScanning:
    @pytest.mark.timeout(120)
    def test_the_child_scans_with_locks_of_its_own(self, harness: Harness) -> None:
        """Where threads of the parent are in the middle of a scan, the child can scan, and loses nothing."""
        assert [] == forked(harness, "direct", **SCANNING)

    @pytest.mark.timeout(120)
    def test_catches(self, harness: Harness) -> None:
        """The test fails where a child goes on with what its parent has compiled."""
        assert caught(forked(harness, "direct", "keeps_its_scanner", **{**SCANNING, "forks": 400}), "L")
