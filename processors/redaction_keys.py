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
    """May be a secret (`token`, `signature`): a text that looks random goes."""
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
# Anywhere in a name, one right after the other.
_DENIED_PAIRS = frozenset(
    tuple(pair.split("_"))
    for pair in _list(
        "api_key api_keys api_secret api_token api_sign api_passphrase bapi_sign access_key access_keys access_token "
        "access_sign auth_key auth_token private_key private_keys priv_key signing_key encryption_key master_key "
        "account_key shared_key ssh_key hmac_key refresh_token bearer_token session_token security_token id_token "
        "bot_token seed_phrase seed_words recovery_phrase recovery_words pass_word pass_phrase"
    )
)
# These turn a name into a statement about the secret.
_ABOUT_FIRST = _list("has have is no use uses num total max min require requires needs")
_ABOUT_LAST = _list(
    "length len count name names type present required valid enabled disabled ttl expiry expires expired age policy "
    "version status env var field file url uri path arn at in"
)
_SUSPECT_LAST = _list("token signature")
_SUSPECT_NAMES = _list("key auth jwt pass sign sig")
_NOT_SUSPECT = _list("next page prev previous continuation eos bos pad unk stop mask special")


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

    def judge(self, name: str) -> Verdict:
        """Say what the name says about its value."""
        words = words_of(name)
        if any(_contains(words, denied) for denied in self._deny):
            return Verdict.DENIED
        if not words or words in self._allow or words[0] in _ABOUT_FIRST or words[-1] in _ABOUT_LAST:
            return Verdict.OPEN
        if not _DENIED_WORDS.isdisjoint(words) or any(pair in _DENIED_PAIRS for pair in pairwise(words)):
            return Verdict.DENIED
        if len(words) == 1 and words[0] in _SUSPECT_NAMES:
            return Verdict.SUSPECT
        if words[-1] in _SUSPECT_LAST and _NOT_SUSPECT.isdisjoint(words):
            return Verdict.SUSPECT
        return Verdict.OPEN


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
