"""What redacts, and how fast: structllm, logfire's scrubber, detect-secrets, scrubadub and thirty times re.sub.

    python -m benchmarks.compare_redaction [--python INTERPRETER]... [--seed N] [--rounds N]

All get the same texts, the labelled corpus of `tests/redaction/corpus.py`. Each runs in a process of its own, in the
first interpreter given that has it, and is left out where none has it. Times are taken in turns: in each round every
library redacts the same texts once, in a new random order, and the median over the rounds is shown.

A secret is found where 90 % of it is covered, and a replacement is false where it touches none. `excess` is the part
of the other characters that goes along: a library that drops whole values finds a lot, and leaves little. Speed is
megabytes per second of CPU time.
"""

import argparse
import json
import os
import random
import select
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.redaction_peers import LIBRARIES
from benchmarks.redaction_texts import prose
from tests.redaction.corpus import HARMLESS, Document, documents
from tests.redaction.corpus_score import Replaced, Score

PEERS = Path(__file__).with_name("redaction_peers.py")
ANSWER_S = 300.0
PERSONAL = frozenset({"email", "phone", "ssn", "iban", "card", "card_spaced"})
HEADINGS = ("secrets found", "personal data found", "precision", "harmless texts changed", "excess")
TIMED_BYTES = 30_000


class PeerError(Exception):
    """A library that cannot be asked."""


class Peer:
    """A library in a process of its own.

    Args:
        name: One of LIBRARIES.
        interpreter: A Python that may have it.

    Raises:
        PeerError: It does not have it, or the library does not start.
    """

    def __init__(self, name: str, interpreter: str) -> None:
        self.name = name
        self.interpreter = interpreter
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("LLM__", "STRUCTLLM_"))}
        self._process = subprocess.Popen(
            [interpreter, "-I", str(PEERS), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        try:
            ready = self._read()
            if "missing" in ready:
                raise PeerError(ready["missing"])
        except BaseException:
            self.close()
            raise
        self.version: str = ready["version"]

    def ask(self, command: dict[str, Any]) -> Any:
        """Send a command, and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate(timeout=ANSWER_S)

    def _read(self) -> Any:
        assert self._process.stdout is not None
        answered, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
        line = self._process.stdout.readline() if answered else ""
        if not line:
            raise PeerError(f"{self.name} in {self.interpreter}: no answer")
        return json.loads(line)


class Quality(NamedTuple):
    """What a library makes of the corpus."""

    secrets: Score
    personal: Score
    whole: Score


def find_peers(interpreters: Sequence[str], closing: ExitStack) -> list[Peer]:
    """Start each library in the first interpreter that has it."""
    peers = []
    for name in LIBRARIES:
        for interpreter in interpreters:
            try:
                peer = Peer(name, interpreter)
            except PeerError as error:
                print(f"{name}: {error}", file=sys.stderr)
                continue
            closing.callback(peer.close)
            peers.append(peer)
            break
    return peers


def judge(corpus: Sequence[Document], answers: Sequence[Sequence[Sequence[int]]]) -> Quality:
    """Hold what a library replaces against the labels."""
    quality = Quality(Score(), Score(), Score())
    for document, places in zip(corpus, answers, strict=True):
        replaced = [Replaced(start, end, "") for start, end in places]
        quality.whole.add(document, replaced)
        if document.kind != HARMLESS:
            (quality.personal if document.kind in PERSONAL else quality.secrets).add(document, replaced)
    return quality


def sample(texts: Sequence[str], rng: random.Random) -> list[str]:
    """Pick texts to time: as many as make up so many characters."""
    chosen, size = list[str](), 0
    for text in rng.sample(texts, len(texts)):
        if size >= TIMED_BYTES:
            break
        chosen.append(text)
        size += len(text)
    return chosen


def race(peers: Sequence[Peer], texts: Sequence[str], rounds: int) -> dict[str, float]:
    """Return each library's megabytes per second, median over the rounds."""
    order, speeds = random.Random(1), {peer.name: list[float]() for peer in peers}
    for timed in [False] + [True] * rounds:
        for peer in order.sample(peers, len(peers)):
            speed = peer.ask({"time": texts})
            if timed:
                speeds[peer.name].append(speed)
    return {name: statistics.median(values) for name, values in speeds.items() if values}


def table(rows: Sequence[Sequence[str]]) -> str:
    """Draw a Markdown table; the first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---|---|" + "---:|" * (len(rows[0]) - 2), *lines[1:]])


def compare(corpus: Sequence[Document], peers: Sequence[Peer], rounds: int, seed: int) -> str:
    """Ask every library about every text, and return the table with what was measured."""
    harmless = [document.text for document in corpus if document.kind == HARMLESS]
    laden = [document.text for document in corpus if document.kind != HARMLESS]
    texts, rng = [document.text for document in corpus], random.Random(seed)
    qualities = {peer.name: judge(corpus, peer.ask({"answer": texts})) for peer in peers}
    timed = {"prose": [prose(TIMED_BYTES)], "harmless": sample(harmless, rng), "with secrets": sample(laden, rng)}
    speeds = [race(peers, each, rounds) for each in timed.values()]
    rows = [["library", "version", *HEADINGS, *(f"MB/s, {name}" for name in timed)]]
    for peer in peers:
        secrets, personal, whole = qualities[peer.name]
        rows.append(
            [
                peer.name,
                peer.version,
                f"{secrets.recall:.3f}",
                f"{personal.recall:.3f}",
                f"{whole.precision:.3f}",
                f"{whole.flagged} of {len(harmless)}",
                f"{100 * whole.excess / whole.rest:.1f} %",
                *(f"{speed.get(peer.name, 0):.2f}" for speed in speeds),
            ]
        )
    labels = sum(len(document.labels) for document in corpus)
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}, {python}, seed {seed}: "
        f"{labels} secrets in {len(laden)} texts, {len(harmless)} harmless texts; "
        f"timed on 30 KB of each, {rounds} rounds."
    )
    return f"{table(rows)}\n\n{note}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    description = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare_redaction", description=description)
    parser.add_argument("--python", action="append", default=[], help="an interpreter that has some of the libraries")
    parser.add_argument("--seed", type=int, default=20260304, help="of the corpus")
    parser.add_argument("--secrets", type=int, default=1, help="texts for each kind of secret in each layout")
    parser.add_argument("--harmless", type=int, default=20, help="texts for each kind of harmless text")
    parser.add_argument("--rounds", type=int, default=15, help="how often each library redacts the timed texts")
    options = parser.parse_args(arguments)
    corpus = list(documents(options.seed, secrets=options.secrets, harmless=options.harmless))
    with ExitStack() as closing:
        peers = find_peers([sys.executable, *options.python], closing)
        print(compare(corpus, peers, options.rounds, options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
