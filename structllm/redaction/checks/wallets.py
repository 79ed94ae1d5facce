"""Keys of wallets and exchanges: what has a checksum, and what is a secret only in context."""

import hashlib
import re
from collections.abc import Mapping
from functools import cache, reduce
from itertools import pairwise
from types import MappingProxyType

from structllm.redaction.checks.nearby import CONTEXT_BYTES, line_before, near
from structllm.redaction.checks.numbers import BASE58, double_sha256
from structllm.redaction.checks.values import is_token

_PRIVATE_WORD = re.compile(
    rb"(?i)priv(?:ate)?[ _-]?key|privkey|secret|from[_ ]?key|signer|wallet\(|key ?pair|\bpk\b|signing[ _-]?key|\bwif\b|"
    rb"private|from_?(?:bytes|seed)|\bseed\b|clave privada|cl\xc3\xa9 priv\xc3\xa9e|chave privada|chiave privata|"
    rb"privater? schl\xc3\xbcssel|\xe7\xa7\x81\xe9\x92\xa5|\xe7\xa7\x81\xe9\x8d\xb5"
    rb"|\xe7\xa7\x98\xe5\xaf\x86\xe9\x8d\xb5|"
    rb"\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb0\xd1\x82\xd0\xbd\xd1\x8b\xd0\xb9 \xd0\xba\xd0\xbb\xd1\x8e\xd1\x87"
)
_PUBLIC_WORD = re.compile(
    rb"(?i)hash|tx|transaction|\bsha|root|block|digest|topic|signature|commit|public|checksum|address|cache|etag|\bid\b"
)


def is_private_key(text: bytes, start: int, end: int) -> bool:
    """Say whether 64 hex digits (or a long base 58 text) are called a private key: transaction hashes look the same.

    The word stands before the value on its line, or on the line above when the value begins its line.
    """
    before = line_before(text, start)
    last = max((found.end() for found in _PRIVATE_WORD.finditer(before)), default=-1)
    return last >= 0 and not _PUBLIC_WORD.search(before, last)


_KEY_BYTES_WORD = re.compile(
    rb"(?i)priv(?:ate)?[ _-]?key|secret|key ?pair|keypair|id\.json|solana|wallet|signer|seed|from_?bytes|private"
)


def is_key_bytes(text: bytes, start: int, end: int) -> bool:
    """Say whether 64 numbers are bytes that are called a key, as Solana's command line writes its key file."""
    if any(int(number) > 255 for number in re.findall(rb"[0-9]+", text[start:end])):
        return False
    return near(_KEY_BYTES_WORD, text, start, end, before=120, after=0)


def is_bitcoin_wif(text: bytes, start: int, end: int) -> bool:
    """Say whether the text is a Bitcoin private key in wallet import format: version byte, length and checksum."""
    number = 0
    for byte in text[start:end]:
        number = number * 58 + BASE58.index(byte)
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return len(data) in (37, 38) and data[0] in (0x80, 0xEF) and double_sha256(data[:-4])[:4] == data[-4:]


def is_bitcoin_key(text: bytes, start: int, end: int) -> bool:
    """Say whether the text is a Bitcoin private key: by its checksum or, as a typing error leaks too, by its name."""
    return is_bitcoin_wif(text, start, end) or is_private_key(text, start, end)


_EXCHANGE = re.compile(
    rb"(?i)binance|bybit|okx|okex|kraken|coinbase|kucoin|bitfinex|bitget|bitmex|bitstamp|deribit|gemini|alpaca|"
    rb"gate\.?io|huobi|htx\b|mexc|hyperliquid|dydx|phemex|poloniex|bittrex|bithumb|upbit|woo ?x|exchange|broker"
)
_PUBLIC_KEY_NAME = re.compile(rb"(?i)(?:public|cache|sort|partition|primary)[ _-]?key\W*$")


def is_exchange_key(text: bytes, start: int, end: int) -> bool:
    """Say whether a key-like value belongs to an exchange that is named nearby."""
    if (
        text.startswith(b"0x", start)
        or not is_token(text, start, end)
        or _PUBLIC_KEY_NAME.search(text[max(0, start - 32) : start])
    ):
        return False
    return near(_EXCHANGE, text, start, end, before=120, after=60)


# ---- phrases of words, BIP-39

_PHRASE_SIZES = (12, 15, 18, 21, 24)
_PHRASE_WORD = re.compile(
    rb"(?i)seed|recover|mnemonic|backup|restore|wallet|phrase|secret|bip-?39|ledger|trezor|metamask|"
    rb"semilla|palabras|wiederherstell|r\xc3\xa9cup\xc3\xa9ration|\xe5\x8a\xa9\xe8\xae\xb0\xe8\xaf\x8d"
)
_WORD = re.compile(rb"\\[nrt]|([A-Za-z]+)")


@cache
def _places() -> Mapping[str, int]:
    from mnemonic import Mnemonic  # late: takes longer to import than everything here

    return MappingProxyType({word: place for place, word in enumerate(Mnemonic("english").wordlist)})


def phrase_words() -> tuple[str, ...]:
    """Return the 2,048 English words of BIP-39, in order."""
    return tuple(_places())


def is_seed_phrase(text: bytes, start: int, end: int) -> bool:
    """Say whether words of BIP-39 are a seed phrase: by its checksum, or by what they are called.

    A run of words may begin before the phrase and go on behind it. A run longer than any phrase is several of them, or
    else a word list, whose words are in order.
    """
    found = _WORD.findall(text[start : min(end, start + 1024)])
    places = [place for word in found if (place := _places().get(word.decode().lower())) is not None]
    if len(places) > max(_PHRASE_SIZES):
        return any(later <= earlier for earlier, later in pairwise(places))
    if near(_PHRASE_WORD, text, start, end, before=CONTEXT_BYTES, after=0):
        return True
    bits = reduce(lambda number, place: number << 11 | place, places, 0)
    return any(
        _has_phrase_checksum(bits >> 11 * behind & (1 << 11 * size) - 1, size)
        for size in _PHRASE_SIZES
        for behind in range(len(places) - size + 1)
    )


def _has_phrase_checksum(bits: int, words: int) -> bool:
    """BIP-39: eleven bits a word; of every 33 bits the last one is of the SHA-256 of the others."""
    check_bits = words // 3
    entropy = (bits >> check_bits).to_bytes(words * 4 // 3, "big")
    return hashlib.sha256(entropy).digest()[0] >> 8 - check_bits == bits & (1 << check_bits) - 1
