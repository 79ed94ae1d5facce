"""What archiving costs: segments of 8 MB, sealed and stored in a real S3 server, beside a plain upload by boto3.

The plain upload puts the same sealed bytes, with boto3's own checksum, and no more: no condition, no manifest, and it
neither reads the spool nor deletes anything from it. The figures are for one segment; in CPU time the server's share is
not contained, since that is another process.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks.racing import Race, Target, Variant
from structllm._system import System
from structllm._types import Record
from structllm.archive import parse_key
from structllm.archive.s3 import S3Store
from structllm.sinks.archiver import Archiver
from structllm.sinks.sealing import SegmentSealer, pack
from structllm.sinks.spool import Spool
from structllm.sinks.spooled import SpooledSink
from tests.archive.servers import SeaweedFS

SEGMENT_BYTES = 8_000_000
ROUNDS = 25
"""Of 8 MB each: 200 MB."""

WORDS = [
    "momentum",
    "trend",
    "holds",
    "while",
    "the",
    "position",
    "stays",
    "as",
    "it",
    "is",
    "until",
    "volume",
    "returns",
    "and",
    "risk",
    "allows",
    "more",
    "size",
]


def events() -> list[Record]:
    """Return events that fill a segment, as different as an agent's are."""
    rng, records, size = random.Random(1), list[Record](), 0
    while size < SEGMENT_BYTES:
        event: dict[str, Any] = {
            "event_type": "completion_response",
            "timestamp": f"2024-01-15T10:{rng.randrange(60):02}:{rng.randrange(60):02}.{rng.randrange(1000):03}Z",
            "session_id": "abc12345",
            "level": "INFO",
            "schema_version": 1,
            "writer": "wtr_67890def01234567",
            "seq": len(records) + 1,
            "request_id": f"req_{rng.getrandbits(64):016x}",
            "response_time_ms": round(rng.uniform(200, 4000), 1),
            "token_usage": {"prompt_tokens": rng.randrange(4000), "completion_tokens": rng.randrange(900)},
            "cost_estimate_usd": rng.random() / 1000,
            "response_preview": " ".join(rng.choices(WORDS, k=140)),
        }
        line = orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
        records.append(Record("completion_response", 20, line, event))
        size += len(line)
    return records[:-1]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """Return a server with a bucket."""
    with SeaweedFS(tmp_path_factory.mktemp("s3") / "seaweedfs") as server:
        server.client().create_bucket(Bucket="benchmark")
        yield server


class Segments:
    """Spools with one segment each, so that every repetition has one that is fresh.

    Args:
        directory: Where they are.
        store: Where they go.
        records: What is in each.
    """

    def __init__(self, directory: Path, store: S3Store, records: list[Record]) -> None:
        self._directory = directory
        self._store = store
        self._records = records
        self._ready: list[Archiver] = []
        self.made = 0

    def make(self, count: int, *, sealed: bool) -> None:
        """Make so many more."""
        for _ in range(count):
            path = self._directory / str(self.made)
            self.made += 1
            sink = SpooledSink(self._store, str(path), segment_max_bytes=2 * SEGMENT_BYTES)
            sink.write(self._records)
            sink._segment.end()
            spool = Spool(System(), str(path))
            sealer = SegmentSealer(spool, "zstd")
            if sealed:
                for segment in spool.open_segments():
                    assert sealer.seal(segment)
            self._ready.append(Archiver(spool, sealer, self._store))

    def archive(self) -> None:
        """Archive one."""
        assert self._ready.pop().run() is None


class TestArchive:
    """One segment of 8 MB."""

    @pytest.mark.timeout(600)
    def test_a_segment(
        self,
        race: Callable[[Race], Race],
        tmp_path: Path,
        closing: ExitStack,
        server: SeaweedFS,
        monkeypatch: pytest.MonkeyPatch,
        pytestconfig: pytest.Config,
    ) -> None:
        """Every variant stores every byte; then what each costs."""
        for name, value in server.credentials.environment().items():
            monkeypatch.setenv(name, value)
        store, client, records = S3Store("benchmark", "llm", endpoint_url=server.url), server.client(), events()
        closing.callback(store.close)
        content = b"".join(record.line for record in records)
        body, uploaded = pack(content, "zstd"), 0
        count = ROUNDS + 1 if pytestconfig.getoption("benchmark_enable") else 2
        sealed, fresh = (Segments(tmp_path / name, store, records) for name in ("sealed", "open"))
        sealed.make(count, sealed=True)
        fresh.make(count, sealed=False)

        def upload() -> None:
            nonlocal uploaded
            uploaded += 1
            client.put_object(Bucket="benchmark", Key=f"plain/{uploaded}", Body=body)

        def run(action: Callable[[], None]) -> Callable[[int], None]:
            return lambda times: [action() for _ in range(times)] and None

        variants = [
            Variant("boto3 upload", run(upload)),
            Variant("structllm, sealed", run(sealed.archive)),
            Variant("structllm, open", run(fresh.archive)),
            Variant("zstd alone", run(lambda: pack(content, "zstd") and None)),
        ]
        for variant in variants:
            variant.run(1)
        targets = [Target("structllm, sealed", "boto3 upload", 3.0)]
        title = f"a segment of {len(content) / 1e6:.1f} MB, {len(body) / 1e6:.2f} MB compressed"
        done = race(Race(title, variants, 1, targets, rounds=ROUNDS))
        objects = [found for found in store.under("v1/") if parse_key(found.key) is not None]
        assert 2 * (done.repetitions + 1) == len(objects)
        assert {len(body)} == {found.size_bytes for found in objects}
