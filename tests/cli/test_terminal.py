"""What the command shows on a terminal of its own."""

import re
from pathlib import Path

import pytest

from tests.cli.recording import LogBuilder, run_on_terminal

STYLES = re.compile(r"\x1b\[[0-9;]*m")
EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e[red]x[/red]\n\ty"
COMMANDS = [
    ["tail", "x.log"],
    ["tail", "--json", "x.log"],
    ["show", "req_1", "x.log"],
    ["show", "req_1", "--json", "x.log"],
    ["stats", "x.log"],
    ["cost", "--by", "model,symbol,session,provider", "x.log"],
    ["cost", "--by", "decision", "--json", "x.log"],
    ["errors", "x.log"],
    ["decisions", "x.log"],
    ["sessions", "x.log"],
    ["doctor", "x.log"],
]


@pytest.fixture
def hostile(log: LogBuilder) -> Path:
    """A log whose every text tries to take over the terminal."""
    log.session = EVIL
    log.request("req_1", model=EVIL, provider=EVIL, prompt_preview=EVIL, market_context={"symbol": EVIL, EVIL: EVIL})
    log.failure("req_1", error_type=EVIL, model=EVIL, provider=EVIL, error_message=EVIL, cost_status=EVIL)
    log.decision("req_1", f"dec_{EVIL}", action=EVIL, symbol=EVIL, rationale=EVIL, validation_result=EVIL)
    log.add("decision_outcome", decision_id=f"dec_{EVIL}", kind=EVIL, value={EVIL: EVIL})
    log.add(f"type{EVIL}", processor_errors=[EVIL])
    log.add("performance_metrics", total_completions=1, dropped={EVIL: 1}, writer=f"wtr{EVIL}")
    log.events.append({**log.events[0], "seq": 99})  # a gap of a writer with a harmless name
    return log.write(Path("x.log"))


class TestTerminal:
    """Colours, tables, and nothing else."""

    @pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: " ".join(arguments))
    def test_no_text_acts_on_it(self, hostile: Path, arguments: list[str]) -> None:
        """Apart from its own colours and line breaks, a command sends a terminal nothing but printable text."""
        sent = run_on_terminal(*arguments)
        assert "x[" in sent or "total" in sent
        assert all(line.isprintable() for line in STYLES.sub("", sent).split("\n"))

    @pytest.mark.parametrize(
        "arguments", [["tail", "x.log"], ["cost", "x.log"], ["show", "req_0000000000000001", "x.log"]]
    )
    def test_no_color(self, trading_log: LogBuilder, arguments: list[str]) -> None:
        """NO_COLOR is honoured."""
        trading_log.events = trading_log.events[:3]
        trading_log.write(Path("x.log"))
        assert "\x1b[3" in run_on_terminal(*arguments)
        assert "\x1b[3" not in run_on_terminal(*arguments, env={"NO_COLOR": "1"})

    @pytest.mark.parametrize("columns", [60, 80, 200])
    def test_lines_fit(self, trading_log: LogBuilder, columns: int) -> None:
        """An event takes one line of the terminal, however wide it is."""
        trading_log.write(Path("x.log"))
        lines = STYLES.sub("", run_on_terminal("tail", "x.log", columns=columns)).rstrip("\n").split("\n")
        assert 11 == len(lines)
        assert max(map(len, lines)) <= columns

    @pytest.mark.parametrize("columns", [60, 80, 200])
    def test_no_number_is_cut(self, trading_log: LogBuilder, columns: int) -> None:
        """A table leaves columns out rather than digits."""
        trading_log.write(Path("x.log"))
        for command in ("cost", "stats", "sessions"):
            sent = run_on_terminal(command, "x.log", columns=columns)
            assert "$0.001595" in sent
            assert "…" not in sent
