"""Secrets are planted wherever a caller can put one, and must turn up in nothing that leaves the process."""

import base64
import gzip
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from structllm.processors.redact import Redact
from tests.redaction.canaries import DENIED_NAME, GIVEN, KINDS, NAMED, Canaries, Canary, Kind, Search
from tests.redaction.canary_run import RUNS

TIMEOUT_S = 120
COMMANDS = (
    ("tail", "-n", "2000", "LOG"),
    ("tail", "-n", "2000", "--json", "LOG"),
    ("show", "REQUEST", "LOG"),
    ("stats", "LOG"),
    ("stats", "--json", "LOG"),
    ("errors", "LOG"),
    ("cost", "--by", "model,symbol", "--json", "LOG"),
    ("decisions", "--json", "LOG"),
    ("sessions", "LOG"),
    ("verify", "--json", "LOG"),
    ("doctor", "--json", "LOG"),
    ("config", "show"),
)


class Outcome(NamedTuple):
    """What became of a run.

    Attributes:
        directory: Where everything is that came out.
        planted: The secrets.
        search: Finds them.
    """

    directory: Path
    planted: Sequence[Canary]
    search: Search

    def found_in(self, *names: str) -> dict[str, str]:
        """Return the places whose secrets are in these files, or in those of directories of that name."""
        return self.search.found_in("\n".join(everything_in(self.directory / name) for name in names))


def everything_in(place: Path) -> str:
    """Return the names and contents of the files at a place, unpacked."""
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    return "\n".join(f"{path}\n{content_of(path)}" for path in files)


def content_of(path: Path) -> str:
    """Return a file as text; a byte that is none becomes one that no secret has."""
    data = path.read_bytes()
    return (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode("utf-8", "replace")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Return what became of all runs. Their seed is printed where a test fails."""
    directory, seed = tmp_path_factory.mktemp("canaries"), secrets.randbits(32)
    print(f"seed {seed}")
    environment = {
        name: value for name, value in os.environ.items() if not name.upper().startswith(("LLM_", "STRUCTLLM_"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.redaction.canary_run", str(directory), str(seed), *RUNS],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert (0, "") == (done.returncode, done.stderr), f"seed {seed}: {errors_of(directory)}"
    return {name: outcome(directory, name) for name in RUNS}


def errors_of(directory: Path) -> str:
    """Return how the last run ended that did not end well."""
    return "\n".join(path.read_text()[-2000:] for path in directory.glob("*/stderr"))


def outcome(directory: Path, name: str) -> Outcome:
    """Return what became of one run."""
    planted = [Canary(**canary) for canary in json.loads((directory / f"{name}.planted").read_text())]
    return Outcome(directory / name, planted, Search(planted))


@pytest.fixture
def clean(outcomes: dict[str, Outcome]) -> Outcome:
    """Return the run in which everything is as it is."""
    return outcomes["clean"]


def by_position(found: dict[str, str]) -> list[str]:
    """Return one line for each position in which something was found: its kinds, and what one of them looked like."""
    kinds: dict[str, list[str]] = {}
    for place in sorted(found):
        position, _, kind = place.rpartition(" / ")
        kinds.setdefault(position, []).append(kind)
    return [f"{place}: {', '.join(names)}: {found[f'{place} / {names[0]}']!r}" for place, names in kinds.items()]


def positions(found: dict[str, str]) -> set[str]:
    """Return the positions in which something was found."""
    return {place.rpartition(" / ")[0] for place in found}


class TestOutputs:
    """No secret, and no 12 characters of one, is in anything that leaves the process."""

    @pytest.mark.parametrize("name", ["log", "archive", "spool", "memory"])
    def test_sinks(self, clean: Outcome, name: str) -> None:
        """Files (rotated ones too), archived segments, their names, and records in memory are clean."""
        assert [] == by_position(clean.found_in(name))

    def test_standard_output(self, clean: Outcome) -> None:
        """What the stdout sink lays out for people is clean."""
        assert [] == by_position(clean.found_in("stdout"))

    def test_standard_error(self, clean: Outcome) -> None:
        """Notices, warnings and tracebacks of threads are clean."""
        assert [] == by_position(clean.found_in("stderr"))

    def test_logging(self, clean: Outcome) -> None:
        """What reaches the host's own logging, from us or because of us, is clean."""
        assert [] == by_position(clean.found_in("logging"))

    def test_stats_and_metrics(self, clean: Outcome) -> None:
        """What a logger tells of itself is clean: names of models and errors, reasons of sinks, health."""
        assert [] == by_position(clean.found_in("told.json"))

    def test_other_loggers_and_refusals(self, clean: Outcome) -> None:
        """Lines of structlog chains with our processors, and what settings say when they refuse, are clean."""
        assert [] == by_position(clean.found_in("printed"))

    def test_commands(self, clean: Outcome) -> None:
        """What the commands print about such a log is clean."""
        log = clean.directory / "log" / "app.log"
        line = next(line for line in content_of(log).splitlines() if '"completion_response"' in line)
        words = {"LOG": str(log), "REQUEST": json.loads(line)["request_id"]}
        printed = [run(tuple(words.get(word, word) for word in command), clean.directory) for command in COMMANDS]
        assert all(printed)
        assert [] == by_position(clean.search.found_in("\n".join(printed)))


def run(command: Sequence[str], directory: Path) -> str:
    """Return everything that a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "structllm", *command], cwd=directory, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


class TestSearch:
    """The search finds what it is to find, so that finding nothing means something."""

    @pytest.mark.parametrize("kind", [*KINDS, *NAMED, *GIVEN], ids=lambda kind: kind.name)
    def test_every_kind(self, kind: Kind) -> None:
        """A secret of each kind is found where no rule is at work."""
        canaries = Canaries(secrets.randbits(32))
        text = kind.text(canaries.secret(kind, "here", "text"))
        assert [canaries.planted[0].place] == list(Search(canaries.planted).found_in(text))

    @pytest.mark.parametrize("form", ["json", "repr", "percent", "base64", "hex"])
    def test_every_form(self, form: str) -> None:
        """A secret is found as JSON, repr(), URLs and base64 write it."""
        kind = next(kind for kind in KINDS if kind.name == "pem")
        canaries = Canaries(secrets.randbits(32))
        secret = canaries.secret(kind, "here", form)
        written = {
            "json": json.dumps({"a": json.dumps({"b": secret})}),
            "repr": repr([secret]),
            "percent": quote(f"a={secret}", safe=""),
            "base64": base64.b64encode(f"x{secret}".encode()).decode(),
            "hex": secret.encode().hex(),
        }[form]
        assert {f"here / {form}"} == positions(Search(canaries.planted).found_in(written))

    def test_pieces(self) -> None:
        """Any 12 characters of a secret are found, and 11 are not, wherever they stand."""
        kind = next(kind for kind in KINDS if kind.name == "exchange-header")
        canaries = Canaries(secrets.randbits(32))
        secret = canaries.secret(kind, "here", "piece")
        search = Search(canaries.planted)
        for start in range(len(secret) - 12):
            assert ["here / piece / exchange-header"] == list(
                search.found_in("-" * (start % 7) + secret[start : start + 12])
            )
            assert [] == list(search.found_in(secret[start : start + 11] + "."))

    def test_every_position(self, outcomes: dict[str, Outcome]) -> None:
        """Without redaction, the secret of every position that is written is found: each of them reaches the log."""
        outcome = outcomes["not redacted"]
        shown = {f"{canary.entry} / {canary.position}" for canary in outcome.planted if canary.shown}
        assert [] == sorted(shown - positions(outcome.found_in("log", "printed")))


class TestMutants:
    """The canaries notice when one thing is spoilt, and point at it."""

    def test_one_field_is_left_out(self, outcomes: dict[str, Outcome]) -> None:
        """A field that redaction skips is found out, and nothing else."""
        found = positions(outcomes["field left out"].found_in("log"))
        assert "logger / decision: rationale" in found
        assert [] == sorted(
            place for place in found - {"logger / decision: rationale"} if not place.startswith("agent / ")
        )

    def test_cut_before_redaction(self, outcomes: dict[str, Outcome]) -> None:
        """Half a secret in front of a cut is found out."""
        found = positions(outcomes["cut first"].found_in("log"))
        assert {"logger / prompt: across the cut", "logger / response: across the cut"} == found

    def test_text_of_an_error(self, outcomes: dict[str, Outcome]) -> None:
        """A notice that quotes an error is found out."""
        assert "failures / processor raises" in positions(outcomes["text of errors on stderr"].found_in("stderr"))

    def test_locals_of_a_traceback(self, outcomes: dict[str, Outcome]) -> None:
        """An error with the variables of its frames is found out; so are its cause, its context and its notes."""
        expected = {
            f"logger / error: {name}" for name in ("local variable", "cause", "context", "note", "inside a group")
        }
        assert set() == expected - positions(outcomes["local variables"].found_in("log"))

    def test_any_id(self, outcomes: dict[str, Outcome]) -> None:
        """Ids that are taken as they are given are found out."""
        found = positions(outcomes["any id"].found_in("log"))
        assert {place.split(" / ")[1].partition(":")[0] for place in found} == {"id"}
        assert {"logger / id: request_id: mapping", "logger / id: idempotency_key: sentence"} <= found

    def test_one_rule_is_off(self) -> None:
        """Without its pack, a kind of secret is found out."""
        kind = next(kind for kind in KINDS if kind.name == "e-mail")
        canaries = Canaries(secrets.randbits(32))
        event = {"note": kind.text(canaries.secret(kind, "here", "text"))}
        kept = Redact(packs=("credentials", "crypto", "payment"), deny_keys=[DENIED_NAME])(None, "info", dict(event))
        gone = Redact(deny_keys=[DENIED_NAME])(None, "info", dict(event))
        search = Search(canaries.planted)
        assert ({"here / text"}, set()) == tuple(positions(search.found_in(str(each["note"]))) for each in (kept, gone))
