"""What every benchmark starts from, and where its figures are shown."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from benchmarks.racing import Race

ROUNDS = 600
REPORTS = pytest.StashKey[list[str]]()


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the caller's own settings."""
    for name in list(os.environ):
        if name.upper() == "LLM" or name.upper().startswith(("LLM__", "STRUCTLLM_")):
            monkeypatch.delenv(name)


@pytest.fixture
def race(benchmark: Any, pytestconfig: pytest.Config) -> Callable[[Race], Race]:
    """Run a race to its end (one round where benchmarks are disabled), and show its figures after the tests."""

    def run(race: Race) -> Race:
        benchmark.pedantic(race.round, rounds=race.rounds or ROUNDS, iterations=1)
        benchmark.extra_info.update(race.summary())
        pytestconfig.stash.setdefault(REPORTS, []).extend(race.report())
        return race

    return run


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Where variants leave what has to be closed."""
    with ExitStack() as stack:
        yield stack


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the ratios, which pytest-benchmark's own table does not have."""
    if lines := config.stash.get(REPORTS, []):
        terminalreporter.section("races")
        terminalreporter.write("\n".join(lines) + "\n")
