"""`structllm stats`, `cost`, `errors`, `decisions` and `sessions`."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from structllm.cli.source import LOG_NAMES
from tests.cli.conftest import Run
from tests.cli.recording import START, WRITER, LogBuilder

REPORTS = ["stats", "cost", "errors", "decisions", "sessions"]


@pytest.fixture
def path(trading_log: LogBuilder) -> Path:
    """The short session as a file."""
    return trading_log.write(Path("x.log"))


class TestEveryReport:
    """What all of them have in common."""

    @pytest.mark.parametrize("command", REPORTS)
    def test_missing(self, run: Run, command: str) -> None:
        """A log that is not there is wrong usage, in one sentence."""
        result = run(command, "nothing.log")
        assert (2, "", 1) == (result.exit_code, result.stdout, result.stderr.count("\n"))

    @pytest.mark.parametrize("command", REPORTS)
    def test_empty(self, run: Run, command: str) -> None:
        """An empty log is no error, and no table."""
        Path("x.log").touch()
        result = run(command, "x.log")
        assert (0, "", "structllm: no events yet in x.log\n") == (result.exit_code, result.stdout, result.stderr)

    @pytest.mark.parametrize("command", REPORTS)
    def test_directory_without_logs(self, run: Run, command: str) -> None:
        """Of a directory without log files, the command says what it looked for."""
        Path("d").mkdir()
        Path("d/notes.txt").touch()
        result = run(command, "d")
        assert (0, "") == (result.exit_code, result.stdout)
        assert (
            "structllm: no log files in d (looked for *.log, *.jsonl, *.ndjson, rotated and compressed ones too)\n"
        ) == result.stderr

    @pytest.mark.parametrize("pattern", LOG_NAMES.split(", "))
    def test_every_named_suffix_is_found(self, run: Run, log: LogBuilder, pattern: str) -> None:
        """What is said to be looked for is found."""
        Path("d").mkdir()
        log.call(1)
        log.write(Path("d", pattern.replace("*", "x")))
        assert (0, "") == (run("stats", "d").exit_code, run("stats", "d").stderr)

    @pytest.mark.parametrize("command", REPORTS)
    def test_json_of_nothing(self, run: Run, command: str) -> None:
        """Programs get valid JSON of an empty log as well."""
        Path("x.log").touch()
        assert isinstance(json.loads(run(command, "--json", "x.log").stdout), dict | list)

    @pytest.mark.parametrize("command", REPORTS)
    def test_no_wide_characters_needed(self, run: Run, path: Path, command: str) -> None:
        """Outside a terminal, tables are plain text without trailing spaces."""
        output = run(command, path).stdout
        assert output.isascii()
        assert output.splitlines() == [line.rstrip() for line in output.splitlines()]

    @pytest.mark.parametrize("command", REPORTS)
    def test_duplicates(self, run: Run, path: Path, command: str) -> None:
        """A copy of the log changes nothing but is mentioned."""
        once = run(command, path)
        Path("copy.log").write_bytes(path.read_bytes())
        twice = run(command, path, "copy.log")
        assert once.stdout == twice.stdout
        assert "structllm: skipped 11 duplicates (same writer and seq)\n" in twice.stderr

    @pytest.mark.parametrize("command", REPORTS)
    def test_session_filter(self, run: Run, path: Path, command: str) -> None:
        """A session that is not there leaves nothing."""
        assert "no such" in run(command, "--session", "zzz", path).stderr

    @pytest.mark.parametrize("command", REPORTS)
    def test_hostile_names(self, run: Run, log: LogBuilder, command: str) -> None:
        """Names of models, sessions, actions and errors cannot act on a terminal."""
        evil = "\x1b[2J\u202e\nx"
        log.session = evil
        log.request("req_1", model=evil, market_context={"symbol": evil})
        log.failure("req_1", error_type=evil, error_message=evil, model=evil, cost_status=evil)
        log.decision("req_1", "dec_1", action=evil, symbol=evil, rationale=evil, validation_result=evil)
        result = run(command, *(["--by", "symbol,model"] if command == "cost" else []), log.write(Path("x.log")))
        assert result.stdout
        assert all(line.isprintable() for line in result.output.split("\n"))


class TestStats:
    """`structllm stats`."""

    def test_text(self, run: Run, path: Path) -> None:
        """Totals first, then a row per model."""
        result = run("stats", path)
        assert result.stdout == (
            "calls      4, 1 (25.0%) failed, 1 orphaned\n"
            "period     01-15 10:30:45Z to 01-15 10:30:55Z (10s)\n"
            "sessions   1\n"
            "latency    p50 1.00 s  p95 1.75 s  p99 1.75 s\n"
            "tokens     675 (450 prompt, 225 completion)\n"
            "speed      133 tokens/s\n"
            "cost       at least $0.001595 (2 calls without a known price)\n"
            "decisions  2: 1 LONG, 1 HOLD\n"
            "\n"
            "MODEL        CALLS  ERRORS     P50     P95     P99  TOKENS  TOK/S          COST\n"
            "o3-mini          3       1  1.00 s  1.00 s  1.00 s     450    136  >= $0.001595\n"
            "house-model      1       0  1.77 s  1.77 s  1.77 s     225    127             -\n"
        )
        assert 0 == result.exit_code

    def test_json(self, run: Run, path: Path) -> None:
        """Programs get numbers, under the names that events use."""
        stats = json.loads(run("stats", "--json", path).stdout)
        assert (4, 1, 0.75, 675, 0.001595, 2, 1, {"LONG": 1, "HOLD": 1}) == (
            stats["total_completions"],
            stats["orphaned"],
            stats["success_rate"],
            stats["total_tokens"],
            stats["cost_usd"],
            stats["unpriced_calls"],
            stats["sessions"],
            stats["decisions"],
        )
        assert (1, None) == tuple(stats["by_model"]["house-model"][name] for name in ("total_completions", "cost_usd"))

    def test_guide_numbers(self, run: Run, log: LogBuilder) -> None:
        """Ten calls of 1,520 ms with 225 tokens each are 148 tokens per second."""
        for number in range(10):
            log.call(number, response_time_ms=1520)
        stats = json.loads(run("stats", "--json", log.write(Path("x.log"))).stdout)
        assert (2250, 148.0, 0.00495) == (stats["total_tokens"], stats["tokens_per_second"], stats["cost_usd"])

    def test_pending(self, run: Run) -> None:
        """A request that was just made is pending, not lost."""
        log = LogBuilder(start=datetime.now(UTC) - timedelta(seconds=20))
        log.request("req_1")
        assert run("stats", log.write(Path("x.log"))).stdout.startswith("calls      0, 0 failed, 1 pending\n")

    def test_model_filter(self, run: Run, path: Path) -> None:
        """Only the calls of a model are counted."""
        assert 1 == json.loads(run("stats", "--model", "house-*", "--json", path).stdout)["total_completions"]


class TestCost:
    """`structllm cost`."""

    def test_text(self, run: Run, path: Path) -> None:
        """The dearest first; an unknown cost is a dash, and the total a lower bound."""
        result = run("cost", path)
        assert result.stdout == (
            "MODEL        CALLS  PROMPT  COMPLETION  TOKENS                COST  UNPRICED\n"
            "o3-mini          3     300         150     450        >= $0.001595         1\n"
            "house-model      1     150          75     225                   -         1\n"
            "Total            4     450         225     675  at least $0.001595         2\n"
            "\n"
            "2 of 4 calls have no known price: 1 reported no usage, 1 of a model that is not in the price list.\n"
        )
        assert "structllm: 1 request without a response not counted\n" == result.stderr

    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            ("no_usage", "1 reported no usage"),
            ("house_status", "1 with the status house_status"),
            (None, "1 have none recorded"),
        ],
    )
    def test_reason(self, run: Run, log: LogBuilder, status: str | None, reason: str) -> None:
        """The footnote tells in words why a price is not known."""
        log.call(1)
        log.call(2, cost_estimate_usd=None, cost_status=status)
        assert run("cost", log.write(Path("x.log"))).stdout.endswith(f"\n1 of 2 calls has no known price: {reason}.\n")

    def test_all_priced(self, run: Run, log: LogBuilder) -> None:
        """Where every price is known, the total is exact and says so by saying nothing."""
        log.call(1, cost_estimate_usd=0.1)
        log.call(2, cost_estimate_usd=0.2)
        *_, total = run("cost", log.write(Path("x.log"))).stdout.splitlines()
        assert "Total        2     300         150     450  $0.300000         -" == total

    @pytest.mark.parametrize(
        ("by", "rows"),
        [
            ("model", {("o3-mini",): 3, ("house-model",): 1}),
            ("day", {("2024-01-15",): 4}),
            ("session", {("abc12345",): 4}),
            ("symbol", {("BTC-USD",): 4}),
            ("provider", {("openai",): 4}),
            ("decision", {("dec_0000000000000001",): 1, ("dec_0000000000000002",): 1, ("(none)",): 2}),
            ("model,symbol", {("o3-mini", "BTC-USD"): 3, ("house-model", "BTC-USD"): 1}),
        ],
    )
    def test_groups(self, run: Run, path: Path, by: str, rows: dict[tuple[str, ...], int]) -> None:
        """Calls are added up by what is asked for, and every call is in the total once."""
        report = json.loads(run("cost", "--by", by, "--json", path).stdout)
        assert rows == {tuple(row[name] for name in by.split(",")): row["calls"] for row in report["rows"]}
        assert (4, 0.001595, 2) == tuple(report["total"][name] for name in ("calls", "cost_usd", "unpriced_calls"))

    def test_call_of_two_decisions(self, run: Run, log: LogBuilder) -> None:
        """A call that led to two decisions is in the row of each, and in the total once."""
        request_id = log.call(1)
        log.decision(request_id, "dec_a")
        log.decision(None, "dec_b", caused_by=[request_id])
        report = json.loads(run("cost", "--by", "decision", "--json", log.write(Path("x.log"))).stdout)
        assert [("dec_a", 0.000495), ("dec_b", 0.000495)] == [
            (row["decision"], row["cost_usd"]) for row in report["rows"]
        ]
        assert 0.000495 == report["total"]["cost_usd"]

    def test_symbol_of_the_decision(self, run: Run, log: LogBuilder) -> None:
        """A call whose request names no symbol has that of its decision."""
        log.request("req_1", market_context={})
        log.response("req_1")
        log.decision("req_1", "dec_1", symbol="SOL-USD")
        report = json.loads(run("cost", "--by", "symbol", "--json", log.write(Path("x.log"))).stdout)
        assert ["SOL-USD"] == [row["symbol"] for row in report["rows"]]

    def test_days_in_order(self, run: Run, log: LogBuilder) -> None:
        """Days are in the order of the calendar, and a call belongs to the day on which it was asked."""
        log.call(1, cost_estimate_usd=0.1)
        log.now = START.replace(hour=23, minute=59, second=59)
        log.call(2, cost_estimate_usd=0.2)
        log.now = START + timedelta(days=1)
        log.call(3, cost_estimate_usd=5.0)
        report = json.loads(run("cost", "--by", "day", "--json", log.write(Path("x.log"))).stdout)
        assert [("2024-01-15", 0.3), ("2024-01-16", 5.0)] == [(row["day"], row["cost_usd"]) for row in report["rows"]]

    def test_unknown_group(self, run: Run, path: Path) -> None:
        """A group that does not exist is wrong usage and names those that do."""
        result = run("cost", "--by", "model,colour", path)
        assert 2 == result.exit_code
        assert "'colour' is none of model, day, session, symbol, decision, provider" in result.stderr


class TestErrors:
    """`structllm errors`."""

    def test_text(self, run: Run, log: LogBuilder) -> None:
        """The most frequent type first, each with its latest example; finding errors is no failure."""
        for number in (1, 2):
            log.failure(f"req_{number}", error_message=f"try {number}")
        log.failure("req_3", "TimeoutError", model="gpt-4o", error_message="no answer\nin 30 s")
        result = run("errors", log.write(Path("x.log")))
        assert result.stdout == (
            "ERROR           COUNT  MODELS   LAST             REQUEST  MESSAGE\n"
            "RateLimitError      2  o3-mini  01-15 10:30:46Z  req_2    try 2\n"
            "TimeoutError        1  gpt-4o   01-15 10:30:47Z  req_3    no answer in 30 s\n"
        )
        assert 0 == result.exit_code

    @pytest.mark.parametrize("failures", [0, 1, 3])
    def test_count(self, run: Run, log: LogBuilder, failures: int) -> None:
        """The count alone is a number, and equals what grep counts in the file."""
        log.call(1)
        for number in range(failures):
            log.failure(f"req_{number}")
        path = log.write(Path("x.log"))
        assert f"{failures}\n" == run("errors", "--count", path).stdout
        assert failures == json.loads(run("errors", "--count", "--json", path).stdout)
        assert failures == path.read_text().count('"success":false')

    def test_json(self, run: Run, path: Path) -> None:
        """Programs get the groups by type."""
        report = json.loads(run("errors", "--json", path).stdout)
        assert 1 == report["errors"]
        assert {"count": 1, "models": {"o3-mini": 1}, "last_request_id": "req_0000000000000003"}.items() <= (
            report["by_type"]["RateLimitError"].items()
        )

    @pytest.mark.parametrize("message", [None, "", " \n"])
    def test_no_message(self, run: Run, log: LogBuilder, message: str | None) -> None:
        """A failure that said nothing says so."""
        log.failure("req_1", error_message=message)
        assert run("errors", log.write(Path("x.log"))).stdout.endswith("  req_1    (no message)\n")

    def test_dropped(self, run: Run, log: LogBuilder) -> None:
        """What sinks dropped is told as well: calls among it may have failed. It is no failed call itself."""
        log.add("log_gap", "WARNING", sink="file", dropped={"disk_full": 2}, dropped_total=2)
        path = log.write(Path("x.log"))
        sentence = "wtr_00000000000000aa: sink 'file' dropped 2 records (disk_full)"
        result = run("errors", path)
        assert (f"{sentence}\n", "") == (result.stdout, result.stderr)
        assert {"errors": 0, "by_type": {}, "dropped": [sentence]} == json.loads(run("errors", "--json", path).stdout)
        assert "0\n" == run("errors", "--count", path).stdout

    def test_no_type(self, run: Run, log: LogBuilder) -> None:
        """A failure without a type is grouped by its outcome."""
        log.failure("req_1", error_type=None, outcome="cancelled")
        assert ["cancelled"] == list(json.loads(run("errors", "--json", log.write(Path("x.log"))).stdout)["by_type"])


class TestDecisions:
    """`structllm decisions`."""

    def test_text(self, run: Run, trading_log: LogBuilder) -> None:
        """A row per decision with what it cost and what became of it."""
        for _ in range(2):  # delivered twice under one key
            trading_log.add(
                "decision_outcome", decision_id="dec_0000000000000001", kind="fill", idempotency_key="order-17"
            )
        assert run("decisions", trading_log.write(Path("x.log"))).stdout == (
            "TIME             DECISION              ACTION  SIZE  SYMBOL      PRICE  VALIDATION  MODEL         COST  "
            "OUTCOME  WHY\n"
            "01-15 10:30:47Z  dec_0000000000000001  LONG     15%  BTC-USD  45,230.5  PASSED      o3-mini  $0.000495  "
            "fill     Bullish momentum with healthy RSI\n"
            "01-15 10:30:50Z  dec_0000000000000002  HOLD     15%  BTC-USD  45,230.5  PASSED      o3-mini  $0.001100  "
            "-        Bullish momentum with healthy RSI\n"
        )

    def test_cost_of_all_causes(self, run: Run, log: LogBuilder) -> None:
        """A decision costs what all its causes cost; one unknown cost makes the sum unknown."""
        first, second = log.call(1, cost_estimate_usd=0.1), log.call(2, cost_estimate_usd=0.2)
        unpriced = log.call(3, cost_estimate_usd=None)
        log.decision(first, "dec_a", caused_by=[first, second])
        log.decision(first, "dec_b", caused_by=[first, unpriced])
        report = json.loads(run("decisions", "--json", log.write(Path("x.log"))).stdout)
        assert [0.3, None] == [decision["cost_usd"] for decision in report]

    def test_cause_rotated_away(self, run: Run, log: LogBuilder) -> None:
        """Where a cause is no longer in the log, the cost that was written with the decision counts."""
        log.decision("req_gone", "dec_a", cost_usd=0.25)
        report = json.loads(run("decisions", "--json", log.write(Path("x.log"))).stdout)
        assert [0.25] == [decision["cost_usd"] for decision in report]

    def test_model_filter(self, run: Run, log: LogBuilder) -> None:
        """A decision belongs to the models that its causes asked."""
        log.decision(log.call(1, model="gpt-4o"), "dec_a")
        log.decision(log.call(2), "dec_b")
        report = json.loads(run("decisions", "--model", "gpt-*", "--json", log.write(Path("x.log"))).stdout)
        assert ["dec_a"] == [decision["decision_id"] for decision in report]


class TestSessions:
    """`structllm sessions`."""

    def test_text(self, run: Run, trading_log: LogBuilder) -> None:
        """A row per session, the oldest first."""
        later = LogBuilder(start=START + timedelta(hours=1), writer=f"{WRITER}b", session="def67890")
        later.call(9)
        later.events[0]["service"] = "bot"
        Path("y.log").write_text(later.text())
        assert run("sessions", "y.log", trading_log.write(Path("x.log"))).stdout == (
            "SESSION   SERVICE  BEGAN            LASTED  CALLS  ERRORS  OPEN  DECISIONS  TOKENS          COST\n"
            "abc12345  -        01-15 10:30:45Z     10s      4       1     1          2     675  >= $0.001595\n"
            "def67890  bot      01-15 11:30:45Z      1s      1       0     0          0     225     $0.000495\n"
        )

    def test_json(self, run: Run, path: Path) -> None:
        """Programs get numbers."""
        (session,) = json.loads(run("sessions", "--json", path).stdout)
        assert ("abc12345", 4, 1, 1, 2, 0.001595) == tuple(
            session[name] for name in ("session_id", "calls", "errors", "orphaned", "decisions", "cost_usd")
        )
