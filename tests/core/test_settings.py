"""What the settings are, where they come from, and how they are shown."""

import io
import json
import logging
import os
import pickle
import subprocess
import sys
import warnings
from collections import UserDict
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pytest
from pydantic import Field, SecretStr

from structllm._types import Record, Sink
from structllm.errors import ConfigError
from structllm.settings import (
    LLMSettings,
    RedactionSettings,
    SettingsInput,
    SettingsWarning,
    known_settings,
    load_settings,
    load_with_sources,
)
from structllm.settings_view import MASK, SettingRow, explain, settings_schema
from structllm.sinks.config import SinkConfig
from structllm.sinks.file import FileSinkConfig
from structllm.sinks.memory import MemorySink, MemorySinkConfig
from structllm.sinks.stdout import StdoutSinkConfig

SEED = {
    "enable_completion_logging": True,
    "completion_log_level": "INFO",
    "completion_log_file": "logs/llm_completions.log",
    "log_prompt_preview_length": 500,
    "log_response_preview_length": 1000,
    "enable_performance_tracking": True,
    "enable_langchain_callbacks": True,
    "log_market_context": True,
    "enable_token_usage_tracking": True,
    "performance_log_interval": 10,
}

THREE_SINKS = [
    {"type": "file", "name": "main", "path": "main.jsonl", "max_bytes": 4096},
    "stdout:?format=console",
    {"type": "file", "name": "the-archive", "path": "archive.jsonl", "level": "ERROR"},
]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variables of ours, and an empty working directory."""
    for name in os.environ:
        if "llm" in name.lower():
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(name: str, content: object) -> Path:
    """Write a config file whose section `llm` is `content`; text is written as it is."""
    path = Path(name)
    path.write_text(content if isinstance(content, str) else json.dumps({"llm": content}))
    return path


class PlainSink:
    """A sink of somebody else."""

    def write(self, batch: Sequence[Record], /) -> None:
        """Take nothing."""

    def flush(self, timeout_s: float, /) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Do nothing."""


class TestLLMSettings:
    def test_defaults_are_those_of_the_guide(self) -> None:
        """Without any source the ten settings of the guide have the values that it shows."""
        defaults = LLMSettings().model_dump(mode="json")

        assert SEED == {name: defaults[name] for name in SEED}

    def test_other_defaults(self) -> None:
        """Redaction is on with four packs, and nothing else is set."""
        settings = LLMSettings()

        assert RedactionSettings(enabled=True, packs=("credentials", "crypto", "payment", "pii")) == settings.redaction
        assert ((), None, None, False) == (
            settings.sinks,
            settings.service,
            settings.model,
            settings.bind_structlog_contextvars,
        )

    def test_reads_neither_environment_nor_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Built directly, settings are what the arguments say, wrong variables and files included."""
        monkeypatch.setenv("LLM__COMPLETION_LOG_LEVEL", "nonsense")
        monkeypatch.setenv("STRUCTLLM_CONFIG", "nowhere.json")

        assert "INFO" == LLMSettings().completion_log_level

    def test_level_in_any_case(self) -> None:
        """The level may be written in any case."""
        assert "WARNING" == LLMSettings(completion_log_level=" warning ").completion_log_level

    def test_settings_cannot_be_changed(self) -> None:
        """Settings are values: they are replaced, not changed."""
        with pytest.raises(ValueError, match="frozen"):
            LLMSettings().service = "bot"  # type: ignore[misc]  # that it is refused is the point

    def test_home_directory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A leading '~' is the home directory, as no shell expands it in a file."""
        monkeypatch.setenv("HOME", "/home/bot")

        assert Path("/home/bot/llm.log") == LLMSettings(completion_log_file="~/llm.log").completion_log_file

    def test_words_as_text(self) -> None:
        """Lists of words may be given as text, as variables do."""
        redaction = RedactionSettings(packs="pii,crypto", deny_keys='["a b", "c"]', allow_keys=" x y ")  # type: ignore[arg-type]

        assert (("pii", "crypto"), ("a b", "c"), ("x", "y")) == (
            redaction.packs,
            redaction.deny_keys,
            redaction.allow_keys,
        )

    def test_typed_arguments_are_the_fields(self) -> None:
        """What type checkers know about the arguments is what there is."""
        assert set(SettingsInput.__annotations__) == set(LLMSettings.model_fields)

    def test_every_setting_is_described(self) -> None:
        """Every setting says what it does, with the range of a number."""
        for model in (LLMSettings, RedactionSettings, SinkConfig):
            for name, field in model.model_fields.items():
                assert field.description, name

    def test_survives_copying(self) -> None:
        """Settings go to other processes and compare equal there."""
        settings = LLMSettings(sinks=["stdout:"], service="bot")

        assert settings == pickle.loads(pickle.dumps(settings))


class TestSinks:
    def test_every_form_of_a_sink(self) -> None:
        """A list of sinks holds configurations, objects, URLs and ready sinks, in order."""
        own, memory = PlainSink(), MemorySink()

        settings = LLMSettings(sinks=[StdoutSinkConfig(), {"type": "memory"}, "file:a.log", own, memory])

        assert (
            StdoutSinkConfig(),
            MemorySinkConfig(),
            FileSinkConfig(path=Path("a.log")),
            own,
            memory,
        ) == settings.sinks
        assert settings.sinks == settings.effective_sinks()

    def test_log_file_makes_one_rotating_file(self) -> None:
        """Without sinks the log file is written: 50 MB, five old files."""
        settings = LLMSettings(completion_log_file="logs/x.log")

        assert (
            FileSinkConfig(path=Path("logs/x.log"), max_bytes=52_428_800, backup_count=5),
        ) == settings.effective_sinks()

    def test_sinks_replace_the_default_file(self) -> None:
        """With sinks nothing is written to the default log file."""
        assert (StdoutSinkConfig(),) == LLMSettings(sinks=["stdout:"]).effective_sinks()

    def test_empty_list_is_no_list(self) -> None:
        """An empty list of sinks leaves the log file."""
        assert 1 == len(LLMSettings(sinks=[], completion_log_file="x.log").effective_sinks())

    def test_two_directories(self) -> None:
        """Completions and decisions go to two files from configuration alone."""
        settings = LLMSettings(
            sinks=[
                "file:llm_completions/llm.log?events=completion_request,completion_response",
                {"type": "file", "path": "trading_decisions/decisions.log", "events": ["trading_decision"]},
            ]
        )

        assert [
            frozenset({"completion_request", "completion_response"}),
            frozenset({"trading_decision"}),
        ] == [sink.events for sink in settings.sinks if isinstance(sink, SinkConfig)]

    @pytest.mark.parametrize("given", [sys.stderr, io.StringIO(), PlainSink, 7, None, object()])
    def test_what_is_no_sink_is_refused(self, given: object) -> None:
        """An open file has a sink's methods, and a class too, but neither is a sink."""
        with pytest.raises(ConfigError, match=r"sinks\.0 \(argument\): is "):
            LLMSettings(sinks=[given])  # type: ignore[list-item]  # that it is refused is the point


class TestOf:
    def test_settings(self) -> None:
        """Settings are taken as they are."""
        settings = LLMSettings(service="bot")

        assert settings is LLMSettings.of(settings)

    @pytest.mark.parametrize("mapping", [dict, MappingProxyType, UserDict])
    def test_mapping(self, monkeypatch: pytest.MonkeyPatch, mapping: Any) -> None:
        """Any mapping is read like the section of a file, and nothing else is read."""
        monkeypatch.setenv("LLM__SERVICE", "other")

        settings = LLMSettings.of(mapping({"completion_log_level": "debug", "sinks": ["stdout:"]}))

        assert LLMSettings(completion_log_level="DEBUG", sinks=[StdoutSinkConfig()]) == settings

    def test_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without settings the environment is read."""
        monkeypatch.setenv("LLM__SERVICE", "bot")

        assert LLMSettings(service="bot") == LLMSettings.of(None)


class TestReplace:
    def test_other_values_stay(self) -> None:
        """Only what is named changes."""
        settings = LLMSettings(service="bot", completion_log_level="ERROR")

        changed = settings.replace(completion_log_level="debug")

        assert LLMSettings(service="bot", completion_log_level="DEBUG") == changed

    def test_sinks_put_the_log_file_aside(self) -> None:
        """New sinks replace an explicit log file."""
        changed = LLMSettings(completion_log_file="x.log").replace(sinks=["stdout:"])

        assert (StdoutSinkConfig(),) == changed.effective_sinks()

    def test_log_file_puts_the_sinks_aside(self) -> None:
        """A new log file replaces the sinks."""
        changed = LLMSettings(sinks=["stdout:"]).replace(completion_log_file="x.log")

        assert (FileSinkConfig(path=Path("x.log")),) == changed.effective_sinks()

    def test_wrong_change(self) -> None:
        """A wrong change raises like a wrong setting."""
        with pytest.raises(ConfigError, match="at least 1"):
            LLMSettings().replace(performance_log_interval=0)


class TestSources:
    def test_guide_file(self) -> None:
        """The JSON file of the guide is read as it is."""
        assert LLMSettings(**SEED) == load_settings(write("structllm.json", SEED))

    def test_toml(self) -> None:
        """A TOML file is read, tables of sinks included."""
        path = write("s.toml", '[llm]\nservice = "bot"\n[[llm.sinks]]\ntype = "stdout"\nformat = "auto"\n')

        assert LLMSettings(service="bot", sinks=[StdoutSinkConfig(format="auto")]) == load_settings(path)

    def test_one_variable_leaves_the_rest_of_the_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable overrides its setting; the file keeps the others."""
        monkeypatch.setenv("LLM__COMPLETION_LOG_LEVEL", "debug")

        settings = load_settings(write("s.json", {"service": "bot", "completion_log_level": "ERROR"}))

        assert ("DEBUG", "bot") == (settings.completion_log_level, settings.service)

    def test_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Arguments win over environment, then come `.env`, secrets, file and defaults."""
        file = write("s.json", {"service": "file"})
        Path("secrets").mkdir()
        Path("secrets/llm__service").write_text("secret\n")
        Path("s.env").write_text("LLM__SERVICE=dotenv\n")
        monkeypatch.setenv("LLM__SERVICE", "env")
        asked: dict[str, Any] = {"path": file, "env_file": "s.env", "secrets_dir": "secrets"}

        seen = [load_settings(**asked, service="argument").service, load_settings(**asked).service]
        monkeypatch.delenv("LLM__SERVICE")
        seen.append(load_settings(**asked).service)
        Path("s.env").write_text("")
        seen.append(load_settings(**asked).service)
        Path("secrets/llm__service").unlink()
        seen.append(load_settings(**asked).service)
        seen.append(load_settings().service)

        assert ["argument", "env", "dotenv", "secret", "file", None] == seen

    def test_env_file_only_when_asked(self) -> None:
        """A `.env` file in the working directory is not read by itself."""
        Path(".env").write_text("LLM__SERVICE=bot\n")

        assert (None, "bot") == (load_settings().service, load_settings(env_file=".env").service)

    def test_config_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`STRUCTLLM_CONFIG` names the file; an argument names another."""
        monkeypatch.setenv("STRUCTLLM_CONFIG", str(write("one.json", {"service": "one"})))
        other = write("two.json", {"service": "two"})

        assert ("one", "two") == (load_settings().service, load_settings(other).service)

    def test_config_variable_in_env_file(self) -> None:
        """A `.env` file may name the config file."""
        write("one.json", {"service": "one"})
        Path("s.env").write_text("STRUCTLLM_CONFIG=one.json\n")

        assert "one" == load_settings(env_file="s.env").service

    def test_no_file_is_looked_for(self) -> None:
        """Without a name no file is read."""
        write("structllm.json", {"service": "bot"})

        assert load_settings().service is None

    def test_empty_variables_are_not_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`NAME=` is how compose files say "not set"."""
        for name in ("LLM__PERFORMANCE_LOG_INTERVAL", "LLM__SINKS", "STRUCTLLM_CONFIG", "LLM", "LLM__SINKS__0__PATH"):
            monkeypatch.setenv(name, "")

        assert LLMSettings() == load_settings()

    def test_names_of_variables_in_any_case(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The case of a variable's name does not matter."""
        monkeypatch.setenv("llm__Service", "bot")

        assert "bot" == load_settings().service

    def test_whole_section_as_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`LLM` may hold a JSON object; single variables win over it."""
        monkeypatch.setenv("LLM", '{"service": "one", "model": "a:b"}')
        monkeypatch.setenv("LLM__SERVICE", "two")

        settings = load_settings()

        assert ("two", "a:b") == (settings.service, settings.model)

    def test_inner_section(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A section inside is merged key by key, whole or by single variables."""
        monkeypatch.setenv("LLM__REDACTION", '{"packs": ["pii"]}')
        monkeypatch.setenv("LLM__REDACTION__DENY_KEYS", "iban,vat")

        settings = load_settings(write("s.json", {"redaction": {"allow_keys": ["author"], "packs": []}}))

        assert (
            RedactionSettings(packs=("pii",), deny_keys=("iban", "vat"), allow_keys=("author",)) == settings.redaction
        )

    def test_empty_section_takes_nothing_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty object in a stronger source leaves what weaker ones say."""
        monkeypatch.setenv("LLM", '{"redaction": {}}')

        assert ("iban",) == load_settings(write("s.json", {"redaction": {"deny_keys": ["iban"]}})).redaction.deny_keys

    def test_mapping_argument_is_merged_and_object_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A mapping argument is merged with the environment; an object is complete and replaces it."""
        monkeypatch.setenv("LLM__REDACTION__DENY_KEYS", "iban")

        merged = load_settings(redaction={"enabled": False}).redaction
        replaced = load_settings(redaction=RedactionSettings(enabled=False)).redaction

        assert (False, ("iban",)) == (merged.enabled, merged.deny_keys)
        assert (False, ()) == (replaced.enabled, replaced.deny_keys)

    def test_other_sections_belong_to_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Programs may share the file and the environment."""
        content = {"llm": {"service": "bot"}, "exchange": {"symbol": "BTC-USD"}, "vlm": {"model": "x"}}
        content |= {"model": {"depth": 3}, "service": {"port": 80}, "debug": True}
        path = write("s.json", json.dumps(content))
        monkeypatch.setenv("EXCHANGE__SYMBOL", "x")
        monkeypatch.setenv("VLM__MODEL", "x")

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert "bot" == load_settings(path).service

    def test_empty_section(self) -> None:
        """A section without settings is read, and says nothing."""
        assert LLMSettings() == load_settings(write("s.json", {}))

    def test_byte_order_mark(self) -> None:
        """The mark that some editors put before UTF-8 text does not matter."""
        Path("s.json").write_bytes(b'\xef\xbb\xbf{"llm": {"service": "bot"}}')

        assert "bot" == load_settings("s.json").service

    def test_secrets_of_others_are_not_read(self) -> None:
        """In a directory of secrets only files named for us are opened."""
        Path("secrets").mkdir()
        Path("secrets/database").write_bytes(b"\xff\xfe")
        Path("secrets/LLM__SERVICE").write_text("bot\n")

        assert "bot" == load_settings(secrets_dir="secrets").service

    def test_nothing_is_logged_by_the_settings_library(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The debug switch of pydantic-settings, which logs values, has no effect on ours."""
        monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
        monkeypatch.setenv("LLM__SERVICE", "zq-planted")
        caplog.set_level(logging.DEBUG)

        load_settings()

        assert "zq-planted" not in caplog.text


class TestSinkVariables:
    @pytest.mark.parametrize(
        "text",
        [
            '[{"type":"file","path":"a.log"},{"type":"stdout"}]',
            '["file:a.log", "stdout:"]',
            "file:a.log,stdout:",
            "file:a.log stdout:",
        ],
    )
    def test_list_replaces_the_file(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        """`LLM__SINKS` replaces the list of the file: JSON objects, JSON strings, or URLs between commas or spaces."""
        monkeypatch.setenv("LLM__SINKS", text)

        settings = load_settings(write("s.json", {"sinks": THREE_SINKS}))

        assert (FileSinkConfig(path=Path("a.log")), StdoutSinkConfig()) == settings.sinks

    @pytest.mark.parametrize(
        ("variable", "value", "position", "setting", "expected"),
        [
            ("LLM__SINKS__0__PATH", "b.log", 0, "path", Path("b.log")),
            ("LLM__SINKS__MAIN__PATH", "b.log", 0, "path", Path("b.log")),
            ("LLM__SINKS__Main__MAX_BYTES", "2048", 0, "max_bytes", 2048),
            ("LLM__SINKS__STDOUT__FORMAT", "auto", 1, "format", "auto"),
            ("LLM__SINKS__1__LEVEL", "error", 1, "level", "ERROR"),
            ("LLM__SINKS__THE_ARCHIVE__PATH", "b.log", 2, "path", Path("b.log")),
            ("LLM__SINKS__2__EVENTS", "run trading_decision", 2, "events", frozenset({"run", "trading_decision"})),
            ("LLM__SINKS__2__EVENTS", '["run"]', 2, "events", frozenset({"run"})),
        ],
    )
    def test_patch(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, position: int, setting: str, expected: object
    ) -> None:
        """A variable changes one setting of one sink, named by name, type or position, and leaves the others."""
        path = write("s.json", {"sinks": THREE_SINKS})
        before = load_settings(path).sinks
        monkeypatch.setenv(variable, value)

        after = load_settings(path).sinks

        assert expected == getattr(after[position], setting)
        assert [before[at] for at in range(3) if at != position] == [after[at] for at in range(3) if at != position]

    def test_patch_of_a_list_from_the_same_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable may patch the list that another variable gives."""
        monkeypatch.setenv("LLM__SINKS__0__PATH", "b.log")
        monkeypatch.setenv("LLM__SINKS", "file:a.log?max_bytes=2048 stdout:")

        assert (FileSinkConfig(path=Path("b.log"), max_bytes=2048), StdoutSinkConfig()) == load_settings().sinks

    def test_environment_patches_over_env_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of two patches of one setting the stronger source wins."""
        Path("s.env").write_text("LLM__SINKS__MAIN__PATH=dotenv.log\nLLM__SINKS__1__FORMAT=auto\n")
        monkeypatch.setenv("LLM__SINKS__0__PATH", "env.log")

        sinks = load_settings(write("s.json", {"sinks": THREE_SINKS}), env_file="s.env").sinks

        assert [Path("env.log"), "auto"] == [sinks[0].path, sinks[1].format]  # type: ignore[union-attr]

    def test_arguments_are_not_patched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Sinks given as an argument win over every variable, patches included."""
        monkeypatch.setenv("LLM__SINKS__0__PATH", "b.log")
        monkeypatch.setenv("LLM__SINKS__NOWHERE__PATH", "b.log")

        assert (FileSinkConfig(path=Path("a.log")),) == load_settings(sinks=["file:a.log"]).sinks

    def test_patch_of_a_list_in_the_whole_section(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable may patch the list that `LLM` gives as JSON."""
        monkeypatch.setenv("LLM__SINKS__0__FORMAT", "auto")
        monkeypatch.setenv("LLM", json.dumps({"sinks": [{"type": "stdout"}]}))

        assert (StdoutSinkConfig(format="auto"),) == load_settings().sinks


class TestDestination:
    def test_sinks_argument_replaces_a_configured_file(self) -> None:
        """`sinks=` wins over a log file of any other source."""
        settings = load_settings(write("s.json", SEED), sinks=["stdout:"])

        assert (StdoutSinkConfig(),) == settings.effective_sinks()

    def test_file_argument_replaces_configured_sinks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`completion_log_file=` wins over sinks of any other source, and over their patches."""
        monkeypatch.setenv("LLM__SINKS__NOWHERE__PATH", "b.log")

        settings = load_settings(write("s.json", {"sinks": THREE_SINKS}), completion_log_file="x.log")

        assert (FileSinkConfig(path=Path("x.log")),) == settings.effective_sinks()


class TestWarnings:
    @staticmethod
    def ignored() -> list[str]:
        """Return the lines of the one warning that loading gives."""
        with pytest.warns(SettingsWarning) as caught:
            load_settings()
        assert 1 == len(caught)
        assert Path(__file__).name == Path(caught[0].filename).name
        first, *lines = str(caught[0].message).splitlines()
        assert "structllm: given but not read" == first
        return lines

    @pytest.mark.parametrize("value", ["gpt-4o", "1", '["a"]', '{"service": '])
    def test_section_variable_that_is_no_object(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        """`LLM=gpt-4o` belongs to another program: it is ignored with one warning, which does not show it."""
        monkeypatch.setenv("LLM", value)

        assert [
            "  LLM (env): ignored, it is no JSON object; use LLM__<SETTING>=value for one setting"
        ] == self.ignored()

    @pytest.mark.parametrize(
        ("variable", "meant"),
        [
            ("LLMM__COMPLETION_LOG_LEVEL", "LLM__COMPLETION_LOG_LEVEL"),
            ("LM__SINKS__0__PATH", "LLM__SINKS__0__PATH"),
            ("LMM__COMPLETION_LOG_LEVL", "LLM__COMPLETION_LOG_LEVL"),
            ("LML__SINKS", "LLM__SINKS"),
            ("LLM_COMPLETION_LOG_FILE", "LLM__COMPLETION_LOG_FILE"),
            ("LLM_COMPLETION_LOG_FIEL", "LLM__COMPLETION_LOG_FILE"),
            ("LLM_SINKS", "LLM__SINKS"),
            ("LLM_SINKS__0__PATH", "LLM__SINKS__0__PATH"),
            ("LLM_REDACTION_ENABLED", "LLM__REDACTION__ENABLED"),
            ("STRUCTLLM_CONFIG_FILE", "STRUCTLLM_CONFIG"),
        ],
    )
    def test_near_misses(self, monkeypatch: pytest.MonkeyPatch, variable: str, meant: str) -> None:
        """A variable that is nearly one of ours is not read silently."""
        monkeypatch.setenv(variable, "x")

        assert [f"  {variable} (env): not read; did you mean {meant}?"] == self.ignored()

    def test_all_in_one_warning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Several of them give one warning."""
        monkeypatch.setenv("LLM", "gpt-4o")
        monkeypatch.setenv("LLM_SINKS", "x")
        monkeypatch.setenv("LLMM__SINKS", "x")

        assert 3 == len(self.ignored())

    @pytest.mark.parametrize(
        ("name", "content"), [("s.json", '{"exchange": {}}'), ("s.json", "{}"), ("s.toml", ""), ("s.toml", "[tool.x]")]
    )
    def test_file_without_our_section(self, monkeypatch: pytest.MonkeyPatch, name: str, content: str) -> None:
        """A file that somebody named and that holds nothing for us is not passed over silently."""
        monkeypatch.setenv("STRUCTLLM_CONFIG", str(write(name, content)))
        monkeypatch.setenv("LLM_SINKS", "x")

        assert [
            f"  {name}: has no section 'llm', so nothing is read from it",
            "  LLM_SINKS (env): not read; did you mean LLM__SINKS?",
        ] == self.ignored()

    @pytest.mark.parametrize(
        "variable",
        [
            "LLM_MODEL",
            "LLM_SERVICE",
            "LLM_API_KEY",
            "LLM_TIMEOUT",
            "VLM__MODEL",
            "ELM__HOME",
            "OLLAMA__HOST",
            "LLMS",
            "STRUCTLLM_DASHBOARD_TOKEN",
        ],
    )
    def test_variables_of_other_programs(self, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
        """Everyday names of other programs give no warning."""
        monkeypatch.setenv(variable, "x")

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert LLMSettings() == load_settings()

    def test_misspelt_setting_beside_the_warning_still_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A warning does not replace the error about something else."""
        monkeypatch.setenv("LLM", "gpt-4o")
        monkeypatch.setenv("LLM__SERVIZE", "x")

        with pytest.warns(SettingsWarning), pytest.raises(ConfigError, match="did you mean 'service'"):
            load_settings()


class SecretSinkConfig(SinkConfig):
    """A sink with secrets, of somebody else."""

    type: Literal["secret"] = "secret"
    secret_key: str = "none"
    password: SecretStr | None = None
    kms_key_id: str = "alias/x"
    endpoint: str = "https://user:zq-planted@host/x"
    headers: dict[str, str] = Field(default_factory=lambda: {"X-Api-Key": "zq-planted", "Accept": "json"})
    max_tokens: int = 5


class TestExplain:
    def test_source_of_each_value(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every effective value is shown with the source that gave it."""
        write("s.json", {"completion_log_level": "ERROR", "sinks": THREE_SINKS[:2]})
        Path("s.env").write_text("LLM__MODEL=a:b\n")
        monkeypatch.setenv("LLM__SINKS__STDOUT__LEVEL", "error")
        monkeypatch.setenv("LLM__REDACTION__ENABLED", "no")

        settings, sources = load_with_sources("s.json", env_file="s.env", service="bot")
        rows = {row.name: (row.value, row.source) for row in explain(settings, sources)}

        assert {
            "completion_log_level": ("ERROR", "s.json (file)"),
            "completion_log_file": ("logs/llm_completions.log", "default"),
            "model": ("a:b", "LLM__MODEL (s.env)"),
            "service": ("bot", "argument"),
            "redaction.enabled": (False, "LLM__REDACTION__ENABLED (env)"),
            "redaction.packs": (["credentials", "crypto", "payment", "pii"], "default"),
            "sinks.main.path": ("main.jsonl", "s.json (file)"),
            "sinks.main.backup_count": (5, "default"),
            "sinks.1.format": ("console", "s.json (file)"),
            "sinks.1.level": ("ERROR", "LLM__SINKS__STDOUT__LEVEL (env)"),
            "sinks.1.events": (None, "default"),
        }.items() <= rows.items()

    def test_sinks_by_name(self) -> None:
        """The rows of a sink are labelled with its name, those of one without a name with its position."""
        sinks = ["file:a?name=Main.1", "stdout:", PlainSink()]

        names = {row.name.rpartition(".")[0] for row in explain(LLMSettings(sinks=sinks)) if row.name[:6] == "sinks."}

        assert {"sinks.Main.1", "sinks.1", "sinks"} == names

    def test_only_what_somebody_set(self) -> None:
        """Rows that nobody set say so; a sink that was listed always has one that does not."""
        settings = LLMSettings(service="bot", sinks=["file:a?level=info", StdoutSinkConfig(), PlainSink()])

        assert {
            "service": "bot",
            "sinks.0.type": "file",
            "sinks.0.path": "a",
            "sinks.0.level": "INFO",
            "sinks.1.type": "stdout",
            "sinks.2": "PlainSink",
        } == {row.name: row.value for row in explain(settings) if not row.is_default}

    def test_log_file_is_one_changed_row(self) -> None:
        """The sink that the log file makes is not set a second time."""
        rows = explain(LLMSettings(completion_log_file="x.log"))

        assert ["completion_log_file"] == [row.name for row in rows if not row.is_default]

    def test_nothing_set(self) -> None:
        """Without settings every row is a default, also where the value set happens to be that of the default."""
        assert all(row.is_default for row in explain(LLMSettings()))
        assert ["service"] == [row.name for row in explain(LLMSettings(service=None)) if not row.is_default]

    def test_replaced_values_leave_no_source(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A list that replaces another is shown with its own source, patches of the other one notwithstanding."""
        Path("s.env").write_text("LLM__SINKS__0__PATH=old.log\n")
        write("s.json", {"sinks": THREE_SINKS})
        monkeypatch.setenv("LLM__SINKS", "file:new.log")

        settings, sources = load_with_sources("s.json", env_file="s.env")

        assert SettingRow("sinks.0.path", "new.log", "LLM__SINKS (env)") in explain(settings, sources)

    def test_file_of_the_log_file(self) -> None:
        """Without sinks the file that is written is shown, with the setting that made it."""
        rows = explain(LLMSettings(completion_log_file="x.log"))

        assert SettingRow("completion_log_file", "x.log", "argument") in rows
        assert SettingRow("sinks.0.path", "x.log", "completion_log_file") in rows
        assert SettingRow("sinks.0.max_bytes", 52_428_800, "default") in rows

    def test_ready_sink(self) -> None:
        """A ready sink is shown by its class."""
        assert SettingRow("sinks.0", "PlainSink", "argument") in explain(LLMSettings(sinks=[PlainSink()]))

    def test_secrets_are_masked(self) -> None:
        """Secrets are masked: secret types, names that say so, user information in URLs, entries of mappings."""
        sink = SecretSinkConfig(secret_key="zq-planted", password=SecretStr("zq-planted"))

        rows = {row.name: row.value for row in explain(LLMSettings(sinks=[sink]))}

        assert {
            "sinks.0.secret_key": MASK,
            "sinks.0.password": MASK,
            "sinks.0.kms_key_id": "alias/x",
            "sinks.0.endpoint": f"https://{MASK}@host/x",
            "sinks.0.headers": {"X-Api-Key": MASK, "Accept": "json"},
            "sinks.0.max_tokens": 5,
        }.items() <= rows.items()
        assert "zq-planted" not in str(rows)

    def test_every_value_fits_json(self) -> None:
        """Rows can be written as JSON, and each has a text for people."""
        rows = explain(LLMSettings(sinks=["stdout:?events=run", PlainSink()], service="bot"))

        json.dumps(rows)
        texts = {row.name: row.text for row in rows}
        assert ("true", "500", "bot", "null", '["run"]') == (
            texts["enable_completion_logging"],
            texts["log_prompt_preview_length"],
            texts["service"],
            texts["model"],
            texts["sinks.0.events"],
        )


class TestSchema:
    def test_names_every_setting_with_its_description(self) -> None:
        """The schema describes each setting for editors."""
        schema = settings_schema()
        llm = schema["$defs"]["LLMSettings"]["properties"]

        assert {"$ref": "#/$defs/LLMSettings"} == schema["properties"]["llm"]
        assert set(llm) == set(known_settings())
        assert all(setting["description"] for setting in llm.values())
        assert schema["$defs"]["LLMSettings"]["additionalProperties"] is False

    def test_lists_the_built_in_sinks(self) -> None:
        """A sink is a URL, a built-in type with all its settings, or another type."""
        schema = settings_schema()
        forms = schema["$defs"]["LLMSettings"]["properties"]["sinks"]["items"]["anyOf"]

        named = [form["$ref"].rpartition("/")[2] for form in forms if "$ref" in form]
        assert [
            "DirectorySinkConfig",
            "FileSinkConfig",
            "MemorySinkConfig",
            "S3SinkConfig",
            "StdoutSinkConfig",
        ] == named
        assert "string" == forms[0]["type"]
        assert ["path", "type"] == schema["$defs"]["FileSinkConfig"]["required"]

    def test_is_json(self) -> None:
        """The schema can be written to a file."""
        assert settings_schema() == json.loads(json.dumps(settings_schema()))

    def test_other_sections_are_allowed(self) -> None:
        """The schema says nothing about the sections of other programs."""
        assert "additionalProperties" not in settings_schema()


class TestImport:
    def test_settings_import_nothing_heavy(self) -> None:
        """Importing the settings loads pydantic, and pydantic-settings only when something is read."""
        heavy = "('structlog', 'boto3', 'langchain_core', 'genai_prices', 'duckdb', 'pydantic_settings', 're2')"
        code = (
            "import sys, structllm.settings, structllm.settings_view\n"
            "structllm.settings.LLMSettings(service='x')\n"
            f"print([name for name in {heavy} if name in sys.modules])"
        )

        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

        assert "[]" == done.stdout.strip()

    def test_own_sink_satisfies_the_protocol(self) -> None:
        """The sink of these tests is one by the definition that the settings use."""
        assert isinstance(PlainSink(), Sink)
