"""Processes that coverage is not to measure."""

import os


def without_coverage() -> dict[str, str]:
    """Return the environment of a process that forks while its threads run.

    Coverage has a lock of its own around its data. Where another thread holds that at a fork, nobody in the child ever
    lets go of it, and the child hangs in coverage: a fault of the measurement, and not of what is measured.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
