"""Which events, which calls, and sums over calls."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm.query import (
    ORPHANED_AFTER_S,
    Call,
    Calls,
    Filter,
    as_usd,
    calls_of,
    causes_of,
    parse_since,
    parse_timestamp,
    texts_of,
)
from structllm.totals import Totals, total_by

NOW = datetime(2024, 1, 15, 12, 0, tzinfo=UTC)


def request(request_id: str, **fields: Any) -> dict[str, Any]:
    """A request a minute ago."""
    return {
        "event_type": "completion_request",
        "timestamp": "2024-01-15T11:59:00.000Z",
        "session_id": "abc12345",
        "request_id": request_id,
        "model": "o3-mini",
        "provider": "openai",
        "market_context": {"symbol": "BTC-USD"},
        **fields,
    }


def response(request_id: str, **fields: Any) -> dict[str, Any]:
    """A response just now, as small as the guide's."""
    return {
        "event_type": "completion_response",
        "timestamp": "2024-01-15T12:00:00.000Z",
        "session_id": "abc12345",
        "request_id": request_id,
        "success": True,
        "response_time_ms": 1500,
        "token_usage": {"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225},
        "cost_estimate_usd": 0.000495,
        **fields,
    }


class TestParseSince:
    """What people say for a moment."""

    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("15m", NOW - timedelta(minutes=15)),
            ("1d2h3m4s", NOW - timedelta(days=1, hours=2, minutes=3, seconds=4)),
            ("0s", NOW),
            ("2024-01-14", datetime(2024, 1, 14, tzinfo=UTC)),
            ("2024-01-14T10:30", datetime(2024, 1, 14, 10, 30, tzinfo=UTC)),
            ("2024-01-14T10:30+02:00", datetime(2024, 1, 14, 8, 30, tzinfo=UTC)),
        ],
    )
    def test_understood(self, text: str, moment: datetime) -> None:
        """Durations count back from now, times are UTC unless they say otherwise."""
        assert moment == parse_since(text, NOW)

    @pytest.mark.parametrize("text", ["", "15", "m15", "15 minutes", "yesterday", "999999999999d", "2024-13-01"])
    def test_not_understood(self, text: str) -> None:
        """Anything else is an error that gives examples."""
        with pytest.raises(ValueError, match=r"15m, 2h or 7d"):
            parse_since(text, NOW)


class TestFilter:
    """Which events are wanted."""

    @pytest.mark.parametrize(
        ("condition", "event", "wanted"),
        [
            ({}, request("r"), True),
            ({"model": "o3-*"}, request("r"), True),
            ({"model": "o3"}, request("r"), False),
            ({"model": "gpt-*"}, response("r", response_model="gpt-4o"), True),
            ({"model": "gpt-*"}, {"event_type": "trading_decision"}, False),
            ({"session": "abc"}, request("r"), True),
            ({"session": "bc"}, request("r"), False),
            ({"types": ["run"]}, request("r"), False),
            ({"types": ["run", "completion_request"]}, request("r"), True),
            ({"errors": True}, response("r"), False),
            ({"errors": True}, response("r", success=False), True),
            ({"errors": True}, {"event_type": "alert", "level": "CRITICAL"}, True),
            ({"grep": re.compile("B.C")}, request("r"), True),
            ({"grep": re.compile("market_context")}, request("r"), False),
            ({"since": NOW}, response("r"), True),
            ({"since": NOW}, request("r"), False),
            ({"since": NOW}, response("r", timestamp="2024-01-15T13:00:00+01:00"), True),
            ({"since": NOW}, response("r", timestamp="2024-01-15T11:59:59Z"), False),
            ({"since": NOW}, response("r", timestamp="yesterday"), False),
            ({"since": NOW}, response("r", timestamp=None), False),
        ],
    )
    def test_conditions(self, condition: dict[str, Any], event: Mapping[str, Any], wanted: bool) -> None:
        """Every condition keeps what it names and nothing else."""
        assert wanted == Filter(**condition)(event)

    def test_all_conditions_hold(self) -> None:
        """Conditions add up."""
        both = Filter(model="o3-mini", session="zzz")
        assert not both(request("r"))

    def test_calls(self) -> None:
        """A call is judged by its beginning, session and model, wherever in its two events they were."""
        call = Call("r", "abc12345", started="2024-01-15T11:59:00.000Z", ended="2024-01-15T12:00:00.000Z", model="m")
        assert Filter(model="m", session="abc", since=NOW - timedelta(minutes=1)).call(call)
        assert not Filter(since=NOW).call(call)

    def test_texts(self) -> None:
        """Texts are found however deep they lie; names of fields are none."""
        assert ["a", "b", "c"] == sorted(texts_of({"x": "a", "y": [{"z": "b"}, ["c", 1, None]]}))


class TestCalls:
    """Requests and their responses."""

    def test_pair(self) -> None:
        """What one event of the two leaves out comes from the other."""
        (call,) = calls_of([request("r"), response("r")], NOW)
        expected = ("o3-mini", "openai", "BTC-USD", "ok", True, 225, Decimal("0.000495"))
        assert expected == (
            call.model,
            call.provider,
            call.symbol,
            call.outcome,
            call.success,
            call.total_tokens,
            call.cost_usd,
        )

    def test_response_first(self) -> None:
        """Events of several files may come in another order; the pair is the same."""
        (forwards,) = calls_of([request("r"), response("r")], NOW)
        (backwards,) = calls_of([response("r"), request("r")], NOW)
        assert forwards == backwards

    def test_response_without_request(self) -> None:
        """A response whose request was rotated away is a call."""
        (call,) = calls_of([response("r")], NOW)
        assert (None, "ok", Decimal("0.000495")) == (call.started, call.outcome, call.cost_usd)

    def test_waiting_responses_are_bounded(self) -> None:
        """A log of nothing but responses is not held in memory."""
        calls = Calls()
        completed = [calls.add(response(f"r{number}")) for number in range(10_005)]
        assert ["r0", "r1", "r2", "r3", "r4"] == [call.request_id for call in completed if call]
        assert 10_000 == len(list(calls.rest(NOW)))

    @pytest.mark.parametrize(
        ("age_s", "outcome"), [(1, "pending"), (ORPHANED_AFTER_S, "pending"), (ORPHANED_AFTER_S + 1, "orphaned")]
    )
    def test_without_end(self, age_s: int, outcome: str) -> None:
        """A request without a response waits, until its writer must be gone."""
        started = (NOW - timedelta(seconds=age_s)).isoformat()
        (call,) = calls_of([request("r", timestamp=started)], NOW)
        assert (outcome, None) == (call.outcome, call.ended)

    def test_failure(self) -> None:
        """A failed call has the type of its error, or else its outcome."""
        typed, untyped = calls_of(
            [response("a", success=False, error_type="RateLimitError"), response("b", success=False)], NOW
        )
        assert ("RateLimitError", "error") == (typed.error_type, untyped.error_type)

    @pytest.mark.parametrize(
        "fields",
        [
            {"token_usage": None, "cost_estimate_usd": "much", "response_time_ms": "long"},
            {"token_usage": {"total_tokens": -5}, "cost_estimate_usd": -1, "response_time_ms": -1},
            {"token_usage": [1], "cost_estimate_usd": True, "response_time_ms": None},
        ],
    )
    def test_ill_typed_numbers(self, fields: dict[str, Any]) -> None:
        """What is no sensible number is unknown, and never zero cost."""
        (call,) = calls_of([response("r", **fields)], NOW)
        assert (0, None, None) == (call.total_tokens, call.cost_usd, call.response_time_ms)

    def test_watch_sees_every_event(self) -> None:
        """Whatever else passes by is shown to the watcher."""
        seen: list[str] = []
        list(calls_of([request("r"), {"event_type": "run"}], NOW, lambda event: seen.append(event["event_type"])))
        assert ["completion_request", "run"] == seen


class TestTotals:
    """Sums over calls."""

    def totals(self, *events: dict[str, Any]) -> Totals:
        """The totals of these events."""
        return total_by(calls_of(events, NOW), lambda _: ())[1]

    def test_sums(self) -> None:
        """Calls, errors, tokens and times are added up; open requests are counted apart."""
        totals = self.totals(
            request("a"), response("a"), response("b", success=False, cost_estimate_usd=None), request("c")
        )
        assert (2, 1, 1, 0, 450, 300, 150) == (
            totals.calls,
            totals.errors,
            totals.pending,
            totals.orphaned,
            totals.total_tokens,
            totals.prompt_tokens,
            totals.completion_tokens,
        )
        assert 150.0 == totals.tokens_per_second

    def test_costs_are_decimal(self) -> None:
        """Ten cents and twenty are thirty."""
        totals = self.totals(response("a", cost_estimate_usd=0.1), response("b", cost_estimate_usd=0.2))
        assert (Decimal("0.3"), "$0.300000") == (totals.cost_usd, totals.cost_text())

    def test_unknown_cost_is_no_zero(self) -> None:
        """A call without a price makes the sum a lower bound; where none has a price there is no sum."""
        some = self.totals(response("a"), response("b", cost_estimate_usd=None, cost_status="unknown_model"))
        none = self.totals(response("b", cost_estimate_usd=None))
        assert (">= $0.000495", {"unknown_model": 1}) == (some.cost_text(), dict(some.unpriced))
        assert (None, "-", {"no cost recorded": 1}) == (none.cost_usd, none.cost_text(), dict(none.unpriced))

    def test_known_part_of_a_partial_cost(self) -> None:
        """What is known of a partial cost is part of the lower bound."""
        partial = response("a", cost_estimate_usd=None, cost_status="partial", cost_lower_bound_usd=0.002)
        totals = self.totals(partial, response("b", cost_estimate_usd=0.001))
        assert ("at least $0.003000", 1) == (totals.cost_text("at least "), totals.unpriced_calls)

    def test_nothing_costs_nothing(self) -> None:
        """Without calls the cost is known: nothing."""
        assert ("$0.000000", None, None) == (
            Totals().cost_text(),
            Totals().quantile_ms(0.5),
            Totals().tokens_per_second,
        )

    def test_quantiles(self) -> None:
        """Quantiles of the response times are within 1 %."""
        totals = self.totals(*(response(str(number), response_time_ms=number * 10) for number in range(1, 101)))
        assert totals.quantile_ms(0.5) == pytest.approx(500, rel=0.01)
        assert totals.quantile_ms(0.95) == pytest.approx(950, rel=0.01)

    def test_groups(self) -> None:
        """A call in two groups is in each, and once in the whole."""
        groups, whole = total_by(calls_of([response("a"), response("b")], NOW), lambda call: [call.request_id, "all"])
        assert {"a": 1, "b": 1, "all": 2} == {name: totals.calls for name, totals in groups.items()}
        assert 2 == whole.calls

    @given(costs=st.lists(st.one_of(st.none(), st.integers(0, 10**9).map(lambda units: units / 10**10)), max_size=30))
    @settings(max_examples=100)
    def test_column_adds_up(self, costs: list[float | None]) -> None:
        """The sum of the groups is the total, exactly."""
        events = [response(str(number), cost_estimate_usd=cost) for number, cost in enumerate(costs)]
        groups, whole = total_by(calls_of(events, NOW), lambda call: [int(call.request_id) % 3])
        assert whole.at_least_usd == sum((totals.at_least_usd for totals in groups.values()), Decimal())
        assert whole.unpriced_calls == costs.count(None)


class TestFields:
    """Single fields of events."""

    @pytest.mark.parametrize(
        ("decision", "causes"),
        [
            ({"request_id": "a", "caused_by": ["a", "b"]}, ["a", "b"]),
            ({"request_id": None, "caused_by": []}, []),
            ({"request_id": "a"}, ["a"]),
            ({"caused_by": ["b", 1, None]}, ["b"]),
            ({"caused_by": "b"}, []),
        ],
    )
    def test_causes(self, decision: dict[str, Any], causes: list[str]) -> None:
        """The requests that led to a decision are each named once."""
        assert causes == causes_of(decision)

    @pytest.mark.parametrize(
        ("value", "amount"),
        [
            (0.000495, Decimal("0.000495")),
            (0, Decimal(0)),
            (1e-7, Decimal("1E-7")),
            (None, None),
            ("1", None),
            (-1, None),
        ],
    )
    def test_amounts(self, value: object, amount: Decimal | None) -> None:
        """An amount is taken as it was written, digit for digit."""
        assert amount == as_usd(value)

    def test_timestamps(self) -> None:
        """A time without a zone is UTC; what is no time is none."""
        assert (NOW, NOW, None, None) == (
            parse_timestamp("2024-01-15T12:00:00.000Z"),
            parse_timestamp("2024-01-15T12:00:00"),
            parse_timestamp("noon"),
            parse_timestamp(12),
        )
