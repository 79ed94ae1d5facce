"""What the command shows on a terminal of its own."""

import re
from pathlib import Path

import pytest

from tests.cli.recording import LogBuilder, run_on_terminal

STYLES = re.compile(r"\x1b\[[0-9;]*m")
EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e\u2066\u2069\u2028\u2029\x7f[red]x[/red]\n\ty"
NAME = EVIL.replace("/", "_")  # as a file may be called
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
    ["reprice", "x.log"],
    ["verify", "x.log"],
]
QUOTING = [
    ["tail", f"{NAME}.log"],
    ["tail", f"there/{NAME}.log"],
    ["tail", f"nowhere-{NAME}"],
    ["stats", f"there/{NAME}"],
    ["doctor", f"there/{NAME}.log"],
    ["doctor", "--json", f"there/{NAME}.log"],
    ["verify", f"there/{NAME}.log"],
    ["verify", "--json", f"there/{NAME}.log"],
    ["reprice", f"there/{NAME}.log"],
    ["show", EVIL, f"there/{NAME}.log"],
    ["prices", "show", EVIL],
    ["prices", "show", "--json", EVIL],
    ["prices", "update", "--from", f"nowhere-{NAME}", "--to", "list.json"],
    ["archive", "ls", f"nowhere-{NAME}"],
    ["archive", "verify", f"s3://{EVIL}"],
    ["config", "show", "one", EVIL],
    ["rules", "test", "--text", EVIL],
    ["rules", "test", "--file", f"nowhere-{NAME}"],
    ["tail", "--type", EVIL],
    ["tail", f"--{EVIL}"],
    [EVIL],
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
        assert any(told in sent for told in ("\\x1b", "\\u001b", "total", "nothing can be proved"))
        assert all(line.isprintable() for line in STYLES.sub("", sent).split("\n"))

    @pytest.mark.parametrize("arguments", QUOTING, ids=lambda arguments: ascii(" ".join(arguments)))
    def test_no_name_acts_on_it(self, arguments: list[str]) -> None:
        """Names of files and arguments, which a shell may have put in for a star, are as harmless as texts."""
        place = Path("there")
        place.mkdir()
        (place / f"{NAME}.log").write_bytes(b'{"event_type":"run","writer":"w","seq":1}\nno event\n')
        sent = run_on_terminal(*arguments)
        assert "Traceback" not in sent
        assert sent
        assert all(line.isprintable() for line in STYLES.sub("", sent).split("\n"))

    @pytest.mark.parametrize("command", [["config", "show"], ["doctor"], ["tail"], ["archive", "ls"]])
    @pytest.mark.parametrize("name", ["LLM__SINKS", f"LLM__{EVIL}", f"LLM__SINKS__{EVIL}__PATH", "STRUCTLLM_CONFIG"])
    def test_no_setting_acts_on_it(self, command: list[str], name: str) -> None:
        """What is said of settings shows neither their values nor what their names would do."""
        sent = run_on_terminal(*command, env={name: EVIL})
        assert "Traceback" not in sent
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

    @pytest.mark.parametrize("columns", [80, 100, 103, 104, 120, 130])
    def test_text_is_shown(self, trading_log: LogBuilder, columns: int) -> None:
        """A wide terminal shows some of every prompt and answer, as a narrow one does."""
        trading_log.write(Path("x.log"))
        lines = STYLES.sub("", run_on_terminal("tail", "x.log", columns=columns)).rstrip("\n").split("\n")
        assert [True] * 4 == ["You are an expert" in line for line in lines if " request " in line][:4]
        assert [True] * 3 == ['{"action": "LONG"' in line for line in lines if '{"' in line]
        assert 3 == sum('{"action": "LONG"' in line for line in lines)

    def test_long_cells_are_cut_first(self, trading_log: LogBuilder) -> None:
        """Decisions and errors keep their columns where cutting long cells and ids is enough, and fit."""
        trading_log.failure(
            "req_0000000000000009", "TimeoutError", error_message="no answer " * 20, model="a-model-with-a-long-name"
        )
        trading_log.write(Path("x.log"))
        sent = STYLES.sub("", run_on_terminal("errors", "x.log", columns=100))
        assert ["Error", "Count", "Models", "Last", "Request", "Message"] == sent.split("\n")[0].split()
        assert "  00000000  " not in sent  # two ids that would become one stay as they are
        assert any(line.rstrip().endswith("…") for line in sent.split("\n"))
        assert max(map(len, sent.split("\n"))) <= 100
        assert "no room" not in sent

    def test_short_ids(self, log: LogBuilder) -> None:
        """Ids are shown by their first eight characters in a table that would not fit otherwise, and only there."""
        for identity in ("dec_aaaabbbbccccdddd", "dec_eeeeffff00001111"):
            log.decision(log.call(1), identity)
        log.write(Path("x.log"))
        assert "dec_aaaabbbbccccdddd" in run_on_terminal("decisions", "x.log", columns=200)
        narrow = run_on_terminal("decisions", "x.log", columns=100)
        assert "aaaabbbb" in narrow
        assert "ccccdddd" not in narrow

    @pytest.mark.parametrize("columns", [60, 80, 100])
    def test_left_out_columns_are_named(self, trading_log: LogBuilder, columns: int) -> None:
        """Whoever sees too few columns is told which are missing."""
        trading_log.write(Path("x.log"))
        sent = STYLES.sub("", run_on_terminal("decisions", "x.log", columns=columns))
        (told,) = re.findall("structllm: no room for (.*);", sent)
        titles = {"Time", "Decision", "Action", "Size", "Symbol", "Price", "Validation", "Model", "Cost", "Outcome"}
        assert {*titles, "Why"} == {*told.split(", "), *sent.split("\n")[0].split()}
        assert "$0.000495" in sent
        assert "no room" not in run_on_terminal("decisions", "x.log", columns=200)

    @pytest.mark.parametrize("columns", [50, 80])
    def test_story_is_wrapped(self, log: LogBuilder, columns: int) -> None:
        """A story is broken between words and pairs, and what follows keeps its indent."""
        state = {f"indicator_{number}": number * 1.2345 for number in range(12)}
        log.session = "0123456789abcdef"
        log.request("req_0123456789abcdef", market_context=state, prompt_preview="word " * 40 + "\n" + "x1,23" * 40)
        log.write(Path("x.log"))
        lines = STYLES.sub("", run_on_terminal("show", "req_0", "x.log", columns=columns)).split("\n")
        lines = lines[: lines.index("")]
        assert max(map(len, lines)) <= columns
        told = "\n".join(line.strip() for line in lines).replace("market          ", "")
        assert all(f"{name} {value}" in told for name, value in state.items())
        assert all(line.startswith("  ") for line in lines[1:])
        asked = lines[lines.index("  asked") + 1 :]
        assert {"word"} == {word for line in asked if "word" in line for word in line.split()}
        assert "x1,23" * 40 == "".join(line.strip() for line in asked if "x1" in line or "23" in line)

    @pytest.mark.parametrize("columns", [60, 80, 200])
    def test_no_number_is_cut(self, trading_log: LogBuilder, columns: int) -> None:
        """A table leaves columns out rather than digits."""
        trading_log.write(Path("x.log"))
        for command in ("cost", "stats", "sessions"):
            sent = run_on_terminal(command, "x.log", columns=columns)
            assert "$0.001595" in sent
            assert "…" not in sent
