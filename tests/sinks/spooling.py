"""What the tests of sinks with a spool share: records, a clock that is moved by hand, and what an archive holds."""

import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence

import orjson
import zstandard

from structllm._system import System
from structllm._types import Record
from structllm.archive import Manifest, StoreError
from tests.archive.memory_store import MemoryStore
from tests.standing_in import stand_in


def record(number: int, writer: str = "w", size_bytes: int = 0, **fields: object) -> Record:
    """Return a record as an emitter renders it, about this large."""
    event = {
        "event_type": "run",
        "timestamp": f"2024-01-15T10:00:{number % 60:02}.000Z",
        "schema_version": 1,
        "writer": writer,
        "seq": number,
        "pad": "x" * max(0, size_bytes - 130),
        **fields,
    }
    return Record("run", 20, orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE), event)


class Clocked(System):
    """The operating system with clocks that stand still until they are moved."""

    def __init__(self) -> None:
        self.seconds = 1_705_312_800.0  # 2024-01-15 10:00 UTC
        self.monotonic = lambda: self.seconds

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class FaultyStore(MemoryStore):
    """A store in memory that fails as it is told.

    Attributes:
        errors: Raised by the next tries to store lines, one each; None lets one through.
        always: Raised by every try to store lines.
        after: Whether the object is stored all the same.
        tries: Keys of all tries to store lines.
    """

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[StoreError | None] = []
        self.always: StoreError | None = None
        self.after = False
        self.tries: list[str] = []

    def put(self, key: str, body: bytes, *, sha256: str, metadata: Mapping[str, str]) -> None:
        """Store an object, or fail."""
        error = None
        if key.startswith("v1/"):
            self.tries.append(key)
            error = self.errors.pop(0) if self.errors else self.always
        if error is None or self.after:
            super().put(key, body, sha256=sha256, metadata=metadata)
        if error is not None:
            raise error

    def hold(self) -> tuple[threading.Event, threading.Event]:
        """Have every put wait; return what says that one has begun, and what lets them go on."""
        begun, go_on = threading.Event(), threading.Event()
        put = self.put

        def held(key: str, body: bytes, *, sha256: str, metadata: Mapping[str, str]) -> None:
            begun.set()
            assert go_on.wait(60)
            put(key, body, sha256=sha256, metadata=metadata)

        stand_in(self, put=held)
        return begun, go_on


def unpacked(key: str, body: bytes) -> bytes:
    """Return the lines of an object."""
    if key.endswith(".zst"):
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return zlib.decompress(body, 31) if key.endswith(".gz") else body


def lines_in(store: MemoryStore) -> list[bytes]:
    """Return the lines of all objects, by key."""
    keys = sorted(key for key in store.objects if key.startswith("v1/"))
    return [line for key in keys for line in unpacked(key, store.objects[key]).splitlines()]


def seqs_in(store: MemoryStore) -> list[int]:
    """Return the numbers of the events in all objects, by key."""
    return [orjson.loads(line)["seq"] for line in lines_in(store)]


def manifests_in(store: MemoryStore) -> list[Manifest]:
    """Return the manifests, by key."""
    keys = sorted(key for key in store.objects if key.startswith("_manifest/"))
    return [Manifest.from_json(store.objects[key]) for key in keys]


def records(numbers: Sequence[int] | range, size_bytes: int = 0) -> Iterator[Record]:
    """Yield records with these numbers."""
    return (record(number, size_bytes=size_bytes) for number in numbers)
