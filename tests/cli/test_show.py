"""`structllm show`: one request or decision as a story."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.recording import LogBuilder

STORY = """\
request  req_0000000000000001  2024-01-15 10:30:45.123Z  session abc12345
  model           o3-mini (openai), temperature 0.1, at most 30,000 tokens
  market          symbol BTC-USD  current_price 45230.5  rsi 62.5
  prompt          1,250 characters
  asked
    You are an expert cryptocurrency futures trader.
    Should I buy BTC?

response  req_0000000000000001  2024-01-15 10:30:46.123Z  session abc12345
  outcome         ok after 1.00 s
  model           o3-mini (openai)
  tokens          150+75 tok
  cost            $0.000495
  answered
    {"action": "LONG", "size_pct": 15.0}

decision  dec_0000000000000001  2024-01-15 10:30:47.123Z  session abc12345
  action          LONG 15% BTC-USD @ 45,230.5
  validation      PASSED
  risk            APPROVED - Within risk parameters
  indicators      rsi 62.5  cipher_a_dot 0.75
  caused by       req_0000000000000001
  why
    Bullish momentum with healthy RSI

outcome  dec_0000000000000001  2024-01-15 10:30:56.123Z  session abc12345
  kind            fill
  value           price 45231.0  qty 0.1
  idempotency_key  order-17
"""


@pytest.fixture
def path(trading_log: LogBuilder) -> Path:
    """The short session with an outcome, as a file."""
    trading_log.add(
        "decision_outcome",
        decision_id="dec_0000000000000001",
        kind="fill",
        value={"price": 45231.0, "qty": 0.1},
        idempotency_key="order-17",
    )
    return trading_log.write(Path("x.log"))


class TestShow:
    """What belongs together."""

    @pytest.mark.parametrize(
        "identity", ["req_0000000000000001", "0000000000000001", "dec_0000000000000001", "dec_0000000000000001"[:20]]
    )
    def test_story(self, run: Run, path: Path, identity: str) -> None:
        """Request, response, decision and outcome are told in order, from whichever id one has."""
        result = run("show", "req_0000000000000001" if identity[0] == "0" else identity, path)
        assert STORY == result.stdout
        assert (0, "") == (result.exit_code, result.stderr)

    def test_beginning_of_id(self, run: Run, log: LogBuilder) -> None:
        """The eight characters that other commands show are enough."""
        log.request("req_67890def01234567")
        assert run("show", "67890def", log.write(Path("x.log"))).stdout.startswith("request  req_67890def01234567")

    def test_ambiguous(self, run: Run, path: Path) -> None:
        """A beginning that fits several ids names them."""
        result = run("show", "req_", path)
        assert (2, "") == (result.exit_code, result.stdout)
        assert result.stderr.startswith("structllm: req_ could be any of 5: req_0000000000000001, ")

    def test_unknown(self, run: Run, path: Path) -> None:
        """An id that is not there is a finding, not wrong usage."""
        result = run("show", "req_9", path)
        assert (1, "") == (result.exit_code, result.stdout)
        assert "no request or decision whose id begins with req_9" in result.stderr

    def test_missing(self, run: Run) -> None:
        """A log that is not there is wrong usage."""
        assert 2 == run("show", "req_9", "nothing.log").exit_code

    @pytest.mark.parametrize(
        ("source", "version", "told"),
        [
            ("genai-prices", "genai-prices/0.2.3", "price of openai/o3-mini, genai-prices/0.2.3"),
            ("house", "genai-prices/0.2.3", "price of openai/o3-mini, house genai-prices/0.2.3"),
            ("house", None, "price of openai/o3-mini, house"),
        ],
    )
    def test_price_list(self, run: Run, log: LogBuilder, source: str, version: str | None, told: str) -> None:
        """The price list is named once."""
        log.response("req_1", price_model="openai/o3-mini", cost_source=source, price_version=version)
        assert f"  cost            $0.000495, {told}\n" in run("show", "req_1", log.write(Path("x.log"))).stdout

    def test_decision_of_several_requests(self, run: Run, log: LogBuilder) -> None:
        """A decision is told with every request that led to it, and with no other."""
        first, second = log.call(1), log.call(2)
        log.call(3)
        log.decision(first, "dec_a", caused_by=[first, second])
        events = json.loads(run("show", "dec_a", "--json", log.write(Path("x.log"))).stdout)["events"]
        assert [first, first, second, second, first] == [event["request_id"] for event in events]

    def test_failure(self, run: Run, path: Path) -> None:
        """A failed call says how it failed and what the error said, and its unknown cost is no zero."""
        story = run("show", "req_0000000000000003", path).stdout
        assert "  outcome         error (RateLimitError) after 310 ms\n" in story
        assert "  cost            - (no_usage)\n" in story
        assert "  said\n    429: too many requests\n" in story

    @pytest.mark.parametrize(("age_s", "state"), [(200, "pending for 3m"), (100_000, "orphaned for 1d3h")])
    def test_no_response(self, run: Run, age_s: int, state: str) -> None:
        """A request without a response says for how long it has been waiting."""
        log = LogBuilder(start=datetime.now(UTC) - timedelta(seconds=age_s))
        log.request("req_1")
        assert run("show", "req_1", log.write(Path("x.log"))).stdout.endswith(f"\nno response  req_1  {state}\n")

    def test_json(self, run: Run, path: Path) -> None:
        """Programs get the events as written, and the state of each request."""
        story = json.loads(run("show", "dec_0000000000000001", "--json", path).stdout)
        assert {"req_0000000000000001": "ok"} == story["requests"]
        kinds = ["completion_request", "completion_response", "trading_decision", "decision_outcome"]
        assert kinds == [event["event_type"] for event in story["events"]]
        assert json.loads(path.read_text().splitlines()[0]) == story["events"][0]

    def test_standard_input(self, run: Run, trading_log: LogBuilder) -> None:
        """A log can be piped in, though the story takes two readings."""
        result = run("show", "dec_0000000000000002", "-", stdin=trading_log.text())
        assert ["request", "response", "decision"] == [
            line.split()[0] for line in result.stdout.splitlines() if line and line[0] != " "
        ]

    def test_every_other_field_is_told(self, run: Run, log: LogBuilder) -> None:
        """Fields that the story does not know are shown under their own names, hostile ones made visible."""
        log.request("req_1", strategy="momentum", nested={"a": {"b": [1, 2]}}, flag=True, **{"\x1b[2J": "\u202e\n"})
        story = run("show", "req_1", log.write(Path("x.log"))).stdout
        assert "  strategy        momentum\n" in story
        assert "  nested          a (b 1, 2)\n" in story
        assert "  flag            yes\n" in story
        assert "\\x1b[2J" in story
        assert all(line.isprintable() for line in story.split("\n"))

    def test_prompt_keeps_its_lines(self, run: Run, log: LogBuilder) -> None:
        """A prompt is shown with its own line breaks and no other control characters."""
        log.request("req_1", prompt_preview="first\n\tsecond\r\n\x1b[31mthird")
        story = run("show", "req_1", log.write(Path("x.log"))).stdout
        assert "    first\n    \\x09second\\x0d\n    \\x1b[31mthird\n" in story
