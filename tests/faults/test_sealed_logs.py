"""Logs with `integrity`: what many processes, kills and rotation leave is a whole chain for each writer."""

from typing import Any

import pytest

from tests.faults.harness import Harness, Job, caught
from tests.sinks.test_integrity import check


def sealing(**options: Any) -> Job:
    """Return a job whose sink seals its lines."""
    return Job(sink={"integrity": "chain"}, **options)


class TestSealedLogs:
    @pytest.mark.timeout(90)
    def test_processes_and_threads_rotate(self, harness: Harness) -> None:
        """Two processes of four threads each rotate one log: every line is proved."""
        for _ in range(2):
            harness.start(sealing(threads=4, count=300, max_bytes=50_000), wait=False)
        for writer in harness.writers:
            writer.wait()
        checked = check(harness.log)
        assert [] == checked.findings
        events = [line for line in harness.lines() if line.event is not None]
        assert len(events) == sum(found.proved for found in checked.chains.values())
        assert len(harness.files()) > 3
        assert [] == harness.judge()

    @pytest.mark.timeout(90)
    def test_kill_storm(self, harness: Harness) -> None:
        """Writers that are killed leave whole chains, and half a line each at most."""
        endless = sealing(sizes=(250, 200_000), max_bytes=2_000_000)
        living = [harness.start(endless) for _ in range(3)]
        for _ in range(8):
            living.pop(harness.rng.randrange(3)).kill()
            living.append(harness.start(endless))
        harness.finish()
        checked = check(harness.log)
        assert [] == [finding for finding in checked.findings if finding.verdict != "bad"]
        assert checked.count["bad"] <= 8
        assert [] == harness.judge(torn_by_kills=True)

    @pytest.mark.timeout(90)
    def test_catches_lost_lines(self, harness: Harness) -> None:
        """The check fails where rotation loses lines."""
        harness.start(sealing(count=2000, max_bytes=20_000, backup_count=2), wait=False)
        harness.writers[0].wait()
        middle = harness.files()[1]
        middle.unlink()
        assert 1 == check(harness.log).count["missing"]
        assert caught(harness.judge(), "O")
