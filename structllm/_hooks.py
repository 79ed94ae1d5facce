"""What deliveries ask of a sink besides that it writes, and what its errors say. A sink may fail at any of it."""

import re
from contextlib import suppress
from typing import Any, cast

from structllm._types import Sink
from structllm.errors import SinkError

_REASON = re.compile(r"[A-Za-z][A-Za-z0-9_:.-]{0,47}")


def drop_reason(error: BaseException) -> str:
    """Return the word under which a record is counted that a sink did not take because of this error."""
    try:
        if not isinstance(error, Exception):
            return "interrupted"
        if isinstance(error, SinkError) and isinstance(cast("object", error.reason), str):
            # A sentence, or an address with its password, is no reason: reasons are told everywhere.
            return error.reason if _REASON.fullmatch(error.reason) else "other"
        return f"sink_bug:{class_of(error)}"
    except Exception:
        return "sink_bug"  # an error that fails itself


def class_of(error: BaseException) -> str:
    """Return the name of an error's class, as far as it is one: a class made at run time may be called anything."""
    name = type(error).__name__
    return name if _REASON.fullmatch(name) else "Exception"


def taken_of(error: BaseException, offered: int) -> int:
    """Return how many records of the batch the sink says it wrote before the error."""
    try:
        taken: object = getattr(error, "taken", 0)
    except Exception:  # a property that fails
        return 0
    return min(max(0, taken), offered) if isinstance(taken, int) else 0


def renew(sink: Sink) -> None:
    """Tell the sink that it is in a forked child now, where it wants to know."""
    with suppress(Exception):  # the hook has nobody to tell, and must not log
        reset = getattr(sink, "reset_after_fork", None)
        if reset is not None:
            reset()


def flushed(sink: Sink, timeout_s: float, *, last: bool) -> bool:
    """Flush the sink, which is told before that this is meant to be the last time, where it is and it wants to know.

    Raises what the sink raises, where it should not.
    """
    about_to_close = getattr(sink, "about_to_close", None) if last else None
    if about_to_close is not None:
        with suppress(Exception):
            about_to_close()
    return sink.flush(timeout_s)


def health_of(sink: Sink) -> dict[str, Any]:
    """Return `{"health": …}` as the sink tells it, or nothing where it tells nothing."""
    try:
        health = getattr(sink, "health", None)
        return {} if health is None else {"health": dict(health())}
    except Exception as error:
        return {"health": {"error": class_of(error)}}
