"""How the secrets of the corpus are drawn: shapes that the vendors publish, every character of them random.

`mark()` puts a secret between two characters of the private use area, so that it can be found again behind whatever a
layout does to the text.
"""

import base64
import hashlib
import json
import string
from collections.abc import Callable
from random import Random
from urllib.parse import quote

from mnemonic import Mnemonic

OPEN, CLOSE = "\ue000", "\ue001"

DIGITS, LOWER, UPPER = string.digits, string.ascii_lowercase, string.ascii_uppercase
ALNUM = DIGITS + LOWER + UPPER
HEX = DIGITS + "abcdef"
URLSAFE = ALNUM + "-_"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE32 = UPPER + "234567"

Draw = Callable[[Random], str]

_WORDS = Mnemonic("english")


def mark(secret: str) -> str:
    """Label a secret inside of a text."""
    return OPEN + secret + CLOSE


def draw(rng: Random, count: int, alphabet: str = ALNUM) -> str:
    """Draw so many characters."""
    return "".join(rng.choices(alphabet, k=count))


def shaped(*parts: str | tuple[int, str]) -> Draw:
    """Return what draws a token: literal parts, and (count, alphabet) for random ones."""
    return lambda rng: mark("".join(part if isinstance(part, str) else draw(rng, *part) for part in parts))


def one_of(*draws: Draw) -> Draw:
    """Return what draws one of several shapes."""
    return lambda rng: rng.choice(draws)(rng)


def password_of(rng: Random, count: int = 14) -> str:
    """Draw a password as a generator of passwords does: letters, digits and a few signs."""
    first = [rng.choice(LOWER), rng.choice(UPPER), rng.choice(DIGITS), rng.choice("!#*_+.-")]
    rest = first + list(draw(rng, count - len(first), ALNUM + "!#*_+.-"))
    rng.shuffle(rest)
    # A value that ends with a full stop or begins with a sign could not be told from the sentence around it.
    return rng.choice(ALNUM) + "".join(rest) + rng.choice(ALNUM)


def base58(data: bytes) -> str:
    """Encode in base58."""
    number, out = int.from_bytes(data, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        out = BASE58[rest] + out
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + out


def base58check(data: bytes) -> str:
    """Encode in base58 with a checksum."""
    return base58(data + hashlib.sha256(hashlib.sha256(data).digest()).digest()[:4])


def base64url(data: bytes) -> str:
    """Encode as JWT does."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(rng: Random) -> str:
    """Draw a signed token."""
    head = {"alg": rng.choice(["HS256", "RS256", "ES256"]), "typ": "JWT"}
    body = {"sub": draw(rng, 10, DIGITS), "iat": rng.randint(1_600_000_000, 1_800_000_000), "scope": "trade"}
    pieces = [base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (head, body)]
    return mark(".".join([*pieces, base64url(rng.randbytes(rng.choice([32, 64, 256])))]))


def pem(rng: Random) -> str:
    """Draw a block with a private key; the label is its body."""
    label, start, count = rng.choice(
        [
            ("RSA ", b"\x30\x82\x04\xa4\x02\x01\x00", 1180),
            ("EC ", b"\x30\x77\x02\x01\x01\x04\x20", 114),
            ("", b"\x30\x2e\x02\x01\x00\x30\x05", 41),
            ("OPENSSH ", b"openssh-key-v1\0", 380),
            ("ENCRYPTED ", b"\x30\x82\x05\x2d", 1300),
        ]
    )
    data = base64.b64encode(start + rng.randbytes(count)).decode()
    body = "\n".join(data[at : at + 64] for at in range(0, len(data), 64))
    return f"-----BEGIN {label}PRIVATE KEY-----\n{mark(body)}\n-----END {label}PRIVATE KEY-----"


def database_url(rng: Random) -> str:
    """Draw a URL of a database with a password."""
    scheme, port = rng.choice(
        [
            ("postgresql", 5432),
            ("postgresql+asyncpg", 5432),
            ("postgres", 6432),
            ("mysql", 3306),
            ("mssql+pyodbc", 1433),
            ("mongodb+srv", 0),
            ("redis", 6379),
            ("rediss", 6380),
            ("amqp", 5672),
            ("clickhouse", 9000),
        ]
    )
    user = "" if scheme.startswith("redis") else rng.choice(["trader", "app_user", "svc-ledger"])
    host = f"{rng.choice(['db', 'cache', '10.0.3.7', 'cluster0'])}.internal" + (f":{port}" if port else "")
    return f"{scheme}://{user}:{mark(quote(password_of(rng, rng.randint(8, 20)), safe=''))}@{host}/market"


def url_userinfo(rng: Random) -> str:
    """Draw a URL with a user and a password."""
    user, host = rng.choice(["bot", "ci-deploy", "quant"]), rng.choice(["feeds.example.net", "git.example.org:8443"])
    return f"https://{user}:{mark(draw(rng, rng.randint(12, 32)))}@{host}/v1/candles?symbol=BTC-USD"


def url_query(rng: Random) -> str:
    """Draw a URL with a key among its parameters."""
    name = rng.choice(["api_key", "apikey", "access_token", "token", "key", "apiToken", "client_secret", "signature"])
    secret = mark(draw(rng, rng.choice([32, 40, 64]), rng.choice([ALNUM, HEX])))
    rest = ["symbol=ETHUSDT", f"timestamp={rng.randint(10**12, 2 * 10**12)}"]
    rest.insert(rng.randint(0, 2), f"{name}={secret}")
    return f"https://api.example.com/v3/order?{'&'.join(rest)}"


def presigned_url(rng: Random) -> str:
    """Draw a presigned URL of a cloud; the label is its signature."""
    if rng.random() < 0.5:
        sig = quote(base64.b64encode(rng.randbytes(32)).decode(), safe="")
        return f"https://acct7.blob.core.windows.net/logs/a.zst?sv=2024-11-04&sr=b&se=2027-01-01&sp=r&sig={mark(sig)}"
    return (
        "https://logs.s3.eu-west-1.amazonaws.com/a.zst?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=3600"
        f"&X-Amz-SignedHeaders=host&X-Amz-Signature={mark(draw(rng, 64, HEX))}"
    )


def dsn(rng: Random) -> str:
    """Draw a connection string that is no URL."""
    secret = mark(password_of(rng))
    return rng.choice(
        [
            f"host=db.internal port=5432 user=app password={secret} dbname=market",
            f"Server=tcp:sql7.internal,1433;Database=market;User Id=app;Password={secret};Encrypt=true;",
            f"Driver={{ODBC Driver 18}};Server=sql7;UID=app;PWD={secret};",
        ]
    )


def azure_storage(rng: Random) -> str:
    """Draw a connection string of a storage account."""
    key = base64.b64encode(rng.randbytes(64)).decode()
    return f"DefaultEndpointsProtocol=https;AccountName=acct7;AccountKey={mark(key)};EndpointSuffix=core.windows.net"


def slack_webhook(rng: Random) -> str:
    """Draw an incoming webhook of Slack."""
    team, app = draw(rng, 10, UPPER + DIGITS), draw(rng, 10, UPPER + DIGITS)
    return f"https://hooks.slack.com/services/T{team}/B{app}/{mark(draw(rng, 24))}"


def discord_webhook(rng: Random) -> str:
    """Draw a webhook of Discord."""
    return f"https://discord.com/api/webhooks/{draw(rng, 18, '123456789')}/{mark(draw(rng, 68, URLSAFE))}"


def basic(rng: Random) -> str:
    """Draw the value of a header for basic authentication."""
    return "Basic " + mark(base64.b64encode(f"quant:{password_of(rng, 16)}".encode()).decode())


def bearer(rng: Random) -> str:
    """Draw the value of a header with an opaque token."""
    return "Bearer " + mark(draw(rng, rng.choice([32, 43, 64]), rng.choice([ALNUM, URLSAFE, HEX])) + "x")


def cookie(rng: Random) -> str:
    """Draw the value of a header with a session."""
    return f"sessionid={mark(draw(rng, 32))}"


def mnemonic(rng: Random) -> str:
    """Draw a recovery phrase with a valid checksum."""
    return _WORDS.to_mnemonic(rng.randbytes(rng.choice([16, 20, 24, 28, 32])))


def wif(rng: Random) -> str:
    """Draw a Bitcoin key as wallets export it."""
    return mark(base58check(b"\x80" + rng.randbytes(32) + (b"\x01" if rng.random() < 0.7 else b"")))


def xprv(rng: Random) -> str:
    """Draw an extended private key."""
    return mark(base58check(b"\x04\x88\xad\xe4" + b"\0" * 9 + rng.randbytes(32) + b"\0" + rng.randbytes(32)))


def solana_array(rng: Random) -> str:
    """Draw a Solana key as its command line keeps it."""
    return f"[{mark(','.join(str(byte) for byte in rng.randbytes(64)))}]"


def luhn(digits: str) -> str:
    """Append the check digit."""
    total = sum(sum(divmod(int(digit) * (2 - at % 2), 10)) for at, digit in enumerate(reversed(digits)))
    return digits + str(-total % 10)


def card_digits(rng: Random) -> str:
    """Draw the number of a card."""
    start, count = rng.choice([("4", 16), ("51", 16), ("2223", 16), ("37", 15), ("6011", 16), ("4", 16), ("55", 16)])
    return luhn(start + draw(rng, count - len(start) - 1, DIGITS))


def card_spaced(rng: Random) -> str:
    """Draw the number of a card in groups."""
    number = card_digits(rng)
    sizes = [4, 6, 5] if len(number) == 15 else [4, 4, 4, 4]
    groups = [number[sum(sizes[:at]) : sum(sizes[: at + 1])] for at in range(len(sizes))]
    return mark(rng.choice([" ", "-"]).join(groups))


def iban(rng: Random) -> str:
    """Draw an account number with a valid checksum."""
    country, count, letters = rng.choice([("DE", 18, 0), ("FR", 23, 0), ("ES", 20, 0), ("GB", 18, 4), ("NL", 14, 4)])
    account = draw(rng, letters, UPPER) + draw(rng, count - letters, DIGITS)
    number = "".join(str(int(char, 36)) for char in f"{account}{country}00")
    whole = f"{country}{98 - int(number) % 97:02d}{account}"
    return mark(" ".join(whole[at : at + 4] for at in range(0, len(whole), 4)) if rng.random() < 0.5 else whole)


def ssn(rng: Random) -> str:
    """Draw a number that could have been given out, leaving out 000, 666 and 9xx."""
    area = rng.choice([rng.randint(1, 665), rng.randint(667, 899)])
    return mark(f"{area:03d}-{rng.randint(1, 99):02d}-{rng.randint(1, 9999):04d}")


def phone(rng: Random) -> str:
    """Draw a number as people write it."""
    area, mid, last = rng.randint(201, 989), rng.randint(201, 989), f"{rng.randint(0, 9999):04d}"
    return mark(
        rng.choice(
            [
                f"+1 {area} {mid} {last}",
                f"+1-{area}-{mid}-{last}",
                f"({area}) {mid}-{last}",
                f"+1{area}{mid}{last}",
                f"+44 20 7{mid} {last}",
                f"+49 30 {area}{last}",
                f"+33 6 {mid % 90 + 10} 44 {last[:2]} {last[2:]}",
            ]
        )
    )


def email(rng: Random) -> str:
    """Draw an address."""
    first, last = rng.choice(["mira", "jonas", "li.wei", "ana", "o.petrov"]), rng.choice(["kessler", "sato", "ruiz"])
    host = rng.choice(["gmail.com", "desk.example.co.uk", "quant-fund.io", "posteo.de", "mail.example.org"])
    return mark(f"{first}{rng.choice(['.', '_', '+', ''])}{last}{rng.randint(1, 99)}@{host}")


def hex_key(rng: Random) -> str:
    """Draw an Ethereum key, with and without 0x."""
    return mark(rng.choice(["0x", "0x", ""]) + draw(rng, 64, HEX))
