"""Secrets in disguise: percent-encoding, one level of base64, characters that nobody sees."""

import base64
import hashlib
import json
import random
import textwrap
import uuid
from collections.abc import Callable
from functools import cache
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm.processors.redact import Redact
from structllm.redaction.encodings import base64_runs, unescaped
from structllm.redaction.packs import DEFAULT_PACKS, PACKS
from structllm.redaction.scan import Scanner

RULES = [rule for pack in DEFAULT_PACKS for rule in PACKS[pack]]
KEY = "sk-" + "ant-" + "api03-" + "a7Gk2Lm9Qx4Zr8Tv1Wy5" * 3
EMAIL = "jane.doe" + "@example.com"
BLOCK = "-----BEGIN EC " + "PRIVATE KEY-----\n" + "MHcCAQEEIIk3Jx9Qm2Vz8Lp4Tn6\n" * 3 + "-----END EC PRIVATE KEY-----"
PHRASE = " ".join(["legal winner thank year wave sausage worth useful legal winner thank yellow"])
SECRETS = [KEY, EMAIL, BLOCK, f"seed phrase: {PHRASE}"]
KINDS = ["anthropic-key", "email", "private-key-block", "seed-phrase"]


@cache
def scanner() -> Scanner:
    """Return a scanner of all rules."""
    return Scanner(RULES)


def b64(text: str, before: str = "") -> str:
    """Return base64 of a text behind another."""
    return base64.b64encode((before + text).encode()).decode()


DISGUISES: dict[str, Callable[[str], str]] = {
    "percent": lambda text: quote(text, safe=""),
    "percent, every character": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "zero-width space": lambda text: "\u200b".join(text),
    "soft hyphen": lambda text: "\u00ad".join(text),
    "one zero-width joiner": lambda text: text[:14] + "\u200d" + text[14:],
    "escaped zero-width": lambda text: text[:14] + "\\u200b" + text[14:],
    "byte order mark": lambda text: text[:14] + "\ufeff" + text[14:],
    "base64": b64,
    "base64 behind one byte": lambda text: b64(text, "\n"),
    "base64 behind two bytes": lambda text: b64(text, "\n "),
    "base64 in a sentence": lambda text: b64(text + " and so on, says the agent", "Ключ: the secret is "),
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64, wrapped": lambda text: base64.encodebytes(f"these are my credentials: {text}".encode()).decode(),
    "base64, wrapped at 64": lambda text: "\r\n".join(textwrap.wrap(b64(text, "these are my credentials: "), 64)),
    "base64, wrapped, in JSON": lambda text: json.dumps(
        base64.encodebytes(f"my credentials: {text}".encode()).decode()
    ),
    "base64 behind a path": lambda text: "/v1/x/" + b64("credentials: " + text),
    "base64 behind an escape": lambda text: "\\n" + b64("credentials: " + text),
    "base64 behind a word": lambda text: "abc" + b64("credentials: " + text),
    "percent of base64": lambda text: quote(b64(text + "?>", "see "), safe=""),
}


class TestDisguises:
    @pytest.mark.parametrize("kind", range(len(SECRETS)), ids=KINDS)
    @pytest.mark.parametrize("disguise", DISGUISES.values(), ids=list(DISGUISES))
    def test_nothing_is_left(self, disguise: Callable[[str], str], kind: int) -> None:
        """A secret of any kind goes in any disguise, under the id of its rule, with all of its disguise."""
        hidden = disguise(SECRETS[kind])
        text, rules, _ = scanner().redact(f"The agent wrote {hidden}; Finis.")
        assert KINDS[kind] in rules
        assert not scanner().is_clean(hidden)
        middle = hidden[len(hidden) // 2 - 10 : len(hidden) // 2 + 10]
        assert middle not in text
        assert text.startswith("The agent wrote ")
        assert text.endswith("; Finis.")

    def test_what_is_around_stays(self) -> None:
        """The encoded span goes, and nothing beside it."""
        for hidden in (b64(f"my key {KEY}"), "\u200b".join(KEY), quote(EMAIL)):
            text = scanner().redact(f"before {hidden} after").text
            assert ("before [REDACTED:", "] after") == (text[:17], text[-7:])

    def test_in_an_event(self) -> None:
        """The fast path sees the disguise as well, in every place."""
        hidden = b64(f"my key {KEY}")
        event = Redact()(None, "info", {"text": hidden, "nested": {"a": [hidden], hidden: 1}, "raw": hidden.encode()})
        assert hidden not in repr(event)
        assert 4 == event["redactions"]["count"]

    def test_one_level_only(self) -> None:
        """Base64 of base64 is not looked into: the promise is one level."""
        twice = b64(b64(f"my key {KEY}"))
        assert twice == scanner().redact(twice).text

    def test_offsets_beside_other_escapes(self) -> None:
        """Escapes before a secret do not shift what is replaced."""
        text = "a%20b%C3%A9 \u200b%zz 100% " + quote(EMAIL) + " c%20d"
        assert text.replace(quote(EMAIL), "[REDACTED:email]") == scanner().redact(text).text


class TestHarmless:
    @pytest.mark.parametrize(
        "text",
        [
            "https://x.test/?q=a%20b%20c&r=%C3%A9",
            "50%25 off, 100%, %d items, %s",
            b64("the quick brown fox jumps over the lazy dog " * 5),
            hashlib.sha512(b"x").hexdigest(),
            str(uuid.UUID(int=random.Random(1).getrandbits(128))),
            base64.b64encode(random.Random(2).randbytes(3000)).decode(),
            "\U0001f468\u200d\U0001f469\u200d\U0001f467 и \u2764\ufe0f, می\u200cخواهم",
            "soft\u00adhyphen\u00adated word and zero\u200bwidth",
            "VeryLongIdentifierThatSomebodyWroteInCamelCaseWithoutAnySpaces_and_more_of_it",
            "/usr/lib/python3/dist-packages/structllm/redaction/encodings/one/two/three",
        ],
    )
    def test_text_is_unchanged(self, text: str) -> None:
        """What holds no secret is the same object afterwards, encoded or not, and counts as clean."""
        assert scanner().redact(text).text is text
        assert scanner().is_clean(text)

    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
    @settings(max_examples=200)
    def test_any_encoded_text(self, text: str) -> None:
        """Encoding a text that no rule touches gives one that is left alone or says why."""
        for encoded in (b64(text), quote(text)):
            clean, rules, _ = scanner().redact(encoded)
            assert (clean == encoded) is (rules == ())


class TestDecoding:
    @given(st.binary(max_size=200))
    @settings(max_examples=300)
    def test_percent_decoding_is_the_standard_one(self, data: bytes) -> None:
        """What is decoded is what the standard library decodes in queries, for texts without unseen characters."""
        data = data.replace(b"\\", b"").replace(b"\xc2", b"").replace(b"\xcd", b"").replace(b"\xe1", b"")
        data = data.replace(b"\xe2", b"").replace(b"\xe3", b"").replace(b"\xef", b"")
        assert unquote_to_bytes(data.replace(b"+", b" ")) == unescaped(data).data

    @given(st.lists(st.sampled_from(["a", "%41", "\u200b", "é", "\\u200b", "% ", "\u00ad", "xyz"]), max_size=30))
    @settings(max_examples=300)
    def test_places_lead_back(self, pieces: list[str]) -> None:
        """Every byte leads back to where it, or its escape, begins; the end leads to the end or an unseen character."""
        data = "".join(pieces).encode()
        view = unescaped(data)
        origins = [view.origin(place) for place in range(len(view.data))]
        assert sorted(origins) == origins
        for place, origin in enumerate(origins):
            plain = data[origin : origin + 1] == view.data[place : place + 1]
            assert plain or data[origin : origin + 3] == b"%41"

    @given(st.binary(min_size=0, max_size=30), st.text("abcdefgh XYZ019", min_size=18, max_size=60))
    @settings(max_examples=300)
    def test_text_in_base64_is_found_in_any_alignment(self, before: bytes, text: str) -> None:
        """Eighteen printable characters are read out of base64, whatever stands before them."""
        encoded = base64.b64encode(before + text.encode())
        assert any(text.encode()[2:-2] in run.data for run in base64_runs(b"x: " + encoded + b" y"))
