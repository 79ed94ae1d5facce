"""Personal and payment data: cards, accounts, addresses, telephones, social security numbers."""

import re

from structllm.redaction import checks
from structllm.redaction.packs.shapes import EDGE, ESCAPE
from structllm.redaction.rule import Rule, Sample

_NO_DIGIT = re.compile(rb"[^0-9]+")
_BLANK = re.compile(rb"\s+")


def digits_only(value: bytes) -> bytes:
    """Return the digits, so that every grouping of a number gets the same pseudonym."""
    return _NO_DIGIT.sub(b"", value)


def lower_case(value: bytes) -> bytes:
    """Return the address in lower case, as mail is delivered."""
    return value.decode("utf-8", "surrogatepass").lower().encode("utf-8", "surrogatepass")


def upper_without_blanks(value: bytes) -> bytes:
    """Return the electronic form of an IBAN."""
    return _BLANK.sub(b"", value).upper()


_GAP = r"(?:[ -]|[ \t]*(?:\r?\n|\\n)[ \t]*)"

PAYMENT = (
    Rule(
        "payment-card",
        EDGE + rf"([2-6][0-9]{{3}}(?:{_GAP}[0-9]{{4}}){{3}}(?:[ -][0-9]{{3}})?"
        rf"|3[47][0-9]{{2}}{_GAP}[0-9]{{6}}{_GAP}[0-9]{{5}}"
        r"|3[068][0-9]{2}[ -][0-9]{6}[ -][0-9]{4}|[2-6][0-9]{12,18})\b",
        (
            Sample(" ".join(("4111", "1111", "1111", "1111")), "charged to {} today"),
            Sample("-".join(("5500", "0000", "0000", "0004"))),
            Sample("37" + "8282246310005", "amex {}"),
            Sample("4111" * 1 + "1111" * 3, "card number {}"),
            Sample("4111 1111\n1111 " + "1111", "visa {} 12/27"),
        ),
        (
            "order 41111111" + "11111111",
            "card 4111 1111 1111 1112",
            "closes 4523 4510 4490 4521",
            "volumes 4878 1258 1723 8377 3122 5782 2139",
            "at 1700000000000 ms",
            "card-like 2024011510304512",
        ),
        checks.is_card,
        rescan=True,
        canonical=digits_only,
        shows_last=4,
    ),
    Rule(
        "iban",
        EDGE + r"([A-Z]{2}[0-9]{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?))\b",
        (
            Sample(" ".join(("GB82", "WEST", "1234", "5698", "7654", "32"))),
            Sample("DE89" + "37040044" + "0532013000", "pay to {} now"),
        ),
        ("GB83 WEST 1234 5698 7654 32", "ZZ82WEST12345698765432", "DE89370400440532013001"),
        checks.is_iban,
        rescan=True,
        canonical=upper_without_blanks,
        shows_last=4,
    ),
)

_PHONE_GAP = r"[ .()-]{0,2}"
_NATIONAL = r"\(?[2-9][0-9]{2}\)?[ .-]{0,2}[2-9][0-9]{2}[ .-]?[0-9]{4}"
_NAMED = r"(?i:phone|tel|mobile?|cell|call|sms|fax|whats ?app|handy|dial|celular|m[oó]vil|тел|电话|手机|電話|전화)"

_ESCAPED = r"\\+u[0-9a-fA-F]{4}"

PII = (
    Rule(
        "email",
        # Local parts in alphabets of Europe, behind the @ those of any script: Han and kana run into the text around.
        rf"(?:{ESCAPE})?([A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{{2,}})"
        r"|(?:%[0-9A-Fa-f]{2}|\\[bfnrt])?"
        rf"((?:[A-Za-z0-9._%+-]|[\p{{Latin}}\p{{Cyrillic}}\p{{Greek}}]|{_ESCAPED})+"
        rf"@(?:(?:[\p{{L}}\p{{N}}-]|{_ESCAPED})+\.)+(?:\p{{L}}|{_ESCAPED}){{2,}})",
        (
            Sample("jane.doe" + "@example.com"),
            Sample("bob+x" + "@mail.example.co.uk", "From: <{}>"),
            Sample("jürgen" + "@bücher.example", "an {} senden"),
            Sample("иван" + "@почта.рф", "<{}>"),
        ),
        ("git@github.com:acme/bot.git", "logo@2x.png", "https://user@host.example/", "price @ 45230.50", "@handle"),
        checks.is_email,
        canonical=lower_case,
    ),
    Rule(
        "phone",
        rf"(\+1{_PHONE_GAP}{_NATIONAL})\b|(\+[2-9](?:{_PHONE_GAP}[0-9]){{7,14}})\b"
        rf"|((?:\(|\b)[2-9][0-9]{{2}}\)?[ .-]{{1,2}}[2-9][0-9]{{2}}[ .-][0-9]{{4}})\b"
        rf"|{_NAMED}[^0-9+\n]{{0,24}}?(\(?[01]?[0-9](?:[ ()/.-]{{0,2}}[0-9]){{7,12}})\b",
        (
            Sample("+1 415" + "-555-2671", "call {} now"),
            Sample("+44 20" + " 7946 0958", "tel. {}"),
            Sample("+4930" + "1981243", '"phone":"{}"'),
            Sample("(415) 555" + "-2671"),
            Sample("415-555" + "-2671", "call me at {} please"),
            Sample("030 198" + "1243", "Telefon: {}"),
        ),
        (
            "pnl +1250.75 -300.25 +4500.10",
            "support 45230.50 and 45100.25",
            "ts 1700000000000",
            "order 415-555-26711",
            "delta +1700000000000",
            "2024-01-15 10:30:45",
            "from 192.168.100.200",
            "1e+10 or +2.5%",
            "call at 45230.50 today",
        ),
        checks.is_phone,
        rescan=True,
        canonical=digits_only,
        shows_last=4,
    ),
    Rule(
        "us-ssn",
        EDGE + r"([0-9]{3}-[0-9]{2}-[0-9]{4})\b"
        r"|(?i)(?:ssn|social[ _-]security(?:[ _-](?:number"
        r"|no\.?))?)[^A-Za-z0-9]{1,4}(?:is )?([0-9]{3}[ -]?[0-9]{2}[ -]?[0-9]{4})\b",
        (
            Sample("-".join(("219", "09", "9999")), "SSN {}."),
            Sample("21909" + "9999", "ssn: {}"),
            Sample("219 09 " + "9999", "social_security_number: {}"),
        ),
        (
            "000-12-3456",
            "666-12-3456",
            "912-34-5678",
            "123-00-4567",
            "123-45-0000",
            "volume 219099999",
            "1-219-09-9999-0",
        ),
        checks.is_us_ssn,
        canonical=digits_only,
        shows_last=4,
    ),
)
