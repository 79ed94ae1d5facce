"""What every reading command shares: which files, which events of them, and what to say about the reading."""

import functools
import heapq
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from structllm.cli.output import Failure, hint
from structllm.errors import ConfigError
from structllm.figures import counted
from structllm.query import ORPHANED_AFTER_S, Corrections, Filter, parse_since
from structllm.segment import (
    LOG_SUFFIXES,
    Entry,
    Log,
    ReadReport,
    files_of,
    find_logs,
    is_read_once,
    is_there,
    lines_of,
    parse,
    read,
    read_file,
    timestamp_of,
    unique,
)

if TYPE_CHECKING:
    from structllm.archive import Store

DEFAULT_LOG = "logs/llm_completions.log"
LOG_NAMES = ", ".join(f"*{suffix}" for suffix in LOG_SUFFIXES)
"""What files in a directory are called that are read as logs."""

CORRECTIONS_NAME = "cost_corrections.jsonl"
"""The file of a log's directory that `structllm reprice --write` writes, and that is read with every log there."""

_CORRECTION = b'"cost_correction"'  # in every line that is one; inside a text its quotes would be escaped
_MAX_NAMED = 5
_KEPT_OPEN = 32  # files of each log, while archives are read as well

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])


class Source:
    """The events that a command reads.

    Args:
        paths: What the user named; nothing means what the settings name.
        wanted: Which events count.
        since: What `wanted` says of time, so that archives are read from there on only; None: from their beginning.

    Attributes:
        paths: What is read.
        local: Those of them that are files or directories.
        stores: The others: archives in object storage.
    """

    def __init__(self, paths: Sequence[str], wanted: Filter, since: datetime | None = None) -> None:
        self.wanted = wanted
        self.report = ReadReport()
        self.paths = list(paths) or default_paths()
        self.local = [path for path in self.paths if not is_archive(path)]
        self.stores = [opened(path) for path in self.paths if is_archive(path)]
        # The request of a call that is answered after `since` decides whether the call counts.
        self.since = None if since is None else since - timedelta(seconds=ORPHANED_AFTER_S)

    def entries(self) -> Iterator[Entry]:
        """Yield every event once, wanted or not; of archives, those of the segments that `since` needs."""
        try:
            if not self.stores:
                return read(self._local(), self.report)
            return unique(heapq.merge(*self._streams(), key=timestamp_of), self.report)
        except FileNotFoundError as error:
            raise missing(str(error)) from None

    def _streams(self) -> Iterator[Iterator[Entry]]:
        from structllm.archive.reading import read_archive

        for log in find_logs(self._local()):
            files = files_of(log, self.report, _KEPT_OPEN)
            yield (entry for file in files for entry in read_file(file.path, file.reader, self.report, live=file.live))
        for store in self.stores:
            yield read_archive(store, self.report, self.since)

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Yield every event once, wanted or not, without its line."""
        return (entry.event for entry in self.entries())

    def corrections(self) -> Corrections | None:
        """Return the corrections of costs that all of this holds, read beforehand; None where it can be read only once.

        The lines of corrections are found by their bytes, and no other line is parsed.
        """
        if self.read_once:
            return None
        found, ignored = Corrections(), ReadReport()  # what is wrong with the files is told by the reading proper
        for log in self.logs():
            for file in files_of(log, ignored):
                lines = (line for line in lines_of(file, ignored) if line[1] is not None and _CORRECTION in line[1])
                for entry in parse(file.path, lines, ignored):
                    found.add(entry.event)
        return found

    @property
    def read_once(self) -> bool:
        """Whether some of it is no file: an archive, standard input or a pipe."""
        return bool(self.stores) or any(map(is_read_once, self.local))

    def logs(self) -> list[Log]:
        """Return the logs among the files and directories, and the corrections beside them; raise Failure for none."""
        try:
            return find_logs(self._local())
        except FileNotFoundError as error:
            raise missing(str(error)) from None

    def _local(self) -> list[str]:
        """Return the files and directories to read, and the corrections that lie beside the files."""
        beside = [os.path.join(os.path.dirname(path), CORRECTIONS_NAME) for path in self.local if _is_file(path)]
        return [*self.local, *(path for path in dict.fromkeys(beside) if os.path.isfile(path))]

    def finish(self, found: object = True, what: str = "event") -> None:
        """Say what was met besides events, and why there is nothing to show if so; exit 1 if a file was unreadable."""
        for sentence in self.report.hints():
            hint(sentence)
        if not self.report.events and not self.report.unreadable:
            self._hint_at_nothing()
        elif not found:
            hint(f"no such {what} among {counted(self.report.events, 'event')}")
        if self.report.unreadable:
            click.get_current_context().exit(1)

    def _hint_at_nothing(self) -> None:
        """Say where no events are, and where there are not even files."""
        bare = [path for path in self.paths if os.path.isdir(path) and not find_logs([path])]
        for path in bare:
            hint(f"no log files in {path} (looked for {LOG_NAMES}, rotated and compressed ones too)")
        others = [path for path in self.paths if path not in bare]
        if others:
            hint(f"no events yet in {', '.join(others)}")


def _is_file(path: str) -> bool:
    return not is_read_once(path) and not os.path.isdir(path)


def is_archive(path: str) -> bool:
    """Return whether this names an archive in object storage, and no path."""
    return path[:5].lower() == "s3://"


def opened(place: str) -> "Store":
    """Return the archive of this URL or directory. Raises Failure where it is wrong, without repeating it."""
    from structllm.archive.opening import open_store

    try:
        return open_store(place)
    except ConfigError as error:
        raise Failure("; ".join(error.problems)) from None


def other_logs(path: str) -> str:
    """Return the logs that lie in the directory of one that is missing, as words; nothing where there are none."""
    directory = os.path.dirname(path)
    found = [log.live for log in find_logs([directory])] if os.path.isdir(directory) else []
    return ", ".join(found[:_MAX_NAMED]) + (", ..." if len(found) > _MAX_NAMED else "")


def missing(path: str) -> Failure:
    """Return the failure that says that there is no such log, and what to do."""
    if path == DEFAULT_LOG and (others := other_logs(path)):
        return Failure(f"there is no {path} here, but {others}; name a file, or the directory {os.path.dirname(path)}")
    if path == DEFAULT_LOG:
        return Failure(
            f"there is no {path} here; run the program that logs (or `structllm demo`), or name a file or directory"
        )
    return Failure(f"no such file or directory: {path}; `structllm doctor` shows where the settings write")


def default_paths() -> list[str]:
    """Return the files that the settings name, or else the archives.

    Loading settings takes half a second, so that is done only where there are any.
    """
    if not settings_given():
        return [DEFAULT_LOG]
    from structllm.cli.config import configured_files

    files = configured_files()
    if not files:
        from structllm.cli.archives import configured_places

        places = configured_places()
        if places:
            return places
        raise Failure("the settings name no file to read; name files or directories: structllm COMMAND PATH...")
    # A sink creates its file when the program starts, so of several some may be there and some not.
    return [path for path in files if is_there(path)] or files[:1]


def settings_given() -> bool:
    """Return whether the environment holds settings or names a file of them."""
    return "STRUCTLLM_CONFIG" in os.environ or any(
        name.upper().startswith("LLM__") or (name.upper() == "LLM" and value.lstrip().startswith("{"))
        for name, value in os.environ.items()
    )


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Turn a value such as `15m` into the moment meant, counted back from now."""
    try:
        return None if value is None else parse_since(value, datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is {error}", ctx, param) from None


def path_arguments(command: AnyCommand) -> AnyCommand:
    """Add PATH... to a command, as `paths`."""
    return click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path())(command)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
color_option = click.option(
    "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True, help="Use colours."
)


def filter_options(command: AnyCommand) -> AnyCommand:
    """Add the options that say which events count."""
    for option in (
        click.option("--session", metavar="ID", help="Only this session; the beginning of its id will do."),
        click.option("--model", metavar="NAME", help="Only this model; * stands for anything."),
        click.option(
            "--since", callback=moment, metavar="WHEN", help="Nothing before: 15m, 2h, 7d, 2024-01-15T10:30Z."
        ),
    ):
        command = option(command)
    return command


def reading(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command PATH..., the filter options and --json; it is called with `source` and `as_json`."""

    @filter_options
    @json_option
    @path_arguments
    @functools.wraps(command)
    def run(
        paths: Sequence[str], since: datetime | None, model: str | None, session: str | None, **options: Any
    ) -> None:
        command(source=Source(paths, Filter(since=since, model=model, session=session), since), **options)

    return run
