"""Redact: which fields are looked at, which names hide their value, what previews keep, and what happens on failure."""

import copy
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
import structlog

from structllm.errors import ConfigError
from structllm.events import EVENTS, field_kinds
from structllm.processors.redact import Redact
from structllm.processors.truncate import Truncate
from structllm.redaction.keys import KeyRules, Verdict
from structllm.redaction.packs import DEFAULT_PACKS, PACKS
from structllm.redaction.rule import Rule, Sample
from structllm.redaction.scan import OVERLAP_CHARS, Scanner

KEY = "sk-" + "ant-" + "api03-" + "a7Gk2Lm9Qx4Zr8Tv1Wy5" * 3
EMAIL = "jane" + "@example.com"
MARKED_KEY = "[REDACTED:anthropic-key]"
MARKED_EMAIL = "[REDACTED:email]"
MARKED_NAME = "[REDACTED:key-name]"
ERROR = "[REDACTED:error]"


def redact(event: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return the event after a Redact of its own."""
    return dict(Redact(**options)(None, "info", event))


def request(**fields: Any) -> dict[str, Any]:
    """Return a completion request as it comes to the processor."""
    return {
        "event_type": "completion_request",
        "timestamp": "2024-01-15T10:30:45.123Z",
        "session_id": "abc12345",
        "level": "INFO",
        "schema_version": 1,
        "writer": "wtr_1",
        "seq": 7,
        "request_id": "req_67890def01234567",
        **fields,
    }


def refuse(text: bytes, start: int, end: int) -> bool:
    """Fail on one text, as a check with a mistake in it would."""
    if b"boom" in text:
        raise RuntimeError("a check with a mistake: " + text.decode())
    return True


SHOUTED = Rule("shouted", "SECRET", (Sample("SECRET"),), ("secret",))

FAILING = Rule("mine", "MINE-[a-z]+", (Sample("MINE-abc"),), ("mine",), refuse)


class TestFields:
    def test_text_label_free_and_unknown_fields_are_scanned(self) -> None:
        """Whatever is not an id, a time or a number is looked at, under any name."""
        event = redact(
            request(prompt_preview=f"key {KEY}", model=KEY, market_context={"note": KEY}, tags=[KEY], strategy=KEY)
        )
        assert f"key {MARKED_KEY}" == event["prompt_preview"]
        assert (MARKED_KEY, MARKED_KEY) == (event["model"], event["strategy"])
        assert ({"note": MARKED_KEY}, [MARKED_KEY]) == (event["market_context"], event["tags"])
        assert {"count": 5, "rules": ["anthropic-key"]} == event["redactions"]

    def test_ids_and_times_are_not_scanned(self) -> None:
        """A field that the definitions call id or time keeps its value."""
        fields = {"session_id": EMAIL, "request_id": EMAIL, "timestamp": EMAIL, "run_id": EMAIL, "level": EMAIL}
        event = redact(request(**fields, prompt_preview=EMAIL))
        assert fields == {name: event[name] for name in fields}
        assert MARKED_EMAIL == event["prompt_preview"]

    def test_numbers_are_never_touched(self) -> None:
        """Digits that would be a card as text are left alone as a number, also beside a secret."""
        card = 4111_1111_1111_1111
        numbers = {"a": card, "b": [card, 219099999.0, True, None], "card number": {"c": -card}}
        event = redact(request(market_context=copy.deepcopy(numbers), prompt_preview=KEY, max_tokens=card))
        assert (numbers, card) == (event["market_context"], event["max_tokens"])

    def test_text_in_a_number_field_is_scanned(self) -> None:
        """What a caller puts under a numeric name is judged by what it is."""
        assert MARKED_KEY == redact(request(temperature=KEY))["temperature"]

    def test_nested_to_the_bottom_with_keys(self) -> None:
        """Dicts in lists in tuples are walked, and their keys are texts too."""
        event = redact(request(market_context={"a": [({"b": [KEY, 1]}, "x")], EMAIL: 5}))
        assert {"a": [({"b": [MARKED_KEY, 1]}, "x")], MARKED_EMAIL: 5} == event["market_context"]

    def test_two_secret_keys_keep_both_values(self) -> None:
        """Keys that become the same marker do not overwrite each other."""
        event = redact(request(market_context={EMAIL: 1, "x" + EMAIL: 2, "y" + EMAIL: 3}))
        expected = {MARKED_EMAIL: 1, f"{MARKED_EMAIL}#2": 2, f"{MARKED_EMAIL}#3": 3}
        assert expected == event["market_context"]

    def test_secret_in_the_name_of_a_field(self) -> None:
        """The name of a top-level field may hold a secret as well."""
        event = redact(request(**{EMAIL: "a", "x" + EMAIL: "b"}))
        assert ("a", "b") == (event[MARKED_EMAIL], event[f"{MARKED_EMAIL}#2"])
        assert EMAIL not in json.dumps(event)

    def test_unknown_event_type_keeps_its_envelope(self) -> None:
        """An event type of the caller has the envelope's ids, and the rest is scanned."""
        event = redact({"event_type": "alert", "session_id": EMAIL, "text": EMAIL})
        assert (EMAIL, MARKED_EMAIL) == (event["session_id"], event["text"])

    @pytest.mark.parametrize("event_type", [None, 5, ["a"], {}])
    def test_odd_event_type(self, event_type: Any) -> None:
        """An event type that is no text does not stop redaction."""
        assert MARKED_EMAIL == redact({"event_type": event_type, "text": EMAIL})["text"]

    @pytest.mark.parametrize("event_type", sorted(EVENTS))
    def test_no_field_of_ours_is_denied_by_its_name(self, event_type: str) -> None:
        """The built-in key rules spare every field of the event definitions, nested ones included."""
        rules = KeyRules()
        assert [] == [name for name in field_kinds(event_type) if rules.judge(name) is not Verdict.OPEN]

    def test_order_of_fields_is_kept(self) -> None:
        """The event type stays the first key, redactions come last."""
        event = redact(request(prompt_preview=KEY))
        assert ["event_type", *list(request())[1:], "prompt_preview", "redactions"] == list(event)


class TestCleanEvents:
    def test_nothing_is_rebuilt(self) -> None:
        """Without a secret every value is the object that it was, and there is no redactions field."""
        nested = {"rsi": 62.5, "levels": [1, "two", {"three": ("four",)}], "key": "value", "token": "ETH"}
        before = copy.deepcopy(nested)
        event = redact(request(market_context=nested, prompt_preview="hold"))
        assert event["market_context"] is nested
        assert (before, "redactions" in event) == (nested, False)

    def test_one_scan(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """All texts of a clean event go through RE2 together, once."""
        processor, scanned = Redact(), list[str]()
        event = request(prompt_preview="hold", market_context={"a": ["b", {"c": "d"}]}, model="o3-mini")
        processor(None, "info", copy.deepcopy(event))  # remembers the names

        def is_clean(self: Scanner, text: str) -> bool:
            scanned.append(text)
            return original(self, text)

        original = Scanner.is_clean
        monkeypatch.setattr(Scanner, "is_clean", is_clean)
        monkeypatch.setattr(Scanner, "redact", lambda *_: pytest.fail("a clean event needs no closer look"))
        processor(None, "info", event)
        assert 1 == len(scanned)
        assert {"hold", "b", "d", "o3-mini"} == set(scanned[0].split("\n\0\n"))

    def test_texts_side_by_side_are_not_taken_together(self) -> None:
        """A name at the end of one text and a value at the start of the next are no assignment."""
        event = redact(
            request(prompt_preview="my password:", strategy="hunter2secret", tags=["api_key=", "a1b2c3d4e5"])
        )
        assert "redactions" not in event

    def test_names_are_remembered_within_bounds(self) -> None:
        """An endless stream of new names does not grow the processor."""
        processor = Redact()
        for number in range(10_000):
            processor(None, "info", {f"field_{number}": number})
        processor(None, "info", {"x" * 1000: 1})
        assert 4096 >= len(processor._verdicts)
        assert 128 >= max(map(len, processor._verdicts))


class TestOwnership:
    @pytest.mark.parametrize("secret", [{"a": KEY}, {"password": 1}, {KEY: 1}, {"a": {"b": [KEY]}}])
    def test_callers_containers_are_not_changed(self, secret: dict[str, Any]) -> None:
        """What has to change is built anew; the caller's dicts and lists stay as they are."""
        nested = {"secret": secret, "clean": {"x": ["y"]}}
        before = copy.deepcopy(nested)
        event = redact(request(market_context=nested))
        assert before == nested
        assert event["market_context"] is not nested
        assert event["market_context"]["clean"] is nested["clean"]


DENIED = """
authorization Authorization proxy-authorization api_key apiKey API_KEY APIKey OPENAI_API_KEY openaiApiKey api_keys
X-MBX-APIKEY x-api-key password Password db.password dbPassword passwords passwd pwd passphrase KC-API-PASSPHRASE
client_secret clientSecret secret aws_secret_access_key private_key privateKey wallet_private_key cookie Set-Cookie
cookies mnemonic seed_phrase seedPhrase access_token accessToken AccessToken refresh_token auth_token OAuthToken
id_token session_token API-Sign CB-ACCESS-SIGN OK-ACCESS-KEY credentials user_credentials signing_key encryption_key
master_key account_key ssh_key x_bapi_sign password_hash
db_pass user_pass DB_PASS smtpPass dbpass userpass PGPASSWORD dbpassword adminpwd secretkey
clientsecret secret_key access_tokens refreshTokens api_tokens signing_keys
"""
OPEN = """
total_tokens prompt_tokens completion_tokens max_tokens token_usage tokens_per_second cached_tokens tokens tokenizer
session_id request_id author authority authors cache_key public_key publicKey idempotency_key primary_key sort_key
keyboard monkey turkey hockey keys secretary passwordless bypass compass passenger symbol signal significant design
assign designated has_password password_length password_policy secret_name api_key_count api_key_present cookie_count
next_page_token next_tokens session_tokens passed passing pass_rate compasses japan company pandas cardinal
discard account_number scorecard eos_token rsi macd current_price key_level support_key
"""


class TestKeyNames:
    @pytest.mark.parametrize("name", DENIED.split())
    def test_denied(self, name: str) -> None:
        """A name that says secret hides its value, however the name is written."""
        event = redact(request(market_context={name: "short"}, **{name: "short"}))
        assert (MARKED_NAME, {name: MARKED_NAME}) == (event[name], event["market_context"])

    @pytest.mark.parametrize("name", OPEN.split())
    def test_open(self, name: str) -> None:
        """A name that merely contains such a word leaves its value to scanning."""
        assert Verdict.OPEN is KeyRules().judge(name)
        assert "redactions" not in redact(request(market_context={name: "a1B2c3D4e5F6g7H8"}))

    @pytest.mark.parametrize("value", ["x", 7, 1.5, True, ["a", {"b": 1}], {"a": {"b": "c"}}, ("a",)])
    def test_value_goes_whole_whatever_it_is(self, value: Any) -> None:
        """Texts, numbers, lists and dicts under a denied name all become one marker."""
        event = redact(request(market_context={"api_key": value}, password=value))
        assert (MARKED_NAME, {"api_key": MARKED_NAME}) == (event["password"], event["market_context"])
        assert {"count": 2, "rules": ["key-name"]} == event["redactions"]

    def test_nothing_under_a_denied_name(self) -> None:
        """There is nothing to hide in null."""
        event = redact(request(market_context={"api_key": None}))
        assert ({"api_key": None}, False) == (event["market_context"], "redactions" in event)

    @pytest.mark.parametrize("name", ["token", "key", "signature", "auth", "jwt", "bot_signature"])
    def test_name_that_may_mean_a_secret(self, name: str) -> None:
        """Under `token` a random text goes, a ticker or a contract address stays."""
        random, address = "k3Jx9" + "Qm2Vz8", "0x" + "ab12" * 10
        event = redact(
            request(market_context={name: random}, risk={name: "ETH"}, more={name: address}, count={name: 3})
        )
        assert {name: MARKED_NAME} == event["market_context"]
        assert ({name: "ETH"}, {name: address}, {name: 3}) == (event["risk"], event["more"], event["count"])

    @pytest.mark.parametrize("name", ["token", "signature", "auth", "pass", "root_token", "second_pass"])
    def test_list_or_dict_under_a_name_that_may_mean_a_secret(self, name: str) -> None:
        """A random text goes from a list or a dict as well; what describes it, counts and words stay."""
        random = "k3Jx9" + "Qm2Vz8"
        event = redact(
            request(
                market_context={name: ["ETH", random, 3]},
                risk={name: {"value": random, "parts": [{"v": random}], "count": 3, "symbol": "ETH2-USD-24"}},
                more={name: {"expires_at": "2024-01-15T10:30:45Z", "provider": "gpt-4o-2024-08-06"}},
                raw={name: random.encode()},
            )
        )
        assert {name: ["ETH", MARKED_NAME, 3]} == event["market_context"]
        expected = {"value": MARKED_NAME, "parts": [{"v": MARKED_NAME}], "count": 3, "symbol": "ETH2-USD-24"}
        assert {name: expected} == event["risk"]
        assert {name: {"expires_at": "2024-01-15T10:30:45Z", "provider": "gpt-4o-2024-08-06"}} == event["more"]
        assert {name: MARKED_NAME} == event["raw"]

    @pytest.mark.parametrize(
        "name", ["card_number", "cardNumber", "cc_number", "pan", "PAN", "credit_card", "card", "cc"]
    )
    def test_card_under_its_name(self, name: str) -> None:
        """Digits that pass Luhn go under a card's name: as text, as a number, grouped, and inside a list or dict."""
        digits = "4" + "1" * 15
        cards = [digits, int(digits), " ".join(["4111", *["1111"] * 3]), [int(digits)], {"value": int(digits)}]
        expected = [MARKED_NAME, MARKED_NAME, MARKED_NAME, [MARKED_NAME], {"value": MARKED_NAME}]
        assert expected == [redact(request(market_context={name: card}))["market_context"][name] for card in cards]
        assert MARKED_NAME == redact(request(**{name: int(digits)}))[name]

    @pytest.mark.parametrize(
        "value", [4111111111111112, 42, -(4 * 10**15), True, 4.5, None, "gold", "4111111111111112"]
    )
    def test_no_card_under_its_name(self, value: Any) -> None:
        """What fails Luhn or has another length is no card, and a card elsewhere is a number like any other."""
        card = int("4" + "1" * 15)
        event = redact(request(market_context={"card_number": value, "volume": card}))
        assert ({"card_number": value, "volume": card}, False) == (event["market_context"], "redactions" in event)

    def test_on_error_takes_a_card(self) -> None:
        """When the processor failed, a number under a card's name goes like a text, and other numbers stay."""
        card = int("4" + "1" * 15)
        event = Redact().on_error(request(card_number=card, volume=card))
        assert (ERROR, card) == (event["card_number"], event["volume"])

    def test_long_name_that_ends_inside_a_url_password(self) -> None:
        """A name that was cut before the @ of a URL shows nothing of its password; a port is none."""
        url, port = "postgres://agent:" + "Qm2Vz8" * 40, "x" * 190 + "http://localhost:8080"
        event = redact(request(market_context={"[" + url[:199]: 1, port: 2}))
        assert {"[postgres://agent:[REDACTED:url-password]": 1, port: 2} == event["market_context"]

    def test_deny_keys_add_names(self) -> None:
        """A name of the user's hides values in names that contain its words, and also our own text fields."""
        fields = {"brokerAccountId": "17", "account-id": 18, "account": "a", "rationale": "why"}
        event = redact({"event_type": "trading_decision", **fields}, deny_keys=["account_id", "rationale"])
        assert [MARKED_NAME, MARKED_NAME, "a", MARKED_NAME] == [event[name] for name in fields]

    def test_deny_keys_do_not_reach_ids(self) -> None:
        """Ids of the envelope survive whatever is denied: without them events cannot be joined."""
        assert "abc12345" == redact(request(), deny_keys=["session_id"])["session_id"]

    def test_deny_keys_reach_previews(self) -> None:
        """A denied preview goes whole, with and without an event type."""
        options: dict[str, Any] = {"deny_keys": ["prompt_preview"]}
        assert MARKED_NAME == redact(request(prompt_preview="buy"), **options)["prompt_preview"]
        assert MARKED_NAME == redact({"prompt_preview": "buy"}, **options)["prompt_preview"]

    def test_allow_keys_win_over_built_in_names(self) -> None:
        """An allowed name is left to scanning: whole names only, in any spelling."""
        fields = {"api_key": "paper", "apiKey": KEY, "my_api_key": "paper"}
        event = redact(request(**fields), allow_keys=["API-Key"])
        assert ["paper", MARKED_KEY, MARKED_NAME] == [event[name] for name in fields]

    def test_deny_keys_win_over_allow_keys(self) -> None:
        """In doubt the value goes."""
        event = redact(request(api_key="paper"), allow_keys=["api_key"], deny_keys=["api_key"])
        assert MARKED_NAME == event["api_key"]

    def test_names_that_are_no_text(self) -> None:
        """Numbers, bytes and tuples may be keys in a foreign chain; secrets in them go as well."""
        event = redact({"x": {1: "a", b"password": "b", (EMAIL, 2): "c", None: EMAIL}})
        assert {1: "a", b"password": MARKED_NAME, (MARKED_EMAIL, 2): "c", None: MARKED_EMAIL} == event["x"]


class TestPreviews:
    def test_secret_across_the_limit_goes_whole(self) -> None:
        """A secret that begins before the limit is replaced, and what follows it in the original is cut."""
        for start in range(90, 100):
            text = "a" * (start - 1) + " " + KEY + " tail"
            event = redact(request(prompt_preview=text), preview_chars={"prompt_preview": 100})
            assert "a" * (start - 1) + " " + MARKED_KEY == event["prompt_preview"]

    def test_secret_at_or_behind_the_limit_is_cut_off(self) -> None:
        """A secret that begins at the limit or later leaves no trace and is not counted."""
        for start in (100, 101, 150):
            text = "a" * (start - 1) + " " + KEY
            event = redact(request(prompt_preview=text), preview_chars={"prompt_preview": 100})
            assert (text[:100], "redactions" in event) == (event["prompt_preview"], False)

    def test_cut_is_at_the_offset_of_the_original(self) -> None:
        """A replaced secret does not let characters through that lie behind the limit."""
        text = f"{KEY} " + "b" * 50 + "c" * 100
        limit = len(KEY) + 1 + 50
        event = redact(request(prompt_preview=text), preview_chars={"prompt_preview": limit})
        assert f"{MARKED_KEY} " + "b" * 50 == event["prompt_preview"]

    def test_secret_longer_than_the_window(self) -> None:
        """A secret that begins in the preview and ends beyond everything scanned is still one."""
        text = "x " + KEY * 40
        block = (
            "x -----BEGIN " + "PRIVATE KEY-----\n" + ("k3Jx" * 16 + "\n") * OVERLAP_CHARS + "-----END PRIVATE KEY-----"
        )
        options: dict[str, Any] = {"preview_chars": {"prompt_preview": 10}}
        assert "x " + MARKED_KEY == redact(request(prompt_preview=text), **options)["prompt_preview"]
        assert "x [REDACTED:private-key-block]" == redact(request(prompt_preview=block), **options)["prompt_preview"]

    def test_secret_across_the_window_end_is_never_shown(self) -> None:
        """What lies beyond limit and overlap is not scanned and therefore not written."""
        for start in range(100 + OVERLAP_CHARS - 30, 100 + OVERLAP_CHARS + 30, 7):
            text = "a" * (start - 1) + " " + KEY
            event = redact(request(prompt_preview=text), preview_chars={"prompt_preview": 100})
            assert "a" * 100 == event["prompt_preview"]

    def test_limit_counts_code_points(self) -> None:
        """The limit means characters, not bytes, beside a secret as without one."""
        options: dict[str, Any] = {"preview_chars": {"prompt_preview": 30}}
        assert "中" * 30 == redact(request(prompt_preview="中" * 50), **options)["prompt_preview"]
        with_secret = redact(request(prompt_preview="中" * 10 + EMAIL + "中" * 50), **options)
        assert "中" * 10 + MARKED_EMAIL + "中" * (20 - len(EMAIL)) == with_secret["prompt_preview"]

    def test_text_up_to_the_limit_is_kept(self) -> None:
        """A text of exactly the limit is not cut."""
        for chars in (0, 1, 99, 100):
            event = redact(request(prompt_preview="a" * chars), preview_chars={"prompt_preview": 100})
            assert "a" * chars == event["prompt_preview"]

    def test_zero_keeps_nothing(self) -> None:
        """A limit of 0 leaves an empty text, also of a secret."""
        options: dict[str, Any] = {"preview_chars": {"prompt_preview": 0}}
        assert ["", ""] == [redact(request(prompt_preview=text), **options)["prompt_preview"] for text in ("abc", KEY)]

    def test_lengths_are_left_alone(self) -> None:
        """The length of the original stays what the logger said."""
        event = redact(request(prompt_preview=KEY + " a" * 4500, prompt_length=9073))
        assert (9073, MARKED_KEY + " a" * ((500 - len(KEY)) // 2) + " ") == (
            event["prompt_length"],
            event["prompt_preview"],
        )

    def test_defaults(self) -> None:
        """500 characters of the prompt, 1,000 of the answer and of an error."""
        names = ("prompt_preview", "response_preview", "error_message")
        event = redact(dict.fromkeys(names, "a" * 5000))
        assert [500, 1000, 1000] == [len(event[name]) for name in names]

    def test_no_beginning_of_a_secret_after_truncation(self) -> None:
        """Redaction comes first: wherever the cut falls, truncation leaves no six characters of a secret."""
        text, limits = f"Use {KEY}, {EMAIL} and " + "4111 " + "1111 " * 3, {"prompt_preview": 0}
        secrets = [KEY, EMAIL]
        for limits["prompt_preview"] in range(len(text) + 2):
            event = Truncate(limits)(None, "info", redact(request(prompt_preview=text), preview_chars=limits))
            shown = event["prompt_preview"].replace(MARKED_KEY, "").replace(MARKED_EMAIL, "")
            assert [] == [s[i : i + 6] for s in secrets for i in range(len(s) - 5) if s[i : i + 6] in shown]

    def test_preview_that_is_no_text(self) -> None:
        """A preview that holds a structure is walked like any other field."""
        assert [{"a": MARKED_KEY}] == redact(request(prompt_preview=[{"a": KEY}]))["prompt_preview"]


class TestRedactionsField:
    def test_counts_markers_and_names_rules(self) -> None:
        """The field says how many markers the event holds and from which rules, sorted."""
        event = redact(request(prompt_preview=f"{KEY} {EMAIL} {EMAIL}", market_context={"password": 1}))
        assert {"count": 4, "rules": ["anthropic-key", "email", "key-name"]} == event["redactions"]

    def test_adds_to_what_is_there(self) -> None:
        """An event that was redacted before keeps that account."""
        event = redact(request(text=EMAIL, redactions={"count": 2, "rules": ["jwt", "email"]}))
        assert {"count": 3, "rules": ["email", "jwt"]} == event["redactions"]

    @pytest.mark.parametrize("before", [None, "x", [], {"count": "2"}, {"count": 1, "rules": "x"}])
    def test_replaces_what_it_cannot_read(self, before: Any) -> None:
        """A field of that name in another shape gives way."""
        event = redact(request(text=EMAIL, redactions=before))
        assert {"count": 1, "rules": ["email"]} == event["redactions"]

    def test_twice_is_once(self) -> None:
        """Redacting a redacted event changes nothing."""
        secrets = {
            f"{rule.id}{n}": s.text for rules in PACKS.values() for rule in rules for n, s in enumerate(rule.matches)
        }
        event = request(
            prompt_preview=f"a {KEY}" * 30, market_context={"api_key": 1, "token": KEY, **secrets}, **secrets
        )
        once = redact(event)
        assert once == redact(copy.deepcopy(once))


class TestFailure:
    def test_failing_check_costs_the_text(self) -> None:
        """A check that raises takes the whole text that it saw, and only that; the event goes on."""
        processor = Redact(rules=[FAILING])
        event = request(
            prompt_preview=f"boom MINE-x {EMAIL}", market_context={"a": ["boom MINE-x", "MINE-y"]}, model="m"
        )
        event = dict(processor(None, "info", event))
        assert "[REDACTED:error:mine]" == event["prompt_preview"]
        assert {"a": ["[REDACTED:error:mine]", "[REDACTED:mine]"]} == event["market_context"]
        assert {"count": 3, "rules": ["error", "mine"]} == event["redactions"]
        assert (2, "m") == (processor.errors, event["model"])

    def test_failing_walk_costs_the_field(self) -> None:
        """A value that cannot even be walked goes whole."""

        class Torn(dict[str, Any]):
            """A mapping that fails when read."""

            def items(self) -> Any:
                raise RuntimeError("torn " + KEY)

        processor = Redact()
        event = dict(processor(None, "info", {"event": "hello", "data": Torn(a=KEY)}))
        assert ("hello", ERROR) == (event["event"], event["data"])
        assert ({"count": 1, "rules": ["error"]}, 1) == (event["redactions"], processor.errors)

    def test_failing_scanner_costs_every_text(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """When scanning itself breaks, no text gets out and no number is lost."""

        def broken(*_: Any) -> Any:
            raise MemoryError(KEY)

        processor = Redact()
        monkeypatch.setattr(Scanner, "is_clean", broken)
        monkeypatch.setattr(Scanner, "redact", broken)
        event = dict(processor(None, "info", request(prompt_preview=KEY, market_context={"a": [KEY, 1]}, max_tokens=3)))
        assert KEY not in json.dumps(event)
        assert ("req_67890def01234567", 3) == (event["request_id"], event["max_tokens"])

    def test_on_error_replaces_all_texts(self) -> None:
        """For a processor that failed as a whole: ids, times and numbers stay, everything else goes."""
        processor = Redact()
        fields = {
            "prompt_preview": "x",
            "market_context": {"a": 1},
            "model": "m",
            "tags": [],
            "mine": "y",
            "password": 5,
        }
        event = dict(processor.on_error(request(**fields, temperature=0.1, max_tokens=None)))
        assert dict.fromkeys(fields, ERROR) == {name: event[name] for name in fields}
        assert request(temperature=0.1, max_tokens=None) == {
            name: value for name, value in event.items() if name not in (*fields, "redactions")
        }
        assert ({"count": 6, "rules": ["error"]}, 6) == (event["redactions"], processor.errors)

    def test_on_error_with_odd_events(self) -> None:
        """It does not raise, whatever the event looks like."""
        processor = Redact()
        assert {} == processor.on_error({})
        assert ERROR == processor.on_error({"event_type": ["x"], "a": object()})["a"]


class TestForeignChains:
    def test_in_a_structlog_chain(self) -> None:
        """It works in anybody's chain, without our envelope, and takes what JSON would print."""
        written: list[str] = []

        def write(logger: Any, method: str, event: Any) -> str:
            written.append(json.dumps(event))
            raise structlog.DropEvent

        log = structlog.wrap_logger(None, [structlog.stdlib.add_log_level, Redact(), write])
        log.info(f"login of {EMAIL}", headers={"Authorization": "x"}, level_hint="a", session_id=EMAIL, n=1)
        assert {
            "headers": {"Authorization": MARKED_NAME},
            "level_hint": "a",
            "session_id": MARKED_EMAIL,
            "n": 1,
            "event": f"login of {MARKED_EMAIL}",
            "level": "info",
            "redactions": {"count": 3, "rules": ["email", "key-name"]},
        } == json.loads(written[0])

    def test_exception_text(self) -> None:
        """Behind format_exc_info the text of an exception is scanned."""
        with structlog.testing.capture_logs(processors=[structlog.processors.format_exc_info, Redact()]) as logs:
            try:
                raise ValueError(f"401 for https://api.test/v1?key={'a1B2' * 8}")
            except ValueError:
                structlog.get_logger().exception("failed")
        assert "?key=[REDACTED:url-query-key]" in logs[0]["exception"]

    def test_values_that_json_does_not_know(self) -> None:
        """Sets, bytes and other mappings are walked."""
        event = redact(
            {
                "set": {KEY, "a"},
                "frozen": frozenset({EMAIL}),
                "bytes": b"\xff key " + KEY.encode() + b"\xfe",
                "array": bytearray(EMAIL.encode()),
                "mapping": MappingProxyType({"a": KEY}),
                "ordered": OrderedDict(password="x"),
            }
        )
        assert ({MARKED_KEY, "a"}, frozenset({MARKED_EMAIL})) == (event["set"], event["frozen"])
        assert b"\xff key " + MARKED_KEY.encode() + b"\xfe" == event["bytes"]
        assert MARKED_EMAIL.encode() == event["array"]
        assert ({"a": MARKED_KEY}, {"password": MARKED_NAME}) == (event["mapping"], event["ordered"])

    def test_inert_values_are_kept(self) -> None:
        """Numbers, dates and the like are the same objects afterwards."""
        values = [
            1,
            1.5,
            True,
            None,
            Decimal("1.5"),
            datetime(2024, 1, 15, tzinfo=UTC),
            b"bytes",
            {"a"},
            frozenset({1}),
        ]
        event = redact({"values": values, "secret_text": EMAIL})
        assert event["values"] is values

    def test_unknown_object_becomes_its_type(self) -> None:
        """A renderer would print what is in it."""

        class Client:
            """Shows its key, as many clients do."""

            def __repr__(self) -> str:
                return f"Client({KEY})"

        event = redact({"client": Client(), "error": ValueError(KEY), "list": [Client(), 1]})
        assert ("<Client>", "<ValueError>", ["<Client>", 1]) == (event["client"], event["error"], event["list"])

    def test_text_of_a_subclass(self) -> None:
        """An enum of texts is a text."""

        class Color(StrEnum):
            """Two texts."""

            RED = "red"
            SECRET = EMAIL

        event = redact({"a": Color.RED, "b": Color.SECRET, "c": {Color.SECRET: 1}})
        assert ("red", MARKED_EMAIL, {MARKED_EMAIL: 1}) == (event["a"], event["b"], event["c"])

    def test_cycles_and_depth_end(self) -> None:
        """A structure that contains itself, or has no bottom worth reading, ends in a type name."""
        cycle: dict[str, Any] = {"key": KEY}
        cycle["again"] = [cycle]
        deep: Any = KEY
        for _ in range(2000):
            deep = [deep]
        event = redact({"cycle": cycle, "deep": deep})
        assert {"key": MARKED_NAME, "again": ["<dict>"]} == event["cycle"]
        assert "<list>" in repr(event["deep"])
        assert KEY not in repr(event)

    def test_structure_that_doubles_at_every_level(self) -> None:
        """Shared references cannot make a small structure endless."""
        node: Any = EMAIL
        for _ in range(40):
            node = [node, node]
        text = repr(redact({"x": node}))
        assert EMAIL not in text


class TestConfiguration:
    def test_packs_choose_rules(self) -> None:
        """Only the rules of the named packs run."""
        text = f"{EMAIL} {KEY}"
        assert [
            f"{MARKED_EMAIL} {KEY}",
            f"{EMAIL} {MARKED_KEY}",
            text,
        ] == [redact({"x": text}, packs=packs)["x"] for packs in (["pii"], ("credentials", "crypto"), ["payment"])]

    def test_no_packs_still_judge_names(self) -> None:
        """Without packs the names remain."""
        assert {"x": KEY, "password": MARKED_NAME} == {
            name: redact({"x": KEY, "password": "y"}, packs=[])[name] for name in ("x", "password")
        }

    def test_default_is_all_packs(self) -> None:
        """All packs but entropy, which also takes what is merely random."""
        assert ("credentials", "crypto", "payment", "pii", "entropy") == tuple(PACKS)
        assert tuple(PACKS)[:-1] == DEFAULT_PACKS

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"packs": ["pii", KEY]},
                "redaction.packs: entry 2 is no pack; the packs are credentials, crypto, payment, pii, entropy",
            ),
            ({"packs": "pii"}, "redaction.packs: give a list"),
            ({"deny_keys": ["a", "--"]}, "redaction.deny_keys: entry 2 has no letter or digit"),
            ({"allow_keys": [""]}, "redaction.allow_keys: entry 1 has no letter or digit"),
            ({"deny_keys": "password"}, "redaction.deny_keys: give a list"),
            ({"preview_chars": {"prompt_preview": -1}}, "the preview of prompt_preview must be 0 characters or more"),
        ],
    )
    def test_wrong_settings(self, options: dict[str, Any], message: str) -> None:
        """A wrong setting is refused while building; the message names it and never quotes it."""
        with pytest.raises(ConfigError) as error:
            Redact(**options)
        assert message in str(error.value)
        assert KEY not in str(error.value)

    def test_own_rules(self) -> None:
        """Rules of the caller run beside those of the packs."""
        rule = Rule("acme-key", "acme_[a-z0-9]{8}", (Sample("acme_" + "a1b2c3d4", "k={}"),), ("acme_x",))
        event = redact({"x": f"acme_{'z9' * 4} {EMAIL}"}, rules=[rule])
        assert f"[REDACTED:acme-key] {MARKED_EMAIL}" == event["x"]


class TestCounts:
    def test_per_rule(self) -> None:
        """Every replacement is counted under its rule, over all events."""
        processor = Redact()
        for text in (EMAIL, f"{EMAIL} {KEY}", "clean"):
            processor(None, "info", {"x": text})
        assert ({"email": 2, "anthropic-key": 1}, 0) == (processor.counts, processor.errors)

    def test_threads_lose_no_count(self) -> None:
        """Threads that redact at the same time do not take counts from each other."""
        processor, threads, events = Redact(), 4, 300

        def work() -> None:
            for _ in range(events):
                processor(None, "info", {"x": EMAIL, "password": 1})

        workers: Sequence[threading.Thread] = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=60)
        assert {"email": threads * events, "key-name": threads * events} == processor.counts


class TestRenewal:
    """What a forked child does; that it has to, and does, is proved by real forks in `tests/faults/test_fork.py`."""

    def test_the_rules_are_compiled_anew_when_needed(self) -> None:
        """A renewed set finds what it found before, with an engine of its own; nothing inherited is freed."""
        scanner = Scanner([SHOUTED])
        rules = scanner.search.rule_set
        inherited = len(rules.inherited)
        before = rules.patterns[0]
        for _ in range(2):
            rules.renew_after_fork()
            assert scanner.redact("a SECRET!").text == "a [REDACTED:shouted]!"
            assert not scanner.is_clean("a SECRET")
            assert before is not rules.patterns[0]
        rules.renew_after_fork()
        assert scanner.is_clean("none")
        assert len({id(kept[1]) for kept in rules.inherited[inherited:]}) == 3

    def test_threads_share_a_renewed_scanner(self) -> None:
        """All of them find the secret, whoever compiles the rules, or has them compiled twice."""
        scanner = Scanner([SHOUTED])
        for _ in range(20):
            scanner.search.rule_set.renew_after_fork()
            with ThreadPoolExecutor(4) as threads:
                found = list(threads.map(lambda _: scanner.redact("a SECRET!").text, range(8)))
            assert set(found) == {"a [REDACTED:shouted]!"}
