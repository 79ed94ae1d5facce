"""What looks like a secret to somebody in a hurry, and is none: ids, hashes, numbers, code, data, prose.

Every entry draws a text without a single secret in it.
"""

import base64
import json
import uuid
from collections.abc import Callable
from random import Random

from tests.redaction.corpus_draws import ALNUM, DIGITS, HEX, UPPER, base58, draw

Negative = Callable[[Random], str]

PAIRS = ("BTC-USD", "ETHUSDT", "SOL/USDC", "EUR_USD", "XRP-PERP", "AAPL")


def a_uuid(rng: Random) -> str:
    """Draw a UUID."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def price(rng: Random) -> str:
    """Draw a price as exchanges and people write it."""
    value = rng.uniform(0.0001, 90000)
    return rng.choice([f"{value:.2f}", f"{value:,.2f}", f"{value:.8f}", f"${value:,.0f}", f"{value:.3e}"])


def candles(rng: Random) -> str:
    """Market data."""
    rows = [
        [rng.randint(16 * 10**11, 18 * 10**11), *(round(rng.uniform(40000, 60000), 2) for _ in range(5))]
        for _ in range(rng.randint(3, 12))
    ]
    return json.dumps({"symbol": rng.choice(PAIRS), "interval": "1h", "candles": rows})


def numbers(rng: Random) -> str:
    """Rows of numbers."""
    sep = rng.choice([" ", ", ", " | ", "\t", "; "])
    return "\n".join(sep.join(price(rng) for _ in range(8)) for _ in range(4))


def times(rng: Random) -> str:
    """Times in seconds, milliseconds, microseconds and nanoseconds."""
    moment = rng.randint(1_500_000_000, 1_900_000_000)
    return (
        f"ts={moment} ms={moment}{draw(rng, 3, DIGITS)} us={moment}{draw(rng, 6, DIGITS)} "
        f"ns={moment}{draw(rng, 9, DIGITS)} "
        f"at 2026-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}T09:15:0{rng.randint(0, 9)}.{draw(rng, 6, DIGITS)}Z"
    )


def orders(rng: Random) -> str:
    """Ids of orders and trades."""
    return (
        f"order {draw(rng, rng.choice([10, 12, 16, 18, 19]), DIGITS)} filled, trade {draw(rng, 9, DIGITS)}, "
        f"client id x-{draw(rng, 18)}, clOrdId={draw(rng, 32)}, orderId: {a_uuid(rng)}, "
        f"ref {draw(rng, 8, UPPER + DIGITS)}"
    )


def order_json(rng: Random) -> str:
    """An order of an exchange."""
    return json.dumps(
        {
            "orderId": int("1" + draw(rng, 15, DIGITS)),
            "clientOrderId": draw(rng, 22),
            "price": price(rng),
            "origQty": f"{rng.uniform(0, 5):.8f}",
            "type": "LIMIT",
            "transactTime": rng.randint(16 * 10**11, 18 * 10**11),
        }
    )


def git(rng: Random) -> str:
    """What git says."""
    sha = draw(rng, 40, HEX)
    return (
        f"commit {sha}\nAuthor: Mira K\n\n    Rename key to name in the cache ({sha[:7]})\n"
        f"index {draw(rng, 7, HEX)}..{draw(rng, 7, HEX)} 100644\nmerge {draw(rng, 40, HEX)} into main"
    )


def digests(rng: Random) -> str:
    """Checksums."""
    sri = base64.b64encode(rng.randbytes(64)).decode()
    return (
        f"sha256:{draw(rng, 64, HEX)}\nmd5 {draw(rng, 32, HEX)}  a.zst\n"
        f'"integrity": "sha512-{sri}"\n--hash=sha256:{draw(rng, 64, HEX)}\nETag: "{draw(rng, 32, HEX)}"'
    )


def transactions(rng: Random) -> str:
    """Hashes of transactions and addresses."""
    return rng.choice(
        [
            "tx 0x{h} from 0x{a} to 0x{b} in block {n}",
            "https://etherscan.io/tx/0x{h}",
            '{{"hash": "0x{h}", "from": "0x{a}", "to": "0x{b}", "blockNumber": "0x12a4f3", "nonce": 7}}',
            "The signer 0x{a} sent 1.2 ETH; the transaction hash is 0x{h}.",
            "Your keys never leave the device. Transaction 0x{h} was confirmed.",
            "btc txid {h} paid bc1q{l} and 1{s}",
            "token contract 0x{a}, pool 0x{b}, topic 0x{h}",
            "block hash 0x{h}, state root 0x{g}",
        ]
    ).format(
        h=draw(rng, 64, HEX),
        g=draw(rng, 64, HEX),
        a=draw(rng, 40, HEX),
        b=draw(rng, 40, HEX),
        n=draw(rng, 8, "123456789"),
        l=draw(rng, 38, "acdefghjklmnpqrstuvwxyz023456789"),
        s=base58(b"\x01" + rng.randbytes(24))[:33],
    )


def solana(rng: Random) -> str:
    """Addresses and transactions of Solana, which look like its keys."""
    address, tx = base58(b"\x09" + rng.randbytes(31)), base58(b"\x05" + rng.randbytes(63))
    return rng.choice(
        [
            f"Mint {address} moved in tx {tx}",
            f"https://solscan.io/tx/{tx}",
            f'{{"mint": "{address}", "owner": "{base58(rng.randbytes(32))}", "decimals": 6, "tx": "{tx}"}}',
            f"public key {address}, program {base58(rng.randbytes(32))}",
        ]
    )


def images(rng: Random) -> str:
    """Pictures in base64."""
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n" + rng.randbytes(rng.randint(200, 1500))).decode()
    jpeg = base64.b64encode(b"\xff\xd8\xff\xe0" + rng.randbytes(800)).decode()
    return rng.choice(
        [
            f"![chart](data:image/png;base64,{png})",
            json.dumps({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{jpeg}"}}),
            json.dumps({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png}}),
        ]
    )


def data_base64(rng: Random) -> str:
    """Harmless text and bytes in base64."""
    text = base64.b64encode(
        f"The level to watch is {price(rng)} on the {rng.choice(PAIRS)} chart today.".encode()
    ).decode()
    return f"payload={text} checksum={base64.b64encode(rng.randbytes(16)).decode()} cursor={draw(rng, 24)}=="


def ids(rng: Random) -> str:
    """Ids of requests, sessions and models."""
    return (
        f"request_id=req_{draw(rng, 24)} session_id=ses_{draw(rng, 20)} trace_id={draw(rng, 32, HEX)} "
        f"span_id={draw(rng, 16, HEX)} id=chatcmpl-{draw(rng, 29)} msg_{draw(rng, 24)} toolu_{draw(rng, 24)} "
        f"idempotency_key={a_uuid(rng)} cache_key=candles:{rng.choice(PAIRS)}:1h call_{draw(rng, 24)}"
    )


def counts(rng: Random) -> str:
    """Counts of tokens, and names with harmless words in them."""
    a, b = rng.randint(1, 9000), rng.randint(1, 4000)
    return json.dumps(
        {
            "usage": {"prompt_tokens": a, "completion_tokens": b, "total_tokens": a + b},
            "max_tokens": 4096,
            "token": rng.choice(["ETH", "USDC", "PEPE"]),
            "token_address": "0x" + draw(rng, 40, HEX),
            "public_key": "0x04" + draw(rng, 128, HEX),
            "sort_key": "volume",
            "author": "desk-7",
            "key": "close",
            "password_min_length": 12,
            "token_type": "Bearer",
            "stop_sequence": None,
        }
    )


def versions(rng: Random) -> str:
    """Versions and names of models."""
    version = f"{rng.randint(0, 9)}.{rng.randint(0, 40)}.{rng.randint(0, 20)}"
    return (
        f"structlog=={version} python 3.11.{rng.randint(0, 9)} gpt-4o-2024-08-06 claude-sonnet-4-5-20250929 "
        f"gemini-2.5-flash-preview-05-20 node@{version} v{version}-rc.1+build.{draw(rng, 7, HEX)} "
        f"10.0.{rng.randint(0, 255)}.7 "
        f"linux-x86_64 llama-3.3-70b-versatile arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0"
    )


def placeholders(rng: Random) -> str:
    """What stands in the place of a secret."""
    name = rng.choice(["api_key", "token", "password", "client_secret", "OPENAI_API_KEY", "private_key"])
    return rng.choice(
        [
            f'{name} = "YOUR_API_KEY"',
            f'{name}="<your-{name.lower().replace("_", "-")}>"',
            f"{name}=${{{name.upper()}}}",
            f"export {name.upper()}=$VAULT_{name.upper()}",
            f'{name} = os.environ["{name.upper()}"]',
            f"{name}=os.getenv('{name.upper()}', '')",
            f"{name}: process.env.{name.upper()},",
            f'{name}="xxxxxxxxxxxxxxxxxxxxxxxx"',
            f"{name}: ********",
            f"{name}=settings.{name.lower()}.get_secret_value()",
            f"{name}=SecretStr('**********')",
            f"{name}: !vault secret/data/bot#{name}",
            f'"{name}": null',
            f'"{name}": ""',
            f'"{name}": {{"type": "string", "description": "The {name} of the account"}}',
            f"{name} = getpass.getpass('{name}: ')",
            f"{name}: {{{{ .Values.{name} }}}}",
            f"{name} = [REDACTED]",
            "sk-... or sk-ant-...",
            "Authorization: Bearer <token>",
            "Authorization: Bearer $TOKEN",
            "postgresql://user:${DB_PASSWORD}@localhost:5432/market",
            "redis://localhost:6379/0",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        ]
    )


def python_code(rng: Random) -> str:
    """Python with those words."""
    return rng.choice(
        [
            "def login(user: str, password: str | None = None, api_key: SecretStr | None = None) -> Session:\n    ...",
            "tokens = tokenizer.encode(text, add_special_tokens=False)\nfor token in tokens: print(token)",
            "rows.sort(key=lambda row: row['close'])\nsecret_santa = random.choice(names)",
            "if token == 'ETH' and key in cache: return cache[key]",
            "password = hash_password(form.password.data)\nassert verify(password, user.password_hash)",
            "key = f'{symbol}:{interval}'; token = next(stream); secret = vault.read(path)",
            "class Config:\n    api_key: str\n    password_file: Path = Path('/run/secrets/db')",
            "self._token = token\nself.key = key\nself.api_key = api_key or self._read_api_key()",
            "raise ValueError('password must have at least 12 characters')",
            "headers = {'Authorization': f'Bearer {token}', 'X-Api-Key': self.key}",
            "private_key = ec.generate_private_key(ec.SECP256K1())",
            "account = Account.from_key(os.environ['PRIVATE_KEY'])\nsigned = account.sign_transaction(tx)",
        ]
    )


def other_code(rng: Random) -> str:
    """JavaScript, SQL, schemas and shells with those words."""
    return rng.choice(
        [
            "interface Auth { token: string; apiKey?: string; password: string | null }",
            "const { apiKey, secret } = await loadKeys(config.path);",
            "CREATE TABLE users (id bigint primary key, email text, password_hash text not null, api_key uuid);",
            "SELECT key, token, count(*) FROM tokens WHERE secret IS NULL GROUP BY key, token;",
            "Object.keys(tokens).forEach((key) => console.log(key, tokens[key].symbol));",
            '{"type": "object", "properties": {"password": {"type": "string"}}, "required": ["token"]}',
            "ssh-keygen -t ed25519 -f key && chmod 600 key",
            "read -s PASSWORD && export PASSWORD && ./bot --password-file /run/secrets/pw --token-env BOT_TOKEN",
            "@media screen { .key { color: #a1b2c3 } .token { width: 100% } }",
            "kubectl create secret generic bot-secret --from-file=password.txt -n trading",
            "npm install @ethersproject/wallet@5.7.0 bip39@3.1.0 tweetnacl@1.0.3",
            "secretKeyRef:\n  name: bot-credentials\n  key: api-key",
        ]
    )


def urls(rng: Random) -> str:
    """URLs without a secret."""
    return rng.choice(
        [
            "https://api.example.com/v3/klines?symbol=BTCUSDT&interval=1h&limit=500&startTime={t}",
            "https://example.com/docs/api-key-management#rotate-token",
            "https://example.com/search?q=secret+token+key&page=2&sort_key=date",
            "wss://stream.example.com:9443/ws/btcusdt@trade",
            "https://cdn.example.com/a/{h}/chart.png?v={t}",
            "http://user-service:8080/tokens/{u}?key=close",
            "s3://logs-bucket/llm/2026/03/04/{u}.ndjson.zst",
        ]
    ).format(t=rng.randint(16 * 10**11, 18 * 10**11), h=draw(rng, 40, HEX), u=a_uuid(rng))


def tables(rng: Random) -> str:
    """Numbers in groups, as tables and reports have them."""
    groups = [draw(rng, 4, "123456789") for _ in range(4)]
    return (
        f"volume {groups[0]} {groups[1]} {groups[2]}\nRSI(14) 62.5 MACD +1.25e-3 funding -0.0100% (24h) +12,345.67\n"
        f"strikes {groups[0]}-{groups[1]}, spread 4521-4523, ratio 1:2.5, range 44,800-45,900, "
        f"id {draw(rng, 11, DIGITS)}\n"
        f"isbn 978-3-16-14841{rng.randint(0, 9)}-0 zip 9021{rng.randint(0, 9)} 2026-03-04/2026-04-05 score 110-98"
    )


def traceback(rng: Random) -> str:
    """A traceback without a secret."""
    return (
        "Traceback (most recent call last):\n"
        f'  File "/usr/lib/python3.11/site-packages/openai/_client.py", line {rng.randint(100, 1500)}, in _request\n'
        "    raise self._make_status_error_from_response(err.response) from None\n"
        "openai.AuthenticationError: Error code: 401 - {'error': {'message': 'You did not provide an API key. You need "
        "to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).', "
        "'type': 'invalid_request_error', 'param': None, 'code': None}}\n"
        f"KeyError: 'token_{rng.randint(1, 99)}'"
    )


PROSE = {
    "english": (
        "The key level is {p}; the secret is discipline.",
        "Reset your password if the password is missing. Passwords need at least 12 characters.",
        "The token unlock on Monday adds {p} tokens to the supply, which is the key risk.",
        "Never paste your private key or seed phrase into a chat; no exchange asks for your password.",
        "An API key is required: create the key in the settings, then store the secret in a vault.",
        "Secret ballots, open keys and a token gesture: the author writes about all of them.",
        "Each token costs {p} and the context has room for 128,000 tokens.",
    ),
    "german": (
        "Der Schlüssel zum Erfolg ist Geduld, das Passwort steht im Tresor.",
        "Ein Token kostet {p}; das Geheimnis liegt in der Position, nicht im Signal.",
        "Das Passwort muss mindestens zwölf Zeichen haben, sagte die Bank.",
        "Token: der Begriff ist mehrdeutig. Secret: ebenso.",
    ),
    "french": (
        "La clé du succès est la patience ; le mot de passe est oublié.",
        "Le token vaut {p} ce matin, c'est un secret de polichinelle.",
        "Votre mot de passe doit contenir douze caractères et une clé API reste privée.",
    ),
    "spanish": (
        "La clave es esperar; la contraseña se cambia cada noventa días.",
        "El token subió hasta {p} y el secreto es no tener prisa.",
        "Su clave privada nunca sale del dispositivo, según el fabricante.",
    ),
    "russian": (
        "Ключ к успеху — терпение, а пароль нужно менять каждый месяц.",
        "Токен вырос до {p}, и это ни для кого не секрет.",
        "Приватный ключ хранится на устройстве и никогда его не покидает.",
    ),
    "chinese": (
        "关键价位是{p},秘密在于纪律。",
        "请重置密码:密码至少需要十二个字符。",
        "代币(token)价格为{p},密钥(key)保存在设备中。",
    ),
    "japanese": (
        "鍵は忍耐です。トークンの価格は{p}でした。",
        "パスワードは十二文字以上にしてください。秘密はありません。",
    ),
}


def prose_in(language: str) -> Negative:
    """Return what draws sentences in a language."""
    return lambda rng: " ".join(sentence.format(p=price(rng)) for sentence in rng.sample(PROSE[language], 2))


NEGATIVES: dict[str, Negative] = {
    **{
        made.__name__: made
        for made in (candles, numbers, times, orders, order_json, git, digests, transactions, solana, images)
    },
    **{made.__name__: made for made in (data_base64, ids, counts, versions, placeholders, python_code, other_code)},
    **{made.__name__: made for made in (urls, tables, traceback)},
    **{f"prose in {language}": prose_in(language) for language in PROSE},
}
"""What draws a text without a secret, by what it is."""

FILLERS: tuple[Negative, ...] = (candles, numbers, times, orders, git, versions, tables, *map(prose_in, PROSE))
"""What stands around secrets: nothing that the words beside a secret could make look like one."""

__all__ = ["ALNUM", "FILLERS", "NEGATIVES", "Negative"]
