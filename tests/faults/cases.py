"""Programs of fault tests, each in a process of its own that ends as a Python program ends.

The nursery of the harness forks writers that leave by `os._exit`. Here it matters how a process ends: `Brood` forks as
well, from one interpreter that has imported structllm, but what it forks runs a function of a test module and then
falls off the end of its program, through `atexit` and the end of the interpreter. A test module has it so::

    brood, harness = fixtures(__name__)
    ...
    writer = harness.start(Job(extra={"program": "tests.faults.test_exits:leave"}))

The function gets the job and the duty. What it writes to stderr is in `stderr_of(harness, writer)`.
"""

import atexit
import gc
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.faults.harness import ROOT, Harness, Job, Nursery, Writer
from tests.faults.serving import serve

at_the_very_end: list[Callable[[], None]] = []
"""Called when all other exit handlers have run, those of structllm as well."""


class Brood(Nursery):
    """Forks programs of tests.

    Args:
        module: Test module to import before forking.
    """

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.cases", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )


def stderr_of(harness: Harness, writer: Writer) -> str:
    """Return what a program wrote to stderr."""
    return (harness.log.parents[1] / f"{writer.name}.stderr").read_text()


def program(function: Callable[..., None], job: Job | None = None, **extra: object) -> Job:
    """Return a job that runs this function of a test module, with this `extra`."""
    job = job or Job()
    where = f"{function.__module__}:{function.__name__}"
    return Job(**{**vars(job), "extra": {**job.extra, **extra, "program": where}})


def fixtures(module: str) -> tuple[Any, Any]:
    """Return two fixtures for a test module: the brood of its programs, and a harness whose writers are those.

    A module says `brood, harness = fixtures(__name__)`.
    """
    import pytest  # not with the others: what this loads would be here before our exit handler

    @pytest.fixture(scope="module")
    def brood() -> Iterator[Brood]:
        """Return what forks the programs."""
        brood = Brood(module)
        yield brood
        brood.close()

    @pytest.fixture
    def harness(tmp_path: Path, brood: Brood) -> Iterator[Harness]:
        """Return a harness for programs of the module."""
        harness = Harness(tmp_path / "run", brood, 0)  # nothing in these programs is random
        yield harness
        harness.abort()

    return brood, harness


def _play(path: str) -> None:
    """Run the program of a job, with files of its own for what it reads and writes."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(Path(path).with_suffix(".stderr"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    from tests.faults.child import begin

    job, duty = begin(path)
    module, _, function = job["extra"]["program"].partition(":")
    getattr(importlib.import_module(module), function)(job, duty)


def _run_last() -> None:
    for function in at_the_very_end:
        function()


def main() -> None:
    """Import what is needed, after an exit handler that so runs after those of structllm; then serve."""
    atexit.register(_run_last)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever stops the tests by Ctrl-C has us told by the end of stdin
    from structllm.assemble import create_llm_logger
    from tests.faults.child import SETTINGS

    create_llm_logger(settings=SETTINGS, sinks=[]).close()  # load what is loaded on first use
    importlib.import_module(sys.argv[1])
    gc.freeze()  # collecting would copy every page into every child
    path = serve()
    if path is not None:
        _play(path)


if __name__ == "__main__":
    from tests.faults import cases  # under its own name: the programs import it, too

    cases.main()
