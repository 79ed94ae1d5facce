"""`structllm archive`, and what the other commands do with an archive."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from structllm.archive import SegmentName, Store, StoreUnavailable, object_key, pushing
from structllm.archive.directory import DirectoryStore
from structllm.archive.opening import open_store
from structllm.errors import ConfigError
from structllm.sinks.directory import DirectorySinkConfig
from tests.archive.building import OTHER, OWNER, Archive, chained, lines_of, sealed
from tests.archive.memory_store import MemoryStore
from tests.cli.conftest import Run
from tests.cli.recording import WRITER, LogBuilder, run_on_terminal
from tests.sinks.spooling import records

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
URL = "s3://bucket/llm"
SEGMENTS = 3


def fill(store: Any, key: bytes | None = None) -> Archive:
    """Fill a store with the calls of three hours; the owner has closed."""
    log = LogBuilder(NOON)
    for number in range(SEGMENTS):
        log.now = NOON + number * HOUR
        for call in range(2):
            log.call(10 * number + call)
    lines = chained(lines_of(log), WRITER, key)
    archive = Archive(store)
    for number in range(SEGMENTS):
        archive.add(lines[number * 4 : number * 4 + 4], NOON + number * HOUR, final=number == SEGMENTS - 1)
    return archive


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """A store that is `s3://bucket/llm` for every command."""
    found = MemoryStore()
    found.place = URL

    def opened(url: str) -> Store:
        return found if url == URL else open_store(url)

    monkeypatch.setattr("structllm.archive.opening.open_store", opened)
    return found


@pytest.fixture
def directory() -> Archive:
    """An archive in the directory `arch`."""
    Path("arch").mkdir()
    return fill(DirectoryStore("arch"))


def configure(monkeypatch: pytest.MonkeyPatch, *sinks: Mapping[str, Any]) -> None:
    """Let the settings name these sinks."""
    monkeypatch.setenv("LLM__SINKS", json.dumps(sinks))


class TestList:
    def test_segments(self, run: Run, directory: Archive) -> None:
        """One row for each segment, and a total."""
        lines = run("archive", "ls", "arch").stdout.splitlines()
        assert ["SEGMENT", "RECORDS", "BYTES", "FIRST", "LAST"] == lines[0].split()
        sizes = [manifest.size_bytes for manifest in directory.manifests]
        assert [directory.manifests[0].segment, "4", f"{sizes[0]:,}", "2024-01-15", "12:00:00"] == lines[1].split()[:5]
        assert ["3", "segments", "12", f"{sum(sizes):,}"] == lines[-1].split()

    def test_hours(self, run: Run, directory: Archive) -> None:
        """Or one for each hour, with all that was begun in it."""
        Archive(directory.store, OTHER).add(lines_of(LogBuilder()), NOON)
        rows = json.loads(run("archive", "ls", "--hours", "--json", "arch").stdout)
        assert [("2024-01-15T12", 2, 4), ("2024-01-15T13", 1, 4), ("2024-01-15T14", 1, 4)] == [
            (row["hour"], row["segments"], row["records"]) for row in rows
        ]
        assert ["3", "hours", "4", "12"] == run("archive", "ls", "--hours", "arch").stdout.splitlines()[-1].split()[:4]

    def test_range(self, run: Run, directory: Archive) -> None:
        """Only what a range of time needs."""
        arguments = ("--since", "2024-01-15T13:00Z", "--until", "2024-01-15T13:30Z")
        rows = json.loads(run("archive", "ls", "--json", *arguments, "arch").stdout)
        assert [directory.manifests[1].object_key] == [row["key"] for row in rows]
        assert ["2024-01-15T13:00:00.000Z", "2024-01-15T13:00:03.000Z"] == [
            rows[0]["first_timestamp"],
            rows[0]["last_timestamp"],
        ]

    def test_without_manifest(self, run: Run, store: MemoryStore) -> None:
        """What no manifest tells is not known."""
        del store.objects[fill(store).manifests[0].key]
        row = json.loads(run("archive", "ls", "--json", URL).stdout)[0]
        assert (None, None) == (row["records"], row["first_timestamp"])
        assert "?" in run("archive", "ls", URL).stdout

    def test_missing_object(self, run: Run, store: MemoryStore) -> None:
        """An object that is gone is said to be."""
        del store.objects[fill(store).manifests[0].object_key]
        result = run("archive", "ls", URL)
        assert "missing" in result.stdout
        assert "of 1 segment only the manifest is there" in result.stderr

    def test_nothing(self, run: Run, store: MemoryStore) -> None:
        """Nothing is no table."""
        result = run("archive", "ls", URL)
        assert (0, "", "structllm: no segments there\n") == (result.exit_code, result.stdout, result.stderr)


class TestVerify:
    @pytest.mark.parametrize("command", [("archive", "verify"), ("verify",)])
    @pytest.mark.parametrize("place", [URL, "arch"])
    def test_intact(self, run: Run, store: MemoryStore, directory: Archive, place: str, command: Any) -> None:
        """An archive that nobody changed verifies, in object storage and in a directory, by both commands."""
        fill(store)
        result = run(*command, "--strict", place)
        assert f"intact  3 segments (1-3) of {OWNER}, 12 records\n\nno problems\n" == result.stdout
        assert 0 == result.exit_code

    @pytest.mark.parametrize("command", [("archive", "verify"), ("verify",)])
    def test_altered(self, run: Run, store: MemoryStore, command: Any) -> None:
        """What was changed is named, and fails."""
        key = fill(store).manifests[1].object_key
        store.objects[key] = store.objects[key][:-1] + b"\0"
        result = run(*command, "--json", URL)
        report = json.loads(result.stdout)
        assert (1, False) == (result.exit_code, report["ok"])
        assert ("altered", f"{URL}/{key}") in [(row["verdict"], row["path"]) for row in report["findings"]]

    def test_unanchored(self, run: Run, store: MemoryStore) -> None:
        """What nothing proves fails with --strict alone."""
        Archive(store).add(lines_of(LogBuilder()), NOON)
        assert (0, 1) == (
            run("archive", "verify", URL).exit_code,
            run("archive", "verify", "--strict", URL).exit_code,
        )

    def test_since(self, run: Run, store: MemoryStore) -> None:
        """What was begun before a time may be gone."""
        manifest = fill(store).manifests[0]
        del store.objects[manifest.key], store.objects[manifest.object_key]
        assert 1 == run("archive", "verify", URL).exit_code
        assert 0 == run("archive", "verify", "--since", "2024-01-15T13:00Z", URL).exit_code

    def test_key(self, run: Run, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """The key of integrity=hmac is in a variable."""
        key = os.urandom(16).hex()
        fill(store, key.encode())
        monkeypatch.setenv("AUDIT_KEY", key)
        assert 1 == run("archive", "verify", URL).exit_code
        result = run("archive", "verify", "--hmac-key-env", "AUDIT_KEY", URL)
        assert (0, False) == (result.exit_code, key in result.output)
        assert 2 == run("archive", "verify", "--hmac-key-env", "NO_SUCH_KEY", URL).exit_code

    @pytest.mark.parametrize("places", [(), ("arch",)])
    def test_key_of_the_settings(self, run: Run, monkeypatch: pytest.MonkeyPatch, places: tuple[str, ...]) -> None:
        """Or in the settings, whether or not the archive that they name is named again."""
        key = os.urandom(16).hex()
        Path("arch").mkdir()
        fill(DirectoryStore("arch"), key.encode())
        configure(monkeypatch, {"type": "directory", "path": "arch", "integrity": "hmac", "hmac_key": key})
        result = run("archive", "verify", *places)
        assert (0, False) == (result.exit_code, key in result.output)

    def test_log_and_archive(self, run: Run, store: MemoryStore, log: LogBuilder) -> None:
        """Logs and archives may be checked together."""
        fill(store)
        log.request("r1")
        Path("x.log").write_bytes(b"".join(chained(lines_of(log), WRITER)))
        result = run("verify", "x.log", URL)
        assert (0, 2) == (result.exit_code, result.stdout.count("intact"))

    def test_nothing(self, run: Run, store: MemoryStore) -> None:
        """Where nothing was checked, nothing is said to be right."""
        assert 2 == run("archive", "verify", URL).exit_code


class TestRestore:
    def test_files(self, run: Run, directory: Archive) -> None:
        """Segments come back as files that every command reads."""
        result = run("archive", "restore", "arch", "--to", "out")
        assert (0, "restored   3 segments, 12 records\ndirectory  out\n") == (result.exit_code, result.stdout)
        assert run("stats", "arch").stdout == run("stats", "out").stdout

    def test_again(self, run: Run, directory: Archive) -> None:
        """A second time nothing is fetched."""
        run("archive", "restore", "arch", "--to", "out")
        rows = json.loads(run("archive", "restore", "arch", "--to", "out", "--json").stdout)
        assert ["there"] * SEGMENTS == [row["outcome"] for row in rows]

    def test_range_and_session(self, run: Run, directory: Archive) -> None:
        """Only what was asked for."""
        run("archive", "restore", "arch", "--to", "a", "--since", "2024-01-15T14:00Z")
        assert 1 == len(list(Path("a").glob("2*.jsonl")))
        run("archive", "restore", "arch", "--to", "b", "--session", "nobody")
        assert [] == list(Path("b").glob("2*.jsonl"))

    def test_failure(self, run: Run, store: MemoryStore) -> None:
        """What cannot come back as it was fails, and the rest comes."""
        key = fill(store).manifests[1].object_key
        store.objects[key] = store.objects[key][:-9]
        result = run("archive", "restore", URL, "--to", "out")
        assert (1, 2) == (result.exit_code, len(list(Path("out").glob("2*.jsonl"))))
        assert result.stderr.startswith("structllm: altered 20240115T13-")

    def test_settings(self, run: Run, directory: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a name, the archive of the settings; of several, one has to be named."""
        sinks = [{"type": "directory", "path": "arch", "name": "a"}, {"type": "directory", "path": "b", "name": "b"}]
        configure(monkeypatch, sinks[0])
        assert 0 == run("archive", "restore", "--to", "out").exit_code
        configure(monkeypatch, *sinks)
        result = run("archive", "restore", "--to", "out")
        assert (2, True) == (result.exit_code, "name one" in result.stderr)

    def test_cannot_write(self, run: Run, directory: Archive) -> None:
        """Where the files cannot go is wrong usage."""
        Path("out").write_text("")
        result = run("archive", "restore", "arch", "--to", "out")
        assert (2, "structllm: cannot write to out: File exists\n") == (result.exit_code, result.stderr)

    def test_terminal(self, directory: Archive) -> None:
        """A terminal is shown how far it is, and the same words at the end."""
        output = run_on_terminal("archive", "restore", "arch", "--to", "out")
        assert "restoring" in output
        assert "restored   3 segments, 12 records\ndirectory  out\n" in output


class TestStatus:
    """What waits in spools."""

    @pytest.fixture
    def spool(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The spool of a configured directory archive."""
        Path("arch").mkdir()
        configure(monkeypatch, {"type": "directory", "path": "arch", "spool_dir": "spool"})
        spool = Path(json.loads(run("archive", "status", "--json").stdout)[0]["directory"])
        for name in ("open", "sealed", "quarantine"):
            (spool / name).mkdir(parents=True)
        return spool

    def name(self, number: int, ago_s: float = 0.0) -> SegmentName:
        """Return the name of a segment that was begun so long ago."""
        return SegmentName.begun(datetime.now(UTC).timestamp() - ago_s, OWNER, number)

    def test_empty(self, run: Run, spool: Path) -> None:
        """Nothing waits."""
        result = run("archive", "status")
        assert 0 == result.exit_code
        assert [str(Path("arch").absolute()), "0", "0", "0", "0", "-", str(spool)] == result.stdout.split("\n")[
            1
        ].split()

    def test_counts(self, run: Run, spool: Path) -> None:
        """Segments are counted by what they wait for, with the size of all of them and the age of the oldest."""
        (spool / "open" / f"{self.name(3).stem}.jsonl").write_bytes(b"x" * 100)
        (spool / "open" / f"{self.name(4).stem}.final.jsonl").write_bytes(b"")
        ago_s = 3 * 3600
        start = datetime.now(UTC) - timedelta(seconds=ago_s)
        log = LogBuilder(start)
        log.request("r")
        manifest, body = sealed(lines_of(log), self.name(2, ago_s))
        (spool / "sealed" / f"{manifest.segment}.jsonl.zst").write_bytes(body)
        (spool / "sealed" / f"{manifest.segment}.json").write_bytes(manifest.to_json())
        (found,) = json.loads(run("archive", "status", "--json").stdout)
        assert (2, 1, 0) == (found["open"], found["sealed"], found["quarantined"])
        assert 100 + len(body) == found["bytes"]
        assert ago_s - 5 <= found["oldest_age_s"] <= ago_s + 60

    def test_imported_events_are_not_late(self, run: Run, spool: Path) -> None:
        """Events of last year have not been waiting for a year."""
        log = LogBuilder(NOON)
        log.request("r")
        (spool / "open" / f"{self.name(1).stem}.jsonl").write_bytes(lines_of(log)[0])
        (found,) = json.loads(run("archive", "status", "--json").stdout)
        assert found["oldest_age_s"] <= 3600 + 60

    def test_quarantine(self, run: Run, spool: Path) -> None:
        """What the archive refused is a problem, and says why."""
        stem = self.name(1).stem
        (spool / "quarantine" / f"{stem}.jsonl.zst").write_bytes(b"x")
        (spool / "quarantine" / f"{stem}.reason").write_text('{"reason":"too_large","detail":"it is too large"}')
        result = run("archive", "status")
        assert (1, True) == (result.exit_code, f"{stem} is in quarantine: it is too large" in result.stderr)

    @pytest.mark.parametrize("reason", ["", "[]", "{}", "\xff"])
    def test_reason_that_cannot_be_read(self, run: Run, spool: Path, reason: str) -> None:
        """Whatever became of the file that says why."""
        stem = self.name(1).stem
        (spool / "quarantine" / f"{stem}.reason").write_text(reason, encoding="latin-1")
        assert f"{stem} is in quarantine: refused" in run("archive", "status").stderr

    def test_archive_cannot_be_written(self, run: Run, spool: Path) -> None:
        """Why nothing can be stored at present is asked of the store."""
        Path("arch").rmdir()
        Path("arch").write_text("")
        assert 1 == run("archive", "status").exit_code

    def test_other_spools_beside(self, run: Run, spool: Path) -> None:
        """A spool of an archive that is configured no more is not forgotten."""
        left = spool.parent / "s3-old-00000000"
        (left / "sealed").mkdir(parents=True)
        assert 1 == len(json.loads(run("archive", "status", "--json").stdout))
        (left / "sealed" / f"{self.name(1).stem}.jsonl.zst").write_bytes(b"x")
        result = run("archive", "status")
        assert f"{left.absolute()} is the spool of an archive that the settings do not name" in result.stderr

    def test_no_archive(self, run: Run) -> None:
        """Without an archive there is nothing to look at."""
        assert 2 == run("archive", "status").exit_code


class TestPush:
    """The command, on a directory archive and a spool in which a killed process has left a segment."""

    @pytest.fixture
    def config(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> DirectorySinkConfig:
        """Return the settings of the archive; three events wait in its spool."""
        monkeypatch.setattr(pushing, "_LONGEST_PAUSE_S", 0.01)  # between tries that fail
        configure(monkeypatch, {"type": "directory", "path": "arch", "spool_dir": "spool"})
        config = DirectorySinkConfig(path=Path("arch"), spool_dir=Path("spool"))
        dead = config.build()
        dead.write(list(records(range(1, 4))))
        dead._segment.close()
        return config

    def pushed(self, run: Run, *paths: str) -> tuple[int, dict[str, Any]]:
        """Push; return the exit status and what was told."""
        result = run("archive", "push", "--json", *paths)
        (told,) = json.loads(result.stdout)
        return result.exit_code, told

    def test_all_stored(self, run: Run, config: DirectorySinkConfig) -> None:
        """What waits is stored, and so is what log files hold besides; when nothing is left, all is well."""
        Path("x.log").write_bytes(b"".join(record.line for record in records(range(1, 6))))
        result = run("archive", "push", "x.log")
        assert (0, "") == (result.exit_code, result.stderr)
        assert [str(config.path.absolute()), "2", "0", "0", "2", "3"] == result.stdout.splitlines()[1].split()
        seqs = [json.loads(line)["seq"] for line in run("tail", "--json", "arch").stdout.splitlines()]
        assert [1, 2, 3, 4, 5] == seqs
        code, told = self.pushed(run, "x.log")
        assert (0, 0, 0, 5) == (code, told["stored"], told["shipped"], told["held"])

    def test_out_of_reach(self, run: Run, config: DirectorySinkConfig) -> None:
        """When something is left, it is not, and why is said."""
        config.path.rmdir()
        code, told = self.pushed(run)
        assert (1, 0, 1, True) == (code, told["stored"], told["left"], "does not exist" in told["error"])
        config.path.mkdir()
        assert 0 == self.pushed(run)[0]

    def test_refused(self, run: Run, config: DirectorySinkConfig) -> None:
        """Nor when a segment was refused, which stays said."""
        (name,) = [segment.name for segment in config.unopened().spool.open_segments()]
        foreign = config.path / object_key(name, "zstd")
        foreign.parent.mkdir(parents=True)
        foreign.write_bytes(b"somebody else's")
        for _ in range(2):
            code, told = self.pushed(run)
            assert (1, 1, 0) == (code, told["quarantined"], told["left"])
        assert "1 segment in quarantine; `structllm archive status` says why" in run("archive", "push").stderr

    def test_no_archive(self, run: Run) -> None:
        """Without an archive nothing can be stored."""
        assert 2 == run("archive", "push").exit_code


class TestReading:
    """The other commands on an archive in object storage."""

    @pytest.mark.parametrize("command", ["stats", "cost", "sessions", "errors", "decisions"])
    def test_as_a_directory(self, run: Run, store: MemoryStore, directory: Archive, command: str) -> None:
        """An archive in object storage reads like the same one in a directory."""
        fill(store)
        assert run(command, "arch").stdout == run(command, URL).stdout
        assert {1} == set(store.bodies_opened().values())

    def test_with_a_log(self, run: Run, store: MemoryStore, log: LogBuilder) -> None:
        """What is in a log and in the archive counts once."""
        fill(store)
        log.seq = 8
        log.now = NOON + 2 * HOUR
        for number in (20, 21, 99):
            log.call(number)
        Path("x.log").write_bytes(b"".join(lines_of(log)))
        result = json.loads(run("stats", "--json", URL, "x.log").stdout)
        assert 7 == result["total_completions"]

    def test_since(self, run: Run, store: MemoryStore) -> None:
        """From a time on, only those objects are opened that have events since the hour before it."""
        archive = fill(store)
        assert 0 == run("stats", "--json", "--since", "2024-01-15T15:00Z", URL).exit_code
        assert {archive.manifests[2].object_key: 1} == dict(store.bodies_opened())

    def test_request_before_since(self, run: Run, store: MemoryStore, log: LogBuilder) -> None:
        """A call that was begun before a time is none of those since then, though its request is in another object."""
        log.now = NOON + timedelta(minutes=30)
        log.request("r1")
        log.now = NOON + HOUR + timedelta(minutes=1)
        log.response("r1")
        lines = lines_of(log)
        archive = Archive(store)
        archive.add(lines[:1], NOON)
        archive.add(lines[1:], NOON + HOUR)
        assert 0 == json.loads(run("stats", "--json", "--since", "2024-01-15T13:00Z", URL).stdout)["total_completions"]

    def test_settings_name_archives_alone(self, run: Run, directory: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the settings name an archive and no file, the archive is read."""
        configure(monkeypatch, {"type": "directory", "path": "arch"})
        assert run("stats", "arch").stdout == run("stats").stdout

    def test_settings_name_a_bucket(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """So it is in object storage, with all that it takes to find it."""
        asked: list[str] = []

        def open_store(url: str) -> MemoryStore:
            asked.append(url)
            return MemoryStore()

        monkeypatch.setattr("structllm.archive.opening.open_store", open_store)
        sink = {"type": "s3", "bucket": "b", "prefix": "a b", "region": "r", "endpoint_url": "https://h:1/"}
        configure(monkeypatch, sink)
        assert 0 == run("stats").exit_code
        assert ["s3://b/a%20b?region=r&endpoint_url=https%3A%2F%2Fh%3A1%2F"] == asked

    def test_show(self, run: Run, store: MemoryStore) -> None:
        """A request is found."""
        fill(store)
        assert 0 == run("show", "req_000000000000000a", URL).exit_code

    def test_unreadable(self, run: Run, store: MemoryStore) -> None:
        """An object that cannot be read is named, and the command fails after all others."""
        store.fails[fill(store).manifests[1].object_key] = StoreUnavailable("timeout", "no answer")
        result = run("stats", "--json", URL)
        assert (1, 4, True) == (
            result.exit_code,
            json.loads(result.stdout)["total_completions"],
            "no answer" in result.stderr,
        )

    def test_cannot_be_listed(self, run: Run, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the archive cannot be reached, that is one sentence."""

        def refuse(_: str) -> Any:
            raise StoreUnavailable("no_such_bucket", "there is no bucket of this name; make it")

        monkeypatch.setattr(store, "under", refuse)
        for command in ("stats", "verify", "tail"):
            result = run(command, URL)
            assert (2, "structllm: there is no bucket of this name; make it\n") == (result.exit_code, result.stderr)

    def test_wrong_url(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """A URL that is wrong is not repeated: it may hold a secret."""
        secret = os.urandom(8).hex()
        for command in (("stats",), ("archive", "ls"), ("verify",)):
            result = run(*command, f"s3://bucket/x?secret_key={secret}")
            assert (2, False) == (result.exit_code, secret in result.output)
            assert "does not belong in a URL" in result.stderr

    def test_wrong_settings(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is wrong with an address is one sentence."""

        def refuse(_: str) -> Any:
            raise ConfigError("an archive is this or that")

        monkeypatch.setattr("structllm.archive.opening.open_store", refuse)
        assert "structllm: an archive is this or that\n" == run("stats", URL).stderr


class TestTail:
    def test_newest(self, run: Run, store: MemoryStore) -> None:
        """The newest events, from the newest object alone."""
        archive = fill(store)
        lines = run("tail", "-n", "2", "--json", URL).stdout.splitlines()
        assert ["req_0000000000000015"] * 2 == [json.loads(line)["request_id"] for line in lines]
        assert {archive.manifests[2].object_key: 1} == dict(store.bodies_opened())

    def test_with_a_log(self, run: Run, store: MemoryStore, log: LogBuilder) -> None:
        """The newest of log and archive, by time, none twice."""
        fill(store)
        log.seq = 11
        log.now = NOON + 2 * HOUR + timedelta(seconds=3)
        log.response("req_0000000000000015")
        log.request("new")
        log.write(Path("x.log"))
        lines = run("tail", "-n", "3", "--json", URL, "x.log").stdout.splitlines()
        assert [11, 12, 13] == [json.loads(line)["seq"] for line in lines]

    def test_since(self, run: Run, store: MemoryStore) -> None:
        """Everything since a time."""
        fill(store)
        assert 8 == len(run("tail", "--since", "2024-01-15T13:00Z", "--json", URL).stdout.splitlines())

    def test_follow(self, run: Run, store: MemoryStore) -> None:
        """An archive cannot be followed, and says so."""
        result = run("tail", "-f", URL)
        assert (2, "") == (result.exit_code, result.stdout)
        assert f"{URL} cannot be followed" in result.stderr


class TestUsage:
    @pytest.mark.parametrize("command", ["ls", "verify", "restore"])
    def test_nothing_named(self, run: Run, command: str) -> None:
        """Neither user nor settings name an archive."""
        result = run("archive", command, *(["--to", "out"] if command == "restore" else []))
        assert (2, True) == (result.exit_code, "the settings name no archive" in result.stderr)

    def test_no_such_directory(self, run: Run) -> None:
        """A directory that is not there is wrong usage."""
        result = run("archive", "ls", "nowhere")
        assert (2, True) == (result.exit_code, "no such directory: nowhere" in result.stderr)

    @pytest.mark.parametrize("command", ["ls", "status", "verify", "restore", "push"])
    def test_help(self, run: Run, command: str) -> None:
        """Every command has help and --json, and every option is explained."""
        result = run("archive", command, "--help")
        assert result.stdout.startswith(f"Usage: structllm archive {command}")
        assert "--json" in result.stdout
