"""Settings that sinks with a spool share, whatever archive they fill."""

import hashlib
import os
import re
from pathlib import Path

from pydantic import Field

from structllm._options import LogPath
from structllm._system import System
from structllm.archive.names import Compression
from structllm.archive.store import Store, StoreError
from structllm.errors import ConfigError, MissingExtra, SinkError
from structllm.figures import counted
from structllm.sinks.integrity import LineSinkConfig
from structllm.sinks.spool import Spool
from structllm.sinks.spooled import SpooledSink

_MOST_PLACE_CHARS = 40


class ArchiveSinkConfig(LineSinkConfig):
    """Base of the settings of sinks that archive. A subclass adds where to, as `open_store()` and `place`."""

    spool_dir: LogPath = Field(
        default=Path("logs/.spool"),
        description="Where segments wait, each destination in a directory of its own below. On a local disk.",
    )
    spool_max_bytes: int = Field(
        default=1_073_741_824,
        ge=10_000_000,
        description="What may wait there; records beyond it are dropped and counted as spool_full.",
    )
    segment_max_bytes: int = Field(
        default=8_388_608,
        ge=65_536,
        le=1_073_741_824,
        description="A segment ends before it grows beyond this, not compressed; at most an eighth of the spool.",
    )
    segment_max_age_s: float = Field(
        default=300.0, ge=1, le=86_400, description="A segment ends this long after it was begun."
    )
    compression: Compression = Field(default="zstd", description="Of segments: zstd, gzip or none.")

    @property
    def kind(self) -> str:
        """The type, for messages and names."""
        return str(getattr(self, "type", "archive"))

    @property
    def place(self) -> str:
        """What tells this archive from others; no secret is in it."""
        raise NotImplementedError

    def open_store(self) -> Store:
        """Return the store. Raises ConfigError or MissingExtra where that cannot work; does not wait for a network."""
        raise NotImplementedError

    @property
    def spool(self) -> Path:
        """The spool of this destination: two that share `spool_dir` do not mix."""
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", self.place.removeprefix(f"{self.kind}:")).strip("-.")
        digest = hashlib.sha256(self.place.encode()).hexdigest()[:8]
        return self.spool_dir / f"{self.kind}-{readable[-_MOST_PLACE_CHARS:].strip('-.')}-{digest}"

    def build(self) -> SpooledSink:
        """Make the spool and return the sink; raise ConfigError where it cannot be written."""
        try:
            sink = self.unopened()
            sink.open()
        except MissingExtra as error:
            raise ConfigError(str(error)) from None
        except SinkError as error:
            raise ConfigError(f"{self.kind} sink: cannot write the spool {self.spool}: {error}") from None
        return sink

    def unopened(self) -> SpooledSink:
        """Return the sink without making its spool."""
        return SpooledSink(
            self.open_store(),
            str(self.spool),
            compression=self.compression,
            segment_max_bytes=self.segment_max_bytes,
            segment_max_age_s=self.segment_max_age_s,
            spool_max_bytes=self.spool_max_bytes,
            fsync=self.fsync,
            fsync_events=self.fsync_events,
            mode=int(self.mode, 8),
            integrity=self.integrity,
            hmac_key=self.key,
        )

    def check(self) -> list[str]:
        """Say whether the spool could be written, and the archive be reached; make nothing."""
        problems = unwritable(self.spool)
        if not problems and (self.spool / "quarantine").is_dir():
            problems = _spool_problems(self.spool)
        try:
            return [*problems, *self.open_store().check()]
        except (ConfigError, StoreError, MissingExtra) as error:
            return [*problems, *getattr(error, "problems", [str(error)])]


def unwritable(directory: Path) -> list[str]:
    """Return why a directory, or else the nearest existing one above it, could not be written; nothing if it could."""
    nearest = next(parent for parent in (directory.absolute(), *directory.absolute().parents) if parent.exists())
    if not nearest.is_dir():
        return [f"{nearest} is in the way: it is no directory"]
    return [] if os.access(nearest, os.W_OK) else [f"{nearest} is not writable"]


def _spool_problems(path: Path) -> list[str]:
    spool = Spool(System(), str(path))
    try:
        quarantined = spool.sealed_segments(spool.quarantine)
    except OSError as error:
        return [f"the spool {path} cannot be read: {error.strerror}"]
    if not quarantined:
        return []
    what = f"the archive refused {counted(len(quarantined), 'segment')}, kept in {spool.quarantine}"
    return [f"{what}; `structllm archive status` says why"]
