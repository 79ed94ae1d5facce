"""Ids of the caller's making: not scanned for secrets, so that joins hold. What is no id must not pass as one."""

import os
from functools import cache
from hashlib import blake2b
from typing import Any

import orjson

from structllm.events import field_kinds

MAX_ID_CHARS = 256

# Of our own making, whatever the caller does.
_OURS = frozenset({"event_type", "level", "writer", "sink", "redactions_by_rule"})

# Of this process and its forked children: an id that is replaced joins there, and nobody can try out what it was.
_KEY = os.urandom(32)


def clean_id(value: Any) -> str:
    """Return an id as it may be written: printable and of at most 256 characters.

    A text that is neither, and what is no text or number, comes as `odd-` and a number that is the same each time.

    Args:
        value: Anything that JSON can carry.
    """
    text = value if type(value) is str else orjson.dumps(value).decode()
    if len(text) <= MAX_ID_CHARS and text.isprintable() and not isinstance(value, dict | list):
        return text
    return "odd-" + blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8, key=_KEY).hexdigest()


def clean_ids(event: dict[str, Any]) -> None:
    """Clean the ids of an event in place; its values are such as JSON can carry."""
    for name in id_names(event.get("event_type")):
        value = event.get(name)
        if value is None or (type(value) is str and len(value) <= MAX_ID_CHARS and value.isprintable()):
            continue
        if name == "caused_by" and isinstance(value, list):
            event[name] = [clean_id(item) for item in event[name]]
        else:
            event[name] = clean_id(value)


def id_names(event_type: object) -> tuple[str, ...]:
    """Return which fields of an event are ids; none where it is none of ours."""
    return _id_names(event_type) if type(event_type) is str else ()


@cache
def _id_names(event_type: str) -> tuple[str, ...]:
    kinds = field_kinds(event_type)
    return tuple(name for name, kind in kinds.items() if kind == "id" and name not in _OURS)
