"""Price writes a cost that is a number only where it is known, and says why where it is not."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any, ClassVar

import pytest
import structlog

from structllm import MemorySink, create_llm_logger
from structllm.events import CompletionResponse
from structllm.pricing import Cost, GenaiPrices, open_prices
from structllm.processors.price import Price
from structllm.settings_pricing import PricingSettings
from structllm.usage import Usage

PRICES = GenaiPrices()
VERSION = f"genai-prices/{version('genai-prices')}"


def _response(**fields: Any) -> dict[str, Any]:
    event = {
        "event_type": "completion_response",
        "timestamp": "2026-01-15T10:30:45.123Z",
        "request_id": "req_1",
        "success": True,
        "response_time_ms": 1767.0,
        "model": "o3-mini",
        "provider": "openai",
    }
    return event | fields


def _priced(**fields: Any) -> dict[str, Any]:
    return dict(Price(PRICES)(None, "info", _response(**fields)))


def _added(**fields: Any) -> dict[str, Any]:
    """What pricing adds or changes."""
    before = _response(**fields)
    after = Price(PRICES)(None, "info", dict(before))
    return {name: value for name, value in after.items() if name not in before or before[name] != value}


class _Source:
    """A price source that records what it is asked."""

    def __init__(self, known: Mapping[str, Cost] | None = None) -> None:
        self.known = known or {}
        self.asked: list[tuple[str, str | None, datetime, str | None]] = []

    def price(
        self, usage: Usage, model: str, *, provider: str | None, at: datetime, service_tier: str | None = None
    ) -> Cost | None:
        self.asked.append((model, provider, at, service_tier))
        return self.known.get(model)


class TestStatus:
    def test_ok(self) -> None:
        """150 and 75 tokens of o3-mini are 0.000495 USD, with everything that is needed to check it."""
        expected = {
            "token_usage": {"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225},
            "cost_estimate_usd": 0.000495,
            "cost_status": "ok",
            "cost_source": "genai-prices",
            "price_model": "openai/o3-mini",
            "price_version": VERSION,
            "cost_breakdown": {"input_uncached": 0.000165, "output_text": 0.00033},
        }
        assert expected == _added(token_usage={"prompt_tokens": 150, "completion_tokens": 75})

    @pytest.mark.parametrize("model", ["invented-model", "gpt-9-unknown"])
    def test_unknown_model(self, model: str) -> None:
        """An invented model has no cost; its tokens are counted all the same."""
        expected = {
            "token_usage": {"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225},
            "cost_estimate_usd": None,
            "cost_status": "unknown_model",
        }
        assert expected == _added(model=model, token_usage={"prompt_tokens": 150, "completion_tokens": 75})

    @pytest.mark.parametrize("model", [None, "", 7, ["o3-mini"]])
    def test_no_model(self, model: Any) -> None:
        """Without the name of a model there is no price."""
        event = _priced(model=model, token_usage={"prompt_tokens": 150, "completion_tokens": 75})
        assert ("unknown_model", None) == (event["cost_status"], event["cost_estimate_usd"])

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"token_usage": None},
            {"token_usage": {}},
            {"token_usage": None, "raw_usage": {}},
            {"raw_usage": {"prompt_tokens": None, "completion_tokens": None}},
        ],
    )
    def test_no_usage(self, fields: dict[str, Any]) -> None:
        """Without counts tokens and cost are null: both keys are there."""
        event = _priced(**fields)
        assert ("no_usage", None, None) == (event["cost_status"], event["token_usage"], event["cost_estimate_usd"])
        assert "cost_flags" not in event

    def test_no_split(self) -> None:
        """A total alone has no price."""
        expected = {"cost_estimate_usd": None, "cost_status": "no_split"}
        assert expected == _added(token_usage={"total_tokens": 200})

    @pytest.mark.parametrize(
        ("usage", "reason"),
        [
            ({"prompt_tokens": -1, "completion_tokens": 2}, "negative"),
            ({"prompt_tokens": "150", "completion_tokens": 2}, "not_a_count"),
            ({"prompt_tokens": float("nan"), "completion_tokens": 2}, "not_a_count"),
            ({"prompt_tokens": 1, "completion_tokens": 2, "cached_tokens": 5}, "parts_exceed_whole"),
            ({"tokens_of_tomorrow": 4}, "no_counts"),
        ],
    )
    def test_bad_usage(self, usage: dict[str, Any], reason: str) -> None:
        """Counts that cannot be read give null and the reason, and are kept as they came."""
        expected = {
            "token_usage": None,
            "raw_usage": usage,
            "cost_estimate_usd": None,
            "cost_status": "bad_usage",
            "cost_flags": [reason],
        }
        assert expected == _added(token_usage=usage)

    def test_bad_usage_that_is_no_object(self) -> None:
        """What is given instead of counts is kept in an object, which is what the field holds."""
        expected = {
            "token_usage": None,
            "raw_usage": {"token_usage": "lots"},
            "cost_estimate_usd": None,
            "cost_status": "bad_usage",
            "cost_flags": ["not_an_object"],
        }
        assert expected == _added(token_usage="lots")

    def test_partial(self) -> None:
        """Where a kind of token has no rate the known part is a lower bound, and no cost."""
        raw = {"prompt_tokens": 169, "completion_tokens": 10, "prompt_tokens_details": {"audio_tokens": 69}}
        expected = {
            "token_usage": {
                "prompt_tokens": 169,
                "completion_tokens": 10,
                "total_tokens": 179,
                "audio_input_tokens": 69,
            },
            "cost_estimate_usd": None,
            "cost_lower_bound_usd": 0.000154,
            "cost_status": "partial",
            "cost_source": "genai-prices",
            "cost_flags": ["no_rate:input_audio"],
            "price_model": "openai/o3-mini",
            "price_version": VERSION,
            "cost_breakdown": {"input_uncached": 0.00011, "output_text": 0.000044},
        }
        assert expected == _added(raw_usage=raw)

    @pytest.mark.parametrize("fields", [{"cache_hit": True}, {"cost_status": "cached"}])
    def test_cached(self, fields: dict[str, Any]) -> None:
        """An answer from the caller's own cache costs nothing, whatever tokens it repeats."""
        event = _priced(token_usage={"prompt_tokens": 150, "completion_tokens": 75}, **fields)
        assert ("cached", 0.0) == (event["cost_status"], event["cost_estimate_usd"])
        assert 225 == event["token_usage"]["total_tokens"]
        assert "price_model" not in event

    LANGCHAIN_HIT: ClassVar[dict[str, Any]] = {
        "input_tokens": 150,
        "output_tokens": 75,
        "total_tokens": 225,
        "total_cost": 0,
    }

    @pytest.mark.parametrize("source", [None, "usage_metadata"])
    def test_cached_by_langchain(self, source: str | None) -> None:
        """LangChain's cache repeats the first answer's counts with a total cost of 0."""
        event = _priced(raw_usage=self.LANGCHAIN_HIT, usage_source=source)
        assert ("cached", 0.0) == (event["cost_status"], event["cost_estimate_usd"])

    @pytest.mark.parametrize(
        "fields",
        [
            {"raw_usage": LANGCHAIN_HIT, "usage_source": "response"},
            {"raw_usage": LANGCHAIN_HIT | {"total_cost": False}},
            {"raw_usage": LANGCHAIN_HIT | {"total_cost": 0.1}},
            {"raw_usage": LANGCHAIN_HIT | {"total_cost": None}},
            {"raw_usage": {"prompt_tokens": 150, "completion_tokens": 75, "total_cost": 0}},
            {"raw_usage": LANGCHAIN_HIT | {"provider_field": 1}},
        ],
    )
    def test_other_total_costs_are_no_cache_hit(self, fields: dict[str, Any]) -> None:
        """A field of that name in a provider's own object says nothing about a cache."""
        assert "cached" != _priced(**fields)["cost_status"]

    @pytest.mark.parametrize("hit", [False, None, "no", 1])
    def test_only_true_is_a_cache_hit(self, hit: Any) -> None:
        """A cache that was asked in vain saves nothing, nor does a word about it."""
        event = _priced(token_usage={"prompt_tokens": 150, "completion_tokens": 75}, cache_hit=hit)
        assert 0.000495 == event["cost_estimate_usd"]


class TestTier:
    COUNTS: ClassVar[dict[str, Any]] = {"prompt_tokens": 1, "completion_tokens": 1}

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"service_tier": "flex"}, "flex"),
            ({"service_tier": "flex", "raw_usage": {**COUNTS, "service_tier": "batch"}}, "flex"),
            ({"raw_usage": {**COUNTS, "service_tier": "batch"}}, "batch"),
            ({"raw_usage": {**COUNTS, "speed": "fast"}}, "fast"),
            ({"raw_usage": {**COUNTS, "speed": "standard"}}, None),
            ({"raw_usage": {**COUNTS, "input_token_details": {"priority_cache_read": 1, "cache_read": 0}}}, "priority"),
            ({"raw_usage": {**COUNTS, "output_token_details": {"flex": 1}}}, "flex"),
            ({"raw_usage": {**COUNTS, "trafficType": "ON_DEMAND_PRIORITY"}}, "priority"),
            ({"raw_usage": {**COUNTS, "trafficType": "ON_DEMAND"}}, None),
            ({"raw_usage": {**COUNTS, "trafficType": 7}}, None),
        ],
    )
    def test_where_it_is_said(self, fields: dict[str, Any], expected: str | None) -> None:
        """The tier is that of the event, else the one that providers and LangChain write among the counts."""
        source = _Source()
        Price(source)(None, "info", _response(**{"raw_usage": self.COUNTS, **fields}))
        assert [expected] == [asked[3] for asked in source.asked]

    def test_not_listed(self) -> None:
        """A tier that may be cheaper than the listed one has neither cost nor bound."""
        added = _added(service_tier="flex", token_usage={"prompt_tokens": 150, "completion_tokens": 75})
        assert (None, "partial", ["tier_not_listed"], {}) == (
            added["cost_estimate_usd"],
            added["cost_status"],
            added["cost_flags"],
            added["cost_breakdown"],
        )
        assert "cost_lower_bound_usd" not in added

    def test_not_listed_but_dearer(self) -> None:
        """A tier that is dearer than the listed one costs at least the listed price."""
        added = _added(service_tier="priority", token_usage={"prompt_tokens": 150, "completion_tokens": 75})
        assert (None, 0.000495) == (added["cost_estimate_usd"], added["cost_lower_bound_usd"])

    def test_traffic_of_a_model_with_one_price(self) -> None:
        """What Vertex says of a call's traffic is doubtful, not decisive, where the list knows one price only."""
        raw = {"promptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 6, "trafficType": "ON_DEMAND_FLEX"}
        event = _priced(model="gemini-2.0-flash", provider="google", raw_usage=raw)
        assert ("ok", ["tier_not_listed"], 0.0000009) == (
            event["cost_status"],
            event["cost_flags"],
            event["cost_estimate_usd"],
        )


class TestProviderCost:
    SOURCE = open_prices(PricingSettings())

    def _priced(self, **fields: Any) -> dict[str, Any]:
        return dict(Price(self.SOURCE)(None, "info", _response(**fields)))

    @pytest.mark.parametrize("cost", [0.25, 0])
    def test_is_the_cost(self, cost: float) -> None:
        """What a router says that a call cost is its cost, nothing included, and needs no list."""
        raw = {"prompt_tokens": 150, "completion_tokens": 75, "cost": cost}
        event = self._priced(provider="openrouter", model="x/unheard-of", raw_usage=raw)
        assert (cost, "ok", "provider") == (event["cost_estimate_usd"], event["cost_status"], event["cost_source"])
        assert set() == {"price_model", "price_version", "cost_breakdown"} & event.keys()

    @pytest.mark.parametrize("model", [None, ""])
    def test_needs_no_model(self, model: str | None) -> None:
        """Nor does it need the name of a model."""
        raw = {"prompt_tokens": 150, "completion_tokens": 75, "cost": 0.25}
        assert 0.25 == self._priced(provider="openrouter", model=model, raw_usage=raw)["cost_estimate_usd"]

    def test_base_url(self) -> None:
        """A base URL says better than the client's word who served a call."""
        usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
        url = "https://api.groq.com/openai/v1"
        event = self._priced(model="llama-3.3-70b-versatile", base_url=url, token_usage=usage)
        assert "groq/llama-3.3-70b-versatile" == event["price_model"]

    @pytest.mark.parametrize("url", ["http://[broken", "https://nowhere.example", "", 7, "x" * 5000])
    def test_other_base_urls(self, url: Any) -> None:
        """A base URL that says nothing leaves the provider as it is."""
        usage = {"prompt_tokens": 150, "completion_tokens": 75}
        assert 0.000495 == self._priced(base_url=url, token_usage=usage)["cost_estimate_usd"]


class TestNotice:
    def _told(self, models: list[Any], **fields: Any) -> list[tuple[str, str]]:
        told: list[tuple[str, str]] = []
        price = Price(PRICES, notice=lambda reason, text: told.append((reason, text)))
        for model in models:
            usage = {"prompt_tokens": 150, "completion_tokens": 75}
            price(None, "info", _response(**{"model": model, "token_usage": usage, **fields}))
        return told

    def test_once_per_model(self) -> None:
        """People are told of an unknown model once, whatever they call it between."""
        told = self._told(["gpt-9", "o3-mini", "gpt-9", "gpt-10", "gpt-9"])
        assert ["price:openai:gpt-9", "price:openai:gpt-10"] == [reason for reason, _ in told]
        assert "no price is known for model 'gpt-9' of provider 'openai'" in told[0][1]

    @pytest.mark.parametrize(
        "fields",
        [
            {"token_usage": None},
            {"token_usage": {"total_tokens": 5}},
            {"model": None},
            {"cost_estimate_usd": 1.0},
            {"cache_hit": True},
        ],
    )
    def test_not_of_other_reasons(self, fields: dict[str, Any]) -> None:
        """Where something else is missing than a price, nothing is said about prices."""
        assert [] == self._told(["gpt-9"], **fields)

    def test_is_bounded(self) -> None:
        """Names drawn at random fill neither memory nor console; the last notice says that it is the last."""
        told = self._told([f"gpt-9-{number}" for number in range(300)])
        assert 256 == len(told)
        assert ["not named" in text for _, text in told] == [False] * 255 + [True]

    def test_name_is_printable(self) -> None:
        """A name that would disturb a console is shown without what disturbs."""
        ((_, text),) = self._told(["\x1b[31mred\n" + "x" * 500])
        assert text.isprintable()
        assert len(text) < 300

    def test_through_the_logger(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A logger says it on stderr, once."""
        sink = MemorySink()
        logger = create_llm_logger(settings={}, sinks=[sink])
        for _ in range(3):
            request_id = logger.log_completion_request(prompt="x", model="gpt-9-unknown", provider="openai")
            usage = {"prompt_tokens": 150, "completion_tokens": 75}
            logger.log_completion_response(request_id=request_id, response="y", response_time=0.1, token_usage=usage)
        logger.close()
        assert 1 == capsys.readouterr().err.count("gpt-9-unknown")
        costs = [event["cost_estimate_usd"] for event in sink.events if event["event_type"] == "completion_response"]
        assert [None] * 3 == costs


class TestCallerCost:
    @pytest.mark.parametrize("cost", [0.0125, 0, 3])
    def test_is_kept(self, cost: float) -> None:
        """A cost that the caller gives is kept and its source named."""
        usage = {"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225}
        expected = {"cost_source": "caller", "cost_status": "ok"}
        assert expected == _added(token_usage=usage, cost_estimate_usd=cost)

    def test_needs_no_usage(self) -> None:
        """A given cost does not depend on counts."""
        event = _priced(cost_estimate_usd=0.5)
        assert (0.5, "ok", None) == (event["cost_estimate_usd"], event["cost_status"], event["token_usage"])

    def test_named_source(self) -> None:
        """A caller may say where its cost comes from."""
        assert "invoice" == _priced(cost_estimate_usd=0.5, cost_source="invoice")["cost_source"]

    def test_decimal(self) -> None:
        """A Decimal becomes a JSON number."""
        cost = _priced(cost_estimate_usd=Decimal("0.1"))["cost_estimate_usd"]
        assert (0.1, float) == (cost, type(cost))

    @pytest.mark.parametrize("cost", [None, "0.5", True, -1.0, float("nan"), float("inf"), Decimal("NaN")])
    def test_other_values_are_no_cost(self, cost: Any) -> None:
        """What is no amount of money is replaced by our own price."""
        event = _priced(token_usage={"prompt_tokens": 150, "completion_tokens": 75}, cost_estimate_usd=cost)
        assert (0.000495, "genai-prices") == (event["cost_estimate_usd"], event["cost_source"])

    def test_pricing_twice_changes_nothing(self) -> None:
        """An event that has been priced keeps its cost and its source."""
        price = Price(PRICES)
        once = price(None, "info", _response(token_usage={"prompt_tokens": 150, "completion_tokens": 75}))
        assert dict(once) == price(None, "info", dict(once))


class TestUsage:
    def test_raw_usage_first(self) -> None:
        """The provider's own object knows more than the totals and is left as it is."""
        raw = {"prompt_tokens": 150, "completion_tokens": 75, "prompt_tokens_details": {"cached_tokens": 100}}
        event = _priced(raw_usage=raw, token_usage={"prompt_tokens": 1, "completion_tokens": 1})
        assert raw is event["raw_usage"]
        assert {"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225, "cached_tokens": 100} == event[
            "token_usage"
        ]
        assert 0.00044 == event["cost_estimate_usd"]

    def test_totals_where_raw_usage_cannot_be_read(self) -> None:
        """The totals serve where the provider's object cannot be read, and the event says so."""
        event = _priced(
            raw_usage={"tokens_of_tomorrow": 150}, token_usage={"prompt_tokens": 150, "completion_tokens": 75}
        )
        assert (0.000495, ["no_counts"]) == (event["cost_estimate_usd"], event["cost_flags"])

    def test_detailed_totals_are_kept(self) -> None:
        """Counts in a provider's shape that come as token_usage are kept before they are normalised."""
        given = {"input_tokens": 150, "output_tokens": 75, "cache_creation_input_tokens": 0}
        event = _priced(token_usage=given)
        assert given is event["raw_usage"]
        assert {"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225} == event["token_usage"]

    def test_the_callers_object_is_not_changed(self) -> None:
        """Normalised counts are a new object."""
        given = {"prompt_tokens": 150, "completion_tokens": 75}
        _priced(token_usage=given)
        assert {"prompt_tokens": 150, "completion_tokens": 75} == given


class TestModelAndTime:
    def test_model_that_answered(self) -> None:
        """The model that answered sets the price."""
        source = _Source({"new": Cost(Decimal("0.25"), "test", "p/new", "1", {})})
        event = _response(model="old", response_model="new", token_usage={"prompt_tokens": 1, "completion_tokens": 1})
        assert 0.25 == Price(source)(None, "info", event)["cost_estimate_usd"]
        assert ["new"] == [asked[0] for asked in source.asked]

    def test_model_that_was_asked(self) -> None:
        """Where the model that answered is not in the list yet, the one that was asked for sets the price."""
        usage = {"prompt_tokens": 150, "completion_tokens": 75}
        event = _priced(response_model="o3-mini-2039-01-01-snapshot", token_usage=usage)
        assert ("ok", "openai/o3-mini") == (event["cost_status"], event["price_model"])

    def test_tier_and_provider(self) -> None:
        """Tier and provider go to the price source."""
        source = _Source()
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        Price(source)(None, "info", _response(service_tier="flex", provider="azure", token_usage=usage))
        Price(source)(None, "info", _response(service_tier=5, provider="", token_usage=usage))
        assert [("azure", "flex"), (None, None)] == [(asked[1], asked[3]) for asked in source.asked]

    @pytest.mark.parametrize(
        ("timestamp", "expected"), [("2025-06-10T00:00:01.000Z", 1.4), ("2025-06-10T00:00:02.000Z", 0.28)]
    )
    def test_time_of_the_request(self, timestamp: str, expected: float) -> None:
        """The price is that of the time of the request, not of the response."""
        event = _priced(
            model="o3",
            timestamp=timestamp,
            response_time_ms=1500,
            token_usage={"prompt_tokens": 100_000, "completion_tokens": 10_000},
        )
        assert expected == event["cost_estimate_usd"]

    @pytest.mark.parametrize(
        ("timestamp", "time_ms", "expected"),
        [
            ("2025-06-10T02:00:00+02:00", None, datetime(2025, 6, 10, tzinfo=UTC)),
            ("2025-06-10T00:00:00", None, datetime(2025, 6, 10, tzinfo=UTC)),
            (datetime(2025, 6, 10), "long", datetime(2025, 6, 10, tzinfo=UTC)),
            (1749513600.5, 500, datetime(2025, 6, 10, tzinfo=UTC)),
            ("yesterday", 1, datetime(2030, 1, 1, tzinfo=UTC)),
            (None, None, datetime(2030, 1, 1, tzinfo=UTC)),
            (1e300, None, datetime(2030, 1, 1, tzinfo=UTC)),
            ("2025-06-10T00:00:00Z", float("inf"), datetime(2030, 1, 1, tzinfo=UTC)),
            ("2025-06-10T00:00:00Z", float("nan"), datetime(2025, 6, 10, tzinfo=UTC)),
            ("2025-06-10T00:00:00Z", -5, datetime(2025, 6, 10, tzinfo=UTC)),
        ],
    )
    def test_timestamps_of_other_chains(self, timestamp: Any, time_ms: Any, expected: datetime) -> None:
        """Timestamps come in several kinds; without a readable one the clock is asked."""
        source = _Source()
        event = _response(
            timestamp=timestamp, response_time_ms=time_ms, token_usage={"prompt_tokens": 1, "completion_tokens": 1}
        )
        Price(source, clock=lambda: datetime(2030, 1, 1, tzinfo=UTC))(None, "info", event)
        assert expected == source.asked[0][2]

    def test_system_clock(self) -> None:
        """Without a timestamp, and without a clock of its own, an event is priced as of now."""
        source = _Source()
        before = datetime.now(UTC)
        Price(source)(None, "info", {"model": "m", "token_usage": {"prompt_tokens": 1, "completion_tokens": 1}})
        assert before <= source.asked[0][2] <= datetime.now(UTC)


class TestTracking:
    def test_nothing_is_left(self) -> None:
        """Without tracking tokens and cost are gone, whoever wrote them."""
        event = _response(
            token_usage={"prompt_tokens": 1, "completion_tokens": 1},
            raw_usage={"prompt_tokens": 1},
            usage_source="raw",
            cost_estimate_usd=0.5,
            cost_source="caller",
        )
        assert _response() == Price(PRICES, track_usage=False)(None, "info", event)

    def test_nothing_is_asked(self) -> None:
        """Without tracking no price is looked up."""
        source = _Source()
        event = _response(token_usage={"prompt_tokens": 1, "completion_tokens": 1})
        Price(source, track_usage=False)(None, "info", event)
        assert [] == source.asked


class TestOnError:
    def test_no_cost_is_claimed(self) -> None:
        """After a failure there is no cost, and the event says so."""
        event = _response(cost_estimate_usd=0.5, price_model="x", token_usage={"prompt_tokens": 1})
        expected = _response() | {"token_usage": None, "cost_estimate_usd": None, "cost_status": "bad_usage"}
        assert expected == Price(PRICES).on_error(event)

    def test_without_tracking(self) -> None:
        """Without tracking a failure leaves nothing either."""
        event = _response(cost_estimate_usd=0.5, token_usage={"prompt_tokens": 1})
        assert _response() == Price(PRICES, track_usage=False).on_error(event)


class TestOtherEvents:
    @pytest.mark.parametrize(
        "event",
        [
            {"event_type": "completion_request", "model": "o3-mini"},
            {"event_type": "trading_decision", "action": "HOLD"},
            {"event": "something else"},
            {"event": "no model", "token_usage": {"prompt_tokens": 1, "completion_tokens": 1}},
            {},
        ],
    )
    def test_are_left_alone(self, event: dict[str, Any]) -> None:
        """Events without usage and model are none of its business."""
        assert dict(event) == Price(PRICES)(None, "info", dict(event))

    def test_fields_are_defined(self) -> None:
        """Every field that it writes is in the event's definition."""
        added = _added(raw_usage={"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 12})
        assert set() == set(added) - set(CompletionResponse.__annotations__)

    def test_in_a_foreign_chain(self) -> None:
        """It prices in a chain that knows nothing of this package, with that chain's own timestamp."""
        written: list[dict[str, Any]] = []

        def capture(logger: Any, method_name: str, event_dict: Any) -> Any:
            written.append(dict(event_dict))
            raise structlog.DropEvent

        processors: list[Any] = [structlog.processors.TimeStamper(fmt="iso"), Price(PRICES), capture]
        logger = structlog.wrap_logger(None, processors=processors)
        logger.info("asked", model="o3-mini", token_usage={"prompt_tokens": 150, "completion_tokens": 75})
        assert (0.000495, "ok") == (written[0]["cost_estimate_usd"], written[0]["cost_status"])
