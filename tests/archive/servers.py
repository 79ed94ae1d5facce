"""Real S3 servers on free ports of the loopback interface: SeaweedFS, and rclone as one without conditional writes.

Each is a process of its own, started with a deadline and ended by its pid. Keys and secrets are drawn for each server.
"""

import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from structllm.demo.storage import free_ports
from tests.waiting import comes_true

START_S = 30.0
STOP_S = 10.0
_TRIES = 3
_BIN = Path(sys.executable).parent


class Credentials(NamedTuple):
    """An access key and its secret."""

    key: str
    secret: str

    @classmethod
    def drawn(cls) -> Self:
        """Return new ones."""
        return cls("AK" + secrets.token_hex(9).upper(), secrets.token_hex(20))

    def environment(self) -> dict[str, str]:
        """Return the variables that boto3 reads."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


class Server:
    """An S3 server; use it as a context manager.

    Attributes:
        url: Its endpoint.
        port: Of the endpoint.
        credentials: Of somebody who may do everything.
        directory: Where it keeps its files.
        bucket: The one that tests share, one after the other; empty text before there is one.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.credentials = Credentials.drawn()
        self.port = 0
        self.bucket = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, or start it again on the ports it had, and wait until it answers."""
        again = self.port != 0
        for _ in range(_TRIES):
            if not again:
                self._choose_ports()
            self.directory.mkdir(parents=True, exist_ok=True)
            with (self.directory.parent / f"{self.directory.name}.log").open("ab") as log:
                self._process = subprocess.Popen(
                    self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory
                )
            if comes_true(lambda: self._has_ended() or self._answers(), START_S) and not self._has_ended():
                return
            self.stop(kill=True)
        raise AssertionError(f"{type(self).__name__} did not start: {log.name}")

    def stop(self, *, kill: bool = False) -> None:
        """End it, at once with `kill`, and wait until it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)
        self._clean_up()

    def client(self, credentials: Credentials | None = None) -> Any:
        """Return a plain boto3 client, for what a test does behind a store's back."""
        import boto3
        from botocore.config import Config

        used = credentials or self.credentials
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=used.key,
            aws_secret_access_key=used.secret,
            config=Config(
                s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 4}
            ),
        )

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=2):
                return True
        except urllib.error.HTTPError as error:
            with error:
                return error.code < 500
        except OSError:
            return False

    def _choose_ports(self) -> None:
        (self.port,) = free_ports(1)

    def _clean_up(self) -> None:
        """Remove what a killed server leaves outside its directory."""

    def _command(self) -> Sequence[str]:
        raise NotImplementedError


class SeaweedFS(Server):
    """A server with conditional writes, checksums, Object Lock, versions. It makes no bucket by itself.

    Attributes:
        reader: Credentials of somebody who may only read and list.
        writer: Credentials of somebody who may only write.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.reader = Credentials.drawn()
        self.writer = Credentials.drawn()
        self._ports: dict[str, int] = {}

    def _choose_ports(self) -> None:
        names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
        names += ("filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc")
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.port = self._ports["s3.port"]

    def _clean_up(self) -> None:
        for name, port in self._ports.items():
            part = name.replace(".port", "").replace(".", "-")
            Path(f"/tmp/seaweedfs-{part}-{port}.sock").unlink(missing_ok=True)

    def _command(self) -> Sequence[str]:
        allowed = {
            self.credentials: ["Admin", "Read", "Write", "List", "Tagging"],
            self.reader: ["Read", "List"],
            self.writer: ["Write"],
        }
        identities = [
            {"name": who.key, "credentials": [{"accessKey": who.key, "secretKey": who.secret}], "actions": actions}
            for who, actions in allowed.items()
        ]
        config = self.directory.parent / f"{self.directory.name}.json"
        config.write_text(json.dumps({"identities": identities}))
        return [
            str(_BIN / "weed"),
            "-logtostderr=true",
            "mini",
            f"-dir={self.directory}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-s3.config={config}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",  # it has a fixed port otherwise, which two servers cannot share
            "-s3.localSocket=s3.sock",  # below its working directory; in /tmp otherwise
            "-s3.autoCreateBucket=false",
            "-webdav=false",
            "-admin.ui=false",
            *(f"-{name}={port}" for name, port in self._ports.items()),
        ]


class Rclone(Server):
    """A server that ignores `If-None-Match` and every checksum but MD5. Buckets are directories in its own."""

    def _command(self) -> Sequence[str]:
        return [
            str(_BIN / "rclone"),
            "serve",
            "s3",
            f"--addr=127.0.0.1:{self.port}",
            f"--auth-key={self.credentials.key},{self.credentials.secret}",
            "--config=",
            "--vfs-cache-mode=off",
            str(self.directory),
        ]
