"""Events and numbers as people read them in a terminal.

Used on both sides: the stdout sink lays out events as they are written, the commands lay out what they read. Every text
that comes out of an event passes `escape`, so that no prompt or answer can move the cursor, change colours, fake a line
or reverse the reading direction. Imports nothing but the standard library.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast
from unicodedata import category, east_asian_width

from structllm.figures import (
    format_count,
    format_duration,
    format_time,
    format_tokens,
    format_usd,
    mapping,
    number,
    short_id,
)

# C0, DEL and C1; bidi marks, embeddings, overrides and isolates; line and paragraph separators; lone surrogates.
_DANGEROUS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_WHITESPACE = re.compile(r"[ \t\r\n]+")

NARROW_COLUMNS = 104
"""Below this width a line leaves out the date, so that some of the text still fits."""

_SESSION_COLUMNS = 130  # below this width, the session is left out
_TEXT_COLUMNS = 25  # that the text is given at least, where the other facts can be told more briefly

_STYLES = {
    "dim": "\x1b[2m",
    "bold": "\x1b[1m",
    "red": "\x1b[31m",
    "green": "\x1b[32m",
    "yellow": "\x1b[33m",
    "blue": "\x1b[34m",
    "magenta": "\x1b[35m",
    "cyan": "\x1b[36m",
}
_RESET = "\x1b[0m"
_GAP = "  "

_NAME_COLUMNS = 17  # of a model, as long as claude-sonnet-4-5
_BRIEF_COLUMNS = 12  # of either where there is little room
_VERDICT_COLUMNS = 24  # of validation and risk check, which may say at length why not


class Fact(NamedTuple):
    """A piece of a line.

    Attributes:
        text: What it says, not yet escaped.
        style: `dim`, `bold`, a colour, or nothing.
        columns: Terminal columns it takes at least; below 0 its text stands to the right. 0 leaves an empty one out.
        brief: What it says where it would leave too little room for the text: nothing if empty, the same if None.
    """

    text: str
    style: str = ""
    columns: int = 0
    brief: str | None = None


class Layout(NamedTuple):
    """How events of one type are shown: name, its style, the facts, and the field of which the beginning follows."""

    name: str
    style: str
    facts: Callable[[Mapping[str, Any]], Iterator[Fact]]
    text_field: str


def escape(text: str) -> str:
    r"""Return the text with every character that could act on a terminal made visible as `\xNN` or `\uNNNN`.

    Covers C0 (tab and newline too), DEL, C1, bidi controls, U+2028, U+2029 and lone surrogates.
    """
    return text if text.isascii() and text.isprintable() else _DANGEROUS.sub(_visible, text)


def escape_json(text: str) -> str:
    r"""Return one line of JSON with the same characters as `\uNNNN`: equal JSON, harmless on a terminal."""
    return text if text.isascii() and text.isprintable() else _DANGEROUS.sub(_json_escape, text)


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _json_escape(match: re.Match[str]) -> str:
    # No string of JSON holds a bare tab or carriage return; between its parts they mean the same as a space.
    return " " if match[0] in "\t\r\n" else f"\\u{ord(match[0]):04x}"


def style(text: str, name: str, color: bool) -> str:
    """Return the text in a style (`dim`, `bold` or a colour), or as it is where colours are not wanted."""
    return f"{_STYLES[name]}{text}{_RESET}" if color and name and text else text


def cells(text: str) -> int:
    """Return how many terminal columns a text takes."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(char: str) -> int:
    if char.isascii():
        return 1
    if category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if east_asian_width(char) in ("W", "F") else 1


def shorten(text: str, columns: int) -> str:
    """Return the text, cut to a number of columns with `…` at the end where it is longer."""
    if cells(text) <= columns:
        return text
    room = columns - 1
    if text.isascii():
        return text[:room] + "…" if columns > 0 else ""
    kept = 0
    for index, char in enumerate(text):
        room -= _cell(char)
        if room < 0:
            break
        kept = index + 1
    return text[:kept] + "…" if columns > 0 else ""


def one_line(text: str) -> str:
    """Return the text escaped and on one line, its runs of whitespace made one space."""
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip(" ")
    return escape(_WHITESPACE.sub(" ", text).strip(" "))


def format_event(event: Mapping[str, Any], *, color: bool, width: int | None = None) -> str:
    """Return an event as one line for people.

    Args:
        event: Any event; missing and ill-typed fields are left out.
        color: Whether to use ANSI colours.
        width: Columns of the terminal, to which the line is cut; None cuts nothing.

    Returns:
        The line without a newline: time (UTC), type, session and request ids, the facts that matter for its type, text.
    """
    kind = event.get("event_type")
    layout = (_LAYOUTS.get(kind) if isinstance(kind, str) else None) or Layout(_text(kind), "", _other, "")
    head = list(_head(event, layout, width))
    facts = list(_with_level(event, layout.facts(event)))
    if width is not None:
        facts = _make_room(facts, width - _columns_of(head) - (_TEXT_COLUMNS if layout.text_field else -len(_GAP)))
    return _lay_out([*head, *facts, Fact(_preview(event, layout.text_field, width))], color, width)


def _make_room(facts: list[Fact], room: int) -> list[Fact]:
    """Leave facts out, the last first, then all padding, then tell the others more briefly, until they fit."""
    for index in range(len(facts) - 1, -1, -1):
        if facts[index].brief == "" and _columns_of(facts) > room:
            facts[index] = Fact("")
    if _columns_of(facts) > room:
        facts = [fact._replace(columns=0) for fact in facts]
    for index in range(len(facts) - 1, -1, -1):
        if facts[index].brief and _columns_of(facts) > room:
            facts[index] = facts[index]._replace(text=facts[index].brief or "")
    return facts


def _columns_of(facts: Sequence[Fact]) -> int:
    """Return how many columns these facts take, each with the gap behind it."""
    sizes = [max(cells(one_line(fact.text)), abs(fact.columns)) for fact in facts]
    return sum(size + len(_GAP) for size in sizes if size)


def _lay_out(facts: Sequence[Fact], color: bool, width: int | None) -> str:
    """Return the facts side by side; where they do not fit, the line ends in an ellipsis."""
    pieces: list[tuple[Fact, str]] = []
    used = 0
    for fact in facts:
        text = one_line(fact.text)
        if not text and not fact.columns:
            continue
        room = len(text) + len(_GAP) if width is None else width - used - (len(_GAP) if pieces else 0)
        if width is not None and room <= 0:
            if text and pieces:
                last, shown = pieces[-1]
                pieces[-1] = last, shorten(f"{shown}…", cells(shown))
            break
        if width is not None:
            text = shorten(text, room)
        size = max(cells(text), abs(fact.columns) if width is None else min(abs(fact.columns), room))
        used += size + (len(_GAP) if pieces else 0)
        pieces.append((fact, text))
        if width is not None and cells(text) < size:
            pieces[-1] = fact._replace(columns=size if fact.columns > 0 else -size), text
    return _GAP.join(_padded(fact, text, color) for fact, text in pieces).rstrip(" ")


def _padded(fact: Fact, text: str, color: bool) -> str:
    padding = " " * (abs(fact.columns) - cells(text))
    text = style(text, fact.style, color)
    return padding + text if fact.columns < 0 else text + padding


def _head(event: Mapping[str, Any], layout: Layout, width: int | None) -> Iterator[Fact]:
    failed = event.get("success") is False or event.get("level") in ("ERROR", "CRITICAL")
    with_date = width is None or width >= NARROW_COLUMNS
    yield Fact(format_time(event.get("timestamp"), with_date=with_date), "dim", 15 if with_date else 9)
    yield Fact(layout.name, "red" if failed else layout.style, 8)
    if width is None or width >= _SESSION_COLUMNS:
        yield Fact(short_id(event.get("session_id")), "dim", 8)
    yield Fact(short_id(event.get("request_id") or event.get("decision_id") or event.get("run_id")), "", 8)


def _with_level(event: Mapping[str, Any], facts: Iterator[Fact]) -> Iterator[Fact]:
    """Add the level, unless it is INFO, behind the aligned columns, which so stay aligned."""
    level = event.get("level")
    waiting = isinstance(level, str) and level != "INFO"
    told = Fact(_text(level), _LEVEL_STYLES.get(_text(level), "dim"), brief="")
    for fact in facts:
        if waiting and not fact.columns:
            yield told
            waiting = False
        yield fact
    if waiting:
        yield told


def _model(value: object) -> Fact:
    name = one_line(_text(value))
    return Fact(name, "bold", _NAME_COLUMNS, brief=shorten(name, _BRIEF_COLUMNS) or None)


def _request(event: Mapping[str, Any]) -> Iterator[Fact]:
    yield _model(event.get("model"))
    length = number(event.get("prompt_length"))
    if length is not None:
        yield Fact(f"{length:,.0f} chars", "", -12, brief="")
    attempt = number(event.get("attempt"))
    if attempt is not None and attempt > 1:
        yield Fact(f"attempt {attempt:.0f}", "yellow")
    yield Fact(_text(mapping(event.get("market_context")).get("symbol")), "magenta")


def _response(event: Mapping[str, Any]) -> Iterator[Fact]:
    yield _model(event.get("model") or event.get("response_model"))
    outcome = _text(event.get("outcome"))
    failed = event.get("success") is False
    yield Fact(format_duration(event.get("response_time_ms")), "", -8, brief="" if failed else None)
    if failed:
        yield Fact(_text(event.get("error_type")) or outcome or "failed", "red")
        if outcome not in ("", "error"):
            yield Fact(outcome, "red")
    cost = number(event.get("cost_estimate_usd"))
    yield Fact(format_tokens(event.get("token_usage")), "", 0 if failed else -13, brief="")
    if not failed or cost is not None:
        yield Fact(format_usd(cost), "yellow", -9)


def _decision(event: Mapping[str, Any]) -> Iterator[Fact]:
    action = _text(event.get("action"))
    yield Fact(action, _ACTION_STYLES.get(action.upper(), "bold"), 5)
    size = number(event.get("size_pct"))
    yield Fact("" if size is None else f"{size:g}%", "", -4)
    price = number(event.get("current_price"))
    symbol = _text(event.get("symbol"))
    yield Fact(symbol if price is None else f"{symbol} @ {price:,}".strip(), "bold", brief=symbol or None)
    validation = shorten(one_line(_text(event.get("validation_result"))), _VERDICT_COLUMNS)
    passed = validation == "PASSED"
    yield Fact(validation, "green" if passed else "yellow", brief="" if passed else shorten(validation, _BRIEF_COLUMNS))
    yield Fact(shorten(one_line(_text(event.get("risk_assessment"))), _VERDICT_COLUMNS), brief="")


def _metrics(event: Mapping[str, Any]) -> Iterator[Fact]:
    yield Fact(f"{format_count(event.get('total_completions'))} calls", "bold", _NAME_COLUMNS)
    yield Fact(f"avg {format_duration(event.get('avg_response_time_ms'))}")
    if number(event.get("p95_response_time_ms")) is not None:
        yield Fact(f"p95 {format_duration(event.get('p95_response_time_ms'))}", brief="")
    rate = number(event.get("success_rate"))
    if rate is not None:
        yield Fact(f"{rate:.0%} ok", "green" if rate == 1 else "yellow")
    yield Fact(f"{format_count(event.get('total_tokens'))} tok")
    yield Fact(_total_cost(event), "yellow")
    if number(event.get("tokens_per_second")) is not None:
        yield Fact(f"{event['tokens_per_second']:,.0f} tok/s", brief="")
    dropped = mapping(event.get("dropped"))
    if dropped:
        yield Fact(f"dropped {_pairs(dropped)}", "red")


def _total_cost(event: Mapping[str, Any]) -> str:
    """Return the sum of the known costs: `at least` where there are unknown ones, `-` where all are unknown."""
    cost, unpriced = number(event.get("total_cost_estimate_usd")), number(event.get("unpriced_calls")) or 0
    if not cost and unpriced and unpriced >= (number(event.get("total_completions")) or 0):
        return "-"
    return f"at least {format_usd(cost)}" if unpriced and cost is not None else format_usd(cost)


def _correction(event: Mapping[str, Any]) -> Iterator[Fact]:
    yield _model(event.get("model"))
    before, after = (format_usd(number(event.get(name))) for name in ("previous_cost_usd", "cost_estimate_usd"))
    yield Fact(f"{before} -> {after}", "yellow")


def _gap(event: Mapping[str, Any]) -> Iterator[Fact]:
    yield Fact(f"sink {_text(event.get('sink'))}", "bold", _NAME_COLUMNS)
    dropped = mapping(event.get("dropped"))
    count = sum(number(value) or 0 for value in dropped.values())
    yield Fact(f"dropped {format_count(count)}", "red")
    yield Fact(_pairs(dropped) if len(dropped) > 1 else ", ".join(map(_text, dropped)), "red")
    times = [format_time(event.get(name), with_date=False) for name in ("first_dropped_at", "last_dropped_at")]
    yield Fact(" to ".join(times) if all(times) else "", brief="")


def _run(event: Mapping[str, Any]) -> Iterator[Fact]:
    yield Fact(_text(event.get("kind")), "", _NAME_COLUMNS)
    yield Fact(format_duration(event.get("duration_ms")), "", -8)
    yield Fact(_text(event.get("name")), "bold")
    if event.get("success") is False:
        yield Fact(_text(event.get("error_type")) or "failed", "red")


def _outcome(event: Mapping[str, Any]) -> Iterator[Fact]:
    yield Fact(_text(event.get("kind")), "bold", _NAME_COLUMNS)
    value = event.get("value")
    yield Fact(_pairs(mapping(value)) or _text(value))


def _other(event: Mapping[str, Any]) -> Iterator[Fact]:
    yield Fact(_pairs({name: value for name, value in event.items() if name not in _ENVELOPE}))


_LAYOUTS: Mapping[object, Layout] = {
    "completion_request": Layout("request", "cyan", _request, "prompt_preview"),
    "completion_response": Layout("response", "green", _response, "response_preview"),
    "trading_decision": Layout("decision", "magenta", _decision, "rationale"),
    "performance_metrics": Layout("metrics", "blue", _metrics, ""),
    "decision_outcome": Layout("outcome", "magenta", _outcome, ""),
    "run": Layout("run", "dim", _run, ""),
    "log_gap": Layout("gap", "yellow", _gap, ""),
    "cost_correction": Layout("correction", "yellow", _correction, ""),
}
EVENT_TYPES: Mapping[str, str] = {layout.name: str(kind) for kind, layout in _LAYOUTS.items()}
"""The name under which an event type is shown, to the type."""

_LEVEL_STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
_ACTION_STYLES = {"LONG": "green", "BUY": "green", "SHORT": "red", "SELL": "red"}
_SEAL = frozenset(["sink_seq", "hash"])
_ENVELOPE = _SEAL | frozenset(
    ["event_type", "timestamp", "session_id", "level", "schema_version", "writer", "seq", "request_id", "decision_id"]
)


_INSTRUCTIONS = ("system: ", "developer: ")
_LAST_QUESTION = "\n\nuser: "


def _preview(event: Mapping[str, Any], field: str, width: int | None) -> str:
    text = event.get("error_message") or event.get(field)
    if not isinstance(text, str):
        return ""
    if width is None:
        return text
    if text.startswith(_INSTRUCTIONS):
        # The instructions are the same in every call; what was asked last is not.
        text = text[max(text.rfind(_LAST_QUESTION), 0) :]
    # No more is looked at than could be shown, even where most of it is whitespace.
    return text.lstrip("\n")[: 8 * max(width, 1)]


def _text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, Mapping):
        return "{…}" if value else "{}"
    if isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        return ", ".join(_text(item) for item in items[:8] if not isinstance(item, list | tuple))
    return str(value) if isinstance(value, bool | int | float) else type(value).__name__


def _pairs(values: Mapping[Any, Any]) -> str:
    """Return `name=value` for the first dozen entries."""
    shown = [f"{_text(name)}={_text(value)}" for name, value in list(values.items())[:12]]
    return " ".join([*shown, "…"] if len(values) > len(shown) else shown)
