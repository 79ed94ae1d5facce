"""What a cost costs, beside genai-prices, whose list we use; and whether our costs are those worked out by hand.

litellm and tokencost need environments of their own: `compare_prices.py` asks them too.
"""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from benchmarks import compare_prices, price_peers
from benchmarks.racing import Race, Target, Variant
from structllm.pricing import open_prices
from structllm.settings_pricing import PricingSettings
from structllm.usage import read_usage

Pricer = Callable[[price_peers.Record], Callable[[], Decimal]]

BLOCK = 10
RECORDS = {record["name"]: record for record in compare_prices.read_records(compare_prices.RECORDS)}
TIMED = ("openai-chat", "openai-chat-cached", "anthropic-cache", "anthropic-cache-lifetimes", "openai-responses")

NOT_RIGHT = {
    # No rate for audio: structllm says "partial", and what is known.
    "openai-chat-audio-unlisted": "unknown",
    # The list has this tier's rates from a later day on: structllm says "partial", and the standard price as the least.
    "openai-priority-2025": "unknown",
    # The list itself is not up to date, and nothing in it says so.
    "deepseek-after-price-cut": "wrong",
    # The list has the Gemini API's price for this model on Vertex too: structllm does not use it.
    "vertex-own-price": "unknown",
}
"""Records on which structllm is not right, and how it fails."""


def judged(library: str) -> dict[str, str]:
    """Return the verdict on a library's answer, by record."""
    ready = price_peers.LIBRARIES[library]()
    answers = {name: price_peers.answer(ready, record) for name, record in RECORDS.items()}
    return {name: compare_prices.verdict(RECORDS[name], answer) for name, answer in answers.items()}


class TestRecords:
    """The records, and what structllm says of them."""

    @pytest.mark.parametrize("name", [name for name, record in RECORDS.items() if record["micro_usd"] is not None])
    def test_arithmetic(self, name: str) -> None:
        """The cost of a record is what its arithmetic comes to."""
        record = RECORDS[name]
        assert Decimal(record["usd"]) == compare_prices.by_hand(record["micro_usd"])

    def test_structllm(self) -> None:
        """Every cost is the one by hand but for those named above, and none is 0 for want of knowledge."""
        assert NOT_RIGHT == {name: found for name, found in judged("structllm").items() if found != "right"}

    def test_genai_prices(self) -> None:
        """Where bare genai-prices is right structllm is: what is put on top of it breaks nothing."""
        bare = judged("genai-prices")
        assert set() == {name for name in NOT_RIGHT if bare[name] == "right"}


class TestComparison:
    """The script that draws the table."""

    def test_table(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Libraries that are installed are asked, each in its own process, and `--show` names what is not right."""
        records = tmp_path / "records.jsonl"
        named = ("openai-chat", "openai-name-with-provider", "unknown-openai")
        records.write_text("".join(json.dumps(RECORDS[name]) + "\n" for name in named))
        assert 0 == compare_prices.main([str(records), "--rounds", "2", "--starts", "1", "--show"])
        out, err = capsys.readouterr()
        lines = out.splitlines()
        assert lines[2].startswith("| structllm | ")
        assert "| 3 | 0 | 0 | 0 | 0 |" in lines[2]
        assert lines[3].startswith("| genai-prices | ")
        assert "| 2 | 0 | 0 | 1 | 0 |" in lines[3]
        assert "3 records, 1 of which cannot be priced; timed on the 1 that all put a figure on, 2 rounds." in lines[-1]
        assert "openai-name-with-provider (0.0035): genai-prices: unknown: " in err

    @pytest.mark.parametrize(
        ("script", "expected"),
        [("""echo '{"missing": "No module named x"}'""", "No module named x"), ("exit 3", "no answer")],
    )
    def test_left_out(self, tmp_path: Path, closing: ExitStack, script: str, expected: str) -> None:
        """An interpreter that does not have a library, or is none, is passed over for the next one."""
        interpreter = tmp_path / "python"
        interpreter.write_text(f"#!/bin/sh\n{script}\n")
        interpreter.chmod(0o755)
        with pytest.raises(compare_prices.PeerError, match=expected):
            compare_prices.Peer("structllm", str(interpreter))
        peers = compare_prices.find_peers([str(interpreter), sys.executable], closing)
        assert ["structllm", "genai-prices"] == [peer.name for peer in peers][:2]

    @pytest.mark.parametrize(
        ("usd", "answer", "expected"),
        [
            ("0.5", {"usd": 0.5}, "right"),
            ("0.5", {"usd": 0.5 + 1e-8}, "wrong"),
            ("0.5", {"usd": 0.0}, "zero"),
            ("0.5", {"unknown": ""}, "unknown"),
            ("0.5", {"raised": ""}, "raised"),
            ("0", {"usd": 0.0}, "right"),
            (None, {"usd": 0.5}, "wrong"),
            (None, {"usd": 0.0}, "zero"),
            (None, {"unknown": ""}, "right"),
            (None, {"raised": ""}, "right"),
        ],
    )
    def test_verdict(self, usd: str | None, answer: dict[str, Any], expected: str) -> None:
        """A figure has to be the one by hand; where there is none, every refusal is right."""
        assert expected == compare_prices.verdict({"usd": usd}, answer)


class TestPrice:
    """What five calls cost, warm: each variant prices all five in every repetition."""

    def test_price(self, race: Callable[[Race], Race]) -> None:
        """Token counts in hand, both come to the same costs; then what each takes."""
        snapshot, prices = get_snapshot(), open_prices(PricingSettings())

        def bare(record: price_peers.Record) -> Callable[[], Decimal]:
            provider, model, at = record["provider"], record["model"], datetime.fromisoformat(record["at"])
            flavor = price_peers.GENAI_FLAVORS.get(record["api"], "default")
            usage = snapshot.extract_usage(record, provider_id=provider, api_flavor=flavor).usage
            return lambda: snapshot.calc(usage, model, provider, None, at, None).total_price

        def ours(record: price_peers.Record) -> Callable[[], Decimal]:
            provider, model, at = record["provider"], record["model"], datetime.fromisoformat(record["at"])
            usage = read_usage(record["usage"])

            def price() -> Decimal:
                cost = prices.price(usage, model, provider=provider, at=at)
                assert cost is not None
                return cost.cost_usd

            return price

        race(self.race_of("five prices, token counts in hand", bare, ours))

    def test_usage_and_price(self, race: Callable[[Race], Race]) -> None:
        """From the provider's usage, both come to the same costs; then what each takes."""

        def asked(name: str) -> Callable[[price_peers.Record], Callable[[], Decimal]]:
            library = price_peers.LIBRARIES[name]()
            return lambda record: lambda: Decimal(repr(library.price(record)))

        race(self.race_of("five prices, from the provider's usage", asked("genai-prices"), asked("structllm")))

    def race_of(self, title: str, bare: Pricer, ours: Pricer) -> Race:
        """Check that both answer what is worked out by hand, and let them race."""
        calls = {
            "genai-prices": [bare(RECORDS[name]) for name in TIMED],
            "structllm": [ours(RECORDS[name]) for name in TIMED],
        }
        expected = [Decimal(RECORDS[name]["usd"]) for name in TIMED]
        for each in calls.values():
            assert expected == [call() for call in each]
        variants = [Variant(name, repeat_all(each)) for name, each in calls.items()]
        return Race(title, variants, BLOCK, [Target("structllm", "genai-prices", 5.0, faster=True)])


def repeat_all(calls: Sequence[Callable[[], Decimal]]) -> Callable[[int], None]:
    """Make every call a number of times."""

    def run(count: int) -> None:
        for _ in range(count):
            for call in calls:
                call()

    return run
