"""Fault case 6: a reader follows a log while processes write and rotate it."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.faults.harness import ROOT, TIMEOUT_S, Harness, Job, Writer, until

WRITERS = 4
COUNT = 1_500

PROGRAM = """
import sys
from tests.faults import mutants
from structllm.cli import main
mutant = sys.argv.pop(1)
if mutant:
    mutants.apply(mutant)
main()
"""


def logged(writers: list[Writer]) -> Counter[tuple[str, int]]:
    """Return what the writers have logged."""
    return Counter((f"{writer.name}.0", n) for writer in writers for n in range(writer.owed[0]))


def read(output: Path) -> Counter[tuple[str, int]]:
    """Return what the reader has printed in whole lines."""
    lines = output.read_bytes().split(b"\n")[:-1]
    return Counter((event["who"], event["n"]) for event in map(orjson.loads, lines))


def followed(harness: Harness, reader_mutant: str = "", writer_mutant: str | None = None) -> tuple[int, int, str]:
    """Follow a log that is being written and rotated.

    Returns:
        How many events the reader missed, how many it printed more than once or made up, and what it said on stderr.
    """
    job = Job(count=COUNT, max_bytes=30_000, pause_ms=0.2, mutant=writer_mutant)
    first = harness.start(Job(count=1))
    first.wait()
    output = harness.log.parent.parent / "output"
    command = [sys.executable, "-c", PROGRAM, reader_mutant, "tail", "-f", "-n", "1000000", "--json", str(harness.log)]
    with output.open("wb") as file:
        reader = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: output.stat().st_size, "the reader has read the first event")
        writers = [first, *(harness.start(job) for _ in range(WRITERS))]
        for writer in writers:
            writer.wait()
        if not reader_mutant and not writer_mutant:
            until(lambda: read(output).total() >= logged(writers).total(), "the reader has caught up", TIMEOUT_S / 3)
    finally:
        reader.send_signal(signal.SIGINT)
        _, said = reader.communicate(timeout=TIMEOUT_S)
    there, wanted = read(output), logged(writers)
    return (wanted - there).total(), (there - wanted).total(), said


class TestFollow:
    @pytest.mark.timeout(60)
    def test_every_event_once(self, harness: Harness) -> None:
        """`tail -f` prints each event of four processes exactly once, and finds no bad line, through 60 rotations."""
        assert (0, 0, "") == followed(harness)
        assert len(harness.files()) > 40
        assert [] == harness.judge()

    @pytest.mark.timeout(60)
    def test_catches(self, new_harness: Callable[..., Harness]) -> None:
        """The test fails where the reader passes over the files that were begun and rotated between two looks."""
        missed, _, _ = followed(new_harness(), reader_mutant="reader_skips")
        assert missed > 0
