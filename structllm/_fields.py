"""What the logger reads out of its arguments on the way to an event."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any, cast

from structllm._ids import clean_id
from structllm._pending import EndedRequest, PendingRequest
from structllm._sources import rfc3339
from structllm.messages import ResponseView
from structllm.processors.normalise import error_message, normalise_value

SCAN_CHARS = 65_536
"""Characters of a text that enter the chain when only a preview of it is written; more for longer previews."""

_MAX_S = 1e9
_MAX_CAUSES = 1_000

# Redaction looks this far beyond a preview.
_WINDOW_CHARS = 4_096


def scan_chars(preview_chars: int) -> int:
    """Return how many characters of a text enter the chain for a preview of this length."""
    return max(SCAN_CHARS, preview_chars + _WINDOW_CHARS)


def imported_time(timestamp: datetime | str | None) -> str | None:
    """Return an imported event's time as we write it; None (now) where it says no time zone or is no time."""
    if timestamp is None:
        return None
    try:
        moment = timestamp if isinstance(timestamp, datetime) else datetime.fromisoformat(timestamp)
        return rfc3339(moment) if moment.tzinfo is not None else None
    except Exception:  # a time zone may be of the caller's own making
        return None


def truth(value: object) -> bool:
    """Return whether a value counts as true; one that cannot say (an array, say) does not cost the event."""
    try:
        return bool(value)
    except Exception:
        return True


def as_id(value: object) -> str:
    """Return an id as text: another type is the caller's slip, and no reason to lose the event.

    What is no id in any shape, such as a mapping or a page of text, is replaced by a number.
    """
    return clean_id(normalise_value(value))


def causing_ids(request_id: str | None, caused_by: object) -> list[str]:
    """Return the ids of all requests that led to a decision, each once, in order."""
    given: list[object] = [] if request_id is None else [request_id]
    if isinstance(caused_by, str) or not isinstance(caused_by, Iterable):
        given += [] if caused_by is None else [caused_by]
    else:
        with suppress(Exception):  # the causes that can be told are; the decision is written in any case
            given += islice(cast("Iterable[object]", caused_by), _MAX_CAUSES)
    return list(dict.fromkeys(as_id(cause) for cause in given))


def elapsed_ms(given_s: object, request: PendingRequest | None, own_time: str | None, now_s: float) -> float | None:
    """Return the milliseconds from request to end: as given, or between imported times, or as measured, or None.

    What is given and no finite number is measured instead.
    """
    seconds: float
    if isinstance(given_s, int | float) and not isinstance(given_s, bool) and abs(given_s) <= _MAX_S:
        seconds = given_s
    elif request is None:
        return None
    elif request.timestamp is not None and own_time is not None:
        seconds = (datetime.fromisoformat(own_time) - datetime.fromisoformat(request.timestamp)).total_seconds()
    else:
        seconds = now_s - request.started_s
    milliseconds = round(float(seconds) * 1000, 3)
    return int(milliseconds) if milliseconds.is_integer() else milliseconds


def symbol_and_price(market: object) -> tuple[Any, Any]:
    """Return what a market context is about, and the price in it."""
    if not isinstance(market, Mapping):
        return None, None
    state = cast("Mapping[str, Any]", market)
    return state.get("symbol"), state.get("current_price", state.get("price"))


def from_request(request: PendingRequest | None) -> dict[str, Any]:
    """Return what a response repeats of its request."""
    if request is None:
        return {}
    return {"model": request.model} | ({"provider": request.provider} if request.provider is not None else {})


def from_view(view: ResponseView) -> dict[str, Any]:
    """Return what the response says of itself, without what it does not say."""
    found = {
        "response_length": view.length,
        "finish_reason": view.finish_reason,
        "response_model": view.model,
        "response_id": view.response_id,
        "provider": view.provider,
        "service_tier": view.service_tier,
        "usage_source": view.usage_source,
        "raw_usage": view.usage,
    }
    return {name: value for name, value in found.items() if value is not None}


def describe(error: object) -> dict[str, str]:
    """Return class and text of an error; what cannot be had is left out, not raised."""
    if isinstance(error, BaseException):
        return {"error_type": type(error).__name__, "error_message": error_message(error)}
    return {"error_message": error if isinstance(error, str) else f"<{type(error).__name__}>"}


def causing_cost(calls: Sequence[PendingRequest | EndedRequest | None]) -> dict[str, Any]:
    """Sum the calls that caused a decision: null as soon as one is not known, never a guess; nothing without calls."""
    if not calls:
        return {}
    costs = [call.cost_usd for call in calls if isinstance(call, EndedRequest) and call.cost_usd is not None]
    unpriced = len(calls) - len(costs)
    total = float(sum((Decimal(str(cost)) for cost in costs), Decimal()))
    return {"cost_usd": None if unpriced else total, "unpriced_calls": unpriced}
