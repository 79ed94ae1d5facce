"""Values under a name that says secret: `name = value` in every usual notation, in six scripts, and in sentences."""

from structllm.redaction import checks
from structllm.redaction.packs.examples import HEX, body
from structllm.redaction.packs.shapes import (
    EDGE,
    IS,
    OPENING,
    PASSWORD_NAME,
    QUOTED,
    SAYS,
    SECRET_NAME,
    SET_TO,
    UNQUOTED_PASSWORD,
    pair_of,
)
from structllm.redaction.rule import Rule, Sample

NAMED_VALUES = (
    Rule(
        "password",
        "(?i)"
        + PASSWORD_NAME
        + "(?:"
        + IS
        + "(?:"
        + QUOTED
        + "|"
        + UNQUOTED_PASSWORD
        + r""")|(?:[ \t]["'`]|"""
        + SET_TO
        + ")"
        r"""([^\s"'`«»“”„<>\\]*[0-9][^\s"'`«»“”„<>\\]*))""",
        (
            Sample("hunter" + "2!x", "password={}"),
            Sample("correct horse" + " battery", "password: str = '{}'"),
            Sample("Tr0ub4" + "dor&3;x", '{"db_password": "{}", "port": 5432}'),
            Sample("s3cr3t" + "Value", 'log: {\\"passphrase\\":\\"{}\\",\\"a\\":1}'),
            Sample("swordf" + "ish", "PGPASSWORD={} psql"),
            Sample("hunter" + "2", "DB_PASS={}"),
            Sample("sword" + "fish", "password=b'{}'"),
            Sample("qwe" + "rty99", 'password=f"{}"'),
            Sample("qwe" + "rty98", '\\\\\\"password\\\\\\": \\\\\\"{}\\\\\\",'),
            Sample("qwe" + "rty97", "password\u00a0\uff1a\u00a0{}"),
            Sample("qwe" + "rty96", "set the password to '{}' now"),
            Sample("qwe" + "rty95", "- **password**: `{}`"),
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
        "password-sentence",
        "(?i)"
        + PASSWORD_NAME
        + "(?: (?:for|of|to|für|para|de|pour)(?: [a-z0-9_.@-]{1,24}){1,3}?)?"
        + SAYS
        + r""":?[ \t]*["'`«“„]?([^\s"'`«»“”„<>\\，。；]{3,}[^\s"'`«»“”„<>\\，。；,.;:!?)])""",
        (
            Sample("qwe" + "rty99", "my password is {} ok"),
            Sample("Qw!" + "ertz#x", "The password for the db is {}."),
            Sample("hunter" + "2x", "Das Passwort lautet {} und"),
        ),
        ("the password is missing", "password was reset in 2024-ish style"[:24], "The passphrase is never stored."),
        checks.is_sentence_password,
        rescan=True,
    ),
    Rule(
        "command-password",  # mysql -pX, sshpass -p X, redis-cli -a X, docker login -p X
        EDGE
        + r"""(?:mysql(?:dump|admin|import)?|mariadb(?:-dump)?)[ \t][^\n|;&]*?-p["']?([^\s"'`<>\\-][^\s"'`<>\\]+)"""
        + "|"
        + EDGE
        + r"""(?:sshpass[ \t]+-p|redis-cli[ \t][^\n|;&]*?-a|docker[ \t]+login[ \t][^\n|;&]*?-p|mongo(?:sh"""
        r"""|dump)?[ \t][^\n|;&]*?-p)"""
        r"""[ \t]*["']?([^\s"'`<>\\-][^\s"'`<>\\]+)""",
        (
            Sample("s3cr" + "etpw", "mysql -h db -u bot -p{} trades"),
            Sample("s3cr" + "etpw", "sshpass -p {} ssh bot@host"),
            Sample("s3cr" + "etpw", "redis-cli -h cache -a '{}' ping"),
        ),
        ("mysql -u bot -p trades"[:15], "mysql -h db -P3306 x", "mysql -p$DB_PASSWORD x", "ssh -p2222 host"),
        checks.is_argument,
    ),
    Rule(
        "command-login",  # curl -u user:password
        r"""(?:^|[ \t\n\\])(?:-u|--user|--proxy-user)(?:[ \t]+|=)\\*["']?"""
        r"""([^\s"'`:]{0,64}\\*["']?:\\*["']?[^\s"'`\\]*)""",
        (
            Sample("elastic:" + "P4ss" + "w0rdx1", "curl -u {} https://localhost:9200"),
            Sample("api:" + body(12), "curl -s --user '{}' https://api.example.com/"),
        ),
        (
            "curl -u user:$PASSWORD https://x",
            "curl -u '${{ env.U }}:${{ env.P }}' https://x",
            "curl --user user:pass https://x",
            "docker run -u 1000:1000 image",
        ),
        checks.is_login,
        keywords=("curl", "http", "wget"),
        window=(512, 256),
    ),
    Rule(
        "secret-value",
        "(?i)"
        + SECRET_NAME
        + "(?:"
        + IS
        + f"(?:{QUOTED}|{OPENING}"
        + r"""([!#$%*+./0-9:=?@A-Z^_a-z|~-]+))"""
        + f"|(?:{SAYS}|{SET_TO}|"
        + r"""[ \t]):?[ \t]?(?:["'`]|"""
        + OPENING
        + r""")([A-Za-z0-9+/=_.-]{16,}))""",
        (
            Sample(body(24), "api_key={}"),
            Sample(body(40), "const apiKey: string = '{}';"),
            Sample(body(32, HEX), '{"client_secret": "{}"}'),
            Sample(body(32), 'body {\\"accessToken\\": \\"{}\\"}'),
            Sample(body(48), "--token {} --symbol BTC"),
            Sample(body(20), "SIGNING_KEY: {}"),
            Sample(body(64), "My API key is {}, keep it"),
            Sample(body(20), 'token: ["{}"]'),
            Sample(body(20), '"token": {"value": "{}"}'),
            Sample(body(20), '"access_tokens": ["{}"]'),
            Sample(body(40), "set the API key to \u201c{}\u201d"),
            Sample(body(40), "**API key:** {}"),
        ),
        (
            "token: BTC",
            "total_tokens: 150",
            "token=0x" + body(40, HEX),
            "api_key=settings.api_key",
            "secret: none",
            'token: "hello"',
            "cache_key: market:BTC-USD:20240115",
            "public_key=" + body(40),
            "token = next_token2()",
            "max_tokens=1000",
            "api_key: <your-api-key-1234>",
        ),
        checks.is_token,
        rescan=True,
    ),
    Rule(
        "table-secret",  # a row of a table in Markdown
        rf"(?i)\|[ \t]*[*`]{{0,3}}[\w .-]{{0,32}}(?:{PASSWORD_NAME}|{SECRET_NAME})"
        r"[\w .-]{0,16}[*`]{0,3}[ \t]*\|[ \t]*`?([^\s|`]{6,})`?[ \t]*\|",
        (
            Sample(body(16), "| setting | value |\n|---|---|\n| db_password | {} |"),
            Sample(body(40), "| **API key** | `{}` | main |"),
        ),
        ("| token | BTC-USD |", "| password | required |", "| max_tokens | 1000 |", "| api_key | string | yes |"),
        checks.is_token,
        rescan=True,
    ),
    Rule(
        "pass-value",  # `pass` alone means many things
        "(?i)" + EDGE + "pass" + IS + "(?:" + QUOTED + r"""|([^\s"'`«»“”„<>\\]+))""",
        (Sample(body(12), "pass={}"), Sample(body(12), '{"user": "x", "my_other_pass": "{}"}')),
        ("pass: ok", "pass: 12/14", "pass=True", "second pass: done", "bypass=a1b2c3d4e5"),
        checks.is_token,
        rescan=True,
    ),
    Rule(
        "password-pair",
        pair_of("(?:" + PASSWORD_NAME + "|pass)"),
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
        pair_of(SECRET_NAME),
        (
            Sample(body(24), "('client_secret', '{}')"),
            Sample(body(12), "--api-key {}"),
            Sample(body(24), "<ApiKey>{}</ApiKey>"),
        ),
        ("('token', 'BTC')", "--token ETH", "<token>ETH</token>", "('total_tokens', '150')"),
        checks.is_token,
        rescan=True,
    ),
)
