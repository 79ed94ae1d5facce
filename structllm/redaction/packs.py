"""The rules: what secrets and personal data look like, as data, each with its own examples.

A rule is an RE2 pattern and, where the shape alone does not decide, a check of `checks`. Its `matches` must
be redacted exactly and its `misses` left alone; a rule without examples does not exist. Patterns follow the formats
that vendors publish. Order is rank: where spans of several rules overlap, the marker names the first of them, so the
specific come before the general.

Examples that look like keys are put together when this module is loaded: no line of it holds anything that a secret
scanner would report.
"""

from collections.abc import Mapping

from structllm.redaction import checks
from structllm.redaction.keys import PASS_OWNER
from structllm.redaction.rule import Rule, Sample

_LOWER = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_HEX = _DIGITS + "abcdef"
_ALNUM = _DIGITS + _LOWER + _LOWER.upper()
_URL_SAFE = _ALNUM + "_-"
_BASE64 = _ALNUM + "+/"
_BASE32 = _LOWER.upper() + "234567"
_BASE58 = "".join(char for char in _ALNUM if char not in "0OIl")


def _body(length: int, alphabet: str = _ALNUM) -> str:
    """Return random-looking characters, the same ones every time."""
    state = length
    chars: list[str] = []
    for _ in range(length):
        state = (state * 1103515245 + 12345) % 2**31
        chars.append(alphabet[(state >> 16) % len(alphabet)])
    return "".join(chars)


def _uuid() -> str:
    return "-".join(_body(size, _HEX) for size in (8, 4, 4, 4, 12))


def _pem(kind: str, *lines: str, end: bool = True) -> str:
    label = f"{kind} KEY-----"
    return "\n".join((f"-----BEGIN {label}", *lines, *([f"-----END {label}"] if end else [])))


# A key begins where a word begins, after `_`, or after an escape that ends in a letter: \n in JSON text, %3D in a URL,
# the colour of a terminal, whose first character may itself be escaped or lost.
_ESCAPE = r"%[0-9A-Fa-f]{2}|\\[bfnrt]|\\u[0-9A-Fa-f]{4}|\[[0-9;:]{0,16}[mKHJ]"
_EDGE = rf"(?:{_ESCAPE}|_|\b)"


def _format(id: str, body: str, *secrets: str, misses: tuple[str, ...]) -> Rule:
    """Return the rule of a key format that is recognised anywhere by its own prefix."""
    return Rule(id, f"{_EDGE}({body})", tuple(Sample(secret) for secret in secrets), misses, checks.is_no_filler)


def _long_format(id: str, body: str, *secrets: str, misses: tuple[str, ...], edged: str = "") -> Rule:
    """Return the rule of a format whose prefix is so long that it is also recognised inside a word.

    Args:
        id: Of the rule.
        body: What may stand inside a word.
        secrets: Examples.
        misses: Counterexamples.
        edged: More formats of the same vendor, too short for that.
    """
    pattern = f"({body})|{_EDGE}({edged})" if edged else f"({body})"
    return Rule(id, pattern, tuple(Sample(secret) for secret in secrets), misses, checks.is_key_anywhere, rescan=True)


# What stands between a name and its value: closing quote (JSON-escaped or not) or bracket, a type, and = : := => .=
_QUOTE = r"""(?:\\*["'`])?"""
_SPACE = r"(?:[ \t\x{a0}\x{2000}-\x{200b}\x{202f}\x{3000}]|\\+u(?:00a0|200[0-9ab]|202f|3000))*"
_TYPE = r"(?:[ \t]*:[ \t]*(?:str|string|String|bytes|SecretStr|Optional\[str\])(?: \| None)?)?"
_IS = _QUOTE + r"\]?" + _TYPE + _SPACE + r"(?:[:.]?=>?|[:\x{ff1a}\x{ff1d}]|\\+uff1[ad])" + _SPACE
_IN_QUOTES = r'"((?:[^"\\\n]|\\.)+)' + r"|'((?:[^'\\\n]|\\.)+)" + r"|`([^`\n]+)" + r"""|\\+["']((?:\\*[^"'\\\n])+)"""

# A list or an object that begins here and holds the value first: token: ["…"], "token": {"value": "…"}.
_WITHIN = r"""(?:[\[({]\s*(?:\\*["'`][a-z_]{1,24}\\*["'`][ \t]*:[ \t]*)?)?"""
_QUOTED = f"{_WITHIN}[bfru]{{0,2}}(?:{_IN_QUOTES})"

_PASSWORD_NAME = r"(?:pass(?:word|wd|phrase|code)|pwd|(?:" + PASS_OWNER + r")[_.-]?pass)"
_SECRET_NAME = (
    r"(?:secret|token|apikey|credentials?|(?:access|api|auth|bearer|bot|refresh)[_. -]?tokens|"
    r"(?:api|access|secret|private|signing|encryption|account|master|auth|hmac|ssh)[_. -]?keys?)"
)


def _pair(name: str) -> str:
    """Return the pattern of what stands for `name = value` in tuples, XML and command lines."""
    return (
        r"""(?i)\([bu]?\\*["'][a-z0-9_.-]{0,32}"""
        + name
        + r"""\\*["'][ \t]*,[ \t]*[bfru]{0,2}\\*["']((?:\\*[^"'\\\n])+)\\*["'][ \t]*,?[ \t]*\)"""
        + r"|<[a-z0-9_:.-]{0,32}"
        + name
        + r"(?: [^<>\n]{0,80})?>\s*([^<>\s][^<>\n]*)</"
        + r"|--?[a-z-]{0,32}"
        + name
        + r"""[ \t]+(?:"([^"\n]+)"|'([^'\n]+)'|["']?([^\s"'`«»“”„<>\\-][^\s"'`«»“”„<>\\]*))"""
    )


# Printable ASCII without quotes, brackets and what separates values. Not written as [^…]: under (?i) a range beyond
# ASCII takes k and s along, which U+212A and U+017F fold to.
_HEADER = r"[!#$%&*+./0-9:=?@A-Z^_a-z{|}~-]"

_MODEL_KEYS = (
    _long_format(
        "anthropic-key",
        r"sk-ant-[A-Za-z0-9_-]{16,}",
        "sk-" + "ant-" + "api03-" + _body(93, _URL_SAFE) + "AA",
        misses=("sk-ant-...", "the sk-ant- prefix"),
    ),
    _long_format(
        "openrouter-key",
        r"sk-or-(?:v[0-9]-)?[A-Za-z0-9]{16,}",
        "sk-" + "or-v1-" + _body(64, _HEX),
        misses=("sk-or-swim",),
    ),
    _long_format(
        "langfuse-key",
        r"sk-lf-[0-9a-f-]{16,}",
        "sk-" + "lf-" + _uuid(),
        misses=("pk-lf-public",),
    ),
    _long_format(
        "openai-key",
        r"sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{16,}",
        "sk-" + _body(20) + "T3Blbk" + "FJ" + _body(20),
        "sk-" + "proj-" + _body(74, _URL_SAFE) + "T3Blbk" + "FJ" + _body(74, _URL_SAFE),
        "sk-" + "svcacct-" + _body(60, _URL_SAFE),
        "sk-" + _body(32, _HEX),
        misses=(
            "sk-learn-is-a-nice-library-to-use",
            "task-" + _body(32, _HEX),
            "sk-" + "x" * 48,
            "risk-adjustedreturnsofthestrategy",
            "task-proj-estimate-of-quarter-2024",
        ),
        edged="sk-[A-Za-z0-9]{20,}",
    ),
    _format(
        "google-key",
        r"AIza[0-9A-Za-z_-]{30,}|GOCSPX-[0-9A-Za-z_-]{20,}|ya29\.[0-9A-Za-z_-]{20,}",
        "AI" + "za" + _body(35, _URL_SAFE),
        "GOC" + "SPX-" + _body(28, _URL_SAFE),
        "ya" + "29." + _body(120, _URL_SAFE),
        misses=("AIza is the prefix", "AIzawa Tokyo"),
    ),
    _long_format("groq-key", r"gsk_[A-Za-z0-9]{20,}", "gs" + "k_" + _body(52), misses=("gsk_model",)),
    _format("xai-key", r"xai-[A-Za-z0-9]{40,}", "x" + "ai-" + _body(80), misses=("xai-grok-beta",)),
    _format("huggingface-token", r"hf_[A-Za-z0-9]{30,}", "h" + "f_" + _body(34), misses=("hf_hub_download",)),
    _format("replicate-token", r"r8_[A-Za-z0-9]{30,}", "r" + "8_" + _body(37), misses=("r8_register",)),
    _long_format("perplexity-key", r"pplx-[A-Za-z0-9]{32,}", "pp" + "lx-" + _body(48), misses=("pplx-70b-online",)),
    _long_format(
        "nvidia-key", r"nvapi-[A-Za-z0-9_-]{40,}", "nv" + "api-" + _body(64, _URL_SAFE), misses=("nvapi-docs",)
    ),
    _long_format(
        "langsmith-key",
        r"lsv2_(?:pt|sk)_[0-9a-f]{32}(?:_[0-9a-f]+)?",
        "lsv2" + "_pt_" + _body(32, _HEX) + "_" + _body(10, _HEX),
        misses=("lsv2_pt_",),
    ),
)

_SERVICE_KEYS = (
    _format(
        "aws-access-key",
        r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16,}",
        "AK" + "IA" + _body(16, _BASE32),
        "AS" + "IA" + _body(16, _BASE32),
        misses=("AKIA is a prefix", "ASIA PACIFIC TRADING", "ASIAPACIFIC"),
    ),
    Rule(
        "aws-secret-key",
        r"(?i)(?:aws[_ .-]?secret|secret[_ .-]?access)(?:[_ .-]?access)?[_ .-]?key"
        r"[^A-Za-z0-9/+]{1,8}(?:is[^A-Za-z0-9/+]{1,4})?([A-Za-z0-9/+]{40,})",
        (
            Sample(_body(40, _BASE64), "aws_secret_access_key = {}"),
            Sample(_body(40, _BASE64), "The AWS secret key is {} in this account"),
        ),
        ("aws_secret_access_key = ${AWS_SECRET}", "sha1 " + _body(40, _HEX)),
    ),
    _long_format(
        "github-token",
        r"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}",
        "gh" + "p_" + _body(36),
        "gh" + "o_" + _body(36),
        "gh" + "s_" + _body(36),
        "github" + "_pat_" + _body(22) + "_" + _body(59),
        misses=("ghp_short", "github_pat_docs"),
    ),
    _long_format(
        "gitlab-token",
        r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|soat|agent)-[A-Za-z0-9_.-]{20,}|gloas-[0-9a-f]{40,}",
        "gl" + "pat-" + _body(20, _URL_SAFE),
        misses=("glpat-doc", "glft-file"),
    ),
    _format("npm-token", r"npm_[A-Za-z0-9]{36,}", "np" + "m_" + _body(36), misses=("npm_config_registry",)),
    _long_format(
        "pypi-token", r"pypi-AgE[A-Za-z0-9_-]{40,}", "py" + "pi-AgE" + _body(90, _URL_SAFE), misses=("pypi-AgEnt",)
    ),
    _long_format(
        "slack-token",
        r"xox[abcdeprs]-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,}",
        "xo" + "xb-" + _body(12, _DIGITS) + "-" + _body(13, _DIGITS) + "-" + _body(24),
        "xa" + "pp-1-A" + _body(10) + "-" + _body(13, _DIGITS) + "-" + _body(64, _HEX),
        misses=("xoxo-some-gossip-here", "xoxb-"),
    ),
    Rule(
        "chat-webhook",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/_+-]{20,})"
        r"|discord(?:app)?\.com/api/(?:v[0-9]+/)?webhooks/([0-9]{10,}/[A-Za-z0-9_-]{20,})",
        (
            Sample("T" + _body(8) + "/B" + _body(8) + "/" + _body(24), "https://hooks.slack.com/services/{}"),
            Sample(_body(18, "123456789") + "/" + _body(68), "https://discord.com/api/webhooks/{}"),
        ),
        ("https://hooks.slack.com/services/", "https://discord.com/api/webhooks"),
    ),
    Rule(
        "telegram-token",
        r"([0-9]{8,10}:AA[A-Za-z0-9_-]{30,})",
        (Sample(_body(10, "123456789") + ":" + "AA" + _body(33, _URL_SAFE), "https://api.telegram.org/bot{}/getMe"),),
        ("12345678:AAPL",),
    ),
    _long_format(
        "stripe-key",
        r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}",
        "sk" + "_live_" + _body(24),
        "rk" + "_live_" + _body(24),
        "wh" + "sec_" + _body(32),
        misses=("pk_live_" + _body(24), "sk_live_mode"),
    ),
    _long_format(
        "sendgrid-key",
        r"SG\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}",
        "S" + "G." + _body(22) + "." + _body(43),
        misses=("SG.MY.BANK",),
    ),
    _format(
        "service-token",  # DigitalOcean, Grafana, Linear, PlanetScale, Shopify, Doppler, Postman, New Relic, Pinecone
        r"do[opr]_v1_[0-9a-f]{40,}|gls?[ac]_[A-Za-z0-9+/=_]{30,}|lin_api_[A-Za-z0-9]{30,}|pscale_[a-z]+_[A-Za-z0-9_.-]{30,}"
        r"|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|dp\.[a-z]{2,7}\.[A-Za-z0-9]{40,}|PMAK-[0-9a-f]{24}-[0-9a-f]{34}"
        r"|NRAK-[A-Z0-9]{27}|pcsk_[A-Za-z0-9_]{30,}|tvly-[A-Za-z0-9-]{24,}|ntn_[A-Za-z0-9]{40,}|sntry[su]_[A-Za-z0-9+/=_]{40,}"
        r"|AGE-SECRET-KEY-1[A-Z0-9]{50,}|ops_eyJ[A-Za-z0-9+/=_-]{40,}",
        "do" + "p_v1_" + _body(64, _HEX),
        "gl" + "sa_" + _body(32) + "_" + _body(8, _HEX),
        "shp" + "at_" + _body(32, _HEX),
        "PM" + "AK-" + _body(24, _HEX) + "-" + _body(34, _HEX),
        "tv" + "ly-" + _body(32),
        misses=("lin_api_key_name", "dp.pt.example", "pscale_main_branch", "ntn_page"),
    ),
    _format(
        "databricks-token",
        r"dapi[0-9a-f]{32}(?:-[0-9])?",
        "da" + "pi" + _body(32, _HEX),
        misses=("dapi documentation",),
    ),
    _format("vault-token", r"hv[sb]\.[A-Za-z0-9_-]{24,}", "hv" + "s." + _body(90, _URL_SAFE), misses=("hvs.py",)),
)

_GENERAL = (
    _format(
        "jwt",
        r"eyJ[A-Za-z0-9_-]{8,}\.(?:eyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"
        r"|[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)|ZXlK[A-Za-z0-9+/_-]{40,}={0,2}",
        "ey" + "J" + _body(33) + ".ey" + "J" + _body(120, _URL_SAFE) + "." + _body(43, _URL_SAFE),
        "ey" + "J" + _body(33) + "." + _body(40) + "." + _body(16) + "." + _body(60) + "." + _body(22),
        "ZX" + "lK" + _body(96),
        misses=("eyJust a word. eyJust", "eyJhbGciOi.eyJ"),
    ),
    Rule(
        "bearer-token",
        "(?i)" + _EDGE + r"""bearer(?:[ \t:=+]|%20)+\\*["'`]?([A-Za-z0-9._~+/=-]{12,})""",
        (Sample(_body(40), "Bearer {}"), Sample(_body(32, _HEX), '{"auth": "bearer {}"}')),
        ("the bearer of this message", "bearer authentication-mechanism", "Bearer $ACCESS_TOKEN_123"),
        checks.is_token,
    ),
    Rule(
        "basic-credentials",
        _EDGE + r"(?:[Bb]asic|BASIC)(?: |%20)+([A-Za-z0-9+/]*[A-Z0-9][A-Za-z0-9+/]{5,}={0,2})",
        (Sample("dXNlcj" + "pwYXNz" + "d29yZDE=", "Authorization: Basic {}"),),
        ("Basic Understanding of markets", "basic information"),
        checks.is_basic_credentials,
    ),
    Rule(
        "auth-header",
        "(?i)"
        + _EDGE
        + r"""(?:authorization|x-(?:api-?key|auth-token|access-token|amz-security-token|goog-api-key|mbx-apikey)|"""
        r"""api-(?:key|sign)|apca-api-(?:key-id|secret-key)|(?:cb|ok)-access-(?:key|sign|passphrase)|"""
        r"""kc-api-(?:key|sign|passphrase)|x-bapi-(?:api-key|sign)|x-gemini-(?:apikey|signature))"""
        r"""\\*["'`]?\]?[ \t]*[:=,][ \t]*\\*["'`]?(""" + _HEADER + "+(?: " + _HEADER + "{6,})?)",
        (
            Sample("Bearer " + _body(24, _HEX), "Authorization: {}"),
            Sample("Token " + _body(40), '{"authorization": "{}"}'),
            Sample(_body(64), "X-MBX-APIKEY: {}"),
            Sample(_body(88, _BASE64), "{'API-Sign': '{}'}"),
            Sample(_body(24), "('x-api-key', '{}')"),
        ),
        ("Authorization: required", "authorization: Bearer token", "the api-key: none", "x-api-key: $API_KEY_1"),
        checks.is_token,
    ),
    Rule(
        "cookie-header",
        "(?i)"
        + _EDGE
        + r"""(?:set-)?cookie\\*["'`]?\]?[ \t]*[:=,][ \t]*\\*["'`]?([^\s=;"'`\\]{1,64}=[^"'`\\\r\n]{4,})""",
        (
            Sample("sid=" + _body(32) + "; theme=dark", "Cookie: {}\nHost: x"),
            Sample("s=" + _body(20), '{"set-cookie": "{}"}'),
        ),
        ("a cookie: small and sweet", "cookie=1"),
        checks.is_cookie,
    ),
    Rule(
        "url-password",
        r"""(?i)\b[a-z][a-z0-9+.-]+://[^\s/?#"'`<>:@]*:([^\s/?#"'`<>\\]+)@""",
        (
            Sample(_body(12), "postgresql://agent:{}@db.internal:5432/trades"),
            Sample("p@ss" + _body(6), "redis://:{}@localhost/0"),
        ),
        ("http://localhost:8080/a@b", "https://user@host/", "postgres://u:${DB_PASSWORD}@db/x", "amqp://u:***@mq"),
        checks.is_password,
    ),
    Rule(
        "url-query-key",
        r"""(?i)(?:[?&;]|\\u0026|%26|%3F)(?:[a-z0-9_.-]*(?:key|token|secret|password|passwd|passphrase|signature|credential)|"""
        r"""sig|auth|jwt)(?:=|%3D)([!$%()*+,./0-9:;=?@A-Z^_a-z{|}~-]{6,})""",
        (
            Sample(_body(39, _URL_SAFE), "https://host/v1/models?alt=sse&key={}"),
            Sample(_body(24), "GET /orders?token={}&symbol=BTC"),
            Sample(_body(64, _HEX), "https://api/order?symbol=BTCUSDT&signature={}"),
            Sample(_body(16), "/login?api_key={}#top"),
        ),
        ("https://dex/?token=0x" + _body(40, _HEX), "?sort_key=created", "/q?key=BTC-USD", "?next_token=${TOKEN1}"),
        checks.is_token,
    ),
    Rule(
        "password",
        "(?i)" + _PASSWORD_NAME + "(?:" + _IS + "(?:" + _QUOTED + r"""|([^\s"'`«»“”„<>\\]+))"""
        r"""|(?-i: is| was):? ["'`]?([^\s"'`«»“”„<>\\]*[0-9][^\s"'`«»“”„<>\\]*)"""
        r"""|[ \t]["'`]([^\s"'`«»“”„<>\\]*[0-9][^\s"'`«»“”„<>\\]*))""",
        (
            Sample("hunter" + "2!x", "password={}"),
            Sample("correct horse" + " battery", "password: str = '{}'"),
            Sample("Tr0ub4" + "dor&3;x", '{"db_password": "{}", "port": 5432}'),
            Sample("s3cr3t" + "Value", 'log: {\\"passphrase\\":\\"{}\\",\\"a\\":1}'),
            Sample("qwe" + "rty99", "my password is {} ok"),
            Sample("swordf" + "ish", "PGPASSWORD={} psql"),
            Sample("hunter" + "2", "DB_PASS={}"),
            Sample("sword" + "fish", "password=b'{}'"),
            Sample("qwe" + "rty99", 'password=f"{}"'),
            Sample("qwe" + "rty98", '\\\\\\"password\\\\\\": \\\\\\"{}\\\\\\",'),
            Sample("qwe" + "rty97", "password\u00a0\uff1a\u00a0{}"),
        ),
        (
            "password: required",
            "password: str",
            "password=os.environ['DB_PASSWORD']",
            "password=settings.db.password",
            "password=password",
            "password: ********",
            "the password is missing",
            "passwords: 12",
            "compass: north-west-12",
            "first_pass: ok",
            "password = get_password()",
            'password: "<your password>"',
        ),
        checks.is_password,
        rescan=True,
    ),
    Rule(
        "secret-value",
        "(?i)" + _SECRET_NAME + "(?:" + _IS + "(?:" + _QUOTED + r"""|([!#$%*+./0-9:=?@A-Z^_a-z|~-]+))"""
        r"""|(?-i: is| was|[ \t]):?[ \t]?["'`]?([A-Za-z0-9+/=_.-]{16,}))""",
        (
            Sample(_body(24), "api_key={}"),
            Sample(_body(40), "const apiKey: string = '{}';"),
            Sample(_body(32, _HEX), '{"client_secret": "{}"}'),
            Sample(_body(32), 'body {\\"accessToken\\": \\"{}\\"}'),
            Sample(_body(48), "--token {} --symbol BTC"),
            Sample(_body(20), "SIGNING_KEY: {}"),
            Sample(_body(64), "My API key is {}, keep it"),
            Sample(_body(20), 'token: ["{}"]'),
            Sample(_body(20), '"token": {"value": "{}"}'),
            Sample(_body(20), '"access_tokens": ["{}"]'),
        ),
        (
            "token: BTC",
            "total_tokens: 150",
            "token=0x" + _body(40, _HEX),
            "api_key=settings.api_key",
            "secret: none",
            'token: "hello"',
            "cache_key: market:BTC-USD:20240115",
            "public_key=" + _body(40),
            "token = next_token2()",
            "max_tokens=1000",
            "api_key: <your-api-key-1234>",
        ),
        checks.is_token,
        rescan=True,
    ),
    Rule(
        "pass-value",  # `pass` alone means many things
        "(?i)" + _EDGE + "pass" + _IS + "(?:" + _QUOTED + r"""|([^\s"'`«»“”„<>\\]+))""",
        (Sample(_body(12), "pass={}"), Sample(_body(12), '{"user": "x", "my_other_pass": "{}"}')),
        ("pass: ok", "pass: 12/14", "pass=True", "second pass: done", "bypass=a1b2c3d4e5"),
        checks.is_token,
        rescan=True,
    ),
    Rule(
        "password-pair",
        _pair("(?:" + _PASSWORD_NAME + "|pass)"),
        (
            Sample("qwe" + "rty99", "('password', '{}')"),
            Sample("swordf" + "ish", "mysql --password {} -h db"),
            Sample("sword" + "fish1", "<db:password>{}</db:password>"),
        ),
        ("use --password to log in", "--password --host x", "<password></password>", "('name', 'password')"),
        checks.is_argument,
        rescan=True,
    ),
    Rule(
        "secret-pair",
        _pair(_SECRET_NAME),
        (
            Sample(_body(24), "('client_secret', '{}')"),
            Sample(_body(12), "--api-key {}"),
            Sample(_body(24), "<ApiKey>{}</ApiKey>"),
        ),
        ("('token', 'BTC')", "--token ETH", "<token>ETH</token>", "('total_tokens', '150')"),
        checks.is_token,
        rescan=True,
    ),
)

_PRIVATE_KEY_BLOCK = Rule(
    "private-key-block",  # a block that does not end goes to the end of the text
    r"-----BEGIN (?:[A-Z0-9 ]{1,40} )?PRIVATE KEY(?: BLOCK)?-----"
    r"(?s:.*?)(?:-----END (?:[A-Z0-9 ]{1,40} )?PRIVATE KEY(?: BLOCK)?-----|\z)",
    (
        Sample(_pem("RSA PRIVATE", _body(64), _body(30))),
        Sample(_pem("PRIVATE", _body(64)).replace("\n", "\\n"), '{"pem": "{}\\n"}'),
        Sample(_pem("OPENSSH PRIVATE", _body(64), _body(64), end=False), "cut off: {}"),
    ),
    ("-----BEGIN PUBLIC KEY-----", "-----BEGIN CERTIFICATE-----"),
)

_SEED_WORDS = "abandon ability able about above absent absorb abstract absurd abuse access accident"

_CRYPTO = (
    Rule(
        "wallet-private-key",
        # Base 58 only behind its word: to count 88 characters of it everywhere makes RE2 four times slower on base64.
        _EDGE + r"((?:0x)?[0-9a-fA-F]{64})\b|(?i:key|secret|signer)[^\n]{0,40}?\b([1-9A-HJ-NP-Za-km-z]{87,88})\b",
        (
            Sample("0x" + _body(64, _HEX), "private key: {}"),
            Sample(_body(64, _HEX), 'Account.from_key("{}")'),
            Sample(_body(88, _BASE58), "solana keypair {}"),
        ),
        (
            "tx hash 0x" + _body(64, _HEX),
            "private key rotated, see transaction 0x" + _body(64, _HEX),
            "sha256:" + _body(64, _HEX),
            "address 0x" + _body(40, _HEX),
        ),
        checks.is_private_key,
    ),
    Rule(
        "bitcoin-wif",
        _EDGE + r"([5KL9c][1-9A-HJ-NP-Za-km-z]{50,51})\b",
        (
            Sample(checks.base58check(b"\x80" + bytes(range(32))).decode()),
            Sample(checks.base58check(b"\x80" + bytes(range(32)) + b"\x01").decode()),
        ),
        ("5" + _body(50, _BASE58), "K" + _body(51, _BASE58)),
        checks.is_bitcoin_key,
    ),
    _format(
        "extended-private-key",
        r"[tuvxyz]prv[1-9A-HJ-NP-Za-km-z]{100,}",
        "x" + "prv" + _body(107, _BASE58),
        misses=("xpub" + _body(107, _BASE58), "xprv is secret"),
    ),
    Rule(
        "seed-phrase",
        r"""(?i)(?:seed|recovery|mnemonic|backup|secret)(?:[ _-]?(?:phrase|words?|mnemonic))?\\*["'`]?[ \t]*"""
        r"""(?:is|are|[:=])\s*\\*["'`]?((?:[a-z]{3,8}[ ,]{1,2}){11,23}[a-z]{3,8})""",
        (Sample(_SEED_WORDS, "seed phrase: {}"), Sample(_SEED_WORDS, '{"mnemonic": "{}"}')),
        ("seed: 42", "recovery: the market may turn", "the seed phrase is never stored"),
    ),
    Rule(
        "exchange-key",
        r"""(?i)(?:key|secret|passphrase)\\*["'`]?(?: (?:for|on|of) [a-z.]+)?(?: is| was)?"""
        r"""[ \t]*[:= ][ \t]*\\*["'`]?([A-Za-z0-9+/=_-]{16,})""",
        (
            Sample(_body(64), "Binance key {} for the bot"),
            Sample(_body(56, _BASE64), "the key for Kraken is {}"),
            Sample(_uuid(), 'OKX: {"key": "{}"}'),
        ),
        ("Binance key levels 45000", "Kraken public_key=" + _body(40), "cache key: " + _body(20), "key = value"),
        checks.is_exchange_key,
    ),
)

_PAYMENT = (
    Rule(
        "payment-card",
        _EDGE + r"([2-6][0-9]{3}(?:[ -][0-9]{4}){3}(?:[ -][0-9]{3})?|3[47][0-9]{2}[ -][0-9]{6}[ -][0-9]{5}"
        r"|[2-6][0-9]{12,18})\b",
        (
            Sample(" ".join(("4111", "1111", "1111", "1111")), "charged to {} today"),
            Sample("-".join(("5500", "0000", "0000", "0004"))),
            Sample("37" + "8282246310005", "amex {}"),
            Sample("4111" * 1 + "1111" * 3, "card number {}"),
        ),
        (
            "order 41111111" + "11111111",
            "card 4111 1111 1111 1112",
            "closes 4523 4510 4490 4521",
            "at 1700000000000 ms",
            "card-like 2024011510304512",
        ),
        checks.is_card,
        rescan=True,
    ),
)

_PII = (
    Rule(
        "email",
        rf"(?:{_ESCAPE})?" + r"([A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,})",
        (Sample("jane.doe" + "@example.com"), Sample("bob+x" + "@mail.example.co.uk", "From: <{}>")),
        ("git@github.com:acme/bot.git", "logo@2x.png", "https://user@host.example/", "price @ 45230.50", "@handle"),
        checks.is_email,
    ),
    Rule(
        "us-ssn",
        _EDGE + r"([0-9]{3}-[0-9]{2}-[0-9]{4})\b"
        r"|(?i)(?:ssn|social security(?: number| no\.?)?)[^A-Za-z0-9]{1,4}(?:is )?([0-9]{9})\b",
        (Sample("-".join(("219", "09", "9999")), "SSN {}."), Sample("21909" + "9999", "ssn: {}")),
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
    ),
    Rule(
        "iban",
        _EDGE + r"([A-Z]{2}[0-9]{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?))\b",
        (
            Sample(" ".join(("GB82", "WEST", "1234", "5698", "7654", "32"))),
            Sample("DE89" + "37040044" + "0532013000", "pay to {} now"),
        ),
        ("GB83 WEST 1234 5698 7654 32", "ZZ82WEST12345698765432", "DE89370400440532013001"),
        checks.is_iban,
        rescan=True,
    ),
)

PACKS: Mapping[str, tuple[Rule, ...]] = {
    "credentials": (_PRIVATE_KEY_BLOCK, *_MODEL_KEYS, *_SERVICE_KEYS, *_GENERAL),
    "crypto": _CRYPTO,
    "payment": _PAYMENT,
    "pii": _PII,
}
"""Pack name to its rules. All packs are on by default."""
