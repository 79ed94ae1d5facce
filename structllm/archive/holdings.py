"""Which events an archive holds, or will get by itself: told by its manifests, where these are enough."""

from typing import Any

from structllm.archive.manifest import Manifest
from structllm.archive.reading import Segment, load_manifest, read_segments, segments
from structllm.archive.store import Store
from structllm.segment import ReadReport, lines_of, parse, read_file
from structllm.segment.reading import OpenFile
from structllm.sequence import Seen


class Holdings:
    """Events by `writer` and `seq`.

    Segments move from `open/` to `sealed/` to the archive. Whoever looks at these in this order meets all of them.
    """

    def __init__(self) -> None:
        self._seen = Seen()
        self._coming: dict[str, int] = {}  # the last number of each writer that is writing at present

    def lacks(self, writer: object, seq: object) -> bool:
        """Return whether an event is neither there nor on its way; from now on it is."""
        if isinstance(writer, str) and isinstance(seq, int) and seq > self._coming.get(writer, seq):
            return False
        return self._seen.add(writer, seq)

    def add_open(self, spool: Any) -> None:
        """Add what running programs write, and all that they will write from here on. Takes a `Spool`."""
        for segment in spool.open_segments():
            report = ReadReport()
            try:
                with open(segment.path, "rb") as reader:
                    for entry in parse(
                        segment.path, lines_of(OpenFile(segment.path, reader, live=True), report), report
                    ):
                        writer, seq = entry.event.get("writer"), entry.event.get("seq")
                        self._seen.add(writer, seq)
                        if isinstance(writer, str) and isinstance(seq, int):
                            self._coming[writer] = max(seq, self._coming.get(writer, seq))
            except FileNotFoundError:
                continue

    def add_sealed(self, spool: Any) -> None:
        """Add what waits for the archive. Takes a `Spool`. Raises OSError where that cannot be read."""
        for segment in spool.sealed_segments():
            report = ReadReport()
            try:
                with open(segment.path, "rb") as reader:
                    for entry in read_file(segment.path, reader, report, live=False):
                        self._seen.add(entry.event.get("writer"), entry.event.get("seq"))
            except FileNotFoundError:
                continue
            _raise_where_unreadable(report)

    def add_archive(self, store: Store) -> None:
        """Add what is in an archive.

        Where a manifest counts as many different records of a writer as there are numbers between the first and the
        last one, that tells them all. Else, and where there is no manifest that can be read, the segment is.

        Raises:
            StoreError: The archive cannot be listed, or does not answer.
            OSError: A segment that has to be read cannot be.
        """
        for segment in segments(store):
            manifest = _manifest_of(store, segment)
            if manifest is not None and _tells_all(manifest):
                for writer, span in manifest.summary.writers.items():
                    self._seen.add_all(writer, span.first, span.last)
                continue
            report = ReadReport()
            for entry in read_segments(store, [segment], report):
                self._seen.add(entry.event.get("writer"), entry.event.get("seq"))
            if segment.key is not None:
                _raise_where_unreadable(report)


def _tells_all(manifest: Manifest) -> bool:
    spans = manifest.summary.writers.values()
    return all(span.records - span.repeats == span.last - span.first + 1 for span in spans)


def _manifest_of(store: Store, segment: Segment) -> Manifest | None:
    """Return the manifest of a segment that is there, or None."""
    if segment.key is None or len(segment.manifests) != 1:
        return None
    try:
        return load_manifest(store, segment.manifests[0])
    except (ValueError, OSError):
        return None


def _raise_where_unreadable(report: ReadReport) -> None:
    if report.unreadable:
        path, reason = report.unreadable[0]
        raise OSError(0, f"{path}: {reason}")
