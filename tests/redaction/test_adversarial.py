"""Texts made to slow a rule down: near-misses of its own examples, over and over.

Two promises. Each rule by itself, with no budget to save it, takes time linear in the text: ten times the text takes at
most twelve times as long. And with the defaults no text of 256 KB takes long, whatever is in it.

CPU time of this thread is measured, sizes take turns, and the best of several counts, so that other work on the machine
does not fail it. What looks bad once is measured again before it is called so; what is fine once is fine.
"""

import json
import time
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from structllm.processors.redact import Redact
from structllm.redaction import budget
from structllm.redaction.key_pairs import rule_of_keys
from structllm.redaction.keys import KeyRules
from structllm.redaction.packs import DEFAULT_PACKS, PACKS
from structllm.redaction.rule import Rule, Sample
from structllm.redaction.scan import Scanner

RULES = [*(rule for pack in DEFAULT_PACKS for rule in PACKS[pack]), rule_of_keys(KeyRules())]
GROWTH, LINEAR = 10, 12.0
PROMISED_CHARS, LONGEST_CHARS = 100_000, 256_000
CONFIRMATIONS = 5
JSON_TIMES = 60
"""So many times may the longest text cost what it costs to encode and decode it as JSON."""

Work = Callable[[str], object]


def shapes(rule: Rule) -> Iterator[tuple[str, str, str]]:
    """Yield (name, head, unit): a text is the head and then as many units as fit."""
    sample = max(rule.matches, key=lambda each: len(each.secret))
    before, _, after = sample.around.partition("{}")
    secret = sample.secret
    near = f"{before}{secret[:-1]}{after}"
    yield "near-miss", "", f"{near} {near}\n"
    yield "hit", "", f"{sample.text}\n"
    yield "beginning", "", before + secret[:8]
    yield "run", before + secret, secret[len(secret) // 2]
    yield "middle", before + secret[:8], secret[len(secret) // 2 :] + secret[len(secret) // 3 : len(secret) // 2]
    if before.strip():
        yield "words before", "", before
    for keyword in rule.keywords[:1]:
        yield "keyword", "", f"{keyword} {secret[: len(secret) // 2]} "


def text_of(head: str, unit: str, chars: int) -> str:
    """Fill a text up to its size."""
    return (head + unit * (chars // len(unit) + 1))[:chars]


def cpu_s(work: Work, text: str) -> float:
    """Return what it costs once, in CPU time of this thread."""
    start = time.thread_time()
    work(text)
    return max(time.thread_time() - start, 1e-6)


def grows(work: Work, head: str, unit: str, chars: int, times: int, bound: float) -> bool:
    """Say whether a text that is so many times as long takes more than the bound; best of some that take turns."""
    short, long = text_of(head, unit, chars), text_of(head, unit, chars * times)
    small, large = list[float](), list[float]()
    for _ in range(CONFIRMATIONS):
        small.append(cpu_s(work, short))
        large.append(cpu_s(work, long))
        if min(large) <= bound * min(small):
            return False
    return True


def linear(work: Work, head: str, unit: str, promised_chars: int = PROMISED_CHARS) -> bool:
    """Say whether the time is linear in the text."""
    # Three times the text at twice that much: what is quadratic need not be waited for. Only what looks far around each
    # candidate, up to a bound, also grows faster as long as the text is short, and less than that.
    if grows(work, head, unit, promised_chars // 10, 3, 6):
        return False
    return not (
        grows(work, head, unit, promised_chars // 10, GROWTH, LINEAR)
        and grows(work, head, unit, promised_chars, GROWTH, LINEAR)
    )


def scanner_of(rule: Rule) -> Scanner:
    """Return a scanner of one rule, with a clock that stands still: the budget hides nothing of what it costs."""
    return Scanner([rule], clock=lambda: 0.0)


@pytest.fixture
def no_limit_of_hits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a text have as many candidates as fit into it."""
    monkeypatch.setattr(budget, "MAX_HITS", 10**9)


@cache
def redact() -> Redact:
    """Return the processor with its defaults."""
    return Redact()


def as_note(text: str) -> object:
    """Redact a text as a field of an event."""
    return redact()(None, "", {"event_type": "note", "note": text})


def bound_s(text: str) -> float:
    """Return what a text may cost: a multiple of a yardstick in this process, or twice the budget of a field."""
    yardstick = min(cpu_s(lambda each: json.loads(json.dumps(each)), text) for _ in range(3))
    return max(JSON_TIMES * yardstick, 2 * budget.MAX_SECONDS)


def stops(work: Work, text: str) -> bool:
    """Say whether a text takes longer than it may, each time that it is tried."""
    bound = bound_s(text)
    return all(cpu_s(work, text) > bound for _ in range(CONFIRMATIONS))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
class TestRules:
    """Every rule of the default packs, and the one for names."""

    @pytest.mark.usefixtures("no_limit_of_hits")
    def test_linear(self, rule: Rule) -> None:
        """Ten times the text takes at most twelve times as long, with no budget to cut it short."""
        work = scanner_of(rule).redact
        assert [] == [name for name, head, unit in shapes(rule) if not linear(work, head, unit)]

    def test_longest(self, rule: Rule) -> None:
        """With all rules at work and the default budget, 256 KB of it do not stop the program for long."""
        texts = ((name, text_of(head, unit, LONGEST_CHARS)) for name, head, unit in shapes(rule))
        assert [] == [name for name, text in texts if stops(as_note, text)]


def backwards(data: bytes, start: int, end: int) -> bool:
    """Look at all that stands before a candidate: quadratic in a text full of them."""
    return sum(data[:start:4]) < 0


class TestJudge:
    """The measurement: it has to find what it is there for."""

    @pytest.mark.usefixtures("no_limit_of_hits")
    def test_quadratic_check(self) -> None:
        """A check that reads the text from its beginning, for each candidate, is found out."""
        rule = Rule("mutant", r"zz[0-9]{4}", (Sample("zz1234"),), ("zz12",), check=lambda *each: not backwards(*each))
        assert not linear(scanner_of(rule).redact, "", "zz1234 ", promised_chars=10_000)

    @pytest.mark.usefixtures("no_limit_of_hits")
    def test_linear_check(self) -> None:
        """A check that looks around each candidate, bounded, is not."""
        rule = Rule("near", r"zz[0-9]{4}", (Sample("zz1234"),), ("zz12",), check=lambda d, a, b: d[a - 64 : b] != b"")
        assert linear(scanner_of(rule).redact, "", "zz1234 ", promised_chars=10_000)

    def test_slow(self) -> None:
        """Work that takes longer than the bound is found out, and work that does not is not."""
        text = text_of("", "zz1234 ", LONGEST_CHARS)

        def busy(times: float) -> Work:
            def work(each: str) -> None:
                end = time.thread_time() + times * bound_s(each)
                while time.thread_time() < end:
                    pass

            return work

        assert stops(busy(1.5), text)
        assert not stops(busy(0.1), text)
