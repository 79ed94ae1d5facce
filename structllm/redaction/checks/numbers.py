"""Numbers with a checksum, a range or a layout of their own: cards, accounts, social security, telephones."""

import hashlib
import re

from structllm.redaction.checks.nearby import near

_CARD_WORD = re.compile(
    rb"(?i)(?:\b|_|\\[bfnrt])"
    rb"(?:cards?|cc|visa|master ?card|amex|discover|credit|debit|pan|cvv|cvc|pay(?:ment|ing)?|paid|"
    rb"(?:card|cc)(?:number|num|nr|no)|(?:credit|debit|payment|bank)card|karte|kreditkarte|tarjeta|carte|cart[ao]o?|carta)(?:\b|_)"
)
_NO_SEPARATORS = {ord(char): None for char in " -.\u00a0"}
_LINE_END = re.compile(rb"\n|\\n")
_ROW_BEFORE = re.compile(rb"(?:\b[0-9]{4}[,;|]?\s{1,2}){2}\Z")
_ROW_BEHIND = re.compile(rb"(?:[,;|]?\s{1,2}[0-9]{4}\b){2}")
_NUMBER_BEFORE = re.compile(rb"[0-9][,;|]?\s{1,4}\Z")
_NUMBER_BEHIND = re.compile(rb"[,;|]?\s{1,4}[0-9]")


def is_card(text: bytes, start: int, end: int) -> bool:
    """Say whether the digits are a payment card: ISO/IEC 7812 prefix and length, Luhn, and grouping or a word nearby.

    One random 16-digit number in ten passes Luhn, hence the last condition. Four prices in a row are no groups: they
    are close to each other, or stand in a longer row.
    """
    raw = _LINE_END.sub(b" ", text[start:end])
    digits = bytes(byte for byte in raw if 0x30 <= byte <= 0x39)
    if not _card_network(digits) or not _luhn(digits):
        return False
    if near(_CARD_WORD, text, start, end, before=40, after=40):
        return True
    breaks = len(_LINE_END.findall(text[start:end]))
    if len(raw) == len(digits) or breaks > 1:
        return False
    if _ROW_BEFORE.search(text[max(0, start - 14) : start]) or _ROW_BEHIND.match(text[end : end + 14]):
        return False
    has_neighbour = _NUMBER_BEFORE.search(text[max(0, start - 8) : start]) or _NUMBER_BEHIND.match(text[end : end + 8])
    return _spread(raw) > (30 if has_neighbour or breaks else 10)


def _spread(raw: bytes) -> int:
    """Return by how many percent of the largest the groups differ: prices are close to one another."""
    groups = [int(group) for group in re.findall(rb"[0-9]+", raw)]
    return (max(groups) - min(groups)) * 100 // max(groups)


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
    18: "DK FO FI GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "HR LV LI CH",
    22: "BH BG CR GE DE IE ME RS GB VA",
    23: "TL GI IQ IL AE OM SO",
    24: "AD CZ MD PK RO SA SK ES SE TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ CY DO GT HU LB NI PL BY SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
    33: "RU",
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


# ---- telephones: E.164 and the North American plan

_PHONE_WORD = re.compile(
    rb"(?i)(?:\b|_|\\[bfnrt])(?:(?:tele)?phones?|fono|tel|telefono?|t\xc3\xa9l(?:\xc3\xa9phone)?|tel\xc3\xa9fono|telefone|"
    rb"mobile?|m\xc3\xb3vil|cell(?:phone|ular)?|call|sms|text|fax|whats ?app|signal|handy|reach|contact|dial|"
    rb"celular|portable|\xd1\x82\xd0\xb5\xd0\xbb(?:\xd0\xb5\xd1\x84\xd0\xbe\xd0\xbd)?)(?:\b|_)"
    rb"|\xe7\x94\xb5\xe8\xaf\x9d|\xe6\x89\x8b\xe6\x9c\xba|\xe9\x9b\xbb\xe8\xa9\xb1|\xec\xa0\x84\xed\x99\x94"
)
_INTERNATIONAL = re.compile(
    rb"\+[1-9][0-9]{9,14}"
    rb"|\+[1-9][0-9]{0,3}(?:[ -][0-9]{1,8}){1,6}"
    rb"|\+[1-9][0-9]{0,2}(?:\.[0-9]{2,4}){3,5}"
    rb"|\+[1-9][0-9]{0,2}[ .-]?\([0-9]{1,4}\)[ .-]?[0-9]{2,8}(?:[ .-][0-9]{2,5}){0,4}"
)
_NORTH_AMERICAN = re.compile(rb"(?:\+?1[ .-]?)?\(?[2-9][0-9]{2}\)?[ .-]?[2-9][0-9]{2}[ .-]?[0-9]{4}")
_FORMATTED = re.compile(rb"(?:1[ -])?(?:\([0-9]{3}\) ?|[0-9]{3}-)[0-9]{3}-[0-9]{4}")
_TOUCHED_BEFORE = re.compile(rb"(?:[0-9A-Za-z_+/#=.,-]|\d[ ])\Z")
_NAME_BEFORE = re.compile(rb"[A-Za-z_\"']=\Z|\\[bfnrt]\Z")
_TOUCHED_BEHIND = re.compile(rb"[0-9A-Za-z_%/-]|[.,:][0-9]")


def is_phone(text: bytes, start: int, end: int) -> bool:
    """Say whether the digits are a telephone number: with `+` and a country, or grouped as in North America.

    Bare digits and other national layouts need a word nearby that says telephone; prices, timestamps and order ids
    have none.
    """
    raw, before = text[start:end], text[max(0, start - 3) : start]
    if _TOUCHED_BEHIND.match(text[end : end + 2]):
        return False
    if _TOUCHED_BEFORE.search(before) and not _NAME_BEFORE.search(before):
        return False
    digits = bytes(byte for byte in raw if 0x30 <= byte <= 0x39)
    is_named = near(_PHONE_WORD, text, start, end, before=32, after=0)
    if raw.startswith(b"+"):
        if digits.startswith(b"1"):
            return _NORTH_AMERICAN.fullmatch(raw) is not None
        return (_INTERNATIONAL.fullmatch(raw) is not None and 9 <= len(digits) <= 15) or (is_named and len(digits) >= 8)
    if _NORTH_AMERICAN.fullmatch(raw):
        return is_named or _FORMATTED.fullmatch(raw) is not None
    return is_named and raw.startswith((b"0", b"(0")) and 8 <= len(digits) <= 14


# ---- Bitcoin's base 58

BASE58 = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58check(payload: bytes) -> bytes:
    """Return the payload with its checksum (first four bytes of the double SHA-256) in Bitcoin's base 58."""
    data = payload + double_sha256(payload)[:4]
    number, chars = int.from_bytes(data, "big"), bytearray()
    while number:
        number, digit = divmod(number, 58)
        chars.append(BASE58[digit])
    return b"1" * (len(data) - len(data.lstrip(b"\0"))) + bytes(reversed(chars))


def double_sha256(data: bytes) -> bytes:
    """Return the SHA-256 of the SHA-256."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()
