"""Configurations of gitleaks as rules. The files here are written for these tests; nothing of them is gitleaks' own."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from structllm.errors import ConfigError
from structllm.redaction.fuzz import time_problem
from structllm.redaction.patterns import Patterns
from structllm.redaction.rule_files import load_rule_file
from structllm.redaction.scan import Scanner


def token(seed: str, length: int = 32) -> str:
    """Return random-looking letters and digits, the same ones for the same seed."""
    return hashlib.sha256(seed.encode()).hexdigest()[:length]


FILE = r"""
title = "rules of the desk"
minVersion = "v8.25.0"

[[rules]]
id = "Desk_API.key"
description = "Key of the desk"
regex = '''(?i)\bdesk_([a-z0-9]{20})\b'''
entropy = 2.5
keywords = ["desk_"]
tags = ["desk"]

[[rules]]
id = "named"
regex = '''(api|auth)_key[\x60'"\s=:]{1,5}([\w.-]{10,150})'''
secretGroup = 2
keywords = ["api", "auth"]
"""
"""Two rules: one whose first group is the secret, one that names its group."""


def load(directory: Path, text: str = FILE) -> tuple[Any, list[str]]:
    """Return the scanner of a file's rules, and what was told about it."""
    path = directory / "desk.toml"
    path.write_text(text, encoding="utf-8")
    notices: list[str] = []
    return Scanner(load_rule_file(path, notice=notices.append)), notices


def redacted(directory: Path, text: str, *more: str) -> str:
    """Return what becomes of a text under the rules, with more of a file behind them."""
    scanner, _ = load(directory, FILE + "\n".join(more))
    result: str = scanner.redact(text).text
    return result


def problems(directory: Path, text: str) -> list[str]:
    """Return what is said against a file, without its name."""
    with pytest.raises(ConfigError) as refused:
        load(directory, text)
    return [problem.partition(": ")[2] for problem in refused.value.problems]


class TestRules:
    """What a rule finds."""

    def test_first_group(self, tmp_path: Path) -> None:
        """The first group is the secret, and the id is made one that fits a marker."""
        assert "DESK_[REDACTED:desk-api-key]." == redacted(tmp_path, f"DESK_{token('a', 20)}.")

    def test_secret_group(self, tmp_path: Path) -> None:
        """The group that the rule names is the secret."""
        assert 'api_key: "[REDACTED:named]"' == redacted(tmp_path, f'api_key: "{token("b")}"')

    def test_entropy(self, tmp_path: Path) -> None:
        """A secret with no more entropy than the rule says is none."""
        assert f"desk_{'ab' * 10}" == redacted(tmp_path, f"desk_{'ab' * 10}")

    def test_keywords(self, tmp_path: Path) -> None:
        """A rule applies only to texts that hold one of its keywords, in any case."""
        rule = "[[rules]]\nid = 'worded'\nregex = '[0-9]{8}'\nkeywords = ['Order']\n"
        assert "12345678" == redacted(tmp_path, "12345678", rule)
        assert "ORDER of yesterday: [REDACTED:worded]" == redacted(tmp_path, "ORDER of yesterday: 12345678", rule)

    def test_taken_id(self, tmp_path: Path) -> None:
        """A rule whose id is one of ours says where it comes from."""
        rule = "[[rules]]\nid = 'email'\nregex = 'mail-[0-9]{8}'\n"
        assert "[REDACTED:gitleaks-email]" == redacted(tmp_path, "mail-12345678", rule)

    def test_case_of_keys(self, tmp_path: Path) -> None:
        """Keys are read in any case, as gitleaks does."""
        text = FILE.replace("secretGroup", "secretgroup").replace("keywords", "Keywords")
        scanner, _ = load(tmp_path, text)
        assert "api_key=[REDACTED:named]" == scanner.redact(f"api_key={token('c')}").text

    def test_time(self, tmp_path: Path) -> None:
        """Without examples, rules are timed on their keywords."""
        load(tmp_path)
        assert [None, None] == [time_problem(rule) for rule in load_rule_file(tmp_path / "desk.toml")]


class TestAllowlists:
    """What allowlists leave alone."""

    SECRET = "f00" + token("d", 17)

    @pytest.mark.parametrize(
        ("allowlist", "is_left"),
        [
            ("regexes = ['^f00']", True),
            ("regexes = ['00']", True),
            ("regexes = ['^00']", False),
            ("regexes = ['desk_f00']", False),
            ("regexTarget = 'match'\nregexes = ['desk_f00']", True),
            ("regexTarget = 'match'\nregexes = ['noqa']", False),
            ("regexTarget = 'line'\nregexes = ['noqa']", True),
            ("regexTarget = 'line'\nregexes = ['above', 'below']", False),
            ("stopwords = ['F00']", True),
            ("stopwords = ['noqa']", False),
            ("condition = 'AND'\nstopwords = ['f00']\nregexes = ['00']", True),
            ("condition = 'AND'\nstopwords = ['f00']\nregexes = ['zz']", False),
            ("condition = 'AND'\nstopwords = ['f00']\npaths = ['x']", False),
            ("condition = 'OR'\nstopwords = ['f00']\npaths = ['x']", True),
            ("paths = ['.*']\ncommits = ['abc']", False),
        ],
    )
    @pytest.mark.parametrize("where", ["rules.allowlist", "[rules.allowlists]", "allowlist", "[allowlists]"])
    def test_what_counts(self, tmp_path: Path, where: str, allowlist: str, is_left: bool) -> None:
        """Patterns look for themselves in the secret, the match or the line; a path that is required is never there."""
        text = f"above\ndesk_{self.SECRET} # noqa\nbelow"
        own = FILE.partition('[[rules]]\nid = "named"')[0]  # so that [rules.…] belongs to the first rule
        scanner, _ = load(tmp_path, f"{own}[{where}]\n{allowlist}\n")
        expected = text if is_left else text.replace(self.SECRET, "[REDACTED:desk-api-key]")
        assert expected == scanner.redact(text).text

    def test_target_rules(self, tmp_path: Path) -> None:
        """An allowlist for all rules may name those that it is for."""
        text = f"desk_{self.SECRET}"
        for target, is_left in (("Desk_API.key", True), ("named", False)):
            more = f"[[allowlists]]\ntargetRules = ['{target}']\nstopwords = ['f00']\n"
            assert is_left is (text == redacted(tmp_path, text, more))

    def test_after_fork(self) -> None:
        """Patterns of allowlists are compiled anew in a forked child, and the inherited ones are not freed."""
        patterns = Patterns(["f00", "b[0-9]r"])
        before = vars(patterns)["_compiled"]
        patterns.renew_after_fork()
        after = vars(patterns)["_compiled"]
        assert [] == [old for old, new in zip(before, after, strict=True) if old is new]
        assert [True, True, False] == [patterns.found_in(text) for text in (b"a f00", b"b7r", b"bar")]


class TestSaid:
    """What has no meaning here is told, and what is wrong is refused."""

    def test_nothing(self, tmp_path: Path) -> None:
        """A file that means here what it means there needs no words."""
        assert [] == load(tmp_path)[1]

    def test_notices(self, tmp_path: Path) -> None:
        """Rules for paths are left out; paths, commits, extensions, required rules are passed over. One line tells."""
        more = (
            "[[rules]]\nid = 'p12'\npath = '\\.p12$'\n"
            "[[rules]]\nid = 'limited'\nregex = 'lim-[0-9]{9}'\npath = 'conf'\n[[rules.required]]\nid = 'named'\n"
            "[allowlist]\npaths = ['x']\n[extend]\nuseDefault = true\n"
        )
        scanner, (said,) = load(tmp_path, FILE + more)
        assert said.startswith(f"{tmp_path}/desk.toml: ")
        for part in (
            "[extend] is not followed: name the other file in redaction.rule_files as well",
            "only paths and no regex, so left out: p12",
            "looks at every text, whatever its path says: limited",
            "paths and commits of allowlists have no meaning here",
            "finds its secret alone, without the rules that it requires: limited",
        ):
            assert part in said
        assert "[REDACTED:limited]" == scanner.redact("lim-123456789").text

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("[[rules]]\nid = 'a'\nregex = '(?=x)'", "rules.0.regex: rule a: has a look-ahead or look-behind"),
            ("[[rules]]\nid = 'a'\nregex = 'x*'", "rules.0.regex: rule a: matches the empty text"),
            ("[[rules]]\nid = 'a'\nregex = '(x)'\nsecretGroup = 2", "rules.0.secretGroup: rule a: is out of range"),
            ("[[rules]]\nregex = 'x'", "rules.0.id: is missing, it has no default"),
            ("[[rules]]\nid = '_'\nregex = 'x'", "rules.0.id: rule _: needs a letter or digit"),
            ("[[rules]]\nid = 'a'\nregex = 'x'\n" * 2, "rules.1.id: rule a: is there twice"),
            ("[[rules]]\nid = 'a'\nregex = 'x'\nentropy = 'much'", "rules.0.entropy: must be a number"),
            (
                "[[rules]]\nid = 'a'\nregex = 'x'\n[[rules.allowlists]]\nregexes = ['(']",
                "rules.0.allowlist.regexes: rule a: is not in RE2's syntax: missing )",
            ),
            ("[allowlist]\nregexes = ['x']", "has no rules; each begins with [[rules]]"),
            ("[extend]\nuseDefault = true", "has no rules; each begins with [[rules]]"),
        ],
    )
    def test_refused(self, tmp_path: Path, text: str, problem: str) -> None:
        """What cannot work is refused with its place."""
        assert problems(tmp_path, text)[0].startswith(problem)
