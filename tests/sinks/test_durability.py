"""What is on the disk when: the order of writes and syncs, and what is said where a sync fails."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from structllm._system import System
from structllm._types import Record
from structllm.errors import SinkRejected
from structllm.sinks.file import FileSink, Fsync
from tests.descriptors import open_files
from tests.standing_in import stand_in

Job = Callable[[], None]


class Disk(System):
    """The operating system with a clock that is moved by hand, which says what of a file is on the disk.

    Attributes:
        failing: Calls that fail with EIO, as long as they are in here.
        after_write: Called once after the next line was written.
        calls: Names of the writes of lines and of the syncs, in order.
    """

    def __init__(self) -> None:
        self.tick_s = 1000.0
        self.failing: set[str] = set()
        self.after_write: Callable[[], object] | None = None
        self.calls: list[str] = []
        self._synced_bytes: dict[int, int] = {}
        self._synced_names: dict[str, int] = {}
        self.monotonic = lambda: self.tick_s
        self.write = self._write

    def sleep(self, seconds: float) -> None:
        self.tick_s += seconds

    def _write(self, fd: int, data: Any) -> int:
        written = os.write(fd, data)
        if b"\n" in bytes(data):
            self.calls.append("write")
            action, self.after_write = self.after_write, None
            if action is not None:
                action()
        return written

    def sync(self, fd: int) -> None:
        self.calls.append("sync")
        if "sync" in self.failing:
            raise OSError(errno.EIO, "Input/output error")
        super().sync(fd)
        status = os.fstat(fd)
        self._synced_bytes[status.st_ino] = status.st_size

    def sync_directory(self, path: str) -> None:
        self.calls.append("sync_directory")
        if "sync_directory" in self.failing:
            raise OSError(errno.EIO, "Input/output error")
        super().sync_directory(path)
        self._synced_names.update({entry.path: entry.inode() for entry in os.scandir(path)})

    def duplicate(self, fd: int) -> int:
        if "duplicate" in self.failing:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().duplicate(fd)

    def kept(self, directory: Path) -> list[str]:
        """Return the lines that a power failure would leave under the names that the files have now, sorted."""
        lines: list[str] = []
        for path in directory.glob("a.log*"):
            if self._synced_names.get(str(path)) == path.stat().st_ino:
                lines += path.read_bytes()[: self._synced_bytes.get(path.stat().st_ino, 0)].decode().split()
        return sorted(lines)


def record(text: str, event_type: str = "x") -> Record:
    """Return a record of 40 bytes."""
    return Record(event_type, 20, text.ljust(39).encode() + b"\n", {})


def deferred(sink: FileSink) -> list[tuple[float, Job]]:
    """Collect what a sink wants to have done later."""
    jobs: list[tuple[float, Job]] = []
    sink.defer_to(lambda delay_s, job: jobs.append((delay_s, job)))
    return jobs


def run(jobs: list[tuple[float, Job]]) -> None:
    """Do what was to be done later."""
    waiting = list(jobs)
    jobs.clear()
    for _, job in waiting:
        job()


@pytest.fixture
def disk() -> Disk:
    return Disk()


class TestNever:
    def test_waits_for_nothing(self, tmp_path: Path, disk: Disk) -> None:
        """Without fsync nothing is ever synced: not by writes, rotation, flush or close."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, system=disk)
        for number in range(3):
            sink.write([record(str(number))])
        assert sink.flush(1.0)
        sink.close()
        assert disk.calls == ["write", "write", "write"]


class TestAlways:
    def test_every_record_is_on_the_disk(self, tmp_path: Path, disk: Disk) -> None:
        """Between the write of a record and the next one its file is synced, and once the directory with its name."""
        sink = FileSink(tmp_path / "a.log", fsync="always", system=disk)
        sink.write([record("0"), record("1")])
        sink.write([record("2")])
        assert disk.calls == ["write", "sync", "sync_directory", "write", "sync", "write", "sync"]
        assert disk.kept(tmp_path) == ["0", "1", "2"]

    def test_so_is_one_after_a_rotation(self, tmp_path: Path, disk: Disk) -> None:
        """After a rotation the directory is synced again, since the names have changed."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, fsync="always", system=disk)
        for number in range(3):
            sink.write([record(str(number))])
            assert disk.kept(tmp_path) == [str(so_far) for so_far in range(number + 1)]
        assert [call for call in disk.calls if call != "sync"] == ["write", "sync_directory"] * 3

    def test_a_file_that_others_rotate_meanwhile(self, tmp_path: Path, disk: Disk) -> None:
        """A record is on the disk also where another process rotates its file just after the write."""
        sink = FileSink(tmp_path / "a.log", fsync="always", system=disk)
        other = FileSink(tmp_path / "a.log", max_bytes=60)
        sink.write([record("0")])
        disk.after_write = lambda: other.write([record("other")])
        sink.write([record("1")])
        assert disk.kept(tmp_path)[:2] == ["0", "1"]

    @pytest.mark.parametrize("call", ["sync", "sync_directory"])
    def test_a_failed_sync_is_said(self, tmp_path: Path, disk: Disk, call: str) -> None:
        """A record that the disk did not confirm is rejected, with those before it taken, and counted."""
        sink = FileSink(tmp_path / "a.log", fsync_events=["important"], system=disk)
        disk.failing.add(call)
        with pytest.raises(SinkRejected) as caught:
            sink.write([record("0"), record("1"), record("2", "important"), record("3")])
        assert (caught.value.reason, caught.value.taken) == ("not_synced", 2)
        assert sink.health()["failed_syncs"] == 1

    def test_a_directory_is_synced_until_that_works(self, tmp_path: Path, disk: Disk) -> None:
        """A name that is not on the disk yet is tried again with the next record."""
        sink = FileSink(tmp_path / "a.log", fsync="always", system=disk)
        disk.failing.add("sync_directory")
        with pytest.raises(SinkRejected, match="not_synced"):
            sink.write([record("0")])
        disk.failing.clear()
        sink.write([record("1")])
        sink.write([record("2")])
        assert disk.calls[3:] == ["write", "sync", "sync_directory", "write", "sync"]

    def test_what_a_rejection_of_the_name_has_taken(self, tmp_path: Path, disk: Disk) -> None:
        """Where a link takes the file's place in the middle of a batch, the error says what was written before."""
        sink = FileSink(tmp_path / "a.log", system=disk)
        sink.write([record("0")])

        def plant() -> None:
            disk.tick_s += 1.0
            (tmp_path / "a.log").unlink()
            (tmp_path / "a.log").symlink_to(tmp_path / "elsewhere")

        disk.after_write = plant
        with pytest.raises(SinkRejected, match="symlink") as caught:
            sink.write([record("1"), record("2")])
        assert caught.value.taken == 1

    def test_two_threads(self, tmp_path: Path, disk: Disk) -> None:
        """Records of several threads are all on the disk when their writes have returned."""
        sink = FileSink(tmp_path / "a.log", max_bytes=400, backup_count=100, fsync="always", system=disk)

        def work(name: str) -> None:
            for number in range(20):
                sink.write([record(f"{name}{number}")])

        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert disk.kept(tmp_path) == sorted(f"{name}{number}" for name in "ab" for number in range(20))


class TestEvents:
    def test_only_those_wait(self, tmp_path: Path, disk: Disk) -> None:
        """Records of the named types are synced, with what was written to the same file before; others are not."""
        sink = FileSink(tmp_path / "a.log", fsync_events=["important"], system=disk)
        sink.write([record("0"), record("1", "important"), record("2")])
        assert disk.calls == ["write", "write", "sync", "sync_directory", "write"]
        assert disk.kept(tmp_path) == ["0", "1"]

    def test_one_that_others_rotate_meanwhile(self, tmp_path: Path, disk: Disk) -> None:
        """An important record is on the disk also where its file is rotated just after the write."""
        sink = FileSink(tmp_path / "a.log", fsync_events=["important"], system=disk)
        other = FileSink(tmp_path / "a.log", max_bytes=60)
        sink.write([record("0")])
        disk.after_write = lambda: other.write([record("other")])
        sink.write([record("1", "important")])
        assert disk.kept(tmp_path)[:2] == ["0", "1"]

    def test_no_file_stays_open_for_them(self, tmp_path: Path, disk: Disk) -> None:
        """Files rotated without an important record in them are closed at once."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, fsync_events=["important"], system=disk)
        sink.write([record("0")])
        before = open_files(tmp_path)
        for number in range(10):
            sink.write([record(str(number))])
        assert open_files(tmp_path) == before

    def test_with_an_interval(self, tmp_path: Path, disk: Disk) -> None:
        """Important records do not wait for the interval; a job that has nothing left to sync syncs nothing."""
        sink = FileSink(tmp_path / "a.log", fsync="interval", fsync_events=["important"], system=disk)
        jobs = deferred(sink)
        for _ in range(5):
            sink.write([record("0"), record("1", "important")])
        calls = len(disk.calls)
        run(jobs)
        assert disk.calls[calls:] == []


class TestInterval:
    def test_a_job_syncs_a_second_later(self, tmp_path: Path, disk: Disk) -> None:
        """Writes only ask for a job, one at a time, which syncs file and directory."""
        sink = FileSink(tmp_path / "a.log", fsync="interval", system=disk)
        jobs = deferred(sink)
        sink.write([record("0")])
        sink.write([record("1")])
        assert ([delay_s for delay_s, _ in jobs], disk.calls) == ([1.0], ["write", "write"])
        run(jobs)
        assert (disk.kept(tmp_path), jobs) == (["0", "1"], [])
        sink.write([record("2")])
        run(jobs)
        assert disk.kept(tmp_path) == ["0", "1", "2"]

    def test_files_rotated_since_are_synced(self, tmp_path: Path, disk: Disk) -> None:
        """What was written to files that have been rotated away since the last sync is on the disk as well."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, fsync="interval", system=disk)
        jobs = deferred(sink)
        for number in range(4):
            sink.write([record(str(number))])
        before = open_files(tmp_path)
        run([job for job in jobs if job[0] == 1.0])
        assert disk.kept(tmp_path) == ["0", "1", "2", "3"]
        assert open_files(tmp_path) == before - 3

    def test_a_file_that_others_rotate_after_its_only_write(self, tmp_path: Path, disk: Disk) -> None:
        """The first record after a sync is not forgotten where its file is rotated just after the write."""
        sink = FileSink(tmp_path / "a.log", fsync="interval", system=disk)
        jobs = deferred(sink)
        other = FileSink(tmp_path / "a.log", max_bytes=60)
        sink.write([record("0")])
        run(jobs)
        disk.after_write = lambda: other.write([record("other")])
        sink.write([record("1")])
        run(jobs)
        assert disk.kept(tmp_path)[:2] == ["0", "1"]

    def test_writers_do_not_wait_for_it(self, tmp_path: Path, disk: Disk) -> None:
        """While the job waits for the disk, other threads write, rotate and ask for the next job."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, fsync="interval", system=disk)
        jobs = deferred(sink)
        sink.write([record("0")])
        (_, job) = jobs.pop(0)
        begun, go_on = threading.Event(), threading.Event()
        sync = disk.sync

        def slow(fd: int) -> None:
            begun.set()
            assert go_on.wait(timeout=60)
            sync(fd)

        stand_in(disk, sync=slow)
        thread = threading.Thread(target=job)
        thread.start()
        assert begun.wait(timeout=60)
        for number in range(1, 4):
            sink.write([record(str(number))])
        assert 1.0 in [delay_s for delay_s, _ in jobs]
        go_on.set()
        thread.join(timeout=60)
        run(jobs)
        assert disk.kept(tmp_path) == ["0", "1", "2", "3"]

    def test_flushing_waits_for_one_under_way(self, tmp_path: Path, disk: Disk) -> None:
        """What another thread is syncing is not on the disk yet: flush() is True only when it is, names included."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, fsync="interval", system=disk)
        jobs = deferred(sink)
        for number in range(3):
            sink.write([record(str(number))])
        begun, go_on = threading.Event(), threading.Event()
        sync = disk.sync

        def slow(fd: int) -> None:
            begun.set()
            assert go_on.wait(timeout=60)
            sync(fd)

        stand_in(disk, sync=slow)
        thread = threading.Thread(target=run, args=([job for job in jobs if job[0] == 1.0],))
        thread.start()
        assert begun.wait(timeout=60)
        told: list[tuple[bool, list[str]]] = []
        flusher = threading.Thread(target=lambda: told.append((sink.flush(60.0), disk.kept(tmp_path))))
        flusher.start()
        flusher.join(timeout=0.2)
        assert [] == told
        go_on.set()
        for each in (thread, flusher):
            each.join(timeout=60)
        assert [(True, ["0", "1", "2"])] == told

    def test_a_host_that_closes_all_descriptors(self, tmp_path: Path, disk: Disk) -> None:
        """A file of the host's under the number of one that waited for its sync is neither synced nor closed, and that
        the disk did not confirm is counted."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, fsync="interval", system=disk)
        jobs = deferred(sink)
        sink.write([record("0")])
        rotated = sink._live.fd
        sink.write([record("1")])
        with (tmp_path / "host").open("wb", buffering=0) as host:
            os.dup2(host.fileno(), rotated)
            run([job for job in jobs if job[0] == 1.0])
            assert os.path.samestat(os.fstat(rotated), os.fstat(host.fileno()))
            os.close(rotated)
        assert (1, False, True) == (sink.health()["failed_syncs"], sink.flush(1.0), sink.flush(1.0))

    def test_a_fork_in_the_middle(self, tmp_path: Path, disk: Disk) -> None:
        """A child that was forked while another thread syncs keeps none of the files open."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, fsync="interval", system=disk)
        jobs = deferred(sink)
        for number in range(3):
            sink.write([record(str(number))])
        reader, writer = os.pipe()
        children: list[int] = []
        sync = disk.sync

        def forking(fd: int) -> None:
            if not children:
                children.append(os.fork())
                if not children[0]:
                    sink.reset_after_fork()
                    os.write(writer, b"%d" % open_files(tmp_path))
                    os._exit(0)
            sync(fd)

        stand_in(disk, sync=forking)
        run([job for job in jobs if job[0] == 1.0])
        assert b"0" == os.read(reader, 10)
        assert 0 == os.waitpid(children[0], 0)[1]
        os.close(reader)
        os.close(writer)

    def test_without_a_thread(self, tmp_path: Path, disk: Disk) -> None:
        """Without defer_to the first write a second later syncs."""
        sink = FileSink(tmp_path / "a.log", fsync="interval", system=disk)
        sink.write([record("0")])
        disk.tick_s += 0.9
        sink.write([record("1")])
        assert disk.kept(tmp_path) == []
        disk.tick_s += 0.1
        sink.write([record("2")])
        assert disk.kept(tmp_path) == ["0", "1", "2"]

    @pytest.mark.parametrize("call", ["sync", "sync_directory", "duplicate"])
    def test_a_failed_one_is_counted(self, tmp_path: Path, disk: Disk, call: str) -> None:
        """A job that fails raises nothing and is counted; records go on."""
        sink = FileSink(tmp_path / "a.log", fsync="interval", system=disk)
        jobs = deferred(sink)
        sink.write([record("0")])
        disk.failing.add(call)
        run(jobs)
        disk.failing.clear()
        sink.write([record("1")])
        run(jobs)
        assert (sink.health()["failed_syncs"], disk.kept(tmp_path)) == (1, ["0", "1"])

    def test_a_failed_one_is_told_by_the_next_flush(self, tmp_path: Path, disk: Disk) -> None:
        """After a sync that failed the system may report the next one as done: flush() says once that it was not."""
        sink = FileSink(tmp_path / "a.log", fsync="interval", system=disk)
        jobs = deferred(sink)
        sink.write([record("0")])
        disk.failing.add("sync")
        run(jobs)
        disk.failing.clear()
        assert [sink.flush(1.0), sink.flush(1.0)] == [False, True]

    def test_a_job_after_the_end(self, tmp_path: Path, disk: Disk) -> None:
        """A job that runs after close() does nothing."""
        sink = FileSink(tmp_path / "a.log", fsync="interval", system=disk)
        jobs = deferred(sink)
        sink.write([record("0")])
        sink.close()
        calls = len(disk.calls)
        run(jobs)
        assert (disk.calls[calls:], disk.kept(tmp_path)) == ([], ["0"])


SYNCING: list[Fsync] = ["interval", "always"]


class TestFlushAndClose:
    @pytest.mark.parametrize("fsync", SYNCING)
    def test_flush_syncs(self, tmp_path: Path, disk: Disk, fsync: Fsync) -> None:
        """When flush() has returned True, all that was written is on the disk."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, fsync=fsync, system=disk)
        deferred(sink)
        for number in range(3):
            sink.write([record(str(number))])
        assert (sink.flush(1.0), disk.kept(tmp_path)) == (True, ["0", "1", "2"])

    @pytest.mark.parametrize("fsync", SYNCING)
    @pytest.mark.parametrize("call", ["sync", "sync_directory"])
    def test_flush_tells_the_truth(self, tmp_path: Path, disk: Disk, fsync: Fsync, call: str) -> None:
        """flush() returns False where the disk does not confirm."""
        sink = FileSink(tmp_path / "a.log", fsync=fsync, system=disk)
        deferred(sink)
        disk.failing.add(call)
        with pytest.raises(SinkRejected) if fsync == "always" else nullcontext():
            sink.write([record("0")])
        assert sink.flush(1.0) is False
        disk.failing.clear()
        assert sink.flush(1.0) is True

    def test_flush_syncs_what_it_has_written_again(self, tmp_path: Path, disk: Disk) -> None:
        """A record whose file was deleted is on the disk in the next file when flush() has returned True."""
        sink = FileSink(tmp_path / "a.log", fsync="interval", system=disk)
        deferred(sink)
        sink.write([record("0")])
        (tmp_path / "a.log").unlink()
        assert (sink.flush(1.0), disk.kept(tmp_path)) == (True, ["0"])

    def test_close_syncs(self, tmp_path: Path, disk: Disk) -> None:
        """What was written is on the disk after close(), in rotated files as well, and no descriptor is left."""
        before = open_files(tmp_path)
        sink = FileSink(tmp_path / "a.log", max_bytes=60, fsync="interval", system=disk)
        deferred(sink)
        for number in range(3):
            sink.write([record(str(number))])
        sink.close()
        assert (disk.kept(tmp_path), open_files(tmp_path)) == (["0", "1", "2"], before)

    def test_close_survives_a_failing_disk(self, tmp_path: Path, disk: Disk) -> None:
        """close() raises nothing where the disk fails, counts it, and closes."""
        before = open_files(tmp_path)
        sink = FileSink(tmp_path / "a.log", fsync="interval", system=disk)
        sink.write([record("0")])
        disk.failing.add("sync")
        sink.close()
        assert (sink.health()["failed_syncs"], open_files(tmp_path)) == (1, before)

    def test_a_forked_child_leaves_the_files_of_its_parent(self, tmp_path: Path) -> None:
        """reset_after_fork() in the child closes what it has inherited, and the parent can still sync."""
        program = (
            "import os, sys; from structllm._types import Record; from structllm.sinks.file import FileSink\n"
            "def of_the_log():\n"
            "    fds = [f'/proc/self/fd/{fd}' for fd in os.listdir('/proc/self/fd')]\n"
            "    return [fd for fd in fds if os.path.exists(fd) and os.readlink(fd).startswith(sys.argv[1])]\n"
            "sink = FileSink(sys.argv[1] + '/a.log', max_bytes=60, fsync='interval')\n"
            "sink.defer_to(lambda delay_s, job: None)\n"
            "for number in range(3): sink.write([Record('x', 20, b'x' * 39 + b'\\n', {})])\n"
            "opened = len(of_the_log())\n"
            "child = os.fork()\n"
            "if not child:\n"
            "    sink.reset_after_fork(); os._exit(len(of_the_log()))\n"
            "print(opened, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(of_the_log()), sink.flush(1.0))\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.split() == ["4", "0", "4", "True"]
