"""Where the demo archives its session: in SeaweedFS, a real S3 server, where that is installed; else in a directory.

The server is a process of this command's own: it listens on the loopback interface alone, with a key that is drawn for
it, and it and its files are gone when the demo ends.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

BUCKET = "structllm-demo"

_START_S = 20.0
_STOP_S = 10.0
_PORTS = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
_MORE_PORTS = ("filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc")


class Storage(NamedTuple):
    """An archive for one demo.

    Attributes:
        sink: The settings of a sink that fills it.
        place: How commands name it.
        about: What it is, in a few words.
    """

    sink: Mapping[str, Any]
    place: str
    about: str


class Archived(NamedTuple):
    """What came of archiving a session.

    Attributes:
        place: The archive, as commands name it.
        segments: How many there are.
        records: Events in them, by their manifests.
        verdicts: What `structllm archive verify` says, and how often.
    """

    place: str
    segments: int
    records: int
    verdicts: Mapping[str, int]


def archived(storage: Storage) -> Archived:
    """Bring what still waits into the archive, check it, and tell what is there."""
    from structllm.archive.checking import check_archive
    from structllm.archive.listing import rows_of
    from structllm.archive.opening import open_store
    from structllm.archive.pushing import push
    from structllm.archive.reading import segments
    from structllm.sinks.archiving import ArchiveSinkConfig
    from structllm.sinks.registry import load_sink_config

    config = load_sink_config(storage.sink)
    if isinstance(config, ArchiveSinkConfig):
        push(config)
    store = open_store(storage.place)
    rows = list(rows_of(store, segments(store)))
    verdicts = Counter(str(remark.verdict) for remark in check_archive(store))
    return Archived(storage.place, len(rows), sum(row.records or 0 for row in rows), dict(verdicts))


@contextmanager
def storage_for(directory: Path, *, server: bool) -> Generator[Storage]:
    """Provide an archive for the session that is logged to a directory; its files lie beside that.

    Args:
        directory: Of the session. `NAME.archive` beside it is the archive, where that is a directory.
        server: Whether it may be an S3 server, where one is installed.
    """
    spool = directory.with_name(f"{directory.name}.spool")
    common = {"name": "archive", "spool_dir": str(spool), "integrity": "chain"}
    try:
        beside = directory.with_name(f"{directory.name}.seaweedfs").absolute()  # the server runs in it
        with _server(beside) if server else nullcontext() as url:
            if url is None:
                path = directory.with_name(f"{directory.name}.archive")
                about = "a directory"
                if server and _installed() is not None:
                    about = "a directory, for SeaweedFS is installed and did not start"
                yield Storage({"type": "directory", "path": str(path), **common}, str(path), about)
            else:
                place = f"s3://{BUCKET}/llm?endpoint_url={url}"
                settings = {"type": "s3", "bucket": BUCKET, "prefix": "llm", "endpoint_url": url}
                yield Storage({**settings, **common}, place, "SeaweedFS, started for this demo")
    finally:
        _remove_empty(spool)


def _remove_empty(spool: Path) -> None:
    """Delete a spool in which no segment waits: what waits is still to be archived."""
    if not any(path.suffix not in {"", ".lock"} for path in spool.rglob("*") if path.is_file()):
        shutil.rmtree(spool, ignore_errors=True)


@contextmanager
def _server(directory: Path) -> Generator[str | None]:
    """Run a server and give its URL; None where there is none, or it does not start in time."""
    program = _installed()
    if program is None:
        yield None
        return
    key, secret = f"DEMO{secrets.token_hex(8).upper()}", secrets.token_hex(20)
    before = {name: os.environ.get(name) for name in _variables(key, secret)}
    directory.mkdir(mode=0o700)
    process: subprocess.Popen[bytes] | None = None
    try:
        process, url = _started(program, directory, key, secret)
        os.environ.update(_variables(key, secret))
        yield url if _is_up(process, url) and _has_bucket(url) else None
    finally:
        _end(process)
        shutil.rmtree(directory, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _installed() -> str | None:
    """Return the server's program, where that and a client are installed."""
    program = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    return None if find_spec("boto3") is None else program


def _variables(key: str, secret: str) -> dict[str, str]:
    """Return what boto3 finds its credentials in; the user's own are not looked at."""
    return {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_SESSION_TOKEN": "",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _started(program: str, directory: Path, key: str, secret: str) -> tuple["subprocess.Popen[bytes]", str]:
    ports = dict(zip((*_PORTS, *_MORE_PORTS), free_ports(len(_PORTS) + len(_MORE_PORTS)), strict=True))
    actions = ["Admin", "Read", "Write", "List"]
    who = {"name": "demo", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
    config = directory / "identities.json"
    config.write_text(json.dumps({"identities": [who]}))
    config.chmod(0o600)
    data = directory / "data"
    data.mkdir()
    command = [program, "-logtostderr=true", "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.localSocket=s3.sock",
        "-s3.autoCreateBucket=false",
    ]
    command += ["-webdav=false", "-admin.ui=false", *(f"-{name}={port}" for name, port in ports.items())]
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=data)
    return process, f"http://127.0.0.1:{ports['s3.port']}"


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _is_up(process: "subprocess.Popen[bytes]", url: str) -> bool:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except urllib.error.HTTPError as error:  # it answers, and asks who this is
            with error:
                return True
        except OSError:
            time.sleep(0.05)
    return False


def _has_bucket(url: str) -> bool:
    """Make the bucket; return whether that worked."""
    # By name, since boto3 has no types.
    boto3, botocore, errors = (import_module(name) for name in ("boto3", "botocore.config", "botocore.exceptions"))
    config = botocore.Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=10)
    client: Any = boto3.session.Session().client("s3", endpoint_url=url, config=config)
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s:  # its parts come up one after the other
        try:
            client.create_bucket(Bucket=BUCKET)
            return True
        except (errors.BotoCoreError, errors.ClientError):
            time.sleep(0.2)
    return False


def _end(process: "subprocess.Popen[bytes] | None") -> None:
    if process is None:
        return
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
    # It leaves its local sockets behind, each named after the port beside it.
    for argument in process.args if isinstance(process.args, list) else ():
        if match := re.fullmatch(r"-(\w+)\.port(\.grpc)?=(\d+)", str(argument)):
            part = match[1] + ("-grpc" if match[2] else "")
            Path(f"/tmp/seaweedfs-{part}-{match[3]}.sock").unlink(missing_ok=True)  # where it puts them
