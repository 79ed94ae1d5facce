"""Keys of clouds, hosting and databases."""

from structllm.redaction.packs.examples import BASE32, BASE64, HEX, LOWER_ALNUM, URL_SAFE, body, uuid
from structllm.redaction.packs.shapes import EDGE, format_rule, long_format_rule
from structllm.redaction.rule import Rule, Sample

CLOUD_KEYS = (
    format_rule(
        "aws-access-key",
        r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16,}",
        "AK" + "IA" + body(16, BASE32),
        "AS" + "IA" + body(16, BASE32),
        misses=("AKIA is a prefix", "ASIA PACIFIC TRADING", "ASIAPACIFIC"),
    ),
    Rule(
        "aws-secret-key",
        r"(?i)(?:aws[_ .-]?secret|secret[_ .-]?access)(?:[_ .-]?access)?[_ .-]?key"
        r"[^A-Za-z0-9/+]{1,8}(?:is[^A-Za-z0-9/+]{1,4})?([A-Za-z0-9/+]{40,})",
        (
            Sample(body(40, BASE64), "aws_secret_access_key = {}"),
            Sample(body(40, BASE64), "The AWS secret key is {} in this account"),
        ),
        ("aws_secret_access_key = ${AWS_SECRET}", "sha1 " + body(40, HEX)),
    ),
    Rule(
        "azure-key",  # storage and bus keys are 32 or 64 bytes in base64; client secrets have Q~ at their fourth place
        r"(?i:(?:account|sharedaccess|shared_access|primary|secondary|access)_?key)[\\\"' ]{0,3}[=:][\\\"' ]{0,3}"
        r"([A-Za-z0-9+/]{42,86}={1,2})"
        rf"|{EDGE}([A-Za-z0-9_.~-]{{3}}[0-9]Q~[A-Za-z0-9_.~-]{{31,34}})"
        rf"|{EDGE}([A-Za-z0-9]{{40,}}(?:JQQJ9|AZDO)[A-Za-z0-9]{{4,40}})",
        (
            Sample(body(86, BASE64) + "==", "AccountName=bot;AccountKey={};EndpointSuffix=x"),
            Sample(body(3) + "8Q~" + body(34)),
            Sample(body(76) + "AZ" + "DO" + body(4)),
        ),
        ("AccountKey=${KEY}", "8Q~ is where", "primary_key=id"),
    ),
    format_rule(
        "cloud-token",  # DigitalOcean, Alibaba, Tencent, Yandex, Cloudflare, Heroku, Fly, Netlify, Vercel, Render,
        # Supabase, Neon, Databricks, PlanetScale, ClickHouse, OpenShift, Scalingo, Terraform, Pulumi, Tailscale
        r"do[opr]_v1_[0-9a-f]{40,}|LTAI[A-Za-z0-9]{12,30}|AKID[A-Za-z0-9]{32}|AQVN[A-Za-z0-9_-]{35,}"
        r"|t1\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_-]{80,}={0,2}|v1\.0-[0-9a-f]{24}-[0-9a-f]{100,}|HRKU-[A-Za-z0-9_-]{36,}"
        r"|fo1_[A-Za-z0-9_-]{40,}|fm[12][ar]?_[A-Za-z0-9+/_=-]{60,}|nfp_[A-Za-z0-9]{30,}|vc[apkir]_[A-Za-z0-9]{24,}"
        r"|rnd_[A-Za-z0-9]{28,}|sbp_[0-9a-f]{40}|sb_secret_[A-Za-z0-9_-]{20,}|napi_[a-z0-9]{40,}|dapi[0-9a-f]{32}(?:-[0-9])?"
        r"|pscale_(?:tkn|oauth|pw|[a-z]{1,12})_[A-Za-z0-9_=.-]{30,}|4b1d[A-Za-z0-9]{38}|sha256~[A-Za-z0-9_-]{43}"
        r"|tk-us-[A-Za-z0-9_-]{48}|[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}|pul-[0-9a-f]{40}|ico-[A-Za-z0-9]{32}"
        r"|tskey-[a-z]+-[A-Za-z0-9]+-[A-Za-z0-9]{20,}|shr?[cp]_[A-Za-z0-9]{30,}",
        "do" + "p_v1_" + body(64, HEX),
        "LT" + "AI" + body(20),
        "HR" + "KU-" + body(60, URL_SAFE),
        "fo" + "1_" + body(43, URL_SAFE),
        "da" + "pi" + body(32, HEX),
        "pscale" + "_oauth_" + body(32, LOWER_ALNUM + "_="),
        body(14) + ".atlas" + "v1." + body(65, URL_SAFE),
        "pu" + "l-" + body(40, HEX),
        misses=("dapi documentation", "pscale_main_branch", "LTAI", "fo1_x", "sha256~", "a.atlasv1.b", "pul-monary"),
    ),
    Rule(
        "heroku-key",
        r"(?i)heroku[a-z0-9_ .-]*\\*[\"'`]?\]?[ \t]*(?:[:.?]{0,3}=>?|:|is|,)[ \t]*\\*[\"'`]?"
        r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})",
        (Sample(uuid(), "HEROKU_API_KEY={}"), Sample(uuid(), '"heroku_key": "{}"')),
        ("request id " + uuid(), "heroku app: trader"),
    ),
    format_rule("vault-token", r"hv[sbr]\.[A-Za-z0-9_-]{24,}", "hv" + "s." + body(90, URL_SAFE), misses=("hvs.py",)),
    long_format_rule(
        "database-key",  # Upstash, Turso and others hand out JWTs; these do not
        r"mdb_sa_(?:id|sk)_[A-Za-z0-9_-]{24,}|edgedbt?_[A-Za-z0-9_-]{30,}|xau_[A-Za-z0-9]{30,}|neon_api_[A-Za-z0-9]{30,}",
        "mdb" + "_sa_sk_" + body(40, URL_SAFE),
        misses=("mdb_sa_id_", "xau_usd_spot"),
    ),
)
