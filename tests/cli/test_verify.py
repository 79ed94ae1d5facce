"""`structllm verify`: what it says of a log that somebody changed, and of one that nobody did."""

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from structllm.chain import first_link, hasher, seal
from structllm.sinks.file import FileSink
from tests.cli.conftest import Run
from tests.cli.recording import WRITER, LogBuilder
from tests.sinks.test_integrity import record

COUNT = 100


def lines_of(log: LogBuilder, key: bytes | None = None) -> list[bytes]:
    """Return the events of a log as a sink with integrity writes them."""
    lines: list[bytes] = []
    previous = first_link(log.writer)
    for number, line in enumerate(log.text().encode().splitlines(keepends=True), 1):
        sealed, previous = seal(hasher(key), line, number, previous)
        lines.append(sealed)
    return lines


@pytest.fixture
def lines(log: LogBuilder) -> list[bytes]:
    """A log of a hundred records."""
    for number in range(COUNT):
        log.request(f"r{number}")
    return lines_of(log)


@pytest.fixture
def files(lines: list[bytes]) -> Path:
    """The log in four files, one of them compressed."""
    Path("x.log.3.gz").write_bytes(gzip.compress(b"".join(lines[:25])))
    Path("x.log.2").write_bytes(b"".join(lines[25:50]))
    Path("x.log.1").write_bytes(b"".join(lines[50:75]))
    Path("x.log").write_bytes(b"".join(lines[75:]))
    return Path("x.log")


def found(run: Run, *arguments: Any, exit_code: int | None = None) -> list[tuple[str, str, int | None]]:
    """Return verdict, path and line of each finding but the tail's; check the exit status."""
    result = run("verify", "--json", *arguments)
    report = json.loads(result.stdout)
    rows = [(row["verdict"], row["path"], row["line"]) for row in report["findings"]]
    assert (0 if report["ok"] else 1) == (result.exit_code if exit_code is None else exit_code)
    return [row for row in rows if row[0] != "unanchored"]


class TestIntact:
    def test_what_is_printed(self, run: Run, files: Path) -> None:
        """An intact log is said to be intact, and its end never is."""
        result = run("verify", files)
        assert result.stdout == (
            f"intact      {WRITER}  100 lines, sink_seq 1-100, in x.log\n"
            f"unanchored  {WRITER}  x.log, line 25: nothing outside the log proves that nothing was cut off behind "
            "sink_seq 100\n"
            "\n"
            "no problems\n"
        )
        assert 0 == result.exit_code

    def test_strict(self, run: Run, files: Path) -> None:
        """With --strict an end that nothing proves is a failure."""
        assert 1 == run("verify", "--strict", files).exit_code

    def test_several_logs(self, run: Run, files: Path) -> None:
        """A directory is all logs in it, each with chains of its own."""
        shutil.copy("x.log.2", "y.log.1")
        FileSink("z.log", integrity="chain").write([record(1)])
        rows = found(run, ".")
        assert [("intact", "x.log"), ("intact", "y.log"), ("unproven", "y.log.1"), ("intact", "z.log")] == [
            (verdict, path.removeprefix("./")) for verdict, path, _ in rows
        ]

    def test_standard_input(self, run: Run, lines: list[bytes]) -> None:
        """A log may come from a pipe."""
        result = run("verify", "-", stdin=b"".join(lines))
        assert (0, True) == (result.exit_code, "100 lines" in result.stdout)

    def test_settings_name_the_log(self, run: Run, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without PATH the settings say what is read."""
        monkeypatch.setenv("LLM__COMPLETION_LOG_FILE", "x.log")
        assert [("intact", "x.log", None)] == found(run)


class TestTampering:
    """Each kind of edit exits 1 and names file and line."""

    @pytest.mark.parametrize("line", [1, 26, 60, 100])
    def test_altered(self, run: Run, files: Path, lines: list[bytes], line: int) -> None:
        """A changed field names file and line, in compressed files too."""
        path = ("x.log.3.gz", "x.log.2", "x.log.1", "x.log")[(line - 1) // 25]
        content = Path(path).read_bytes()
        text = gzip.decompress(content) if path.endswith("gz") else content
        at = (line - 1) % 25
        parts = text.splitlines(keepends=True)
        parts[at] = parts[at].replace(b"45230.5", b"45231.5")
        changed = b"".join(parts)
        Path(path).write_bytes(gzip.compress(changed) if path.endswith("gz") else changed)
        assert [("altered", path, at + 1)] == found(run, files)

    def test_middle_file_dropped(self, run: Run, files: Path) -> None:
        """The numbers of a file that is gone are missing before the next one."""
        Path("x.log.2").unlink()
        assert [("missing", "x.log.1", 1)] == found(run, files)
        assert "sink_seq 26-50 missing before x.log.1, line 1" in run("verify", files).stdout

    def test_files_exchanged(self, run: Run, files: Path) -> None:
        """Files that changed their names are out of order."""
        os.rename("x.log.2", "a")
        os.rename("x.log.1", "x.log.2")
        os.rename("a", "x.log.1")
        assert [("reordered", "x.log.1", 1)] == found(run, files)

    @pytest.mark.parametrize("target", ["x.log.1", "x.log.9"])
    def test_old_file_replayed(self, run: Run, files: Path, target: str) -> None:
        """An old file in place of another one, or beside all of them, is found."""
        shutil.copy("x.log.2", target)
        assert {"missing", "inserted", "reordered"} & {verdict for verdict, _, _ in found(run, files)}

    def test_tail_cut(self, run: Run, files: Path, lines: list[bytes]) -> None:
        """A tail that was cut cannot be seen: the end is unanchored, as it always is, and no more is claimed."""
        files.write_bytes(b"".join(lines[75:90]))
        result = run("verify", files)
        assert (0, 1) == (result.exit_code, run("verify", "--strict", files).exit_code)
        assert "x.log, line 15: nothing outside the log proves" in result.stdout

    def test_beginning_deleted(self, run: Run, files: Path) -> None:
        """What retention deletes is a note, and a failure with --strict only."""
        Path("x.log.3.gz").unlink()
        assert [("intact", "x.log", None), ("unproven", "x.log.2", 1)] == found(run, files)

    def test_unreadable(self, run: Run, files: Path) -> None:
        """A damaged file is a problem, as what is missing."""
        Path("x.log.3.gz").write_bytes(Path("x.log.3.gz").read_bytes()[:200])
        assert "unreadable" in {verdict for verdict, _, _ in found(run, files)}

    def test_unfinished(self, run: Run, files: Path, lines: list[bytes]) -> None:
        """A last line without its end is said, and is no problem."""
        files.write_bytes(b"".join(lines[75:])[:-20])
        assert [("intact", "x.log", None), ("bad", "x.log", None)] == found(run, files)

    def test_very_many(self, run: Run, files: Path, lines: list[bytes]) -> None:
        """Of many findings the first are printed, and the others counted."""
        files.write_bytes(b"".join(line.replace(b"45230.5", b"1") for line in lines[75:]))
        result = run("verify", files)
        assert "and 5 more altered; --json has them\n" in result.stdout
        assert result.stdout.endswith("\n25 problems\n")


class TestKeys:
    @pytest.fixture
    def key(self, log: LogBuilder) -> str:
        """A key, and a log that was written with it."""
        key = os.urandom(16).hex()
        for number in range(3):
            log.request(f"r{number}")
        Path("x.log").write_bytes(b"".join(lines_of(log, key.encode())))
        return key

    def test_variable(self, run: Run, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The key comes from the variable that is named."""
        monkeypatch.setenv("AUDIT_KEY", key)
        assert [("intact", "x.log", None)] == found(run, "x.log", "--hmac-key-env", "AUDIT_KEY")

    def test_settings(self, run: Run, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The key of the settings is that of the log that they write."""
        sink = {"type": "file", "path": "x.log", "integrity": "hmac", "hmac_key": key}
        monkeypatch.setenv("LLM__SINKS", json.dumps([sink]))
        assert [("intact", "x.log", None)] == found(run)

    def test_no_key(self, run: Run, key: str) -> None:
        """Without the key it is one finding, which says what to do."""
        result = run("verify", "x.log")
        assert (1, True) == (result.exit_code, "Then give the key" in result.stdout)
        assert [("altered", "x.log", None)] == found(run, "x.log")
        assert key not in result.output

    def test_wrong_key(self, run: Run, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """With another key it is one finding, too."""
        monkeypatch.setenv("AUDIT_KEY", os.urandom(16).hex())
        assert "is that the right key?" in run("verify", "x.log", "--hmac-key-env", "AUDIT_KEY").stdout

    def test_variable_that_is_not_set(self, run: Run, key: str) -> None:
        """A variable that is not there is wrong usage."""
        assert 2 == run("verify", "x.log", "--hmac-key-env", "NO_SUCH_KEY").exit_code


class TestUsage:
    def test_no_such_file(self, run: Run) -> None:
        """A path that is not there is wrong usage."""
        assert 2 == run("verify", "nowhere.log").exit_code

    def test_empty_directory(self, run: Run) -> None:
        """A directory without logs is wrong usage: nothing was checked."""
        Path("empty").mkdir()
        assert 2 == run("verify", "empty").exit_code

    def test_no_chain(self, run: Run, trading_log: LogBuilder) -> None:
        """A log that was written without integrity proves nothing, which is a failure."""
        result = run("verify", trading_log.write(Path("x.log")))
        assert 1 == result.exit_code
        assert result.stdout.startswith("unsealed")
