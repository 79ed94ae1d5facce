"""Questions to a stream of events: which events, and which calls (a request and how it ended).

Everything here folds a stream once. Memory grows with what is still open (requests without a response), not with the
number of events. A correction of a cost comes long after its call: where it is not known beforehand, calls are held.
"""

import fnmatch
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any, NamedTuple, cast

from structllm.figures import mapping, number

ORPHANED_AFTER_S = 3600
"""A request without a response for this long is taken to have no living writer that would still write one."""

_MAX_EARLY = 10_000  # responses that wait for a request which comes later in the stream, or never

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def parse_since(text: str, now: datetime) -> datetime:
    """Return the moment that `15m`, `2h30m`, `7d`, `2024-01-15` or `2024-01-15T10:30Z` stands for; UTC where not said.

    Raises:
        ValueError: It is none of these.
    """
    match = _DURATION.fullmatch(text)
    try:
        if match is not None and text:
            days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
            return now - timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError("not a duration such as 15m, 2h or 7d, nor a time such as 2024-01-15T10:30Z") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_timestamp(timestamp: object) -> datetime | None:
    """Return an event's timestamp as an aware datetime; None where it is none."""
    if not isinstance(timestamp, str):
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def is_error(event: Mapping[str, Any]) -> bool:
    """Return whether an event tells of a failure."""
    return event.get("success") is False or event.get("level") in ("ERROR", "CRITICAL")


class Filter:
    """Which events are wanted. Every condition that is given must hold.

    Args:
        since: No events before this.
        model: Name or pattern (`gpt-4*`) of the model asked for or answering.
        session: Session id or the beginning of one.
        types: Event types, in full or as shown (`request`, `decision`).
        errors: Only failures.
        grep: Regular expression searched in every text of the event.
    """

    def __init__(
        self,
        *,
        since: datetime | None = None,
        model: str | None = None,
        session: str | None = None,
        types: Iterable[str] = (),
        errors: bool = False,
        grep: re.Pattern[str] | None = None,
    ) -> None:
        self._since = since
        self._since_text = since.isoformat(timespec="milliseconds").replace("+00:00", "Z") if since else ""
        self._model = model
        self._session = session
        self._types = frozenset(types)
        self._errors = errors
        self._grep = grep

    def __call__(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event is wanted."""
        return (
            (not self._types or event.get("event_type") in self._types)
            and (not self._errors or is_error(event))
            and self.within(event.get("timestamp"), event.get("session_id"))
            and self.of_model(event.get("model"), event.get("response_model"))
            and (self._grep is None or any(self._grep.search(text) for text in texts_of(event)))
        )

    def call(self, call: "Call") -> bool:
        """Return whether a call is wanted, by its beginning, model and session."""
        return self.within(call.started or call.ended, call.session_id) and self.of_model(call.model)

    def within(self, timestamp: object, session_id: object) -> bool:
        """Return whether a time and a session are wanted."""
        return (self._session is None or _text(session_id).startswith(self._session)) and self._late_enough(timestamp)

    def _late_enough(self, timestamp: object) -> bool:
        """Return whether a timestamp is not before `since`; one that cannot be read never counts."""
        if self._since is None:
            return True
        if isinstance(timestamp, str) and len(timestamp) == 24 and timestamp.endswith("Z"):
            return timestamp >= self._since_text  # as written by the logger: sorts as text
        moment = parse_timestamp(timestamp)
        return moment is not None and moment >= self._since

    def of_model(self, *names: object) -> bool:
        """Return whether one of the names is the wanted model."""
        return self._model is None or any(
            isinstance(name, str) and fnmatch.fnmatchcase(name, self._model) for name in names
        )


def texts_of(event: Mapping[str, Any]) -> Iterator[str]:
    """Yield every text in an event, however nested; the names of fields are none."""
    waiting: list[object] = [event]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend(cast("dict[str, object]", item).values())
        elif isinstance(item, list):
            waiting.extend(cast("list[object]", item))


class Correction(NamedTuple):
    """What a call cost by a later pricing, which counts in place of what its response says."""

    timestamp: str
    cost_usd: Decimal | None
    lower_bound_usd: Decimal | None
    cost_status: str | None


class Corrections:
    """The newest `cost_correction` of each call, in whatever order they are read."""

    def __init__(self) -> None:
        self._newest: dict[str, Correction] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Take an event; only corrections matter."""
        request_id = event.get("request_id")
        if event.get("event_type") != "cost_correction" or not isinstance(request_id, str):
            return
        known, timestamp = self._newest.get(request_id), _text(event.get("timestamp"))
        if known is None or timestamp >= known.timestamp:
            self._newest[request_id] = Correction(
                timestamp,
                as_usd(event.get("cost_estimate_usd")),
                as_usd(event.get("cost_lower_bound_usd")),
                _name(event.get("cost_status")),
            )

    def of(self, request_id: str) -> Correction | None:
        """Return the newest correction of a call, if there is one."""
        return self._newest.get(request_id)

    def applied(self, call: "Call") -> "Call":
        """Return a call after its newest correction, if it has ended and there is one."""
        correction = self._newest.get(call.request_id)
        if correction is not None and call.ended is not None:
            call.take_correction(correction)
        return call


@dataclass(slots=True)
class Call:
    """One request and how it ended. What is not known is None; `outcome` is `pending` or `orphaned` without an end.

    `response` is the event that ended it, where `Calls` was told to keep what it needs to be priced again.
    """

    request_id: str
    session_id: str = ""
    started: str | None = None
    ended: str | None = None
    model: str | None = None
    provider: str | None = None
    symbol: str | None = None
    strategy: str | None = None
    outcome: str = "pending"
    success: bool | None = None
    response_time_ms: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cost_usd: Decimal | None = None
    lower_bound_usd: Decimal | None = None
    cost_status: str | None = None
    error_type: str | None = None
    response: Mapping[str, Any] | None = None

    def take_request(self, event: Mapping[str, Any]) -> None:
        """Add what a request says; a response's own word wins."""
        self.started = _text(event.get("timestamp")) or None
        self.session_id = self.session_id or _text(event.get("session_id"))
        self.model = self.model or _name(event.get("model"))
        self.provider = self.provider or _name(event.get("provider"))
        self.symbol = self.symbol or _name(mapping(event.get("market_context")).get("symbol"))
        self.strategy = self.strategy or strategy_of(event)

    def take_response(self, event: Mapping[str, Any]) -> None:
        """Add what a response says."""
        self.ended = _text(event.get("timestamp"))
        self.session_id = _text(event.get("session_id")) or self.session_id
        self.model = _name(event.get("model")) or self.model or _name(event.get("response_model"))
        self.provider = _name(event.get("provider")) or self.provider
        self.symbol = _name(mapping(event.get("market_context")).get("symbol")) or self.symbol
        self.strategy = strategy_of(event) or self.strategy
        self.success = event.get("success") is not False
        self.outcome = _text(event.get("outcome")) or ("ok" if self.success else "error")
        self.error_type = None if self.success else _name(event.get("error_type")) or self.outcome
        time_ms = number(event.get("response_time_ms"))
        self.response_time_ms = time_ms if time_ms is not None and time_ms >= 0 else None
        usage = mapping(event.get("token_usage"))
        self.prompt_tokens, self.completion_tokens = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        self.total_tokens = _count(usage, "total_tokens") or self.prompt_tokens + self.completion_tokens
        self.cost_usd = billed_usd(event)
        self.lower_bound_usd = as_usd(event.get("cost_lower_bound_usd"))
        self.cost_status = _name(event.get("cost_status"))

    def take_correction(self, correction: Correction) -> None:
        """Put a later pricing in place of what the response says."""
        _, self.cost_usd, self.lower_bound_usd, self.cost_status = correction


class Calls:
    """Pairs requests with their responses, in whatever order they come.

    Args:
        keep: Names of fields of the response that each call keeps in `response`; none keeps no response.
    """

    def __init__(self, keep: frozenset[str] = frozenset()) -> None:
        self._keep = keep
        self._open: dict[str, Call] = {}
        self._early: OrderedDict[str, Call] = OrderedDict()

    def add(self, event: Mapping[str, Any]) -> Call | None:
        """Take an event; return the call that it completes, if any."""
        request_id = event.get("request_id")
        if not isinstance(request_id, str):
            return None
        if event["event_type"] == "completion_request":
            call = self._early.pop(request_id, None)
            if call is None:
                self._open.setdefault(request_id, Call(request_id)).take_request(event)
                return None
            call.take_request(event)
            return call
        if event["event_type"] != "completion_response":
            return None
        call = self._open.pop(request_id, None)
        if call is not None:
            self._end(call, event)
            return call
        self._early[request_id] = call = Call(request_id)
        self._end(call, event)
        return self._early.popitem(last=False)[1] if len(self._early) > _MAX_EARLY else None

    def _end(self, call: Call, event: Mapping[str, Any]) -> None:
        call.take_response(event)
        if self._keep:
            call.response = {name: value for name, value in event.items() if name in self._keep}

    def rest(self, now: datetime) -> Iterator[Call]:
        """Yield the responses whose request was not found, then the requests without response."""
        yield from self._early.values()
        for call in self._open.values():
            started = parse_timestamp(call.started)
            if started is None or (now - started).total_seconds() > ORPHANED_AFTER_S:
                call.outcome = "orphaned"
            yield call


def calls_of(
    events: Iterable[Mapping[str, Any]],
    now: datetime,
    watch: Callable[[Mapping[str, Any]], None] | None = None,
    corrections: Corrections | None = None,
    *,
    keep: frozenset[str] = frozenset(),
) -> Iterator[Call]:
    """Yield every call among events, its cost corrected; the open ones last.

    Args:
        events: The events.
        now: Tells which open calls are orphaned.
        watch: Is shown every event on the way.
        corrections: Those of all the events, read beforehand, so that a call can be yielded when it ends. None: they
            are among the events, and every call is held until the last of them.
        keep: Names of fields of the response that each call keeps in `response`.
    """
    calls = Calls(keep)
    known = Corrections() if corrections is None else corrections
    held: list[Call] = []
    for event in events:
        if watch is not None:
            watch(event)
        if corrections is None:
            known.add(event)
        call = calls.add(event)
        if call is not None and corrections is None:
            held.append(call)
        elif call is not None:
            yield known.applied(call)
    for call in chain(held, calls.rest(now)):
        yield known.applied(call)


def strategy_of(event: Mapping[str, Any]) -> str | None:
    """Return the strategy that an event names, by itself or in its market context."""
    return _name(event.get("strategy")) or _name(mapping(event.get("market_context")).get("strategy"))


def causes_of(decision: Mapping[str, Any]) -> list[str]:
    """Return the ids of the requests that led to a decision, each once."""
    listed = decision.get("caused_by")
    causes = [decision.get("request_id"), *(cast("list[object]", listed) if isinstance(listed, list) else [])]
    return list(dict.fromkeys(cause for cause in causes if isinstance(cause, str)))


def billed_usd(response: Mapping[str, Any]) -> Decimal | None:
    """Return what a response says that it cost; an answer from the caller's own cache was not billed at all."""
    cost = as_usd(response.get("cost_estimate_usd"))
    return Decimal() if cost is None and response.get("cost_status") == "cached" else cost


def as_usd(value: object) -> Decimal | None:
    """Return an amount of an event exactly as written; None where it is none or is negative."""
    amount = number(value)
    return None if amount is None or amount < 0 else Decimal(repr(amount))


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = number(usage.get(name))
    return int(value) if value is not None and value > 0 else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
