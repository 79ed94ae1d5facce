"""Sink types and what users write to configure a sink."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm.errors import ConfigError, MissingExtra
from structllm.sinks.config import SinkConfig
from structllm.sinks.file import FileSinkConfig
from structllm.sinks.memory import MemorySinkConfig
from structllm.sinks.registry import (
    BUILT_IN,
    load_sink_config,
    load_sink_type,
    read_sink_list,
    read_sink_url,
    sink_types,
)
from structllm.sinks.stdout import StdoutSinkConfig

HOW_TO_WRITE = "a sink URL begins with its type and ':', as in 'file:logs/llm.jsonl' or 'stdout:?format=console'"
TYPES = "(installed: directory, file, memory, s3, stdout)"


def problems(given: object) -> list[str]:
    """Return the problems that `load_sink_config` finds."""
    with pytest.raises(ConfigError) as caught:
        load_sink_config(given)  # type: ignore[arg-type]  # wrong input is the point
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that installs a package with entry points in the group `structllm.sinks`."""

    def install(package: str, entry_points: dict[str, str], code: str = "") -> None:
        site = tmp_path / package
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in entry_points.items())
        (info / "entry_points.txt").write_text(f"[structllm.sinks]\n{lines}")
        (site / f"{package}.py").write_text(code)
        monkeypatch.syspath_prepend(site)

    yield install
    for name in [name for name in sys.modules if name.startswith("ourplug_")]:
        del sys.modules[name]


PLUGIN = """
from typing import Literal
from structllm.sinks.config import SinkConfig


class QueueConfig(SinkConfig):
    type: Literal["queue"] = "queue"
    topic: str

    @classmethod
    def from_location(cls, host, path):
        return {"topic": host}
"""


class TestBuiltInTypes:
    def test_each_built_in_type_can_be_loaded(self) -> None:
        """The name of a built-in type is the literal type of its configuration class."""
        for name in BUILT_IN:
            assert name == load_sink_type(name).model_fields["type"].default

    def test_all_of_them_are_listed(self) -> None:
        """The built-in types are always listed."""
        assert {"file", "memory", "stdout"} <= set(sink_types())

    def test_types_are_imported_only_when_used(self) -> None:
        """Importing the registry imports no sink."""
        code = (
            "import sys, structllm.sinks.registry\n"
            "print([name for name in sys.modules if name.startswith('structllm.sinks.')])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert "['structllm.sinks.config', 'structllm.sinks.registry']" == done.stdout.strip()


class TestInstalledTypes:
    def test_entry_point_adds_a_type(self, install) -> None:
        """A package adds a type by an entry point; objects and URLs of that type work."""
        install("ourplug_queue", {"queue": "ourplug_queue:QueueConfig"}, PLUGIN)

        config = load_sink_config({"type": "queue", "topic": "llm"})

        assert "queue" in sink_types()
        assert "QueueConfig" == type(config).__name__
        assert load_sink_config("queue://llm?level=error") == load_sink_config(
            {"type": "queue", "topic": "llm", "level": "ERROR"}
        )

    def test_its_own_model_refuses_wrong_settings(self, install) -> None:
        """The settings of an installed type are checked by the package's model."""
        install("ourplug_queue2", {"queue": "ourplug_queue2:QueueConfig"}, PLUGIN)

        assert [
            "topic (argument): is missing, it has no default",
            "topc (argument): unknown setting; did you mean 'topic'?",
        ] == (problems({"type": "queue", "topc": "llm"}))

    def test_built_in_types_cannot_be_replaced(self, install) -> None:
        """An entry point named like a built-in type is not used."""
        install("ourplug_file", {"file": "ourplug_file:QueueConfig"}, PLUGIN)

        assert FileSinkConfig is load_sink_type("file")

    def test_broken_package_is_named(self, install) -> None:
        """A package that cannot be imported gives a problem that names it, not its exception."""
        install("ourplug_broken", {"queue": "ourplug_broken:QueueConfig"}, "import ourplug_not_there")

        assert [
            "sink type 'queue' of package ourplug_broken cannot be loaded: No module named 'ourplug_not_there'"
        ] == problems({"type": "queue"})

    def test_failing_package_does_not_speak_for_itself(self, install) -> None:
        """Of an exception other than ImportError only the type is told."""
        install("ourplug_bad", {"queue": "ourplug_bad:QueueConfig"}, "raise RuntimeError('a private text')")

        assert ["sink type 'queue' of package ourplug_bad cannot be loaded: RuntimeError"] == problems(
            {"type": "queue"}
        )

    def test_other_classes_are_refused(self, install) -> None:
        """An entry point must name a subclass of SinkConfig."""
        install("ourplug_other", {"queue": "ourplug_other:Thing"}, "class Thing: pass")

        assert [
            "sink type 'queue' of package ourplug_other cannot be loaded: what it names is no SinkConfig"
        ] == problems({"type": "queue"})

    def test_two_packages_with_one_type(self, install) -> None:
        """Two packages that offer the same type are a problem; neither is chosen silently."""
        install("ourplug_one", {"queue": "ourplug_one:QueueConfig"}, PLUGIN)
        install("ourplug_two", {"queue": "ourplug_two:QueueConfig"}, PLUGIN)

        assert ["several packages offer this sink type: ourplug_one, ourplug_two; uninstall all but one"] == problems(
            {"type": "queue"}
        )

    def test_missing_extra_keeps_its_own_sentence(self, install) -> None:
        """A package may say by MissingExtra which extra it needs; that is not reworded."""
        code = "from structllm.errors import MissingExtra\nraise MissingExtra('Queue sink', 'queuelib', 'queue')"
        install("ourplug_extra", {"queue": "ourplug_extra:QueueConfig"}, code)

        with pytest.raises(MissingExtra, match="Queue sink needs queuelib"):
            load_sink_config({"type": "queue"})


class TestLoadSinkConfig:
    def test_configuration_is_returned_as_it_is(self) -> None:
        """A ready configuration is not touched."""
        config = MemorySinkConfig()

        assert config is load_sink_config(config)

    def test_object(self) -> None:
        """An object is checked by the class of its type."""
        assert FileSinkConfig(path=Path("a.log"), max_bytes=2048) == load_sink_config(
            {"type": "file", "path": "a.log", "max_bytes": 2048}
        )

    def test_given_object_is_not_changed(self) -> None:
        """The object given keeps its contents."""
        given = {"type": "file", "path": "a.log"}

        load_sink_config(given)

        assert {"type": "file", "path": "a.log"} == given

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (
                {"type": "flie"},
                f"unknown type 'flie'; did you mean 'file'? {TYPES}",
            ),
            ({"type": "zzz-private"}, f"unknown type {TYPES}"),
            ({"path": "a"}, f"'type' is missing {TYPES}"),
            ({"type": 7}, f"'type' must be text {TYPES}"),
            ({"type": "file"}, "path (argument): is missing, it has no default"),
            (
                {"type": "file", "path": "a", "max_byte": 1},
                "max_byte (argument): unknown setting; did you mean 'max_bytes'?",
            ),
            ({"type": "stdout", 1: 2}, "1 (argument): unknown setting"),
            (
                7,
                f"must be an object with a 'type', or a URL; {HOW_TO_WRITE}",
            ),
        ],
    )
    def test_wrong_objects(self, given: object, expected: str) -> None:
        """What is wrong with an object is said in one sentence that names settings and types, not values."""
        assert [expected] == problems(given)

    def test_all_problems_at_once(self) -> None:
        """Every wrong setting of a sink is told, not only the first."""
        assert [
            "mode (argument): must be text",
            "max_bytes (argument): must be at least 1,024",
        ] == problems({"type": "file", "path": "a", "max_bytes": 3, "mode": 600})

    def test_direct_construction_reports_the_same_way(self) -> None:
        """A configuration built in code raises ConfigError as well, without pydantic's text."""
        with pytest.raises(ConfigError) as caught:
            StdoutSinkConfig(format="yaml")  # type: ignore[arg-type]  # wrong input is the point

        assert ("format (argument): must be 'json', 'console' or 'auto'",) == caught.value.problems
        assert caught.value.__context__ is None


class TestSinkUrls:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("file:///var/log/llm.jsonl?max_bytes=52428800", FileSinkConfig(path=Path("/var/log/llm.jsonl"))),
            ("file:logs/x.jsonl", FileSinkConfig(path=Path("logs/x.jsonl"))),
            ("file://localhost/var/x.jsonl", FileSinkConfig(path=Path("/var/x.jsonl"))),
            ("FILE:x.jsonl", FileSinkConfig(path=Path("x.jsonl"))),
            ("file:a%20b%23c.jsonl", FileSinkConfig(path=Path("a b#c.jsonl"))),
            ("file:a+b.jsonl?name=c%2Ed", FileSinkConfig(path=Path("a+b.jsonl"), name="c.d")),
            ("stdout:?format=console", StdoutSinkConfig(format="console")),
            ("stdout:", StdoutSinkConfig()),
            ("stdout", StdoutSinkConfig()),
            ("stdout://?format=auto", StdoutSinkConfig(format="auto")),
            ("memory:?max_records=5&level=error", MemorySinkConfig(max_records=5, level="ERROR")),
            (
                "stdout:?events=run,trading_decision",
                StdoutSinkConfig(events=frozenset({"run", "trading_decision"})),
            ),
        ],
    )
    def test_urls(self, url: str, expected: SinkConfig) -> None:
        """A URL stands for a type, a place and options."""
        assert expected == load_sink_config(url)

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("flie:a", f"unknown type 'flie'; did you mean 'file'? {TYPES}"),
            ("C:\\logs\\x", f"unknown type {TYPES}"),
            (
                "logs/x.jsonl",
                f"no sink URL; {HOW_TO_WRITE}",
            ),
            ("file://logs/x", "'//' begins a host; write 'file:logs/x.jsonl' or 'file:///var/log/x.jsonl'"),
            ("file:", "'path' in the URL: is missing, it has no default"),
            ("stdout:abc", "this type has no place to write after the ':'; options follow a '?'"),
            ("file:a?max_byte=1", "unknown option in the URL; did you mean 'max_bytes'?"),
            (
                "stdout:?zzz=1",
                (
                    "unknown option in the URL; known are name, level, events, delivery, on_full, block_timeout_s, "
                    "queue_max_bytes, queue_max_items, format, max_line_bytes, write_timeout_s"
                ),
            ),
            ("file:a?type=stdout", "the type in the URL is what stands before the ':', not an option"),
            ("file:a?mode=0600&mode=0640", "'mode' is given twice in the URL"),
            ("file:a?path=b", "'path' is given twice in the URL"),
            ("file:a?mode", "option 'mode' in the URL has no '=value'"),
            ("file:a#b", "a '#' in a URL is written '%23'"),
            ("file:a b", "a space or control character in a URL is written in percent form, as in '%20'"),
            ("file://[x", "no valid URL"),
            (
                "file:a?max_bytes=x",
                "'max_bytes' in the URL: must be a whole number",
            ),
        ],
    )
    def test_wrong_urls(self, url: str, expected: str) -> None:
        """What is wrong with a URL is said in one sentence without the URL."""
        assert [expected] == problems(url)

    def test_user_and_password_are_refused(self) -> None:
        """A URL with user information is refused whatever its type, and not repeated."""
        for url in ("s3://user:pass@bucket/prefix", "file://user@localhost/x"):
            assert ["a user name or password does not belong in a URL; give it in an object"] == problems(url)

    def test_secret_options_are_refused(self, install) -> None:
        """An option that is a secret by its name is refused in a URL."""
        install("ourplug_sec", {"queue": "ourplug_sec:QueueConfig"}, PLUGIN + "    secret_key: str = ''\n")

        assert ["a secret does not belong in a URL; give 'secret_key' in an object"] == problems(
            "queue://q?secret_key=x"
        )

    def test_name_of_an_unknown_option_is_not_shown(self) -> None:
        """A value with an '&' in it would otherwise be shown in part as the name of an option."""
        assert "zq81" not in problems("file:a?mode=0600&zq81")[0]

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=40))
    def test_any_text_is_a_configuration_or_a_problem(self, text: str) -> None:
        """No text makes the parser fail in another way than by ConfigError."""
        for url in (text, f"file:{text}", f"stdout:?{text}", f"file://{text}"):
            with contextlib.suppress(ConfigError):
                load_sink_config(url)

    def test_options_stay_text(self) -> None:
        """`read_sink_url` checks names only; the values are checked by the configuration class."""
        assert {"type": "file", "path": "a", "max_bytes": "x"} == read_sink_url("file:a?max_bytes=x")


class TestReadSinkList:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("file:///a stdout:", ["file:///a", "stdout:"]),
            ("file:///a,stdout:", ["file:///a", "stdout:"]),
            ("file:a, stdout", ["file:a", "stdout"]),
            ("file:a,stdout", ["file:a", "stdout"]),
            ("stdout,file:a,", ["stdout", "file:a"]),
            ("file:a?events=run,alert stdout:", ["file:a?events=run,alert", "stdout:"]),
            ("file:a?events=run,alert,stdout:", ["file:a?events=run,alert", "stdout:"]),
            ('["stdout:", {"type": "memory"}]', ["stdout:", {"type": "memory"}]),
            ("[]", []),
        ],
    )
    def test_lists(self, text: str, expected: list[object]) -> None:
        """A list is JSON, or URLs between spaces or commas; commas inside a query belong to the URL."""
        assert expected == read_sink_list(text)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("[{", "not a valid JSON list (character 3: Expecting property name enclosed in double quotes)"),
            ('{"type": "stdout"}', "must be a JSON list: put the object between '[' and ']'"),
            ("[" * 100_000, "not a valid JSON list"),
            (
                " , ",
                f"no list of sinks; {HOW_TO_WRITE}",
            ),
        ],
    )
    def test_wrong_lists(self, text: str, expected: str) -> None:
        """A text that is no list is a problem without the text."""
        with pytest.raises(ConfigError) as caught:
            read_sink_list(text)

        assert (expected,) == caught.value.problems
        assert caught.value.__context__ is None


class TestSinkConfig:
    @pytest.mark.parametrize("name", ["7", "a b", "", "a/b", "x" * 65])
    def test_names_that_cannot_be_addressed_are_refused(self, name: str) -> None:
        """A name works in a variable and is never taken for a position."""
        with pytest.raises(ConfigError):
            StdoutSinkConfig(name=name)

    @pytest.mark.parametrize("name", ["main", "my-archive", "a.b_c", "s3", "künstlich"])
    def test_usable_names(self, name: str) -> None:
        """Letters, digits, '_', '-' and '.' make a name."""
        assert name == StdoutSinkConfig(name=name).name

    def test_misspelt_event_types_are_refused(self) -> None:
        """A routing that would match nothing because of a typo is a problem."""
        assert ["'events' in the URL: unknown event type; did you mean 'trading_decision'?"] == (
            problems("stdout:?events=trading_decison")
        )

    def test_empty_routing_is_refused(self) -> None:
        """A sink that would get nothing is a problem."""
        assert 1 == len(problems({"type": "stdout", "events": []}))

    def test_level_in_any_case(self) -> None:
        """A sink's level may be written in any case."""
        assert "ERROR" == load_sink_config("stdout:?level=error").level

    def test_path_of_the_operating_system(self) -> None:
        """A path object works like text."""
        assert Path("a", "b.log") == load_sink_config({"type": "file", "path": Path("a") / "b.log"}).path  # type: ignore[attr-defined]

    def test_import_rule(self) -> None:
        """The registry imports neither processors, settings nor logger."""
        code = (
            "import sys, structllm.sinks.registry\n"
            "banned = ('structllm.processors.', 'structllm.settings', 'structllm.logger')\n"
            "print([name for name in sys.modules if name.startswith(banned)])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert "[]" == done.stdout.strip()
