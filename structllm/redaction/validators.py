"""What a user's rule may ask of a hit beside its pattern, by name: a checksum, a range, randomness, a length."""

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache

from structllm._options import did_you_mean
from structllm.redaction.checks import is_iban, is_seed_phrase, is_us_ssn
from structllm.redaction.checks.numbers import BASE58, double_sha256
from structllm.redaction.rule import Check

_SPEC = re.compile(r"([a-z0-9]+)\s*(?:(>=|<=)\s*([0-9]{1,6}(?:\.[0-9]{1,6})?))?")
_MOST_BYTES = 4096  # of a hit that is judged: beyond it a checksum means nothing, and it counts as a secret

_DIGITS = re.compile(rb"[0-9](?:[ .-]?[0-9])*")
_IBAN = re.compile(rb"[A-Za-z]{2}[0-9]{2}[A-Za-z0-9 ]{8,38}")
_SSN = re.compile(rb"[0-9]{3}([ -]?)[0-9]{2}\1[0-9]{4}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{8,}={0,2}|[A-Za-z0-9_-]{8,}={0,2}")
_PHRASE = re.compile(rb"[A-Za-z]+(?:[^A-Za-z]+[A-Za-z]+){11,23}")


def entropy_bits(value: bytes) -> float:
    """Return the Shannon entropy of a text in bits per character: 0 for one character repeated, 4 for random hex."""
    text = value.decode("utf-8", "replace")
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


@lru_cache(maxsize=256)
def validator_of(spec: str) -> Check:
    """Return the check that a name stands for, such as `luhn` or `entropy>=3.5`: the same one for the same name.

    Raises:
        ValueError: There is no such validator; the message says which there are.
    """
    match = _SPEC.fullmatch(spec.strip().lower())
    if match is None:
        raise ValueError(f"is no validator; there are {_listed()}")
    name, sign, bound = match.groups()
    if name in _PLAIN and sign is None:
        return _judging(_PLAIN[name])
    if name in _MEASURED and sign is not None:
        return _measuring(_MEASURED[name], sign == ">=", float(bound))
    if name in _PLAIN:
        raise ValueError(f"takes no number: {name}")
    if name in _MEASURED:
        raise ValueError(f"needs a bound, as in {name}>=3")
    raise ValueError(f"is no validator{did_you_mean(name, [*_PLAIN, *_MEASURED])}; there are {_listed()}")


@lru_cache(maxsize=256)
def all_of(wanted: tuple[Check, ...]) -> Check | None:
    """Return the check that asks for all of them; None where there are none."""
    if len(wanted) < 2:
        return wanted[0] if wanted else None
    return lambda text, start, end: all(check(text, start, end) for check in wanted)


def _judging(is_right: Callable[[bytes], bool]) -> Check:
    return lambda text, start, end: end - start > _MOST_BYTES or is_right(text[start:end])


def _measuring(measure: Callable[[bytes], float], at_least: bool, bound: float) -> Check:
    if at_least:
        return lambda text, start, end: measure(text[start:end]) >= bound
    return lambda text, start, end: measure(text[start:end]) <= bound


def _is_luhn(value: bytes) -> bool:
    digits = [byte - 0x30 for byte in value if 0x30 <= byte <= 0x39]
    if len(digits) < 2 or not _DIGITS.fullmatch(value):
        return False
    doubled = (2 * digit - 9 if digit > 4 else 2 * digit for digit in digits[-2::-2])
    return (sum(doubled) + sum(digits[::-2])) % 10 == 0


def _is_iban(value: bytes) -> bool:
    return _IBAN.fullmatch(value) is not None and is_iban(value, 0, len(value))


def _is_ssn(value: bytes) -> bool:
    return _SSN.fullmatch(value) is not None and is_us_ssn(value, 0, len(value))


def _is_base58check(value: bytes) -> bool:
    if not 5 <= len(value) <= 128 or value.strip(BASE58):
        return False
    number = 0
    for byte in value:
        number = number * 58 + BASE58.index(byte)
    zeros = len(value) - len(value.lstrip(b"1"))
    data = bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    return len(data) > 4 and data[-4:] == double_sha256(data[:-4])[:4]


def _is_phrase(value: bytes) -> bool:
    return _PHRASE.fullmatch(value) is not None and is_seed_phrase(value, 0, len(value))


def _is_base64(value: bytes) -> bool:
    if not _BASE64.fullmatch(value):
        return False
    bare = value.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return bool(base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True))
    except binascii.Error:
        return False


def _is_mixed(value: bytes) -> bool:
    return any(0x30 <= byte <= 0x39 for byte in value) and any(
        chr(byte | 0x20) in "abcdefghijklmnopqrstuvwxyz" for byte in value
    )


_PLAIN: Mapping[str, Callable[[bytes], bool]] = {
    "luhn": _is_luhn,
    "iban": _is_iban,
    "ssn": _is_ssn,
    "bip39": _is_phrase,
    "base58check": _is_base58check,
    "base64": _is_base64,
    "mixed": _is_mixed,
}
_MEASURED: Mapping[str, Callable[[bytes], float]] = {
    "entropy": entropy_bits,
    "length": lambda value: len(value.decode("utf-8", "replace")),
}


def _listed() -> str:
    return ", ".join([*_PLAIN, *(f"{name}>=N" for name in _MEASURED)])
