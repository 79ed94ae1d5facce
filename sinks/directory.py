"""Archives in a directory, local or mounted: for those who have no object storage.

Destination: segments below `path`, laid out as in a bucket (`structllm/archive`).
Delivery guarantee, durability, failure modes and units: those of `spooled.py`; a stored segment is on the disk (fsync).
"""

from typing import Literal

from pydantic import Field

from structllm._options import LogPath
from structllm.archive.store import Store
from structllm.errors import ConfigError
from structllm.sinks.archiving import ArchiveSinkConfig, unwritable
from structllm.sinks.spooled import SpooledSink


class DirectorySinkConfig(ArchiveSinkConfig):
    """Settings of the archive in a directory."""

    type: Literal["directory"] = "directory"
    path: LogPath = Field(
        description="The directory; made when the sink is built. One that goes away later, such as a share, is not."
    )

    @property
    def place(self) -> str:
        """What tells this archive from others."""
        return f"directory:{self.path.absolute()}"

    def open_store(self) -> Store:
        """Return the directory as a store."""
        from structllm.archive.directory import DirectoryStore

        return DirectoryStore(str(self.path.absolute()), mode=int(self.mode, 8))

    def build(self) -> SpooledSink:
        """Make directory and spool, and return the sink; raise ConfigError where they cannot be made."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"directory sink: cannot make {self.path}: {error.strerror}") from None
        return super().build()

    def check(self) -> list[str]:
        """Say whether the spool and the archive could be written; make nothing."""
        problems = super().check() if self.path.exists() else unwritable(self.spool)
        return [*problems, *unwritable(self.path)]
