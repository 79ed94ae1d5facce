"""Price calls that ended long ago again, and write what has changed beside the log.

Prices are published late and corrected afterwards, and models become known to the list after they were used. History is
never edited for that: a `cost_correction` is a new event of a writer of its own, and readers take the newest of a call.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from structllm._sources import random_id, rfc3339, utc_now
from structllm._types import LEVELS, Clock, Event, Ids, Record
from structllm.events import SCHEMA_VERSION
from structllm.pricing import PriceSource
from structllm.processors.price import COST_FIELDS, Price
from structllm.processors.render import Render
from structllm.query import Call, Correction, as_usd
from structllm.sinks.file import FileSink
from structllm.sinks.integrity import Integrity

KEPT_FIELDS = frozenset(COST_FIELDS) | {
    *("event_type", "timestamp", "session_id", "request_id", "response_time_ms"),
    *(
        "model",
        "response_model",
        "provider",
        "base_url",
        "service_tier",
        "token_usage",
        "raw_usage",
        "usage_source",
        "cache_hit",
    ),
}
"""Fields of a response that it takes to price it again; texts are not among them."""

_LISTED = (None, "genai-prices", "override")
"""Who may have set a cost that a list may change. What the caller or the provider said stands."""

_BATCH = 256
_NEVER_ROTATED = 2**62

_NAMED = frozenset(
    (
        *("input_uncached", "cache_read", "cache_read_audio", "cache_write_5m", "input_audio"),
        *("output_text", "output_reasoning", "output_audio", "request"),
    )
)
"""The parts of a cost that `token_usage` alone lets one compute again; the others take `raw_usage`."""

Change = Literal["same", "changed", "priced", "vanished", "left"]


class Repriced(NamedTuple):
    """What pricing a call again came to.

    Attributes:
        call: The call, as it counts so far.
        change: `same`; `changed`; `priced`, which was not before; `vanished`, where the present list does not know a
            price that was known, which is kept; `left`, where the cost was never a matter of a list.
        cost: What pricing says now, for a correction.
    """

    call: Call
    change: Change
    cost: Mapping[str, Any]

    @property
    def corrects(self) -> bool:
        """Whether there is something to write."""
        return self.change in ("changed", "priced")

    def after(self) -> Call:
        """Return the call as it counts with the correction; the call itself is changed."""
        if self.corrects:
            self.call.take_correction(_correction(self.cost))
        return self.call


class Repricer:
    """Prices calls again, each at the time of its own request.

    Args:
        source: Knows the prices of today's list and settings.
    """

    def __init__(self, source: PriceSource) -> None:
        self._price = Price(source)

    def __call__(self, call: Call) -> Repriced:
        """Price a call that ended and kept its response (`KEPT_FIELDS`)."""
        response = call.response or {}
        if call.cost_status == "cached" or response.get("cost_source") not in _LISTED:
            return Repriced(call, "left", {})
        if response.get("raw_usage") is None and not _NAMED.issuperset(response.get("cost_breakdown") or ()):
            return Repriced(call, "left", {})  # it was priced by counts that `token_usage` does not name
        event: Event = {name: value for name, value in response.items() if name not in COST_FIELDS}
        event["event_type"] = "completion_response"
        event.setdefault("model", call.model)
        event["provider"] = event.get("provider") or call.provider
        if event.get("response_time_ms") is None and call.started is not None:
            event["timestamp"] = call.started
        self._price(None, "", event)
        cost = {name: event[name] for name in COST_FIELDS if name in event}
        return Repriced(call, _change(call, _correction(cost)), cost)


def _correction(cost: Mapping[str, Any]) -> Correction:
    status = cost.get("cost_status")
    return Correction(
        "",
        as_usd(cost.get("cost_estimate_usd")),
        as_usd(cost.get("cost_lower_bound_usd")),
        status if isinstance(status, str) else None,
    )


def _change(call: Call, now: Correction) -> Change:
    if now.cost_usd is not None:
        if call.cost_usd is None:
            return "priced"
        return "same" if now.cost_usd == call.cost_usd else "changed"
    known = call.cost_usd if call.cost_usd is not None else call.lower_bound_usd
    if known is not None and (call.cost_usd is not None or now.lower_bound_usd is None):
        return "vanished"
    return "same" if now.lower_bound_usd == call.lower_bound_usd else "changed"


class CorrectionWriter:
    """Appends corrections to a file that is never rotated, in batches, as one writer.

    Args:
        path: The file; its directory is created.
        key: Seals the corrections, as `integrity=hmac` does; None seals them as `integrity=chain` does, so that a log
            that can be verified still can be together with its corrections.
        clock: Stamps the corrections.
        ids: Gives the ids of the writer and of the run.

    Raises:
        ConfigError: The key is too short.
        SinkError: From `add` and `close`: the file cannot be written.
    """

    def __init__(self, path: Path, key: bytes | None = None, clock: Clock = utc_now, ids: Ids = random_id) -> None:
        integrity: Integrity = "chain" if key is None else "hmac"
        self._sink = FileSink(path, max_bytes=_NEVER_ROTATED, integrity=integrity, hmac_key=key)
        self._clock = clock
        self._writer = ids("wtr")
        self._render = Render(append_newline=True)
        self._batch: list[Record] = []
        self.reprice_id = ids("rpr")
        self.written = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def add(self, repriced: Repriced) -> None:
        """Write one correction, which `Repriced.after` has not been asked for yet."""
        event = self._event(repriced)
        self._batch.append(Record("cost_correction", LEVELS["INFO"], self._render(None, "info", event), event))
        if len(self._batch) >= _BATCH:
            self._flush()

    def close(self) -> None:
        """Write what is left, and close the file."""
        try:
            self._flush()
        finally:
            self._sink.close()

    def _flush(self) -> None:
        if self._batch:
            self._sink.write(self._batch)
            self.written += len(self._batch)
            self._batch = []

    def _event(self, repriced: Repriced) -> Event:
        call = repriced.call
        return {
            "event_type": "cost_correction",
            "timestamp": rfc3339(self._clock()),
            "session_id": call.session_id,
            "level": "INFO",
            "schema_version": SCHEMA_VERSION,
            "writer": self._writer,
            "seq": self.written + len(self._batch) + 1,
            "request_id": call.request_id,
            "model": call.model,
            **repriced.cost,
            "previous_cost_usd": _number(call.cost_usd),
            "previous_cost_status": call.cost_status,
            "reprice_id": self.reprice_id,
        }


def reprice(calls: Iterator[Call], source: PriceSource) -> Iterator[Repriced]:
    """Yield every finished call of a stream, priced again."""
    again = Repricer(source)
    return (again(call) for call in calls if call.ended is not None)


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)
