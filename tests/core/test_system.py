"""The calls that the file sink makes of the operating system, one by one."""

import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from structllm._system import LockingImpossible, System

CREATE = os.O_RDWR | os.O_APPEND | os.O_CREAT


@pytest.fixture
def system() -> System:
    return System()


@pytest.fixture
def fd(tmp_path: Path, system: System) -> Iterator[int]:
    """An open file `a`."""
    opened = system.open(str(tmp_path / "a"), CREATE)
    yield opened
    system.close(opened)


class TestFiles:
    def test_write_and_read(self, system: System, fd: int) -> None:
        """What is written is appended, and is read from any offset."""
        assert [system.write(fd, data) for data in (b"abc", b"de")] == [3, 2]
        assert (system.read_at(fd, 3, 1), system.read_at(fd, 9, 5), system.seek(fd, 0, os.SEEK_END)) == (b"bcd", b"", 5)

    def test_open_gives_the_mode_within_the_umask(self, tmp_path: Path, system: System) -> None:
        """The umask takes away from the mode of a new file; permit() does not ask it."""
        before = os.umask(0o077)
        try:
            fd = system.open(str(tmp_path / "a"), CREATE, 0o640)
            modes = [system.status_of(fd).st_mode & 0o777]
            system.permit(fd, 0o640)
            modes.append(system.status_of(fd).st_mode & 0o777)
        finally:
            os.umask(before)
        system.close(fd)
        assert modes == [0o600, 0o640]

    def test_open_follows_no_link(self, tmp_path: Path, system: System) -> None:
        """A link in place of a file is refused, whether or not it leads somewhere."""
        (tmp_path / "there").write_text("")
        for target in ("there", "nowhere"):
            (tmp_path / "link").symlink_to(tmp_path / target)
            with pytest.raises(OSError, match="symbolic") as caught:
                system.open(str(tmp_path / "link"), CREATE)
            assert caught.value.errno == errno.ELOOP
            (tmp_path / "link").unlink()
        assert not (tmp_path / "nowhere").exists()

    def test_programs_that_are_started_inherit_nothing(self, system: System, fd: int) -> None:
        """Neither an opened nor a duplicated descriptor is open in a program that this one starts."""
        copy = system.duplicate(fd)
        program = "import os, sys\nfor fd in sys.argv[1:]:\n  try: os.fstat(int(fd)); print(fd)\n  except OSError: pass"
        command = [sys.executable, "-c", program, str(fd), str(copy)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, close_fds=False)
        system.close(copy)
        assert done.stdout == ""

    def test_a_duplicate_is_of_the_same_file(self, tmp_path: Path, system: System, fd: int) -> None:
        """A duplicate stays usable when the original is closed."""
        original = system.open(str(tmp_path / "a"), CREATE)
        copy = system.duplicate(original)
        system.close(original)
        system.write(copy, b"x")
        system.close(copy)
        assert system.read_at(fd, 9, 0) == b"x"

    def test_status(self, tmp_path: Path, system: System, fd: int) -> None:
        """The status of a name is that of the open file, and the one of a link is its own."""
        system.write(fd, b"abc")
        (tmp_path / "link").symlink_to(tmp_path / "a")
        at, of = system.status_at(str(tmp_path / "a")), system.status_of(fd)
        assert (at.st_dev, at.st_ino, at.st_size, at.st_nlink) == (of.st_dev, of.st_ino, 3, 1)
        assert system.status_at(str(tmp_path / "link")).st_ino != of.st_ino
        with pytest.raises(FileNotFoundError):
            system.status_at(str(tmp_path / "missing"))

    def test_resize(self, tmp_path: Path, system: System, fd: int) -> None:
        """A file can get a byte that takes no room."""
        system.resize(fd, 1)
        assert (tmp_path / "a").read_bytes() == b"\0"

    def test_rename_and_unlink(self, tmp_path: Path, system: System, fd: int) -> None:
        """A renamed file replaces what had the name; a deleted one is left without a link."""
        (tmp_path / "b").write_text("replaced")
        system.rename(str(tmp_path / "a"), str(tmp_path / "b"))
        assert (system.names_in(str(tmp_path)), (tmp_path / "b").read_text()) == (["b"], "")
        system.unlink(str(tmp_path / "b"))
        assert (system.names_in(str(tmp_path)), system.status_of(fd).st_nlink) == ([], 0)

    def test_make_directories(self, tmp_path: Path, system: System) -> None:
        """Directories are made where they are missing; a file in their place is an error."""
        for _ in range(2):
            system.make_directories(str(tmp_path / "deep" / "er"), 0o700)
        assert (tmp_path / "deep" / "er").stat().st_mode & 0o777 == 0o700
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="file"):
            system.make_directories(str(tmp_path / "file" / "below"), 0o700)

    def test_sync(self, tmp_path: Path, system: System, fd: int) -> None:
        """A file and a directory can be synced, and no descriptor is left of that; what is not there cannot."""
        system.write(fd, b"x")
        before = len(os.listdir("/proc/self/fd"))
        system.sync(fd)
        system.sync_directory(str(tmp_path))
        assert len(os.listdir("/proc/self/fd")) == before
        with pytest.raises(NotADirectoryError):
            system.sync_directory(str(tmp_path / "a"))
        with pytest.raises(FileNotFoundError):
            system.sync_directory(str(tmp_path / "missing"))


class TestLocks:
    def test_one_open_file_at_a_time(self, tmp_path: Path, system: System, fd: int) -> None:
        """A lock excludes other open files, also of this process; its holder may take it again."""
        other = system.open(str(tmp_path / "a"), CREATE)
        taken = [system.try_lock(fd), system.try_lock(fd), system.try_lock(other)]
        system.unlock(fd)
        taken.append(system.try_lock(other))
        system.close(other)
        taken.append(system.try_lock(fd))
        assert taken == [True, True, False, True, True]

    @pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
    def test_a_file_system_without(self, system: System, fd: int, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        """Where the file system has no locks, that is said in a way of its own."""

        def refuse(fd: int, operation: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", refuse)
        with pytest.raises(LockingImpossible):
            system.try_lock(fd)

    def test_another_failure(self, system: System, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Any other failure comes through as it is."""

        def fail(fd: int, operation: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(fcntl, "flock", fail)
        with pytest.raises(OSError, match="Input/output") as caught:
            system.try_lock(fd)
        assert caught.value.errno == errno.EIO

    def test_a_killed_holder_lets_go(self, tmp_path: Path, system: System, fd: int) -> None:
        """The lock of a process that is killed is free."""
        program = (
            "import sys; from structllm._system import System; import os\n"
            "system = System(); fd = system.open(sys.argv[1], os.O_RDWR)\n"
            "print(system.try_lock(fd), flush=True); sys.stdin.read()\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "a")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert (holder.stdout.readline(), system.try_lock(fd)) == ("True\n", False)
            holder.kill()
            holder.wait(timeout=60)
        assert system.try_lock(fd)


class TestTime:
    def test_clocks(self, system: System) -> None:
        """now() is the time of day, and monotonic() goes on while sleep() waits."""
        before = (system.monotonic(), time.time())
        system.sleep(0.001)
        assert system.monotonic() - before[0] >= 0.001
        assert before[1] <= system.now() <= time.time()

    def test_tokens(self, system: System) -> None:
        """Tokens are twelve hexadecimal digits, and no two are the same."""
        tokens = {system.token() for _ in range(100)}
        assert (len(tokens), {len(token) for token in tokens}) == (100, {12})
        assert set("".join(tokens)) <= set("0123456789abcdef")


class TestHotCalls:
    def test_are_the_functions_themselves(self, system: System) -> None:
        """The calls of every event cost no wrapper."""
        assert (system.write, system.seek, system.monotonic) == (os.write, os.lseek, time.monotonic)
