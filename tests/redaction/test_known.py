"""The process's own secrets: which values count, in which spellings they are found, and how many are remembered."""

import base64
import json
import os
import random
import string
import subprocess
import sys
import threading
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretBytes, SecretStr

from structllm.errors import ConfigError
from structllm.processors.redact import Redact
from structllm.redaction import known as known_module
from structllm.redaction.keys import KeyRules
from structllm.redaction.known import (
    MAX_BYTES,
    MAX_VALUES,
    KnownValues,
    known_here,
    redact_value,
    secrets_in,
    secrets_of,
)
from structllm.redaction.scan import Scanner

MARKER = "[REDACTED:known-value]"
ODD = 'Zk8/+w "q"\\é' + "\n7=x"

RNG = random.Random(6)


def drawn(chars: int) -> str:
    """Return a random value that nothing else looks like."""
    return "".join(RNG.choices(string.ascii_letters + string.digits, k=chars))


def redacted(text: str, *values: str) -> str:
    """Return the text as a scanner leaves it that knows nothing but these values."""
    return Scanner([], known=KnownValues(values)).redact(text).text


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> KnownValues:
    """A registry of the process that ends with the test."""
    fresh = KnownValues()
    monkeypatch.setattr(known_module, "_process", fresh)
    return fresh


class TestForms:
    @pytest.mark.parametrize(
        "spell",
        [
            str,
            lambda value: json.dumps(value)[1:-1],
            lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
            lambda value: json.dumps(json.dumps(value)),
            quote,
            quote_plus,
            lambda value: quote(value, safe=""),
            lambda value: quote(value, safe="").lower() if value.islower() else quote(value, safe=""),
        ],
    )
    def test_spellings(self, spell: Any) -> None:
        """A value goes as it is, JSON-escaped once or twice, and URL-encoded."""
        for value in (ODD, drawn(20)):
            text = redacted(f"<{spell(value)}>", value)
            assert MARKER in text
            assert value[:5] not in text

    @given(st.binary(max_size=7), st.binary(min_size=24, max_size=70), st.binary(max_size=7), st.booleans())
    @settings(max_examples=200)
    def test_base64_in_every_alignment(self, before: bytes, value: bytes, after: bytes, url_safe: bool) -> None:
        """Whatever stands before and behind a value in what is encoded, six bytes of it cannot be read."""
        value = b"!" + value.replace(b" ", b"x").strip() + b"!"
        encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
        scanner = Scanner([], known=KnownValues([value]))
        encoded = encode(before + value + after).decode()
        text = scanner.redact(f"x {encoded} y").text
        assert MARKER in text
        assert all(piece not in text for piece in (encoded[12:20], encoded[-14:-8]) if len(piece) == 8)

    @given(st.text(min_size=0, max_size=30), st.text(min_size=0, max_size=30))
    @settings(max_examples=200)
    def test_anywhere_in_any_text(self, before: str, after: str) -> None:
        """A value is found wherever it stands, and a scanner that says clean has none."""
        scanner = Scanner([], known=KnownValues([ODD]))
        text = before + ODD + after
        assert not scanner.is_clean(text)
        assert ODD not in scanner.redact(text).text

    def test_values_that_begin_alike(self) -> None:
        """The longest value that fits goes, and a beginning alone stays."""
        stem = drawn(24)
        values = [stem, stem + "-one", stem + "-one-more"]
        expected = [MARKER, MARKER, MARKER, stem[:20], MARKER + "-on"]
        texts = [*values, stem[:20], stem + "-on"]
        assert expected == [redacted(text, *values) for text in texts]

    def test_values_that_overlap(self) -> None:
        """Where one value begins inside another, nothing of either is left."""
        first, second = "abcdefgh12345678", "12345678zyxwvuts"
        assert MARKER == redacted("abcdefgh12345678zyxwvuts", first, second)

    def test_wins_over_rules(self) -> None:
        """Where a rule sees the same text, the marker says that the value is known."""
        mail = "jane" + "@example.com"
        redact = Redact(known=KnownValues([mail]))
        event = redact(None, "info", {"text": f"to {mail}", "nested": {mail: [mail]}})
        assert (f"to {MARKER}", {MARKER: [MARKER]}) == (event["text"], event["nested"])

    def test_allow_list_does_not_spare_it(self) -> None:
        """What the process holds as a secret is one, whatever the settings allow."""
        value = drawn(16)
        event = Redact(known=KnownValues([value]), allow=[".*"])(None, "info", {"text": value})
        assert MARKER == event["text"]


class TestRegistry:
    def test_redact_value_reaches_every_redactor(self, registry: KnownValues) -> None:
        """A value that is registered late goes from then on, also as a name that was clean before."""
        value = drawn(16)
        redact = Redact()
        before = redact(None, "info", {"text": value, "nested": {value: 1}})
        redact_value(value)
        after = redact(None, "info", {"text": value, "nested": {value: 1}})
        assert (value, {value: 1}) == (before["text"], before["nested"])
        assert (MARKER, {MARKER: 1}) == (after["text"], after["nested"])
        assert 1 == len(registry)

    @pytest.mark.parametrize("wrap", [str, str.encode, SecretStr, lambda value: SecretBytes(value.encode())])
    def test_kinds_of_values(self, wrap: Any) -> None:
        """Text, bytes and values that hide themselves are taken."""
        value = drawn(12)
        assert MARKER == Scanner([], known=KnownValues([wrap(value)])).redact(value).text

    @pytest.mark.parametrize(
        "value", ["", "short", "1234567", b"1234567", SecretStr("seven77"), " 1234567 ", "ééééééé"]
    )
    def test_short_values_are_refused(self, value: Any) -> None:
        """Fewer than eight characters would hide words; the message says so and does not show the value."""
        with pytest.raises(ConfigError, match="at least 8 characters") as error:
            redact_value(value)
        assert "seven77" not in str(error.value) + repr(error.value)
        assert "1234567" not in str(error.value)

    @pytest.mark.parametrize("value", ["x" * (MAX_BYTES + 1), 12345678, None])
    def test_what_is_no_value(self, value: Any) -> None:
        """A value that is too long, or none, is refused."""
        with pytest.raises(ConfigError):
            redact_value(value)

    def test_longest_value(self) -> None:
        """64 KiB are found."""
        value = drawn(MAX_BYTES)
        assert f"a {MARKER} b" == redacted(f"a {value} b", value)

    def test_oldest_value_gives_way(self) -> None:
        """The registry is bounded: tokens that are renewed for ever do not fill the memory."""
        known = KnownValues()
        for number in range(MAX_VALUES + 5):
            known.add(f"token-{number:06}")
        scanner = Scanner([], known=known)
        assert MAX_VALUES == len(known)
        assert ["token-000004", MARKER, MARKER] == [
            scanner.redact(f"token-{number:06}").text for number in (4, 5, MAX_VALUES + 4)
        ]

    def test_threads(self) -> None:
        """Values that several threads register while others search are all found afterwards."""
        known = KnownValues()
        scanner = Scanner([], known=known)
        values = [[drawn(16) for _ in range(40)] for _ in range(4)]
        errors = list[str]()

        def work(own: list[str]) -> None:
            for value in own:
                known.add(value)
                if scanner.redact(value).text != MARKER:
                    errors.append(value)

        threads = [threading.Thread(target=work, args=(own,)) for own in values]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert [] == errors
        assert [] == [value for own in values for value in own if scanner.redact(value).text != MARKER]

    def test_renewed_after_fork(self) -> None:
        """A forked child has a lock of its own and finds what it found before, even if a thread held the lock."""
        known = KnownValues(["a-known-value"])
        scanner = Scanner([], known=known)
        assert MARKER == scanner.redact("a-known-value").text
        with known._lock:
            known.renew_after_fork()
            found = list[str]()
            thread = threading.Thread(target=lambda: found.append(scanner.redact("a-known-value").text), daemon=True)
            thread.start()
            thread.join(timeout=30)
        assert [MARKER] == found


class TestEnvironment:
    @pytest.mark.parametrize(
        ("name", "value", "found"),
        [
            ("BINANCE_API_KEY", "k3Jx9Qm2Vz8", ["k3Jx9Qm2Vz8"]),
            ("DB_PASSWORD", "correct horse 1", ["correct horse 1"]),
            ("GITHUB_TOKEN", "k3Jx9Qm2Vz8Lp", ["k3Jx9Qm2Vz8Lp"]),
            ("AWS_ACCESS_KEY_ID", "AKIA-NOT-REAL-1", ["AKIA-NOT-REAL-1"]),
            ("AWS_SESSION_TOKEN", "k3Jx9Qm2Vz8k3Jx9Qm2Vz8", ["k3Jx9Qm2Vz8k3Jx9Qm2Vz8"]),
            ("POSTGRES_PASSWORD", "postgres", []),
            ("SESSION_SECRET", "changeme", []),
            ("MY_SECRET", "/run/secrets/key1", []),
            ("MY_SECRET", "C:\\keys\\one.pem", []),
            ("MY_SECRET", "https://vault.example/v1", []),
            ("MY_SECRET", "true", []),
            ("MY_SECRET", "1234567890", []),
            ("MY_SECRET", "", []),
            ("MY_SECRET", "${OTHER_SECRET}", []),
            ("MAX_TOKENS", "k3Jx9Qm2Vz8", []),
            ("PATH", "k3Jx9Qm2Vz8", []),
            ("SECRET_FILE", "k3Jx9Qm2Vz8", []),
            ("TOKEN", "bitcoin-mainnet", []),
        ],
    )
    def test_which_variables(self, name: str, value: str, found: list[str]) -> None:
        """Variables whose name says secret count; words, numbers, paths and bare URLs do not."""
        assert found == list(secrets_in({name: value}, KeyRules()))

    def test_url_with_password(self) -> None:
        """Of a URL with userinfo the whole and the password count."""
        url = "postgres://agent:" + "k3Jx9Qm2" + "@db:5432/x"
        assert [url, "k3Jx9Qm2"] == list(secrets_in({"DATABASE_SECRET": url}, KeyRules()))

    def test_deny_keys_reach_the_environment(self) -> None:
        """A name that the settings deny makes its variable a secret, too."""
        assert ["k3Jx9Qm2Vz8"] == list(secrets_in({"BROKER_LOGIN": "k3Jx9Qm2Vz8"}, KeyRules(["broker_login"])))

    def test_a_redactor_knows_its_environment(self, registry: KnownValues, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without being told, a redactor takes what stands in the process's environment."""
        value = drawn(14)
        monkeypatch.setenv("KRAKEN_API_SECRET", value)
        assert MARKER == Redact()(None, "info", {"text": value})["text"]

    def test_boto3_is_not_loaded(self) -> None:
        """AWS credentials come from the environment alone."""
        code = (
            "import os, sys; from structllm.redaction.known import known_here;"
            "print(len(known_here(os.environ)), 'boto3' in sys.modules, 'pydantic' in sys.modules)"
        )
        environ = {"PATH": os.environ["PATH"], "AWS_SECRET_ACCESS_KEY": drawn(40)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=True
        )
        assert "1 False False" == done.stdout.strip()


class Inner(BaseModel):
    """Settings inside settings."""

    token: SecretStr
    name: str = "plain-name"


class Outer(BaseModel):
    """Settings with secrets in every kind of place."""

    key: SecretStr | None = None
    raw: SecretBytes
    many: list[Inner]
    by_name: dict[str, SecretStr]
    again: "Outer | None" = None


class TestSettings:
    def test_secrets_of_a_model(self) -> None:
        """Secrets are found in nested models, lists and dicts; other texts are not taken."""
        inner = Outer(raw=SecretBytes(b"raw-secret-2"), many=[], by_name={})
        model = Outer(
            key=SecretStr("key-secret-1"),
            raw=SecretBytes(b"raw-secret-1"),
            many=[Inner(token=SecretStr("tok-secret-1"))],
            by_name={"a": SecretStr("map-secret-1")},
            again=inner,
        )
        expected = ["key-secret-1", "map-secret-1", "raw-secret-1", "raw-secret-2", "tok-secret-1"]
        assert expected == sorted(secrets_of(model))
        assert [] == list(secrets_of(None))

    def test_values_of_settings_that_cannot_be_known(self) -> None:
        """A short or empty setting is no error and no known value."""
        model = Outer(key=SecretStr("short"), raw=SecretBytes(b""), many=[], by_name={"a": SecretStr("long-enough-1")})
        known = KnownValues(above=known_here({}, settings=model))
        assert "short [REDACTED:known-value]" == Scanner([], known=known).redact("short long-enough-1").text
