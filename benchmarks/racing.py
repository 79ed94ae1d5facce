"""Variants of the same work, timed side by side in one process."""

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One way to do the work; `run(count)` does it that many times."""

    name: str
    run: Callable[[int], None]


@dataclass(frozen=True)
class Target:
    """What the ratio of two variants is meant to be: at most (or, where `faster`, at least) `bound`."""

    variant: str
    base: str
    bound: float
    faster: bool = False


@dataclass
class Race:
    """Rounds of blocks: in each round every variant runs one block of `block` repetitions, in a new random order.

    Blocks are best kept around a millisecond, shorter than a time slice of the scheduler: then most of them are not
    interrupted, and the median is that of undisturbed ones. CPU time, which other processes hardly touch, is taken too.

    Attributes:
        rounds: How many there are, where each takes long; None for as many as usual.
        wall_us: Microseconds per repetition, by variant, one entry per round.
        cpu_us: The same, in CPU time of this thread.
    """

    title: str
    variants: list[Variant]
    block: int
    targets: list[Target] = field(default_factory=list)
    rounds: int | None = None
    wall_us: dict[str, list[float]] = field(default_factory=dict)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)
    _order: random.Random = field(default_factory=lambda: random.Random(1))

    def round(self) -> None:
        """Run every variant once."""
        for variant in self._order.sample(self.variants, len(self.variants)):
            wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
            variant.run(self.block)
            cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
            self.wall_us.setdefault(variant.name, []).append(wall / 1000 / self.block)
            self.cpu_us.setdefault(variant.name, []).append(cpu / 1000 / self.block)

    @property
    def repetitions(self) -> int:
        """How often each variant has done its work so far."""
        return self.block * len(self.wall_us.get(self.variants[0].name, ()))

    def summary(self) -> dict[str, Any]:
        """The figures, for the JSON of pytest-benchmark."""
        base = self.variants[0].name
        return {
            variant.name: {
                "wall_us": statistics.median(self.wall_us[variant.name]),
                "cpu_us": statistics.median(self.cpu_us[variant.name]),
                f"wall_x_{base}": ratio(self.wall_us, variant.name, base),
                f"cpu_x_{base}": ratio(self.cpu_us, variant.name, base),
            }
            for variant in self.variants
        }

    def report(self) -> list[str]:
        """The figures, for people."""
        base = self.variants[0].name
        rounds = len(self.wall_us[base])
        if rounds < 2:
            return [f"{self.title}: correct; not timed (make bench does)"]
        lines = [f"{self.title}: {rounds} rounds of {self.block}; median [quartiles], and the median in CPU time"]
        for variant in self.variants:
            low, middle, high = ratio(self.wall_us, variant.name, base)
            cpu = ratio(self.cpu_us, variant.name, base)[1]
            time_us = statistics.median(self.wall_us[variant.name])
            spread = f"{middle:6.2f} x {base} [{low:.2f} - {high:.2f}]"
            lines.append(f"  {variant.name:<20} {spread:<34} cpu {cpu:6.2f} x {time_us:9.2f} us")
        return lines + [self._judge(target) for target in self.targets]

    def _judge(self, target: Target) -> str:
        if target.faster:
            reached = ratio(self.wall_us, target.base, target.variant)[1]
            wanted, met = f"at least {target.bound} x cheaper than {target.base}", reached >= target.bound
        else:
            reached = ratio(self.wall_us, target.variant, target.base)[1]
            wanted, met = f"at most {target.bound} x {target.base}", reached <= target.bound
        return f"  target: {target.variant} {wanted}: {reached:.2f}, {'met' if met else 'not met'}"


def ratio(times: Mapping[str, list[float]], name: str, base: str) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile of the ratio of two variants within a round."""
    ratios = [mine / other for mine, other in zip(times[name], times[base], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return low, middle, high
