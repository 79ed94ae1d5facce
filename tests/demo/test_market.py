"""The demo's market data and indicators, against hand-computed cases and mathematical bounds."""

import math
import sys
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm.demo import market
from structllm.errors import MissingExtra, StructllmError

prices = st.floats(min_value=0.01, max_value=1e6)
series = st.lists(prices, min_size=15, max_size=60)


class TestEma:
    def test_follows_its_definition(self) -> None:
        """The mean of the first three starts it, then half of the way to each new value."""
        assert market.ema([1, 2, 3, 6], 3) == 4.0

    def test_of_exactly_span_values_is_their_mean(self) -> None:
        """With nothing after the seed there is nothing to smooth."""
        assert market.ema([1, 2, 6], 3) == 3.0

    def test_too_few_values_are_refused(self) -> None:
        """An average of less than its span would be another indicator."""
        with pytest.raises(ValueError, match="needs 3 values, got 2"):
            market.ema([1, 2], 3)

    @given(series)
    @settings(max_examples=100)
    def test_stays_within_its_input(self, values: list[float]) -> None:
        """An average is never outside of what it averages."""
        average = market.ema(values, 10)
        assert min(values) * (1 - 1e-9) <= average <= max(values) * (1 + 1e-9)


class TestMacd:
    def test_follows_its_definition(self) -> None:
        """EMA(2) of 1 2 4 8 is 1.5, 19/6, 115/18; EMA(3) is 7/3, 31/6; the line is 5/6, 11/9, its mean 37/36."""
        actual = market.macd([1, 2, 4, 8], fast=2, slow=3, signal=2)
        assert pytest.approx((11 / 9, 37 / 36, 7 / 36)) == tuple(actual)

    def test_of_a_flat_line_is_zero(self) -> None:
        """Without movement no average diverges."""
        assert tuple(market.macd([5.0] * 40)) == (0.0, 0.0, 0.0)

    def test_warm_up_is_what_it_needs(self) -> None:
        """The documented warm-up has one close more than the longest indicator needs."""
        closes = [float(day + 1) for day in range(market.WARM_UP_BARS)]
        market.macd(closes[1:])
        with pytest.raises(ValueError, match="needs 34 values, got 33"):
            market.macd(closes[2:])


class TestRsi:
    def test_follows_wilder(self) -> None:
        """Changes +1 -1 +2: the average gain goes from 1/2 to 5/4, the average loss from 1/2 to 1/4."""
        assert pytest.approx(100 * 1.25 / 1.5) == market.rsi([10, 11, 10, 12], period=2)

    @pytest.mark.parametrize(("closes", "expected"), [([1, 2, 3, 4], 100.0), ([4, 3, 2, 1], 0.0), ([2, 2, 2, 2], 50.0)])
    def test_ends_of_the_scale(self, closes: list[float], expected: float) -> None:
        """Only gains give 100, only losses 0, and no movement the middle instead of a division by zero."""
        assert expected == market.rsi(closes, period=3)

    @given(series)
    @settings(max_examples=200)
    def test_is_within_0_and_100(self, closes: list[float]) -> None:
        """No price history leaves the scale."""
        assert 0.0 <= market.rsi(closes) <= 100.0

    @given(st.lists(st.integers(min_value=1, max_value=10**6), min_size=15, max_size=60))
    @settings(max_examples=100)
    def test_mirrored_prices_mirror_it(self, closes: list[int]) -> None:
        """Gains turned into losses turn x into 100 - x; whole prices keep rounding out of it."""
        top = max(closes) + 1
        assert pytest.approx(100 - market.rsi(closes), abs=1e-6) == market.rsi([top - close for close in closes])


class TestAtr:
    def test_follows_wilder(self) -> None:
        """True ranges 2.5 (gap up), 5 (high - low) and 0: their mean of two is 3.75, then (3.75 + 0) / 2."""
        actual = market.atr([10, 12, 13, 9], [9, 10, 8, 9], [9.5, 11, 9, 9], period=2)
        assert actual == 1.875

    def test_a_gap_down_counts(self) -> None:
        """A bar far below the previous close has the distance to it as its range, not its own height."""
        assert market.atr([10, 5], [10, 4], [10, 4], period=1) == 6.0

    @given(st.lists(st.tuples(prices, prices, prices), min_size=15, max_size=40))
    @settings(max_examples=100)
    def test_is_never_negative(self, bars: list[tuple[float, float, float]]) -> None:
        """A range is a distance."""
        ordered = [sorted(bar) for bar in bars]
        highs, lows, closes = [bar[2] for bar in ordered], [bar[0] for bar in ordered], [bar[1] for bar in ordered]
        assert market.atr(highs, lows, closes) >= 0.0


class TestVolatility:
    def test_follows_its_definition(self) -> None:
        """Returns ln 2 and 0 have the sample variance (ln 2)^2 / 2; two bars a year make that ln 2."""
        assert pytest.approx(100 * math.log(2)) == market.volatility_pct([1, 2, 2], bars=2, bars_per_year=2)

    def test_looks_at_the_last_bars_only(self) -> None:
        """What was before the window does not count."""
        assert market.volatility_pct([100, 1, 7, 7, 7], bars=2) == 0.0

    @given(st.lists(prices, min_size=21, max_size=40))
    @settings(max_examples=100)
    def test_is_never_negative(self, closes: list[float]) -> None:
        """A deviation is a distance."""
        assert market.volatility_pct(closes) >= 0.0


class TestDrawdown:
    @pytest.mark.parametrize(("closes", "expected"), [([50, 100, 75], -25.0), ([1, 2], 0.0), ([3], 0.0)])
    def test_follows_its_definition(self, closes: list[float], expected: float) -> None:
        """The distance of the last close from the highest."""
        assert expected == market.drawdown_pct(closes)

    @given(series)
    @settings(max_examples=100)
    def test_is_between_minus_100_and_0(self, closes: list[float]) -> None:
        """Nothing is above its own maximum, and nothing loses more than everything."""
        assert -100.0 <= market.drawdown_pct(closes) <= 0.0


class TestVolumeRatio:
    def test_compares_with_the_bars_before(self) -> None:
        """30 after 10 and 20 is twice their mean; the 999 before is outside the window."""
        assert market.volume_ratio([999, 10, 20, 30], bars=2) == 2.0


class TestSeries:
    def test_until_hides_the_future(self) -> None:
        """A decision on a day sees that day's close and none after it."""
        history = market.Series("X", "USD", 252, ["2020-01-01", "2020-01-02", "2020-01-03"], [1.0, 2.0, 3.0])
        known = history.until("2020-01-02").closes
        assert known == [1.0, 2.0]

    def test_until_a_day_without_trading_takes_the_last_bar(self) -> None:
        """Weekends and holidays show the close before them."""
        history = market.Series("X", "USD", 252, ["2020-01-03", "2020-01-06"], [1.0, 2.0])
        assert history.until("2020-01-05").dates == ["2020-01-03"]

    def test_an_index_has_no_atr(self) -> None:
        """What the data does not carry is absent, not zero."""
        index = market.load_series()[1]
        assert market.indicators(index).keys().isdisjoint({"atr", "volume_ratio"})
        assert market.indicators(market.load_series()[0]).keys() >= {"atr", "volume_ratio", "rsi"}


class TestMarketStates:
    def test_prices_are_those_of_the_data_set(self) -> None:
        """Every price shown is the close that the installed file has for the day it names."""
        text = resources.files("hvsampledata").joinpath("_data", "apple_stocks.csv").read_text()
        close_of = {line.split(",")[0]: float(line.split(",")[4]) for line in text.splitlines()[1:]}
        shown = [state for state in market.market_states(40) if state.symbol == "AAPL"]
        assert [close_of[state.timestamp.date().isoformat()] for state in shown] == [s.current_price for s in shown]

    def test_every_symbol_in_turn_and_in_time(self) -> None:
        """A session walks forward through the weeks, with all symbols in each."""
        states = market.market_states(10)
        expected = ["AAPL", "MSFT-IDX", "AMZN-IDX", "NFLX-IDX"] * 2 + ["AAPL", "MSFT-IDX"]
        assert expected == [state.symbol for state in states]
        assert [state.timestamp for state in states] == sorted(state.timestamp for state in states)

    def test_runs_are_equal(self) -> None:
        """The same number gives the same market."""
        assert market.market_states(24) == market.market_states(24)

    @pytest.mark.parametrize("n", [1, 5, 24, 904])
    def test_gives_as_many_as_asked(self, n: int) -> None:
        """From a single look up to all that the data has, without repeating one."""
        states = market.market_states(n)
        assert n == len(states)
        assert n == len({(state.symbol, state.timestamp) for state in states})

    @pytest.mark.parametrize("n", [0, -1, 905])
    def test_refuses_more_than_there_is(self, n: int) -> None:
        """Nothing is repeated or made up to fill a longer session."""
        with pytest.raises(ValueError, match="1 to 904 market states"):
            market.market_states(n)


class TestWithoutTheData:
    def test_missing_package_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One sentence says what to install."""
        monkeypatch.setitem(sys.modules, "hvsampledata", None)
        with pytest.raises(MissingExtra, match=r"structllm demo needs hvsampledata: pip install .*\[demo\]"):
            market.market_states(1)

    def test_other_version_of_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that moved away is an error of the data package, named with its remedy."""
        (tmp_path / "hvsampledata").mkdir()
        (tmp_path / "hvsampledata" / "__init__.py").touch()
        # Set before it is deleted, so that the end of the test takes the import of the stand-in back.
        monkeypatch.setitem(sys.modules, "hvsampledata", sys)
        del sys.modules["hvsampledata"]
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(StructllmError, match=r"has no apple_stocks\.csv: pip install"):
            market.load_series()
