"""What a pattern cannot decide: checksums, number ranges, context and plausibility of a hit.

A check gets the scanned UTF-8 text and the byte span of the candidate and says whether it is what the rule looks for.
Checks look at a bounded neighbourhood, so that scanning stays linear in the length of the text. Where a check doubts
it says yes: a redacted word costs a reader a moment, a leaked key costs an account. They use the standard library's
`re` on these short slices only; whole texts are scanned by RE2 alone.
"""

from structllm.redaction.checks.formats import is_key_anywhere, is_no_filler
from structllm.redaction.checks.numbers import base58check, is_card, is_card_number, is_iban, is_phone, is_us_ssn
from structllm.redaction.checks.values import (
    is_argument,
    is_basic_credentials,
    is_cookie,
    is_email,
    is_key_block,
    is_login,
    is_password,
    is_random_text,
    is_sentence_password,
    is_token,
    is_vendor_token,
)
from structllm.redaction.checks.wallets import (
    is_bitcoin_key,
    is_bitcoin_wif,
    is_exchange_key,
    is_key_bytes,
    is_private_key,
    is_seed_phrase,
)

__all__ = [
    "base58check",
    "is_argument",
    "is_basic_credentials",
    "is_bitcoin_key",
    "is_bitcoin_wif",
    "is_card",
    "is_card_number",
    "is_cookie",
    "is_email",
    "is_exchange_key",
    "is_iban",
    "is_key_anywhere",
    "is_key_block",
    "is_key_bytes",
    "is_login",
    "is_no_filler",
    "is_password",
    "is_phone",
    "is_private_key",
    "is_random_text",
    "is_seed_phrase",
    "is_sentence_password",
    "is_token",
    "is_us_ssn",
    "is_vendor_token",
]
