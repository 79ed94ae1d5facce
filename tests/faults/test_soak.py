"""The soak itself, for some seconds: that it runs, that it finds nothing, and that it would."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.harness import ROOT, TIMEOUT_S
from tests.faults.soak_judge import growth
from tests.uncovered import without_coverage

MINUTES = 0.05


@dataclass(frozen=True)
class Ran:
    """How a soak ended, and what it said last."""

    code: int
    tail: Sequence[str]


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a directory whose path is short enough for a socket."""
    with TemporaryDirectory(prefix="soak-test.") as path:
        yield Path(path)


def soaked(directory: Path, *options: str) -> Ran:
    """Run the soak for some seconds."""
    command = [sys.executable, "-m", "tests.faults.soak", "--minutes", str(MINUTES), "--directory", str(directory)]
    env = without_coverage()
    ran = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=3 * TIMEOUT_S, env=env)
    print(ran.stdout, ran.stderr)
    return Ran(ran.returncode, ran.stdout.splitlines()[-60:])


class TestSoak:
    @pytest.mark.timeout(120)
    def test_finds_nothing(self, directory: Path) -> None:
        """Some seconds of random faults lose nothing and write nothing twice, and the scratch is gone afterwards."""
        ran = soaked(directory)
        assert (0, "ok: nothing lost, nothing twice") == (ran.code, ran.tail[-1])
        assert [] == list(directory.iterdir())

    @pytest.mark.timeout(120)
    def test_catches(self, directory: Path) -> None:
        """The soak fails where writers keep records in memory."""
        ran = soaked(directory, "--mutant", "buffered_writes")
        assert (1, "FAILED") == (ran.code, ran.tail[-1])
        assert any(line.startswith("O ") for line in ran.tail), ran.tail


class TestGrowth:
    def test_growth(self) -> None:
        """Growth is the slope of the whole, whatever single sizes do, times the time."""
        assert 0.0 == growth([0.0, 1.0], [5.0, 9.0])
        assert 0.0 == growth([0.0, 1.0, 2.0, 3.0], [7.0] * 4)
        assert 30.0 == pytest.approx(growth([0.0, 1.0, 2.0, 3.0], [0.0, 10.0, 20.0, 30.0]))
        assert -30.0 == pytest.approx(growth([5.0, 6.0, 7.0, 8.0], [30.0, 20.0, 10.0, 0.0]))
