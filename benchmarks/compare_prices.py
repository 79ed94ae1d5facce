"""Our costs and our speed beside those of litellm, tokencost and bare genai-prices, on the same records, in one table.

    python -m benchmarks.compare_prices [RECORDS] [--python INTERPRETER]... [--rounds N] [--starts N] [--show]

Libraries that want other versions of the same packages cannot live in one environment (litellm wants openai below 3),
so each runs in a process of its own, in the first interpreter given that has it, and is left out where none has it.
Times are taken in turns: in each round every library prices the same records once, in a new random order, and the
median over the rounds is shown. Only records that all of them put a figure on are timed.

RECORDS are lines of JSON as in `prices.jsonl`: `usd` is the cost by hand, at the provider's list price of the day, and
null where it cannot be known; `micro_usd` is the arithmetic, tokens times USD per million.
"""

import argparse
import json
import os
import random
import select
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.price_peers import LIBRARIES

RECORDS = Path(__file__).with_name("prices.jsonl")
PEERS = Path(__file__).with_name("price_peers.py")
TOLERANCE_USD = Decimal("1e-9")
ANSWER_S = 300.0
VERDICTS = ("right", "wrong", "zero", "unknown", "raised")
HEADINGS = ("right", "wrong", "silently 0", "says unknown", "raises")


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
        self.ready_s: float = ready["ready_s"]

    def ask(self, command: Mapping[str, Any]) -> Any:
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


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read lines of JSON."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_hand(arithmetic: str) -> Decimal:
    """Work a sum of products out, in millionths: `150*1.10 + 75*4.40` is 0.000495."""
    total = Decimal(0)
    for product in arithmetic.split("+"):
        count, rate = product.split("*")
        total += Decimal(count.strip()) * Decimal(rate.strip())
    return total / 10**6


def verdict(record: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """Judge an answer; where a cost cannot be known, every refusal is right and every figure is not."""
    usd = None if record["usd"] is None else Decimal(record["usd"])
    if "usd" not in answer:
        return "right" if usd is None else "unknown" if "unknown" in answer else "raised"
    if answer["usd"] == 0 and usd != 0:
        return "zero"
    return "right" if usd is not None and abs(Decimal(repr(answer["usd"])) - usd) <= TOLERANCE_USD else "wrong"


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


def starts(peer: Peer, count: int) -> float:
    """Return the median of the times that a start takes, in seconds."""
    times = []
    for _ in range(count):
        other = Peer(peer.name, peer.interpreter)
        other.close()
        times.append(other.ready_s)
    return statistics.median(times) if times else peer.ready_s


def race(peers: Sequence[Peer], records: Sequence[Mapping[str, Any]], rounds: int) -> dict[str, float]:
    """Return each library's microseconds per call, median over the rounds."""
    order, times = random.Random(1), {peer.name: list[float]() for peer in peers}
    for timed in [False] + [True] * rounds:
        for peer in order.sample(peers, len(peers)):
            took_us = peer.ask({"time": records, "times": 1})
            if timed:
                times[peer.name].append(took_us)
    return {name: statistics.median(values) for name, values in times.items() if values}


def table(rows: Sequence[Sequence[str]]) -> str:
    """Draw a Markdown table; the first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def compare(records: Sequence[Mapping[str, Any]], peers: Sequence[Peer], rounds: int, count: int, show: bool) -> str:
    """Ask every library about every record, and return the table with what was measured."""
    answers = {peer.name: peer.ask({"answer": records}) for peer in peers}
    verdicts = {name: [verdict(*pair) for pair in zip(records, mine, strict=True)] for name, mine in answers.items()}
    if show:
        say_misses(records, answers, verdicts)
    by_record = zip(records, *answers.values(), strict=True)
    common = [record for record, *given in by_record if all(one.get("usd") for one in given)]
    times_us = race(peers, common, rounds) if common else {}
    rows = [["library", "version", *HEADINGS, "us per call", "import and first price, s"]]
    for peer in peers:
        counted = Counter(verdicts[peer.name])
        time_us = f"{times_us[peer.name]:.1f}" if peer.name in times_us else ""
        found = [str(counted[name]) for name in VERDICTS]
        rows.append([peer.name, peer.version, *found, time_us, f"{starts(peer, count):.2f}"])
    unknowable = sum(record["usd"] is None for record in records)
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}, {len(records)} records, {unknowable} of which cannot be priced; "
        f"timed on the {len(common)} that all put a figure on, {rounds} rounds."
    )
    return f"{table(rows)}\n\n{note}"


def say_misses(
    records: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
    verdicts: Mapping[str, Sequence[str]],
) -> None:
    """Write what is not right to stderr."""
    for position, record in enumerate(records):
        for name, judged in verdicts.items():
            if judged[position] != "right":
                said = json.dumps(answers[name][position])
                print(f"{record['name']} ({record['usd']}): {name}: {judged[position]}: {said}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare_prices", description=__doc__.splitlines()[0])
    parser.add_argument("records", nargs="?", type=Path, default=RECORDS, help="lines of JSON; default: prices.jsonl")
    parser.add_argument("--python", action="append", default=[], help="an interpreter that has some of the libraries")
    parser.add_argument("--rounds", type=int, default=100, help="how often each library prices the timed records")
    parser.add_argument("--starts", type=int, default=3, help="how often each library is started for its time")
    parser.add_argument("--show", action="store_true", help="say on stderr which answers are not right")
    options = parser.parse_args(arguments)
    with ExitStack() as closing:
        peers = find_peers([sys.executable, *options.python], closing)
        records = read_records(options.records)
        print(compare(records, peers, options.rounds, options.starts, options.show))
    return 0


if __name__ == "__main__":
    sys.exit(main())
