"""The composition root: settings in, logger out. The only module that knows everybody."""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from structllm._background import BackgroundDelivery
from structllm._core import Core
from structllm._deferred import Deferred
from structllm._delivery import Delivery, DirectDelivery
from structllm._diagnostics import Diagnostics
from structllm._disabled import DisabledLogger
from structllm._emitter import Emitter
from structllm._event_logger import EventLogger
from structllm._fanout import Route
from structllm._pending import Requests
from structllm._sources import counted_ids, random_id, utc_now
from structllm._types import LEVELS, Clock, Ids, Processor, Sink
from structllm.errors import ConfigError
from structllm.logger import ChatCompletionLogger
from structllm.metrics import SessionMetrics
from structllm.pricing import open_prices
from structllm.processors.context import BindContext, drop_market
from structllm.processors.normalise import Normalise
from structllm.processors.observe import Observe
from structllm.processors.price import Price
from structllm.processors.redact import Redact
from structllm.processors.render import Render
from structllm.processors.truncate import Truncate
from structllm.redaction.keys import KeyRules
from structllm.redaction.known import known_here
from structllm.settings import LLMSettings, load_settings
from structllm.sinks.config import SinkConfig

# Long enough for a message, short enough that an error that quotes the prompt does not defeat the preview.
_ERROR_PREVIEW_CHARS = 1000


def create_llm_logger(
    log_level: str | None = None,
    log_file: str | Path | None = None,
    *,
    settings: LLMSettings | Mapping[str, Any] | None = None,
    session_id: str | None = None,
    sinks: Sequence[Sink | SinkConfig | Mapping[str, Any] | str] | None = None,
    processors: Sequence[Processor] = (),
    clock: Clock | None = None,
    ids: Ids | None = None,
) -> ChatCompletionLogger:
    """Build a logger. Every argument is optional and wins over the settings.

    Args:
        log_level: Least level that is written, e.g. `INFO`.
        log_file: Write to this one rotating file (50 MB, 5 rotated files kept) instead of the configured sinks.
        settings: Settings to use, or a mapping of some; default: `load_settings()`, which reads environment and file.
        session_id: The session of the events; default: a random one.
        sinks: Write to these instead of the configured sinks: sinks, sink configs, dicts or URL strings. An empty list
            writes nowhere.
        processors: Your own structlog processors; they run before values are normalised and redacted.
        clock: Returns the current time (aware UTC), for tests and imports.
        ids: Returns a fresh id for a kind (`req`, `dec`, `ses`, `wtr`).

    Returns:
        A logger whose methods never raise into the caller.

    Raises:
        ConfigError: The settings, a sink or an argument cannot work; all problems at once.
    """
    settings = _with_arguments(settings, log_level, log_file, sinks)
    destinations = () if sinks is not None and not sinks else settings.effective_sinks()
    own = _checked(processors)
    enabled = settings.enable_completion_logging
    new_id = _careful(ids) if ids is not None else random_id if enabled else counted_ids()
    now = clock or utc_now
    metrics = SessionMetrics(now)
    redact = build_redaction(settings) if enabled else None
    core = Core(
        settings=settings,
        metrics=metrics,
        requests=Requests(),
        ids=new_id,
        monotonic=time.monotonic if clock is None else lambda: now().timestamp(),
        numbers=itertools.count(1),
        redactions=(lambda: redact.counts) if redact is not None else dict[str, int],
    )
    session = session_id or new_id("ses")
    diagnostics = Diagnostics(_cleaned_by(redact)) if redact is not None else Diagnostics()
    chain = build_chain(settings, metrics, session, redact, own, diagnostics.notice) if enabled else []
    routes = build_routes(destinations) if enabled else []
    # A thread for each: what one waits for, such as a network, keeps no other from its work.
    deferred = [
        (give, Deferred(lambda error: emitter.count_error("deferred", error)))
        for route in routes
        for name in ("defer_to", "defer_uploads_to")
        if (give := getattr(route.sink, name, None)) is not None
    ]
    emitter = Emitter(
        chain=chain,
        render=Render(append_newline=True),
        routes=routes,
        session_id=session,
        least_level=settings.completion_log_level,
        service=settings.service,
        clock=clock,
        ids=new_id,
        diagnostics=diagnostics,
        after_fork=(
            core.requests.reset_after_fork,
            metrics.reset_after_fork,
            *(each.reset_after_fork for _, each in deferred),
        ),
        at_close=tuple(each.close for _, each in deferred),
    )
    for give, each in deferred:
        give(each.defer)
    _let_report(routes, emitter.diagnostics.notice)
    log = EventLogger(emitter, chain, {})
    return ChatCompletionLogger(log, core) if enabled else DisabledLogger(log, core)


def build_chain(
    settings: LLMSettings,
    metrics: SessionMetrics,
    session_id: str,
    redact: Processor | None,
    own: Sequence[Processor] = (),
    notice: Callable[[str, str], None] | None = None,
) -> list[Processor]:
    """Return the processors up to rendering, in order; `notice` is how one tells people what it cannot do."""
    prices = open_prices(settings.pricing)
    if settings.enable_token_usage_tracking:
        prices.load()  # half a second of imports that the first completion shall not wait for
    return [
        BindContext(
            default_session_id=session_id,
            structlog_contextvars=settings.bind_structlog_contextvars,
        ),
        *own,
        *(() if settings.log_market_context else (drop_market,)),
        Normalise(),
        Price(prices, track_usage=settings.enable_token_usage_tracking, notice=notice),
        *((redact,) if redact is not None else ()),
        Truncate(_preview_chars(settings)),
        Observe(metrics),
    ]


def build_redaction(settings: LLMSettings) -> Redact | None:
    """Return the redaction of the settings, or None where it is turned off."""
    redaction = settings.redaction
    if not redaction.enabled:
        return None
    notice = Diagnostics().notice
    if redaction.lacks_key():
        notice("hmac_key", "redaction: there is no redaction.hmac_key, so that action hmac masks")
    key = redaction.hmac_key
    return Redact(
        packs=redaction.packs,
        deny_keys=redaction.deny_keys,
        allow_keys=redaction.allow_keys,
        preview_chars=_preview_chars(settings),
        rules=redaction.own_rules(lambda text: notice(text, text)),
        actions=redaction.chosen_actions(),
        action=redaction.action,
        allow=redaction.allow,
        hmac_key=None if key is None else key.get_secret_value().encode("utf-8", "surrogatepass"),
        hmac_key_id=redaction.hmac_key_id,
        known=known_here(os.environ, KeyRules(redaction.deny_keys, redaction.allow_keys), settings),
    )


def _cleaned_by(redact: Redact) -> Callable[[str], str]:
    """Return what takes secrets out of a notice."""
    return lambda text: str(redact(None, "notice", {"notice": text})["notice"])


def _preview_chars(settings: LLMSettings) -> dict[str, int]:
    return {
        "prompt_preview": settings.log_prompt_preview_length,
        "response_preview": settings.log_response_preview_length,
        "error_message": _ERROR_PREVIEW_CHARS,
    }


def build_routes(destinations: Iterable[Sink | SinkConfig]) -> list[Route]:
    """Open the sinks; where some cannot be opened, close the others and raise all problems."""
    routes: list[Route] = []
    problems: list[str] = []
    for item in destinations:
        try:
            routes.append(_route(item, {route.name for route in routes}))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        for route in routes:
            route.delivery.close(0.0)
        raise ConfigError(problems)
    return routes


def _let_report(routes: Iterable[Route], notice: Callable[[str, str], None]) -> None:
    """Give each sink that asks for it a way to tell people what it cannot do."""
    for route in routes:
        report_to = getattr(route.sink, "report_to", None)
        if report_to is not None:
            report_to(partial(_report, route.name, notice))


def _report(name: str, notice: Callable[[str, str], None], text: str) -> None:
    notice(f"sink:{name}", f"sink {name!r}: {text}")


def _route(item: Sink | SinkConfig, taken: set[str]) -> Route:
    if isinstance(item, SinkConfig):
        name = item.name or str(getattr(item, "type", "sink"))
        return Route(_free(name, taken), _delivery(item), level=LEVELS[item.level], events=item.events)
    return Route(_free(type(item).__name__, taken), DirectDelivery(item))


def _delivery(config: SinkConfig) -> Delivery:
    sink = config.build()
    if config.delivery == "direct":
        return DirectDelivery(sink)
    return BackgroundDelivery(
        sink,
        on_full=config.on_full,
        block_timeout_s=config.block_timeout_s,
        queue_max_bytes=config.queue_max_bytes,
        queue_max_items=config.queue_max_items,
    )


def _free(name: str, taken: set[str]) -> str:
    """Return the name, numbered where another sink has it already."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return name if name not in taken else next(candidate for candidate in numbered if candidate not in taken)


def _with_arguments(
    settings: LLMSettings | Mapping[str, Any] | None,
    log_level: str | None,
    log_file: str | Path | None,
    sinks: object,
) -> LLMSettings:
    if log_file is not None and sinks is not None:
        raise ConfigError("log_file= and sinks= both say where to write; give one of them")
    overrides: dict[str, Any] = {}
    if log_level is not None:
        overrides["completion_log_level"] = log_level
    if log_file is not None:
        overrides["sinks"] = [{"type": "file", "path": log_file}]
    if sinks is not None:
        listed = isinstance(sinks, Iterable) and not isinstance(sinks, str)
        overrides["sinks"] = list(cast("Iterable[Any]", sinks)) if listed else sinks
    return load_settings(**overrides) if settings is None else LLMSettings.of(settings).replace(**overrides)


def _checked(processors: object) -> list[Processor]:
    """Return the own processors; refuse what cannot be one, since it would fail on every event."""
    given = list(cast("Iterable[object]", processors)) if isinstance(processors, Iterable) else [None]
    if not all(callable(processor) for processor in given):
        raise ConfigError("processors= is a list of callables (logger, method_name, event_dict) -> event_dict")
    return cast("list[Processor]", given)


def _careful(ids: Ids) -> Ids:
    """Return the caller's source of ids with a random one behind it, for when it fails or gives no text."""

    def draw(kind: str) -> str:
        try:
            drawn: object = ids(kind)
        except Exception:
            drawn = None
        return drawn if isinstance(drawn, str) and drawn else random_id(kind)

    return draw
