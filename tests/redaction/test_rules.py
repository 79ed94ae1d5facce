"""Every rule finds its own examples wherever they stand, leaves its counterexamples alone, and nothing else changes."""

import json
import re
from functools import cache
from pathlib import Path

import pytest

from structllm.errors import ConfigError
from structllm.processors.redact import Redact
from structllm.redaction import checks, packs
from structllm.redaction.packs import DEFAULT_PACKS, PACKS
from structllm.redaction.rule import MARKER, Rule, Sample
from structllm.redaction.scan import OVERLAP_CHARS, Scanner

RULES = [rule for pack in DEFAULT_PACKS for rule in PACKS[pack]]
SAMPLES = [
    pytest.param(rule, sample, id=f"{rule.id}-{number}") for rule in RULES for number, sample in enumerate(rule.matches)
]
CLOSED_SAMPLES = [
    case for case in SAMPLES if "-----BEGIN" not in case.values[1].secret or "-----END" in case.values[1].secret
]
"""Without the key block that has no end and takes the rest of the text along."""

MISSES = [
    pytest.param(rule, text, id=f"{rule.id}-{number}") for rule in RULES for number, text in enumerate(rule.misses)
]

EMBEDDINGS = {
    "alone": "{}",
    "prose": "They wrote {} (see below).",
    "line": "Support at 44,800.\n{}\nResistance at 45,900.",
    "brackets": "[{}]",
    "non-ascii": "Ключ: «{}» 終わり \U0001f680",
    "touching non-ascii": "é{}中",
    "url": "https://api.broker.test/v1/klines?symbol=BTC&note={}&limit=5",
}

BENIGN = [
    "BTC-USD closed at 45,230.50, rsi 62.5, macd 1.25e-3, funding 0.0100%.",
    "2024-01-15T10:30:45.123Z 1705314645123 1705314645123456789",
    "candles 45230.5 45100.25 44990.0 45310.75 | 4523 4510 4490 4521",
    "order 7f9c24e8-3b12-4fef-91e0-56a2d5a5c1b2 filled, client id x-HNA2TXFJ8a7b6c5d",
    "tx 0x" + "9f" * 32 + " from 0x" + "ab" * 20 + " in block 0x" + "0c" * 32,
    "commit 3c59dc048e8850243be8079a5c74d079f1b2c3d4 sha256:" + "0f" * 32,
    '{"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225, "token": "ETH", "max_tokens": 1000}',
    "The token unlock is on Monday; the key level is 45000 and the secret is discipline.",
    "Reset your password if the password is missing. Passwords: at least 12 characters.",
    'Respond only with {"action":"LONG|SHORT|HOLD","size_pct":0-100}.',
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "model=gpt-4o-2024-08-06 author=@trader #btc $ETH 50% > 40% a@b",
    "La clé est la patience; der Schlüssel ist Geduld; 鍵は忍耐; ключ — терпение.",
    "https://etherscan.io/tx/0x" + "1a" * 32 + "?tab=logs&page=2",
    "api_key=os.environ['BINANCE_KEY'], secret=${SECRET}, token=<your-token>, password=********",
]


@cache
def scanner_of(*rules: Rule) -> Scanner:
    """Return a scanner of these rules, by default of all."""
    return Scanner(rules or RULES)


def redacted(text: str) -> str:
    """Return the text as all rules together leave it."""
    return scanner_of().redact(text).text


def bare(text: str) -> str:
    """Return the text without markers, whose rule ids may share letters with a secret."""
    return re.sub(r"\[REDACTED:[a-z0-9-]+\]", "", text)


def pieces(secret: str, length: int = 6) -> list[str]:
    """Return everything of a secret that is long enough to give it away."""
    return [secret[start : start + length] for start in range(max(1, len(secret) - length + 1))]


class TestRules:
    def test_ids_are_unique_and_short(self) -> None:
        """An id names one rule and fits a marker."""
        assert len(RULES) == len({rule.id for rule in RULES})
        assert all(MARKER.fullmatch(f"[REDACTED:{rule.id}]".encode()) for rule in RULES)

    def test_every_rule_has_examples_of_both_kinds(self) -> None:
        """A rule without its own examples does not exist."""
        assert [] == [rule.id for rule in RULES if not rule.matches or not rule.misses]

    @pytest.mark.parametrize(("rule", "sample"), CLOSED_SAMPLES)
    def test_own_rule_replaces_exactly_the_secret(self, rule: Rule, sample: Sample) -> None:
        """The marker stands where the secret stood and everything around it is as it was."""
        for name in ("alone", "prose", "line", "non-ascii"):
            expected = EMBEDDINGS[name].replace("{}", sample.around.replace("{}", f"[REDACTED:{rule.id}]"))
            assert expected == scanner_of(rule).redact(EMBEDDINGS[name].replace("{}", sample.text)).text

    @pytest.mark.parametrize(("rule", "sample"), SAMPLES)
    def test_all_rules_together_leave_nothing_of_the_secret(self, rule: Rule, sample: Sample) -> None:
        """Whatever rule takes it and wherever it stands, no six characters of a secret are left."""
        for around in EMBEDDINGS.values():
            clean = redacted(around.replace("{}", sample.text))
            assert "[REDACTED:" in clean
            assert [] == [piece for piece in pieces(sample.secret) if piece in bare(clean)]

    @pytest.mark.parametrize(("rule", "sample"), SAMPLES)
    def test_secret_in_json_text(self, rule: Rule, sample: Sample) -> None:
        """Escaped quotes and line breaks hide nothing, and what was JSON still is."""
        text = json.dumps({"messages": [{"role": "user", "content": "line\n" + sample.text + "\nline"}], "n": 1})
        clean = redacted(text)
        assert [] == [piece for piece in pieces(json.dumps(sample.secret)[1:-1]) if piece in bare(clean)]
        if "-----BEGIN" not in sample.secret:
            assert 1 == json.loads(clean)["n"]

    @pytest.mark.parametrize(("rule", "text"), MISSES)
    def test_own_rule_leaves_counterexamples_alone(self, rule: Rule, text: str) -> None:
        """What only resembles a secret stays, alone and among other text."""
        for around in ("{}", "They wrote {} (see below).", "one\n{}\ntwo"):
            whole = around.replace("{}", text)
            assert whole == scanner_of(rule).redact(whole).text

    @pytest.mark.parametrize("text", BENIGN)
    def test_trading_text_is_left_alone(self, text: str) -> None:
        """Prices, times, hashes, addresses, ids, placeholders and prose in several languages are no secrets."""
        assert text == redacted(text)

    def test_source_holds_nothing_that_looks_like_a_key(self) -> None:
        """The examples are put together at run time, so that secret scanners have nothing to report here."""
        modules = sorted(Path(packs.__file__).parent.glob("*.py"))
        source = "\n".join(module.read_text(encoding="utf-8") for module in modules)
        keys = Scanner(
            [rule for rule in PACKS["credentials"] if rule.check in (checks.is_no_filler, checks.is_key_anywhere)]
        )
        assert () == keys.redact(source).rules

    def test_filler_is_no_key(self) -> None:
        """A key of one repeated character is an example in somebody's documentation."""
        text = "OPENAI_API_KEY=sk-" + "x" * 48
        assert text == redacted(text)

    def test_filler_behind_a_key_does_not_save_it(self) -> None:
        """A line of dashes that touches a key does not make an example of it."""
        key = "sk-" + "ant-" + "a7Gk2Lm9Qx4Zr8Tv1Wy5"
        for text in (key + "-" * 40, f"token={key[7:]}" + "x" * 40):
            assert "Zr8T" not in redacted(text)

    @pytest.mark.parametrize("name", ["api_key", "API_KEY", "apiKey", "api-key", "client_secret", "accessToken"])
    @pytest.mark.parametrize(
        "form",
        ["{n}={v}", "{n}: {v}", '"{n}":"{v}"', "'{n}': '{v}'", '{n} = "{v}"', '\\"{n}\\": \\"{v}\\"', "{n} => `{v}`"],
    )
    def test_assignment_forms(self, name: str, form: str) -> None:
        """A name that says secret hides its value in every usual notation."""
        value = "q8Zr2" + "LmX0v" + "Tn5Kd"
        text = form.replace("{n}", name).replace("{v}", value)
        assert text.replace(value, "***") == re.sub(r"\[REDACTED:[a-z-]+\]", "***", redacted(text))

    @pytest.mark.parametrize(
        "form",
        [
            "password=b'{v}'",
            'password=f"{v}"',
            "('password', '{v}')",
            "(b'db_password', b'{v}')",
            "run --password {v} now",
            "run --db-pass '{v}' now",
            "<password>{v}</password>",
            '<ns:password type="text">{v}</ns:password>',
            "password\u00a0=\u00a0{v}",
            "password\uff1a{v}",
            "DB_PASS={v}",
            "PGPASSWORD={v}",
            "user_pass: {v}",
            "pass={v}",
            "token: ['{v}']",
            '"token": {"value": "{v}"}',
            "('client_secret', '{v}')",
            "<api_key>{v}</api_key>",
        ],
    )
    def test_other_notations(self, form: str) -> None:
        """Literals with a prefix, tuples, options, elements, other blanks and colons: exactly the value goes."""
        value = "hunter" + "2Xyz"
        clean = re.sub(r"\[REDACTED:[a-z-]+\]", "***", redacted(form.replace("{v}", value)))
        assert form.replace("{v}", "***") == clean

    @pytest.mark.parametrize("depth", range(6))
    def test_json_in_json(self, depth: int) -> None:
        """However often text was escaped as JSON, the value goes and every level can still be read."""
        text = json.dumps({"password": "hunter" + "2Xyz", "n": 1})
        for _ in range(depth):
            text = json.dumps(text)
        clean: object = redacted(text)
        while isinstance(clean, str):
            clean = json.loads(clean)
        assert {"password": "[REDACTED:password]", "n": 1} == clean

    @pytest.mark.parametrize(
        "before", ["\x1b[32m", "\x1b[1;31m", "\x1b[K", "\\x1b[0m", "\\u001b[38;5;12m", "[32m", "\\n", "%3D", "_", "é"]
    )
    @pytest.mark.parametrize("start", ["sk-" + "ant-", "sk-", "gh" + "p_", "x" + "ai-", "AK" + "IA"])
    def test_edges(self, before: str, start: str) -> None:
        """A key may follow the colour of a terminal, an escape or a letter of another script."""
        key = start + "A7K2L9Q4Z8T1W5B3" * 3
        assert key[4:] not in redacted(before + key + " x")

    @pytest.mark.parametrize("before", ["1", "key", "A"])
    @pytest.mark.parametrize(
        "start", ["sk-" + "ant-", "sk-" + "proj-", "github" + "_pat_", "xox" + "b-", "sk" + "_live_"]
    )
    def test_long_prefix_inside_a_word(self, before: str, start: str) -> None:
        """A key whose prefix nothing else has is found even where text touches it."""
        clean = redacted(before + start + "a7Gk2Lm9Qx4Zr8Tv1Wy5" * 2)
        assert clean.startswith(f"{before}[REDACTED:")
        assert clean.endswith("]")

    @pytest.mark.parametrize(
        "text",
        [
            "task-ant-colony-optimisation-of-2024-trades",
            "desk-proj-estimate-for-the-quarter-2024",
            "compass=north12ab",
            "bypass=a1b2c3d4e5",
            "passing: 12345abcdef",
            "tests pass: 12 of 14",
            'required: ["password", "email"]',
            'token: ["BTC", "ETH"], "tokens": [101, 102]',
            'token: {"symbol": "ETH"}',
            "The --password option, the --token flag",
        ],
    )
    def test_words_that_resemble_names_and_keys(self, text: str) -> None:
        """Slugs, directions, test results and prose about an option hold no secret."""
        assert text == redacted(text)


class TestOpenEnds:
    def test_private_key_block_without_end_goes_to_the_end(self) -> None:
        """A key block that was cut off takes everything behind it along."""
        text = "see -----BEGIN EC " + "PRIVATE KEY-----\nMHcCAQEEI\nmore\n"
        assert "see [REDACTED:private-key-block]" == redacted(text)

    def test_private_key_block_ends_at_its_end(self) -> None:
        """Text behind a complete block stays."""
        begin, end = "-----BEGIN PRIVATE" + " KEY-----", "-----END PRIVATE" + " KEY-----"
        assert "a [REDACTED:private-key-block] b" == redacted(f"a {begin}\nMIIE\n{end} b")


class TestChecks:
    @pytest.mark.parametrize(
        ("digits", "expected"),
        [
            ("4111 1111 1111 1111", True),
            ("5500-0000-0000-0004", True),
            ("3782 822463 10005", True),
            ("4111 1111 1111 1112", False),
            ("4111111111111111", False),
            ("9111 1111 1111 1111", False),
        ],
    )
    def test_card_needs_luhn_network_and_grouping(self, digits: str, expected: bool) -> None:
        """Without separators only a word nearby makes digits a card."""
        text = digits.encode()
        assert expected is checks.is_card(text, 0, len(text))

    def test_card_word_nearby(self) -> None:
        """Digits without separators are a card when the text says so, before or behind."""
        digits = "4111" + "1111" * 3
        for text in (f"card_number={digits}", f"{digits} is my visa"):
            start = text.index(digits)
            assert checks.is_card(text.encode(), start, start + len(digits))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("219-09-9999", True),
            ("000-09-9999", False),
            ("666-09-9999", False),
            ("900-09-9999", False),
            ("219-00-9999", False),
            ("219-09-0000", False),
        ],
    )
    def test_ssn_ranges(self, text: str, expected: bool) -> None:
        """Areas 000, 666 and 9xx, group 00 and serial 0000 are never issued."""
        assert expected is checks.is_us_ssn(text.encode(), 0, len(text))

    def test_iban_needs_remainder_and_length(self) -> None:
        """One wrong digit, or the wrong length for the country, is no IBAN."""
        good = "DE89" + "3704004405" + "32013000"
        for text, expected in ((good, True), (good[:-1] + "1", False), (good + "0", False), ("FR" + good[2:], False)):
            assert expected is checks.is_iban(text.encode(), 0, len(text))

    def test_bitcoin_key_needs_its_checksum(self) -> None:
        """A private key in wallet import format is told from random text by its checksum."""
        key = checks.base58check(b"\x80" + bytes(range(1, 33)) + b"\x01")
        other = key[:-1] + (b"2" if key[-1:] != b"2" else b"3")
        assert (True, False) == (checks.is_bitcoin_wif(key, 0, 52), checks.is_bitcoin_wif(other, 0, 52))


class TestScanner:
    def test_offsets_of_text_that_is_not_ascii(self) -> None:
        """Characters of one to four bytes around a secret do not shift what is replaced."""
        text = "aé中\U0001f680 " + "jane" + "@example.com" + " \U0001f680中éa"
        assert "aé中\U0001f680 [REDACTED:email] \U0001f680中éa" == redacted(text)

    def test_lone_surrogate(self) -> None:
        """Half a surrogate pair, as a foreign chain may carry, neither hides a secret nor breaks the scan."""
        assert "\ud83d[REDACTED:email]\ude80" == redacted("\ud83d" + "jane" + "@example.com" + "\ude80")

    def test_overlapping_spans_become_one_marker_of_the_first_rule(self) -> None:
        """A bearer header around a vendor's key is one replacement, named after the vendor."""
        text = "Authorization: Bearer " + "gh" + "p_" + "a1B2c3D4" * 5
        event = Redact()(None, "info", {"text": text})
        assert "Authorization: [REDACTED:github-token]" == event["text"]
        assert {"count": 1, "rules": ["github-token"]} == event["redactions"]

    def test_span_inside_another(self) -> None:
        """An address inside a longer secret does not end the secret early."""
        text = 'password: "first9 ' + "jane" + '@example.com last9" done'
        assert 'password: "[REDACTED:password]" done' == redacted(text)

    def test_marker_is_no_secret(self) -> None:
        """What is redacted already is left alone, also by a rule that would take anything."""
        scanner = Scanner([Rule("mine", "id=([^ ]+)", (Sample("x1", "id={}"),), ("id",))])
        assert (
            "id=[REDACTED:email] id=[REDACTED:mine]" == scanner.redact("id=[REDACTED:email] id=[REDACTED:email]x").text
        )

    def test_several_secrets_in_one_text(self) -> None:
        """Each secret gets a marker, in its place."""
        clean = redacted("a@example.com pays b@example.com by " + " ".join(["4111", *["1111"] * 3]) + " now")
        assert "[REDACTED:email] pays [REDACTED:email] by [REDACTED:payment-card] now" == clean

    def test_rejected_candidate_does_not_hide_the_next(self) -> None:
        """A number that fails its checksum may run into one that passes."""
        assert "2024 [REDACTED:payment-card]" == redacted("2024 " + " ".join(["4111", *["1111"] * 3]))

    def test_text_without_secret_is_returned_itself(self) -> None:
        """Clean text is not copied."""
        text = "momentum is positive" * 10
        assert scanner_of().redact(text).text is text

    def test_no_rules(self) -> None:
        """A scanner of no rules finds nothing."""
        scanner = Scanner([])
        assert (True, "password=hunter2") == (scanner.is_clean("x"), scanner.redact("password=hunter2").text)

    @pytest.mark.parametrize("pattern", ["(?=look)ahead", "(unclosed", "a{2000}", r"(a)\1"])
    def test_pattern_outside_re2(self, pattern: str) -> None:
        """A pattern that RE2 cannot run is refused while building, with the rule and the reason."""
        with pytest.raises(ConfigError, match=r"redaction rule mine: .+; RE2 has no look-around"):
            Scanner([Rule("mine", pattern, (Sample("x"),), ("y",))])

    @pytest.mark.parametrize(
        ("rule", "reason"),
        [
            (Rule("mine", "abc", (Sample("xyz"),), ("y",)), "does not find the secret of its own example"),
            (Rule("mine", "abc", (Sample("abc"),), ("abcd",)), "finds a secret in an example that has none"),
            (Rule("mine", "abc", (), ("y",)), "at least one example"),
            (Rule("My Rule", "abc", (Sample("abc"),), ("y",)), "an id of its own"),
            (Rule("mine", "abc", (Sample("abc"),), ("y",), lambda *_: bool(1 / 0)), "raised ZeroDivisionError"),
        ],
    )
    def test_rule_that_fails_its_examples(self, rule: Rule, reason: str) -> None:
        """A wrong rule is refused while building, not discovered while logging."""
        with pytest.raises(ConfigError, match=reason):
            Scanner([rule])

    def test_same_id_twice(self) -> None:
        """Two rules cannot share an id."""
        rule = Rule("mine", "abc", (Sample("abc"),), ("y",))
        with pytest.raises(ConfigError, match="an id of its own"):
            Scanner([rule, rule])

    @pytest.mark.parametrize(("rule", "sample"), SAMPLES)
    def test_example_at_any_place_of_a_preview(self, rule: Rule, sample: Sample) -> None:
        """Cut where it may, a preview shows no six characters of a secret that it meets."""
        scanner, text = scanner_of(), "x" * 40 + "\n" + sample.text + "\n" + "y" * (OVERLAP_CHARS + 100)
        for limit in range(35, 35 + len(sample.text), max(1, len(sample.text) // 25)):
            clean = scanner.redact(text, limit).text
            assert [] == [piece for piece in pieces(sample.secret) if piece in bare(clean)]
