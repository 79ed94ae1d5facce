"""More layouts of the corpus: encodings, headers, key blocks, recovery phrases; and which kind can stand in which."""

import base64
from collections.abc import Callable
from random import Random
from urllib.parse import quote

from tests.redaction.corpus_draws import CLOSE, OPEN, mark
from tests.redaction.corpus_kinds import Kind
from tests.redaction.corpus_layouts import (
    NAMED,
    Layout,
    as_json,
    camel,
    json_in_string,
    json_line,
    log_line,
    name_of,
    prose,
    python_repr,
    shell,
    through,
    tool_arguments,
    traceback,
    unmarked,
)

# ---- tokens, which need no name


def bare(rng: Random, kind: Kind, secret: str) -> str:
    """Without a word about what it is."""
    return rng.choice(["{}", "401 for {}", "({})", "first try {} then fall back", "a,{},b", "Deploy with {}."]).format(
        secret
    )


def percent_encoded(rng: Random, kind: Kind, secret: str) -> str:
    """A URL in a parameter of a URL, or every character encoded."""
    if rng.random() < 0.5:
        hidden = through(secret, lambda piece: "".join(f"%{byte:02X}" for byte in piece.encode()))
        return f"https://login.example.com/next?state=7&t={hidden}"
    inner = f"https://api.example.com/me?{name_of(rng, kind).lower()}={secret}&v=2"
    return "https://login.example.com/next?to=" + through(inner, lambda piece: quote(piece, safe=""))


def base64_wrapped(rng: Random, kind: Kind, secret: str) -> str:
    """One level of base64, plain, for URLs or in lines; all of it is labelled."""
    name = name_of(rng, kind)
    inner = rng.choice(["{1}", '{{"region": "eu-1", "{0}": "{1}"}}', "{0}={1}\nREGION=eu-1\n"]).format(
        name, unmarked(secret)
    )
    data = inner.encode()
    style = rng.randrange(3)
    if style == 0:
        return f"kubectl said data: {{config: {mark(base64.b64encode(data).decode())}}}"
    if style == 1:
        return f"https://bot.example.com/setup#{mark(base64.urlsafe_b64encode(data).rstrip(b'=').decode())}"
    return "config.b64:\n" + mark(base64.encodebytes(data).decode().rstrip("\n")) + "\n-- end"


def zero_width(rng: Random, kind: Kind, secret: str) -> str:
    """Split by characters that nobody sees."""
    sign = rng.choice(["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad"])

    def split(piece: str) -> str:
        cuts = sorted(rng.sample(range(2, len(piece) - 1), 3)) if len(piece) > 8 else []
        return sign.join(piece[a:b] for a, b in zip([0, *cuts], [*cuts, len(piece)], strict=True))

    return f"Please try {through(secret, split)} and tell me whether it works."


# ---- headers


def header_lines(rng: Random, kind: Kind, secret: str) -> str:
    """The head of a request."""
    lower = rng.random() < 0.4
    name = kind.header.lower() if lower else kind.header
    return f"POST /v3/order HTTP/1.1\r\nHost: api.example.com\r\n{name}: {secret}\r\nAccept: */*\r\n"


def curl(rng: Random, kind: Kind, secret: str) -> str:
    """A header on a command line."""
    sign = rng.choice(["'", '"'])
    return f"curl -s -H {sign}{kind.header}: {secret}{sign} https://api.example.com/v3/account"


def header_json(rng: Random, kind: Kind, secret: str) -> str:
    """Headers as an object."""
    return as_json({"method": "GET", "headers": {"Accept": "*/*", kind.header: secret}, "timeout": 10})


def header_json_in_string(rng: Random, kind: Kind, secret: str) -> str:
    """Headers as an object in a string."""
    return as_json({"role": "tool", "content": header_json(rng, kind, secret)})


def header_python(rng: Random, kind: Kind, secret: str) -> str:
    """Headers as Python has them."""
    return rng.choice(
        [
            f"requests.get(url, headers={{'{kind.header}': '{secret}', 'Accept': '*/*'}})",
            f'session.headers["{kind.header}"] = "{secret}"',
            f"Headers([('host', 'api.example.com'), ('{kind.header.lower()}', '{secret}')])",
        ]
    )


def header_log(rng: Random, kind: Kind, secret: str) -> str:
    """A header in a log."""
    return f"DEBUG http > {kind.header}: {secret}\nDEBUG http < 401 Unauthorized in {rng.randint(20, 900)} ms"


def header_yaml(rng: Random, kind: Kind, secret: str) -> str:
    """Headers in YAML."""
    return f"request:\n  headers:\n    Accept: application/json\n    {kind.header}: {secret}\n  timeout: 10"


# ---- blocks, phrases, personal data


def folded(rng: Random, kind: Kind, secret: str) -> str:
    """A block, indented under a name."""
    body = through(secret, lambda piece: piece.replace("\n", "\n    "))
    return f"tls:\n  {name_of(rng, kind)}: |\n    {body}\n  port: 443"


def block(rng: Random, kind: Kind, secret: str) -> str:
    """A block by itself."""
    return rng.choice(["I pasted it below.\n\n{}\n\nThanks.", "```\n{}\n```", 'KEY = """{}"""']).format(secret)


def escaped_line(rng: Random, kind: Kind, secret: str) -> str:
    """A block on one line, with written line breaks."""
    name = name_of(rng, kind)
    return f'{name.upper()}="' + through(secret, lambda piece: piece.replace("\n", "\\n")) + '"'


def cut_block(rng: Random, kind: Kind, secret: str) -> str:
    """A block whose end was cut off."""
    return "It begins like this:\n" + secret[: secret.index(CLOSE) + 1]


def phrase(write: Callable[[Random, list[str]], str]) -> Layout:
    """Return a layout of the words of a recovery phrase."""

    def layout(rng: Random, kind: Kind, words: str) -> str:
        written = write(rng, words.split(" "))
        around = rng.choice(
            ["My {1}: {0}", "Restore this wallet please\n{0}\nand show its address.", "{0}", "{1}:\n{0}\n"]
        )
        return around.format(written, kind.words)

    return layout


def phrase_json(rng: Random, kind: Kind, words: str) -> str:
    """A recovery phrase as an array."""
    listed = ", ".join(f'"{word}"' for word in words.split(" "))
    return f'{{"{name_of(rng, kind)}": ["{mark(listed[1:-1])}"], "path": "m/44\'/60\'/0\'/0/0"}}'


def phrase_in_json(rng: Random, kind: Kind, words: str) -> str:
    """A recovery phrase in a string."""
    return as_json({"wallet": "main", name_of(rng, kind): mark(words), "index": 0})


def csv(rng: Random, kind: Kind, secret: str) -> str:
    """A row of a table in text."""
    return f"id,name,{name_of(rng, kind)},tier\n{rng.randint(1, 99)},Mira,{secret},gold"


PHRASES: dict[str, Layout] = {
    "lower": phrase(lambda rng, words: mark(" ".join(words))),
    "upper": phrase(lambda rng, words: mark(" ".join(words).upper())),
    "title": phrase(lambda rng, words: mark(" ".join(words).title())),
    "quoted": phrase(lambda rng, words: '"' + mark(" ".join(words)) + '"'),
    "lines": phrase(lambda rng, words: mark("\n".join(words))),
    "numbered lines": phrase(
        lambda rng, words: "1. " + mark("\n".join(f"{n}. {w}" for n, w in enumerate(words, 1))[3:])
    ),
    "numbered": phrase(lambda rng, words: "1) " + mark(" ".join(f"{n}) {w}" for n, w in enumerate(words, 1))[3:])),
    "numbered colon": phrase(
        lambda rng, words: "1: " + mark(", ".join(f"{n}: {w}" for n, w in enumerate(words, 1))[3:])
    ),
    "commas": phrase(lambda rng, words: mark(", ".join(words))),
    "bullets": phrase(lambda rng, words: "- " + mark("\n- ".join(words))),
    "four a line": phrase(
        lambda rng, words: mark("\n".join(" ".join(words[at : at + 4]) for at in range(0, len(words), 4)))
    ),
    "double spaces": phrase(lambda rng, words: mark("  ".join(words))),
    "json array": phrase_json,
    "json string": phrase_in_json,
    "json in string": lambda rng, kind, words: as_json({"content": phrase_in_json(rng, kind, words)}),
    "shell": lambda rng, kind, words: shell(rng, kind, mark(words)).replace(f"={OPEN}", f"='{OPEN}", 1) + "'",
}
ENCODED: dict[str, Layout] = {"percent": percent_encoded, "base64": base64_wrapped, "zero width": zero_width}
CURL: dict[str, Layout] = {"header": header_lines, "curl": curl}
PERSONAL = {name: NAMED[name] for name in NAMED if name not in {"python assignment", "toml", "shell", "xml", "url"}}
FAMILIES: dict[str, dict[str, Layout]] = {
    "token": {**NAMED, **ENCODED, "bare": bare},
    "named": NAMED,
    "url": {name: layout for name, layout in NAMED.items() if name not in {"url", "xml"}},
    "header": {
        **CURL,
        "json": header_json,
        "json in string": header_json_in_string,
        "python": header_python,
        "log line": header_log,
        "yaml": header_yaml,
    },
    "pem": {
        "block": block,
        "json": json_line,
        "json in string": json_in_string,
        "tool arguments": tool_arguments,
        "yaml": folded,
        "escaped line": escaped_line,
        "python repr": python_repr,
        "traceback": traceback,
        "cut": cut_block,
    },
    "array": {
        "prose": prose,
        "log line": log_line,
        "json": lambda rng, kind, secret: f'{{"{name_of(rng, kind)}": {secret}, "commitment": "final"}}',
        "javascript": lambda rng, kind, secret: f"const {camel(name_of(rng, kind))} = new Uint8Array({secret});",
        "python": lambda rng, kind, secret: f"{name_of(rng, kind)} = bytes({secret})",
        "command": lambda rng, kind, secret: f"$ cat ~/.config/solana/id.json  # {kind.words}\n{secret}",
    },
    "phrase": PHRASES,
    "personal": {**PERSONAL, "csv": csv},
    "personal_bare": {**PERSONAL, "csv": csv, "bare": bare},
}
"""The layouts that kinds of a family can stand in."""


def header_of(kind: Kind) -> dict[str, Layout]:
    """Return what more a named kind can stand in, where a header carries it."""
    return CURL if kind.header and kind.family == "named" else {}
