"""Objects as files in a directory: on a disk, or on a share that is mounted.

An object is written to a hidden file, synced, and then linked to its key, which fails where the key is taken. So a key
names either nothing or a whole object, for every reader and through a crash at any moment, and none is ever replaced.
Where there are no hard links (FAT, some network shares) a lock file beside the key is made first, then the key is
looked for, and then the hidden file is renamed to it; this excludes all writers that do the same.
"""

import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader

from structllm.archive.store import Found, ObjectExists, StoreError, StoreRefused, StoreUnavailable

_STALE_S = 3600.0
_MOST_SETTLED = 64
_READ_BYTES = 1 << 20
_OURS = re.compile(r"\.[^/]+\.(?:[0-9a-f]{12}\.tmp|lock)")

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
_NO_SYNC = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})

_FAILURES: Mapping[int, tuple[str, str]] = {
    errno.ENOSPC: ("disk_full", "there is no space left in {place}; make room there"),
    errno.EDQUOT: ("disk_full", "the quota of {place} is used up; make room there"),
    errno.EACCES: ("no_permission", "{place} may not be written or read by this user; correct its owner or mode"),
    errno.EPERM: ("no_permission", "{place} may not be written or read by this user; correct its owner or mode"),
    errno.EROFS: ("read_only", "{place} is mounted read-only; mount it for writing"),
    errno.ENOENT: ("no_such_directory", "{place} does not exist; make it, or mount what belongs there"),
    errno.ENOTDIR: ("not_a_directory", "{place}, or something that the key leads through, is no directory"),
    errno.ENAMETOOLONG: ("key_refused", "{place} does not take names of this length; choose a shorter path"),
    errno.EFBIG: ("too_large", "{place} does not take files of this size; make 'segment_max_bytes' smaller"),
    errno.ESTALE: ("stale", "{place} is a share that went away; mount it anew"),
}
_REFUSED = frozenset({"key_refused", "too_large"})


class DirectoryStore:
    """A directory that is there already: one that is missing may be a share that is not mounted, and is not made.

    Args:
        path: The directory; a leading `~` is the user's home.
        mode: Permissions of the files. Directories can be searched by those who can read the files.
        link: Gives a file another name, failing where that is taken. For tests.
        now: The clock, in seconds since the epoch.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: int = 0o600,
        *,
        link: Callable[[str, str], None] = os.link,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root = os.path.abspath(os.path.expanduser(path))
        self.place = self._root
        self._mode = mode
        self._directory_mode = 0o700 | mode | (mode & 0o444) >> 2
        self._link = link
        self._now = now
        self._swept = False
        self._settled: set[str] = set()  # directories known to be named on the disk

    def put(self, key: str, body: bytes, *, sha256: str, metadata: Mapping[str, str]) -> None:
        """Store an object that is not there yet. See Store.put; `metadata` is not kept, there is no place for it."""
        path = self._path(key)
        if hashlib.sha256(body).hexdigest() != sha256:
            raise StoreRefused(
                "bad_digest", f"the bytes for {self.place} are not those of the checksum; read them anew"
            )
        with self._translating():
            self._sweep()
            directory = os.path.dirname(path)
            self._stay_inside(directory)
            self._make_directories(directory)
            hidden = os.path.join(self._root, f".{os.path.basename(path)[:100]}.{secrets.token_hex(6)}.tmp")
            try:
                self._write(hidden, body)
                try:
                    self._name(hidden, path)
                except FileExistsError:
                    # Its writer may have been killed before it was on the disk, and its finder is going to rely on it.
                    _sync(path, os.O_NOFOLLOW)
                    _sync(directory)
                    raise ObjectExists(key) from None
                _sync(directory)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(hidden)

    def find(self, key: str) -> Found | None:
        """Return what is known of an object; its checksum is that of the bytes that are there now."""
        path = self._path(key)
        with self._translating():
            os.stat(self._root)
            try:
                with _opened(path) as file:
                    self._stay_inside(os.path.dirname(path))
                    size_bytes, checksum = 0, hashlib.sha256()
                    while chunk := file.read(_READ_BYTES):
                        size_bytes += len(chunk)
                        checksum.update(chunk)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
        return Found(key, size_bytes, checksum.hexdigest())

    @contextmanager
    def open(self, key: str) -> Generator[BufferedReader]:
        """Open an object for reading."""
        path = self._path(key)
        with self._translating():
            os.stat(self._root)
            try:
                file = _opened(path)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise StoreUnavailable("not_found", f"the object is not in {self.place}") from None
        with file:
            with self._translating():
                self._stay_inside(os.path.dirname(path))
            yield file

    def under(self, prefix: str) -> Iterator[Found]:
        """Yield the objects whose keys begin so; hidden files, links and what is no file are none."""
        with self._translating():
            os.stat(self._root)
        yield from self._walk("", prefix)

    def check(self) -> list[str]:
        """Return what stands against writing: no such directory, no right to write, no space."""
        try:
            with self._translating():
                if not stat.S_ISDIR(os.stat(self._root).st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, "no directory")
                space = os.statvfs(self._root)
                if space.f_flag & os.ST_RDONLY:
                    raise OSError(errno.EROFS, "read-only")
                if not os.access(self._root, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, "not writable")
                if space.f_blocks and not space.f_bavail:
                    raise OSError(errno.ENOSPC, "full")
        except StoreError as error:
            return [str(error)]
        return []

    def _path(self, key: str) -> str:
        """Return where an object is. A key that leads elsewhere, or to a hidden file, is refused."""
        parts = key.split("/")
        if "\0" in key or any(part[:1] in {"", "."} for part in parts):
            raise StoreRefused(
                "key_refused", f"a key that {self.place} does not take: no part is empty or begins with '.'"
            )
        return os.path.join(self._root, *parts)

    def _stay_inside(self, directory: str) -> None:
        root = os.path.realpath(self._root)
        if os.path.commonpath([root, os.path.realpath(directory)]) != root:
            text = f"a symbolic link leads out of {self.place}; put a directory in its place"
            raise StoreUnavailable("leads_outside", text)

    def _make_directories(self, directory: str) -> None:
        """Make the directories between the archive's own and this one, each named on the disk before it is used.

        One that is there already may have been made a moment ago, by somebody who has not synced it yet.
        """
        if directory in self._settled and os.path.isdir(directory):
            return
        here = self._root
        for part in os.path.relpath(directory, self._root).split(os.sep):
            above, here = here, os.path.normpath(os.path.join(here, part))
            with suppress(FileExistsError):
                os.mkdir(here, self._directory_mode)
                os.chmod(here, self._directory_mode)
            _sync(above)
        if len(self._settled) >= _MOST_SETTLED:
            self._settled.clear()
        self._settled.add(directory)

    def _write(self, path: str, body: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(body)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.fchmod(fd, self._mode)
            os.fsync(fd)
        finally:
            os.close(fd)

    def _name(self, hidden: str, path: str) -> None:
        """Give the hidden file its name. Raises FileExistsError where that is taken."""
        try:
            self._link(hidden, path)
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        lock = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.lock")
        self._take(lock)
        try:
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, "taken")
            os.rename(hidden, path)
        finally:
            os.unlink(lock)

    def _take(self, lock: str) -> None:
        self._remove_stale(lock)
        try:
            fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise StoreUnavailable("conflict", f"another process writes the same object to {self.place}") from None
        os.close(fd)

    def _sweep(self) -> None:
        """Remove, once per store, what killed processes left; nobody writes one object for an hour."""
        if self._swept:
            return
        for name in os.listdir(self._root):
            if _OURS.fullmatch(name):
                self._remove_stale(os.path.join(self._root, name))
        self._swept = True

    def _remove_stale(self, path: str) -> None:
        with suppress(FileNotFoundError):
            if self._now() - os.stat(path, follow_symlinks=False).st_mtime > _STALE_S:
                os.unlink(path)

    def _walk(self, directory: str, prefix: str) -> Iterator[Found]:
        with self._translating():
            try:
                with os.scandir(os.path.join(self._root, directory)) as entries:
                    below = [entry for entry in entries if not entry.name.startswith(".")]
            except FileNotFoundError:  # gone since it was listed
                return
        # As keys sort: a directory's name is followed by a '/'.
        for name, entry in sorted((f"{entry.name}/" if _is_directory(entry) else entry.name, entry) for entry in below):
            key = directory + name
            if name.endswith("/") and (key.startswith(prefix) or prefix.startswith(key)):
                yield from self._walk(key, prefix)
            elif key.startswith(prefix) and entry.is_file(follow_symlinks=False):
                with self._translating():
                    try:
                        size_bytes = entry.stat(follow_symlinks=False).st_size
                    except FileNotFoundError:
                        continue
                yield Found(key, size_bytes)

    @contextmanager
    def _translating(self) -> Generator[None]:
        """Let nothing but StoreErrors out."""
        try:
            yield
        except OSError as error:
            code = error.errno or errno.EIO
            name = errno.errorcode.get(code, "EIO")
            reason, sentence = _FAILURES.get(code, ("io_error", "{place} cannot be used; look at the disk or share"))
            kind = StoreRefused if reason in _REFUSED else StoreUnavailable
            raise kind(reason, f"{sentence.format(place=self.place)} ({name})") from None


def _is_directory(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _opened(path: str) -> BufferedReader:
    """Open a file that is one, and no symbolic link; a pipe would be waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "no file")
    return open(fd, "rb")


def _sync(path: str, flags: int = os.O_DIRECTORY) -> None:
    """Wait until a file or directory is on the disk, where that can be waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(fd)
