"""One way to redact texts, in the interpreter that has it installed: `compare_redaction.py` starts this.

    python redaction_peers.py LIBRARY       one of structllm, logfire, detect-secrets, scrubadub, re.sub

It reads commands as lines of JSON and answers each with a line of JSON. Each library does what its documentation shows
for text, with its defaults. Nothing but the standard library is imported at the top: not every interpreter has more.
"""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

Place = tuple[int, int]
"""Where something is replaced, in code points of the text."""


class Library(NamedTuple):
    """A library, ready to redact.

    Attributes:
        version: Its version.
        places: Says what it replaces, or reports, in a text.
        run: Does so as fast as it can, for timing.
    """

    version: str
    places: Callable[[str], list[Place]]
    run: Callable[[str], object]


def structllm() -> Library:
    """Redact a text field of an event, with the default packs."""
    from structllm.processors.redact import Redact
    from structllm.redaction.rule import MARKER

    redact = Redact()

    def places(text: str) -> list[Place]:
        hits = redact.explain(text)
        return [(hit.start, hit.end) for hit in hits if MARKER.fullmatch(hit.replacement.encode())]

    def run(text: str) -> object:
        return redact(None, "", {"event_type": "note", "note": text})

    return Library(version("structllm-logging"), places, run)


def logfire() -> Library:
    """Scrub an attribute of a span. The attributes for messages of models, which it exempts, would not be scrubbed."""
    scrubber = import_module("logfire._internal.scrubbing").Scrubber([])
    path = ("attributes", "text")

    def places(text: str) -> list[Place]:
        scrubbed, notes = scrubber.scrub_value(path, text)
        if not notes:
            return []
        return between(text, re.split(r"\[Scrubbed due to '[^']*'\]", str(scrubbed))) or [(0, len(text))]

    return Library(version("logfire"), places, lambda text: scrubber.scrub_value(path, text))


def detect_secrets() -> Library:
    """Scan a file with the default plug-ins and filters."""
    settings = import_module("detect_secrets.settings")
    collection = import_module("detect_secrets.core.secrets_collection").SecretsCollection
    directory = tempfile.TemporaryDirectory(prefix="redaction-")
    path = Path(directory.name) / "note.txt"

    def run(text: str) -> list[tuple[int, str]]:
        path.write_text(text, encoding="utf-8", newline="")
        with settings.default_settings():
            secrets = collection()
            secrets.scan_file(str(path))
        return [(secret.line_number, secret.secret_value) for _, secret in secrets]

    def places(text: str) -> list[Place]:
        starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text)]
        found = list[Place]()
        for line, secret in run(text):
            at = text.find(secret, starts[line - 1], starts[line])
            found += [(at, at + len(secret))] if at >= 0 else []
        return merged(found)

    return Library(version("detect-secrets"), partial(_keeping, directory, places), run)


def _keeping(_kept: object, places: Callable[[str], list[Place]], text: str) -> list[Place]:
    """Keep an object as long as the function."""
    return places(text)


def scrubadub() -> Library:
    """Find filth with the default detectors."""
    scrubber = import_module("scrubadub").Scrubber()

    def places(text: str) -> list[Place]:
        return merged((filth.beg, filth.end) for filth in scrubber.iter_filth(text))

    return Library(version("scrubadub"), places, scrubber.clean)


PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"sk-[A-Za-z0-9_-]{20,}",
        r"AIza[A-Za-z0-9_-]{35}",
        r"gsk_[A-Za-z0-9]{40,}",
        r"hf_[A-Za-z]{30,}",
        r"xai-[A-Za-z0-9]{60,}",
        r"(?:AKIA|ASIA)[A-Z0-9]{16}",
        r"(?i)aws_secret_access_key\W+[A-Za-z0-9/+]{40}",
        r"gh[pousr]_[A-Za-z0-9]{36}",
        r"github_pat_[A-Za-z0-9_]{60,}",
        r"glpat-[A-Za-z0-9_-]{20}",
        r"npm_[A-Za-z0-9]{36}",
        r"pypi-[A-Za-z0-9_-]{50,}",
        r"xox[abprs]-[A-Za-z0-9-]{20,}",
        r"https://hooks\.slack\.com/services/[A-Za-z0-9/]+",
        r"\d{8,10}:[A-Za-z0-9_-]{35}",
        r"[sr]k_live_[A-Za-z0-9]{20,}",
        r"whsec_[A-Za-z0-9]{30,}",
        r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
        r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]+?-----END [A-Z ]*PRIVATE KEY-----",
        r"(?i)basic [A-Za-z0-9+/=]{12,}",
        r"(?i)bearer [A-Za-z0-9._~+/-]{16,}",
        r"[a-z+]+://[^\s:/]*:[^\s@/]+@",
        r"(?i)[?&](?:api_?key|token|access_token|key|signature)=[^&\s]+",
        r"(?i)(?:password|passwd|secret|api_?key|token)\W{1,4}[^\s'\",;]{8,}",
        r"0x[0-9a-fA-F]{64}",
        r"\b(?:\d[ -]?){13,16}\b",
        r"\b[A-Z]{2}\d{2}[A-Z0-9 ]{11,30}\b",
        r"\b\d{3}-\d{2}-\d{4}\b",
        r"[\w.+-]+@[\w-]+\.[\w.-]+",
    )
)
"""What one writes by hand in an afternoon."""


def re_sub() -> Library:
    """Replace by each of thirty patterns in turn."""

    def run(text: str) -> str:
        for pattern in PATTERNS:
            text = pattern.sub("[REDACTED]", text)
        return text

    def places(text: str) -> list[Place]:
        return merged(match.span() for pattern in PATTERNS for match in pattern.finditer(text))

    return Library(f"{len(PATTERNS)} patterns", places, run)


LIBRARIES: dict[str, Callable[[], Library]] = {
    "structllm": structllm,
    "logfire": logfire,
    "detect-secrets": detect_secrets,
    "scrubadub": scrubadub,
    "re.sub": re_sub,
}


def merged(places: Iterable[Place]) -> list[Place]:
    """Join what overlaps."""
    joined = list[Place]()
    for start, end in sorted(places):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def between(text: str, kept: list[str]) -> list[Place]:
    """Return what lies between the pieces of a text that were kept; nothing where they are not its pieces."""
    places, position = list[Place](), 0
    for number, piece in enumerate(kept):
        at = len(text) - len(piece) if number == len(kept) - 1 else text.find(piece, position)
        if at < position or not text.startswith(piece, at):
            return []
        if number:
            places.append((position, at))
        position = at + len(piece)
    return places


def megabytes_per_s(library: Library, texts: list[str]) -> float:
    """Redact these texts once; return megabytes per second of CPU time, which a busy machine hardly changes."""
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    start = time.process_time()
    for text in texts:
        library.run(text)
    return size / 1e6 / max(time.process_time() - start, 1e-6)


def main(name: str) -> int:
    """Answer commands until there are no more.

    The first line of the answers is `{"version": ...}`, or `{"missing": ...}`. Then `{"answer": [texts]}` is answered
    by a list of places for each text, `{"time": [texts]}` by megabytes per second.
    """
    # What libraries print goes to stderr; the answers alone go to stdout.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        try:
            library = LIBRARIES[name]()
        except ImportError as error:
            answers.write(json.dumps({"missing": str(error)}) + "\n")
            return 1
        answers.write(json.dumps({"version": library.version}) + "\n")
        answers.flush()
        for line in sys.stdin:
            command = json.loads(line)
            if "answer" in command:
                result: object = [library.places(text) for text in command["answer"]]
            else:
                result = megabytes_per_s(library, command["time"])
            answers.write(json.dumps(result) + "\n")
            answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
