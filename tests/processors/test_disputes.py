"""Calls on whose cost libraries disagree: each has a verdict, worked out by hand at the provider's list price.

A line of `disputes.jsonl` is a call: what was used, what the dispute is about, the verdict, and who is wrong (`why`).

    by_hand, billed_usd       the provider's bill: counts times rates in USD, and what that comes to; null where it
                              cannot be known from the counts
    rates                     whose list the rates are from, and of when; USD, per million tokens
    cost_usd, cost_status,    what is to be said of the call; a cost that is not known is null
      cost_flags
    lower_by_hand,            the part that is known where the whole is not
      lower_bound_usd
    least_by_hand, least_usd  the least that it can have been where `cost_usd` is the most

A call that came without its date is priced at a time at which its model was sold.
"""

import ast
import json
import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from structllm import MemorySink, create_llm_logger

CASES: dict[str, dict[str, Any]] = {
    case["name"]: case
    for case in map(json.loads, Path(__file__).with_name("disputes.jsonl").read_text(encoding="utf-8").splitlines())
}
TOLERANCE_USD = Decimal("1e-9")
PARTS = (("by_hand", "billed_usd"), ("lower_by_hand", "lower_bound_usd"), ("least_by_hand", "least_usd"))
SUMS = [
    (name, expression, figure)
    for name, case in CASES.items()
    for expression, figure in PARTS
    if case.get(expression) is not None
]

_OPERATORS: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda left, right: left / right,
}


class Said(NamedTuple):
    """What an event says of its cost."""

    cost_usd: Decimal | None
    status: str
    flags: tuple[str, ...] = ()
    lower_bound_usd: Decimal | None = None


NOT_RIGHT = {
    # The list has Mistral Large 2 behind the name, which has meant Mistral Large 3 since 2025-12-02. It is four times
    # as dear, so that not even the lower bounds are any.
    "mistral-large-latest": Said(Decimal("0.000224"), "ok"),
    "mistral-large-latest-69-cached": Said(None, "partial", ("no_rate:cache_read",), Decimal("0.000074")),
    "mistral-large-latest-151-cached": Said(None, "partial", ("no_rate:cache_read",), Decimal("0.000074")),
    # The list begins in 2025, and an older call gets its oldest rates: a tenth of those of 2024.
    "mistral-small-latest-2024-first": Said(Decimal("0.0000038"), "ok"),
    "mistral-small-latest-2024-second": Said(Decimal("0.0000038"), "ok"),
    "mistral-small-latest-2024-with-tools": Said(Decimal("0.0000165"), "ok"),
}
"""Calls on which the list is wrong, and what is said of them for that: once the list is right these have to go."""


def by_hand(expression: str) -> Decimal:
    """Work an expression out: numbers, + - * / and parentheses, exactly as they are written."""

    def value(node: ast.expr) -> Decimal:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        written = ast.get_source_segment(expression, node)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and written is not None:
            return Decimal(written)
        raise ValueError(f"not arithmetic: {written}")

    return value(ast.parse(expression, mode="eval").body)


def decimal_or_none(written: str | None) -> Decimal | None:
    """Return a figure of a case."""
    return None if written is None else Decimal(written)


def verdict(case: dict[str, Any]) -> Said:
    """Return what is to be said of a call."""
    return Said(
        decimal_or_none(case["cost_usd"]),
        case["cost_status"],
        tuple(case["cost_flags"]),
        decimal_or_none(case.get("lower_bound_usd")),
    )


def said_of(case: dict[str, Any]) -> Said:
    """Log a call as its program would, and return what its event says."""
    asked_at = datetime.fromisoformat(case["at"])
    fields = {name: case[name] for name in ("service_tier",) if name in case}
    sink = MemorySink()
    logger = create_llm_logger(settings={}, sinks=[sink])
    request_id = logger.log_completion_request(
        prompt="Long or short?", model=case["model"], provider=case["provider"], timestamp=asked_at
    )
    logger.log_completion_response(
        request_id=request_id,
        response="Long.",
        token_usage=case["usage"],
        timestamp=asked_at + timedelta(seconds=2),
        **fields,
    )
    logger.close()
    (event,) = (event for event in sink.events if event["event_type"] == "completion_response")
    cost, lower = event["cost_estimate_usd"], event.get("cost_lower_bound_usd")
    return Said(
        None if cost is None else Decimal(repr(cost)),
        event["cost_status"],
        tuple(event.get("cost_flags", ())),
        None if lower is None else Decimal(repr(lower)),
    )


def is_near(expected: Decimal | None, actual: Decimal | None) -> bool:
    """Whether two figures are the same, or both are unknown."""
    if expected is None or actual is None:
        return expected is actual
    return abs(expected - actual) <= TOLERANCE_USD


class TestVerdicts:
    """The verdicts: that they add up, and that they are what is said."""

    @pytest.mark.parametrize(
        ("name", "expression", "figure"), SUMS, ids=[f"{name}-{figure}" for name, _, figure in SUMS]
    )
    def test_arithmetic(self, name: str, expression: str, figure: str) -> None:
        """A figure is exactly what its arithmetic comes to."""
        assert Decimal(CASES[name][figure]) == by_hand(CASES[name][expression])

    @pytest.mark.parametrize("case", CASES.values(), ids=CASES)
    def test_agrees_with_the_bill(self, case: dict[str, Any]) -> None:
        """A cost that is said to be known is the provider's bill, and what else is said of it is no more than that."""
        billed, known = decimal_or_none(case["billed_usd"]), decimal_or_none(case["cost_usd"])
        assert (case["cost_status"] == "ok") == (known is not None)
        assert known in (None, billed)
        bounds = [Decimal(case[name]) for name in ("lower_bound_usd", "least_usd") if name in case]
        assert [] == [bound for bound in bounds if billed is not None and bound >= billed]

    @pytest.mark.parametrize("case", CASES.values(), ids=CASES)
    def test_said(self, case: dict[str, Any]) -> None:
        """The event of the call says the verdict to 1e-9 USD, or what is known to be wrong with the list."""
        expected = NOT_RIGHT.get(case["name"], verdict(case))
        actual = said_of(case)
        assert (expected.status, expected.flags) == (actual.status, actual.flags), case["why"]
        assert is_near(expected.cost_usd, actual.cost_usd), f"{expected} != {actual}: {case['why']}"
        assert is_near(expected.lower_bound_usd, actual.lower_bound_usd), f"{expected} != {actual}: {case['why']}"

    def test_not_right(self) -> None:
        """What is named as wrong is a call of the file, and is wrong."""
        assert [] == [name for name, said in NOT_RIGHT.items() if said == verdict(CASES[name])]

    def test_none_is_free(self) -> None:
        """None of these calls cost nothing, and none is said to."""
        assert [] == [name for name, case in CASES.items() if decimal_or_none(case["cost_usd"]) == 0]

    def test_each_is_there(self) -> None:
        """There are 66 calls, each under a name of its own and with a reason that says who is wrong."""
        lines = Path(__file__).with_name("disputes.jsonl").read_text(encoding="utf-8").splitlines()
        assert (66, 66) == (len(lines), len(CASES))
        judged = (" is wrong", "Both are wrong", "Neither can be shown right")
        assert [] == [name for name, case in CASES.items() if not any(words in case["why"] for words in judged)]


class TestArithmetic:
    """The evaluator of the tests themselves."""

    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("2000*0.30e-6 + 500*1.20e-6", "0.0012"),
            ("(1 + 2)*3 - 4/8", "8.5"),
            ("0.1 + 0.2", "0.3"),
        ],
    )
    def test_worked_out(self, expression: str, expected: str) -> None:
        """Numbers are decimal, products come before sums, and parentheses before both."""
        assert Decimal(expected) == by_hand(expression)

    @pytest.mark.parametrize("expression", ["2**3", "-1", "len('a')", "True + 1", "a*2", "'1' + '2'", "1j*1"])
    def test_refused(self, expression: str) -> None:
        """Whatever else Python can work out is no arithmetic."""
        with pytest.raises(ValueError, match="not arithmetic"):
            by_hand(expression)
