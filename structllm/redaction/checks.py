"""What a pattern cannot decide: checksums, number ranges, context and plausibility of a hit.

A check gets the scanned UTF-8 text and the byte span of the candidate and says whether it is what the rule looks for.
Checks look at a bounded neighbourhood, so that scanning stays linear in the length of the text. Where a check doubts
it says yes: a redacted word costs a reader a moment, a leaked key costs an account. They use the standard library's
`re` on these short slices only; whole texts are scanned by RE2 alone.
"""

import base64
import binascii
import hashlib
import re

from structllm.redaction.rule import MARKER

_CONTEXT_BYTES = 80
_FILLER_BYTES = 12
_PREFIX_BYTES = 16  # the longest prefix of a key format, and a little
_JUDGED_BYTES = 128  # a longer value is taken for a secret; keeps the cost of turning candidates down bounded

# ---- numbers with a checksum or a range

_CARD_WORD = re.compile(
    rb"(?i)(?:\b|_|\\[bfnrt])"
    rb"(?:cards?|cc|visa|master ?card|amex|discover|credit|debit|pan|cvv|cvc|pay(?:ment|ing)?|paid)(?:\b|_)"
)
_NO_SEPARATORS = {ord(char): None for char in " -.\u00a0"}


def is_card(text: bytes, start: int, end: int) -> bool:
    """Say whether the digits are a payment card: ISO/IEC 7812 prefix and length, Luhn, and grouping or a word nearby.

    One random 16-digit number in ten passes Luhn, hence the last condition.
    """
    raw = text[start:end]
    digits = bytes(byte for byte in raw if 0x30 <= byte <= 0x39)
    if not _card_network(digits) or not _luhn(digits):
        return False
    return len(raw) > len(digits) or _near(_CARD_WORD, text, start, end, before=40, after=40)


def is_card_number(value: object) -> bool:
    """Say whether a value under a name that means a card is its number: 13 to 19 digits that pass Luhn."""
    if isinstance(value, (int, str)):
        digits = str(value).translate(_NO_SEPARATORS) if not isinstance(value, int) or 0 < value < 10**19 else ""
        return 13 <= len(digits) <= 19 and digits.isascii() and digits.isdigit() and _luhn(digits.encode())
    return False


def _card_network(digits: bytes) -> bool:
    head, size = int(digits[:6]), len(digits)
    if digits.startswith(b"4"):  # Visa
        return size in (13, 16, 19)
    if 510000 <= head <= 559999 or 222100 <= head <= 272099:  # Mastercard
        return size == 16
    if digits.startswith((b"34", b"37")):  # American Express
        return size == 15
    if digits.startswith((b"36", b"38", b"30")):  # Diners Club
        return size in (14, 16)
    return digits.startswith((b"6011", b"62", b"64", b"65", b"35", b"50", b"56", b"57", b"58")) and size >= 16


def _luhn(digits: bytes) -> bool:
    total = 0
    for place, byte in enumerate(reversed(digits)):
        digit = byte - 0x30
        if place % 2:
            digit = digit * 2 - 9 if digit > 4 else digit * 2
        total += digit
    return total % 10 == 0


# Lengths from the IBAN registry (SWIFT, ISO 13616); a code that is not here is not an IBAN.
_IBAN_CHARS = {
    15: "NO",
    16: "BE",
    18: "DK FO FI GL NL",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK",
    21: "HR LV LI CH",
    22: "BH BG CR GE DE IE ME RS GB VA",
    23: "TL GI IQ IL AE",
    24: "AD CZ MD PK RO SA SK ES SE TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "FR GR IT MC MR SM",
    28: "AL AZ CY DO GT HU LB PL",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
}
_IBAN_LENGTH = {country: length for length, countries in _IBAN_CHARS.items() for country in countries.split()}


def is_iban(text: bytes, start: int, end: int) -> bool:
    """Say whether the text is an IBAN: the country's length and remainder 1 modulo 97 (ISO 13616)."""
    iban = text[start:end].decode("ascii").replace(" ", "").upper()
    if len(iban) != _IBAN_LENGTH.get(iban[:2]):
        return False
    return int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97 == 1


def is_us_ssn(text: bytes, start: int, end: int) -> bool:
    """Say whether the digits are in a range that the US Social Security Administration issues."""
    digits = text[start:end].replace(b"-", b"").replace(b" ", b"")
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    if area in (b"000", b"666") or area[:1] == b"9" or group == b"00" or serial == b"0000":
        return False
    around = text[max(0, start - 1) : start] + text[end : end + 2]
    return not re.search(rb"^-|^.-\d", around)


_BASE58 = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58check(payload: bytes) -> bytes:
    """Return the payload with its checksum (first four bytes of the double SHA-256) in Bitcoin's base 58."""
    data = payload + _double_sha256(payload)[:4]
    number, chars = int.from_bytes(data, "big"), bytearray()
    while number:
        number, digit = divmod(number, 58)
        chars.append(_BASE58[digit])
    return b"1" * (len(data) - len(data.lstrip(b"\0"))) + bytes(reversed(chars))


def is_bitcoin_wif(text: bytes, start: int, end: int) -> bool:
    """Say whether the text is a Bitcoin private key in wallet import format: version byte, length and checksum."""
    number = 0
    for byte in text[start:end]:
        number = number * 58 + _BASE58.index(byte)
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return len(data) in (37, 38) and data[0] in (0x80, 0xEF) and _double_sha256(data[:-4])[:4] == data[-4:]


def _double_sha256(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


# ---- shapes that mean a secret only in context

_PRIVATE_WORD = re.compile(
    rb"(?i)priv(?:ate)?[ _-]?key|privkey|secret|from[_ ]?key|signer|wallet\(|key ?pair|\bpk\b|signing[ _-]?key|\bwif\b"
)
_PUBLIC_WORD = re.compile(
    rb"(?i)hash|tx|transaction|\bsha|root|block|digest|topic|signature|commit|public|checksum|address|cache|etag|\bid\b"
)


def is_private_key(text: bytes, start: int, end: int) -> bool:
    """Say whether 64 hex digits (or a long base 58 text) are called a private key: transaction hashes look the same.

    The word stands before the value on its line, or on the line above when the value begins its line.
    """
    lines = text[max(0, start - _CONTEXT_BYTES) : start].rsplit(b"\n", 2)
    before = lines[-1] if lines[-1].strip(b" \t\"'`") or len(lines) == 1 else lines[-2]
    last = max((found.end() for found in _PRIVATE_WORD.finditer(before)), default=-1)
    return last >= 0 and not _PUBLIC_WORD.search(before, last)


def is_bitcoin_key(text: bytes, start: int, end: int) -> bool:
    """Say whether the text is a Bitcoin private key: by its checksum or, as a typing error leaks too, by its name."""
    return is_bitcoin_wif(text, start, end) or is_private_key(text, start, end)


_EXCHANGE = re.compile(
    rb"(?i)binance|bybit|okx|okex|kraken|coinbase|kucoin|bitfinex|bitget|bitmex|bitstamp|deribit|gemini|alpaca|"
    rb"gate\.?io|huobi|htx\b|mexc|hyperliquid|exchange|broker"
)
_PUBLIC_KEY_NAME = re.compile(rb"(?i)public[ _-]?key\W*$")


def is_exchange_key(text: bytes, start: int, end: int) -> bool:
    """Say whether a key-like value belongs to an exchange that is named nearby."""
    if not is_token(text, start, end) or _PUBLIC_KEY_NAME.search(text[max(0, start - 32) : start]):
        return False
    return _near(_EXCHANGE, text, start, end, before=120, after=60)


def is_basic_credentials(text: bytes, start: int, end: int) -> bool:
    """Say whether base64 text decodes to `user:password` (RFC 7617)."""
    raw = text[start:end][:_JUDGED_BYTES].rstrip(b"=")
    try:
        return b":" in base64.b64decode(raw[: len(raw) // 4 * 4] + _padded(raw[len(raw) // 4 * 4 :]))
    except binascii.Error:
        return False


def _padded(rest: bytes) -> bytes:
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


_FILE_NAME = re.compile(rb"(?i)\.(?:png|jpe?g|gif|svg|webp|css|js|ts|json|html?)$")
_URL_BEFORE = re.compile(rb"://[^\s/?#]*$")


def is_email(text: bytes, start: int, end: int) -> bool:
    """Say whether the text is an address of a person: not `git@host:`, not a file name, not a URL's user part."""
    value = text[start:end]
    if value.startswith(b"git@") or _FILE_NAME.search(value[-8:]):
        return False
    return not _URL_BEFORE.search(text[max(0, start - _CONTEXT_BYTES) : start])


# ---- values of `name = value`

_PLACEHOLDER = re.compile(
    rb"(?i)(?:(.)\1*|\*{3,}.*|x{4,}.*|<.*|\$\{.*|\$\(.*|(?-i:\$[A-Z_][A-Z0-9_]*)|\{\{.*|\{[a-z_.]*\}|%\(?[a-z_]+\)?[s%]|"
    rb"(?:your|insert|enter)[ _-].*|none|null|nil|true|false|undefined|str|string|bytes|bool|int|any|secretstr|"
    rb"optional(?:\[.*)?|required|missing|invalid|incorrect|wrong|unset|empty|hidden|expired|unknown|"
    rb"\[?(?:redacted|filtered|masked|hidden)\]?|(?:os\.|process\.)?(?:environ|env|getenv)[\[(.].*|"
    rb"prompt|input|must|should|cannot|the|with|field|reset)"
)
_EXPRESSION = re.compile(
    rb"(?i)(?:self|cls|this|os|env|app|args|options|settings|config|conf|cfg|secrets|creds|ctx|context|request|params|kwargs)"
    rb"(?:(?:\.|->|::)[a-z_]\w*)+"
)
_FUNCTION = (
    rb"(?:get|load|read|fetch|make|create|generate|decrypt|input|prompt|ask|require)[a-z_.]*[0-9]?|"
    rb"[a-z]+(?:[_.][a-z]+)+[0-9]?"
)
_CALLED = re.compile(rb"(?i:" + _FUNCTION + rb")")
_CALL = re.compile(rb"(?i:" + _FUNCTION + rb")\([^()]*")
_NAME = re.compile(rb"[A-Za-z_]+")
_ADDRESS = re.compile(rb"0x[0-9a-fA-F]{40}")
_DIGIT = re.compile(rb"[0-9]")
_LETTER = re.compile(rb"[A-Za-z]")
_MIXED = re.compile(rb"[a-z].*[A-Z]|[A-Z].*[a-z]")
_CAMEL_CASE = re.compile(rb"[A-Za-z]?[a-z]*(?:[ _.-]?[A-Z]?[a-z]{2,})*")


def is_no_filler(text: bytes, start: int, end: int) -> bool:
    """Say whether there is more to a key than prefix and filler: `sk-xxxxxxxxxxxx` is an example in documentation."""
    return not _is_filled(text[start:end], _PREFIX_BYTES)


# What may stand before a key; the same as the edge in the patterns.
_EDGE_BEFORE = re.compile(rb"(?:^|[^0-9A-Za-z]|%[0-9A-Fa-f]{2}|\\[bfnrt]|\\u[0-9A-Fa-f]{4}|\[[0-9;:]{0,16}[mKHJ])$")
_RANDOM_RUN = re.compile(rb"[0-9A-Za-z]{10,}")


def is_key_anywhere(text: bytes, start: int, end: int) -> bool:
    """Say whether a key with a long prefix is one: inside a word only with a random part, unlike `task-proj-review`."""
    if not is_no_filler(text, start, end):
        return False
    if end - start > _JUDGED_BYTES or _EDGE_BEFORE.search(text[max(0, start - 24) : start]):
        return True
    runs = _RANDOM_RUN.findall(text[start:end])
    return any(len(_DIGIT.findall(run)) >= 2 and _LETTER.search(run) for run in runs)


def _is_filled(value: bytes, bare_bytes: int) -> bool:
    """Say whether all but the first bytes repeat up to three characters; a key with such a tail is still a key."""
    tail = set(value[-_FILLER_BYTES:])
    return len(value) >= _FILLER_BYTES and len(tail) <= 3 and len(value.rstrip(bytes(tail))) <= bare_bytes


def is_password(text: bytes, start: int, end: int) -> bool:
    """Say whether the value given to a password is one, and not a placeholder, a type, or code that fetches it."""
    value = text[start:end]
    if len(value) > _JUDGED_BYTES:
        return True
    bare = _bare(value)
    if len(bare) < 3 or _PLACEHOLDER.fullmatch(bare):
        return False
    return _is_literal(text, start) or not (
        _EXPRESSION.fullmatch(bare)
        or _CALL.fullmatch(bare)
        or (_CALLED.fullmatch(bare) and text[end : end + 1] == b"(")
        or (_NAME.fullmatch(bare) and _repeats_name(text, start, bare))
    )


_PROSE = re.compile(
    rb"(?i)and|argument|flag|for|from|given|instead|option|or|parameter|switch|to|value|when|without|you|your"
)


def is_argument(text: bytes, start: int, end: int) -> bool:
    """Say whether what follows `--password` is a password, and not the rest of a sentence about the option."""
    return is_password(text, start, end) and not _PROSE.fullmatch(_bare(text[start:end]))


def is_token(text: bytes, start: int, end: int) -> bool:
    """Say whether the value given to a key, token or secret looks random enough to be one.

    `token: BTC`, `token = tokenizer.next` and contract addresses are no secrets; eight characters with letters and
    digits are, and so are sixteen letters in a mixed case that is no camelCase.
    """
    value = text[start:end]
    if len(value) > _JUDGED_BYTES:
        return True
    bare = _bare(value)
    if _PLACEHOLDER.fullmatch(bare) or _ADDRESS.fullmatch(bare) or _is_filled(bare, 4):
        return False
    if not _is_literal(text, start) and (
        _EXPRESSION.fullmatch(bare) or (_CALLED.fullmatch(bare) and text[end : end + 1] == b"(")
    ):
        return False
    if _DIGIT.search(bare) and _LETTER.search(bare):
        return len(bare) >= 8
    return len(bare) >= 16 and _MIXED.search(bare) is not None and not _CAMEL_CASE.fullmatch(bare)


def is_cookie(text: bytes, start: int, end: int) -> bool:
    """Say whether the value of a cookie header still sets something once markers are taken away."""
    return b"=" in MARKER.sub(b"", text[start : min(end, start + _JUDGED_BYTES)])


def _bare(value: bytes) -> bytes:
    """Take away what is redacted already and the punctuation that a sentence or a call puts around a value."""
    return MARKER.sub(b"", value).strip(b" .,;:!?)]}")


def _is_literal(text: bytes, start: int) -> bool:
    return text[max(0, start - 1) : start] in (b'"', b"'", b"`")


def _repeats_name(text: bytes, start: int, value: bytes) -> bool:
    """`password=password` hands a variable on."""
    return value.lower() in text[max(0, start - len(value) - 4) : start].lower()


def _near(word: re.Pattern[bytes], text: bytes, start: int, end: int, *, before: int, after: int) -> bool:
    return bool(word.search(text[max(0, start - before) : start]) or word.search(text[end : end + after]))
