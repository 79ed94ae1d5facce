"""Errors about settings hold no values, however they are asked; what is unpacked ends; names of segments are plain."""

import gzip
import json
import os
import secrets
import traceback
from collections.abc import Callable, Iterator
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import pytest
import zstandard

from structllm import unpack
from structllm.archive.names import SegmentName, parse_key
from structllm.errors import ConfigError
from structllm.settings import LLMSettings, load_settings
from structllm.sinks.file import FileSinkConfig

PLANTED = "Zq" + secrets.token_hex(12)


def told_by(error: BaseException) -> Iterator[str]:
    """Yield everything that an error and those behind it can be made to tell."""
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None:
            yield from (str(one), repr(one), repr(one.args), repr(vars(one)))
            told: Callable[[], object] = getattr(one, "errors", str)
            yield repr(told())
            yield from (repr(getattr(one, name, "")) for name in ("doc", "object"))
            waiting += [one.__cause__, one.__context__]
    yield "".join(traceback.format_exception(error))


def in_config(name: str, text: str) -> Callable[[], object]:
    """Return what loads a configuration file of this content."""

    def load() -> object:
        Path(name).write_text(text)
        return load_settings(name)

    return load


def in_secrets(name: str, text: bytes) -> Callable[[], object]:
    """Return what loads a directory of secrets with one file."""

    def load() -> object:
        Path("secrets").mkdir()
        Path("secrets", name).write_bytes(text)
        return load_settings(secrets_dir="secrets")

    return load


WRONG: dict[str, dict[str, Any]] = {"level": {"completion_log_level": PLANTED}, "section": {"redaction": PLANTED}}
ATTEMPTS: dict[str, Callable[[], object]] = {
    **{f"constructor {name}": lambda given=given: LLMSettings(**given) for name, given in WRONG.items()},
    **{f"object {name}": lambda given=given: LLMSettings.model_validate(given) for name, given in WRONG.items()},
    **{
        f"json {name}": lambda given=given: LLMSettings.model_validate_json(json.dumps(given))
        for name, given in WRONG.items()
    },
    **{
        f"strings {name}": lambda given=given: LLMSettings.model_validate_strings(given)
        for name, given in WRONG.items()
    },
    "sink": lambda: FileSinkConfig.model_validate({"path": "x", "hmac_key": {"a": PLANTED}}),
    "sink mode": lambda: FileSinkConfig(path="x", mode=PLANTED),  # type: ignore[arg-type]  # the path as a text
    "json file": in_config("a.json", '{"llm": {"completion_log_level": "' + PLANTED),
    "toml file": in_config("b.toml", f"[llm]\nx = {PLANTED}"),
    "value in a file": in_config("c.json", json.dumps({"llm": WRONG["level"]})),
    "secret": in_secrets("llm__completion_log_level", PLANTED.encode()),
    "secret that is no text": in_secrets("llm__completion_log_level", PLANTED.encode() + b"\xff"),
}
VARIABLES = {
    "LLM__SINKS": [
        f"[{PLANTED}",
        f"s3://u:{PLANTED}@b",
        f"s3://b?secret={PLANTED}",
        f"file:x?mode={PLANTED}",
        f"s3://b?endpoint_url=http://u:{PLANTED}@h",
        f"s3://b?endpoint_url=http://[{PLANTED}",
    ],
    "LLM__COMPLETION_LOG_LEVEL": [PLANTED],
    "LLM__REDACTION": ["{" + PLANTED],
    "LLM__PRICING__OVERRIDES": ["[{" + PLANTED],
    "LLM__SINKS__X__HMAC_KEY": [PLANTED],
}


class TestSettingsErrors:
    """What stands in an error, in those behind it and in what they can be asked."""

    @pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
    def test_sources(self, attempt: Callable[[], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """No way to give a wrong setting makes its value part of the error."""
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigError) as caught:
            attempt()
        assert [] == [text for text in told_by(caught.value) if PLANTED in text]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            pytest.param(name, value, id=f"{name}-{number}")
            for name in VARIABLES
            for number, value in enumerate(VARIABLES[name])
        ],
    )
    def test_variables(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str) -> None:
        """Nor does a variable of the environment."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError) as caught:
            load_settings()
        assert [] == [text for text in told_by(caught.value) if PLANTED in text]


class TestUnpacking:
    """A compressed file holds as much as is allowed, and no more."""

    CONTENT = secrets.token_bytes(300_000)

    def read(self, packed: bytes) -> bytes:
        return b"".join(unpack.chunks(BufferedReader(BytesIO(packed))))  # type: ignore[arg-type]  # it reads as one

    @pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
    def test_bound(self, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]) -> None:
        """Content up to the bound is read; one byte more stops the reading with the name of the variable."""
        packed = pack(self.CONTENT)
        monkeypatch.setenv(unpack.LIMIT_VARIABLE, str(len(self.CONTENT)))
        assert self.CONTENT == self.read(packed)
        monkeypatch.setenv(unpack.LIMIT_VARIABLE, str(len(self.CONTENT) - 1))
        with pytest.raises(OSError, match=unpack.LIMIT_VARIABLE):
            self.read(packed)

    @pytest.mark.parametrize("told", ["2GB", "-1", "1e9", "9" * 5000, "\u0662"])
    def test_wrong_bound(self, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
        """A bound that is no number is said to be none, rather than be no bound."""
        monkeypatch.setenv(unpack.LIMIT_VARIABLE, told)
        with pytest.raises(OSError, match="no whole number"):
            self.read(gzip.compress(b"x"))

    def test_default(self) -> None:
        """Without the variable it is 2 GiB."""
        assert 2 << 30 == unpack.MAX_UNPACKED_BYTES

    def test_plain_files_are_not_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that is not compressed takes the room that it takes already."""
        monkeypatch.setenv(unpack.LIMIT_VARIABLE, "10")
        assert b"x" * 100 == self.read(b"x" * 100)


class TestNamesOfSegments:
    """What may become the name of a file."""

    OWNER = "host-" + "0" * 16

    @pytest.mark.parametrize(
        "name",
        [
            f"\u0662\u0660240115T10-{OWNER}-00000001.jsonl",
            f"20240115T10-{OWNER}-{chr(0x661) * 8}.jsonl",
            f"20240115T10-{OWNER}-{'1' * 5000}.jsonl",
            f"20240115T10-{OWNER}-00000001/../../x.jsonl",
            f"20240115T10-../{OWNER}-00000001.jsonl",
        ],
        ids=ascii,
    )
    def test_others_are_none(self, name: str) -> None:
        """Digits of other scripts, numbers of any length and ways up a tree are no name of a segment."""
        assert SegmentName.parse(name) is None or "/" not in SegmentName.parse(name).stem  # type: ignore[union-attr]
        assert parse_key(f"v1/dt=2024-01-15/hour=10/{name}") is None


class TestPermissions:
    """Who else may use what a sink makes."""

    def test_directories_above_the_log(self, tmp_path: Path) -> None:
        """Every directory that is made on the way to a log is its owner's alone, whatever the umask."""
        before = os.umask(0)
        try:
            FileSinkConfig(path=tmp_path / "a" / "b" / "x.log").build().close()
        finally:
            os.umask(before)
        made = [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "x.log"]
        assert [0o700, 0o700, 0o600] == [path.stat().st_mode & 0o777 for path in made]
