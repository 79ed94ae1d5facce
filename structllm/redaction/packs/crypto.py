"""Keys of wallets and exchanges. Transaction hashes look like keys: only context or a checksum tells them apart."""

from structllm.redaction import checks
from structllm.redaction.checks.wallets import phrase_words
from structllm.redaction.packs.examples import BASE58, BASE64, HEX, body, uuid
from structllm.redaction.packs.shapes import EDGE, format_rule
from structllm.redaction.rule import Rule, Sample

_SEED_WORDS = "abandon ability able about above absent absorb abstract absurd abuse access accident"
_TEST_PHRASE = "abandon " * 11 + "about"  # its checksum is right
_BYTES = ",".join(str(ord(char)) for char in body(64))

# The words themselves, twelve in a row or more: no prose has that, and so it costs no Python. Any eight-letter words
# instead would hit every page.
_PHRASE_GAP = r"""(?:\\+[nrt"']|[0-9]:|[^A-Za-z\\:=]){1,10}"""
_PHRASE_WORDS = "(?:" + "|".join(phrase_words()) + ")"

CRYPTO = (
    Rule(
        "wallet-private-key",
        # Base 58 only behind its word: to count 88 characters of it everywhere makes RE2 four times slower on base64.
        EDGE + r"((?:0x)?[0-9a-fA-F]{64})\b|(?i:key|secret|signer)[^\n]{0,40}?\b([1-9A-HJ-NP-Za-km-z]{87,88})\b",
        (
            Sample("0x" + body(64, HEX), "private key: {}"),
            Sample(body(64, HEX), 'Account.from_key("{}")'),
            Sample(body(88, BASE58), "solana keypair {}"),
        ),
        (
            "tx hash 0x" + body(64, HEX),
            "private key rotated, see transaction 0x" + body(64, HEX),
            "sha256:" + body(64, HEX),
            "address 0x" + body(40, HEX),
        ),
        checks.is_private_key,
    ),
    Rule(
        "wallet-key-bytes",  # Solana's key file: 64 numbers
        r"(\[\s{0,4}(?:[0-9]{1,3}\s{0,4},\s{0,4}){63}[0-9]{1,3}\s{0,4}\])",
        (
            Sample(f"[{_BYTES}]", "solana id.json: {}"),
            Sample(f"[{_BYTES}]".replace(",", ", "), "Keypair.from_bytes(secret_key={})"),
        ),
        ("rsi: [" + ",".join(["55"] * 64) + "]", "wallet: [1, 2, 3]", "secret [" + ",".join(["455"] * 64) + "]"),
        checks.is_key_bytes,
    ),
    Rule(
        "bitcoin-wif",
        EDGE + r"([5KL9c][1-9A-HJ-NP-Za-km-z]{50,51})\b",
        (
            Sample(checks.base58check(b"\x80" + bytes(range(32))).decode()),
            Sample(checks.base58check(b"\x80" + bytes(range(32)) + b"\x01").decode()),
        ),
        ("5" + body(50, BASE58), "K" + body(51, BASE58)),
        checks.is_bitcoin_key,
    ),
    format_rule(
        "extended-private-key",
        r"[tuvxyz]prv[1-9A-HJ-NP-Za-km-z]{100,}",
        "x" + "prv" + body(107, BASE58),
        misses=("xpub" + body(107, BASE58), "xprv is secret"),
    ),
    Rule(
        "seed-phrase",
        rf"(?i){EDGE}({_PHRASE_WORDS}(?:{_PHRASE_GAP}{_PHRASE_WORDS}){{11,}})\b",
        (
            Sample(_TEST_PHRASE),
            Sample(_TEST_PHRASE.upper(), "restore: {}"),
            Sample("\n".join(f"{place}. {word}" for place, word in enumerate(_TEST_PHRASE.split(), 1))[3:], "1. {}"),
            Sample(_SEED_WORDS, "seed phrase: {}"),
            Sample(_SEED_WORDS.replace(" ", '", "'), '{"mnemonic": ["{}"]}'),
        ),
        (
            _TEST_PHRASE.replace("about", "abandon"),
            "above abandon level, about to absorb selling; abstract signals absurd, access denied",
        ),
        checks.is_seed_phrase,
    ),
    Rule(
        "named-seed-phrase",  # with a misspelt word, or in another language
        r"""(?i)(?:seed|recovery|mnemonic|backup|secret|bip-?39)(?:[ _-]?(?:phrase|words?|mnemonic))?\\*["'`]?[ \t]*"""
        r"""(?:is|are|[:=])\s*\\*["'`]?((?:[a-z]{3,8}[ ,]{1,2}){11,23}[a-z]{3,8})\b""",
        (Sample(_SEED_WORDS, "seed phrase: {}"), Sample(_SEED_WORDS, '{"mnemonic": "{}"}')),
        ("seed: 42", "recovery: the market may turn", "the seed phrase is never stored"),
    ),
    Rule(
        "exchange-key",
        r"""(?i)(?:key|secret|passphrase|sign(?:ature)?)\\*["'`]?(?: (?:for|on|of) [a-z.]+)?(?: is| was)?"""
        r"""[ \t]*[:= ][ \t]*\\*["'`]?([A-Za-z0-9+/=_-]{16,})""",
        (
            Sample(body(64), "Binance key {} for the bot"),
            Sample(body(56, BASE64), "the key for Kraken is {}"),
            Sample(uuid(), 'OKX: {"key": "{}"}'),
        ),
        ("Binance key levels 45000", "Kraken public_key=" + body(40), "cache key: " + body(20), "key = value"),
        checks.is_exchange_key,
    ),
)
