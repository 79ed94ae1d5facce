"""`structllm rules`: the rules, whether they are sound, and what they do to a text. No output holds a secret."""

import hashlib
import json
from pathlib import Path

import pytest

from structllm.redaction.packs import PACKS
from structllm.settings import LLMSettings
from tests.cli.conftest import Run


def token(seed: str, length: int = 32) -> str:
    """Return random-looking letters and digits, the same ones for the same seed."""
    return hashlib.sha256(seed.encode()).hexdigest()[:length]


DESK = f"desk_{token('desk')}"
RULES = Path("desk.toml")


def write_rules(pattern: str = "desk_[a-z0-9]{32}", match: str = f"use {DESK}", more: str = "") -> Path:
    """Write a file with one rule."""
    RULES.write_text(
        f"[[rules]]\nid = 'desk-key'\npattern = '{pattern}'\n{more}\n"
        f"tests = {{match = ['{match}'], no_match = ['desk_']}}\n"
    )
    return RULES


class TestList:
    """`structllm rules list`."""

    def test_all(self, run: Run) -> None:
        """Every rule with its pack, its action and the number of its examples; packs that are not in use are off."""
        result = run("rules", "list")
        rows = [line.split() for line in result.stdout.splitlines()]
        assert (0, "", ["RULE", "PACK", "ACTION", "EXAMPLES"]) == (result.exit_code, result.stderr, rows[0])
        assert [
            [
                rule.id,
                pack,
                "mask" if pack in LLMSettings().redaction.packs else "off",
                str(len(rule.matches + rule.misses)),
            ]
            for pack, rules in PACKS.items()
            for rule in rules
        ] == rows[1:-2]
        assert [["key-name", "always", "mask", "0"], ["known-value", "always", "mask", "0"]] == rows[-2:]

    def test_own(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Own rules are there as well, with the setting or file that they come from, and their action."""
        own = {"id": "own", "pattern": "own_[0-9]{5}", "tests": {"match": ["own_12345"], "no_match": ["own_"]}}
        monkeypatch.setenv("LLM__REDACTION__RULES", json.dumps([own]))
        monkeypatch.setenv("LLM__REDACTION__RULE_FILES", str(write_rules(more="action = 'partial'")))
        monkeypatch.setenv("LLM__REDACTION__ACTIONS", '{"pii": "drop_field", "email": "mask", "own": "drop_event"}')
        rules = json.loads(run("rules", "list", "--json").stdout)["rules"]
        actions = {rule["id"]: (rule["pack"], rule["action"]) for rule in rules}
        assert {
            "own": ("redaction.rules", "drop_event"),
            "desk-key": ("desk.toml", "partial"),
            "email": ("pii", "mask"),
            "iban": (actions["iban"][0], "drop_field" if actions["iban"][0] == "pii" else "mask"),
        }.items() <= actions.items()
        assert (1, 1) == next((rule["match"], rule["no_match"]) for rule in rules if rule["id"] == "own")

    def test_pack(self, run: Run) -> None:
        """One pack alone."""
        rules = json.loads(run("rules", "list", "--pack", "payment", "--json").stdout)["rules"]
        assert [rule.id for rule in PACKS["payment"]] == [rule["id"] for rule in rules]

    def test_unknown_pack(self, run: Run) -> None:
        """A pack that is none is wrong usage, and those that are there are named."""
        result = run("rules", "list", "--pack", "pi")
        assert (2, True) == (result.exit_code, "credentials, crypto, payment, pii" in result.stderr)

    def test_turned_off(self, run: Run) -> None:
        """Where redaction is turned off, that is said."""
        Path("off.json").write_text('{"llm": {"redaction": {"enabled": false}}}')
        result = run("rules", "list", "--config", "off.json", "--json")
        assert (False, True) == (json.loads(result.stdout)["enabled"], "turned off" in result.stderr)


class TestSound:
    """`structllm rules test` without a text."""

    def test_built_in(self, run: Run) -> None:
        """The rules of the packs are tried on their own examples."""
        result = run("rules", "test", "--json")
        told = json.loads(result.stdout)
        assert (0, "", True, 0, []) == (result.exit_code, result.stderr, told["ok"], told["timed"], told["problems"])
        used = [rule for pack in LLMSettings().redaction.packs for rule in PACKS[pack]]
        assert sum(len(rule.matches + rule.misses) for rule in used) == told["examples"]

    def test_own(self, run: Run) -> None:
        """Own rules are timed as well."""
        result = run("rules", "test", "--rules", write_rules())
        assert (0, "") == (result.exit_code, result.stderr)
        assert "timed  1 rule of your own\nno problems\n" in result.stdout

    def test_gitleaks(self, run: Run) -> None:
        """So are those of gitleaks, which have no examples; what of the file has no meaning here is said."""
        RULES.write_text("[[rules]]\nid = 'a'\nregex = 'acme_[a-z]{9}'\n[[rules]]\nid = 'b'\npath = 'x'\n")
        result = run("rules", "test", "--rules", RULES)
        assert (0, True) == (result.exit_code, "timed  1 rule of your own\n" in result.stdout)
        assert "structllm: desk.toml: only paths and no regex, so left out: b\n" == result.stderr

    def test_slow(self, run: Run) -> None:
        """A rule that could stop a program is a problem."""
        result = run("rules", "test", "--rules", write_rules("desk_(?:.*END|[0-9a-f])"))
        assert 1 == result.exit_code
        assert result.stdout.startswith("problem  rule desk-key: takes ")
        assert result.stdout.endswith("\n1 problem\n")

    def test_broken(self, run: Run) -> None:
        """A rule that cannot be loaded is a problem, with the reason."""
        result = run("rules", "test", "--rules", write_rules("(?=desk_)"))
        problem = "desk.toml: rules.0.pattern: rule desk-key: has a look-ahead or look-behind"
        assert (1, True) == (result.exit_code, result.stdout.startswith(f"problem  {problem}"))
        told = json.loads(run("rules", "test", "--rules", RULES, "--json").stdout)
        assert (False, 1) == (told["ok"], len(told["problems"]))

    def test_broken_settings(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """So is one in the settings."""
        monkeypatch.setenv("LLM__REDACTION__RULES", '[{"id": "a", "pattern": "a*"}]')
        result = run("rules", "test")
        problem = "problem  LLM__REDACTION__RULES (env): item 0: pattern: rule a: matches the empty text"
        assert (1, True) == (result.exit_code, result.stdout.startswith(problem))

    def test_no_such_file(self, run: Run) -> None:
        """A file that is not there is wrong usage."""
        assert 2 == run("rules", "test", "--rules", "nowhere.toml").exit_code


class TestText:
    """`structllm rules test` with a text."""

    TEXT = f"first line\nmail bob@corp.example.org and {DESK}!"
    SHOWN = "first line\nmail [REDACTED:email] and [REDACTED:desk-key]!"

    def test_table(self, run: Run) -> None:
        """Shows the text as it would be written, and which rule did what where."""
        result = run("rules", "test", "--rules", write_rules(), "--text", self.TEXT)
        assert (0, "") == (result.exit_code, result.stderr)
        shown, _, table = result.stdout.partition("\n\n")
        assert self.SHOWN == shown
        assert [
            ["RULE", "ACTION", "LINE", "COLUMN", "CHARACTERS"],
            ["email", "mask", "2", "6", "20"],
            ["desk-key", "mask", "2", "31", "37"],
        ] == [line.split() for line in table.splitlines()]

    def test_json(self, run: Run) -> None:
        """Programs get the text and the places, counted in characters from 0."""
        told = json.loads(run("rules", "test", "--rules", write_rules(), "--text", self.TEXT, "--json").stdout)
        assert self.SHOWN == told["text"]
        start = self.TEXT.index("desk_")
        assert {
            "rule": "desk-key",
            "action": "mask",
            "start": start,
            "end": start + 37,
            "replacement": "[REDACTED:desk-key]",
        } == told["hits"][-1]

    @pytest.mark.parametrize("how", ["--file", "-"])
    def test_from_outside(self, run: Run, how: str) -> None:
        """A text may come from a file or standard input, so that it is in no history of a shell."""
        Path("text.txt").write_text(f"{self.TEXT}\n")
        source = ["--file", "text.txt"] if how == "--file" else ["-"]
        result = run("rules", "test", "--rules", write_rules(), *source, stdin=self.TEXT)
        assert result.stdout.startswith(f"{self.SHOWN}\n\n")

    @pytest.mark.parametrize("as_json", [True, False])
    def test_no_secret(self, run: Run, monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
        """Nothing that is printed holds a secret, whatever becomes of it."""
        own = token("known", 40)
        monkeypatch.setenv("DESK_API_SECRET", own)
        options = ["--json"] if as_json else []
        for action in ("mask", "partial", "hmac", "drop_field", "drop_event"):
            monkeypatch.setenv("LLM__REDACTION__ACTION", action)
            text = f"{self.TEXT} {own} password=hunter2-and-more"
            result = run("rules", "test", "--rules", write_rules(), "--text", text, *options)
            for secret in (DESK, "bob@corp", own, "hunter2"):
                assert secret not in result.stdout + result.stderr

    @pytest.mark.parametrize(("action", "what"), [("drop_field", "field"), ("drop_event", "event")])
    def test_drop(self, run: Run, monkeypatch: pytest.MonkeyPatch, action: str, what: str) -> None:
        """Where more than the secret would go, that is said."""
        monkeypatch.setenv("LLM__REDACTION__ACTIONS__EMAIL", action)
        result = run("rules", "test", "--text", self.TEXT)
        assert f"structllm: in an event, the whole {what} would go, because of email\n" == result.stderr

    def test_clean(self, run: Run) -> None:
        """Where nothing is found, that is said."""
        result = run("rules", "test", "--text", "a clean text")
        assert (0, "a clean text\n", "structllm: no rule found anything\n") == (
            result.exit_code,
            result.stdout,
            result.stderr,
        )

    def test_terminal(self, run: Run) -> None:
        """A text cannot act on a terminal."""
        result = run("rules", "test", "-", stdin=b"\x1b[2J\x9b \xe2\x80\xae bob@corp.example.org")
        first = result.stdout.splitlines()[0]
        assert first.isprintable()
        assert r"\x1b[2J" in first

    def test_one_text(self, run: Run) -> None:
        """Two texts at once are wrong usage."""
        assert 2 == run("rules", "test", "-", "--text", "x", stdin="y").exit_code

    def test_too_large(self, run: Run) -> None:
        """A text that is too large is refused before it is all read."""
        with open("large.txt", "wb") as file:
            file.truncate(16 * 2**20 + 1)
        result = run("rules", "test", "--file", "large.txt")
        assert (2, "structllm: large.txt is larger than 16 MiB\n") == (result.exit_code, result.stderr)

    def test_config(self, run: Run) -> None:
        """The settings may be in a file that is named; redaction that is turned off there is tried all the same."""
        Path("c.json").write_text('{"llm": {"redaction": {"enabled": false, "packs": ["payment"]}}}')
        result = run("rules", "test", "--config", "c.json", "--text", "bob@corp.example.org 4111 1111 1111 1111")
        assert result.stdout.startswith("bob@corp.example.org [REDACTED:payment-card]\n")
        assert "turned off" in result.stderr
