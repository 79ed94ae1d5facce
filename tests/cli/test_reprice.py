"""`structllm reprice`: calls priced again, and corrections beside the log."""

import json
import secrets
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from structllm import create_llm_logger
from structllm.events import event_fields, json_schema
from structllm.query import Corrections, calls_of
from tests.cli.conftest import Run
from tests.cli.recording import START, LogBuilder

LISTED = {"cost_source": "genai-prices", "price_model": "openai/o3-mini", "price_version": "genai-prices/0.0.1"}
RECORDED: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("o3-mini", "openai", {"prompt_tokens": 150, "completion_tokens": 75}, {}),
    (
        *("o3-mini", "openai"),
        {"prompt_tokens": 150, "completion_tokens": 75, "prompt_tokens_details": {"cached_tokens": 100}},
        {"service_tier": "flex"},
    ),
    (
        *("claude-sonnet-4-5", "anthropic"),
        {
            "input_tokens": 5000,
            "output_tokens": 500,
            "cache_read_input_tokens": 2000,
            "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
            "cache_creation_input_tokens": 3000,
        },
        {},
    ),
    (
        "gemini-2.5-pro",
        "google",
        {"promptTokenCount": 200_001, "candidatesTokenCount": 10, "totalTokenCount": 200_011},
        {},
    ),
    ("o3-mini", "openai", {"total_tokens": 225}, {}),
    ("no-such-model", "openai", {"prompt_tokens": 150, "completion_tokens": 75}, {}),
    ("o3-mini", "openai", {"prompt_tokens": 150, "completion_tokens": 75}, {"cache_hit": True}),
    ("o3-mini", "openai", {}, {"success": False, "error": "cancelled"}),
]
"""Model, provider, usage and further fields of calls that are priced in different ways, or not at all."""

CORRECTIONS = Path("logs/cost_corrections.jsonl")
LOG = Path("logs/x.log")
WRONG_USD, RIGHT_USD = 0.000675, 0.000495  # 150 and 75 tokens of o3-mini: 150 * 1.10 + 75 * 4.40 millionths


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the events of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def report(run: Run, *arguments: object) -> dict[str, Any]:
    """Run `reprice --json` and return what it says."""
    result = run("reprice", "--json", *arguments)
    assert 0 == result.exit_code, result.stderr
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


@pytest.fixture
def log(log: LogBuilder) -> LogBuilder:
    """A log whose first call has a wrong cost, whose second had none, and whose third is right."""
    log.call(1, cost_estimate_usd=WRONG_USD, **LISTED)
    log.call(2, cost_estimate_usd=None, cost_status="unknown_model", cost_source=None)
    log.call(3, cost_estimate_usd=RIGHT_USD, **LISTED)
    return log


@pytest.fixture
def path(log: LogBuilder) -> Path:
    """The log as a file in a directory of its own."""
    LOG.parent.mkdir()
    return log.write(LOG)


class TestDifference:
    """What it shows."""

    def test_text(self, run: Run, log: LogBuilder, path: Path) -> None:
        """A row per model with what its calls cost before and after, a total, and what became known."""
        log.call(4, model="house-model", provider=None, cost_estimate_usd=0.5, **LISTED)
        log.call(5, model="other-model", provider=None, cost_estimate_usd=None, cost_status="unknown_model")
        log.call(6, cost_estimate_usd=7.0, cost_source="caller")
        result = run("reprice", log.write(path))
        assert result.stdout == (
            "MODEL        CALLS  CHANGED              BEFORE               AFTER  DIFFERENCE\n"
            "o3-mini          4        2        >= $7.001170           $7.001485  +$0.000315\n"
            "house-model      1        0           $0.500000           $0.500000   $0.000000\n"
            "other-model      1        0                   -                   -           -\n"
            "Total            6        2  at least $7.501170  at least $7.501485  +$0.000315\n"
            "\n"
            "1 call had no known price and has one now.\n"
            "1 call has a price that the present list does not know; it is kept.\n"
            "The cost of 1 call is left alone: not of a price list, or its counts are not in the log.\n"
            "1 of 6 calls has no known price.\n"
        )
        assert "structllm: nothing was written; --write writes 2 corrections\n" == result.stderr
        assert [path] == list(path.parent.iterdir())

    def test_json(self, run: Run, path: Path) -> None:
        """Programs get the numbers."""
        total = report(run, path)["total"]
        assert {
            "calls": 3,
            "corrections": 2,
            "cost_usd_before": 0.00117,
            "cost_usd_after": 0.001485,
            "difference_usd": 0.000315,
            "unpriced_calls_before": 1,
            "unpriced_calls_after": 0,
            "newly_priced": 1,
            "vanished": 0,
            "left_alone": 0,
        } == total

    @pytest.mark.parametrize(("day", "cost"), [("2025-06-09", 0.0045), ("2025-06-10", 0.0009)])
    def test_own_time(self, run: Run, day: str, cost: float) -> None:
        """A call is priced as of the time of its own request, not of today: o3 became cheaper on 2025-06-10."""
        log = LogBuilder(start=START.fromisoformat(f"{day}T12:00:00+00:00"))
        log.call(1, model="o3", cost_estimate_usd=1.0, **LISTED)
        assert cost == report(run, log.write(Path("x.log")))["total"]["cost_usd_after"]

    @pytest.mark.parametrize("source", ["caller", "provider", "structllm-demo"])
    def test_given_costs(self, run: Run, log: LogBuilder, source: str) -> None:
        """What the caller, the provider or a source of the caller's own said is left alone."""
        log.events.clear()
        log.call(9, cost_estimate_usd=7.0, cost_source=source)
        total = report(run, log.write(Path("x.log")))["total"]
        assert (7.0, 0, 1) == (total["cost_usd_after"], total["corrections"], total["left_alone"])

    def test_cached(self, run: Run, log: LogBuilder) -> None:
        """An answer from a cache was not billed, and stays so."""
        log.events.clear()
        log.call(9, cost_estimate_usd=0.0, cost_status="cached")
        total = report(run, log.write(Path("x.log")))["total"]
        assert (0.0, 0, 1) == (total["cost_usd_after"], total["corrections"], total["left_alone"])

    @pytest.mark.parametrize(("bucket", "expected"), [("web_searches", (7.0, 0, 1)), ("output_text", (0.000495, 1, 0))])
    def test_counts_that_are_gone(
        self, run: Run, log: LogBuilder, bucket: str, expected: tuple[float, int, int]
    ) -> None:
        """A price of more than `token_usage` names is left alone where the provider's own usage is not in the log."""
        log.events.clear()
        log.call(9, model="o3-mini", cost_estimate_usd=7.0, cost_breakdown={bucket: 7.0}, **LISTED)
        total = report(run, log.write(Path("x.log")))["total"]
        assert expected == (total["cost_usd_after"], total["corrections"], total["left_alone"])

    def test_overrides(self, run: Run, log: LogBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
        """The settings in effect count: a model of one's own has a price from then on."""
        overrides = [{"model": "house-model", "rates": {"input": "1", "output": "2"}}]
        monkeypatch.setenv("LLM__PRICING__OVERRIDES", json.dumps(overrides))
        log.events.clear()
        log.call(9, model="house-model", provider=None, cost_estimate_usd=None, cost_status="unknown_model")
        assert 0.0003 == report(run, log.write(Path("x.log")))["total"]["cost_usd_after"]

    def test_model_filter(self, run: Run, log: LogBuilder, path: Path) -> None:
        """Only the wanted calls are priced again."""
        assert 0 == report(run, "--model", "gpt-*", path)["total"]["calls"]


class TestRecorded:
    """What the logger itself priced."""

    def test_same_again(self, run: Run) -> None:
        """By the list and settings that priced a call in the first place, it costs the same again."""
        logger = create_llm_logger(log_file="x.log")
        for model, provider, usage, more in RECORDED:
            request_id = logger.log_completion_request("?", model, provider=provider)
            logger.log_completion_response(request_id, {"choices": [], "model": model, "usage": usage}, **more)
        given = logger.log_completion_request("?", "o3-mini")
        logger.log_completion_response(given, "!", token_usage=RECORDED[0][2], cost_estimate_usd=0.25)
        logger.close()
        total = report(run, "x.log")["total"]
        assert (len(RECORDED) + 1, 0, 0) == (total["calls"], total["corrections"], total["vanished"])
        assert total["unpriced_calls_after"] < total["calls"] - 2


class TestWrite:
    """`--write`."""

    def test_event(self, run: Run, log: LogBuilder, path: Path) -> None:
        """A correction is an event of a writer of its own that says what was and what is; the log stays as it is."""
        before = path.read_bytes()
        result = run("reprice", "--write", path)
        assert f"structllm: wrote 2 corrections to {CORRECTIONS}\n" == result.stderr
        assert before == path.read_bytes()
        first, second = lines(CORRECTIONS)
        assert (1, 2) == (first["seq"], second["seq"])
        assert first["writer"] == second["writer"] != log.writer
        assert first["reprice_id"] == second["reprice_id"]
        assert (WRONG_USD, "ok", RIGHT_USD, "ok", "genai-prices", "openai/o3-mini") == tuple(
            first[name]
            for name in (
                *("previous_cost_usd", "previous_cost_status"),
                *("cost_estimate_usd", "cost_status", "cost_source", "price_model"),
            )
        )
        assert (None, "unknown_model", RIGHT_USD) == tuple(
            second[name] for name in ("previous_cost_usd", "previous_cost_status", "cost_estimate_usd")
        )
        assert ("req_0000000000000001", "abc12345") == (first["request_id"], first["session_id"])
        for event in (first, second):
            assert set(event) <= set(event_fields("cost_correction"))
            assert [] == [error.message for error in Draft202012Validator(json_schema()).iter_errors(event)]

    @pytest.mark.parametrize("named", [LOG, LOG.parent])
    def test_twice(self, run: Run, path: Path, named: Path) -> None:
        """A second run finds the corrections by itself, and has nothing to write."""
        assert 2 == report(run, "--write", named)["written"]
        content = CORRECTIONS.read_bytes()
        again = run("reprice", "--write", named)
        assert "structllm: there is nothing to correct; nothing was written\n" == again.stderr
        assert content == CORRECTIONS.read_bytes()

    @pytest.mark.parametrize("integrity", ["chain", "hmac"])
    def test_are_proved_with_the_log(self, run: Run, monkeypatch: pytest.MonkeyPatch, integrity: str) -> None:
        """Corrections of a sealed log are sealed, with its key if it has one; who changes one is found."""
        key = {"hmac_key": secrets.token_hex(16)} if integrity == "hmac" else {}
        sinks = [{"type": "file", "path": str(LOG), "integrity": integrity, **key}]
        logger = create_llm_logger(sinks=sinks)
        request = logger.log_completion_request(model="new-model", prompt="Buy?")
        logger.log_completion_response(
            request, model="new-model", raw_usage={"prompt_tokens": 1, "completion_tokens": 1}
        )
        logger.close()
        override = {"model": "new-model", "rates": {"input": "1", "output": "4"}}
        monkeypatch.setenv("LLM", json.dumps({"sinks": sinks, "pricing": {"overrides": [override]}}))
        assert 0 == run("reprice", "--write", LOG).exit_code
        assert (1, 0) == (len(lines(CORRECTIONS)), run("verify", LOG.parent).exit_code)
        content = CORRECTIONS.read_bytes()
        assert 1 == content.count(b'"previous_cost_usd":null')
        CORRECTIONS.write_bytes(content.replace(b'"previous_cost_usd":null', b'"previous_cost_usd":0.01'))
        altered = run("verify", LOG.parent)
        assert (1, True) == (altered.exit_code, f"{CORRECTIONS}, line 1" in altered.stdout)

    def test_a_key_of_the_variable(
        self, run: Run, log: LogBuilder, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where no settings are at hand, a variable holds the key of the corrections, as it does for `verify`."""
        monkeypatch.setenv("AUDIT_KEY", secrets.token_hex(16))
        assert 0 == run("reprice", "--write", "--hmac-key-env", "AUDIT_KEY", path).exit_code
        assert 0 == run("verify", "--hmac-key-env", "AUDIT_KEY", CORRECTIONS).exit_code
        assert 1 == run("verify", CORRECTIONS).exit_code

    def test_another_place(self, run: Run, path: Path) -> None:
        """Elsewhere, too, a second run writes nothing; who reads has to name that file."""
        result = run("reprice", "--write", "--to", "elsewhere/c.jsonl", path)
        assert (
            "structllm: wrote 2 corrections to elsewhere/c.jsonl\n"
            "structllm: name elsewhere/c.jsonl together with the log where it is to count\n"
        ) == result.stderr
        assert 0 == report(run, "--write", "--to", "elsewhere/c.jsonl", path)["written"]
        cost = json.loads(run("cost", "--json", path, "elsewhere/c.jsonl").stdout)
        assert 0.001485 == cost["total"]["cost_usd"]

    def test_no_place(self, run: Run, log: LogBuilder, path: Path) -> None:
        """Where the log is no file, or logs lie in several directories, the place has to be named."""
        log.write(Path("y.log"))
        for arguments in (["-"], [path, "y.log"]):
            result = run("reprice", "--write", *arguments, stdin=log.text())
            assert (2, True) == (result.exit_code, "--to FILE" in result.stderr)

    def test_standard_input(self, run: Run, log: LogBuilder) -> None:
        """Of standard input, which is read once, corrections go where one says."""
        result = run("reprice", "--write", "--to", "c.jsonl", "-", stdin=log.text())
        assert (0, 2) == (result.exit_code, len(lines(Path("c.jsonl"))))

    def test_unwritable(self, run: Run, path: Path) -> None:
        """A place that cannot be written is one sentence."""
        CORRECTIONS.symlink_to("nowhere")
        result = run("reprice", "--write", path)
        assert 2 == result.exit_code
        assert result.stderr.startswith(f"structllm: cannot write {CORRECTIONS}: ")

    def test_price_that_vanished(self, run: Run, log: LogBuilder) -> None:
        """A known price is never replaced by none."""
        log.events.clear()
        log.call(9, model="house-model", provider=None, cost_estimate_usd=0.5, **LISTED)
        total = report(run, "--write", log.write(Path("x.log")))["total"]
        assert (1, 0, 0.5) == (total["vanished"], total["corrections"], total["cost_usd_after"])


class TestReaders:
    """What the reading commands make of corrections."""

    @pytest.fixture(autouse=True)
    def _corrected(self, run: Run, log: LogBuilder, path: Path) -> None:
        log.decision("req_0000000000000001", "dec_1", caused_by=["req_0000000000000001", "req_0000000000000002"])
        log.write(path)
        assert 0 == run("reprice", "--write", path).exit_code

    @pytest.mark.parametrize("named", [LOG, LOG.parent])
    def test_totals(self, run: Run, named: Path) -> None:
        """Cost, stats and sessions count the corrected costs, whether the log or its directory is named."""
        assert 0.001485 == json.loads(run("cost", "--json", named).stdout)["total"]["cost_usd"]
        stats = json.loads(run("stats", "--json", named).stdout)
        assert (0.001485, 0) == (stats["cost_usd"], stats["unpriced_calls"])
        assert [0.001485] == [session["cost_usd"] for session in json.loads(run("sessions", "--json", named).stdout)]

    def test_decisions(self, run: Run, path: Path) -> None:
        """So does what a decision cost."""
        (decision,) = json.loads(run("decisions", "--json", path).stdout)
        assert (0.00099, 0) == (decision["cost_usd"], decision["unpriced_calls"])

    def test_story(self, run: Run, path: Path) -> None:
        """A call's story tells the response as it was written, and then the correction."""
        story = run("show", "req_0000000000000001", path).stdout
        assert story.index("$0.000675") < story.index("correction  req_0000000000000001")
        assert "  cost            $0.000495, price of openai/o3-mini" in story
        assert "  before          $0.000675\n" in story

    def test_time_stands_still(self, run: Run, log: LogBuilder, path: Path) -> None:
        """A correction is no event of the session: that ended when its last call did."""
        last = log.events[-1]["timestamp"]
        (session,) = json.loads(run("sessions", "--json", path).stdout)
        assert (last, last) == (
            session["last_timestamp"],
            json.loads(run("stats", "--json", path).stdout)["last_timestamp"],
        )

    def test_standard_input(self, run: Run, path: Path) -> None:
        """Of standard input, corrections count wherever they stand."""
        events = path.read_text(), CORRECTIONS.read_text()
        for text in ("".join(events), "".join(reversed(events))):
            assert 0.001485 == json.loads(run("cost", "--json", "-", stdin=text).stdout)["total"]["cost_usd"]


class TestOrder:
    """Which of several corrections counts."""

    @pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
    @pytest.mark.parametrize("beforehand", [True, False])
    def test_newest(self, order: tuple[int, ...], beforehand: bool) -> None:
        """The one with the latest time counts, wherever it stands."""
        log = LogBuilder()
        request_id = log.call(1)
        for cost in (0.25, None, 0.75):
            log.add("cost_correction", request_id=request_id, cost_estimate_usd=cost, cost_status="ok")
        events = [*log.events[:2], *(log.events[2 + index] for index in order)]
        known = None
        if beforehand:
            known = Corrections()
            for event in events:
                known.add(event)
        for stream in (events, events[::-1]):
            (call,) = calls_of(stream, START, None, known)
            assert 0.75 == call.cost_usd

    def test_memory(self, run: Run) -> None:
        """Reading a log that can be read twice holds no calls, however many there are."""

        def peak(count: int) -> int:
            log = LogBuilder()
            for number in range(count):
                log.call(number)
            path = log.write(Path("x.log"))
            log.events.clear()
            tracemalloc.start()
            try:
                run("cost", path)
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        peak(1)  # imports
        assert peak(4000) < peak(400) + 500_000
