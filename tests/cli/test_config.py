"""`structllm config`: the settings in effect, and their schema."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


class TestShow:
    """`structllm config show`."""

    def test_defaults(self, run: Run) -> None:
        """Every setting is listed with its value and source."""
        result = run("config", "show")
        assert (0, "") == (result.exit_code, result.stderr)
        assert ["completion_log_file", "logs/llm_completions.log", "default"] in [
            line.split() for line in result.stdout.splitlines()
        ]

    def test_sources(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """A value says where it came from."""
        Path("structllm.json").write_text(json.dumps({"llm": {"performance_log_interval": 5, "service": "bot"}}))
        monkeypatch.setenv("STRUCTLLM_CONFIG", "structllm.json")
        monkeypatch.setenv("LLM__SERVICE", "other")
        settings = json.loads(run("config", "show", "--json").stdout)["settings"]
        assert {"value": 5, "source": "structllm.json (file)"} == settings["performance_log_interval"]
        assert {"value": "other", "source": "LLM__SERVICE (env)"} == settings["service"]

    def test_changed(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """--changed leaves out what is at its default."""
        monkeypatch.setenv("LLM__SERVICE", "bot")
        settings = json.loads(run("config", "show", "--changed", "--json").stdout)["settings"]
        assert {"service": {"value": "bot", "source": "LLM__SERVICE (env)"}} == settings

    def test_named_file(self, run: Run) -> None:
        """A file can be looked at without setting a variable."""
        Path("mine.toml").write_text("[llm]\nservice = 'mine'\n")
        settings = json.loads(run("config", "show", "--file", "mine.toml", "--json").stdout)["settings"]
        assert "mine" == settings["service"]["value"]

    def test_ignored_variable(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable that looks like a setting and is none is mentioned on standard error."""
        monkeypatch.setenv("LLM_COMPLETION_LOG_FILE", "x.log")
        result = run("config", "show")
        assert 0 == result.exit_code
        assert "LLM_COMPLETION_LOG_FILE" in result.stderr

    def test_wrong(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wrong settings are all told at once."""
        monkeypatch.setenv("LLM__PERFORMANCE_LOG_INTERVAL", "0")
        monkeypatch.setenv("LLM__COMPLETION_LOG_LEVEL", "LOUD")
        result = run("config", "show")
        assert (2, "") == (result.exit_code, result.stdout)
        assert "LLM__PERFORMANCE_LOG_INTERVAL" in result.stderr
        assert "LLM__COMPLETION_LOG_LEVEL" in result.stderr


class TestSchema:
    """`structllm config schema`."""

    def test_is_json_schema(self, run: Run) -> None:
        """The schema is one JSON document about the section `llm`."""
        schema = json.loads(run("config", "schema").stdout)
        assert schema["$schema"].startswith("https://json-schema.org/")
        assert ["llm"] == list(schema["properties"])
