"""Secrets in headers and URLs: bearer and basic credentials, cookies, user parts and query keys, and JWTs anywhere."""

from structllm.redaction import checks
from structllm.redaction.packs.examples import BASE64, HEX, URL_SAFE, body
from structllm.redaction.packs.shapes import EDGE, format_rule
from structllm.redaction.rule import Rule, Sample

# Printable ASCII without quotes, brackets and what separates values. Not written as [^…]: under (?i) a range beyond
# ASCII takes k and s along, which U+212A and U+017F fold to.
_HEADER = r"[!#$%&*+./0-9:=?@A-Z^_a-z{|}~-]"

HEADERS_AND_URLS = (
    format_rule(
        "jwt",
        r"eyJ[A-Za-z0-9_-]{8,}\.(?:eyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"
        r"|[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)|ZXlK[A-Za-z0-9+/_-]{40,}={0,2}",
        "ey" + "J" + body(33) + ".ey" + "J" + body(120, URL_SAFE) + "." + body(43, URL_SAFE),
        "ey" + "J" + body(33) + "." + body(40) + "." + body(16) + "." + body(60) + "." + body(22),
        "ZX" + "lK" + body(96),
        misses=("eyJust a word. eyJust", "eyJhbGciOi.eyJ"),
    ),
    Rule(
        "bearer-token",
        "(?i)" + EDGE + r"""bearer(?:[ \t:=+]|%20)+\\*["'`]?([A-Za-z0-9._~+/=-]{12,})""",
        (Sample(body(40), "Bearer {}"), Sample(body(32, HEX), '{"auth": "bearer {}"}')),
        ("the bearer of this message", "bearer authentication-mechanism", "Bearer $ACCESS_TOKEN_123"),
        checks.is_token,
    ),
    Rule(
        "basic-credentials",
        EDGE + r"(?:[Bb]asic|BASIC)(?: |%20)+([A-Za-z0-9+/]*[A-Z0-9][A-Za-z0-9+/]{5,}={0,2})",
        (Sample("dXNlcj" + "pwYXNz" + "d29yZDE=", "Authorization: Basic {}"),),
        ("Basic Understanding of markets", "basic information"),
        checks.is_basic_credentials,
    ),
    Rule(
        "auth-header",
        "(?i)"
        + EDGE
        + r"""(?:authorization|x-(?:api-?key|auth-token|access-token|amz-security-token|goog-api-key|mbx-apikey)|"""
        r"""x-(?:vault-token|gitlab-token|figma-token|shopify-access-token|functions-key|rapidapi-key|cmc_pro_api_key)|"""
        r"""(?:private|job|deploy)-token|xi-api-key|ocp-apim-subscription-key|dd-ap[ip]-?(?:key|lication-key)|"""
        r"""api-(?:key|sign)|apca-api-(?:key-id|secret-key)|(?:cb|ok)-access-(?:key|sign|passphrase)|"""
        r"""kc-api-(?:key|sign|passphrase)|x-bapi-(?:api-key|sign)|x-gemini-(?:apikey|signature)|"""
        r"""(?:bf|x-phemex)-(?:api-?key|request-signature|signature)|access-(?:key|sign|passphrase))"""
        r"""\\*["'`]?\]?[ \t]*[:=,][ \t]*\\*["'`]?(""" + _HEADER + "+(?: " + _HEADER + "{6,})?)",
        (
            Sample("Bearer " + body(24, HEX), "Authorization: {}"),
            Sample("Token " + body(40), '{"authorization": "{}"}'),
            Sample(body(64), "X-MBX-APIKEY: {}"),
            Sample(body(88, BASE64), "{'API-Sign': '{}'}"),
            Sample(body(24), "('x-api-key', '{}')"),
        ),
        ("Authorization: required", "authorization: Bearer token", "the api-key: none", "x-api-key: $API_KEY_1"),
        checks.is_token,
    ),
    Rule(
        "cookie-header",
        "(?i)"
        + EDGE
        + r"""(?:set-)?cookie\\*["'`]?\]?[ \t]*[:=,][ \t]*\\*["'`]?([^\s=;"'`\\]{1,64}=[^"'`\\\r\n]{4,})""",
        (
            Sample("sid=" + body(32) + "; theme=dark", "Cookie: {}\nHost: x"),
            Sample("s=" + body(20), '{"set-cookie": "{}"}'),
        ),
        ("a cookie: small and sweet", "cookie=1"),
        checks.is_cookie,
    ),
    Rule(
        "url-password",
        r"""(?i)\b[a-z][a-z0-9+.-]+://[^\s/?#"'`<>:@]*:([^\s/?#"'`<>\\]+)@""",
        (
            Sample(body(12), "postgresql://agent:{}@db.internal:5432/trades"),
            Sample("p@ss" + body(6), "redis://:{}@localhost/0"),
        ),
        ("http://localhost:8080/a@b", "https://user@host/", "postgres://u:${DB_PASSWORD}@db/x", "amqp://u:***@mq"),
        checks.is_password,
    ),
    Rule(
        "url-query-key",
        r"""(?i)(?:[?&;]|\\u0026|%26|%3F)(?:[a-z0-9_.-]*(?:key|token|secret|password|passwd|passphrase|signature|credential)|"""
        r"""sig|auth|jwt)(?:=|%3D)([!$%()*+,./0-9:;=?@A-Z^_a-z{|}~-]{6,})""",
        (
            Sample(body(39, URL_SAFE), "https://host/v1/models?alt=sse&key={}"),
            Sample(body(24), "GET /orders?token={}&symbol=BTC"),
            Sample(body(64, HEX), "https://api/order?symbol=BTCUSDT&signature={}"),
            Sample(body(16), "/login?api_key={}#top"),
        ),
        ("https://dex/?token=0x" + body(40, HEX), "?sort_key=created", "/q?key=BTC-USD", "?next_token=${TOKEN1}"),
        checks.is_token,
    ),
    Rule(
        "url-token",  # a user part without a password, as code hosts take tokens
        r"""(?i)\b[a-z][a-z0-9+.-]+://([A-Za-z0-9_.~-]{20,})(?::x-oauth-basic)?@""",
        (Sample(body(40), "git clone https://{}@git.example.com/a/b.git"),),
        ("https://user@host/", "https://" + "a" * 40 + "@host/", "ssh://deploy-user-of-the-bots@host"),
        checks.is_token,
    ),
)
