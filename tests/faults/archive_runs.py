"""Runs of the programs in `archiving.py` and `archive_hosts.py`, and the judge of what is in the archive then.

A test module says `brood, new_run = fixtures()`, and a test::

    run = new_run()
    run.fill(40)                                       # a process logs 40 records and is killed
    run.archive(system={"action": "kill", "nth": 7})   # another archives, and is killed at its seventh step
    run.archive()
    assert [] == run.judge()

The judge reads all objects back, without the product's code. Its letters:

- `O` a record is owed and in no object.
- `D` one is there twice, or nobody logged it.
- `P` a line does not parse.
- `W` an object was changed.
- `M` a manifest is missing, or tells something else.
- `E` segments, or what belongs to them, are left in the spool.
- `Q` there is something else in quarantine than the test says.
- `T` half a file has its name already.
- `X` a process ended otherwise than by our kill.
"""

import hashlib
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.faults.archiving import archive, fill
from tests.faults.cases import Brood, program
from tests.faults.harness import Harness, Job, Writer
from tests.faults.judge import delivered, parsed, read_lines


class Run:
    """One archive, its spool, and the processes that work on them.

    Args:
        directory: Scratch.
        brood: Forks the programs.
        seed: Of everything random.

    Attributes:
        spool: The spool's directory.
        archived: The archive's directory.
        bucket: Settings of the S3 store instead, with `environment` for credentials.
    """

    def __init__(self, directory: Path, brood: Brood, seed: int) -> None:
        self.harness = Harness(directory, brood, seed)
        self.spool = directory / "spool"
        self.archived = directory / "archive"
        self.archived.mkdir()
        self.bucket: Mapping[str, Any] = {}
        self.environment: Mapping[str, str] = {}
        self._directory = directory
        self._seen: dict[str, tuple[int, str]] = {}
        self._changed: list[str] = []

    def start(
        self, function: Callable[..., None], job: Job | None = None, *, wait: bool = True, **extra: Any
    ) -> Writer:
        """Start a program on this spool and archive."""
        where = {"spool": str(self.spool), "archive": str(self.archived)}
        where |= {"bucket": self.bucket, "environment": self.environment} if self.bucket else {}
        return self.harness.start(program(function, job, **{**where, **extra}), wait=wait)

    def fill(self, count: int = 20, **extra: Any) -> Writer:
        """Have a process log records, ten a segment, and be killed."""
        writer = self.start(fill, Job(count=count), wait=False, **extra)
        if not extra.get("lingers"):
            writer.killed = True
            writer.wait()
        return writer

    def archive(self, *, system: Mapping[str, Any] | None = None, **extra: Any) -> Writer:
        """Archive the spool in a process, and wait for its end."""
        writer = self.start(archive, Job(system=system), wait=False, **extra)
        writer.killed = system is not None and system["action"] != "hold"
        writer.wait()
        self.look()
        return writer

    def start_and_wait(self, function: Callable[..., None], job: Job | None = None, **extra: Any) -> Writer:
        """Start a program and wait for its end."""
        writer = self.start(function, job, wait=False, **extra)
        writer.wait()
        return writer

    def told(self, writer: Writer) -> dict[str, Any]:
        """Return what a program has left."""
        path = self._directory / f"{writer.name}.told.json"
        told: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return told

    def trace(self, writer: Writer) -> list[str]:
        """Return the steps of a program up to where it was killed; none where it was not."""
        path = self._directory / f"{writer.name}.trace.json"
        steps: list[str] = json.loads(path.read_text()) if path.exists() else []
        return steps

    def like(self, other: "Run") -> "Run":
        """Take over the spool, the writers and what they owe from another run."""
        shutil.copytree(other.spool, self.spool)
        self.harness.writers.extend(other.harness.writers)
        return self

    def objects(self, prefix: str = "") -> dict[str, Path]:
        """Return the objects in the archive's directory: key to file."""
        files = sorted(path for path in self.archived.rglob("*") if path.is_file() and path.name[0] != ".")
        keys = {str(path.relative_to(self.archived)): path for path in files}
        return {key: path for key, path in keys.items() if key.startswith(prefix)}

    def look(self) -> None:
        """Note what objects there are and which have changed since the last look."""
        for key, path in self.objects().items():
            now = (path.stat().st_ino, hashlib.sha256(path.read_bytes()).hexdigest())
            if self._seen.setdefault(key, now) != now:
                self._changed.append(f"W {key} was changed")
            self._seen[key] = now

    def bring(self, server: Any, bucket: str) -> None:
        """Bring the objects of a bucket to the archive's directory, and note those that have more than one version."""
        client = server.client()
        versions = client.list_object_versions(Bucket=bucket).get("Versions", [])
        for version in versions:
            if [other["Key"] for other in versions].count(version["Key"]) > 1:
                self._changed.append(f"W {version['Key']} was changed")
            path = self.archived / version["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            body = client.get_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])["Body"]
            path.write_bytes(body.read())
            body.close()
        client.close()

    def hold(self, objects: Mapping[str, bytes]) -> None:
        """Have these objects in the archive's directory."""
        for key, body in objects.items():
            path = self.archived / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)

    def names_in(self, *places: str) -> list[str]:
        """Return the files in some of the spool's directories."""
        return sorted(path.name for place in places for path in (self.spool / place).glob("*"))

    def torn(self) -> list[str]:
        """Return the violations where a file of `sealed/` that has its name has not all its bytes."""
        bodies = sorted((self.spool / "sealed").glob("*.jsonl.zst"))
        return [f"T {path.name} is torn" for path in bodies if not _is_whole(path)]

    def judge(self, *, quarantined: int = 0, owed_from: Mapping[str, Sequence[int]] | None = None) -> list[str]:
        """Return the violations; none for an archive that keeps its promises."""
        self.look()
        lines = [line for path in self.objects("v1/").values() for line in read_lines(path)]
        found = [*self._changed, *parsed(lines, 0), *delivered(lines, self.harness.writers, owed_from or {})]
        found += self._manifests()
        if left := self.names_in("open", "sealed"):
            found.append(f"E left in the spool: {left[:6]}")
        refused = [name for name in self.names_in("quarantine") if ".jsonl" in name]
        if len(refused) != quarantined:
            found.append(f"Q in quarantine: {refused[:6]}")
        for writer in self.harness.writers:
            assert writer.status is not None, f"{writer.name} still runs"
            if writer.status not in {0, -signal.SIGKILL if writer.killed else 0}:
                path = self._directory / f"{writer.name}.stderr"
                found.append(f"X {writer.name} ended with {writer.status}: {path.read_text()[-1500:]}")
        print(*found, sep="\n")
        return found

    def _manifests(self) -> Iterator[str]:
        manifests = {path.name.split(".")[0]: json.loads(path.read_bytes()) for path in self.objects("_m").values()}
        for key, path in self.objects("v1/").items():
            told = manifests.pop(path.name.split(".")[0], None)
            if told is None:
                yield f"M {key} has no manifest"
                continue
            lines = list(read_lines(path))
            if told["sha256"] != hashlib.sha256(path.read_bytes()).hexdigest():
                yield f"M the manifest of {key} is of other bytes"
            if told["summary"]["records"] != len(lines):
                yield f"M the manifest of {key} tells {told['summary']['records']} records for {len(lines)}"
        yield from (f"M {stem} is nowhere" for stem in manifests)


def _is_whole(path: Path) -> bool:
    try:
        return zstandard.ZstdDecompressor().decompress(path.read_bytes()).endswith(b"\n")
    except zstandard.ZstdError:
        return False


def fixtures(module: str = "tests.faults.archiving") -> tuple[Any, Any]:
    """Return two fixtures for a test module: the brood of the programs here, or of its own, and what makes runs."""

    @pytest.fixture(scope="module")
    def brood() -> Iterator[Brood]:
        """Return what forks the programs."""
        brood = Brood(module)
        yield brood
        brood.close()

    @pytest.fixture
    def new_run(tmp_path: Path, brood: Brood) -> Iterator[Callable[..., Run]]:
        """Return a function that makes runs; their processes are killed at the end."""
        made: list[Run] = []

        def make() -> Run:
            seed = int(os.environ.get("FAULT_SEED", random.SystemRandom().getrandbits(32)))
            made.append(Run(tmp_path / f"run{len(made)}", brood, seed))
            return made[-1]

        yield make
        for run in made:
            run.harness.abort()

    return brood, new_run
