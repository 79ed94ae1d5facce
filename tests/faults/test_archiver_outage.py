"""Fault cases 16, 20 and 21: the archive is away for long, the spool is full or hurt, writers die and others live."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.archive.scripted import NO_SUCH_BUCKET, Answer, ScriptedS3
from tests.archive.servers import Credentials
from tests.faults.archive_hosts import MOST_TRIES, RECORD_BYTES, SPOOL_BYTES, beside, examine, flood, forks, hurt
from tests.faults.archive_runs import Run, fixtures
from tests.faults.archiving import host
from tests.faults.harness import Duty, Job, Writer, caught, until
from tests.faults.judge import accounted, read_lines

brood, new_run = fixtures("tests.faults.archive_hosts")

NewRun = Callable[..., Run]
BLOCKS = 100
BLOCK = 100
EACH = 200
"""Records of each of two writers: 100 MB in all."""


class TestAway:
    def outage(self, new_run: NewRun, damage: str | None, blocks: int, block: int) -> tuple[Run, Writer, list[str]]:
        """Log to an archive that is away, and let it come back; return what is wrong."""
        run: Run = new_run()
        # Who waits for the store waits for the disk where it works, so it has to be away for longer than that takes.
        fails_after_s = 0.1 if damage == "waits_for_the_store" else 0.005
        sizes = {"blocks": blocks, "block": block, "segment_max_bytes": 200_000, "fails_after_s": fails_after_s}
        other = str(run.spool.parent / "beside")
        writer = run.start_and_wait(beside, Job(threads=2), damage=damage, beside=other, **sizes)
        told = run.told(writer)
        found = [f"R log() takes {told['ratio']:.2f} times as long"] * (told["ratio"] > 1.5)
        found += [f"N {told['tries']} tries"] * (told["tries"] > MOST_TRIES)
        found += [f"B {told['grown']} bytes more"] * (told["grown"] > 20_000_000)
        found += [f"H {told['health']}"] * (told["health"].get("error") != "connection")
        found += [f"L not all arrived: {told['arrived']}"] * (told["arrived"] != [True, True])
        return run, writer, found + run.judge()

    def test_nobody_waits_for_it(self, new_run: NewRun) -> None:
        """While it is away `log()` is as quick, memory stays, few tries are made; then all is stored."""
        run, writer, found = self.outage(new_run, None, BLOCKS, BLOCK)
        assert [] == found
        assert [BLOCKS * BLOCK] * 2 == writer.owed
        assert 1 <= run.told(writer)["tries"]

    @pytest.mark.parametrize(("damage", "letters"), [("no_delay", "N"), ("waits_for_the_store", "R")])
    def test_catches(self, new_run: NewRun, damage: str, letters: str) -> None:
        """The test sees where the store is tried all the time, or waited for."""
        blocks, block = (6, 4) if damage == "waits_for_the_store" else (50, 100)
        assert caught(self.outage(new_run, damage, blocks, block)[2], letters)


class TestFullSpool:
    def flooded(self, new_run: NewRun, damage: str | None, each: int) -> tuple[Run, Writer, int]:
        """Log more than may wait, by a writer that is killed and by another; return the most that was there."""
        run: Run = new_run()
        run.archived.rmdir()
        most = 0

        def is_reached(writer: Writer) -> bool:
            nonlocal most
            most = max(most, self.used_bytes(run))
            return bool(writer.duty[Duty.REACHED])

        first = run.start(flood, Job(), damage=damage, records=each)
        until(lambda: is_reached(first), "the first has logged")
        first.kill()
        second = run.start(flood, Job(), damage=damage, records=each)
        until(lambda: is_reached(second), "the second has logged")
        run.archived.mkdir()
        second.duty[Duty.GO_ON] = 1
        second.wait()
        run.archive()
        return run, second, most

    def used_bytes(self, run: Run) -> int:
        """Return what is in the spool, as `du` would."""
        total = 0
        for place in ("open", "sealed", "quarantine"):
            try:
                with os.scandir(run.spool / place) as entries:
                    for entry in entries:
                        try:
                            total += entry.stat().st_size
                        except FileNotFoundError:
                            continue
            except FileNotFoundError:
                continue
        return total

    def test_holds_no_more_than_it_may(self, new_run: NewRun) -> None:
        """The spool never outgrows its bound; what is dropped is counted and told, and the rest is stored once."""
        run, second, most = self.flooded(new_run, None, EACH)
        assert SPOOL_BYTES // 2 < most <= SPOOL_BYTES + RECORD_BYTES + 1000
        assert [] == [violation for violation in run.judge() if violation[0] != "O"]
        (account,) = second.stats()["sinks"].values()
        lines = [line.event for path in run.objects("v1/").values() for line in read_lines(path) if line.event]
        there = {event["n"] for event in lines if event.get("who") == f"{second.name}.0"}
        missing = set(range(sum(second.owed))) - there
        # It may have found the spool full from the beginning, so that it is known by its gap alone.
        others = {event["writer"] for event in lines if "who" in event and event["who"] != f"{second.name}.0"}
        (own,) = {event["writer"] for event in lines} - others
        gaps = [event for event in lines if event["event_type"] == "log_gap" and event["writer"] == own]
        assert len(missing) == account["dropped"]["spool_full"] == sum(account["dropped"].values())
        assert len(missing) == sum(gap["dropped"]["spool_full"] for gap in gaps)
        assert [] == accounted(second, lossless=False)
        numbers = {event["seq"] for event in lines if event["writer"] == own}
        told_of = {seq for gap in gaps for seq in range(gap["first_seq"], gap["last_seq"] + 1)}
        assert set(range(1, max(numbers) + 1)) - numbers == told_of - numbers

    def test_catches(self, new_run: NewRun) -> None:
        """The test sees a spool without a bound."""
        _, _, most = self.flooded(new_run, "no_bound", 50)
        assert most > SPOOL_BYTES + RECORD_BYTES + 1000


class TestWriters:
    @pytest.mark.parametrize(("damage", "adopted"), [(None, True), ("adopts_nothing", False)])
    def test_a_dead_writers_segment_is_stored_by_another(
        self, new_run: NewRun, damage: str | None, adopted: bool
    ) -> None:
        """What a killed process had in its segment, another one archives that starts later."""
        run: Run = new_run()
        sink = {"type": "directory", "path": str(run.archived), "spool_dir": str(run.spool)}
        dead = run.start(host, Job(count=30, sinks=[sink]), keeps_open=True)
        until(lambda: run.told(dead), "it has logged")
        dead.kill()
        (run.spool,) = run.spool.iterdir()
        assert 1 == len(run.names_in("open"))
        another = run.start(host, Job(count=0, sinks=[sink]), damage=damage)
        if adopted:
            until(lambda: run.objects("_manifest/") and not run.names_in("open", "sealed"), "it is stored")
        else:
            until(lambda: run.told(another), "it has started")
        run.harness.finish()
        assert caught(run.judge(), "OE") != adopted

    @pytest.mark.parametrize(("damage", "letters"), [(None, ""), ("claims_without_lock", "TOD")])
    def test_a_live_writers_segment_is_left_alone(self, new_run: NewRun, damage: str | None, letters: str) -> None:
        """A segment that somebody writes is never sealed by others: none of its records comes to be elsewhere."""
        run: Run = new_run()
        live = run.fill(4, lingers=True)
        until(lambda: live.owed == [4], "it has logged")
        (segment,) = run.spool.glob("open/*")
        inode = segment.stat().st_ino
        run.archive(damage=damage, rounds=3)
        found = [] if segment.exists() and segment.stat().st_ino == inode else ["T it was taken"]
        found += [f"T {key} is stored" for key in run.objects()]
        live.killed = True
        live.stop()
        live.wait()
        run.archive(rounds=30)
        found += run.judge() + [f"T {len(run.objects('v1/'))} segments"] * (len(run.objects("v1/")) != 1)
        assert caught(found, letters) if letters else [] == found

    def test_a_fork_in_the_middle_of_a_put(self, new_run: NewRun) -> None:
        """A child that was forked while a segment was stored, and lives on, keeps nobody from archiving."""
        run: Run = new_run()
        writer = run.start_and_wait(forks)
        assert run.told(writer)["arrived"]
        assert [] == run.judge()

    def test_a_store_is_renewed_in_a_forked_child(self, new_run: NewRun) -> None:
        """A child uses none of its parent's connections: the store is told of the fork."""
        run: Run = new_run()
        writer = run.start_and_wait(forks)
        assert 1 == run.told(writer)["renewed"]


class TestHurtSpool:
    @pytest.mark.parametrize(("how", "reason"), [("read_only", "no_permission"), ("full", "disk_full")])
    def test_says_so_and_goes_on(self, new_run: NewRun, how: str, reason: str) -> None:
        """While it cannot be written, drops are counted with the reason, and one sentence says what is wrong."""
        run: Run = new_run()
        sink = {"type": "directory", "path": str(run.archived), "spool_dir": str(run.spool)}
        writer = run.start_and_wait(hurt, Job(sinks=[sink]), how=how)
        told = run.told(writer)
        (run.spool,) = run.spool.iterdir()
        dropped = told["during"]["dropped"]
        assert {reason} == set(dropped)
        if how == "read_only":
            assert told["during"]["health"].get("error") is not None
            assert 1 == len(told["problems"])
            assert "not writable" in told["problems"][0]
        lost = [violation for violation in run.judge() if not violation.startswith("O")]
        assert [] == lost
        lines = [line.event for path in run.objects("v1/").values() for line in read_lines(path) if line.event]
        there = {event["n"] for event in lines if "who" in event}
        assert len(set(range(sum(writer.owed))) - there) == sum(writer.sink_stats("directory")["dropped"].values())

    def test_a_lock_that_cannot_be_opened_is_told(self, new_run: NewRun) -> None:
        """Where the archiver cannot even find out whether it is the only one, statistics say so."""
        run: Run = new_run()
        run.fill(5)
        (run.spool / "archiver.lock").unlink(missing_ok=True)
        (run.spool / "archiver.lock").mkdir()
        archiver = run.archive(rounds=2)
        assert "spool_error" == run.told(archiver)["health"].get("error")


class TestDoctor:
    @pytest.mark.parametrize(
        ("answer", "reason", "word"),
        [(NO_SUCH_BUCKET, "no_such_bucket", "bucket"), (Answer(403, "InvalidAccessKeyId"), "bad_credentials", "key")],
    )
    def test_one_message_and_nothing_lost(self, new_run: NewRun, answer: Answer, reason: str, word: str) -> None:
        """With a wrong bucket or key, doctor and statistics say the same once; what is logged waits."""
        run: Run = new_run()
        with ScriptedS3() as scripted:
            scripted.script = lambda request: answer
            told = self.examined(run, scripted.url)
        assert 1 == len(told["problems"])
        assert word in told["problems"][0]
        assert reason == told["s3"]["health"]["error"]
        assert (10, 0) == (told["s3"]["delivered"], sum(told["s3"]["dropped"].values()))
        (run.spool,) = run.spool.iterdir()
        assert 1 == len([name for name in run.names_in("sealed") if ".jsonl" in name])

    def test_no_boto3(self, new_run: NewRun) -> None:
        """Without boto3 there is one message, which says what to install."""
        told = self.examined(new_run(), "http://127.0.0.1:9", no_boto3=True)
        assert 1 == len(told["problems"])
        assert "[s3]" in told["problems"][0]
        assert "[s3]" in told["refused"]

    def examined(self, run: Run, url: str, *, no_boto3: bool = False) -> dict[str, Any]:
        """Return what a process found out about a sink."""
        sink = {"type": "s3", "bucket": "logs", "endpoint_url": url, "spool_dir": str(run.spool)}
        environment = Credentials.drawn().environment()
        return run.told(run.start_and_wait(examine, Job(sinks=[sink]), no_boto3=no_boto3, environment=environment))
