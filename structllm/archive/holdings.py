"""Which events an archive holds, told by its manifests where these are enough."""

from structllm.archive.manifest import Manifest
from structllm.archive.reading import Segment, load_manifest, read_segments, segments
from structllm.archive.store import Store
from structllm.segment.lines import ReadReport
from structllm.sequence import Seen


def holdings_of(store: Store) -> Seen:
    """Return the events, by `writer` and `seq`, that an archive holds.

    Where a manifest counts as many records of a writer as there are numbers between the first and the last one, that
    tells them all. Else, and where there is no manifest that can be read, the segment is.

    Raises:
        StoreError: The archive cannot be listed.
        OSError: A segment that has to be read cannot be.
    """
    seen = Seen()
    for segment in segments(store):
        manifest = _manifest_of(store, segment)
        if manifest is not None and _tells_all(manifest):
            for writer, span in manifest.summary.writers.items():
                seen.add_all(writer, span.first, span.last)
            continue
        report = ReadReport()
        for entry in read_segments(store, [segment], report):
            seen.add(entry.event.get("writer"), entry.event.get("seq"))
        if segment.key is not None and report.unreadable:
            path, reason = report.unreadable[0]
            raise OSError(0, f"{path}: {reason}")
    return seen


def _tells_all(manifest: Manifest) -> bool:
    spans = manifest.summary.writers.values()
    return all(span.records == span.last - span.first + 1 for span in spans)


def _manifest_of(store: Store, segment: Segment) -> Manifest | None:
    """Return the manifest of a segment that is there, or None."""
    if segment.key is None or len(segment.manifests) != 1:
        return None
    try:
        return load_manifest(store, segment.manifests[0])
    except (ValueError, OSError):
        return None
