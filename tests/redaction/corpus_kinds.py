"""The kinds of secrets in the corpus: how each is drawn, what people call it, and which layouts it can stand in."""

import base64
from dataclasses import dataclass

from tests.redaction import corpus_draws as draws
from tests.redaction.corpus_draws import (
    ALNUM,
    BASE32,
    DIGITS,
    HEX,
    LOWER,
    UPPER,
    URLSAFE,
    Draw,
    base58,
    mark,
    one_of,
    password_of,
    shaped,
)


@dataclass(frozen=True)
class Kind:
    """A kind of secret.

    Attributes:
        name: Of the kind.
        family: Which layouts it can stand in.
        draw: Draws a text in which the secret is marked.
        words: What people call it.
        names: Names of variables, fields and options that hold it.
        header: A header that carries it.
    """

    name: str
    family: str
    draw: Draw
    words: str = ""
    names: tuple[str, ...] = ()
    header: str = ""


def _tokens() -> list[Kind]:
    """Tokens that a prefix gives away, wherever they stand."""
    shapes: dict[str, tuple[str, Draw]] = {
        "openai": (
            "OpenAI API key",
            one_of(
                shaped("sk-proj-", (74, URLSAFE), "T3BlbkFJ", (74, URLSAFE)),
                shaped("sk-", (20, ALNUM), "T3BlbkFJ", (20, ALNUM)),
                shaped("sk-svcacct-", (74, URLSAFE), "T3BlbkFJ", (74, URLSAFE)),
            ),
        ),
        "anthropic": ("Anthropic key", shaped("sk-ant-api03-", (93, URLSAFE), "AA")),
        "google_ai": ("Gemini API key", shaped("AIza", (35, URLSAFE))),
        "groq": ("Groq key", shaped("gsk_", (52, ALNUM))),
        "huggingface": ("Hugging Face token", shaped("hf_", (34, LOWER + UPPER))),
        "openrouter": ("OpenRouter key", shaped("sk-or-v1-", (64, HEX))),
        "xai": ("xAI key", shaped("xai-", (80, ALNUM))),
        "perplexity": ("Perplexity key", shaped("pplx-", (48, ALNUM))),
        "replicate": ("Replicate token", shaped("r8_", (37, ALNUM))),
        "langsmith": ("LangSmith key", shaped("lsv2_pt_", (32, HEX), "_", (10, HEX))),
        "nvidia": ("NVIDIA key", shaped("nvapi-", (64, URLSAFE))),
        "aws_access_key_id": ("AWS access key id", one_of(shaped("AKIA", (16, BASE32)), shaped("ASIA", (16, BASE32)))),
        "google_oauth": (
            "Google OAuth secret",
            one_of(shaped("GOCSPX-", (28, URLSAFE)), shaped("ya29.", (120, URLSAFE))),
        ),
        "azure_client_secret": ("Azure client secret", shaped((3, ALNUM), "8Q~", (34, ALNUM + "_-."))),
        "digitalocean": ("DigitalOcean token", shaped("dop_v1_", (64, HEX))),
        "vault": ("Vault token", shaped("hvs.", (92, URLSAFE))),
        "github": (
            "GitHub token",
            one_of(
                shaped("ghp_", (36, ALNUM)),
                shaped("gho_", (36, ALNUM)),
                shaped("ghs_", (36, ALNUM)),
                shaped("github_pat_", (22, ALNUM), "_", (59, ALNUM)),
            ),
        ),
        "gitlab": ("GitLab token", shaped("glpat-", (20, URLSAFE))),
        "npm": ("npm token", shaped("npm_", (36, ALNUM))),
        "pypi": ("PyPI token", shaped("pypi-AgEIcHlwaS5vcmc", (130, URLSAFE))),
        "slack": (
            "Slack token",
            one_of(
                shaped("xoxb-", (12, DIGITS), "-", (13, DIGITS), "-", (24, ALNUM)),
                shaped("xoxp-", (11, DIGITS), "-", (12, DIGITS), "-", (13, DIGITS), "-", (32, HEX)),
                shaped("xapp-1-A", (10, UPPER + DIGITS), "-", (13, DIGITS), "-", (64, HEX)),
            ),
        ),
        "telegram": ("Telegram bot token", shaped((10, "123456789"), ":AA", (33, URLSAFE))),
        "discord": ("Discord bot token", shaped("MT", (24, ALNUM), ".G", (5, ALNUM), ".", (38, URLSAFE))),
        "sendgrid": ("SendGrid key", shaped("SG.", (22, URLSAFE), ".", (43, URLSAFE))),
        "stripe": ("Stripe key", one_of(shaped("sk_live_", (24, ALNUM)), shaped("rk_live_", (99, ALNUM)))),
        "stripe_webhook": ("Stripe webhook secret", shaped("whsec_", (32, ALNUM))),
        "square": ("Square token", one_of(shaped("sq0csp-", (43, URLSAFE)), shaped("sq0atp-", (22, URLSAFE)))),
        "shopify": ("Shopify token", shaped("shpat_", (32, HEX))),
        "jwt": ("session JWT", draws.jwt),
        "xprv": ("extended private key", draws.xprv),
    }
    fields = {"aws_access_key_id": "aws_access_key_id", "jwt": "id_token", "xprv": "master_private_key"}
    return [
        Kind(name, "token", how, words, (fields.get(name, name + "_token"),)) for name, (words, how) in shapes.items()
    ]


def _named() -> list[Kind]:
    """Values that only their name gives away."""
    aws = shaped((40, ALNUM + "/+"))
    wide, half = shaped((64, ALNUM)), shaped((32, HEX))
    secret64 = one_of(lambda rng: mark(base64.b64encode(rng.randbytes(64)).decode()), wide)
    human: Draw = lambda rng: mark(password_of(rng, rng.randint(10, 20)))  # noqa: E731
    eth = ("eth_private_key", "private_key", "PRIVATE_KEY", "wallet_private_key", "signer_key")
    return [
        Kind("aws_secret", "named", aws, "AWS secret access key", ("aws_secret_access_key", "secret_access_key")),
        Kind(
            "aws_session",
            "named",
            shaped("IQoJb3JpZ2luX2Vj", (320, ALNUM + "/+")),
            "AWS session token",
            ("aws_session_token",),
        ),
        Kind("cohere", "named", shaped((40, ALNUM)), "Cohere API key", ("cohere_api_key", "co_api_key")),
        Kind("mistral", "named", shaped((32, ALNUM)), "Mistral API key", ("mistral_api_key",)),
        Kind("azure_openai", "named", half, "Azure OpenAI key", ("azure_openai_api_key",), "api-key"),
        Kind("twilio", "named", half, "Twilio auth token", ("twilio_auth_token", "auth_token")),
        Kind(
            "api_key",
            "named",
            one_of(shaped((32, ALNUM)), shaped((24, URLSAFE), "q7")),
            "API key",
            ("api_key", "apikey", "x_api_key"),
        ),
        Kind(
            "access_token",
            "named",
            shaped((43, URLSAFE), "Z"),
            "access token",
            ("access_token", "refresh_token", "auth_token"),
        ),
        Kind(
            "client_secret",
            "named",
            shaped((40, ALNUM)),
            "client secret",
            ("client_secret", "app_secret", "signing_secret"),
        ),
        Kind("password", "named", human, "password", ("password", "db_password", "passwd", "smtp_password")),
        Kind(
            "encryption_key",
            "named",
            shaped((44, ALNUM + "+/")),
            "encryption key",
            ("encryption_key", "secret_key", "jwt_secret"),
        ),
        Kind("eth_key", "named", draws.hex_key, "Ethereum private key", eth),
        Kind("btc_wif", "named", draws.wif, "Bitcoin private key", ("btc_private_key", "wif", "private_key")),
        Kind(
            "sol_key",
            "named",
            lambda rng: mark(base58(b"\x07" + rng.randbytes(63))),
            "Solana private key",
            ("solana_private_key", "private_key"),
        ),
        Kind(
            "binance_secret",
            "named",
            wide,
            "Binance API secret",
            ("binance_api_secret", "binance_secret_key"),
            "X-MBX-APIKEY",
        ),
        Kind("binance_key", "named", wide, "Binance API key", ("binance_api_key",), "X-MBX-APIKEY"),
        Kind(
            "kraken", "named", secret64, "Kraken private key", ("kraken_private_key", "kraken_api_secret"), "API-Sign"
        ),
        Kind(
            "coinbase",
            "named",
            secret64,
            "Coinbase API secret",
            ("coinbase_api_secret", "cb_api_secret"),
            "CB-ACCESS-SIGN",
        ),
        Kind("bybit", "named", shaped((36, ALNUM)), "Bybit API secret", ("bybit_api_secret",), "X-BAPI-SIGN"),
        Kind(
            "okx_passphrase",
            "named",
            human,
            "OKX API passphrase",
            ("okx_passphrase", "api_passphrase"),
            "OK-ACCESS-PASSPHRASE",
        ),
    ]


def _others() -> list[Kind]:
    """Kinds with a shape of their own around the secret."""
    sign: Draw = lambda rng: mark(base64.b64encode(rng.randbytes(32)).decode())  # noqa: E731
    key, uuid = shaped((24, HEX)), shaped((8, HEX), "-", (4, HEX), "-4", (3, HEX), "-a", (3, HEX), "-", (12, HEX))
    phrase: Draw = lambda rng: mark(password_of(rng, 12))  # noqa: E731
    carried: dict[str, Draw] = {
        "X-MBX-APIKEY": shaped((64, ALNUM)),
        "CB-ACCESS-KEY": uuid,
        "CB-ACCESS-SIGN": sign,
        "CB-ACCESS-PASSPHRASE": phrase,
        "OK-ACCESS-KEY": uuid,
        "OK-ACCESS-SIGN": sign,
        "OK-ACCESS-PASSPHRASE": phrase,
        "API-Key": shaped((56, ALNUM + "+/")),
        "API-Sign": lambda rng: mark(base64.b64encode(rng.randbytes(64)).decode()),
        "X-BAPI-API-KEY": shaped((18, ALNUM)),
        "X-BAPI-SIGN": shaped((64, HEX)),
        "KC-API-KEY": key,
        "KC-API-SIGN": sign,
        "KC-API-PASSPHRASE": phrase,
        "APCA-API-SECRET-KEY": shaped((40, ALNUM)),
        "X-Api-Key": shaped((40, ALNUM)),
    }
    headers = [Kind("header_" + name.lower(), "header", how, header=name) for name, how in carried.items()]
    return [
        *headers,
        Kind("bearer", "header", draws.bearer, header="Authorization"),
        Kind("basic", "header", draws.basic, header="Authorization"),
        Kind("cookie", "header", draws.cookie, header="Cookie"),
        Kind("database_url", "url", draws.database_url, "database", ("database_url", "broker_url", "dsn")),
        Kind("url_userinfo", "url", draws.url_userinfo, "feed", ("feed_url", "base_url", "remote")),
        Kind("url_query", "url", draws.url_query, "endpoint", ("url", "endpoint", "request_url")),
        Kind("presigned_url", "url", draws.presigned_url, "download link", ("url", "download_url")),
        Kind("dsn", "url", draws.dsn, "connection string", ("connection_string", "dsn")),
        Kind("azure_storage", "url", draws.azure_storage, "connection string", ("connection_string",)),
        Kind("slack_webhook", "url", draws.slack_webhook, "webhook", ("webhook_url",)),
        Kind("discord_webhook", "url", draws.discord_webhook, "webhook", ("webhook_url",)),
        Kind("pem", "pem", draws.pem, "private key", ("private_key", "signing_key")),
        Kind(
            "solana_array",
            "array",
            draws.solana_array,
            "Solana keypair",
            ("keypair", "secret_key", "solana_private_key"),
        ),
        Kind("bip39", "phrase", draws.mnemonic, "seed phrase", ("mnemonic", "seed_phrase", "recovery_phrase")),
        Kind(
            "card",
            "personal",
            lambda rng: mark(draws.card_digits(rng)),
            "card number",
            ("card_number", "credit_card", "pan"),
        ),
        Kind("card_spaced", "personal_bare", draws.card_spaced, "card", ("card_number", "payment")),
        Kind("iban", "personal_bare", draws.iban, "IBAN", ("iban", "account")),
        Kind("ssn", "personal", draws.ssn, "social security number", ("ssn", "social_security_number")),
        Kind("phone", "personal_bare", draws.phone, "phone", ("phone", "mobile", "contact")),
        Kind("email", "personal_bare", draws.email, "e-mail", ("email", "user", "contact")),
    ]


def kinds() -> list[Kind]:
    """Return every kind of the corpus."""
    return [*_tokens(), *_named(), *_others()]
