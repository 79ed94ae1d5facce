"""The rule of names finds in texts what names deny in mappings, and leaves everything else alone."""

import pytest

from structllm.redaction.key_pairs import rule_of_keys
from structllm.redaction.keys import KeyRules
from structllm.redaction.scan import Scanner

VALUE = "b1ue" + "berry"


def cleaned(text: str) -> str:
    """Return the text as the rule of names leaves it."""
    return Scanner([rule_of_keys(KeyRules(["account_id"], ["cookie"]))]).redact(text).text


class TestNamesInTexts:
    @pytest.mark.parametrize(
        "form",
        [
            '{"api_key": "{v}", "n": 1}',
            '{"db_pass": "{v}"}',
            '{"account_id": {v}}',
            '{\\"client_secret\\": \\"{v}\\"}',
            "{'credentials': '{v}'}",
            "?brokerAccountId={v}&symbol=BTC",
            "account_id: {v}",
            "<accountId>{v}</accountId>",
            "run --account-id {v} now",
        ],
    )
    def test_value_of_a_denied_name_goes(self, form: str) -> None:
        """Exactly the value goes, in JSON, escaped JSON, queries, elements and options."""
        assert form.replace("{v}", "[REDACTED:key-name]") == cleaned(form.replace("{v}", VALUE))

    @pytest.mark.parametrize(
        "text",
        [
            '{"total_tokens": 150, "session_id": "abc", "public_key": "xx", "author": "J. Doe"}',
            "api_key=os.environ['X']",
            "def login(password, secret=None):",
            '"password": {"type": "string"}',
            "The secret is discipline; password policy: strict",
            "password_length=12",
            "Authorization: required",
            '"cookie": "a=b"',
            "my account_id",
        ],
    )
    def test_counts_code_prose_and_allowed_names_stay(self, text: str) -> None:
        """What only resembles a named secret is left alone, and so is a name that was allowed."""
        assert text == cleaned(text)

    def test_equal_key_rules_make_equal_rules(self) -> None:
        """Rules are compiled once for equal settings."""
        assert rule_of_keys(KeyRules(["a_b"])) == rule_of_keys(KeyRules(["a_b"]))
        assert rule_of_keys(KeyRules(["a_b"])) != rule_of_keys(KeyRules(["a_c"]))

    def test_allowing_the_names_of_the_examples(self) -> None:
        """No allowed name makes the rule fail its own examples."""
        Scanner([rule_of_keys(KeyRules((), ["client_secret_1", "client_secret"]))])
