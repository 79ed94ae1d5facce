"""The reading commands on a real server of object storage."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner, Result

from structllm.archive.directory import DirectoryStore
from structllm.cli import cli
from tests.archive.building import OTHER, Archive, chained, lines_of
from tests.archive.conftest import NewStore
from tests.archive.memory_store import MemoryStore
from tests.archive.proxy import CorruptReply, CutReply, Fault, Proxy
from tests.archive.servers import SeaweedFS
from tests.cli.recording import WRITER, LogBuilder

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SEGMENTS = 4


def run(*arguments: object) -> Result:
    """Run the command; return its output, errors and exit status."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="structllm")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


class Both:
    """The same archive in a bucket and in a directory.

    Args:
        url: Of the bucket.
        directory: The directory.
        archive: What was put into the bucket.
    """

    def __init__(self, url: str, directory: Path, archive: Archive) -> None:
        self.url = url
        self.directory = directory
        self.archive = archive


@pytest.fixture
def both(
    bucket: str, seaweedfs: SeaweedFS, new_store: NewStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Both:
    """Return an archive of two owners, one with sealed lines."""
    monkeypatch.chdir(tmp_path)
    Path("arch").mkdir()
    for store in (new_store(bucket, "team/llm", endpoint_url=seaweedfs.url), DirectoryStore("arch")):
        log = LogBuilder(NOON)
        for number in range(SEGMENTS * 10):
            log.now = NOON + number * HOUR / 10
            log.call(number)
        lines = chained(lines_of(log), WRITER)
        archive = Archive(store)
        for number in range(SEGMENTS):
            part = lines[number * 20 : number * 20 + 20]
            archive.add(part, NOON + number * HOUR, final=number == SEGMENTS - 1)
        other = LogBuilder(NOON, writer="other", session="other")
        other.call(9999)
        Archive(store, OTHER, "gzip").add(lines_of(other), NOON, final=True)
    url = f"s3://{bucket}/team/llm?endpoint_url={quote(seaweedfs.url, safe='')}"
    first = Archive(new_store(bucket, "team/llm", endpoint_url=seaweedfs.url))
    first.manifests = archive.manifests
    return Both(url, Path("arch"), first)


class TestReading:
    @pytest.mark.parametrize("command", ["stats", "cost", "sessions"])
    def test_bucket_reads_like_a_directory(self, both: Both, command: str) -> None:
        """A bucket tells the same as the directory, whole and from a time on."""
        for since in ((), ("--since", "2024-01-15T14:30Z")):
            in_bucket, in_directory = run(command, *since, both.url), run(command, *since, both.directory)
            assert (0, in_directory.stdout) == (in_bucket.exit_code, in_bucket.stdout)

    def test_newest(self, both: Both) -> None:
        """The newest events are those of the directory."""
        lines = run("tail", "-n", 3, "--json", both.url).stdout.splitlines()
        assert [78, 79, 80] == [json.loads(line)["seq"] for line in lines]

    def test_bucket_and_directory(self, both: Both) -> None:
        """What is in both counts once."""
        found = json.loads(run("stats", "--json", both.url, both.directory).stdout)
        assert SEGMENTS * 10 + 1 == found["total_completions"]

    def test_listed(self, both: Both) -> None:
        """A listing tells the same of both."""

        def listed(place: object) -> list[tuple[str, int, int, str]]:
            rows = json.loads(run("archive", "ls", "--json", place).stdout)
            return [(row["key"], row["size_bytes"], row["records"], row["last_timestamp"]) for row in rows]

        assert SEGMENTS + 1 == len(listed(both.url))
        assert listed(both.directory) == listed(both.url)


class TestChecking:
    @pytest.mark.parametrize("command", [("verify",), ("archive", "verify")])
    def test_intact(self, both: Both, command: tuple[str, ...]) -> None:
        """What was stored verifies, by both commands."""
        result = run(*command, "--strict", both.url)
        assert (0, 2) == (result.exit_code, result.stdout.count("intact"))

    def test_doctor(self, both: Both) -> None:
        """The doctor reads an archive like a log, and says that it can be read."""
        result = run("doctor", both.url)
        assert (0, True) == (result.exit_code, f"{SEGMENTS * 20 + 2} events in {SEGMENTS + 1} files" in result.stdout)
        assert f"{both.url.partition('?')[0]} can be read" in result.stdout

    def test_replaced(self, both: Both, bucket: str, seaweedfs: SeaweedFS) -> None:
        """An object that somebody replaced, checksum, metadata and all, is altered."""
        forged = MemoryStore()
        log = LogBuilder(NOON)
        log.call(1)
        manifest = Archive(forged).add(lines_of(log), NOON)
        client = seaweedfs.client()
        key = both.archive.manifests[1].object_key
        client.put_object(
            Bucket=bucket,
            Key=f"team/llm/{key}",
            Body=forged.objects[manifest.object_key],
            Metadata=manifest.metadata(),
            ChecksumAlgorithm="SHA256",
        )
        client.close()
        result = run("archive", "verify", "--json", both.url)
        rows = [(row["verdict"], row["path"]) for row in json.loads(result.stdout)["findings"]]
        assert 1 == result.exit_code
        assert ("altered", f"s3://{bucket}/team/llm/{key}") in rows

    def test_deleted(self, both: Both, bucket: str, seaweedfs: SeaweedFS) -> None:
        """An object that somebody deleted is missing."""
        client = seaweedfs.client()
        key = both.archive.manifests[2].object_key
        client.delete_object(Bucket=bucket, Key=f"team/llm/{key}")
        client.close()
        result = run("archive", "verify", "--json", both.url)
        rows = [(row["verdict"], row["path"]) for row in json.loads(result.stdout)["findings"]]
        assert 1 == result.exit_code
        assert ("missing", f"s3://{bucket}/team/llm/{key}") in rows


class TestRestoring:
    def test_comes_back(self, both: Both) -> None:
        """What comes back reads like the archive, and is there the second time."""
        assert 0 == run("archive", "restore", both.url, "--to", "out").exit_code
        assert run("stats", both.directory).stdout == run("stats", "out").stdout
        rows = json.loads(run("archive", "restore", both.url, "--to", "out", "--json").stdout)
        assert ["there"] * (SEGMENTS + 1) == [row["outcome"] for row in rows]


class TestTrouble:
    def test_no_bucket(self, both: Both, seaweedfs: SeaweedFS) -> None:
        """A bucket that is not there is one sentence, whatever is asked of it."""
        url = f"s3://no-such-bucket/x?endpoint_url={quote(seaweedfs.url, safe='')}"
        for command in (("stats",), ("tail",), ("verify",), ("archive", "ls"), ("archive", "verify")):
            result = run(*command, url)
            assert (2, 1, "") == (result.exit_code, len(result.stderr.splitlines()), result.stdout)
            assert "no-such-bucket" in result.stderr

    def test_other_secret(self, both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor do wrong credentials show more than a sentence, and never themselves."""
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x" * 40)
        result = run("stats", both.url)
        assert (2, 1) == (result.exit_code, len(result.stderr.splitlines()))
        assert "x" * 40 not in result.output

    def test_through_a_proxy(self, both: Both, bucket: str, proxy: Proxy) -> None:
        """The address in the URL is the one that is asked."""
        url = f"s3://{bucket}/team/llm?endpoint_url={quote(proxy.url, safe='')}"
        assert run("stats", both.directory).stdout == run("stats", url).stdout

    @pytest.mark.parametrize("fault", [CutReply(200), CutReply(200, reset=True), CorruptReply(200)])
    def test_object_that_does_not_arrive(self, both: Both, bucket: str, proxy: Proxy, fault: Fault) -> None:
        """An object that breaks off, or arrives changed, is named; the others are read; the next run gets it."""
        url = f"s3://{bucket}/team/llm?endpoint_url={quote(proxy.url, safe='')}"
        key = both.archive.manifests[1].object_key
        proxy.on("GET", fault, path=key)
        result = run("stats", "--json", url)
        assert (1, True) == (result.exit_code, f"could not read s3://{bucket}/team/llm/{key}" in result.stderr)
        assert json.loads(result.stdout)["total_completions"] >= (SEGMENTS - 1) * 10 + 1
        result = run("archive", "verify", "--json", url)
        rows = [(row["verdict"], row["path"]) for row in json.loads(result.stdout)["findings"]]
        assert [("unreadable", f"s3://{bucket}/team/llm/{key}")] == [row for row in rows if row[0] != "intact"]
        result = run("archive", "restore", url, "--to", "out", "--json")
        outcomes = [row["outcome"] for row in json.loads(result.stdout)]
        assert (1, 1, SEGMENTS) == (result.exit_code, outcomes.count("unreadable"), outcomes.count("restored"))
        proxy.heal()
        result = run("archive", "restore", url, "--to", "out", "--json")
        outcomes = [row["outcome"] for row in json.loads(result.stdout)]
        assert (0, 1, SEGMENTS) == (result.exit_code, outcomes.count("restored"), outcomes.count("there"))
