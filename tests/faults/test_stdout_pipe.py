"""Standard output as a pipe: shared by processes, read slowly, closed, set not to block, or not read at all.

Every writer is a real process. It is given the same setting that a user has, and a record is counted as written only
after `write` returned.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import comes_true

WAIT_S = 60.0
PATIENT = 50.0
"""A write timeout that a working reader never comes near to."""

WRITER = """
import json, os, random, sys
import structllm.sinks.stdout as stdout
from structllm._types import Record
from structllm.errors import SinkError

def record(writer, seq, size):
    event = {"event_type": "run", "writer": writer, "seq": seq, "text": "x" * size}
    return Record("run", 20, json.dumps(event).encode() + b"\\n", event)
"""

STORM = (
    WRITER
    + """
settings = json.loads(sys.argv[1])
if settings["mutant"] == "no_lock":
    stdout._lock = lambda fd, deadline_s: False
    stdout._unlock = lambda fd: None
if settings["non_blocking"]:
    os.set_blocking(1, False)
sizes = random.Random(settings["seed"])
sink = stdout.StdoutSink(max_line_bytes=0, write_timeout_s=settings["timeout_s"])
os.write(settings["ready"], b"r")
sys.stdin.read()
for seq in range(settings["lines"]):
    sink.write([record(settings["writer"], seq, int(10 ** sizes.uniform(2, 6)))])
assert sink.health() == {"torn_lines": 0, "shrunk_lines": 0}, sink.health()
"""
)

TALKER = (
    WRITER
    + """
import time
# Says on stderr what became of each record that it is told to write: "size" or "size timeout".
sink = stdout.StdoutSink(max_line_bytes=0, write_timeout_s=float(sys.argv[1]))
for seq, order in enumerate(sys.stdin):
    begun = time.monotonic()
    try:
        sink.write([record(sys.argv[2], seq, int(order))])
        outcome = "written"
    except SinkError as error:
        outcome = f"{type(error).__name__}:{error.reason}:{error.taken}"
    answer = {"outcome": outcome, "seconds": time.monotonic() - begun, "health": dict(sink.health())}
    print(json.dumps(answer), file=sys.stderr, flush=True)
"""
)


def killed_at_last(process: subprocess.Popen[Any]) -> None:
    """End a process and its pipes, whatever state they are in."""
    with suppress(ProcessLookupError):
        process.kill()
    process.wait(WAIT_S)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Give a pipe; what is left open of it is closed."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            with suppress(OSError):
                os.close(end)


def read_all(fd: int, pause_s: Callable[[], float] = lambda: 0.0) -> bytes:
    """Read to the end, with a pause after every read, as a slow reader does."""
    chunks: list[bytes] = []
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if select.select([fd], [], [], 1.0)[0]:
            chunk = os.read(fd, 65_536)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            time.sleep(pause_s())
    raise AssertionError("the writers never ended")


def storm(seed: int, *, mutant: str = "", non_blocking: bool = False, slow: bool = False) -> tuple[list[bytes], int]:
    """Let four processes, begun together, write to one pipe; return its lines and how many were written."""
    lines = 25
    pauses = random.Random(seed)
    settings = {"mutant": mutant, "non_blocking": non_blocking, "timeout_s": PATIENT, "lines": lines}
    writers: list[subprocess.Popen[bytes]] = []
    with pipe() as (reader, writer), pipe() as (gate, opener), pipe() as (all_ready, ready):
        try:
            for number in range(4):
                own = {**settings, "seed": seed + number, "writer": f"wtr_{number}", "ready": ready}
                arguments = [sys.executable, "-c", STORM, json.dumps(own)]
                writers.append(subprocess.Popen(arguments, stdin=gate, stdout=writer, pass_fds=[ready]))
            for _ in writers:
                assert select.select([all_ready], [], [], WAIT_S)[0], "a writer did not begin"
                os.read(all_ready, 1)
            os.close(opener)
            os.close(writer)
            out = read_all(reader, (lambda: pauses.choice([0.0, 0.0, 0.002])) if slow else lambda: 0.0)
            assert [0] * 4 == [process.wait(WAIT_S) for process in writers]
        finally:
            for process in writers:
                killed_at_last(process)
    return out.splitlines(), 4 * lines


def broken(lines: list[bytes]) -> int:
    """Count the lines that are no event."""
    bad = 0
    for line in lines:
        try:
            bad += json.loads(line)["event_type"] != "run"
        except (ValueError, KeyError, TypeError):
            bad += 1
    return bad


class TestSharedByProcesses:
    @pytest.mark.timeout(180)
    @pytest.mark.parametrize("non_blocking", [False, True])
    def test_every_line_is_whole(self, non_blocking: bool) -> None:
        """Four processes, lines of 100 bytes to 1 MB, a slow reader: no line broken, lost, doubled or out of order."""
        seed = random.randrange(2**32)
        print(f"seed {seed}")
        lines, written = storm(seed, slow=True, non_blocking=non_blocking)
        assert 0 == broken(lines)
        events = [json.loads(line) for line in lines]
        assert written == len(events)
        for writer in {event["writer"] for event in events}:
            numbers = [event["seq"] for event in events if event["writer"] == writer]
            assert list(range(written // 4)) == numbers

    @pytest.mark.timeout(120)
    def test_without_the_lock_lines_break(self) -> None:
        """The mutant: a sink that takes no lock is caught by the same count."""
        assert broken(storm(1, mutant="no_lock", slow=True)[0])

    @pytest.mark.timeout(120)
    def test_forked_children(self) -> None:
        """Children that inherited the very descriptor, and the parent, exclude each other as well."""
        program = (
            WRITER
            + "sink = stdout.StdoutSink(max_line_bytes=0, write_timeout_s=50.0)\n"
            + "sink.write([record('parent', 0, 10)])\n"
            + "children = []\n"
            + "for _ in range(2):\n"
            + "    pid = os.fork()\n"
            + "    if pid == 0:\n"
            + "        children.clear()\n"
            + "        break\n"
            + "    children.append(pid)\n"
            + "for seq in range(1, 40):\n"
            + "    sink.write([record(str(os.getpid()), seq, 20_000)])\n"
            + "sys.exit(any([os.waitpid(pid, 0)[1] for pid in children]))\n"
        )
        with pipe() as (reader, writer):
            process = subprocess.Popen([sys.executable, "-c", program], stdout=writer)
            try:
                os.close(writer)
                lines = read_all(reader).splitlines()
                assert 0 == process.wait(WAIT_S)
            finally:
                killed_at_last(process)
        assert (0, 1 + 3 * 39) == (broken(lines), len(lines))
        assert {39} == {number for writer, number in writers_of(lines).items() if writer != "parent"}

    @pytest.mark.timeout(120)
    def test_threads_and_two_sinks(self) -> None:
        """Two sinks of one process, each used by two threads, write whole lines as well."""
        program = (
            WRITER
            + "import threading\n"
            + "sinks = [stdout.StdoutSink(max_line_bytes=0, write_timeout_s=50.0) for _ in range(2)]\n"
            + "def work(name, sink):\n"
            + "    for seq in range(30):\n"
            + "        sink.write([record(name, seq, 30_000)])\n"
            + "threads = [threading.Thread(target=work, args=(str(n), sinks[n % 2])) for n in range(4)]\n"
            + "[thread.start() for thread in threads]\n"
            + "[thread.join() for thread in threads]\n"
        )
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=WAIT_S, check=True)
        lines = done.stdout.splitlines()
        assert (0, {30}, 4) == (broken(lines), set(writers_of(lines).values()), len(writers_of(lines)))


def writers_of(lines: list[bytes]) -> Counter[str]:
    """Count the lines of each writer."""
    return Counter(json.loads(line)["writer"] for line in lines)


class TestReaderGoesAway:
    @pytest.mark.timeout(120)
    def test_the_host_ends_as_it_would(self, tmp_path: Path) -> None:
        """A reader that closes costs the records, which are counted, and leaves the host's exit code alone."""
        program = """
import json, sys
from structllm import create_llm_logger
log = create_llm_logger("DEBUG", sinks=["stdout:"])
log.log_run(kind="chain", run_id="run_0", name="before")
sys.stdin.readline()
for number in range(10):
    log.log_run(kind="chain", run_id=f"run_{number}", name="x" * 100)
with open(sys.argv[1], "w") as file:
    json.dump(log.stats()["sinks"]["stdout"], file)
sys.exit(7)
"""
        account_file = tmp_path / "account.json"
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(account_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            assert b'"name":"before"' in process.stdout.readline()
            process.stdout.close()
            process.stdin.write(b"go\n")
            process.stdin.close()
            assert 7 == process.wait(WAIT_S)
        finally:
            killed_at_last(process)
        account = {"accepted": 11, "delivered": 1, "dropped": {"epipe": 10}, "pending": 0}
        stats = json.loads(account_file.read_text())
        assert account == {name: stats[name] for name in account}


class Talker:
    """A process that writes what it is told to, and says what became of it."""

    def __init__(self, stdout: int, *, timeout_s: float, name: str = "w") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TALKER, str(timeout_s), name],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    def tell(self, size: int) -> None:
        """Order a record of about this many bytes."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{size}\n".encode())
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Return what became of the record that was ordered first and is not yet answered."""
        assert self.process.stderr is not None
        assert select.select([self.process.stderr], [], [], WAIT_S)[0], "no answer"
        answer: dict[str, Any] = json.loads(self.process.stderr.readline())
        return answer

    def write(self, size: int) -> dict[str, Any]:
        """Order a record and return what became of it."""
        self.tell(size)
        return self.hear()


@contextmanager
def talking(stdout: int, *, timeout_s: float, name: str = "w") -> Iterator[Talker]:
    """Give a talker, and end it."""
    talker = Talker(stdout, timeout_s=timeout_s, name=name)
    try:
        yield talker
    finally:
        killed_at_last(talker.process)


def drain(fd: int) -> bytes:
    """Return what is in a pipe now."""
    chunks: list[bytes] = []
    while select.select([fd], [], [], 0)[0]:
        chunk = os.read(fd, 65_536)
        if not chunk:
            break
        chunks.append(chunk)
    return b"".join(chunks)


STALLED = "SinkUnavailable:stalled:0"


class TestReaderStalls:
    @pytest.mark.timeout(120)
    @pytest.mark.parametrize("blocking", [True, False])
    def test_waits_once_and_recovers(self, blocking: bool) -> None:
        """A reader that takes nothing costs the host its bound once; when it reads again, the next line is whole."""
        timeout_s = 1.0
        with pipe() as (reader, writer):
            os.set_blocking(writer, blocking)
            with talking(writer, timeout_s=timeout_s) as talker:
                first = talker.write(200_000)
                assert (STALLED, True, 1) == (
                    first["outcome"],
                    first["seconds"] >= timeout_s,
                    first["health"]["torn_lines"],
                )
                more = [talker.write(100) for _ in range(20)]
                assert {STALLED} == {answer["outcome"] for answer in more}
                # All twenty together wait less than the bound of one.
                assert sum(answer["seconds"] for answer in more) < timeout_s
                assert more[-1]["health"]["stalled"] is True
                torn = drain(reader)
                assert "written" == talker.write(100)["outcome"]
                after = talker.write(3000)
                assert {"torn_lines": 1, "shrunk_lines": 0} == after["health"]
                os.close(writer)
                rest = drain(reader)
        lines = (torn + rest).splitlines()
        assert [21, 22] == [json.loads(line)["seq"] for line in lines[1:]]
        assert 1 == broken(lines)

    @pytest.mark.timeout(120)
    def test_a_line_that_another_process_left(self) -> None:
        """Half a line of one process is ended by the next one that writes, whoever that is, and by no other."""
        with pipe() as (reader, writer), talking(writer, timeout_s=0.3, name="a") as torn_by:
            assert STALLED == torn_by.write(200_000)["outcome"]
            with talking(writer, timeout_s=PATIENT, name="b") as other:
                out = drain(reader)
                assert "written" == other.write(100)["outcome"]
                assert "written" == torn_by.write(100)["outcome"]
                assert "written" == other.write(100)["outcome"]
                out += drain(reader)
        lines = out.splitlines()
        # The one that tore it cannot know that it was ended meanwhile: an empty line, never a broken one.
        assert ["b", "a", "b"] == [json.loads(line)["writer"] for line in lines[1:] if line]
        assert [b""] == [line for line in lines[1:] if not line]

    @pytest.mark.timeout(120)
    def test_waits_for_a_process_that_holds_the_line(self) -> None:
        """A process that is stopped in the middle of a line costs the others their bound, and breaks nothing."""
        with (
            pipe() as (reader, writer),
            talking(writer, timeout_s=PATIENT, name="a") as holder,
            talking(writer, timeout_s=0.3, name="b") as other,
        ):
            holder.tell(200_000)
            deadline = time.monotonic() + WAIT_S
            while not select.select([reader], [], [], 0.01)[0]:
                assert time.monotonic() < deadline
            os.kill(holder.process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, holder.process.pid, os.WSTOPPED | os.WNOWAIT)
            assert STALLED == other.write(100)["outcome"]
            os.kill(holder.process.pid, signal.SIGCONT)
            out: list[bytes] = []
            reading = threading.Thread(target=lambda: out.append(read_all(reader)))
            reading.start()
            assert "written" == holder.hear()["outcome"]
            # Once stalled, it waits for no reader: the pipe must have room by the time that it asks.
            assert comes_true(lambda: "written" == other.write(100)["outcome"])
            os.close(writer)
            killed_at_last(holder.process)
            killed_at_last(other.process)
            reading.join(WAIT_S)
        lines = out[0].splitlines()
        assert (0, Counter(a=1, b=1)) == (broken(lines), writers_of(lines))
