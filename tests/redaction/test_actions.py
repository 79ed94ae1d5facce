"""What becomes of a secret: marker, last characters, pseudonym, no field, no event."""

import hashlib
import hmac
import secrets
from dataclasses import replace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from structllm.errors import ConfigError
from structllm.processors.redact import Redact
from structllm.redaction.actions import ACTIONS, Pseudonyms, with_actions
from structllm.redaction.known import KnownValues
from structllm.redaction.rule import MARKER, Rule, Sample
from structllm.redaction.scan import Scanner

RNG_KEY = secrets.token_bytes(32)
TAG = Rule("tag", "TAG-([0-9A-Za-z -]{4,40}[0-9A-Za-z])", (Sample("12345", "TAG-{}"),), ("tag",), shows_last=4)
FOLDED = replace(TAG, id="folded", canonical=lambda secret: secret.lower().replace(b" ", b""))
EMAIL = "jane" + "@example.com"


def scanner_of(rule: Rule, action: Any, **options: Any) -> Scanner:
    """Return a scanner of one rule with this action."""
    return Scanner([replace(rule, action=action)], **options)


def redact_of(action: Any, **options: Any) -> Redact:
    """Return a redactor that does this with tags."""
    return Redact(packs=[], rules=[TAG], actions={"tag": action}, known=KnownValues(), **options)


class TestPartial:
    @pytest.mark.parametrize(
        ("secret", "marker"),
        [
            ("4111 1111 1111 1234", "[REDACTED:tag:1234]"),
            ("abcdefghijklmnopqrstuvwxyz", "[REDACTED:tag:wxyz]"),
            ("123-45-6789", "[REDACTED:tag:6789]"),
            ("12345678", "[REDACTED:tag]"),
            ("abcdefgh-1234567", "[REDACTED:tag:4567]"),
            ("abcdefgh-123456", "[REDACTED:tag]"),
        ],
    )
    def test_last_four(self, secret: str, marker: str) -> None:
        """Four characters are shown of 16 or of nine digits, none of less, and never a beginning."""
        assert f"TAG-{marker}" == scanner_of(TAG, "partial").redact(f"TAG-{secret}").text

    @given(st.text("abcXYZ0189 -", min_size=5, max_size=40), st.integers(0, 50))
    def test_never_more_than_four(self, secret: str, shows: int) -> None:
        """Whatever a rule asks for, four characters at most are shown, the last ones."""
        rule = replace(TAG, shows_last=shows, action="partial")
        text = Scanner([rule]).redact(f"TAG-{secret}0").text
        marks = [mark.decode().split(":") for mark in MARKER.findall(text.encode())]
        bare = "".join(filter(str.isalnum, secret + "0"))
        assert all(len(mark) == 2 or (bare.endswith(mark[2][:-1]) and len(mark[2]) <= 5) for mark in marks)

    def test_rule_that_shows_nothing(self) -> None:
        """Where a rule does not say that its end may be shown, partial masks."""
        rule = replace(TAG, shows_last=0)
        assert "TAG-[REDACTED:tag]" == scanner_of(rule, "partial").redact("TAG-4111 1111 1111 1234").text


class TestPseudonyms:
    def test_formula(self) -> None:
        """A pseudonym is HMAC-SHA256 over rule id, zero byte and secret, eight bytes of it, with the id of the key."""
        expected = hmac.new(RNG_KEY, b"tag\0abc 12345", hashlib.sha256).hexdigest()[:16]
        scanner = scanner_of(TAG, "hmac", pseudonyms=Pseudonyms(RNG_KEY, "k7"))
        assert f"TAG-[PSEUDO:tag:k7:{expected}]" == scanner.redact("TAG-abc 12345").text

    def test_joins_survive(self) -> None:
        """Spellings of the same secret get the same pseudonym, other secrets another one, other keys too."""
        one, other = Pseudonyms(RNG_KEY), Pseudonyms(secrets.token_bytes(32))
        texts = ["TAG-AbC 123", "TAG-abc123", "TAG-abc124"]
        first, second, third = (scanner_of(FOLDED, "hmac", pseudonyms=one).redact(text).text for text in texts)
        assert first == second != third
        assert first != scanner_of(FOLDED, "hmac", pseudonyms=other).redact(texts[0]).text

    def test_disguise_does_not_change_it(self) -> None:
        """A secret behind percent-encoding is the same secret."""
        scanner = scanner_of(TAG, "hmac", pseudonyms=Pseudonyms(RNG_KEY))
        plain, encoded = scanner.redact("TAG-abc 123").text, scanner.redact("TAG-%61bc%20123").text
        assert plain == encoded

    def test_without_a_key(self) -> None:
        """Without a key there is no pseudonym, and never a plain hash."""
        assert "TAG-[REDACTED:tag]" == scanner_of(TAG, "hmac").redact("TAG-abc 123").text

    @pytest.mark.parametrize(("key", "key_id"), [(b"x" * 31, "k1"), (b"", "k1"), (b"x" * 32, ""), (b"x" * 32, "k:1")])
    def test_wrong_keys(self, key: bytes, key_id: str) -> None:
        """A short key or an id that breaks the marker is refused, without showing the key."""
        with pytest.raises(ConfigError, match=r"redaction\.hmac_key") as error:
            Redact(hmac_key=key, hmac_key_id=key_id)
        assert "xxx" not in str(error.value)

    def test_twice_is_once(self) -> None:
        """Pseudonyms and partial markers are not scanned again."""
        text = f"mail {EMAIL}, pay 4111 1111 1111 " + "1111"
        for action in ("hmac", "partial"):
            redact = Redact(action=action, hmac_key=RNG_KEY, known=KnownValues())  # type: ignore[arg-type]
            once = redact(None, "info", {"text": text, "password": "hunter2hunter2"})
            assert dict(once) == redact(None, "info", dict(once))
            assert EMAIL not in repr(once)

    def test_name_of_a_field(self) -> None:
        """What goes because of its name gets a pseudonym as well, where that is chosen."""
        redact = Redact(actions={"key-name": "hmac"}, hmac_key=RNG_KEY, known=KnownValues())
        event = redact(None, "info", {"password": "hunter2hunter2", "api_key": ["a"], "pin_secret": 7})
        expected = Pseudonyms(RNG_KEY).of("key-name", b"hunter2hunter2")
        assert (expected, "[REDACTED:key-name]") == (event["password"], event["api_key"])
        assert Pseudonyms(RNG_KEY).of("key-name", b"7") == event["pin_secret"]

    def test_failing_canonical(self) -> None:
        """A rule that cannot bring its secret into form costs the text, and nothing is raised."""

        def broken(secret: bytes) -> bytes:
            raise RuntimeError(secret.decode())

        scanner = scanner_of(replace(TAG, canonical=broken), "hmac", pseudonyms=Pseudonyms(RNG_KEY))
        assert ("[REDACTED:error:tag]", ("error",)) == scanner.redact("x TAG-abc123 y")[:2]


class TestDropField:
    def test_where_the_field_can_go(self) -> None:
        """An item of a dict and a field of the event go away; an element and a key are masked; all of it counts."""
        event = redact_of("drop_field")(
            None,
            "info",
            {
                "gone": "see TAG-12345 here",
                "kept": "nothing",
                "nested": {"a": "TAG-12345", "b": 1, "TAG-12345": 2, "list": ["x", "TAG-12345"]},
                "set": {"TAG-12345"},
                "bytes": b"TAG-12345",
            },
        )
        assert {
            "kept": "nothing",
            "nested": {"b": 1, "[REDACTED:tag]": 2, "list": ["x", "[REDACTED:tag]"]},
            "set": {"[REDACTED:tag]"},
            "redactions": {"count": 6, "rules": ["tag"]},
        } == dict(event)
        assert all(type(item) is str for item in event["nested"]["list"])

    def test_required_fields_keep_a_marker(self) -> None:
        """Readers count on fields that the definitions require, and structlog's renderers on their message."""
        decision = {"event_type": "trading_decision", "action": "TAG-12345", "rationale": "TAG-12345"}
        redact = redact_of("drop_field")
        assert ("[REDACTED:tag]", False) == ((event := redact(None, "i", decision))["action"], "rationale" in event)
        assert "[REDACTED:tag]" == redact(None, "i", {"event": "TAG-12345"})["event"]

    def test_denied_names(self) -> None:
        """A value that goes because of its name takes its field along, where that is chosen."""
        redact = Redact(actions={"key-name": "drop_field"}, known=KnownValues())
        event = redact(None, "info", {"password": "x", "nested": {"api_key": 1, "b": 2}})
        assert {"nested": {"b": 2}, "redactions": {"count": 2, "rules": ["key-name"]}} == dict(event)

    def test_wins_over_a_marker(self) -> None:
        """Where spans overlap, the action that takes more away wins whatever the rank."""
        wide = Rule("wide", "TAG-[0-9]+ x", (Sample("TAG-1 x"),), ("x",))
        redact = Redact(packs=[], rules=[wide, TAG], actions={"tag": "drop_field"}, known=KnownValues())
        assert {"redactions": {"count": 1, "rules": ["tag"]}} == dict(redact(None, "i", {"a": "TAG-12345 x"}))


class TestDropEvent:
    @pytest.mark.parametrize(
        "event",
        [
            {"a": "TAG-12345"},
            {"a": {"b": ["TAG-12345"]}},
            {"a": {"TAG-12345": 1}},
            {"TAG-12345": 1},
            {"event_type": "completion_request", "prompt_preview": "TAG-12345"},
        ],
    )
    def test_event_is_dropped_and_counted(self, event: dict[str, Any]) -> None:
        """Wherever the secret stands, the event goes, and it can be seen that it did."""
        redact = redact_of("drop_event")
        with pytest.raises(structlog.DropEvent) as drop:
            redact(None, "info", event)
        assert ({"tag": 1}, 1, ("redaction",)) == (redact.counts, redact.dropped, drop.value.args)

    def test_other_events_go_on(self) -> None:
        """Only the event with the secret is dropped."""
        redact = redact_of("drop_event")
        assert {"a": "TAG-1"} == dict(redact(None, "info", {"a": "TAG-1"}))
        assert 0 == redact.dropped

    def test_secret_behind_a_preview_does_not_drop(self) -> None:
        """What is cut off has no part in the event."""
        redact = redact_of("drop_event", preview_chars={"p": 10})
        assert {"p": "x" * 10} == dict(redact(None, "info", {"p": "x" * 20 + " TAG-12345"}))

    def test_denied_names(self) -> None:
        """A denied name drops the event, where that is chosen; no value, nothing to drop."""
        redact = Redact(actions={"key-name": "drop_event"}, known=KnownValues())
        assert {"password": None} == dict(redact(None, "info", {"password": None}))
        with pytest.raises(structlog.DropEvent):
            redact(None, "info", {"password": "x"})


class TestChoice:
    def test_order_of_choice(self) -> None:
        """A rule's entry wins over its pack's, that over the rule's own action, that over the general one."""
        rules = [replace(TAG, id=name, action=own) for name, own in (("a", "mask"), ("b", "partial"), ("c", "partial"))]  # type: ignore[arg-type]
        assert ["hmac", "partial", "drop_field"] == [
            rule.action for rule in with_actions(rules, {"c": "drop_field"}, "hmac")
        ]
        redact = Redact(actions={"pii": "hmac", "email": "partial"}, hmac_key=RNG_KEY, known=KnownValues())
        text = redact(None, "info", {"text": f"{EMAIL} and 219-09-9999"})["text"]
        assert text.startswith("[REDACTED:email")
        assert "[PSEUDO:us-ssn:k1:" in text

    def test_known_values(self) -> None:
        """A general action leaves known values masked; one of their own counts."""
        value, known = "hunter2hunter2", KnownValues(["hunter2hunter2"])
        assert "[REDACTED:known-value]" == Redact(action="partial", known=known)(None, "i", {"a": value})["a"]
        assert {"redactions"} == set(
            Redact(actions={"known-value": "drop_field"}, known=known)(None, "i", {"a": value})
        )

    def test_all_actions_are_known(self) -> None:
        """The five actions of the settings."""
        assert ("mask", "partial", "hmac", "drop_field", "drop_event") == ACTIONS

    def test_wrong_choices(self) -> None:
        """An unknown action, rule or pack is refused; all at once, and nothing unknown is quoted."""
        wrong: dict[str, Any] = {"email": "shred", "no-such-rule": "mask", "pii": "hmac"}
        with pytest.raises(ConfigError) as error:
            Redact(actions=wrong)
        assert 2 == len(error.value.problems)
        assert "shred" not in str(error.value)
        assert "no-such-rule" not in str(error.value)
