"""`structllm tail`: the newest events, one line each, and those that come."""

import heapq
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from shutil import get_terminal_size

import click

from structllm.backward import read_last
from structllm.cli.output import Failure, emit, hint, wants_color
from structllm.cli.source import (
    DEFAULT_LOG,
    Source,
    color_option,
    filter_options,
    json_option,
    missing,
    other_logs,
    path_arguments,
)
from structllm.console import EVENT_TYPES, escape_json, format_event
from structllm.follow import Follower
from structllm.query import Filter
from structllm.segment import STDIN, Entry, find_logs, is_there, timestamp_of, unique

DEFAULT_COUNT = 20
POLL_S = 0.1

_LOOK_FOR_FILES_S = 1.0


def _pattern(ctx: click.Context, param: click.Parameter, value: str | None) -> re.Pattern[str] | None:
    try:
        return None if value is None else re.compile(value)
    except re.error as error:
        raise click.BadParameter(f"not a regular expression: {error}", ctx, param) from None


def _types(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> list[str]:
    """Turn types as shown (`request`) or in full into types in full."""
    for value in values:
        if value not in EVENT_TYPES and value not in EVENT_TYPES.values():
            raise click.BadParameter(f"{value!r} is none of {', '.join(EVENT_TYPES)}", ctx, param)
    return [EVENT_TYPES.get(value, value) for value in values]


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Wait for more, across rotation. Ctrl-C ends it.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0, max=1_000_000), metavar="N", help="Newest events shown. [default: 20]"
)
@filter_options
@click.option(
    "--type",
    "types",
    multiple=True,
    callback=_types,
    metavar="TYPE",
    help=f"Only this type; may be repeated: {', '.join(EVENT_TYPES)}.",
)
@click.option("--errors", is_flag=True, help="Only failures.")
@click.option("--grep", callback=_pattern, metavar="REGEX", help="Only events with a text that matches.")
@color_option
@json_option
@path_arguments
def tail(
    paths: Sequence[str],
    follow: bool,
    lines: int | None,
    since: datetime | None,
    model: str | None,
    session: str | None,
    types: Sequence[str],
    errors: bool,
    grep: re.Pattern[str] | None,
    color: str,
    as_json: bool,
) -> None:
    """Show the newest events, one line each: time (UTC), what, session, request, facts, text.

    With --since and without -n, everything since then.
    """
    wanted = Filter(
        since=since,
        model=model,
        session=session,
        types=types,
        errors=errors,
        grep=grep,
    )
    source = Source(paths, wanted, since)
    show = _json_line if as_json else _line(wants_color(color))
    count = lines if lines is not None else None if since else DEFAULT_COUNT
    if follow and source.stores:
        raise Failure(
            f"{source.stores[0].place} cannot be followed: what is archived never grows; follow the log itself"
        )
    if follow and STDIN not in source.paths:
        _follow(source, count, show)
        return
    shown = False
    for entry in _newest(source, None if follow else count):
        emit(show(entry))
        shown = True
        if follow:
            sys.stdout.flush()  # standard input may go on for hours
    if count != 0:
        source.finish(shown)


def _newest(source: Source, count: int | None) -> Iterator[Entry]:
    if count is None:
        return (entry for entry in source.entries() if source.wanted(entry.event))
    try:
        newest = read_last(source.local, count, source.wanted, source.report)
    except FileNotFoundError as error:
        raise missing(str(error)) from None
    if not source.stores or not count:
        return iter(newest)
    from structllm.archive.reading import read_newest

    archived = [read_newest(store, count, source.wanted, source.report, source.since) for store in source.stores]
    return iter(list(heapq.merge(newest, *archived, key=timestamp_of))[-count:])


def _line(color: bool) -> Callable[[Entry], str]:
    terminal = sys.stdout.isatty()
    # Asked for again with every line, because a window may be resized.
    return lambda entry: format_event(
        entry.event, color=color, width=get_terminal_size((120, 24)).columns if terminal else None
    )


def _json_line(entry: Entry) -> str:
    return escape_json(entry.line.decode())


def _follow(source: Source, count: int | None, show: Callable[[Entry], str]) -> None:
    """Show the newest events, then what comes. Followers open first, so that nothing falls between the two."""
    following = Following(source.paths, source)
    try:
        try:
            for entry in _newest(source, count):
                emit(show(entry))
        except Failure:
            waited = [path for path in source.paths if not is_there(path)]
            others = other_logs(DEFAULT_LOG) if DEFAULT_LOG in waited else ""
            hint(f"waiting for {', '.join(waited)}{f'; there already: {others}' if others else ''}")
        sys.stdout.flush()
        while True:
            if following.poll(lambda entry: emit(show(entry))):
                sys.stdout.flush()
            time.sleep(POLL_S)
    finally:
        following.close()
        for sentence in source.report.hints():
            hint(sentence)


class Following:
    """The live files that paths stand for, those included that appear later in a directory."""

    def __init__(self, paths: Sequence[str], source: Source) -> None:
        self._source = source
        self._directories = [path for path in paths if os.path.isdir(path)]
        files = [path for path in paths if path not in self._directories]
        self._followers = {path: self._follower(path, from_end=True) for path in [*files, *self._live()]}
        self._next_look_s = time.monotonic() + _LOOK_FOR_FILES_S

    def poll(self, show: Callable[[Entry], None]) -> bool:
        """Show what is new and wanted, by time; return whether there was anything."""
        if self._directories and time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + _LOOK_FOR_FILES_S
            for path in self._live() - self._followers.keys():
                self._followers[path] = self._follower(path, from_end=False)
        entries = heapq.merge(*[follower.poll() for follower in self._followers.values()], key=timestamp_of)
        shown = False
        for entry in unique(entries, self._source.report):
            if self._source.wanted(entry.event):
                show(entry)
                shown = True
        return shown

    def close(self) -> None:
        """Close all files."""
        for follower in self._followers.values():
            follower.close()

    def _live(self) -> set[str]:
        return {log.live for log in find_logs(self._directories)}

    def _follower(self, path: str, *, from_end: bool) -> Follower:
        return Follower(path, self._source.report, from_end=from_end)
