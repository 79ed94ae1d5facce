"""How much one text may cost, and that nothing is shown that was not scanned."""

import random
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm.processors.redact import Redact
from structllm.redaction.budget import MAX_HITS, Budget, Exhausted
from structllm.redaction.known import KnownValues
from structllm.redaction.packs import DEFAULT_PACKS, PACKS
from structllm.redaction.rule import Rule, Sample
from structllm.redaction.scan import Scanner

RULES = [rule for pack in DEFAULT_PACKS for rule in PACKS[pack]]
TRUNCATED = "[TRUNCATED:redaction_budget]"
ONE = Rule("one", "ONE-[0-9]{4}", (Sample("ONE-1234"),), ("ONE",))
TWO = Rule("two", "TWO-[0-9]{4}", (Sample("TWO-1234"),), ("TWO",))


class Clock:
    """Stands still until somebody has looked so many times, and then again, at a later time."""

    def __init__(self, late_s: float, free_looks: int = 1) -> None:
        self._looks: Iterator[int] = count()
        self._late_s = late_s
        self._free_looks = free_looks

    def __call__(self) -> float:
        return 0.0 if next(self._looks) < self._free_looks else self._late_s


@cache
def scanner() -> Scanner:
    """Return a scanner of all rules."""
    return Scanner(RULES, known=KnownValues(["aaaaaaaa", "hunter2hunter2"]))


class TestHits:
    def test_rest_is_cut(self) -> None:
        """Behind the 20,000th hit the text ends; everything before it is redacted by every rule."""
        text = "TWO-4321 " + "ONE-1234 " * (MAX_HITS + 1000) + "TWO-4321 tail"
        clean, rules, _ = Scanner([ONE, TWO], clock=lambda: 0.0).redact(text)
        assert "[REDACTED:two] " + "[REDACTED:one] " * MAX_HITS + TRUNCATED == clean
        assert {"one": MAX_HITS, "two": 1, "budget": 1} == {rule: rules.count(rule) for rule in set(rules)}

    def test_as_many_are_no_problem(self) -> None:
        """Exactly so many hits are replaced."""
        text = "ONE-1234 " * MAX_HITS
        assert "[REDACTED:one] " * MAX_HITS == Scanner([ONE], clock=lambda: 0.0).redact(text).text

    def test_known_values_and_escapes_count(self) -> None:
        """Whatever is looked at one by one has the same bound."""
        known = Scanner([], known=KnownValues(["hunter2hunter2"]), clock=lambda: 0.0)
        assert known.redact("hunter2hunter2 " * (MAX_HITS + 5)).text.endswith(f"[REDACTED:known-value] {TRUNCATED}")
        escapes = "a%20" * (MAX_HITS + 5) + "ONE-%31234"
        clean = Scanner([ONE], clock=lambda: 0.0).redact(escapes).text
        assert ("a%20" * 100, TRUNCATED, False) == (clean[:400], clean[-len(TRUNCATED) :], "ONE" in clean)


class TestTime:
    def test_half_the_time(self) -> None:
        """Where half of the time is over, the rules behind look no further than that one came."""
        text = "ONE-1234 " * 500 + "TWO-4321 " * 500
        clean = Scanner([ONE, TWO], clock=Clock(0.03, free_looks=10)).redact(text).text
        assert clean.endswith(TRUNCATED)
        assert clean.startswith("[REDACTED:one] " * 100)
        assert not any(piece in clean for piece in ("ONE-", "TWO-"))

    def test_all_of_it(self) -> None:
        """Where nothing can be scanned in time, nothing is shown."""
        clean, rules, _ = Scanner([ONE], clock=partial(next, count())).redact("ONE-1234 " * 5000)
        assert (TRUNCATED, ("budget",)) == (clean, rules)

    def test_beginning_of_a_text_that_takes_too_long(self) -> None:
        """Where the whole takes too long but its beginning does not, the beginning is shown."""

        class Slow:
            """Too slow for the first text only."""

            def __init__(self) -> None:
                self.looks = count()

            def __call__(self) -> float:
                return 1.0 if 0 < next(self.looks) < 2 else 0.0

        clean = Scanner([ONE], clock=Slow()).redact("ONE-1234 " * 5000).text
        assert clean.startswith("[REDACTED:one] " * 400)
        assert clean.endswith(TRUNCATED)
        assert "ONE-" not in clean

    def test_small_texts_look_at_the_clock_once_in_a_while(self) -> None:
        """A budget without work is not spent."""
        budget = Budget(Clock(1.0))
        assert not any(budget.spend() for _ in range(31))
        with pytest.raises(Exhausted):
            [budget.spend() for _ in range(2000)]

    def test_event_goes_on(self) -> None:
        """The budget is that of a field: the others are whole, and the event says what happened."""
        redact = Redact(packs=[], rules=[ONE], known=KnownValues())
        event = redact(None, "info", {"a": "ONE-1234 " * (MAX_HITS + 10), "b": "ONE-1234"})
        assert ("[REDACTED:one]", True) == (event["b"], event["a"].endswith(TRUNCATED))
        assert ["budget", "one"] == event["redactions"]["rules"]
        assert dict(event) == redact(None, "info", dict(event))


class TestNothingUnscanned:
    @given(
        st.lists(st.sampled_from(["ONE-1234", "TWO-4321", "x", "é", "%20", "ONE-%31234", "\u200b"]), max_size=80),
        st.integers(0, 30),
    )
    @settings(max_examples=200)
    def test_wherever_the_budget_ends(self, pieces: list[str], looks: int) -> None:
        """Whenever time runs out, no secret is shown, and what is shown is the beginning of the clean text."""
        text = " ".join(pieces * 40)
        rules = [ONE, TWO]
        whole = Scanner(rules, clock=lambda: 0.0).redact(text).text
        clean = Scanner(rules, clock=Clock(0.03, free_looks=looks + 1)).redact(text).text
        assert not any(secret in clean for secret in ("ONE-1234", "TWO-4321", "ONE-%31234"))
        if clean.endswith(TRUNCATED):
            shown = clean.removesuffix(TRUNCATED)
            assert whole.startswith(shown)
        else:
            assert whole == clean
        explained, position = list[str](), 0
        for hit in Scanner(rules, clock=Clock(0.03, free_looks=looks + 1)).explain(text):
            explained += (text[position : hit.start], hit.replacement)
            position = hit.end
        assert clean == "".join((*explained, text[position:]))


def units() -> Iterator[tuple[str, str]]:
    """Yield what is repeated to attack each rule: what it nearly matches, what it matches, and halves of that."""
    for rule in RULES:
        for number, text in enumerate(rule.misses):
            yield f"{rule.id} miss {number}", text + " "
        for number, sample in enumerate(rule.matches):
            yield f"{rule.id} match {number}", sample.text + " "
            yield f"{rule.id} cut {number}", sample.text[:-2] + " "
            yield f"{rule.id} half {number}", sample.text[: max(4, len(sample.text) // 2)]
            yield f"{rule.id} glued {number}", sample.text


DISGUISED = {
    "escapes": "%41",
    "escape in a word": "a%41",
    "unseen": "a\u200bb",
    "base64": "cGFzc3dvcmQ9aHVudGVyMmh1bnRlcjIg",
    "base64 words": "aGVsbG8gd29ybGQsIHlvdQ== ",
    "uris": "data:a/b;base64,",
    "closed uris": "data:a/b;base64,AAAA ",
    "signatures": " SUQzA",
    "markers": "[REDACTED:email]",
    "half markers": "[REDACTED:",
    "brackets": "[",
    "known value": "a",
}
CHARS = 256 * 1024


def cost_s(text: str) -> float:
    """Return the CPU time that a text costs in an event that is scanned whole."""
    redact = _redact()
    began = time.process_time()
    redact(None, "info", {"text": text})
    return time.process_time() - began


@cache
def _redact() -> Redact:
    return Redact(preview_chars={}, known=KnownValues(["aaaaaaaa", "hunter2hunter2"]))


class TestAdversaries:
    """Bounds are those of a text that costs its whole budget, measured beside it: machines differ."""

    @pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in {**DISGUISED}.items()])
    def test_disguises_cost_no_more_than_the_budget(self, make: str) -> None:
        """Ten times the text costs at most twelve times as much, up to the budget."""
        small, large = make * (100_000 // len(make)), make * (1_000_000 // len(make))
        least = min(cost_s(small) for _ in range(3))
        assert min(cost_s(large) for _ in range(3)) <= max(12 * least, 0.1 * _slowness())

    def test_no_unit_of_any_rule_stops_the_agent(self) -> None:
        """Whatever is repeated, 256 KB cost less than twice the budget of a text."""
        slow = list[tuple[str, float]]()
        for name, unit in random.Random(5).sample(sorted(units()), 60):
            text = (unit * (CHARS // len(unit) + 1))[:CHARS]
            if cost_s(text) > 0.1 * _slowness() and min(cost_s(text) for _ in range(3)) > 0.1 * _slowness():
                slow.append((name, cost_s(text)))
        assert [] == slow


@cache
def _slowness() -> float:
    """Return how much slower than usual this machine is now: 1 for 20 ms of counting."""

    def spent() -> float:
        began = time.process_time()
        sum(range(1_000_000))
        return time.process_time() - began

    step: Callable[[], float] = spent
    return max(1.0, min(step() for _ in range(3)) / 0.02)
