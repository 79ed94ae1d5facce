"""Times a rule on texts that are made to be hard for it: near misses of what it looks for, repeated.

RE2 takes linear time for one search, but not for all searches of a text together: where each match has to look to the
end of the text before it is known, a text full of matches takes time in the square of its length.
"""

from collections.abc import Callable, Iterator
from time import thread_time

from structllm.redaction.budget import Budget
from structllm.redaction.rule import Rule
from structllm.redaction.rules import RuleFailed, RuleSet, encode

SLOWEST_S = 0.05
"""CPU time that a rule may take for 64 KiB, beside what it takes to look at candidates."""

_HIT_S = 20e-6  # for a candidate: several times what the slowest check takes

_SIZES = (4_096, 16_384, 65_536, 262_144)
_FULL_BYTES = 65_536
_LINEAR_FACTOR = 9.0  # four times the text may take so much longer; linear time is 4, quadratic 16
_NOISE_S = 0.01  # what takes less is not compared
_TRIES = 3  # of what seems slow: other work on the machine must not look like a slow rule
_RUN_CHARS = 40
_FILLER = "." * 60  # between real hits: no text is full of those
_RUNS = ("a", "A", "0", "a0", "Aa0_", "=", "-", ".", "/", '"', "\n")


def time_problem(rule: Rule, clock: Callable[[], float] = thread_time) -> str | None:
    """Return what is wrong with the time that a rule takes; None where nothing is.

    Args:
        rule: Its examples and keywords are what the texts are made of.
        clock: Returns seconds and never goes back.
    """
    rule_set = RuleSet((rule,))
    try:
        problems = (_problem_with(rule_set, seed, clock) for seed in _near_misses(rule))
        return next((problem for problem in problems if problem is not None), None)
    except RuleFailed as failure:
        return f"its check raises {type(failure.__cause__).__name__} on a near miss"


def _problem_with(rule_set: RuleSet, seed: str, clock: Callable[[], float]) -> str | None:
    before_s = 0.0
    for size in _SIZES:
        data = encode((seed * (size // len(seed) + 1))[:size])
        allowed_s = SLOWEST_S * max(1.0, size / _FULL_BYTES) + _HIT_S * _candidates(rule_set, data)
        linear_s = max(_NOISE_S, before_s * _LINEAR_FACTOR)
        spent_s = _time(rule_set, data, clock, min(allowed_s, linear_s))
        if spent_s > allowed_s:
            most_ms = allowed_s * 1000
            return f"takes {spent_s * 1000:.0f} ms for {size // 1024} KiB of near misses, and may take {most_ms:.0f}"
        if before_s and spent_s > linear_s:
            return f"takes {spent_s / before_s:.0f} times as long for {size // 1024} KiB as for a quarter of it"
        before_s = spent_s
    return None


def _time(rule_set: RuleSet, data: bytes, clock: Callable[[], float], enough_s: float) -> float:
    """Return what looking for the rule takes, the shortest of several tries where it takes long."""
    shortest_s = float("inf")
    for _ in range(_TRIES):
        began_s = clock()
        _candidates(rule_set, data)
        shortest_s = min(shortest_s, clock() - began_s)
        if shortest_s <= enough_s:
            break
    return shortest_s


class _Counting(Budget):
    """Counts candidates. Its clock stands still: stopped by that, no rule would ever be slow."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)
        self.hits = 0

    def spend(self) -> bool:
        """Count one."""
        self.hits += 1
        return super().spend()


def _candidates(rule_set: RuleSet, data: bytes) -> int:
    """Look for the rule in a text; return at how many candidates it looked."""
    budget = _Counting()
    if rule_set.look(data).ranks:
        rule_set.find(0, data, len(data), budget, [])
    return budget.hits


def _near_misses(rule: Rule) -> Iterator[str]:
    """Yield beginnings of texts that the rule looks at closely, and turns down or finds again and again."""
    for before, secret in ((sample.around.partition("{}")[0], sample.secret) for sample in rule.matches):
        middle = len(secret) // 2
        nearly = (secret[:-1], secret[1:], f"{secret[:middle]}!{secret[middle + 1 :]}", secret[:middle], "")
        yield from filter(None, (f"{before}{part}{end}" for part in nearly for end in ("", " ", "\n")))
        yield from (secret[:1], secret[-1:], f"{before}{secret}{_FILLER}")
    for keyword in rule.keywords:
        yield from (keyword, f"{keyword} ", f"{keyword}=", f'{keyword}": "')
        yield from (f"{keyword}={run * (_RUN_CHARS // len(run))} " for run in _RUNS)
    yield from _RUNS
