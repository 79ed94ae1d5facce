"""The layouts of the corpus: the ways in which a secret stands in what agents send, receive, run and log.

A layout gets the marked text of a kind and returns the text around it, marks included.
"""

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.parse import quote

from tests.redaction.corpus_draws import CLOSE, OPEN, draw
from tests.redaction.corpus_kinds import Kind

Layout = Callable[[Random, Kind, str], str]

_MARKS = re.compile(f"([{OPEN}{CLOSE}])")


def as_json(value: Any, **options: Any) -> str:
    """Encode, leaving the marks as they are."""
    return json.dumps(value, ensure_ascii=False, **options)


def through(text: str, change: Callable[[str], str]) -> str:
    """Change a text, leaving the marks as they are."""
    return "".join(piece if _MARKS.fullmatch(piece) else change(piece) for piece in _MARKS.split(text))


def unmarked(text: str) -> str:
    """Take the marks out."""
    return _MARKS.sub("", text)


def name_of(rng: Random, kind: Kind) -> str:
    """Pick a name that holds such a secret."""
    return rng.choice(kind.names)


def camel(name: str) -> str:
    """Spell a name as JavaScript does."""
    first, *rest = name.lower().split("_")
    return first + "".join(word.capitalize() for word in rest)


def kebab(name: str) -> str:
    """Spell a name as command lines do."""
    return name.lower().replace("_", "-")


# ---- with a name or a description


def prose(rng: Random, kind: Kind, secret: str) -> str:
    """A sentence that says what it is."""
    return rng.choice(
        [
            "Use my {0} {1} to load the last candles.",
            "My {0} is {1}, please check the balance.",
            "The {0} is {1}. Do not share it.",
            "{0}: {1}",
            "here's the {0} = {1} for the sandbox",
        ]
    ).format(kind.words, secret)


def quoted(rng: Random, kind: Kind, secret: str) -> str:
    """A sentence that quotes it."""
    left, right = rng.choice([('"', '"'), ("'", "'"), ("`", "`"), ("\u201c", "\u201d")])
    return rng.choice(["I set the {0} to {1} yesterday.", "The {0} is {1}, as agreed.", "{0}: {1}"]).format(
        kind.words, left + secret + right
    )


def foreign(rng: Random, kind: Kind, secret: str) -> str:
    """A sentence in another language, with the words that engineers there use."""
    return rng.choice(
        [
            "Bitte nimm ab sofort diesen Zugang, {0}: {1}, und melde dich nach dem Test.",
            "Por favor usa esto en producción, {0}: {1} y avísame cuando termine.",
            "Merci d'utiliser ceci pour la démo, {0} : {1} avant ce soir.",
            "Вот данные для теста, {0}: {1}, проверьте баланс.",
            "请使用这个进行测试,{0}:{1},然后查询余额。",
            "テスト用です。{0}: {1} を使ってください。",
        ]
    ).format(kind.words, secret)


def json_line(rng: Random, kind: Kind, secret: str) -> str:
    """An object on one line."""
    name = name_of(rng, kind)
    name = camel(name) if rng.random() < 0.4 else name
    tight = rng.random() < 0.5
    return as_json({"symbol": "BTC-USD", name: secret, "limit": 500}, separators=(",", ":") if tight else (", ", ": "))


def json_pretty(rng: Random, kind: Kind, secret: str) -> str:
    """An object on several lines, nested."""
    return as_json({"exchange": {"id": "primary", name_of(rng, kind): secret, "rate_limit": 1200}}, indent=2)


def json_in_string(rng: Random, kind: Kind, secret: str) -> str:
    """An object in a string of an object."""
    return as_json({"role": "tool", "content": json_line(rng, kind, secret)})


def tool_arguments(rng: Random, kind: Kind, secret: str) -> str:
    """A call of a tool, as a model's answer has it."""
    function = {"name": "place_order", "arguments": json_line(rng, kind, secret)}
    return as_json({"tool_calls": [{"id": "call_" + draw(rng, 24), "type": "function", "function": function}]})


def python_call(rng: Random, kind: Kind, secret: str) -> str:
    """Keyword arguments."""
    return f"client = Client(region='eu-1', {name_of(rng, kind).lower()}={secret_literal(rng, secret)}, timeout=30)"


def python_assignment(rng: Random, kind: Kind, secret: str) -> str:
    """An assignment."""
    name, literal = name_of(rng, kind), secret_literal(rng, secret)
    return rng.choice(
        [
            f"import os\n\n{name.upper()} = {literal}\nexchange.load_markets()",
            f"os.environ[{name.upper()!r}] = {literal}",
            f"self.{name.lower()}: str = {literal}",
        ]
    )


def secret_literal(rng: Random, secret: str) -> str:
    """A literal of Python."""
    mark_ = rng.choice(["'", '"'])
    return mark_ + through(secret, lambda piece: piece.replace("\n", "\\n")) + mark_


def python_repr(rng: Random, kind: Kind, secret: str) -> str:
    """What repr() shows of a dict or a dataclass."""
    name, secret = name_of(rng, kind).lower(), through(secret, lambda piece: piece.replace("\n", "\\n"))
    return rng.choice([f"{{'id': 7, '{name}': '{secret}', 'ok': True}}", f"Settings(id=7, {name}='{secret}', ok=True)"])


def javascript(rng: Random, kind: Kind, secret: str) -> str:
    """JavaScript."""
    name = camel(name_of(rng, kind))
    return rng.choice(
        [f'const {name} = "{secret}";\nawait ex.fetchBalance();', f"new Exchange({{ {name}: '{secret}', ws: true }})"]
    )


def yaml(rng: Random, kind: Kind, secret: str) -> str:
    """YAML."""
    name, quote_ = name_of(rng, kind).lower(), rng.choice(["", "", '"'])
    return f"exchange:\n  id: primary\n  {name}: {quote_}{secret}{quote_}\n  sandbox: false"


def toml(rng: Random, kind: Kind, secret: str) -> str:
    """TOML."""
    return f'[exchange]\nid = "primary"\n{name_of(rng, kind).lower()} = "{secret}"\nretries = 3'


def shell(rng: Random, kind: Kind, secret: str) -> str:
    """Variables of a shell."""
    name = name_of(rng, kind).upper()
    return rng.choice(
        [f"export {name}={secret}", f'$ {name}="{secret}" python bot.py --paper', f"# .env\n{name}={secret}\nLOG=info"]
    )


def command(rng: Random, kind: Kind, secret: str) -> str:
    """An option of a command."""
    option = kebab(name_of(rng, kind))
    return rng.choice(
        [
            f"bot run --{option} {secret} --paper",
            f"bot run --{option}={secret} --symbol BTC-USD",
            f"bot run --{option} '{secret}' --paper",
        ]
    )


def url_parameter(rng: Random, kind: Kind, secret: str) -> str:
    """A parameter of a URL, inside of what an HTTP library says."""
    value = through(secret, lambda piece: quote(piece, safe=""))
    url = f"https://api.example.com/v1/candles?symbol=BTCUSDT&{name_of(rng, kind).lower()}={value}&limit=50"
    return rng.choice([f"GET {url} -> 200", f"HTTPError: 401 Client Error: Unauthorized for url: {url}"])


def traceback(rng: Random, kind: Kind, secret: str) -> str:
    """A traceback that shows it."""
    name = name_of(rng, kind).lower()
    secret = through(secret, lambda piece: piece.replace("\n", "\\n"))
    return (
        "Traceback (most recent call last):\n"
        f'  File "/srv/bot/main.py", line {rng.randint(10, 400)}, in run\n'
        f'    client.connect({name}="{secret}")\n'
        f"exchange.errors.AuthError: rejected: {name}={secret} (code 401)"
    )


def markdown(rng: Random, kind: Kind, secret: str) -> str:
    """Markdown."""
    name = name_of(rng, kind)
    return rng.choice(
        [
            f"| setting | value |\n|---|---|\n| {name} | {secret} |\n| region | eu-1 |",
            f"- **{kind.words}**: `{secret}`\n- **region**: `eu-1`",
            f"```\n{name}={secret}\n```",
        ]
    )


def log_line(rng: Random, kind: Kind, secret: str) -> str:
    """A line of a log."""
    return (
        f"2026-03-04T09:15:02.118Z INFO bot.config loaded region=eu-1 {name_of(rng, kind).lower()}={secret} retries=3"
    )


def xml(rng: Random, kind: Kind, secret: str) -> str:
    """XML."""
    name = camel(name_of(rng, kind))
    return f"<exchange><id>primary</id><{name}>{secret}</{name}></exchange>"


NAMED: dict[str, Layout] = {
    "prose": prose,
    "quoted": quoted,
    "foreign prose": foreign,
    "json": json_line,
    "json pretty": json_pretty,
    "json in string": json_in_string,
    "tool arguments": tool_arguments,
    "python call": python_call,
    "python assignment": python_assignment,
    "python repr": python_repr,
    "javascript": javascript,
    "yaml": yaml,
    "toml": toml,
    "shell": shell,
    "command": command,
    "url": url_parameter,
    "traceback": traceback,
    "markdown": markdown,
    "log line": log_line,
    "xml": xml,
}
"""The layouts of what has a name."""
