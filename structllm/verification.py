"""Checking a whole log: its lines given to the chains of their writers, and those that belong to none."""

import re
from collections import Counter
from dataclasses import replace
from typing import Any, cast

import orjson

from structllm.chain import Hasher, Sealed, unseal
from structllm.tampering import PROBLEMS, Chain, Finding, Place

_MOST_FINDINGS = 1000
_BEGINNING = b'{"event_type":"'
_WRITER = re.compile(rb'"writer":"([^"\\]{1,200})"')


class LogCheck:
    """Checks the lines of one log, in the order of its files.

    Args:
        fresh: The hasher that the log was written with.

    Attributes:
        chains: What was read of each writer that seals its lines.
        findings: The first thousand.
        count: All of them, by verdict.
    """

    def __init__(self, fresh: Hasher) -> None:
        self.chains: dict[str, Chain] = {}
        self.findings: list[Finding] = []
        self.count: Counter[str] = Counter()
        self._fresh = fresh
        self._unsealed: dict[str, list[Any]] = {}  # writer to the place of the first such line, and how many

    @property
    def problems(self) -> int:
        """How many findings prove that the log was changed."""
        return sum(self.count[verdict] for verdict in PROBLEMS)

    def add(self, line: bytes, place: Place) -> None:
        """Take the next line, without its newline."""
        try:
            event: object = orjson.loads(line)
        except ValueError:
            self._add_damaged(line, place)
            return
        if not isinstance(event, dict):
            self._find(Finding("bad", f"{place}: no JSON object", place))
            return
        name = cast("dict[str, Any]", event).get("writer")
        writer = name if isinstance(name, str) else ""
        sealed = unseal(line)
        chain = self.chains.get(writer)
        if sealed is None and chain is not None:
            chain.add_broken(place)
        elif sealed is None:
            self._unsealed.setdefault(writer, [place, bool(self.chains), 0])[2] += 1
        elif chain is not None:
            chain.add(sealed, place)
        elif not writer and sealed.seq > 1 and self.chains:
            self._find(Finding("altered", f"{place}: names no writer any more", place))
        elif not self._is_renamed(sealed, writer, place):
            self.chains[writer] = chain = Chain(writer, self._fresh, self._find)
            chain.add(sealed, place)

    def add_bad(self, place: Place, reason: str) -> None:
        """Take a line that could not be read."""
        self._find(Finding("bad", f"{place}: {reason}", place))

    def finish(self) -> None:
        """Tell what can only be told when everything was read."""
        for writer, chain in self.chains.items():
            chain.finish()
            if chain.first > 1 and chain.begun is not None:
                gone = f"nothing before sink_seq {chain.first} is left (retention deletes the oldest files)"
                text = f"{chain.begun}: {gone}, so this line itself cannot be checked"
                self._find(Finding("unproven", text, chain.begun, chain.first, chain.first), writer)
        for writer, (place, is_behind, lines) in self._unsealed.items():
            if not self.chains:
                continue
            what = f"{place}: {'a line' if lines == 1 else f'{lines:,} lines'} without sink_seq and hash"
            if writer in self.chains or is_behind:
                self._find(Finding("inserted", f"{what}, in a log whose lines have them", place), writer)
            else:
                self._find(Finding("unproven", f"{what}, from before integrity was switched on", place), writer)

    def _find(self, finding: Finding, writer: str | None = None) -> None:
        self.count[finding.verdict] += 1
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(finding if writer is None else replace(finding, writer=writer))

    def _add_damaged(self, line: bytes, place: Place) -> None:
        """Take a line that is no JSON: half of one, which a crash leaves, or a sealed one that was changed."""
        begins = line.rfind(_BEGINNING)
        match = _WRITER.search(line)
        writer = match[1].decode("utf-8", "replace") if match else ""
        if begins <= 0 and b'"sink_seq":' in line and not line.endswith(b"}~") and writer in self.chains:
            self.chains[writer].add_broken(place)
        else:
            self._find(Finding("bad", f"{place}: not JSON; half of a line that a crash left, or damaged", place))

    def _is_renamed(self, sealed: Sealed, writer: str, place: Place) -> bool:
        """Return whether the line was written by another writer, and take it as its altered line if so."""
        if sealed.seq == 1:
            return False
        name = b'"writer":' + orjson.dumps(writer)
        for other, chain in self.chains.items():
            body = sealed.body.replace(name, b'"writer":' + orjson.dumps(other), 1)
            if chain.continues(body, sealed.seq, sealed.hash):
                chain.take_altered(sealed, place, "writer")
                return True
        return False
