"""The archive: segments of JSON lines as immutable objects, in a bucket or a directory, and what proves them whole.

A *segment* is a file of lines that one process wrote, sealed: compressed, summed up in a manifest, and never changed
again. Its name and key are fixed when it is begun, so storing it twice is storing it once. Below the prefix of an
archive lie::

    v1/dt=2024-01-15/hour=10/20240115T10-HOST-TOKEN-00000001.jsonl.zst     the lines
    _manifest/dt=2024-01-15/hour=10/20240115T10-HOST-TOKEN-00000001.1705312800123-1705313099456.json

`dt` and `hour` are those of the beginning of the segment. The manifest's key ends with the least and the greatest time
of the events, so that a listing alone tells which segments a range of time needs.
"""

from structllm.archive.manifest import Manifest, Span, summarise
from structllm.archive.names import SUFFIXES, Compression, SegmentName, manifest_key, object_key, parse_key
from structllm.archive.store import Found, ObjectExists, Store, StoreError, StoreRefused, StoreUnavailable

__all__ = [
    "SUFFIXES",
    "Compression",
    "Found",
    "Manifest",
    "ObjectExists",
    "SegmentName",
    "Span",
    "Store",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "manifest_key",
    "object_key",
    "parse_key",
    "summarise",
]
