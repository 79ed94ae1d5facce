"""The servers of the archive's tests, one of each per worker, and a bucket of its own for every test."""

import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from structllm.archive.s3 import S3Store
from tests.archive.servers import Credentials, Rclone, SeaweedFS, Server

NewStore = Callable[..., S3Store]


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """Return a server with conditional writes and checksums."""
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs") / "data") as server:
        yield server


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rclone]:
    """Return a server that has neither."""
    with Rclone(tmp_path_factory.mktemp("rclone") / "data") as server:
        yield server


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the caller's AWS settings, and give boto3 credentials that no server knows."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    use(monkeypatch, Credentials.drawn())


def use(monkeypatch: pytest.MonkeyPatch, credentials: Credentials) -> None:
    """Let boto3 find these credentials."""
    for name, value in credentials.environment().items():
        monkeypatch.setenv(name, value)


def new_bucket(server: Server) -> str:
    """Make a bucket and return its name."""
    name = f"logs-{secrets.token_hex(6)}"
    client = server.client()
    client.create_bucket(Bucket=name)
    client.close()
    return name


def empty_bucket(server: Server) -> str:
    """Return a bucket that holds nothing: always the same one, since a new one takes SeaweedFS most of a second."""
    if not server.bucket:
        server.bucket = new_bucket(server)
    client = server.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=server.bucket):
        for item in page.get("Contents", ()):
            client.delete_object(Bucket=server.bucket, Key=item["Key"])
    client.close()
    return server.bucket


@pytest.fixture
def bucket(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return an empty bucket in SeaweedFS, whose credentials boto3 finds."""
    use(monkeypatch, seaweedfs.credentials)
    return empty_bucket(seaweedfs)


@pytest.fixture
def new_store() -> Iterator[NewStore]:
    """Return a function that makes stores, whose connections are closed at the end."""
    made: list[S3Store] = []

    def make(*arguments: Any, **options: Any) -> S3Store:
        made.append(S3Store(*arguments, **{"connect_timeout_s": 5, "read_timeout_s": 10, **options}))
        return made[-1]

    yield make
    for store in made:
        store.close()
