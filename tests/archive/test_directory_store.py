"""The directory store: what is on the disk, and when; what goes wrong with disks; what may not be left or left out."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from structllm.archive import directory
from structllm.archive.directory import DirectoryStore
from structllm.archive.store import Found, ObjectExists, StoreError, StoreRefused, StoreUnavailable
from tests.archive.test_store_contract import refuse_links

KEY = "v1/dt=2024-01-15/hour=10/a.jsonl.zst"
BODY = b"a line\n" * 1000
HOUR_S = 3600.0


def put(store: DirectoryStore, body: bytes = BODY, key: str = KEY) -> None:
    """Store these bytes under their right checksum."""
    store.put(key, body, sha256=hashlib.sha256(body).hexdigest(), metadata={})


def outcome_of_put(store: DirectoryStore) -> str:
    """Return `stored`, or the reason why not."""
    try:
        put(store)
    except StoreError as error:
        return error.reason
    return "stored"


def files_in(path: Path) -> list[str]:
    """Return the names of all files below a directory, hidden ones included."""
    return sorted(str(each.relative_to(path)) for each in path.rglob("*") if not each.is_dir())


class Steps:
    """The calls of the operating system that a put makes, in order, and the one of them that fails.

    Args:
        fail: Number of the step that fails, from 0; None for none.
        code: With which errno.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail: int | None = None, code: int = errno.EIO) -> None:
        self.names: list[str] = []
        self._fail = fail
        self._code = code
        for name in ("open", "write", "fsync", "mkdir", "rename", "fchmod", "listdir", "chmod"):
            monkeypatch.setattr(os, name, self.watched(name, getattr(os, name)))

    def watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call, counted and failed in its turn."""

        def counted(*arguments: Any, **options: Any) -> Any:
            self.names.append(name)
            if self._fail == len(self.names) - 1:
                raise OSError(self._code, os.strerror(self._code))
            return call(*arguments, **options)

        return counted


class TestDisk:
    """What is there when a put returns, and what never is."""

    def test_only_the_object(self, tmp_path: Path) -> None:
        """After a put there is the object and nothing else, with the mode that was set, whatever the umask."""
        before = os.umask(0o077)
        try:
            put(DirectoryStore(tmp_path, mode=0o640))
        finally:
            os.umask(before)
        assert [KEY] == files_in(tmp_path)
        assert 0o640 == (tmp_path / KEY).stat().st_mode & 0o777
        assert 0o750 == (tmp_path / "v1").stat().st_mode & 0o777

    @pytest.mark.parametrize("link", [os.link, refuse_links])
    def test_synced_before_it_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: Any) -> None:
        """The bytes are on the disk before they get their name, each new directory after it, and the name at last."""
        steps = Steps(monkeypatch)
        store = DirectoryStore(tmp_path, link=steps.watched("link", link))
        put(store)
        made = ["mkdir", "chmod", "open", "fsync"] * 3
        written = ["open", "write", "fchmod", "fsync", "link"]
        renamed = ["open", "rename"] if link is refuse_links else []
        assert ["listdir", *made, *written, *renamed, "open", "fsync"] == steps.names
        steps.names.clear()
        put(store, key=KEY + "2")
        assert [*written, *renamed, "open", "fsync"] == steps.names
        steps.names.clear()
        put(DirectoryStore(tmp_path, link=steps.watched("link", link)), key=KEY + "3")
        seen = ["mkdir", "open", "fsync"] * 3
        assert ["listdir", *seen, *written, *renamed, "open", "fsync"] == steps.names

    @pytest.mark.parametrize("link", [os.link, refuse_links])
    def test_failure_at_every_step(self, tmp_path: Path, link: Any) -> None:
        """Whichever call fails, a put raises StoreUnavailable, leaves no hidden file, and the next one succeeds."""
        step, outcomes = 0, set[bool]()
        while True:
            root = tmp_path / str(step)
            root.mkdir()
            with pytest.MonkeyPatch.context() as patch:
                steps = Steps(patch, fail=step)
                store = DirectoryStore(root, link=steps.watched("link", link))
                outcome = outcome_of_put(store)
            if outcome == "stored":
                break
            assert "io_error" == outcome
            assert {KEY} >= set(files_in(root)), steps.names
            was_there = (root / KEY).exists()
            assert ("exists" if was_there else "stored") == outcome_of_put(store), steps.names
            outcomes.add(was_there)
            assert Found(KEY, len(BODY), hashlib.sha256(BODY).hexdigest()) == store.find(KEY)
            step += 1
        assert len(steps.names) == step > 15
        assert {True, False} == outcomes

    def test_existing_object_is_synced(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was found there is on the disk before it is said to be: its finder will delete the only other copy."""
        put(DirectoryStore(tmp_path))
        store = DirectoryStore(tmp_path)
        steps = Steps(monkeypatch)
        with pytest.raises(ObjectExists):
            put(store)
        assert ["open", "fsync", "open", "fsync"] == steps.names[-4:]

    def test_partial_writes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A disk that takes a few bytes at a time gets them all."""
        write = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:100]))
        put(DirectoryStore(tmp_path))
        assert BODY == (tmp_path / KEY).read_bytes()

    def test_killed_at_any_moment(self, tmp_path: Path) -> None:
        """A writer that is killed leaves whole objects only, each of which the next writer finds."""
        code = (
            "import hashlib, sys; from structllm.archive.directory import DirectoryStore\n"
            "store, body, number = DirectoryStore(sys.argv[1]), b'x' * 300_000, 0\n"
            "digest = hashlib.sha256(body).hexdigest()\n"
            "while True:\n"
            "    store.put(f'v1/{number}', body, sha256=digest, metadata={}); number += 1\n"
            "    print(number, flush=True)\n"
        )
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        with child.stdout:
            confirmed = [int(child.stdout.readline()) for _ in range(20)]
            child.send_signal(signal.SIGKILL)
            assert -signal.SIGKILL == child.wait(10)
        found = list(DirectoryStore(tmp_path).under(""))
        assert len(found) >= len(confirmed)
        assert {300_000} == {each.size_bytes for each in found}


class TestLeftOver:
    """Hidden files of writers that were killed."""

    def test_ignored(self, tmp_path: Path) -> None:
        """A listing shows no hidden file, and no hidden directory."""
        put(DirectoryStore(tmp_path))
        (tmp_path / ".a.jsonl.zst.0123456789ab.tmp").write_bytes(b"half")
        (tmp_path / "v1" / ".hidden").mkdir()
        (tmp_path / "v1" / ".hidden" / "a").write_bytes(b"")
        assert [Found(KEY, len(BODY))] == list(DirectoryStore(tmp_path).under(""))

    def test_removed_when_old(self, tmp_path: Path) -> None:
        """One that is older than an hour goes with the next put; a younger one, and what is not ours, stays."""
        ours, young = ".a.jsonl.zst.0123456789ab.tmp", ".b.jsonl.zst.0123456789ab.tmp"
        for name in (ours, young, ".snapshot", "notes.tmp"):
            (tmp_path / name).write_bytes(b"half")
            os.utime(tmp_path / name, (0, HOUR_S if name == young else 0))
        put(DirectoryStore(tmp_path, now=lambda: HOUR_S + 1))
        assert sorted([young, ".snapshot", "notes.tmp", KEY]) == files_in(tmp_path)


class TestWithoutLinks:
    """File systems that have no hard links."""

    def test_lock_of_another_writer(self, tmp_path: Path) -> None:
        """While another process is at the same key, a put is refused for now; it overwrites nothing."""
        store = DirectoryStore(tmp_path, link=refuse_links, now=lambda: time.time())
        put(store, key="v1/other")
        lock = tmp_path / "v1" / ".a.lock"
        lock.write_bytes(b"")
        with pytest.raises(StoreUnavailable) as caught:
            put(store, key="v1/a")
        assert "conflict" == caught.value.reason
        assert ["v1/.a.lock", "v1/other"] == files_in(tmp_path)

    def test_stale_lock(self, tmp_path: Path) -> None:
        """A lock whose process was killed an hour ago is removed."""
        (tmp_path / "v1").mkdir()
        (tmp_path / "v1" / ".a.lock").write_bytes(b"")
        put(DirectoryStore(tmp_path, link=refuse_links, now=lambda: time.time() + HOUR_S + 60), key="v1/a")
        assert ["v1/a"] == files_in(tmp_path)


class TestKeys:
    """No key leads out of the directory."""

    @pytest.mark.parametrize(
        "key", ["", "/etc/a", "../a", "v1/../../a", "v1//a", "v1/./a", "v1/", ".a", "v1/.a", "a\0b"]
    )
    def test_refused(self, tmp_path: Path, key: str) -> None:
        """A key with an empty, hidden or climbing part is refused by every method."""
        root = tmp_path / "archive"
        root.mkdir()
        store = DirectoryStore(root)
        with pytest.raises(StoreRefused) as caught:
            put(store, key=key)
        assert "key_refused" == caught.value.reason
        with pytest.raises(StoreRefused):
            store.find(key)
        with pytest.raises(StoreRefused), store.open(key):
            pass
        assert [] == files_in(tmp_path)

    def test_links_to_elsewhere(self, tmp_path: Path) -> None:
        """A symbolic link that leads out of the directory is not written, read or listed through."""
        root, outside = tmp_path / "archive", tmp_path / "outside"
        root.mkdir()
        outside.mkdir()
        (outside / "a").write_bytes(b"secret")
        (root / "v1").symlink_to(outside)
        (root / "b").symlink_to(outside / "a")
        store = DirectoryStore(root)
        for ask in (
            lambda: put(store, key="v1/dt=1/b"),
            lambda: store.find("v1/a"),
            lambda: store.open("v1/a").__enter__(),
        ):
            with pytest.raises(StoreUnavailable) as caught:
                ask()
            assert "leads_outside" == caught.value.reason
        with pytest.raises(StoreUnavailable):
            store.find("b")
        assert [] == list(store.under(""))
        assert ["a"] == files_in(outside)

    def test_the_directory_itself_may_be_a_link(self, tmp_path: Path) -> None:
        """The archive's own path may lead wherever it is told to."""
        (tmp_path / "real").mkdir()
        (tmp_path / "archive").symlink_to(tmp_path / "real")
        put(DirectoryStore(tmp_path / "archive"))
        assert [KEY] == files_in(tmp_path / "real")

    def test_no_file(self, tmp_path: Path) -> None:
        """A pipe or directory at a key is no object, and nobody waits for it."""
        (tmp_path / "v1" / "directory").mkdir(parents=True)
        os.mkfifo(tmp_path / "v1" / "pipe")
        store = DirectoryStore(tmp_path)
        assert [] == list(store.under(""))
        assert store.find("v1/pipe") is None
        assert store.find("v1/directory") is None
        with pytest.raises(ObjectExists):
            put(store, key="v1/pipe")

    def test_order_of_keys(self, tmp_path: Path) -> None:
        """Keys come in the order of their text, also where a directory and a file begin with the same name."""
        keys = ["v1/a.b/c", "v1/a/c", "v1/a-b", "v1/a0"]
        store = DirectoryStore(tmp_path)
        for key in keys:
            put(store, key=key)
        assert sorted(keys) == [found.key for found in store.under("v1/")]


FAILURES = [
    (errno.ENOSPC, StoreUnavailable, "disk_full"),
    (errno.EDQUOT, StoreUnavailable, "disk_full"),
    (errno.EACCES, StoreUnavailable, "no_permission"),
    (errno.EPERM, StoreUnavailable, "no_permission"),
    (errno.EROFS, StoreUnavailable, "read_only"),
    (errno.ESTALE, StoreUnavailable, "stale"),
    (errno.EMFILE, StoreUnavailable, "io_error"),
    (errno.EFBIG, StoreRefused, "too_large"),
    (errno.ENAMETOOLONG, StoreRefused, "key_refused"),
]


class TestFailures:
    """What goes wrong with disks."""

    @pytest.mark.parametrize(("code", "kind", "reason"), FAILURES)
    def test_reasons(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[StoreError], reason: str
    ) -> None:
        """Each errno of a write has one word and one sentence that names the directory."""

        def fail(fd: int, data: bytes) -> int:
            raise OSError(code, "x")

        monkeypatch.setattr(os, "write", fail)
        with pytest.raises(StoreError) as caught:
            put(DirectoryStore(tmp_path))
        assert (kind, reason) == (type(caught.value), caught.value.reason)
        assert str(tmp_path) in str(caught.value)
        assert errno.errorcode[code] in str(caught.value)
        assert [] == files_in(tmp_path)

    def test_no_such_directory(self, tmp_path: Path) -> None:
        """A directory that is not there is an error of every method and never made: it may be a share, not mounted."""
        store = DirectoryStore(tmp_path / "archive")
        asks = (lambda: put(store), lambda: store.find("a"), lambda: list(store.under("")), store.open("a").__enter__)
        for ask in asks:
            with pytest.raises(StoreUnavailable) as caught:
                ask()
            assert "no_such_directory" == caught.value.reason
        assert [f"{tmp_path}/archive does not exist; make it, or mount what belongs there (ENOENT)"] == store.check()
        assert [] == list(tmp_path.iterdir())

    def test_check_finds_a_file(self, tmp_path: Path) -> None:
        """A file in the place of the directory is a problem."""
        (tmp_path / "archive").write_bytes(b"")
        (problem,) = DirectoryStore(tmp_path / "archive").check()
        assert "is no directory" in problem

    @pytest.mark.parametrize(
        ("flags", "available", "accessible", "expected"),
        [
            (os.ST_RDONLY, 5, True, "read-only"),
            (0, 0, True, "no space left"),
            (0, 5, False, "may not be written"),
        ],
    )
    def test_check(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        flags: int,
        available: int,
        accessible: bool,
        expected: str,
    ) -> None:
        """A read-only mount, a full disk and missing rights are problems before anything is written."""

        class Space:
            f_flag, f_blocks, f_bavail = flags, 100, available

        monkeypatch.setattr(os, "statvfs", lambda path: Space)
        monkeypatch.setattr(os, "access", lambda path, mode: accessible)
        (problem,) = DirectoryStore(tmp_path).check()
        assert expected in problem

    def test_no_fsync_of_directories(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A share on which a directory cannot be synced is written to all the same."""
        fsync = os.fsync

        def refuse_directories(fd: int) -> None:
            if os.path.isdir(f"/proc/self/fd/{fd}"):
                raise OSError(errno.EINVAL, "x")
            fsync(fd)

        monkeypatch.setattr(os, "fsync", refuse_directories)
        put(DirectoryStore(tmp_path))
        assert [KEY] == files_in(tmp_path)

    def test_two_processes_at_one_key(self, tmp_path: Path) -> None:
        """Of eight writers of different bytes one wins each key, and its bytes stay."""
        won: list[tuple[str, bytes]] = []

        def write(body: bytes) -> None:
            store = DirectoryStore(tmp_path)
            for number in range(20):
                try:
                    put(store, body, f"v1/{number}")
                except ObjectExists:
                    continue
                won.append((f"v1/{number}", body))

        threads = [threading.Thread(target=write, args=(bytes([65 + number]) * 100,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert 20 == len(won) == len(dict(won))
        assert dict(won) == {key: (tmp_path / key).read_bytes() for key, _ in won}


def test_nothing_of_the_module_is_left_out() -> None:
    """Every errno that has a sentence names the directory in it."""
    assert all("{place}" in sentence for _, sentence in directory._FAILURES.values())
