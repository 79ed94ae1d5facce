"""Fault case 7: there is no space for a while, and then there is again.

Two writers have the log open. What is full is each file (RLIMIT_FSIZE, which anybody can set) or, where this process
may mount one, a file system of a quarter of a megabyte. Both give a short write first and errors after that.
"""

import subprocess
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.harness import TIMEOUT_S, Duty, Harness, Job, Line, Writer, caught, until
from tests.faults.judge import accounted

DURING, AFTER = 250, 30
LIMIT_BYTES = 100_123
TMPFS_KIB, BALLAST_BYTES = 256, 120_000


@contextmanager
def small_disk(directory: Path) -> Generator[None, None, None]:
    """Mount a file system of a quarter of a megabyte. Raises CalledProcessError where that is not permitted."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_KIB}k", "none", str(directory)]
    subprocess.run(mount, check=True, timeout=TIMEOUT_S, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True, timeout=TIMEOUT_S)


def can_mount() -> bool:
    """Return whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            with small_disk(Path(directory)):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@dataclass(frozen=True)
class Disk:
    """What is full, and how the log is rotated."""

    limit_bytes: int
    max_bytes: int


LIMITED = {"limit": Disk(LIMIT_BYTES, 10_000_000), "limit of rotated files": Disk(15_123, 20_000)}
MOUNTED = {"tmpfs": Disk(0, 10_000_000), "tmpfs, rotating": Disk(0, 20_000)}
DISKS = LIMITED | (MOUNTED if can_mount() else {})


def full_for_a_while(harness: Harness, disk: Disk, damage: str = "") -> list[str]:
    """Let two writers log while there is no space and afterwards; return what is wrong."""
    directory = harness.log.parent
    directory.mkdir(parents=True)
    with ExitStack() as stack:
        if not disk.limit_bytes:
            stack.enter_context(small_disk(directory))
            (directory / "ballast").write_bytes(bytes(BALLAST_BYTES))
        extra = {"limit_bytes": disk.limit_bytes, "during": DURING, "after": AFTER, "damage": damage}
        job = Job(max_bytes=disk.max_bytes, extra=extra)
        writers = [harness.start(job, module="tests.faults.disk_full") for _ in range(2)]
        for writer in writers:
            writer.duty[Duty.GO_ON] = 1
        for writer in writers:
            until(lambda writer=writer: writer.duty[Duty.REACHED] or writer.status, f"{writer.name} found no space")
        (directory / "ballast").unlink(missing_ok=True)
        # Who has left no half line comes first: it does not know of that of the other one.
        for writer in sorted(writers, key=lambda writer: writer.duty[Duty.SPARE]):
            writer.duty[Duty.GO_ON] = 2
            writer.wait()
        found = [f"X {writer.name} ended with {writer.status}" for writer in writers if writer.status]
        found = found or judged(writers, harness.lines())
    print(*found, sep="\n")
    return found


def judged(writers: list[Writer], lines: list[Line]) -> list[str]:
    """Return what is wrong with the log of writers that all ended by themselves."""
    short_writes = sum(writer.sink_stats()["health"]["short_writes"] for writer in writers)
    bad = [line for line in lines if line.event is None and line.start != b"\n"]
    found = [f"P {len(bad)} bad lines, {short_writes} short writes"] if len(bad) > short_writes else []
    seen = Counter((line.event["writer"], line.event["seq"]) for line in lines if line.event)
    found += [f"D {identity} is there {times} times" for identity, times in seen.items() if times > 1]
    for writer in writers:
        found += [*accounted(writer, lossless=False), *told(writer, lines)]
    return found


def told(writer: Writer, lines: list[Line]) -> Iterator[str]:
    """Yield what is wrong with what one writer delivered, and with what it says that it did not."""
    account, identity = writer.sink_stats(), writer.stats()["writer"]
    mine = [line.event for line in lines if line.event and line.event["writer"] == identity]
    last = DURING + AFTER - 1
    if len(mine) != account["delivered"]:
        yield f"O {writer.name} delivered {account['delivered']}, {len(mine)} are there"
    if not any(event.get("n") == last for event in mine):
        yield f"L the last record of {writer.name} did not arrive"
    if {"disk_full"} != account["dropped"].keys():
        yield f"C {writer.name} dropped {account['dropped']}"
    gaps = [event for event in mine if event["event_type"] == "log_gap"]
    if sum(sum(gap["dropped"].values()) for gap in gaps) != sum(account["dropped"].values()):
        yield f"G {writer.name} tells of {[gap['dropped'] for gap in gaps]} of {account['dropped']}"
    missing = set(range(1, account["accepted"] + 1)) - {event["seq"] for event in mine}
    if any(not gaps[0]["first_seq"] <= seq <= gaps[-1]["last_seq"] for seq in missing if gaps):
        yield f"G {writer.name} lacks records that no gap tells of"


class TestDiskFull:
    @pytest.mark.timeout(120)
    @pytest.mark.parametrize("disk", DISKS)
    def test_what_does_not_fit_is_dropped_and_told(self, harness: Harness, disk: str) -> None:
        """Nothing raises; each line is a record or counted as short; the drops are counted, and told by `log_gap`."""
        assert [] == full_for_a_while(harness, DISKS[disk])

    @pytest.mark.timeout(120)
    @pytest.mark.parametrize(("damage", "letters"), [("believes_every_write", "PO"), ("never_looks_behind", "O")])
    def test_catches_what_damages_lines(self, harness: Harness, damage: str, letters: str) -> None:
        """The test fails where a short write passes for a whole one, and where others write on behind it."""
        assert caught(full_for_a_while(harness, DISKS["limit"], damage), letters)

    @pytest.mark.timeout(120)
    def test_catches_what_does_not_tell(self, harness: Harness) -> None:
        """The test fails where records are dropped and no event tells of them."""
        assert caught(full_for_a_while(harness, DISKS["limit"], "tells_no_gap"), "G")
