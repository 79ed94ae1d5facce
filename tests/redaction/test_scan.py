"""What makes a hit: keywords, windows, allow-lists, checks; markers; and what `explain` says about a text."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm.errors import ConfigError
from structllm.processors.redact import Redact
from structllm.redaction.known import KnownValues
from structllm.redaction.packs import DEFAULT_PACKS, PACKS
from structllm.redaction.rule import MARKER, Rule, Sample, error_marker_of, marker_of
from structllm.redaction.scan import Hit, Scanner

RULES = [rule for pack in DEFAULT_PACKS for rule in PACKS[pack]]
HEX = Rule(
    "hex",
    r"\b([0-9a-f]{16})\b",
    (Sample("0123456789abcdef", "private key {}"),),
    ("0123456789abcdef", "private key 0123"),
    keywords=("private key", "signer"),
)
VALUE = "00ff00ff00ff00ff"
EMAIL = "jane" + "@example.com"


def redacted(rule: Rule, text: str, **options: Any) -> str:
    """Return a text as one rule leaves it."""
    return Scanner([rule], **options).redact(text).text


class TestKeywords:
    @pytest.mark.parametrize("text", ["the private key is {}", "{} is my Private Key", "SIGNER" + " x" * 5000 + " {}"])
    def test_anywhere(self, text: str) -> None:
        """Without a window a keyword counts wherever it stands, in any case."""
        assert text.replace("{}", "[REDACTED:hex]") == redacted(HEX, text.replace("{}", VALUE))

    def test_without_keyword(self) -> None:
        """Without a keyword there is no hit, and the text counts as clean at once."""
        scanner = Scanner([HEX])
        assert scanner.is_clean(f"tx {VALUE}")
        assert f"tx {VALUE}" == scanner.redact(f"tx {VALUE}").text

    @given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 40), st.booleans())
    @settings(max_examples=200)
    def test_window_is_exact(self, before: int, after: int, gap: int, in_front: bool) -> None:
        """A keyword counts only if all of it lies within so many bytes before the hit or behind it."""
        rule = replace(
            HEX, window=(before, after), matches=(Sample(VALUE, "signer {}"),), misses=("signer",), keywords=("signer",)
        )
        rule = replace(rule, window=(max(before, 7), after))
        assert rule.window is not None
        space = "." * gap + " "
        text = f"signer{space}{VALUE}" if in_front else f"{VALUE} {space[:-1]}signer"
        reach = rule.window[0] if in_front else rule.window[1]
        found = "REDACTED" in redacted(rule, text)
        assert (6 + len(space) <= reach) is found

    @pytest.mark.parametrize("off", [-1, 0, 1])
    def test_window_ends_with_its_last_byte(self, off: int) -> None:
        """One byte too far is too far, on both sides."""
        rule = replace(HEX, window=(20, 20), matches=(Sample(VALUE, "signer {}"),), misses=("signer",))
        texts = [f"é signer{'.' * (13 + off)} {VALUE}", f"{VALUE} {'.' * (13 + off)}signer é"]
        assert [off <= 0] * 2 == ["REDACTED" in redacted(rule, text) for text in texts]

    @given(st.lists(st.sampled_from([VALUE, "signer", "x", "...." * 5]), max_size=40))
    @settings(max_examples=200)
    def test_many_hits_and_keywords(self, words: list[str]) -> None:
        """What one hit after the other finds is what each would find alone."""
        rule = replace(HEX, window=(20, 10), matches=(Sample(VALUE, "signer {}"),), misses=("signer",))
        text = " ".join(words)
        starts = [at for at in range(len(text)) if text.startswith(VALUE, at)]
        expected = [at for at in starts if "signer" in text[max(0, at - 20) : at + 26]]
        hits = Scanner([rule]).explain(text)
        assert expected == [hit.start for hit in hits]

    def test_examples_need_their_keywords(self) -> None:
        """A rule whose own example has no keyword near is refused."""
        with pytest.raises(ConfigError, match="does not find the secret of its own example"):
            Scanner([replace(HEX, matches=(Sample(VALUE, "tx {}"),))])

    @pytest.mark.parametrize(
        "change", [{"keywords": ("",)}, {"window": (-1, 5)}, {"allow": ("(?=x)",)}, {"pattern": "("}]
    )
    def test_wrong_rules_refuse_to_start(self, change: dict[str, Any]) -> None:
        """What cannot work is refused when the scanner is built."""
        with pytest.raises(ConfigError, match="redaction rule hex"):
            Scanner([replace(HEX, **change)])


class TestAllow:
    def test_of_a_rule(self) -> None:
        """A secret that a pattern matches as a whole stays; a part is not enough."""
        rule = replace(HEX, allow=("00ff.*",))
        assert f"signer {VALUE} [REDACTED:hex]" == redacted(rule, f"signer {VALUE} 1{VALUE[1:]}")

    def test_of_the_settings(self) -> None:
        """It spares what rules find and what a name denies."""
        redact = Redact(allow=[".*@example\\.com", "paper"], known=KnownValues())
        event = redact(None, "info", {"text": f"{EMAIL} bob" + "@other.org", "password": "paper", "api_key": "real"})
        expected = {"text": f"{EMAIL} [REDACTED:email]", "password": "paper", "api_key": "[REDACTED:key-name]"}
        assert expected == {name: event[name] for name in expected}

    def test_never_a_private_key(self) -> None:
        """No allow-list spares a block with a private key."""
        block = (
            "-----BEGIN EC PRIVATE KEY-----\n" + "MHcCAQEEIIk3Jx9Qm2Vz8Lp4Tn6\n" * 3 + "-----END EC PRIVATE KEY-----"
        )
        assert (
            "[REDACTED:private-key-block]"
            == Redact(allow=["(?s).*"], known=KnownValues())(None, "i", {"a": block})["a"]
        )

    def test_wrong_pattern(self) -> None:
        """A pattern that RE2 does not know refuses to start."""
        with pytest.raises(ConfigError, match=r"redaction\.allow"):
            Redact(allow=["(?=x)"])


class TestFailure:
    @pytest.mark.parametrize("error", [ValueError, MemoryError, RecursionError, UnicodeDecodeError])
    def test_only_that_text_goes(self, error: type[Exception]) -> None:
        """A check that raises costs the text that it looked at, under its own id, and is counted."""

        def check(text: bytes, start: int, end: int) -> bool:
            if b"boom" in text:
                raise error("x") if error is not UnicodeDecodeError else UnicodeDecodeError("utf-8", b"", 0, 1, EMAIL)
            return True

        rule = Rule("mine", "MINE-[a-z]+", (Sample("MINE-abc"),), ("mine",), check)
        redact = Redact(rules=[rule], known=KnownValues())
        event = redact(None, "info", {"a": f"boom MINE-x {EMAIL}", "b": [f"{EMAIL} MINE-y", "boom"], "n": 7})
        assert "[REDACTED:error:mine]" == event["a"]
        assert (["[REDACTED:email] [REDACTED:mine]", "boom"], 7) == (event["b"], event["n"])
        assert ({"error": 1, "email": 1, "mine": 1}, 1) == (redact.counts, redact.errors)


class TestMarkers:
    @pytest.mark.parametrize(
        "marker",
        [
            marker_of("email"),
            marker_of("payment-card", "1111"),
            error_marker_of("email"),
            "[PSEUDO:email:k1:0123456789abcdef]",
            "[TRUNCATED:redaction_budget]",
            "[REDACTED:error]",
        ],
    )
    def test_every_kind_is_left_alone(self, marker: str) -> None:
        """Nothing that stands in the place of a secret is scanned, also behind a name that says secret."""
        assert MARKER.fullmatch(marker.encode())
        for text in (marker, f"password={marker}", f"api_key: {marker} {marker}", f'{{"token": "{marker}"}}'):
            once = Scanner(RULES).redact(text).text
            assert marker in once
            assert once == Scanner(RULES).redact(once).text

    def test_no_cut_inside_a_marker(self) -> None:
        """A secret that reaches into a marker takes all of it."""
        rule = Rule("wide", "x.{4}", (Sample("xabcd"),), ("x",))
        assert "[REDACTED:wide] y" == redacted(rule, "x[REDACTED:wide] y")

    def test_brackets_of_a_stranger(self) -> None:
        """A secret in a marker that nobody of us writes is a secret."""
        rule = Rule("odd", "k[0-9a-f]{8}", (Sample("k00ff00ff"),), ("k",))
        assert "[REDACTED:[REDACTED:odd]]" == redacted(rule, "[REDACTED:k00ff00ff]")
        assert "[REDACTED:odd]" == redacted(rule, "[REDACTED:odd]")


SAMPLES = [sample.text for rule in RULES for sample in rule.matches]
pieces = st.lists(
    st.sampled_from(
        [*SAMPLES, " ", "\n", "é\U0001f680", "data:image/png;base64,iVBORw0KGgo ", "%20", "[REDACTED:email]"]
    )
    | st.text(max_size=20),
    max_size=6,
)


class TestExplain:
    @given(pieces)
    @settings(max_examples=200)
    def test_says_what_happens(self, parts: list[str]) -> None:
        """Putting the replacements into the original gives what an event shows."""
        redact = Redact(preview_chars={}, known=KnownValues())
        text, shown, position = "".join(parts), list[str](), 0
        for hit in redact.explain(text):
            assert position <= hit.start <= hit.end
            shown += (text[position : hit.start], hit.replacement)
            position = hit.end
        assert redact(None, "info", {"x": text})["x"] == "".join((*shown, text[position:]))

    def test_places_are_characters(self) -> None:
        """Start and end count code points of the original."""
        text = f"é\U0001f680 {EMAIL} 中 {EMAIL}"
        hits = Redact(known=KnownValues()).explain(text)
        assert [EMAIL, EMAIL] == [text[hit.start : hit.end] for hit in hits]
        assert Hit("email", "mask", 3, 3 + len(EMAIL), "[REDACTED:email]") == hits[0]

    def test_no_secret_in_it(self) -> None:
        """Nothing of a secret is in what is said about it."""
        assert EMAIL not in repr(Redact(known=KnownValues()).explain(f"mail {EMAIL}"))

    def test_failing_rule(self) -> None:
        """A rule that fails takes the whole text, and that is said."""

        def check(text: bytes, start: int, end: int) -> bool:
            if b"boom" in text:
                raise ValueError
            return True

        rule = Rule("mine", "MINE-[a-z]+", (Sample("MINE-abc"),), ("mine",), check)
        hits = Redact(rules=[rule], known=KnownValues()).explain("boom MINE-x")
        assert [Hit("mine", "mask", 0, 11, "[REDACTED:error:mine]")] == hits


class TestFastPath:
    @given(pieces)
    @settings(max_examples=300)
    def test_never_says_clean_of_what_the_closer_look_changes(self, parts: list[str]) -> None:
        """The one pass and the closer look agree: what is called clean is left as it is by the latter."""
        text = "".join(parts)
        scanner = Scanner(RULES, known=KnownValues(["k3Jx9Qm2Vz8"]))
        assert not scanner.is_clean(text) or scanner.redact(text).text is text

    def test_random_planting(self) -> None:
        """Planted at random offsets among other text, every sample that the closer look takes is seen by the pass."""
        rng = random.Random(3)
        scanner = Scanner(RULES)
        for sample in SAMPLES:
            around = "".join(rng.choices("abc 123.,\n", k=rng.randrange(60)))
            text = f"{around} {sample} {around}"
            assert not scanner.is_clean(text), f"seed 3, {around!r}"
