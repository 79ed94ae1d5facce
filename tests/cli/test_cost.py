"""`structllm cost`: what counts, by what, and what is said where a price is not known."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.recording import LogBuilder


def rows_by(run: Run, log: LogBuilder, by: str) -> dict[str, tuple[int, float | None, int]]:
    """Return calls, cost and unpriced calls of each group."""
    report = json.loads(run("cost", "--by", by, "--json", log.write(Path("x.log"))).stdout)
    return {row[by]: (row["calls"], row["cost_usd"], row["unpriced_calls"]) for row in report["rows"]}


class TestOutcome:
    """`--by outcome`."""

    def test_billed(self, run: Run, log: LogBuilder) -> None:
        """Failed and cancelled calls, and every try of a repeated one, count what they were billed."""
        log.call(1, cost_estimate_usd=0.1)
        log.failure("req_2", cost_estimate_usd=0.02, cost_status="ok", attempt=1)
        log.failure("req_3", cost_estimate_usd=0.03, cost_status="ok", attempt=2)
        log.failure("req_4", outcome="cancelled", cost_estimate_usd=0.004, cost_status="ok")
        log.failure("req_5")
        assert {"ok": (1, 0.1, 0), "error": (3, 0.05, 1), "cancelled": (1, 0.004, 0)} == rows_by(run, log, "outcome")

    def test_without_end(self, run: Run, log: LogBuilder) -> None:
        """A request without a response is no row: what it cost is not known to anybody."""
        log.call(1)
        log.request("req_2")
        assert {"ok": (1, 0.000495, 0)} == rows_by(run, log, "outcome")


class TestStrategy:
    """`--by strategy`."""

    @pytest.mark.parametrize(
        "fields", [{"strategy": "momentum"}, {"market_context": {"symbol": "BTC-USD", "strategy": "momentum"}}]
    )
    def test_of_the_call(self, run: Run, log: LogBuilder, fields: dict[str, Any]) -> None:
        """A strategy that was bound to the call, or stands in its market context, is its own."""
        log.request("req_1", **fields)
        log.response("req_1")
        log.decision("req_1", "dec_1", strategy="carry")
        assert {"momentum": (1, 0.000495, 0)} == rows_by(run, log, "strategy")

    def test_of_the_decision(self, run: Run, log: LogBuilder) -> None:
        """Else it is that of the decision which the call led to; a call of neither is told apart."""
        log.decision(log.call(1), "dec_1", strategy="carry")
        log.call(2)
        assert {"carry": (1, 0.000495, 0), "(none)": (1, 0.000495, 0)} == rows_by(run, log, "strategy")

    @pytest.mark.parametrize("strategy", [7, "", None, ["momentum"]])
    def test_no_name(self, run: Run, log: LogBuilder, strategy: object) -> None:
        """What is no name is no strategy."""
        log.request("req_1", strategy=strategy)
        log.response("req_1", strategy=strategy)
        assert {"(none)": (1, 0.000495, 0)} == rows_by(run, log, "strategy")


class TestHonesty:
    """What is said of what is not known."""

    @pytest.mark.parametrize("cost", [0.0, None])
    def test_cached(self, run: Run, log: LogBuilder, cost: float | None) -> None:
        """An answer from a cache cost nothing, and that is known."""
        log.call(1)
        log.call(2, cost_estimate_usd=cost, cost_status="cached")
        output = run("cost", log.write(Path("x.log"))).stdout
        assert "Total        2     300         150     450  $0.000495         -" == output.splitlines()[-1]

    def test_cached_in_a_decision(self, run: Run, log: LogBuilder) -> None:
        """A decision from a cached answer cost nothing, and that is known too."""
        log.decision(log.call(1, cost_estimate_usd=None, cost_status="cached"), "dec_1")
        (decision,) = json.loads(run("decisions", "--json", log.write(Path("x.log"))).stdout)
        assert (0.0, 0) == (decision["cost_usd"], decision["unpriced_calls"])

    def test_decision_of_an_unpriced_call(self, run: Run, log: LogBuilder) -> None:
        """The cost of a decision is not known where that of a call is not, and what is known is told as such."""
        known, unknown = log.call(1, cost_estimate_usd=0.1), log.call(2, cost_estimate_usd=None)
        log.decision(known, "dec_1", caused_by=[known, unknown])
        path = log.write(Path("x.log"))
        (decision,) = json.loads(run("decisions", "--json", path).stdout)
        assert (None, 0.1, 1) == tuple(decision[name] for name in ("cost_usd", "known_cost_usd", "unpriced_calls"))
        assert "  >= $0.100000  " in run("decisions", path).stdout

    def test_known_part(self, run: Run, log: LogBuilder) -> None:
        """The known part of a cost is in the sum, and the call still counts as unpriced."""
        log.call(1, cost_estimate_usd=None, cost_status="partial", cost_lower_bound_usd=0.25)
        assert {"o3-mini": (1, 0.25, 1)} == rows_by(run, log, "model")

    def test_nothing_known(self, run: Run, log: LogBuilder) -> None:
        """Where no price is known, the sum is unknown, not zero."""
        log.call(1, cost_estimate_usd=None, cost_status="unknown_model")
        assert {"o3-mini": (1, None, 1)} == rows_by(run, log, "model")
