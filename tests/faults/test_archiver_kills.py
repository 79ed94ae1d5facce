"""Fault case 13: the archiver is killed at each single step, and what it left is archived by the next one."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.archive_runs import Run, fixtures
from tests.faults.harness import caught

brood, new_run = fixtures()

NewRun = Callable[..., Run]
MOST_STEPS = 400
RECORDS = 14
"""In two segments, of which the second ends with half a line."""

NEEDED = {
    "open",
    "try_lock",
    "read_at",
    "write",
    "sync",
    "rename",
    "sync_directory",
    "unlink",
    "store_put",
    "store_link",
}


@pytest.fixture
def spooled(new_run: NewRun) -> Run:
    """Return a run whose spool was left by a killed writer."""
    run: Run = new_run()
    run.fill(RECORDS, half_line=True)
    return run


def killed_at(run: Run, damage: str | None = None, **system: Any) -> tuple[list[str], list[str]]:
    """Kill an archiver at a step and let another go on; return what the judge finds, and the steps until the kill."""
    victim = run.archive(system={"action": "kill", **system}, damage=damage)
    torn = run.torn()
    run.archive(damage=damage, rounds=50)
    return torn + run.judge(), run.trace(victim)


class TestKills:
    def test_each_step_may_be_the_last(self, spooled: Run, new_run: NewRun) -> None:
        """Wherever sealing or storing is broken off, each record is archived once, and the spool is empty then."""
        found: dict[str, list[str]] = {}
        met: set[str] = set()
        for step in range(1, MOST_STEPS):
            violations, steps = killed_at(new_run().like(spooled), nth=step)
            if not steps:  # it came to its end
                break
            met.add(steps[-1])
            if violations:
                found[f"{step}: {steps[-4:]}"] = violations
        assert {} == found
        assert set() == NEEDED - met

    def test_each_write_may_be_torn(self, spooled: Run, new_run: NewRun) -> None:
        """A file of which half is written is never taken for a whole one."""
        found: dict[int, list[str]] = {}
        torn = 0
        for nth in range(1, MOST_STEPS):
            violations, steps = killed_at(new_run().like(spooled), action="tear", call="write", nth=nth)
            if not steps:
                break
            torn += 1
            if violations:
                found[nth] = violations
        assert {} == found
        assert torn >= 6  # body, manifest and head of two segments

    def test_killed_again_and_again(self, new_run: NewRun) -> None:
        """An archiver that never gets far gets there all the same."""
        run: Run = new_run()
        run.fill(35)
        for _ in range(40):
            run.archive(system={"action": "kill", "nth": run.harness.rng.randint(15, 60)})
        run.archive()
        assert [] == run.judge()

    def test_half_a_line_is_cut_off_and_counted(self, spooled: Run) -> None:
        """What a killed writer had not finished is no record, and statistics say how many bytes that were."""
        last = spooled.archive()
        assert [] == spooled.judge()
        assert 27 == spooled.told(last)["health"]["torn_bytes"]

    def test_each_segment_names_the_one_before(self, spooled: Run) -> None:
        """Also where the archiver was killed between a sealed segment and the note of it, the next one anchors it."""
        killed_at(spooled, call="rename", nth=3)  # manifest, body, and then the note
        first, second = (json.loads(path.read_bytes()) for path in spooled.objects("_manifest/").values())
        assert first["sha256"] == second["previous_sha256"]

    @pytest.mark.parametrize(
        ("damage", "letters", "system"),
        [
            ("overwrites", "W", {"call": "store_put", "after": True}),
            ("believes_none_is_ours", "Q", {"call": "store_put", "after": True}),
            ("deletes_first", "O", {"call": "store_put"}),
            ("leaves_the_manifest_out", "ME", {"call": "store_put", "nth": 2}),
            ("name_before_content", "T", {"action": "tear", "call": "write", "nth": 2}),
            ("unlinks_before_sealing", "O", {"call": "rename"}),
        ],
    )
    def test_catches(self, spooled: Run, new_run: NewRun, damage: str, letters: str, system: dict[str, Any]) -> None:
        """The judge sees what each of these ways to do it wrong loses, repeats, changes or leaves behind."""
        found, steps = killed_at(new_run().like(spooled), damage, **system)
        assert steps
        assert caught(found, letters)
