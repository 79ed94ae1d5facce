"""Who, when and in which market: context that reaches an event without being passed along.

Context lives in one ContextVar of our own, so that reading it costs the same however many context variables the host
program uses. asyncio tasks inherit it; a bare thread gets it through `wrap_context`.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, copy_context
from functools import wraps
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar, cast

import structlog

from structllm._types import Event
from structllm.events import EVENTS, Envelope, field_kinds

P = ParamSpec("P")
R = TypeVar("R")

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_context: ContextVar[Mapping[str, Any]] = ContextVar("structllm_context", default=_NOTHING)

# Given by the emitter and the sinks; what is bound under such a name is kept under the name with `_` appended.
_RESERVED = frozenset(Envelope.__annotations__) - {"session_id"}

# Only these carry the market's state; the other events reach it through their request_id.
_WITHOUT_MARKET = frozenset(name for name in EVENTS if "market_context" not in field_kinds(name))


def current_context() -> Mapping[str, Any]:
    """Return what is bound here: `session_id`, `market_context` and free fields. Read-only."""
    return _context.get()


@contextmanager
def bind_context(**fields: Any) -> Generator[None]:
    """Add fields to every event logged inside the `with` block, in this task or thread and the tasks it starts."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def bind_session(session_id: str, **fields: Any) -> AbstractContextManager[None]:
    """Give every event inside the `with` block this session id (and further fields)."""
    return bind_context(session_id=session_id, **fields)


def bind_market(**state: Any) -> AbstractContextManager[None]:
    """Add these to the `market_context` of every request inside the `with` block; inner values win."""
    return bind_context(market_context=merged_market(_context.get().get("market_context"), state))


def wrap_context(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` so that it runs with the context of this moment, in whatever thread it is called.

    For bare threads and executors, which do not inherit context:
    `threading.Thread(target=structllm.wrap_context(work)).start()`. Every context variable is carried, the host's too.
    The result may be called many times and by several threads at once.
    """
    context = copy_context()

    @wraps(function)
    def in_context(*args: P.args, **kwargs: P.kwargs) -> R:
        # A Context can be entered once at a time, so each call runs in a copy of its own.
        return context.copy().run(function, *args, **kwargs)

    return in_context


class BindContext:
    """Processor that fills in the context of the caller.

    What the event already has wins over what is bound, except that a bound session replaces the logger's own
    (`default_session_id`): one logger is one session unless bound otherwise.

    Args:
        default_session_id: The session id that a bound one may replace.
        structlog_contextvars: Also take what the host bound with `structlog.contextvars`; ours wins.
    """

    def __init__(
        self,
        *,
        default_session_id: str | None = None,
        structlog_contextvars: bool = False,
    ) -> None:
        self._default_session_id = default_session_id
        self._structlog_contextvars = structlog_contextvars

    def __call__(self, logger: Any, method_name: str, event_dict: Event) -> Event:
        """Add the bound fields that the event lacks."""
        bound = _context.get()
        if bound:
            self._merge(event_dict, bound)
        if self._structlog_contextvars:
            for name, value in structlog.contextvars.get_contextvars().items():
                event_dict.setdefault(f"{name}_" if name in _RESERVED else name, value)
        return event_dict

    def _merge(self, event_dict: Event, bound: Mapping[str, Any]) -> None:
        for name, value in bound.items():
            if name == "market_context":
                if event_dict.get("event_type") not in _WITHOUT_MARKET:
                    event_dict[name] = merged_market(value, event_dict.get(name))
            elif name == "session_id" and event_dict.get(name) == self._default_session_id:
                event_dict[name] = value
            else:
                event_dict.setdefault(f"{name}_" if name in _RESERVED else name, value)


def drop_market(logger: Any, method_name: str, event_dict: Event) -> Event:
    """Processor that removes `market_context` from every event: the setting `log_market_context=false`."""
    event_dict.pop("market_context", None)
    return event_dict


def with_bound(bound: Mapping[str, Any], event_type: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of an event with those bound to its logger; the event's own win, market states are merged."""
    merged = {**bound, **fields}
    if "market_context" in bound:
        if event_type not in _WITHOUT_MARKET:
            merged["market_context"] = merged_market(bound["market_context"], fields.get("market_context"))
        elif "market_context" not in fields:
            del merged["market_context"]
    return merged


def merged_market(bound: Any, given: Any) -> Any:
    """Return the market context of an event: given values over bound ones; something that is no mapping wins whole."""
    if given is None:
        return bound
    if isinstance(bound, Mapping) and isinstance(given, Mapping):
        return {**cast("Mapping[str, Any]", bound), **cast("Mapping[str, Any]", given)}
    return given
