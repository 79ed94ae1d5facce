"""Archives by their names."""

import sys
from pathlib import Path

import pytest

from structllm.archive.directory import DirectoryStore
from structllm.archive.opening import is_archive_url, open_store
from structllm.archive.s3 import S3Store
from structllm.errors import ConfigError, MissingExtra
from tests.archive.conftest import use
from tests.archive.servers import SeaweedFS

HOW_TO_WRITE = "an archive is 's3://BUCKET/PREFIX' or the path of a directory"
NO_SECRETS = "a secret does not belong in a URL; boto3 finds credentials by itself (environment, profile, role)"
KNOWN = "unknown option in the URL; known are addressing_style, allow_insecure_endpoint, endpoint_url, profile, region"


def problems(url: str) -> list[str]:
    """Return what is wrong with a URL."""
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert caught.value.__context__ is None
    return list(caught.value.problems)


class TestOpenStore:
    """URLs and paths."""

    @pytest.mark.parametrize(
        ("url", "place"),
        [
            ("s3://logs", "s3://logs"),
            ("s3://logs/", "s3://logs"),
            ("S3://logs/team/llm/", "s3://logs/team/llm"),
            ("s3://logs/team%20a/service=x?region=eu-central-1&profile=audit", "s3://logs/team a/service=x"),
            ("s3://logs/a?endpoint_url=http://127.0.0.1:8333&addressing_style=path", "s3://logs/a"),
            ("s3://logs/a?endpoint_url=https%3A%2F%2Fs3.example.com", "s3://logs/a"),
        ],
    )
    def test_s3(self, url: str, place: str) -> None:
        """A URL gives bucket and prefix, and asks nobody."""
        store = open_store(url)
        assert (S3Store, place) == (type(store), store.place)

    def test_options_arrive(self, seaweedfs: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The options reach the client: the store of a URL reads the server that it names."""
        use(monkeypatch, seaweedfs.credentials)
        client = seaweedfs.client()
        client.put_object(Bucket=bucket, Key="team/llm/v1/a", Body=b"lines")
        client.close()
        store = open_store(f"s3://{bucket}/team/llm?endpoint_url={seaweedfs.url}&region=eu-west-3")
        assert isinstance(store, S3Store)
        with store.open("v1/a") as file:
            assert b"lines" == file.read()
        assert "eu-west-3" == store._s3().meta.region_name
        assert 4 == store._s3().meta.config.retries["total_max_attempts"]
        store.close()

    @pytest.mark.parametrize("path", ["archive", "./archive", "/var/lib/archive", "C:archive", "a?b=c"])
    def test_directory(self, path: str) -> None:
        """Everything else is the path of a directory, which is not looked for yet."""
        store = open_store(path)
        assert (DirectoryStore, str(Path(path).absolute())) == (type(store), store.place)

    def test_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`~` is the user's home."""
        monkeypatch.setenv("HOME", "/home/somebody")
        assert "/home/somebody/archive" == open_store("~/archive").place

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("", [HOW_TO_WRITE]),
            ("gs://logs/a", [f"unknown kind of archive; {HOW_TO_WRITE}"]),
            ("s3:///a", [f"there is no bucket in the URL; {HOW_TO_WRITE}"]),
            ("s3://[/a", [f"there is no bucket in the URL; {HOW_TO_WRITE}"]),
            ("s3://a b/", ["a space or control character in a URL is written in percent form, as in '%20'"]),
            ("s3://a/b#c", ["a '#' in a URL is written '%23'"]),
            ("s3://logs/a?region", ["option 'region' in the URL has no value: '=' is missing"]),
            ("s3://logs/a?region=", ["option 'region' in the URL has no value"]),
            ("s3://logs/a?region=x&region=y", ["'region' is given twice in the URL"]),
            ("s3://logs/a?regoin=x", ["unknown option in the URL; did you mean 'region'?"]),
            ("s3://logs/a?sse=AES256", [KNOWN]),
            ("s3://logs/a?addressing_style=dns", ["'addressing_style' in the URL: must be auto, path or virtual"]),
            (
                "s3://logs/a?endpoint_url=127.0.0.1:8333",
                ["'endpoint_url' in the URL: must begin with 'http://' or 'https://' and name a server"],
            ),
            (
                "s3://logs/a?endpoint_url=http://a:b",
                ["'endpoint_url' in the URL: must begin with 'http://' or 'https://' and name a server"],
            ),
            ("s3://logs/a?sse=x&region", [KNOWN, "option 'region' in the URL has no value: '=' is missing"]),
        ],
    )
    def test_wrong(self, url: str, expected: list[str]) -> None:
        """What is wrong is said, all of it."""
        assert expected == problems(url)

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            (
                "s3://who:hunter2@logs/a",
                "a user name or password does not belong in a URL; boto3 finds credentials by itself",
            ),
            ("s3://logs/a?secret_key=hunter2", NO_SECRETS),
            ("s3://logs/a?aws_access_key_id=hunter2", NO_SECRETS),
            ("s3://logs/a?hunter2=x", KNOWN),
            (
                "s3://logs/a?endpoint_url=http://who:hunter2@127.0.0.1/",
                "'endpoint_url' in the URL: a user name or password does not belong there",
            ),
        ],
    )
    def test_secrets(self, url: str, expected: str) -> None:
        """A secret is refused, and not repeated."""
        assert [expected] == problems(url)

    def test_boto3_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without boto3 an archive in S3 says how to get it, and a directory opens."""
        monkeypatch.setitem(sys.modules, "boto3", None)
        with pytest.raises(MissingExtra, match=r"pip install 'structllm-logging\[s3\]'"):
            open_store("s3://logs")
        open_store("archive")

    def test_is_archive_url(self) -> None:
        """Only object storage is told by its URL; a directory may be a log or an archive."""
        assert [True, True, False, False] == [is_archive_url(url) for url in ("s3://a", "S3://a/b", "s3:/a", "logs/a")]
