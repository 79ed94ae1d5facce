"""Events told in full: a heading, the facts that matter, every other field, and the texts as they were written."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from structllm.console import cells, escape, style
from structllm.figures import format_count, format_duration, format_tokens, format_usd, mapping, number
from structllm.query import as_usd

_COLUMNS = 14  # of the names of facts
_UNTOLD = (
    *("event_type", "timestamp", "session_id", "schema_version", "writer", "seq", "completion_number"),
    *("sink_seq", "hash"),
)

Fields = dict[str, Any]
"""What of an event has not been told yet; a teller takes out what it tells."""


class Teller(NamedTuple):
    """How an event type is told: its title and style, its own id, its first facts, and its texts, told last."""

    title: str
    style: str
    identity: str
    facts: Callable[[Fields], dict[str, str]]
    texts: tuple[str, ...]


def tell_story(events: Iterable[Mapping[str, Any]], color: bool, width: int | None = None) -> Iterator[str]:
    """Yield the lines that tell these events, an empty one between two.

    Args:
        events: What is told.
        color: Whether to use ANSI colours.
        width: Columns of the terminal, at which lines are broken at blanks; None breaks none.
    """
    for index, event in enumerate(events):
        if index:
            yield ""
        yield from _tell(event, color, width)


def _tell(event: Mapping[str, Any], color: bool, width: int | None) -> Iterator[str]:
    teller = _TELLERS.get(event["event_type"], Teller(event["event_type"], "bold", "request_id", _other, ()))
    untold = {name: value for name, value in event.items() if name not in _UNTOLD}
    if untold.get("level") == "INFO":
        untold.pop("level")
    title = style(escape(teller.title), "red" if event.get("success") is False else teller.style, color)
    when = f"{str(event.get('timestamp')).replace('T', ' ')}  session {event.get('session_id')}"
    heading = f"{title}  {escape(str(untold.pop(teller.identity, '')))}"
    when = escape(when)
    if width is not None and cells(escape(teller.title)) + len(heading) - len(title) + 2 + cells(when) > width:
        yield heading
        yield from (f"  {style(line, 'dim', color)}" for line in _wrapped(when, width - 2))
    else:
        yield f"{heading}  {style(when, 'dim', color)}"
    texts = {name: untold.pop(name, None) for name in teller.texts}
    facts = teller.facts(untold)
    facts |= {name: _value(value) for name, value in untold.items() if value not in (None, [], {})}
    for name, value in facts.items():
        if value:
            label = escape(name).ljust(_COLUMNS)
            first, *rest = _wrapped(escape(value), None if width is None else width - _COLUMNS - 4, cells(label))
            yield f"  {style(label, 'dim', color)}  {first}"
            yield from (f"{' ' * (_COLUMNS + 4)}{line}" for line in rest)
    for name, text in texts.items():
        if isinstance(text, str) and text:
            yield f"  {style(_TEXT_TITLES[name], 'dim', color)}"
            for line in text.split("\n"):
                yield from (f"    {part}" for part in _wrapped(escape(line), None if width is None else width - 4))


def _wrapped(text: str, columns: int | None, label: int = 0) -> list[str]:
    """Return an escaped text in lines of so many columns, broken at blanks, at double ones (between pairs) first.

    Args:
        text: What to break.
        columns: Of every line; None breaks nothing.
        label: Columns of the label before the first line, which may be longer than its place.
    """
    if columns is None:
        return [text]
    columns = max(columns, _LEAST_COLUMNS)
    lines: list[str] = []
    line, room = "", columns - max(0, label - _COLUMNS)
    # Blanks stay with what follows them, so that a text keeps its own where it is not broken.
    for piece in _PIECE.findall(text) if "  " in text.strip() else _WORD.findall(text):
        for word in [piece] if cells(piece.lstrip(" ")) <= columns else _WORD.findall(piece):
            if line.strip() and cells(line) + cells(word) > room:
                lines.append(line)
                line, room = word.lstrip(" "), columns
            else:
                line += word
            while cells(line) > room:  # a word that is longer than a line
                kept = _fitting(line, room)
                lines.append(line[:kept])
                line, room = line[kept:], columns
    return [*lines, line]


def _fitting(text: str, columns: int) -> int:
    """Return how many characters of a text without blanks fit so many columns, one at least; best up to a comma."""
    used = 0
    for index, char in enumerate(text):
        used += cells(char)
        if used > columns:
            return text.rfind(",", 0, index) + 1 or max(index, 1)
    return len(text)


_PIECE = re.compile(r" *\S+(?: \S+)*")
_WORD = re.compile(r" *\S+")
_MOST_DEPTH = 100  # JSON may be nested a thousand times, which would be too much for the calls that show it
_LEAST_COLUMNS = 20  # in a narrower window, the terminal breaks the lines


def _value(value: object, depth: int = 0) -> str:
    """Return a value as text, a nested one as `name value` pairs; what is nested beyond all reason as an ellipsis."""
    if depth > _MOST_DEPTH:
        return "…"
    if isinstance(value, dict):
        items = mapping(cast("object", value)).items()
        pairs = [(name, _value(item, depth + 1), isinstance(item, dict)) for name, item in items]
        return "  ".join(f"{name} ({item})" if nested else f"{name} {item}" for name, item, nested in pairs)
    if isinstance(value, list):
        return ", ".join(_value(item, depth + 1) for item in cast("list[object]", value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def _request(untold: Fields) -> dict[str, str]:
    temperature, most = untold.pop("temperature", None), untold.pop("max_tokens", None)
    messages = untold.pop("message_count", 1)
    return {
        "model": _joined(
            _with_note(untold.pop("model", None), untold.pop("provider", None)),
            f"temperature {temperature}" if temperature is not None else "",
            f"at most {format_count(most)} tokens" if most is not None else "",
        ),
        "market": _value(untold.pop("market_context", {})),
        "prompt": _joined(
            _size(untold.pop("prompt_length", None), untold.pop("prompt_truncated", False)),
            f"{messages} messages" if messages != 1 else "",
        ),
    }


def _response(untold: Fields) -> dict[str, str]:
    success, outcome = untold.pop("success", None), untold.pop("outcome", None)
    took, first = untold.pop("response_time_ms", None), untold.pop("time_to_first_token_ms", None)
    usage = untold.pop("token_usage", None)
    if untold.get("level") == "ERROR" and not success:
        untold.pop("level")  # a failed call always is one
    kinds = {name: count for name, count in mapping(usage).items() if name not in _COUNTED and count}
    cost, status = as_usd(untold.pop("cost_estimate_usd", None)), untold.pop("cost_status", None)
    return {
        "outcome": _joined(
            _with_note(outcome or ("ok" if success else "error"), untold.pop("error_type", None))
            + (f" after {format_duration(took)}" if took is not None else ""),
            f"first token after {format_duration(first)}" if first is not None else "",
        ),
        "model": _with_note(untold.pop("model", None), untold.pop("provider", None)),
        "tokens": _with_note(format_tokens(usage), _value(kinds)),
        "cost": _joined(
            _with_note(format_usd(cost), status if status != "ok" else None),
            *_list_of_prices(untold),
        ),
        "answer": _size(untold.pop("response_length", None), untold.pop("response_truncated", False)),
    }


def _decision(untold: Fields) -> dict[str, str]:
    size, price = number(untold.pop("size_pct", None)), number(untold.pop("current_price", None))
    request_id, listed = untold.pop("request_id", None), untold.pop("caused_by", None)
    causes: list[object] = [request_id, *(cast("list[object]", listed) if isinstance(listed, list) else [listed])]
    return {
        "action": _joined(
            _value(untold.pop("action", None)),
            f"{size:g}%" if size is not None else "",
            _value(untold.pop("symbol", "")),
            f"@ {price:,}" if price is not None else "",
            between=" ",
        ),
        "validation": _value(untold.pop("validation_result", "")),
        "risk": _value(untold.pop("risk_assessment", "")),
        "indicators": _value(untold.pop("indicators", {})),
        "caused by": ", ".join(dict.fromkeys(_value(cause) for cause in causes if cause)),
        "cost": format_usd(as_usd(untold.pop("cost_usd"))) if "cost_usd" in untold else "",
    }


def _correction(untold: Fields) -> dict[str, str]:
    cost, status = as_usd(untold.pop("cost_estimate_usd", None)), untold.pop("cost_status", None)
    before, previous = as_usd(untold.pop("previous_cost_usd", None)), untold.pop("previous_cost_status", None)
    return {
        "model": _value(untold.pop("model", None) or ""),
        "cost": _joined(_with_note(format_usd(cost), status if status != "ok" else None), *_list_of_prices(untold)),
        "before": _with_note(format_usd(before), previous if previous != "ok" else None),
    }


def _other(untold: Fields) -> dict[str, str]:
    """Nothing first: every field under its own name."""
    return {}


def _joined(*parts: str, between: str = ", ") -> str:
    return between.join(part for part in parts if part)


def _with_note(value: object, note: object) -> str:
    return f"{_value(value)} ({_value(note)})" if note else _value(value) if value else ""


def _list_of_prices(untold: Fields) -> list[str]:
    model = untold.pop("price_model", None)
    source, version = (_value(untold.pop(name, None) or "") for name in ("cost_source", "price_version"))
    return [f"price of {_value(model)}" if model else "", _price_list(source, version)]


def _price_list(source: str, version: str) -> str:
    """Return who priced a call and by which list; a version that begins with its source says both."""
    return version if version.startswith(f"{source}/") else _joined(source, version, between=" ")


def _size(characters: object, cut: object) -> str:
    if number(characters) is None:
        return ""
    return f"{format_count(characters)} characters{', shown in part' if cut else ''}"


_COUNTED = ("prompt_tokens", "completion_tokens", "total_tokens")
_TEXT_TITLES = {"prompt_preview": "asked", "response_preview": "answered", "error_message": "said", "rationale": "why"}
_TELLERS = {
    "completion_request": Teller("request", "cyan", "request_id", _request, ("prompt_preview",)),
    "completion_response": Teller("response", "green", "request_id", _response, ("error_message", "response_preview")),
    "trading_decision": Teller("decision", "magenta", "decision_id", _decision, ("rationale",)),
    "cost_correction": Teller("correction", "yellow", "request_id", _correction, ()),
    "decision_outcome": Teller("outcome", "magenta", "decision_id", _other, ()),
}
