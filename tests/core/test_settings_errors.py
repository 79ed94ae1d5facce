"""What is said about wrong settings: every problem, its place, the remedy, and never a value."""

import json
import os
import traceback
import warnings
from collections.abc import Iterator
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError

from structllm.errors import ConfigError
from structllm.settings import LLMSettings, RedactionSettings, load_settings
from structllm.sinks.config import SinkConfig

LEVELS = "must be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'"
PACKS = "must be 'credentials', 'crypto', 'payment', 'pii' or 'entropy'"
A_PATH = "this looks like a path, which belongs in log_file= (setting completion_log_file)"
SETTINGS_EXPECTED = (
    "settings (argument): must be LLMSettings or a mapping of settings, e.g. {'completion_log_level': 'DEBUG'}"
)
TYPES = "(installed: directory, file, memory, s3, stdout)"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variables of ours, and an empty working directory."""
    for name in os.environ:
        if "llm" in name.lower():
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch):
    """Return a function that loads settings from variables and a file, and returns the lines of the error."""

    def load(variables: dict[str, str] | None = None, file: object = None, **arguments: Any) -> list[str]:
        for name, value in (variables or {}).items():
            monkeypatch.setenv(name, value)
        if file is not None:
            text = file if isinstance(file, str) else json.dumps({"llm": file})
            arguments["path"] = Path("structllm.json")
            arguments["path"].write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_settings(**arguments)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        first, *lines = str(caught.value).splitlines()
        assert "structllm: invalid configuration" == first
        assert [f"  {problem}" for problem in caught.value.problems] == lines
        return [line.removeprefix("  ") for line in lines]

    return load


class TestUnknownSettings:
    def test_in_the_environment(self, problems) -> None:
        """A misspelt variable is named with the setting that was meant."""
        assert ["LLM__COMPLETION_LOG_FIEL (env): unknown setting; did you mean 'completion_log_file'?"] == problems(
            {"LLM__COMPLETION_LOG_FIEL": "x"}
        )

    def test_in_the_file(self, problems) -> None:
        """A misspelt key is named with its path and file."""
        assert [
            "llm.complettion_log_file (structllm.json): unknown setting; did you mean 'completion_log_file'?"
        ] == problems(file={"complettion_log_file": "x"})

    def test_in_an_env_file(self, problems) -> None:
        """A misspelt variable in a `.env` file is named with that file."""
        Path("prod.env").write_text("LLM__SERVIZE=x\n")

        assert ["LLM__SERVIZE (prod.env): unknown setting; did you mean 'service'?"] == problems(env_file="prod.env")

    def test_in_a_secret(self, problems) -> None:
        """A misspelt secret is named as a secret."""
        Path("secrets").mkdir()
        Path("secrets/llm__servize").write_text("x")

        assert ["LLM__SERVIZE (secret): unknown setting; did you mean 'service'?"] == problems(secrets_dir="secrets")

    def test_as_an_argument(self, problems) -> None:
        """A misspelt argument is named as an argument."""
        assert ["servize (argument): unknown setting; did you mean 'service'?"] == problems(servize="x")

    def test_without_a_near_name(self, problems) -> None:
        """Where nothing is near, nothing is suggested."""
        assert ["LLM__QQQQ (env): unknown setting"] == problems({"LLM__QQQQ": "x"})

    @pytest.mark.parametrize(
        ("variable", "expected"),
        [
            ("LLM__REDACTION__PACK", "LLM__REDACTION__PACK (env): unknown setting; did you mean 'packs'?"),
            (
                "LLM__COMPLETION_LOG_LEVEL__X",
                "LLM__COMPLETION_LOG_LEVEL__X (env): unknown setting; did you mean 'completion_log_level'?",
            ),
            ("LLM___SERVICE", "LLM___SERVICE (env): unknown setting; did you mean 'service'?"),
            ("LLM__", "LLM__ (env): unknown setting"),
            ("LLM__REDACTION__", "LLM__REDACTION__ (env): unknown setting"),
        ],
    )
    def test_inside_and_beside_settings(self, problems, variable: str, expected: str) -> None:
        """Names that are too deep, or have too many underscores, are unknown settings too."""
        assert [expected] == problems({variable: "x"})

    def test_inside_a_sink(self, problems) -> None:
        """A misspelt setting of a sink is named with the position of the sink, and its value is not shown."""
        file = {"sinks": [{"type": "file", "path": "a", "backup_cuont": 3, "secret_kye": "zq-planted"}]}

        assert [
            "llm.sinks.0.backup_cuont (structllm.json): unknown setting; did you mean 'backup_count'?",
            "llm.sinks.0.secret_kye (structllm.json): unknown setting",
        ] == problems(file=file)

    def test_names_are_made_printable(self, problems) -> None:
        """A name cannot break the lines of the message or fill the screen."""
        assert [
            "llm.a?b?[31m (structllm.json): unknown setting",
            f"llm.{'x' * 64}... (structllm.json): unknown setting",
        ] == problems(file={"a\nb\x1b[31m": 1, "x" * 500: 1})


class TestWrongValues:
    @pytest.mark.parametrize(
        ("setting", "value", "expected"),
        [
            ("performance_log_interval", 0, "must be at least 1"),
            ("performance_log_interval", 1.5, "must be a whole number"),
            ("performance_log_interval", "9" * 5000, "must be a whole number"),
            ("log_prompt_preview_length", -1, "must be at least 0"),
            ("log_response_preview_length", 10**9, "must be at most 10,000,000"),
            ("log_prompt_preview_length", None, "must be a whole number"),
            ("log_prompt_preview_length", "a lot", "must be a whole number"),
            ("enable_completion_logging", "maybe", "must be true or false"),
            ("enable_completion_logging", None, "must be true or false"),
            ("completion_log_level", "LOUD", LEVELS),
            ("completion_log_level", "warn", f"{LEVELS}; did you mean 'WARNING'?"),
            ("completion_log_level", {}, LEVELS),
            ("completion_log_level", 20, LEVELS),
            ("completion_log_level", "logging.INFO", LEVELS),
            ("completion_log_level", "logs/llm.log", f"{LEVELS}; {A_PATH}"),
            ("completion_log_level", "llm.log", f"{LEVELS}; {A_PATH}"),
            ("completion_log_level", "C:\\bot\\llm", f"{LEVELS}; {A_PATH}"),
            ("completion_log_file", "", "must not be empty"),
            ("completion_log_file", "  ", "must not be empty"),
            ("completion_log_file", "logs/", "names a directory; add the name of a file"),
            ("completion_log_file", "..", "names a directory; add the name of a file"),
            ("completion_log_file", "a\0b", "must not contain a null character"),
            ("completion_log_file", "~nobody-here/x", "begins with '~', but that home directory is not known"),
            ("completion_log_file", 7, "must be text, the path of a file"),
            ("service", "", "must not be empty"),
            ("service", 7, "must be text"),
            ("service", "x" * 201, "must have at most 200 characters"),
            ("sinks", {"main": {}}, "must be a list of sinks; in TOML each begins with [[llm.sinks]]"),
            ("sinks", 7, "must be a list of sinks; in TOML each begins with [[llm.sinks]]"),
        ],
    )
    def test_each_kind(self, problems, setting: str, value: object, expected: str) -> None:
        """A wrong value is told by its setting and the rule that it breaks."""
        assert [f"llm.{setting} (structllm.json): {expected}"] == problems(file={setting: value})

    def test_in_a_variable(self, problems) -> None:
        """A wrong value of a variable is told by the variable."""
        assert ["LLM__PERFORMANCE_LOG_INTERVAL (env): must be a whole number"] == problems(
            {"LLM__PERFORMANCE_LOG_INTERVAL": "often"}
        )

    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            (
                {"LLM__REDACTION__PACKS": "pii,credential"},
                f"LLM__REDACTION__PACKS (env): item 1: {PACKS}; did you mean 'credentials'?",
            ),
            (
                {"LLM__REDACTION__DENY_KEYS": "[iban"},
                "LLM__REDACTION__DENY_KEYS (env): not a valid JSON list; words between commas will do",
            ),
            (
                {"LLM__REDACTION": "no"},
                "LLM__REDACTION (env): must be a JSON object; use LLM__REDACTION__<SETTING>=value for one setting",
            ),
            ({"LLM__REDACTION": '{"packs": ["x"]}'}, f"LLM__REDACTION (env): packs: item 0: {PACKS}"),
            (
                {"LLM": '{"performance_log_interval": 0}'},
                "LLM (env): performance_log_interval: must be at least 1",
            ),
        ],
    )
    def test_inside_a_variable(self, problems, variables: dict[str, str], expected: str) -> None:
        """What is wrong inside the value of a variable is told from that variable inwards."""
        assert [expected] == problems(variables)

    def test_sections(self, problems) -> None:
        """A section that is no object is a problem of the section."""
        assert ["llm (structllm.json): must be an object of settings"] == problems(file='{"llm": 5}')

    def test_inner_section(self, problems) -> None:
        """A section inside that is no object is a problem of that section."""
        assert ["llm.redaction (structllm.json): must be an object of settings"] == problems(file={"redaction": 5})

    def test_all_problems_at_once(self, problems) -> None:
        """Problems of every source come in one error, each with its own place."""
        variables = {
            "LLM__COMPLETION_LOG_LEVEL": "LOUD",
            "LLM__SINKS__NOWHERE__PATH": "x",
            "LLM__SERVICE__X": "x",
        }
        file = {"performance_log_interval": 0, "sinks": [{"type": "stdout", "format": "yaml"}, "flie:x"]}

        assert sorted(
            [
                "LLM__SERVICE__X (env): unknown setting; did you mean 'service'?",
                "LLM__SINKS__NOWHERE__PATH (env): no sink is called 'nowhere' (sinks: 0 stdout, 1 ?)",
                f"LLM__COMPLETION_LOG_LEVEL (env): {LEVELS}",
                "llm.performance_log_interval (structllm.json): must be at least 1",
                "llm.sinks.0.format (structllm.json): must be 'json', 'console' or 'auto'",
                f"llm.sinks.1 (structllm.json): unknown type 'flie'; did you mean 'file'? {TYPES}",
                "redaction.packs.0 (argument): " + PACKS,
            ]
        ) == sorted(problems(variables, file, redaction={"packs": ["none"]}))


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "content", "expected"),
        [
            (
                "structllm.json",
                b'{"llm": {"a" 1}}',
                "structllm.json:1:14: not valid JSON (Expecting ':' delimiter)",
            ),
            ("structllm.json", b"", "structllm.json:1:1: not valid JSON (Expecting value)"),
            ("structllm.json", b'{"llm": {}}\n}', "structllm.json:2:1: not valid JSON (Extra data)"),
            ("structllm.json", b"[" * 100_000, "structllm.json: not valid JSON (nested too deeply)"),
            ("structllm.json", b"[" + b"9" * 5000 + b"]", "structllm.json: not valid JSON (a number is too long)"),
            ("structllm.json", b"[]", 'structllm.json: must hold an object such as {"llm": {...}}'),
            ("structllm.json", b"\xff\xfe{", "config file is not UTF-8 text: structllm.json"),
            ("s.toml", b"[llm]\nservice = bot\n", "s.toml:2:11: not valid TOML (Invalid value)"),
            ("s.toml", b"[llm]\nservice = ", "s.toml:2:11: not valid TOML (Invalid value)"),
            ("s.toml", b"llm = 5", "llm (s.toml): must be an object of settings"),
            ("s.yaml", b"llm: {}", "s.yaml: unknown kind of config file; it must end in .json or .toml"),
        ],
    )
    def test_broken_files(self, problems, name: str, content: bytes, expected: str) -> None:
        """A broken file is told by its name, line and column."""
        Path(name).write_bytes(content)

        assert [expected] == problems(path=name)

    def test_missing_files(self, problems) -> None:
        """A file that was named must exist, whichever kind it is; all missing ones are told."""
        assert [
            "env file not found: nope.env",
            "secrets directory not found: nope",
            "config file not found: /nope.json",
        ] == problems(path="/nope.json", env_file="nope.env", secrets_dir="nope")

    def test_missing_file_of_the_variable(self, problems) -> None:
        """A missing file that a variable named is told with the variable."""
        assert ["STRUCTLLM_CONFIG (env): config file not found: /nope.json"] == problems(
            {"STRUCTLLM_CONFIG": "/nope.json"}
        )

    def test_directory(self, problems) -> None:
        """A directory is no file."""
        assert ["config file is a directory: ."] == problems(path="")

    def test_name_that_no_file_can_have(self, problems) -> None:
        """A name that the operating system refuses is a problem, not a crash."""
        assert ["config file cannot be read (ValueError): a?b.json"] == problems(path="a\0b.json")

    def test_broken_env_file(self, problems) -> None:
        """A `.env` file that is no text is a problem without its bytes."""
        Path("s.env").write_bytes(b"LLM__SERVICE=\xff\n")

        assert ["env file is not UTF-8 text: s.env"] == problems(env_file="s.env")

    def test_patches_of_an_unread_file_are_not_blamed(self, problems) -> None:
        """Where the file cannot be read, the variables that patch its sinks are not called wrong."""
        assert ["config file not found: nope.json", "LLM__SERVIZE (env): unknown setting; did you mean 'service'?"] == (
            problems({"LLM__SINKS__MAIN__PATH": "x", "LLM__SERVIZE": "x"}, path="nope.json")
        )

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ({"lmm": {"service_": 1, "sinks": []}}, "lmm (structllm.json): unknown section; did you mean 'llm'?"),
            ({"llmm": {"completion_log_levl": 1}}, "llmm (structllm.json): unknown section; did you mean 'llm'?"),
            ({"LLM": {}}, "LLM (structllm.json): unknown section; did you mean 'llm'?"),
            ({"lmm": {"service": "x"}, "exchange": {}}, "lmm (structllm.json): unknown section; did you mean 'llm'?"),
            ({"lm": {}, "debug": True}, "lm (structllm.json): unknown section; did you mean 'llm'?"),
            ({"llm": {}, "lmm": {"sinks": []}}, "lmm (structllm.json): unknown section; did you mean 'llm'?"),
        ],
    )
    def test_misspelt_section(self, problems, content: object, expected: str) -> None:
        """Settings under a misspelt section are not ignored silently, whatever stands in it and beside it."""
        assert [expected] == problems(file=json.dumps(content))

    @pytest.mark.parametrize("value", ["x", 1, True, [], ["stdout:"], {}, {"enabled": False}])
    @pytest.mark.parametrize("setting", sorted(LLMSettings.model_fields.keys() - {"model", "service"}))
    def test_misplaced_settings(self, problems, setting: str, value: object) -> None:
        """Every setting outside the section is an error, whatever its value, with the section there or not."""
        expected = [f"{setting} (structllm.json): belongs inside the section 'llm'"]

        assert expected == problems(file=json.dumps({setting: value}))
        assert expected == problems(file=json.dumps({"llm": {}, setting: value}))

    @pytest.mark.parametrize("setting", ["model", "service"])
    def test_misplaced_everyday_names(self, problems, setting: str) -> None:
        """The settings that have everyday names are texts; outside the section a text of that name is an error."""
        assert [f"{setting} (structllm.json): belongs inside the section 'llm'"] == problems(
            file=json.dumps({setting: "x"})
        )

    @pytest.mark.parametrize(
        ("text", "setting"),
        [("[llm]\n[[sinks]]\ntype = 'stdout'\n", "sinks"), ("[redaction]\nenabled = false\n", "redaction")],
    )
    def test_misplaced_tables(self, problems, text: str, setting: str) -> None:
        """A TOML table that lacks `llm.` before its name is an error."""
        Path("s.toml").write_text(text)

        assert [f"{setting} (s.toml): belongs inside the section 'llm'"] == problems(path="s.toml")


class TestSinks:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("flie:a", f"LLM__SINKS (env): sink 0: unknown type 'flie'; did you mean 'file'? {TYPES}"),
            ('[{"type": "flie"}]', f"LLM__SINKS (env): sink 0: unknown type 'flie'; did you mean 'file'? {TYPES}"),
            ("stdout: s3x:", f"LLM__SINKS (env): sink 1: unknown type 's3x'; did you mean 's3'? {TYPES}"),
            ('[{"type": "file"}]', "LLM__SINKS (env): sink 0: path: is missing, it has no default"),
            (
                "[,]",
                "LLM__SINKS (env): not a valid JSON list (character 2: Expecting value)",
            ),
            (
                "file://user:zq@host/x",
                "LLM__SINKS (env): sink 0: a user name or password does not belong in a URL; give it in an object",
            ),
        ],
    )
    def test_list_in_a_variable(self, problems, text: str, expected: str) -> None:
        """What is wrong with a sink in `LLM__SINKS` is told by the position of the sink."""
        assert [expected] == problems({"LLM__SINKS": text})

    @pytest.mark.parametrize(
        ("variable", "expected"),
        [
            (
                "LLM__SINKS__THE_ARCHVE__PATH",
                "no sink is called 'the_archve'; did you mean 'the_archive'? (sinks: main, 1 stdout, the_archive)",
            ),
            ("LLM__SINKS__9__PATH", "no sink is called '9' (sinks: main, 1 stdout, the_archive)"),
            ("LLM__SINKS__FILE__PATH", "no sink is called 'file' (sinks: main, 1 stdout, the_archive)"),
            ("LLM__SINKS__0", "name the setting to change: LLM__SINKS__0__<SETTING>=value"),
            ("LLM__SINKS__MAIN__PTH", "unknown setting; did you mean 'path'?"),
            ("LLM__SINKS__MAIN__MAX_BYTES", "must be a whole number"),
        ],
    )
    def test_patches(self, problems, variable: str, expected: str) -> None:
        """A variable that patches nothing, or patches wrongly, is told by its own name."""
        sinks = [
            {"type": "file", "name": "main", "path": "a"},
            "stdout:",
            {"type": "file", "name": "The-Archive", "path": "b"},
        ]

        assert [f"{variable} (env): {expected}"] == problems({variable: "x"}, {"sinks": sinks})

    def test_names_to_choose_from(self, problems) -> None:
        """Sinks are listed by the names that variables take; one whose name is broken by its position and type."""
        sinks = [
            {"type": "file", "name": "decisions", "path": "a"},
            {"type": "file", "name": "zq planted", "path": "b"},
            {"type": "file", "name": "x" * 65, "path": "c"},
        ]

        first, *_ = problems({"LLM__SINKS__DECISION__PATH": "x"}, {"sinks": sinks})

        assert (
            "LLM__SINKS__DECISION__PATH (env): no sink is called 'decision'; did you mean 'decisions'? "
            "(sinks: decisions, 1 file, 2 file)"
        ) == first

    def test_patch_of_an_ambiguous_type(self, problems) -> None:
        """A type that two unnamed sinks have names neither of them."""
        assert [
            "LLM__SINKS__FILE__MODE (env): sinks 0 and 1 share that name; give them names, or say LLM__SINKS__0__..."
        ] == problems({"LLM__SINKS__FILE__MODE": "0640", "LLM__SINKS": "file:a file:b"})

    def test_patch_without_sinks(self, problems) -> None:
        """Without a list there is nothing to patch, and the remedy is said."""
        assert [
            "LLM__SINKS__0__PATH (env): there is no sink to change; set LLM__SINKS, or list sinks in the config file"
        ] == problems({"LLM__SINKS__0__PATH": "x"})

    def test_patch_of_a_broken_url(self, problems) -> None:
        """A patch of a sink that is wrong itself adds no second problem."""
        assert [f"llm.sinks.0 (structllm.json): unknown type {TYPES}"] == problems(
            {"LLM__SINKS__0__PATH": "x"}, {"sinks": ["zzz:x"]}
        )

    @pytest.mark.parametrize(
        ("variables", "file", "arguments", "expected"),
        [
            (
                {"LLM__SINKS": "stdout:"},
                {"completion_log_file": "x"},
                {},
                "llm.completion_log_file (structllm.json) and LLM__SINKS (env)",
            ),
            (
                {"LLM__COMPLETION_LOG_FILE": "x"},
                {"sinks": ["stdout:"]},
                {},
                "LLM__COMPLETION_LOG_FILE (env) and llm.sinks (structllm.json)",
            ),
            (
                {},
                {"sinks": ["stdout:"], "completion_log_file": "x"},
                {},
                "llm.completion_log_file (structllm.json) and llm.sinks (structllm.json)",
            ),
            (
                {},
                None,
                {"sinks": ["stdout:"], "completion_log_file": "x"},
                "completion_log_file (argument) and sinks (argument)",
            ),
        ],
    )
    def test_written_twice(
        self, problems, variables: dict[str, str], file: object, arguments: dict[str, Any], expected: str
    ) -> None:
        """A log file and sinks that are both set explicitly are a problem that names both."""
        assert [f"{expected}: set only one, or every event is written twice"] == problems(variables, file, **arguments)

    def test_written_twice_to_one_file(self, problems) -> None:
        """Two sinks cannot write the same file or have the same name."""
        sinks = [
            "file:logs/a.log",
            {"type": "file", "path": "./logs/../logs/a.log"},
            "stdout:?name=x",
            "memory:?name=X",
        ]

        assert [
            "llm.sinks.1 (structllm.json): has the same path as sink 0",
            "llm.sinks.3 (structllm.json): has the same name as sink 2",
        ] == problems(file={"sinks": sinks})


class Fruit(Enum):
    """A closed choice."""

    APPLE = "apple"
    PEAR = "pear"


class BoundedSinkConfig(SinkConfig):
    """A sink of somebody else with every kind of rule."""

    type: Literal["bounded"] = "bounded"
    share: float = Field(default=0.5, gt=0, lt=1000.5)
    since: date = Field(default=date(2020, 1, 1), ge=date(2020, 1, 1))
    parts: tuple[str, ...] = Field(default=("a",), min_length=1, max_length=2)
    table: dict[str, int] = Field(default_factory=dict)
    code: str = Field(default="abc", min_length=3, pattern="^[a-z]+$")
    kind: Fruit = Fruit.PEAR
    folder: Path = Path()


class TestPlainWords:
    @pytest.mark.parametrize(
        ("setting", "value", "expected"),
        [
            ("share", 0, "must be greater than 0.0"),
            ("share", 2000, "must be less than 1,000.5"),
            ("share", "half", "must be a number"),
            ("share", "inf", "must be less than 1,000.5"),
            ("since", "2019-01-01", "must be greater than or equal to 2020-01-01"),
            ("since", "soon", "must be a valid date or datetime, input is too short"),
            ("parts", (), "must not be empty"),
            ("parts", ("a", "b", "c"), "must have at most 2 items"),
            ("parts", 5, "must be a list"),
            ("table", 5, "must be an object"),
            ("code", "ab", "must have at least 3 characters"),
            ("code", "ABC", "must match pattern '^[a-z]+$'"),
            ("kind", "appel", "must be 'apple' or 'pear'; did you mean 'apple'?"),
            ("folder", 5, "must be text, the path of a file or directory"),
        ],
    )
    def test_each_rule(self, setting: str, value: object, expected: str) -> None:
        """A rule of pydantic is told as people say it, those of other packages' sinks included."""
        with pytest.raises(ConfigError) as caught:
            BoundedSinkConfig(**{setting: value})

        assert (f"{setting} (argument): {expected}",) == caught.value.problems


class TestOf:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (5, SETTINGS_EXPECTED),
            ([], SETTINGS_EXPECTED),
            (RedactionSettings(), SETTINGS_EXPECTED),
            ("zq-planted.json", f"{SETTINGS_EXPECTED}; load_settings(path) reads a file"),
            (Path("zq-planted.json"), f"{SETTINGS_EXPECTED}; load_settings(path) reads a file"),
            (
                {"llm": {"service": "zq-planted"}},
                "settings (argument): must be what the section 'llm' holds; pass settings['llm']",
            ),
            ({"servize": "zq-planted"}, "servize (argument): unknown setting; did you mean 'service'?"),
            ({"performance_log_interval": 0}, "performance_log_interval (argument): must be at least 1"),
            ({3: "zq-planted"}, "3 (argument): unknown setting"),
        ],
    )
    def test_wrong(self, given: Any, expected: str) -> None:
        """What is neither settings nor a mapping of settings is refused with what was expected."""
        with pytest.raises(ConfigError) as caught:
            LLMSettings.of(given)

        assert (expected,) == caught.value.problems


class TestDirectConstruction:
    def test_settings(self) -> None:
        """`LLMSettings(...)` raises ConfigError with every problem."""
        with pytest.raises(ConfigError) as caught:
            LLMSettings(
                performance_log_interval=0,
                redaction={"packs": ["pi"], "pack": 1},
                sinks=["stdout:", "flie:x"],
                servize="x",  # type: ignore[call-arg]  # that it is refused is the point
            )

        assert (
            "performance_log_interval (argument): must be at least 1",
            f"sinks.1 (argument): unknown type 'flie'; did you mean 'file'? {TYPES}",
            f"redaction.packs.0 (argument): {PACKS}; did you mean 'pii'?",
            "redaction.pack (argument): unknown setting; did you mean 'packs'?",
            "servize (argument): unknown setting; did you mean 'service'?",
        ) == caught.value.problems
        assert caught.value.__context__ is None

    def test_written_twice(self) -> None:
        """A log file and sinks together are refused there too."""
        with pytest.raises(ConfigError) as caught:
            LLMSettings(completion_log_file="x", sinks=["stdout:"])

        assert (
            "completion_log_file and sinks: set only one, or every event is written twice",
        ) == caught.value.problems

    def test_redaction(self) -> None:
        """The inner settings raise ConfigError as well."""
        with pytest.raises(ConfigError, match=r"enabled \(argument\): must be true or false"):
            RedactionSettings(enabled="perhaps")  # type: ignore[arg-type]  # that it is refused is the point

    def test_inside_a_model_of_the_host(self) -> None:
        """In the host's own pydantic model the problems arrive as that model's error."""

        class Bot(BaseModel):
            llm: LLMSettings

        with pytest.raises(ValueError, match=r"performance_log_interval.*at least 1"):
            Bot.model_validate({"llm": {"performance_log_interval": 0}})
        assert 3 == Bot.model_validate({"llm": {"performance_log_interval": 3}}).llm.performance_log_interval


class TalkativeSinkConfig(SinkConfig):
    """A sink of somebody else whose checks quote what they refuse."""

    type: Literal["talkative"] = "talkative"
    token: SecretStr = SecretStr("")
    address: str = ""
    number: int = Field(default=0, ge=0)
    parts: tuple[str, ...] = ()

    @field_validator("address")
    @classmethod
    def _quote(cls, value: str) -> str:
        raise ValueError(f"cannot use {value!r}")

    @field_validator("parts")
    @classmethod
    def _quote_a_piece(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        raise PydanticCustomError("own", "cannot use {first}", {"first": value[0][:10]})


SETTINGS = sorted(LLMSettings.model_fields)


def plantings(secret: str) -> Iterator[tuple[dict[str, str], object, dict[str, Any]]]:
    """Yield variables, file and arguments that hold a secret, one place after the other."""
    for name in SETTINGS:
        yield {f"LLM__{name.upper()}": secret}, None, {}
        for value in (secret, [secret], {"a": secret}, [[secret]], {"packs": [secret], "enabled": secret}):
            yield {}, {name: value}, {}
        yield {}, None, {name: secret}
    for text in (
        secret,
        f"{secret}:x",
        f"file:{secret}?mode={secret}",
        f"stdout:?format={secret}",
        f"stdout:?{secret}",
        f"file:a?mode=7&{secret}=1",
        f"file:a?level={secret}&level={secret}",
        f"file://{secret}@host/x",
        f"file://user:{secret}@host/x",
        f"file://{secret}/x",
        f"file://[{secret}",
        f"file:a#{secret}",
        f"stdout:{secret}",
        f"stdout:?name={secret}!",
        f"stdout:?events={secret}",
        f"[{secret}",
        f'["{secret}", {{"type": "{secret}"}}]',
        f'[{{"type": "file", "path": "a", "mode": "{secret}", "max_bytes": "{secret}", "level": "{secret}"}}]',
        f'{{"type": "{secret}"}}',
    ):
        yield {"LLM__SINKS": text}, None, {}
        yield {}, {"sinks": [text]}, {}
    yield {"LLM": secret}, None, {}
    yield {"LLM": f'{{"service": {secret}'}, None, {}
    yield {"LLM": json.dumps({"performance_log_interval": secret, "sinks": secret})}, None, {}
    yield {"LLM__REDACTION__PACKS": secret, "LLM__REDACTION__ENABLED": secret}, None, {}
    yield {"LLM__REDACTION__HMAC_KEY": secret[:20], "LLM__REDACTION__RULES": secret}, None, {}
    texts = {"keywords": [secret], "validators": [secret], "allow": [f"({secret}"], "description": secret}
    tests = {"match": [secret], "no_match": [f"-{secret}"]}
    for rule in (
        {"id": f"{secret}!", "pattern": f"{secret}(", "tests": tests, **texts},
        {"id": "own", "pattern": "(.)", "group": secret, "window": secret, "action": secret, "tests": secret},
        {"id": "own", "pattern": "[a-z].*", "tests": tests},
        {"id": "own", "pattern": "[0-9]{30}", "tests": tests},
    ):
        yield (
            {},
            {"redaction": {"rules": [rule], "action": secret, "actions": {"pii": secret}, "hmac_key_id": secret}},
            {},
        )
    yield {"LLM__SINKS__0__PATH": secret, "LLM__SINKS__NO__PATH": secret, "LLM__SERVIZE": secret}, None, {}
    yield {"LLM__SINKS__MAIN__MODE": secret}, {"sinks": [{"type": "file", "name": f"{secret}!", "path": secret}]}, {}
    yield {"LLM_SINKS": secret, "LLMM__SINKS": secret, "STRUCTLLM_CONFIG_FILE": secret}, None, {}
    yield {}, f'{{"llm": {{"service": {secret}', {}
    yield {}, f'{{"llm": "{secret}"}}', {}
    yield {}, f'{{"lmm": {{"sinks": "{secret}"}}, "completion_log_file": "{secret}"}}', {}


def texts_of(error: BaseException) -> str:
    """Return everything that a report of the exception could print, its whole chain included."""
    seen: list[str] = []
    chain: list[BaseException | None] = [error]
    while chain:
        link = chain.pop()
        if link is not None:
            seen += [str(link), repr(link), repr(link.args), repr(getattr(link, "problems", ""))]
            seen += traceback.format_exception_only(link)
            chain += [link.__cause__, link.__context__]
    return "\n".join(seen)


class TestNoValueIsShown:
    @settings(max_examples=4, deadline=None)
    @given(secret=st.from_regex(r"\A[a-zA-Z0-9/+]{16,40}\Z").map(lambda text: "zq" + text))
    @example(secret="zq-with spaces, commas & 'quotes' \" \\ \n <b>")
    @example(secret="zq-\u202e-right-to-left-\U0001f600")
    @example(secret="zq-\udcff-undecodable-bytes")
    def test_in_any_error_or_warning(self, tmp_path_factory: pytest.TempPathFactory, secret: str) -> None:
        """Wherever a value stands, no error text, exception chain or warning repeats it."""
        file = tmp_path_factory.getbasetemp() / "planted.json"
        for variables, content, arguments in plantings(secret):
            content = {**content, "log_prompt_preview_length": -1} if isinstance(content, dict) else content
            with environment({**variables, "LLM__LOG_RESPONSE_PREVIEW_LENGTH": "-1"}):
                if content is not None:
                    text = content if isinstance(content, str) else json.dumps({"llm": content})
                    file.write_bytes(text.encode(errors="surrogatepass"))
                    arguments = {**arguments, "path": file}
                with (
                    warnings.catch_warnings(record=True, action="always") as caught,
                    pytest.raises(ConfigError) as raised,
                ):
                    load_settings(**arguments)
            shown = texts_of(raised.value) + "".join(str(warning.message) for warning in caught)
            assert secret not in shown
            assert secret.lower()[:12] not in shown.lower()

    @settings(max_examples=15, deadline=None)
    @given(secret=st.from_regex(r"\A[a-zA-Z0-9/+]{16,40}\Z").map(lambda text: "zq" + text))
    def test_in_direct_construction(self, secret: str) -> None:
        """Settings and sinks built in code keep values out of their errors as well, talkative plugins included."""
        builds: list[tuple[Any, dict[str, Any]]] = [
            *((LLMSettings, {name: {"a": [secret]}}) for name in SETTINGS),
            (RedactionSettings, {"packs": [secret], "enabled": secret}),
            (TalkativeSinkConfig, {"address": secret}),
            (TalkativeSinkConfig, {"parts": [secret]}),
            (TalkativeSinkConfig, {"token": {"a": secret}, "number": secret}),
        ]
        for build, arguments in builds:
            with pytest.raises(ConfigError) as raised:
                build(**arguments)
            assert secret[:10] not in texts_of(raised.value)

    def test_talkative_check_is_replaced(self) -> None:
        """A check that quotes the value is replaced by a sentence that does not; others keep their words."""
        with pytest.raises(ConfigError) as raised:
            TalkativeSinkConfig(address="zq-planted-value", number=-1)

        assert (
            "address (argument): this value is not accepted",
            "number (argument): must be at least 0",
        ) == raised.value.problems


def environment(variables: dict[str, str]) -> Any:
    """Return a context in which exactly these variables of ours are set."""
    others = {name: value for name, value in os.environ.items() if "llm" not in name.lower()}
    return mock.patch.dict(os.environ, {**others, **{n: v for n, v in variables.items() if "\0" not in v}}, clear=True)
