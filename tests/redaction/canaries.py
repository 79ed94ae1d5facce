"""Secrets of every kind, made at run time, and the search for what is left of them.

A secret is drawn anew for every place in which it is planted, so that one which turns up somewhere names the place that
it came through. It is looked for whole and in pieces, as it is and as JSON, repr(), URL and base64 write it.
"""

import base64
import json
import random
import string
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from urllib.parse import quote

from mnemonic import Mnemonic

ALNUM = string.ascii_letters + string.digits
HEX = string.digits + "abcdef"
BASE64 = ALNUM + "+/"
DENIED_NAME = "account_id"
"""The tests give it as `deny_keys`."""

FRAGMENT_CHARS = 12
"""So much of a secret gives it away; a shorter secret counts as a whole."""

_SEED_CHARS = 6  # a piece of 11 characters or more has these whole at a multiple of six, wherever it stands

_ANYWHERE = ("anywhere", "any position")
_WORDS = Mnemonic("english")
_PEM_LABEL = "RSA " + "PRIVATE" + " KEY-----"


@dataclass(frozen=True)
class Kind:
    """A kind of secret.

    Attributes:
        name: Of the kind.
        make: Draws a secret.
        around: The text that it stands in; `{}` is the secret.
        key: Name under which it stands in a mapping; "" where the name says nothing.
        value: How it stands there.
        piece_chars: So much of it gives it away.
    """

    name: str
    make: Callable[[random.Random], str]
    around: str
    key: str = ""
    value: str = "{}"
    piece_chars: int = FRAGMENT_CHARS

    def text(self, secret: str) -> str:
        """Return the secret in a text."""
        return self.around.replace("{}", secret)

    def pair(self, secret: str) -> tuple[str, str]:
        """Return the secret as a name and a value."""
        return (self.key, self.value.replace("{}", secret)) if self.key else ("note", self.text(secret))


@dataclass(frozen=True)
class Canary:
    """One planted secret.

    Attributes:
        secret: The part of the text that must not be seen.
        kind: Name of its kind.
        entry: Entry point through which it goes.
        position: Where in the input it is.
        shown: Whether it would be written if nothing redacted it; False where structllm never writes the place.
        piece_chars: So much of it gives it away.
    """

    secret: str
    kind: str
    entry: str
    position: str
    shown: bool
    piece_chars: int = FRAGMENT_CHARS

    @property
    def place(self) -> str:
        """What a report says of it."""
        return f"{self.entry} / {self.position} / {self.kind}"


def _chars(alphabet: str, length: int, prefix: str = "") -> Callable[[random.Random], str]:
    return lambda rng: prefix + _body(rng, alphabet, length)


def _body(rng: random.Random, alphabet: str, length: int) -> str:
    """Return characters that look as random as they are: with each sort of them that the alphabet has."""
    sorts = [
        sort for sort in (string.digits, string.ascii_lowercase, string.ascii_uppercase) if set(sort) & set(alphabet)
    ]
    while True:
        body = "".join(rng.choices(alphabet, k=length))
        if all(set(sort) & set(body) for sort in sorts):
            return body


def _jwt(rng: random.Random) -> str:
    parts = [
        {"alg": "HS256", "typ": "JWT", "kid": _body(rng, HEX, 8)},
        {"sub": _body(rng, ALNUM, 16), "exp": 1700000000},
    ]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join((*encoded, _body(rng, ALNUM + "_-", 43)))


def _basic(rng: random.Random) -> str:
    return base64.b64encode(f"agent{_body(rng, HEX, 6)}:{_body(rng, ALNUM, 14)}".encode()).decode()


def _phrase(rng: random.Random) -> str:
    return _WORDS.to_mnemonic(rng.randbytes(16))


def _card(rng: random.Random) -> str:
    body = "4" + _body(rng, string.digits, 14)
    total = 0
    for index, digit in enumerate(reversed(body)):
        doubled = int(digit) * (2 if index % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    number = body + str(-total % 10)
    return " ".join(number[start : start + 4] for start in range(0, 16, 4))


def _iban(rng: random.Random) -> str:
    account = _body(rng, string.digits, 18)
    check = 98 - int(account + "1314" + "00") % 97  # D is 13 and E is 14
    return f"DE{check:02}{account}"


def _ssn(rng: random.Random) -> str:
    return f"{rng.choice([*range(100, 600), *range(700, 899)])}-{rng.randint(11, 99)}-{rng.randint(1001, 9999)}"


def _email(rng: random.Random) -> str:
    letters = string.ascii_lowercase
    return f"{_body(rng, letters, 7)}.{_body(rng, letters, 6)}@{_body(rng, letters, 9)}.com"


def _phone(rng: random.Random) -> str:
    return f"+1 {rng.choice((212, 303, 415, 617))}-{rng.randint(201, 989)}-{rng.randint(1001, 9999)}"


def _passphrase(rng: random.Random) -> str:
    return f"{_body(rng, string.ascii_lowercase, 9)} {_body(rng, string.ascii_lowercase, 8)}"


KINDS = (
    Kind("openai-key", _chars(ALNUM, 48, "sk-" + "proj-"), "use {} for the model"),
    Kind("anthropic-key", _chars(ALNUM, 93, "sk-" + "ant-api03-"), "Schlüssel: {}."),
    Kind("aws-access-key", _chars("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16, "AK" + "IA"), "as {} in eu-west-1"),
    Kind("aws-secret-key", _chars(BASE64, 40), "aws_secret_access_key = {}", "aws_secret_access_key"),
    Kind("github-token", _chars(ALNUM, 36, "gh" + "p_"), "git clone with {} please"),
    Kind("slack-token", _chars(string.digits, 24, "xo" + "xb-"), "post by {} now"),
    Kind("stripe-key", _chars(ALNUM, 24, "sk" + "_live_"), "charge with {} again"),
    Kind("jwt", _jwt, "logged in by {} as of today"),
    Kind(
        "pem",
        lambda rng: "\n".join(_body(rng, BASE64, 64) for _ in range(3)),
        f"-----BEGIN {_PEM_LABEL}\n{{}}\n-----END {_PEM_LABEL}",
    ),
    Kind("database-url", _chars(ALNUM, 16), "postgresql://agent:{}@db.internal:5432/trades"),
    Kind("basic", _basic, "Authorization: Basic {}", "Authorization", "Basic {}"),
    Kind("bearer", _chars(ALNUM, 40), "call it with bearer {} twice", "Authorization", "Bearer {}"),
    Kind("query-key", _chars(ALNUM, 32), "GET https://api.broker.test/v1/orders?symbol=BTC&api_key={}&limit=5"),
    Kind("assignment", _chars(HEX, 32), 'client_secret = "{}"', "client_secret"),
    Kind("password", _chars(ALNUM, 14), '{"password": "{}", "port": 5432}', "password"),
    Kind("ethereum-key", _chars(HEX, 64, "0x"), "private key: {}", "private_key"),
    # Two words of a phrase stand side by side in other texts as well.
    Kind("seed-phrase", _phrase, "the wallet's seed phrase: {}", "seed_phrase", piece_chars=24),
    Kind("exchange-header", _chars(ALNUM, 64), "X-MBX-APIKEY: {}", "X-MBX-APIKEY"),
    Kind("card", _card, "paid by card {} today", "card_number"),
    Kind("e-mail", _email, "write to {} about it"),
    Kind("phone", _phone, "call {} about it"),
    Kind("ssn", _ssn, "her SSN is {} by the way"),
    Kind("iban", _iban, "pay to {} now"),
)
"""The kinds that rules know by their looks or by what stands beside them."""

NAMED = (
    Kind("denied-name", _chars(string.digits, 14), f'{{"{DENIED_NAME}": "{{}}"}}', DENIED_NAME),
    Kind("passphrase", _passphrase, '{"passphrase": "{}"}', "passphrase"),
)
"""The kinds that are known by their name alone, whatever they look like."""


REGISTERED = Kind("registered-value", _chars(string.ascii_lowercase, 20), "and {} too")
"""Known because the program registered it."""

ENVIRONMENT = Kind("secret-of-the-environment", _chars(string.ascii_lowercase, 20), "or {} maybe")
"""Known because a variable of the environment holds it, under a name that says so."""

GIVEN = (REGISTERED, ENVIRONMENT)


class Canaries:
    """Plants secrets and finds what is left of them.

    Args:
        seed: Of the secrets.

    Attributes:
        given: Secrets by the name of their kind that are the same everywhere: the process knows them beforehand.
        planted: What was planted so far.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.given = {kind.name: kind.make(self._rng) for kind in GIVEN}
        self.planted: list[Canary] = []

    def secret(self, kind: Kind, entry: str, position: str, *, shown: bool = True) -> str:
        """Return a new secret, which is looked for from now on."""
        given = self.given.get(kind.name)
        secret = given or kind.make(self._rng)
        # One that is the same everywhere does not tell where it came through.
        place = (entry, position) if given is None else _ANYWHERE
        self.planted.append(Canary(secret, kind.name, *place, shown, kind.piece_chars))
        return secret

    def to_json(self) -> str:
        """Return what was planted."""
        return json.dumps([asdict(canary) for canary in self.planted])


def forms(secret: str) -> Iterator[str]:
    """Yield the secret as it is written in various places; of base64, what does not depend on the surroundings."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(json.dumps(secret)[1:-1])[1:-1]
    yield repr(secret)[1:-1]
    yield quote(secret, safe="")
    data = secret.encode()
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + data).decode()
        whole = encoded[4 if shift else 0 : len(encoded) // 4 * 4 - 4]
        yield whole
        yield whole.replace("+", "-").replace("/", "_")
    yield data.hex()


class Search:
    """Looks for secrets and their pieces; what several secrets have in common, such as a prefix, gives none away.

    Args:
        planted: What to look for.
    """

    def __init__(self, planted: Iterable[Canary]) -> None:
        self._pieces: dict[str, Canary | None] = {}
        for canary in planted:
            for piece in _pieces(canary):
                before = self._pieces.setdefault(piece, canary)
                if before is not None and before.secret != canary.secret:
                    self._pieces[piece] = None
        self._sizes = sorted({len(piece) for piece in self._pieces})
        self._seeds = {piece[at : at + _SEED_CHARS] for piece in self._pieces for at in range(_SEED_CHARS)}

    def found_in(self, text: str) -> dict[str, str]:
        """Return the places whose secrets are in a text, each with the piece that was found and what is around it."""
        found: dict[str, str] = {}
        for line in set(text.split("\n")):
            # A piece begins, or has its second half begin, at one of these positions or up to a seed's length before.
            for near in range(0, len(line), _SEED_CHARS):
                if line[near : near + _SEED_CHARS] not in self._seeds:
                    continue
                for start in range(max(0, near - _SEED_CHARS), near + 1):
                    for size in self._sizes:
                        canary = self._pieces.get(line[start : start + size])
                        if canary is not None:
                            found.setdefault(canary.place, line[max(0, start - 60) : start + size + 20])
        return found


def _pieces(canary: Canary) -> set[str]:
    size = min(canary.piece_chars, len(canary.secret))
    written = set(forms(canary.secret))
    return {form[start : start + size] for form in written for start in range(len(form) - size + 1)}
