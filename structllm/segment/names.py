"""Which files make up a log: the live one, and the rotated and compressed ones beside it.

Hidden files beside a log (`.x.log.*`) belong to the one who writes it and are never part of it.
"""

import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

STDIN = "-"

LOG_SUFFIXES = (".log", ".jsonl", ".ndjson")
"""How the names of live files end that are taken for logs in a directory."""

_PACKED_SUFFIXES = (".gz", ".zst")
_ROTATIONS_MEANWHILE = 8  # while the files of one log are opened
_NAME = re.compile(r"(?P<base>.+?)(?:\.(?P<number>\d{1,9}))?(?:\.(?P<packed>gz|zst))?", re.DOTALL)


class Log(NamedTuple):
    """A live file with its rotated predecessors.

    Attributes:
        live: Path of the live file, whether or not it exists.
        files: The files found, the oldest first.
        whole: Whether all predecessors are wanted, not just the files found.
    """

    live: str
    files: tuple[str, ...]
    whole: bool = True

    def newest_first(self) -> Iterator[str]:
        """Yield the paths to try, the newest first, a plain file before the one that it is compressed to.

        A rotation meanwhile moves every file to the next number and may hide one from a listing, so the numbers near
        those that were found are tried as well. Where more happened than that, the directory is listed again.
        """
        if not self.whole or self.live == STDIN:
            yield from sorted(self.files, key=_newness, reverse=True)
            return
        begun, listed = _identity(self.live), set(self.files)
        tried: set[str] = set()
        while True:
            for path in _near(self.live, listed):
                if path not in tried:
                    tried.add(path)
                    yield path
            before, begun = begun, _identity(self.live)
            if begun == before:
                return
            listed = _with_predecessors(self.live)
            if listed <= tried:
                return


def find_logs(paths: Iterable[str | os.PathLike[str]]) -> list[Log]:
    """Return the logs that paths stand for.

    A live file stands for itself and its rotated predecessors, a rotated or compressed file for itself, a directory
    for all logs (`.log`, `.jsonl`, `.ndjson`) in it and below, and `-` for standard input.

    Raises:
        FileNotFoundError: A path does not exist, nor does a rotated predecessor of it.
    """
    found: dict[str, set[str]] = {}
    whole: set[str] = set()
    for path in [os.fspath(path) for path in paths]:
        if path == STDIN:
            found[STDIN] = {STDIN}
        elif os.path.isdir(path):
            for file in _files_below(path):
                base = _parse_name(file)[0]
                found.setdefault(base, set()).add(file)
                whole.add(base)
        elif os.path.exists(path) and _parse_name(path)[0] != path:
            found.setdefault(_parse_name(path)[0], set()).add(path)
        else:
            if not is_there(path):
                raise FileNotFoundError(path)
            found.setdefault(path, set()).update(_with_predecessors(path))
            whole.add(path)
    return [_log(live, files, live in whole) for live, files in sorted(found.items())]


def log_at(live: str) -> Log:
    """Return the log of a live file, whether or not anything of it exists."""
    return _log(live, _with_predecessors(live), whole=True)


def is_there(path: str) -> bool:
    """Return whether there is a file, directory or log of this name, if only a rotated file of it."""
    # A rotation meanwhile has moved the file to a name that is looked for later.
    return os.path.exists(path) or bool(_with_predecessors(path)) or os.path.exists(path)


def is_read_once(path: str) -> bool:
    """Return whether this is standard input, a pipe or a device, which give what they hold once."""
    return path == STDIN or (os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path))


def _log(live: str, files: Iterable[str], whole: bool) -> Log:
    return Log(live, tuple(sorted(files, key=_newness)), whole)


def _parse_name(path: str) -> tuple[str, int, bool]:
    """Return the path of the live file, the number of the rotation (0 for none) and whether it is compressed."""
    directory, name = os.path.split(path)
    match = _NAME.fullmatch(name)
    if match is None:
        return path, 0, False
    return os.path.join(directory, match["base"]), int(match["number"] or 0), match["packed"] is not None


def _newness(path: str) -> tuple[int, bool, str]:
    _, number, packed = _parse_name(path)
    return -number, not packed, path


def _near(live: str, listed: Iterable[str]) -> list[str]:
    """Return what was listed, and the names that rotation and compression may have given it since, newest first."""
    paths = {live, *listed}
    found = {_parse_name(path)[1] for path in listed} | {0}
    for number in {first + step for first in found for step in range(_ROTATIONS_MEANWHILE + 1)} - {0}:
        plain = f"{live}.{number}"
        paths.update([plain, *(plain + suffix for suffix in _PACKED_SUFFIXES)])
    return sorted(paths, key=_newness, reverse=True)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _files_below(directory: str) -> Iterator[str]:
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not name.startswith(".") and _parse_name(name)[0].endswith(LOG_SUFFIXES) and os.path.isfile(path):
                yield path


def _with_predecessors(path: str) -> set[str]:
    """Return the live file, if it exists, and whatever is called like a predecessor of it and is no directory."""
    directory, name = os.path.split(path)
    files: set[str] = {path} if os.path.exists(path) else set()
    if path == STDIN or directory.startswith("/dev") or not os.path.isdir(directory or "."):
        return files
    try:
        with os.scandir(directory or ".") as entries:
            for entry in entries:
                if entry.name.startswith(f"{name}.") and _parse_name(entry.name)[0] == name and _may_be_read(entry):
                    files.add(os.path.join(directory, entry.name))
    except OSError:  # a directory that may be entered and not listed: the names near are tried anyway
        pass
    return files


def _may_be_read(entry: os.DirEntry[str]) -> bool:
    """Return whether this is a file or a broken link, which will be reported, rather than a directory or a pipe."""
    try:
        return entry.is_file() or entry.is_symlink()
    except OSError:
        return True
