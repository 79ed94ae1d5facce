"""Real market data for the demo, and the indicators computed from it.

The prices come out of the installed package `hvsampledata` (BSD licence, extra `demo`): daily bars of Apple from 2019
to 2024, and weekly closes of other technology stocks from 2019 to 2023 that the data set gives relative to their first
week. The latter are therefore shown as what they are, an index (`MSFT-IDX`, first week = 100), and never as a price in
dollars. Nothing is fetched, nothing is made up: an indicator that needs highs, lows or volume is absent for an index.

Every indicator is the value at the last element of its input, oldest first. Inputs that are too short raise ValueError.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from itertools import pairwise
from typing import NamedTuple

from structllm.errors import MissingExtra, StructllmError

WARM_UP_BARS = 35
"""MACD's signal line needs 26 + 9 - 1 closes, the longest of all; one more lets every series have moved."""

LOOKBACK_BARS = 250
"""Smoothed indicators remember for ever, but Wilder's weighs a price of 250 bars ago by (13/14)^236, about 3e-8."""

DAILY_BARS_PER_YEAR = 252
WEEKLY_BARS_PER_YEAR = 52
INDEX_COLUMNS: Mapping[str, str] = {"MSFT-IDX": "Microsoft", "AMZN-IDX": "Amazon", "NFLX-IDX": "Netflix"}


class Series(NamedTuple):
    """The history of one symbol, oldest bar first; `highs`, `lows` and `volumes` are empty for an index."""

    symbol: str
    unit: str
    bars_per_year: int
    dates: Sequence[str]
    closes: Sequence[float]
    highs: Sequence[float] = ()
    lows: Sequence[float] = ()
    volumes: Sequence[float] = ()

    def until(self, date: str) -> "Series":
        """Return the last `LOOKBACK_BARS` bars up to and including an ISO date: what was known on that day."""
        end = sum(1 for known in self.dates if known <= date)
        window = slice(max(0, end - LOOKBACK_BARS), end)
        return self._replace(
            dates=self.dates[window],
            closes=self.closes[window],
            highs=self.highs[window],
            lows=self.lows[window],
            volumes=self.volumes[window],
        )


class MarketSnapshot(NamedTuple):
    """What the agent sees of one symbol at one moment.

    Attributes:
        symbol: `AAPL`, or an index such as `MSFT-IDX`.
        current_price: Last close, in `unit`.
        timestamp: The day of the last bar, as midnight UTC.
        indicators: Name to value, rounded to six significant digits.
        unit: `USD`, or `index, first week of 2019 = 100`.
    """

    symbol: str
    current_price: float
    timestamp: datetime
    indicators: Mapping[str, float]
    unit: str


class Macd(NamedTuple):
    """Moving average convergence/divergence, in the unit of the prices."""

    line: float
    signal: float
    histogram: float


def ema(values: Sequence[float], span: int) -> float:
    """Return the exponential moving average.

    The usual definition of charting tools: weight 2 / (span + 1) for each new value, started with the plain mean of the
    first `span` values.
    """
    return _ema_line(values, span)[-1]


def macd(closes: Sequence[float], fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """Return Gerald Appel's MACD: EMA(fast) - EMA(slow), the EMA(signal) of that line, and their difference."""
    _require(closes, slow + signal - 1)
    slow_line = _ema_line(closes, slow)
    fast_line = _ema_line(closes, fast)[slow - fast :]
    line = [quick - lazy for quick, lazy in zip(fast_line, slow_line, strict=True)]
    average = ema(line, signal)
    return Macd(line[-1], average, line[-1] - average)


def rsi(closes: Sequence[float], period: int = 14) -> float:
    """Return the relative strength index, 0 to 100.

    J. Welles Wilder, New Concepts in Technical Trading Systems (1978): 100 - 100 / (1 + average gain / average loss),
    which equals 100 * gain / (gain + loss); both averages use Wilder's smoothing. Prices that never moved give 50.
    """
    _require(closes, period + 1)
    changes = [after - before for before, after in pairwise(closes)]
    gain = _wilder([max(change, 0.0) for change in changes], period)
    loss = _wilder([max(-change, 0.0) for change in changes], period)
    return 100 * gain / (gain + loss) if gain + loss else 50.0


def atr(highs: Sequence[float], lows: Sequence[float], closes: Sequence[float], period: int = 14) -> float:
    """Return the average true range, in the unit of the prices, never negative.

    Wilder (1978): the true range of a bar is the largest of high - low, |high - previous close| and |low - previous
    close|, averaged with Wilder's smoothing. The first bar has no previous close and only serves as one.
    """
    _require(closes, period + 1)
    ranges = [
        max(high - low, abs(high - before), abs(low - before))
        for high, low, before in zip(highs[1:], lows[1:], closes, strict=False)
    ]
    return _wilder(ranges, period)


def volatility_pct(closes: Sequence[float], bars: int = 20, bars_per_year: int = DAILY_BARS_PER_YEAR) -> float:
    """Return the historical volatility in percent per year.

    Sample standard deviation (n - 1) of the last `bars` logarithmic returns times the square root of the bars per year.
    """
    _require(closes, bars + 1)
    recent = closes[-bars - 1 :]
    returns = [math.log(after / before) for before, after in pairwise(recent)]
    mean = math.fsum(returns) / bars
    variance = math.fsum((value - mean) ** 2 for value in returns) / (bars - 1)
    return 100 * math.sqrt(variance * bars_per_year)


def drawdown_pct(closes: Sequence[float]) -> float:
    """Return how far the last close is below the highest one, in percent: 0 at the top, down to -100."""
    _require(closes, 1)
    return 100 * (closes[-1] / max(closes) - 1)


def volume_ratio(volumes: Sequence[float], bars: int = 20) -> float:
    """Return the last bar's volume divided by the mean volume of the `bars` bars before it."""
    _require(volumes, bars + 1)
    return volumes[-1] / (math.fsum(volumes[-bars - 1 : -1]) / bars)


def indicators(series: Series) -> dict[str, float]:
    """Return every indicator that the series has the data for, rounded to six significant digits."""
    closes = series.closes
    trend = macd(closes)
    values = {
        "rsi": rsi(closes),
        "ema_fast": ema(closes, 12),
        "ema_slow": ema(closes, 26),
        "macd": trend.line,
        "macd_signal": trend.signal,
        "macd_histogram": trend.histogram,
        "volatility_pct": volatility_pct(closes, bars_per_year=series.bars_per_year),
        "drawdown_pct": drawdown_pct(closes),
    }
    if series.highs:
        values["atr"] = atr(series.highs, series.lows, closes)
        values["volume_ratio"] = volume_ratio(series.volumes)
    return {name: float(f"{value:.6g}") for name, value in values.items()}


def load_series() -> list[Series]:
    """Read the price histories out of the installed data package.

    Raises:
        MissingExtra: When `hvsampledata` is not installed.
        StructllmError: When the installed version carries other files than expected.
    """
    daily, weekly = _rows("apple_stocks.csv"), _rows("stocks.csv")
    apple = Series(
        symbol="AAPL",
        unit="USD",
        bars_per_year=DAILY_BARS_PER_YEAR,
        dates=[row["date"] for row in daily],
        closes=[float(row["close"]) for row in daily],
        highs=[float(row["high"]) for row in daily],
        lows=[float(row["low"]) for row in daily],
        volumes=[float(row["volume"]) for row in daily],
    )
    dates = [row["date"] for row in weekly]
    return [apple] + [
        Series(
            symbol=symbol,
            unit="index, first week of 2019 = 100",
            bars_per_year=WEEKLY_BARS_PER_YEAR,
            dates=dates,
            closes=[100 * float(row[column]) for row in weekly],
        )
        for symbol, column in INDEX_COLUMNS.items()
    ]


def market_states(n: int) -> list[MarketSnapshot]:
    """Return `n` looks at the market in the order in which they happened.

    The looks are spread evenly over the weeks that all symbols have, each week with every symbol in turn, so that a
    session of any length crosses calm, crash and recovery.

    Raises:
        ValueError: When `n` is below 1 or above the number of symbols times the number of usable weeks.
    """
    histories = load_series()
    weeks = histories[-1].dates[WARM_UP_BARS:]
    looks = math.ceil(n / len(histories))
    if not 1 <= looks <= len(weeks):
        raise ValueError(f"the data set has 1 to {len(weeks) * len(histories)} market states")
    chosen = [weeks[(2 * look + 1) * len(weeks) // (2 * looks)] for look in range(looks)]
    return [_snapshot(history.until(week)) for week in chosen for history in histories][:n]


def _snapshot(series: Series) -> MarketSnapshot:
    day = datetime.fromisoformat(series.dates[-1]).replace(tzinfo=UTC)
    return MarketSnapshot(series.symbol, round(series.closes[-1], 2), day, indicators(series), series.unit)


def _rows(name: str) -> list[dict[str, str]]:
    try:
        package = resources.files("hvsampledata")
    except ModuleNotFoundError:
        raise MissingExtra("structllm demo", "hvsampledata", "demo") from None
    try:
        text = package.joinpath("_data", name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StructllmError(f"the installed hvsampledata has no {name}: pip install 'hvsampledata<0.2'") from None
    return list(csv.DictReader(text.splitlines()))


def _require(values: Sequence[float], count: int) -> None:
    if len(values) < count:
        raise ValueError(f"needs {count} values, got {len(values)}")


def _ema_line(values: Sequence[float], span: int) -> list[float]:
    _require(values, span)
    line = [math.fsum(values[:span]) / span]
    for value in values[span:]:
        line.append(line[-1] + (value - line[-1]) * 2 / (span + 1))
    return line


def _wilder(values: Sequence[float], period: int) -> float:
    """Wilder's smoothing: the mean of the first `period` values, then (average * (period - 1) + value) / period."""
    average = math.fsum(values[:period]) / period
    for value in values[period:]:
        average += (value - average) / period
    return average
