"""Which names hold secrets: judged by the words in a name, never by a substring.

`apiKey`, `X-MBX-APIKEY` and `client_secret` hold a secret whatever their value looks like; `total_tokens`, `monkey`,
`author` and `public_key` do not, although `token`, `key` and `auth` are in them.
"""

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import pairwise

from structllm.errors import ConfigError

Words = tuple[str, ...]


class Verdict(Enum):
    """What the name of a value says about it."""

    OPEN = "open"
    """Nothing: the value is scanned like any other."""
    SUSPECT = "suspect"
    """May be a secret (`token`, `signature`): a text that looks random goes, also inside a list or dict."""
    CARD = "card"
    """May be a payment card: digits that pass Luhn go, as text and as a number, also inside a list or dict."""
    DENIED = "denied"
    """A secret: the value goes whole, whatever it is."""


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")


def _list(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Anywhere in a name.
_DENIED_WORDS = _list(
    "password passwords passwd pwd passphrase passphrases passcode secret secrets credential credentials authorization "
    "cookie cookies mnemonic mnemonics apikey apisecret apitoken privatekey privkey accesstoken authtoken"
)
# A word that ends so was written without a separator: pgpassword, clientsecret, secretkey.
_DENIED_ENDING = re.compile(
    r"(?:password|passwd|passphrase|passcode|pwd|secret|credential|(?:api|access|auth|refresh|bearer|session|bot)token"
    r"|(?:api|access|secret|private|signing|encryption|master|auth|hmac|ssh)key)s?$"
)
# Whose `pass` is a password: db_pass, smtpPass, userpass. The pass of anything else may be a second or a boarding pass.
PASS_OWNER = (
    "account|admin|amqp|api|app|basic|broker|client|database|db|email|exchange|ftp|http|https|imap|ldap|login|mail|mongo|"
    "mq|my|mysql|pg|postgres|proxy|rabbitmq|redis|root|service|smtp|sql|ssh|sudo|svc|user|wallet|web"
)
_PASS_OWNERS = frozenset(PASS_OWNER.split("|"))
_GLUED_PASS = re.compile(rf"(?:{PASS_OWNER})pass")
# Anywhere in a name, one right after the other. A plural counts as well.
_DENIED_PAIRS = frozenset(
    tuple(pair.split("_"))
    for pair in _list(
        "api_key api_secret api_token api_sign api_passphrase bapi_sign access_key access_token "
        "access_sign auth_key auth_token private_key priv_key signing_key encryption_key master_key "
        "account_key shared_key ssh_key hmac_key refresh_token bearer_token session_token security_token id_token "
        "bot_token seed_phrase seed_words recovery_phrase recovery_words pass_word pass_phrase"
    )
)
DENIED_NAMES: tuple[Words, ...] = (*sorted((word,) for word in _DENIED_WORDS), *sorted(_DENIED_PAIRS))
"""What names that hold secrets have in them, as words in order. Names found so are judged as a whole."""

# These turn a name into a statement about the secret.
_ABOUT_FIRST = _list("has have is no use uses num total max min require requires needs")
_ABOUT_LAST = _list(
    "length len count name names type present required valid enabled disabled ttl expiry expires expired age policy "
    "version status env var field file url uri path arn at in"
)
_SUSPECT_LAST = _list("token signature pass")
_SUSPECT_NAMES = _list("key auth jwt pass sign sig")
_NOT_SUSPECT = _list("next page prev previous continuation eos bos pad unk stop mask special")
# Counts of an LLM session; a list of texts under such a name is left to scanning.
_COUNTED_PAIRS = frozenset({("session", "tokens"), ("id", "tokens")})
_CARD_WORDS = _list("pan cardnumber creditcard debitcard ccnumber cardno")
_CARD_PAIRS = frozenset(
    tuple(pair.split("_"))
    for pair in _list(
        "card_number card_no card_num card_nr credit_card debit_card payment_card bank_card cc_number cc_num"
    )
)
_CARD_NAMES = _list("card cc")
# Inside `token: {...}`, names that tell about the token and do not hold it.
_DESCRIBING_LAST = _list(
    "symbol chain network address model provider issuer description label created updated issued id"
)


def words_of(name: str) -> Words:
    """Return the lower-case words of a name in camelCase, snake_case, kebab-case or with spaces."""
    return tuple(word.lower() for word in _WORD.findall(name))


class KeyRules:
    """Judges names. Stateless after construction.

    Args:
        deny_keys: More names that hold secrets; each also denies longer names that contain its words in order, so that
            `account_id` denies `brokerAccountId`.
        allow_keys: Names that hold none although the built-in rules say so; they count as a whole. `deny_keys` wins.

    Raises:
        ConfigError: An entry has no letter or digit.
    """

    def __init__(self, deny_keys: Sequence[str] = (), allow_keys: Sequence[str] = ()) -> None:
        self._deny = _compile("deny_keys", deny_keys)
        self._allow = frozenset(_compile("allow_keys", allow_keys))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyRules) and (self._deny, self._allow) == (other._deny, other._allow)

    def __hash__(self) -> int:
        return hash((self._deny, self._allow))

    @property
    def denied(self) -> tuple[Words, ...]:
        """The names that the settings deny, as words in order."""
        return self._deny

    def denies_itself(self, name: str) -> bool:
        """Say whether the settings deny a name, and not the built-in rules alone."""
        words = words_of(name)
        return any(_contains(words, denied) for denied in self._deny)

    def judge(self, name: str) -> Verdict:
        """Say what the name says about its value."""
        return _judge(words_of(name), self._deny, self._allow)

    def describes(self, name: str) -> bool:
        """Say whether a name inside a value that may be a secret only tells about it: `expires_at`, `symbol`."""
        words = words_of(name)
        return words in self._allow or (
            bool(words) and (words[0] in _ABOUT_FIRST or words[-1] in _ABOUT_LAST or words[-1] in _DESCRIBING_LAST)
        )


def _judge(words: Words, deny: Iterable[Words], allow: frozenset[Words]) -> Verdict:
    if any(_contains(words, denied) for denied in deny):
        return Verdict.DENIED
    if not words or words in allow or words[0] in _ABOUT_FIRST or words[-1] in _ABOUT_LAST:
        return Verdict.OPEN
    if _is_denied(words):
        return Verdict.DENIED
    if _is_card(words):
        return Verdict.CARD
    if len(words) == 1 and words[0] in _SUSPECT_NAMES:
        return Verdict.SUSPECT
    if words[-1] in _SUSPECT_LAST and _NOT_SUSPECT.isdisjoint(words):
        return Verdict.SUSPECT
    return Verdict.OPEN


def _is_denied(words: Words) -> bool:
    if not _DENIED_WORDS.isdisjoint(words) or any(_is_denied_pair(pair) for pair in pairwise(words)):
        return True
    if any(_DENIED_ENDING.search(word) for word in words):
        return True
    *before, last = words
    return (last == "pass" and not _PASS_OWNERS.isdisjoint(before[-1:])) or _GLUED_PASS.fullmatch(last) is not None


def _is_denied_pair(pair: Words) -> bool:
    return pair in _DENIED_PAIRS or (
        pair[1][-1] == "s" and pair not in _COUNTED_PAIRS and (pair[0], pair[1][:-1]) in _DENIED_PAIRS
    )


def _is_card(words: Words) -> bool:
    if len(words) == 1 and words[0] in _CARD_NAMES:
        return True
    return not _CARD_WORDS.isdisjoint(words) or any(pair in _CARD_PAIRS for pair in pairwise(words))


def _compile(setting: str, names: Iterable[str]) -> tuple[Words, ...]:
    if isinstance(names, str):
        raise ConfigError(f"redaction.{setting}: give a list of names, not one text")
    compiled = tuple(words_of(name) for name in names)
    if () in compiled:
        position = compiled.index(()) + 1
        raise ConfigError(f"redaction.{setting}: entry {position} has no letter or digit; remove it or name a key")
    return compiled


def _contains(words: Words, part: Words) -> bool:
    size = len(part)
    return any(words[start : start + size] == part for start in range(len(words) - size + 1))
