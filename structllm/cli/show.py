"""`structllm show`: one request or decision with everything that belongs to it, told in order."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from shutil import get_terminal_size
from typing import Any

import click

from structllm.cli.output import Failure, NothingFound, emit, emit_json, wants_color
from structllm.cli.source import Source, color_option, json_option, path_arguments
from structllm.cli.story import tell_story
from structllm.console import escape, style
from structllm.figures import format_age
from structllm.query import Call, Filter, calls_of, causes_of, parse_timestamp
from structllm.segment import STDIN

_MAX_NAMED = 5


@click.command()
@click.argument("id_", metavar="ID")
@color_option
@json_option
@path_arguments
def show(id_: str, paths: Sequence[str], color: str, as_json: bool) -> None:
    """Tell one request or decision as a story.

    ID is a request's or decision's id, or the beginning of one, with or without `req_` and `dec_`: the eight
    characters that other commands show will do. Shown are the request, its response, the decisions that it led to (or
    that share a request with it), and what became of them. Exits 1 where no id begins so.
    """
    source = Source(paths, Filter())
    # The story needs two readings: what the id means, and what belongs to it.
    events = list(source.events()) if STDIN in source.paths else None
    meant = _resolve(id_, events if events is not None else source.events())
    if not meant:
        source.finish()
        raise NothingFound(f"no request or decision whose id begins with {id_}; `structllm tail` shows ids")
    again = events if events is not None else Source(source.paths, Filter()).events()
    story = _story(meant, again)
    source.finish()
    outcomes = {call.request_id: call for call in calls_of(story, datetime.now(UTC)) if call.request_id in meant}
    if as_json:
        requests = {request_id: call.outcome for request_id, call in outcomes.items()}
        emit_json({"requests": requests, "events": [dict(event) for event in story]})
        return
    colored = wants_color(color)
    width = get_terminal_size((120, 24)).columns if sys.stdout.isatty() else None
    for line in tell_story(story, colored, width):
        emit(line)
    for call in outcomes.values():
        if call.ended is None:
            emit(f"\n{style('no response', 'yellow', colored)}  {escape(call.request_id)}  {_waiting(call)}")


def _waiting(call: Call) -> str:
    started = parse_timestamp(call.started)
    age = "" if started is None else f" for {format_age((datetime.now(UTC) - started).total_seconds())}"
    return f"{call.outcome}{age}"


def _resolve(beginning: str, events: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the ids of the requests (and of a decision without requests) that are meant."""
    decisions: dict[str, set[str]] = {}
    requests: set[str] = set()
    for event in events:
        request_id, decision_id = event.get("request_id"), event.get("decision_id")
        if event["event_type"] == "trading_decision" and _begins(decision_id, beginning):
            decisions[str(decision_id)] = {str(decision_id), *causes_of(event)}
        elif event["event_type"].startswith("completion_") and _begins(request_id, beginning):
            requests.add(str(request_id))
    found = sorted({*requests, *decisions})
    if beginning in found:
        return decisions.get(beginning, {beginning})
    if len(found) > 1:
        named = ", ".join(found[:_MAX_NAMED]) + (", ..." if len(found) > _MAX_NAMED else "")
        raise Failure(f"{beginning} could be any of {len(found)}: {named}; give more of the id")
    return decisions.get(found[0], {found[0]}) if found else set()


def _begins(identity: object, beginning: str) -> bool:
    if not isinstance(identity, str) or not beginning:
        return False
    return identity.startswith(beginning) or identity.partition("_")[2].startswith(beginning)


def _story(meant: set[str], events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the events of these requests and decisions, and the outcomes of the decisions among them."""
    story: list[Mapping[str, Any]] = []
    decisions = set(meant)
    for event in events:
        if event["event_type"] == "trading_decision":
            belongs = _is_one_of(event.get("decision_id"), meant) or not meant.isdisjoint(causes_of(event))
            if belongs and isinstance(event.get("decision_id"), str):
                decisions.add(event["decision_id"])
        elif event["event_type"] == "decision_outcome":
            belongs = _is_one_of(event.get("decision_id"), decisions)
        else:
            belongs = _is_one_of(event.get("request_id"), meant)
        if belongs:
            story.append(event)
    return story


def _is_one_of(id_: object, ids: set[str]) -> bool:
    """Return whether an id, which in a foreign file may be anything, is among these."""
    return isinstance(id_, str) and id_ in ids
