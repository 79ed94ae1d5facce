"""Rules of the user's own: what is taken, what is refused and why, and how they are timed."""

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mnemonic import Mnemonic

from structllm.errors import ConfigError
from structllm.redaction.custom import CustomRule, load_rules
from structllm.redaction.fuzz import time_problem
from structllm.redaction.patterns import compile_pattern, only_group
from structllm.redaction.rule_files import load_rule_file
from structllm.redaction.scan import Scanner
from structllm.redaction.validators import validator_of


def token(seed: str, length: int = 32) -> str:
    """Return random-looking letters and digits, the same ones for the same seed."""
    return hashlib.sha256(seed.encode()).hexdigest()[:length]


ACME = "acme_" + token("acme")
PHRASE: str = Mnemonic("english").to_mnemonic(bytes(range(16)))


def rule(**fields: Any) -> dict[str, Any]:
    """Return a sound rule with some fields changed."""
    sound = {"id": "acme-key", "pattern": "acme_[a-z0-9]{32}", "keywords": ["acme_"]}
    return {**sound, "tests": {"match": [f"use {ACME} now"], "no_match": ["acme_test"]}, **fields}


def examples(match: str, no_match: str = "nothing here") -> Mapping[str, Any]:
    """Return the examples of a rule."""
    return {"match": [match], "no_match": [no_match]}


def problems(*rules: Any) -> list[str]:
    """Return what is said against rules, without where they stand."""
    with pytest.raises(ConfigError) as refused:
        load_rules(rules)
    return [str(problem) for problem in refused.value.problems]


def redacted(text: str, *rules: dict[str, Any]) -> str:
    """Return what becomes of a text under these rules alone."""
    return Scanner(load_rules(rules)).redact(text).text


class TestTaken:
    """What a rule may say, and what it then does."""

    def test_whole_match(self) -> None:
        """Without groups, the whole match goes."""
        assert "a [REDACTED:acme-key], b" == redacted(f"a {ACME}, b", rule())

    @pytest.mark.parametrize(
        ("group", "expected"),
        [(None, "k1=[REDACTED:acme-key];x"), (0, "[REDACTED:acme-key];x"), (2, "k1=[REDACTED:acme-key];x")],
    )
    def test_group(self, group: int | None, expected: str) -> None:
        """The secret is the group that the rule names, or else the first that takes part."""
        pattern = {None: r"k\d=(\w+)", 0: r"k(\d)=(\w+)", 2: r"k(\d)=(\w+)"}[group]
        changed = rule(pattern=pattern, group=group, keywords=[], tests=examples("k1=abc"))
        assert expected == redacted("k1=" + token("b") + ";x", changed)

    def test_keywords_and_window(self) -> None:
        """A match counts only where a keyword stands near it, in any case."""
        near = rule(pattern="[0-9]{6}", keywords=["desk"], window=[8, 4], tests=examples("desk 123456", "123456"))
        text = "Desk: 555555, and 666666; 777777 DESK"
        assert "Desk: [REDACTED:acme-key], and 666666; 777777 DESK" == redacted(text, near)

    def test_validators(self) -> None:
        """What is found must pass every validator."""
        strict = rule(
            pattern=r"\b[0-9]{6}\b", keywords=[], validators=["luhn", "entropy>=1"], tests=examples("123455", "123456")
        )
        assert "[REDACTED:acme-key] 123456 000000" == redacted("123455 123456 000000", strict)

    def test_allow(self) -> None:
        """A secret that an allowed pattern covers as a whole stays."""
        allowing = rule(allow=["acme_0{32}"])
        assert f"acme_{'0' * 32} [REDACTED:acme-key]" == redacted(f"acme_{'0' * 32} {ACME}", allowing)

    def test_action(self) -> None:
        """A rule has its own action, or else the one of the settings."""
        own, other = load_rules([rule(action="partial"), rule(id="other")], action="drop_field")
        assert ("partial", "drop_field") == (own.action, other.action)
        assert f"[REDACTED:acme-key:{ACME[-4:]}]" == Scanner([own]).redact(ACME).text

    def test_named_group_of_another_kind(self) -> None:
        """Brackets that do not capture are not counted: escaped, quoted, in classes, flags."""
        pattern = r"\((?i:a)[(\]](?P<name>b)(?:c)\Q(\E(d)"
        assert r"\((?i:a)[(\]](?:b)(?:c)\Q(\E(d)" == only_group(pattern, 2)
        assert (1, 0) == (
            compile_pattern(only_group(pattern, 1)).groups,
            compile_pattern(only_group(pattern, 0)).groups,
        )


class TestRefused:
    """What is wrong is said with the reason, before anything is redacted."""

    @pytest.mark.parametrize(
        ("pattern", "reason"),
        [
            ("acme_(?=x)", "has a look-ahead or look-behind, which RE2 does not know"),
            ("(?<!x)acme_", "has a look-ahead or look-behind, which RE2 does not know"),
            (r"(a)acme_\1", "has a back-reference, which RE2 does not know"),
            ("acme_(?P<a>x)(?P=a)", "has a back-reference, which RE2 does not know"),
            ("acme_[a-z]{16,2000}", "repeats something more than 1,000 times"),
            ("(?:acme_{500}){500}", "repeats something more than 1,000 times"),
            ("acme_a++", "has two repetitions in a row"),
            ("(acme_", "is not in RE2's syntax: missing )"),
            (r"acme_\pL{900}\pL{900}\pL{900}\pL{900}", "is too large once its repeats are written out"),
            ("(?:acme_)*", "matches the empty text"),
            (r"\b|acme_", "matches the empty text"),
            ("$", "matches the empty text"),
        ],
    )
    def test_pattern(self, pattern: str, reason: str) -> None:
        """A pattern that the engine does not take, or that finds nothing, with what to do instead."""
        (problem,) = problems(rule(pattern=pattern))
        assert problem.startswith(f"rules.0.pattern (argument): rule acme-key: {reason}")
        assert pattern not in problem

    def test_repeat_says_what_to_write(self) -> None:
        """The way around the limit of repetitions is named."""
        (problem,) = problems(rule(pattern="a{2000}"))
        assert "write {n,} for n or more" in problem

    @pytest.mark.parametrize(
        ("fields", "where", "reason"),
        [
            ({"tests": {"no_match": ["x"]}}, "tests.match", "give at least one example"),
            ({"tests": {"match": [ACME]}}, "tests.no_match", "give at least one example"),
            ({"keywords": ["ac"]}, "keywords.0", "is too short; give at least 3 characters"),
            ({"keywords": ["other"]}, "tests.match.0", "is matched, but no keyword stands near"),
            (
                {"keywords": ["acme_", "use"], "window": [0, 0], "tests": examples("use " * 9)},
                "tests.match.0",
                "is not",
            ),
            ({"window": [10, 10], "keywords": []}, "window", "needs keywords to be near"),
            ({"group": 1}, "group", "is out of range: the pattern has no groups"),
            ({"group": 2, "pattern": "(acme)_"}, "group", "is out of range: the pattern has 1 group"),
            ({"validators": ["lunh"]}, "validators.0", "is no validator; did you mean 'luhn'?"),
            ({"validators": ["entropy"]}, "validators.0", "needs a bound, as in entropy>=3"),
            ({"validators": ["luhn>=2"]}, "validators.0", "takes no number: luhn"),
            ({"validators": ["length>=99"]}, "tests.match.0", "is matched, but what is found fails length>=99"),
            ({"allow": ["(?=x)"]}, "allow.0", "has a look-ahead or look-behind"),
            ({"allow": ["acme_.*"]}, "tests.match.0", "is matched, but left alone by allow"),
            ({"tests": examples("acme")}, "tests.match.0", "is not matched by the pattern"),
            ({"tests": examples(ACME, f"x {ACME}")}, "tests.no_match.0", "is found, although it must be left alone"),
            ({"tests": examples("{} " + ACME)}, "tests.match.0", "has {} before the secret; put something else there"),
            ({"id": "email"}, "id", "is taken by a built-in rule"),
            ({"id": "known-value"}, "id", "is taken by a built-in rule"),
        ],
    )
    def test_rule(self, fields: dict[str, Any], where: str, reason: str) -> None:
        """Everything else that cannot be meant, by the place in the rule."""
        found = problems(rule(**fields))
        assert [] == [said for said in found if f"rule {rule(**fields)['id']}: " not in said]
        assert found[0].startswith(f"rules.0.{where} (argument): rule {rule(**fields)['id']}: {reason}")

    @pytest.mark.parametrize("id", ["Acme", "acme key", "acme_key", "-acme", "a" * 49, "[acme]"])
    def test_id(self, id: str) -> None:
        """An id is what fits into a marker; one that does not is not repeated."""
        assert ["rules.0.id (argument): must be lower-case letters, digits and hyphens, at most 48"] == problems(
            rule(id=id)
        )

    @pytest.mark.parametrize(
        ("fields", "problem"),
        [
            ({"window": [0, 16385]}, "rules.0.window.1 (argument): must be at most 16,384"),
            ({"window": [-1, 0]}, "rules.0.window.0 (argument): must be at least 0"),
            ({"regex": "a"}, "rules.0.regex (argument): unknown setting"),
            ({"action": "hash"}, "rules.0.action (argument): must be 'mask', 'partial', 'hmac', 'drop_field' or"),
            ({"pattern": ""}, "rules.0.pattern (argument): must not be empty"),
        ],
    )
    def test_shape(self, fields: dict[str, Any], problem: str) -> None:
        """What a rule cannot hold is refused as in all settings."""
        (said,) = problems(rule(**fields))
        assert said.startswith(problem)

    def test_all_at_once(self) -> None:
        """Every problem of every rule is told, ids that are there twice included."""
        said = problems(rule(pattern="(?=x)", keywords=["a"]), 5, rule(), rule())
        assert ["rules.0.pattern", "rules.0.keywords.0", "rules.1", "rules.3.id"] == [
            problem.partition(" ")[0] for problem in said
        ]


class TestValidators:
    """The named validators."""

    @pytest.mark.parametrize(
        ("name", "right", "wrong"),
        [
            ("luhn", "4539 1488 0343 6467", "4539148803436468"),
            ("luhn", "18", "x18"),
            ("iban", "DE89" + "370400440532013000", "DE88370400440532013000"),
            ("iban", "GB82 WEST 1234 5698 7654 32", "zz!"),
            ("ssn", "219-09-9999", "000-12-3456"),
            ("ssn", "219099999", "219-099999"),
            ("bip39", PHRASE, " ".join(reversed(PHRASE.split()))),
            ("bip39", PHRASE.title().replace(" ", ", "), PHRASE.rpartition(" ")[0]),
            ("base58check", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb"),
            ("base64", b64encode(bytes(range(30))).decode(), "not base64!"),
            ("base64", "-_-_-_-_", "-_-_+/+/"),
            ("mixed", "abc1", "abcd"),
            ("mixed", "a1", "11"),
            ("entropy>=3", "abcdefgh", "aaaabbbb"),
            ("entropy >= 2.5", "abcdef", "abab"),
            ("ENTROPY<=1", "abab", "abcd"),
            ("length>=4", "abcd", "abc"),
            ("length>=2", "\u00e9\u00e9", "\u00e9"),
            ("length<=3", "abc", "abcd"),
        ],
    )
    def test_judges(self, name: str, right: str, wrong: str) -> None:
        """Each takes what it is for, and nothing else."""
        check = validator_of(name)
        for text, expected in ((right, True), (wrong, False)):
            data = f"..{text}..".encode()
            assert expected is check(data, 2, len(data) - 2), text

    @pytest.mark.parametrize(
        "name", ["luhn", "iban", "ssn", "bip39", "base58check", "base64", "mixed", "entropy>=3", "length>=3"]
    )
    @pytest.mark.parametrize("data", [b"", b"\xff\x00", "\u0661\u0662\u4e2d".encode(), b"9" * 10_000])
    def test_never_raises(self, name: str, data: bytes) -> None:
        """Whatever a pattern hands it, a validator answers: one that raised would cost the whole field."""
        assert validator_of(name)(data, 0, len(data)) in (True, False)


class TestFile:
    """A TOML file of rules."""

    def write(self, directory: Path, text: str) -> Path:
        """Write a file of rules."""
        path = directory / "rules.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def test_own_form(self, tmp_path: Path) -> None:
        """Rules stand under [[rules]]."""
        path = self.write(
            tmp_path,
            f"[[rules]]\nid = 'acme-key'\npattern = 'acme_[a-z0-9]{{32}}'\n"
            f"tests = {{match = ['{ACME}'], no_match = ['acme_']}}\n",
        )
        (loaded,) = load_rule_file(path, action="hmac")
        assert ("acme-key", "hmac", ACME) == (loaded.id, loaded.action, loaded.matches[0].secret)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("[[rules]]\nid = 5\n", "rules.0.id: must be text"),
            ("[[rules]]\nid = 'a'\npattern = '(?=x)'", "rules.0.pattern: rule a: has a look-ahead or look-behind"),
            ("rules = 5", "has no rules; each begins with [[rules]]"),
            ("", "has no rules; each begins with [[rules]]"),
            ("[[rule]]\nid = 'a'\n", "rule: there are only [[rules]] in a file of rules; did you mean 'rules'?"),
            ("[[rules]\n", "not valid TOML"),
        ],
    )
    def test_wrong(self, tmp_path: Path, text: str, problem: str) -> None:
        """What is wrong is told with the name of the file."""
        path = self.write(tmp_path, text)
        with pytest.raises(ConfigError) as refused:
            load_rule_file(path)
        assert refused.value.problems[0].startswith(f"{path}: {problem}")

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (None, "No such file or directory"),
            (b"\xff\xfe", "not UTF-8 text"),
            (b"#" * (16 * 2**20 + 1), "larger than"),
        ],
        ids=["missing", "not text", "too large"],
    )
    def test_unreadable(self, tmp_path: Path, content: bytes | None, reason: str) -> None:
        """A file that cannot be read stops the start, with the reason."""
        path = tmp_path / "rules.toml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match=reason):
            load_rule_file(path)

    def test_changes_are_seen(self, tmp_path: Path) -> None:
        """A file that was changed is read anew."""
        text = f"[[rules]]\nid = 'a'\npattern = 'acme_'\ntests = {{match = ['{ACME}'], no_match = ['x']}}\n"
        assert ["a"] == [one.id for one in load_rule_file(self.write(tmp_path, text))]
        assert ["b"] == [one.id for one in load_rule_file(self.write(tmp_path, text.replace("'a'", "'b'")))]


class TestTime:
    """Rules are timed on near misses of their own examples."""

    @pytest.mark.parametrize("pattern", ["(desk)(?:[^\n]*END)?", "desk(?:.*END|[0-9])"])
    def test_quadratic(self, pattern: str) -> None:
        """A pattern that looks to the end of the text for each match is found out."""
        (slow,) = load_rules([rule(pattern=pattern, keywords=[], tests=examples("desk5", "x"))])
        problem = time_problem(slow)
        assert problem is not None
        assert problem.startswith("takes ")

    def test_linear(self) -> None:
        """A rule whose time grows with the text is none."""
        (quick,) = load_rules([rule()])
        assert None is time_problem(quick)

    @pytest.mark.parametrize(
        ("spent_s", "expected"),
        [
            ([0.0005, 0.002, 0.008, 0.032], None),
            ([0.0005, 0.002, 0.008, 0.15, 0.15, 0.15], "takes 19 times as long for 256 KiB as for a quarter of it"),
            ([0.0005, 0.002, 0.008, 0.15, 0.15, 0.032], None),
            ([0.0005, 0.002, 0.06, 0.06, 0.06], "takes 60 ms for 64 KiB of near misses, and may take 50"),
            ([0.015, 0.04, 0.05, 0.19], None),
        ],
    )
    def test_limits(self, spent_s: list[float], expected: str | None) -> None:
        """50 ms for 64 KiB, and no growth like a square; of several tries the quickest counts."""
        (quick,) = load_rules([rule(pattern="acme_[0-9a-f]{32}")])
        times = [moment for spent in spent_s for moment in (0.0, spent)]
        ticks = iter(times)
        assert expected == time_problem(quick, clock=lambda: next(ticks, 0.0))

    def test_failing_check(self) -> None:
        """A check that raises on a near miss is a problem as well."""

        def breaks(text: bytes, start: int, end: int) -> bool:
            if b" now" not in text:
                raise ValueError
            return True

        (sound,) = load_rules([rule()])
        assert "its check raises ValueError on a near miss" == time_problem(replace(sound, check=breaks))


class TestModel:
    """The rule as a setting."""

    def test_is_a_setting(self) -> None:
        """A rule may be built in code as well, and is not built anew."""
        built = CustomRule(**rule())
        assert load_rules([built]) == load_rules([rule()])
