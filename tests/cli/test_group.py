"""The command as a whole: help, loading, endings."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from structllm.cli import cli
from structllm.cli.group import Lazy
from tests.cli.conftest import Run
from tests.cli.recording import TIMEOUT_S, LogBuilder, Running, run_process

COMMANDS = sorted(cli.commands)
FORBIDDEN = {"structlog", "pydantic", "pydantic_settings", "genai_prices", "langchain_core", "rich"}
READERS = [
    ["tail", "x.log"],
    ["tail", "--since", "5000d", "x.log"],
    ["tail", "--json", "x.log"],
    ["show", "req_0000000000000001", "x.log"],
    ["stats", "x.log"],
    ["cost", "--by", "decision", "x.log"],
    ["errors", "x.log"],
    ["decisions", "x.log"],
    ["sessions", "x.log"],
]


def modules_loaded_by(*arguments: str) -> set[str]:
    """Run the command in a fresh interpreter without a terminal; return the packages that it loaded."""
    code = (
        "import json, sys\n"
        "from structllm.cli import cli\n"
        "try: cli(sys.argv[1:], prog_name='structllm')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


class TestHelp:
    """What the command says of itself."""

    def test_lists_every_command(self, run: Run) -> None:
        """The help names every command, and how to get completion."""
        result = run("--help")
        assert 0 == result.exit_code
        listed = [line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ") and line[2:3] != " "]
        assert set(COMMANDS) <= set(listed)
        assert "_STRUCTLLM_COMPLETE" in result.stdout
        assert all(len(line) <= 80 for line in result.stdout.splitlines())

    @pytest.mark.parametrize("name", [name for name in COMMANDS if name != "demo"])
    def test_of_each_command(self, run: Run, name: str) -> None:
        """Every command has help, and every option of it too."""
        assert run(name, "--help").stdout.startswith(f"Usage: structllm {name}")
        command = cli.commands[name]
        assert isinstance(command, Lazy)
        for parameter in command.load().params:
            assert not isinstance(parameter, click.Option) or parameter.help, parameter.name

    @pytest.mark.parametrize(
        "name", [name for name in COMMANDS if name not in ("demo", "config", "archive", "prices", "rules")]
    )
    def test_json_everywhere(self, name: str) -> None:
        """Every command that prints data can print it as JSON."""
        command = cli.commands[name]
        assert isinstance(command, Lazy)
        assert "--json" in [option for parameter in command.load().params for option in parameter.opts]

    @pytest.mark.parametrize("name", [*COMMANDS, "config show", "config schema", "archive ls"])
    def test_short_option(self, run: Run, name: str) -> None:
        """Every command has its help under `-h` too, and says so."""
        result = run(*name.split(), "-h")
        assert (0, True) == (result.exit_code, result.stdout.startswith(f"Usage: structllm {name} "))
        assert "-h, --help" in result.stdout

    def test_version(self, run: Run) -> None:
        """The version is that of the package."""
        assert run("--version").stdout.startswith("structllm ")

    def test_nothing(self, run: Run) -> None:
        """Without a command, the help is shown; that is wrong usage for a script."""
        result = run()
        assert 2 == result.exit_code
        assert "Commands:" in result.output

    @pytest.mark.parametrize(("wrong", "meant"), [(["tial"], "tail"), (["cost", "--model-name", "x"], "--model")])
    def test_typo(self, run: Run, wrong: list[str], meant: str) -> None:
        """A typo is answered with what was probably meant."""
        result = run(*wrong)
        assert 2 == result.exit_code
        assert f"Did you mean '{meant}'?" in result.stderr

    def test_completion(self) -> None:
        """Shells can complete commands, and options of commands."""
        done = run_process(
            env={"_STRUCTLLM_COMPLETE": "bash_complete", "COMP_WORDS": "structllm ta", "COMP_CWORD": "1"}
        )
        assert "plain,tail\n" == done.stdout
        done = run_process(
            env={"_STRUCTLLM_COMPLETE": "bash_complete", "COMP_WORDS": "structllm cost --b", "COMP_CWORD": "2"}
        )
        assert "plain,--by\n" == done.stdout


class TestLoading:
    """Reading must feel instant."""

    def test_help_loads_no_command(self) -> None:
        """The help is printed without loading any command, still less what commands need."""
        loaded = modules_loaded_by("--help")
        assert set() == loaded & (FORBIDDEN | {"orjson", "structllm.segment", "structllm.demo.run"})
        assert {name for name in loaded if name.startswith("structllm.cli")} == {
            "structllm.cli",
            "structllm.cli.group",
            "structllm.cli.output",
        }

    @pytest.mark.parametrize("arguments", READERS, ids=lambda arguments: " ".join(arguments[:2]))
    def test_reading_loads_no_write_side(self, trading_log: LogBuilder, arguments: list[str]) -> None:
        """A reading command whose output is piped loads neither the write side nor what draws tables."""
        trading_log.write(Path("x.log"))
        loaded = modules_loaded_by(*arguments)
        assert set() == loaded & (FORBIDDEN | {"structllm.settings", "structllm.logger", "zstandard"})


class TestEndings:
    """How the command ends."""

    def test_nobody_reads_on(self, log: LogBuilder) -> None:
        """When the reader of a pipe has seen enough, the command ends quietly."""
        for number in range(3000):
            log.request(f"r{number}")
        path = log.write(Path("x.log"))
        process = subprocess.Popen(
            [sys.executable, "-m", "structllm", "tail", "-n", "3000", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        with process.stderr:
            assert b"" == process.stderr.read()
        assert 0 == process.wait(timeout=TIMEOUT_S)

    def test_nobody_reads_at_all(self, log: LogBuilder) -> None:
        """A short output that fits the buffer ends as quietly."""
        log.request("r1")
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb") as closed:
            done = subprocess.run(
                [sys.executable, "-m", "structllm", "tail", str(log.write(Path("x.log")))],
                stdout=closed,
                stderr=subprocess.PIPE,
                timeout=TIMEOUT_S,
                check=False,
            )
        assert (0, b"") == (done.returncode, done.stderr)

    def test_output_is_full(self, log: LogBuilder) -> None:
        """A full disk under the output is one sentence."""
        log.request("r1")
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "structllm", "tail", str(log.write(Path("x.log")))],
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=TIMEOUT_S,
                check=False,
            )
        assert (1, b"structllm: standard output is full\n") == (done.returncode, done.stderr)

    def test_interrupted(self, log: LogBuilder) -> None:
        """Ctrl-C ends the command like any other, without a traceback."""
        log.request("r1")
        with Running("tail", "-f", log.write(Path("x.log"))) as tail:
            tail.expect("r1")
            assert 128 + signal.SIGINT == tail.interrupt()
        assert "" == tail.errors.strip()

    def test_wrong_settings(self) -> None:
        """Wrong settings are told as sentences, without the value, where they are needed."""
        done = run_process("tail", env={"LLM__COMPLETION_LOG_LEVEL": "s3cret-value"})
        assert (2, "") == (done.returncode, done.stdout)
        assert done.stderr.startswith("structllm: invalid configuration\n")
        assert "LLM__COMPLETION_LOG_LEVEL" in done.stderr
        assert "s3cret-value" not in done.stderr

    def test_settings_without_a_file(self) -> None:
        """Where the settings write to no file, the command says so and what to do."""
        done = run_process("stats", env={"LLM__SINKS": "stdout:"})
        assert (2, "") == (done.returncode, done.stdout)
        assert "the settings name no file to read" in done.stderr

    def test_output_in_another_encoding(self, log: LogBuilder) -> None:
        """A text that the output's encoding lacks is escaped, not an error."""
        log.request("r1", prompt_preview="日本語")
        done = run_process("tail", log.write(Path("x.log")), env={"PYTHONIOENCODING": "ascii"})
        assert 0 == done.returncode
        assert "\\u65e5" in done.stdout
