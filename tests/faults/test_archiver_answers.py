"""Fault cases 14, 15, 17, 18 and 19: what stores answer, or do not, and what else is on a key."""

import math
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from structllm.sinks.directory import DirectorySinkConfig
from tests.archive.proxy import Corrupt, Cut, Fault, LoseReply, Proxy, ReplaceReply, Stall
from tests.archive.scripted import (
    ACCESS_DENIED,
    CONFLICT,
    EXPIRED_TOKEN,
    INTERNAL_ERROR,
    NO_SUCH_BUCKET,
    SLOW_DOWN,
    TOO_MANY,
    Answer,
    Request,
    ScriptedS3,
)
from tests.archive.servers import Credentials, SeaweedFS
from tests.faults.archive_runs import Run, fixtures
from tests.faults.archiving import archive, host, retry
from tests.faults.cases import stderr_of
from tests.faults.harness import TIMEOUT_S, Job, Writer, caught, until

brood, new_run = fixtures()

NewRun = Callable[..., Run]
PACE = 100.0
TRIES = 250
LEAST_CHANCE = 1e-6
"""Of a draw as uneven as the one that was seen."""


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """Return a server with conditional writes and checksums."""
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs") / "data") as server:
        yield server
        server.stop(kill=True)  # it takes its time otherwise


def bucket_for(run: Run, server: SeaweedFS, proxy: Proxy) -> str:
    """Let a run archive to a new bucket that keeps all versions, by way of the proxy; return its name."""
    name = f"logs-{secrets.token_hex(6)}"
    client = server.client()
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    client.close()
    run.bucket = {"bucket": name, "endpoint_url": proxy.url, "connect_timeout_s": 5, "read_timeout_s": 10}
    run.environment = server.credentials.environment()
    return name


def scripted_for(run: Run, url: str) -> None:
    """Let a run archive to the scripted server."""
    run.bucket = {"bucket": "logs", "endpoint_url": url, "connect_timeout_s": 0.3, "read_timeout_s": 0.2}
    run.environment = Credentials.drawn().environment()


def held(scripted: ScriptedS3) -> dict[str, bytes]:
    """Return what the scripted server holds, by key."""
    return {path.removeprefix("/logs/"): body for path, body in scripted.objects.items()}


def unevenness(draws: list[float]) -> float:
    """Return the greatest distance between the distribution of draws from [0, 1] and the uniform one."""
    count = len(draws)
    return max(max((n + 1) / count - draw, draw - n / count) for n, draw in enumerate(sorted(draws)))


class TestLostReplies:
    def lost(self, new_run: NewRun, seaweedfs: SeaweedFS, proxy: Proxy, damage: str | None) -> tuple[Run, Writer]:
        """Archive while the reply to every other put is lost, or is a 500."""
        run: Run = new_run()
        bucket = bucket_for(run, seaweedfs, proxy)
        run.fill(40)
        rng, lost = run.harness.rng, list[str]()

        def choose(method: str, path: str) -> Fault | None:
            if method == "PUT" and "/v1/" in path and not lost:  # one for certain
                lost.append(path)
                return LoseReply()
            return rng.choice([None, None, LoseReply(), ReplaceReply(500)]) if method == "PUT" else None

        proxy.choose = choose
        archiver = run.archive(pace=PACE, damage=damage)
        run.bring(seaweedfs, bucket)
        return run, archiver

    def test_what_was_stored_is_found(self, new_run: NewRun, seaweedfs: SeaweedFS, proxy: Proxy) -> None:
        """A segment whose reply was lost is compared with what is there, and counts as stored: once, and unchanged."""
        run, archiver = self.lost(new_run, seaweedfs, proxy, None)
        assert [] == run.judge()
        health = run.told(archiver)["health"]
        assert proxy.faults
        assert health["found_there"] >= 1
        assert proxy.count("HEAD") >= health["found_there"]
        assert 0 == health["quarantined"]

    def test_catches(self, new_run: NewRun, seaweedfs: SeaweedFS, proxy: Proxy) -> None:
        """The judge sees where what is there is not compared."""
        run, _ = self.lost(new_run, seaweedfs, proxy, "believes_none_is_ours")
        assert caught(run.judge(), "Q")


class TestServerDies:
    def test_in_the_middle_of_an_upload(self, new_run: NewRun, seaweedfs: SeaweedFS, proxy: Proxy) -> None:
        """A server that is killed during an upload, and comes back, has each record once in the end."""
        run: Run = new_run()
        bucket = bucket_for(run, seaweedfs, proxy)
        run.fill(60)
        puts = 0
        killed = threading.Event()

        def choose(method: str, path: str) -> Fault | None:
            nonlocal puts
            puts += method == "PUT"
            if puts == 5 and not killed.is_set():
                seaweedfs.stop(kill=True)
                killed.set()
            return None

        proxy.choose = choose
        archiver = run.start(archive, Job(), wait=False, pace=PACE)
        assert killed.wait(TIMEOUT_S)
        seaweedfs.start()
        archiver.wait()
        run.bring(seaweedfs, bucket)
        assert [] == run.judge()
        assert run.told(archiver)["health"]["retries"] >= 1


class TestTrouble:
    @pytest.mark.parametrize(("damage", "letters"), [(None, ""), ("gives_up", "OM")])
    def test_six_of_ten_requests_fail(
        self, new_run: NewRun, scripted: ScriptedS3, damage: str | None, letters: str
    ) -> None:
        """Whatever mixture of errors, resets, silence and failing names it meets, each record is stored once."""
        run: Run = new_run()
        run.fill(36)
        rng = run.harness.rng
        answers = [SLOW_DOWN, TOO_MANY, CONFLICT, INTERNAL_ERROR, Answer(500, "InternalError", stored=True)]

        def script(request: Request) -> Answer | None:
            return rng.choice(answers) if rng.random() < 0.4 else None

        def choose(method: str, path: str) -> Fault | None:
            return rng.choice([Cut(), Cut(50), LoseReply(), LoseReply(), Stall(10)]) if rng.random() < 0.25 else None

        with Proxy(urlsplit(scripted.url).port or 0) as proxy:
            scripted.script, proxy.choose = script, choose
            scripted_for(run, proxy.url)
            archiver = run.archive(pace=30 * PACE, dns_fails=0.1, damage=damage)
        run.hold(held(scripted))
        found = run.judge()
        if letters:  # it may have lost everything before the first put
            assert caught(found, letters)
            return
        assert [] == found
        assert {"*"} == {
            request.headers.get("if-none-match") for request in scripted.requests if request.method == "PUT"
        }
        assert run.told(archiver)["health"]["retries"] >= 1

    @pytest.mark.parametrize(
        ("damage", "holds"),
        [(None, True), ("no_delay", False), ("no_jitter", False), ("half_jitter", False), ("longer_delays", False)],
    )
    def test_delays_are_drawn_from_the_whole_range(self, new_run: NewRun, damage: str | None, holds: bool) -> None:
        """Between two tries lie up to `min(60 s, 0.5 s * 2**n)`, evenly drawn, and nothing is tried in between."""
        run: Run = new_run()
        run.fill(5)
        told = run.told(run.start_and_wait(retry, tries=TRIES, damage=damage))
        longest = [min(60.0, 0.5 * 2 ** min(n, 20)) for n in range(TRIES)]
        draws = [delay / most for delay, most in zip(told["delays"], longest, strict=True)]
        greatest_chance = unevenness(draws) <= math.sqrt(-math.log(LEAST_CHANCE / 2) / (2 * TRIES))
        assert holds == (max(draws) <= 1.0 and told["tries"] == TRIES and greatest_chance)


class TestMendedByPeople:
    @pytest.mark.parametrize(
        ("answer", "reason"),
        [(ACCESS_DENIED, "access_denied"), (NO_SUCH_BUCKET, "no_such_bucket"), (EXPIRED_TOKEN, "expired_credentials")],
    )
    def test_waits_and_says_why(self, new_run: NewRun, scripted: ScriptedS3, answer: Answer, reason: str) -> None:
        """Until somebody mends it nothing is deleted, and it is told once what is wrong; then all arrives by itself."""
        run, writer, found = self.failing(new_run, scripted, answer, reason)
        assert [] == found
        scripted.script = lambda request: None
        until(lambda: run.told(writer)["s3"]["health"]["sealed"] == 0, "all is stored")
        until(lambda: "error" not in run.told(writer)["s3"]["health"], "all is well")
        run.harness.finish()
        run.hold(held(scripted))
        assert [] == run.judge()
        assert 1 == stderr_of(run.harness, writer).count("what is not archived waits in")

    @pytest.mark.parametrize("damage", ["gives_up", "keeps_quiet"])
    def test_catches(self, new_run: NewRun, scripted: ScriptedS3, damage: str) -> None:
        """The test sees where data is deleted after some tries, and where nobody is told."""
        run, _, found = self.failing(new_run, scripted, ACCESS_DENIED, "access_denied", damage)
        run.harness.abort()
        assert found

    def failing(
        self, new_run: NewRun, scripted: ScriptedS3, answer: Answer, reason: str, damage: str | None = None
    ) -> tuple[Run, Writer, list[str]]:
        """Start a host whose store answers this; return what is wrong after some tries."""
        run: Run = new_run()
        scripted.script = lambda request: answer
        scripted_for(run, scripted.url)
        sink = {"type": "s3", "spool_dir": str(run.spool.parent / "spools"), "segment_max_bytes": 65_536, **run.bucket}
        writer = run.start(host, Job(count=200, sinks=[sink]), damage=damage)
        until(lambda: "s3" in run.told(writer), "all is logged")
        (run.spool,) = (run.spool.parent / "spools").iterdir()
        until(lambda: self.retries(run, writer) >= 2, "it is tried")
        until(lambda: self.retries(run, writer) >= 14 or not self.bodies(run), "it is tried again and again")
        health = run.told(writer)["s3"]["health"]
        found = [f"left are {self.bodies(run)}"] * (len(self.bodies(run)) != 2)
        if health.get("error") != reason or run.bucket["bucket"] not in health.get("last_error", ""):
            found.append(f"the health is {health}")
        return run, writer, found

    def retries(self, run: Run, writer: Writer) -> int:
        """Return how often the host has tried again."""
        retries: int = run.told(writer)["s3"]["health"]["retries"]
        return retries

    def bodies(self, run: Run) -> list[str]:
        """Return the sealed segments."""
        return [name for name in run.names_in("sealed") if ".jsonl" in name]


class TestOneSegment:
    """What is wrong with one segment, others do not have to wait for."""

    def corrupted(
        self, new_run: NewRun, seaweedfs: SeaweedFS, proxy: Proxy, damage: str | None
    ) -> tuple[Run, list[str], bool]:
        """Corrupt each body of one segment on its way; return what the judge finds, and if quarantine is as it was."""
        run: Run = new_run()
        run.fill(30)
        run.archive(rounds=1, bucket={"bucket": "x", "endpoint_url": "http://127.0.0.1:1"}, environment={})  # seals
        (victim,) = sorted(run.spool.glob("sealed/*-00000001.jsonl.zst"))
        original = victim.read_bytes()
        bucket = bucket_for(run, seaweedfs, proxy)
        proxy.on("PUT", Corrupt(20), path=victim.name)
        run.archive(pace=PACE, damage=damage, rounds=12 if damage else 1000)
        tries = sum(method == "PUT" and victim.name in path for method, path in proxy.requests)
        kept = run.spool / "quarantine" / victim.name
        whole = kept.exists() and kept.read_bytes() == original
        run.bring(seaweedfs, bucket)
        if kept.exists():  # what it holds is owed by nobody but the quarantine
            run.hold({f"v1/{victim.name}": kept.read_bytes()})
            run.hold(
                {f"_manifest/{victim.name}.json": kept.with_name(victim.name.split(".")[0] + ".json").read_bytes()}
            )
        return run, run.judge(quarantined=1) + [f"T {tries} tries"] * (tries > 3), whole

    def test_corrupted_on_its_way(self, new_run: NewRun, seaweedfs: SeaweedFS, proxy: Proxy) -> None:
        """A segment that arrives changed is tried three times, and then kept aside as it is; others are stored."""
        _, found, whole = self.corrupted(new_run, seaweedfs, proxy, None)
        assert [] == found
        assert whole

    @pytest.mark.parametrize("damage", ["tries_refused_for_ever", "one_blocks_all", "quarantines_another"])
    def test_catches(self, new_run: NewRun, seaweedfs: SeaweedFS, proxy: Proxy, damage: str) -> None:
        """The test sees where it is tried for ever, where others wait for it, and where other bytes are kept."""
        _, found, whole = self.corrupted(new_run, seaweedfs, proxy, damage)
        assert found or not whole

    @pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
    def test_changed_in_the_spool(self, new_run: NewRun, compression: str) -> None:
        """A sealed segment whose bytes are not those of its manifest is kept aside; the others are stored."""
        run, victim, others = self.sealed(new_run, compression)
        body = bytearray(victim.read_bytes())
        body[len(body) // 2] ^= 1
        victim.write_bytes(body)
        archiver = run.archive(rounds=300, pace=PACE)
        assert others == len(run.objects("v1/")), run.told(archiver)
        assert [victim.name] == [name for name in run.names_in("quarantine") if ".jsonl" in name]

    def test_unreadable_in_the_spool(self, new_run: NewRun) -> None:
        """A sealed segment that cannot be read keeps no other waiting."""
        run, victim, others = self.sealed(new_run, "zstd")
        victim.rename(victim.with_name("away"))
        victim.symlink_to("away")  # which is not followed: opening it fails
        run.archive(rounds=300, pace=PACE)
        assert others == len(run.objects("v1/"))

    def sealed(self, new_run: NewRun, compression: str) -> tuple[Run, Path, int]:
        """Return a run with sealed segments, the file of the first, and how many others there are."""
        run: Run = new_run()
        run.fill(30)
        shutil.rmtree(run.archived)
        run.archive(rounds=1, compression=compression)
        run.archived.mkdir()
        bodies = [path for path in sorted(run.spool.glob("sealed/*")) if ".jsonl" in path.name]
        return run, bodies[0], len(bodies) - 1


class TestOnTheSameKey:
    def foreign(self, new_run: NewRun, damage: str | None) -> tuple[list[str], dict[str, Any]]:
        """Archive where a foreign object has the key of a segment; return what the judge finds, and the health."""
        run: Run = new_run()
        run.fill(30)
        first = sorted(run.spool.glob("open/*.jsonl"))[0].stem
        key = self.key_of(first)
        run.hold({key: b"somebody else's"})
        run.look()
        archiver = run.archive(damage=damage, rounds=50)
        run.look()
        foreign = run.archived / key
        found = [] if foreign.read_bytes() == b"somebody else's" else ["W the foreign object was changed"]
        kept = run.spool / "quarantine" / f"{first}.jsonl.zst"
        foreign.unlink()
        if kept.exists():
            run.hold({f"v1/aside/{kept.name}": kept.read_bytes()})
            run.hold({f"_manifest/aside/{first}.json": kept.with_name(f"{first}.json").read_bytes()})
        return found + run.judge(quarantined=1), run.told(archiver)["health"]

    def test_a_foreign_object_stays(self, new_run: NewRun) -> None:
        """It is not overwritten; the segment is kept aside with the reason, and the others are stored."""
        found, health = self.foreign(new_run, None)
        assert [] == found
        assert 1 == health["quarantined"]

    def test_people_are_told_of_it(self, new_run: NewRun) -> None:
        """That a segment was kept aside is said on stderr, also where the next one is stored at once."""
        run: Run = new_run()
        sink = {"type": "directory", "path": str(run.archived), "spool_dir": str(run.spool.parent / "spools")}
        run.spool = DirectorySinkConfig(**sink).spool
        run.fill(14)
        first = run.names_in("open")[0].split(".")[0]
        run.hold({self.key_of(first): b"somebody else's"})
        writer = run.start(host, Job(count=0, sinks=[sink]))
        until(lambda: run.names_in("quarantine") and not run.names_in("open", "sealed"), "all is dealt with")
        until(lambda: run.told(writer).get("directory", {}).get("health", {}).get("uploaded") == 1, "it is noted")
        run.harness.finish()
        assert 1 == stderr_of(run.harness, writer).count(f"another object is at {self.key_of(first)}")

    def key_of(self, stem: str) -> str:
        """Return the key of a segment."""
        return f"v1/dt={stem[:4]}-{stem[4:6]}-{stem[6:8]}/hour={stem[9:11]}/{stem}.jsonl.zst"

    @pytest.mark.parametrize("damage", ["overwrites", "believes_all_are_ours"])
    def test_catches(self, new_run: NewRun, damage: str) -> None:
        """The test sees where it is overwritten, and where it is taken for ours."""
        found, _ = self.foreign(new_run, damage)
        assert caught(found, "WO")

    @pytest.mark.parametrize(("damage", "letters"), [(None, ""), ("overwrites", "W"), ("believes_none_is_ours", "Q")])
    def test_two_archivers_on_copies_of_a_spool(self, new_run: NewRun, damage: str | None, letters: str) -> None:
        """Both find that all is stored; each record is there once, and no object was touched twice."""
        run: Run = new_run()
        run.fill(40)
        other: Run = new_run()
        late = run.spool.parent / "late"
        shutil.copytree(run.spool, other.spool)
        shutil.copytree(run.spool, late)
        spools = [str(run.spool), str(other.spool)]
        both = [run.start(archive, Job(), wait=False, damage=damage, rounds=100, spool=spool) for spool in spools]
        for archiver in both:
            archiver.wait()
        shutil.copytree(late, other.spool, dirs_exist_ok=True)  # and a third one later
        run.look()
        run.archive(damage=damage, rounds=100, spool=str(other.spool))
        found = run.judge() + [f"E {name}" for name in other.names_in("open", "sealed")]
        found += [f"Q {name}" for name in other.names_in("quarantine")]
        assert caught(found, letters) if letters else [] == found

    @pytest.mark.parametrize(("damage", "letters"), [(None, ""), ("overwrites", "OW")])
    def test_two_hosts_with_the_same_names(self, new_run: NewRun, damage: str | None, letters: str) -> None:
        """Of segments of the same name and other bytes the first is stored; the second is kept aside, and told of."""
        run: Run = new_run()
        other: Run = new_run()
        run.fill(7, cloned=True)
        run.spool, other.spool = other.spool, run.spool
        run.fill(7, cloned=True)
        run.archive(damage=damage)
        run.archive(damage=damage, spool=str(other.spool))
        aside = [name for name in other.names_in("quarantine") if ".jsonl" in name]
        for name in aside:
            run.hold({f"v1/aside/{name}": (other.spool / "quarantine" / name).read_bytes()})
        found = [violation for violation in run.judge() if violation[0] in "OWEX"]
        assert caught(found, letters) if letters else [] == found
        assert (0 if letters else 1) == len(aside)
