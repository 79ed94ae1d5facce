"""Where times and ids come from, unless somebody else is asked for them."""

import itertools
import os
import time
from datetime import UTC, datetime
from functools import partial

import orjson

from structllm._types import Clock, Ids

_WHOLE_MICROSECONDS = len(b'"2026-01-15T10:30:45.123456Z"')


def rfc3339(moment: datetime) -> str:
    """Return an aware datetime as UTC text with milliseconds and `Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    quoted = orjson.dumps(moment, option=orjson.OPT_UTC_Z)  # a quarter of what isoformat takes
    if len(quoted) == _WHOLE_MICROSECONDS:
        return quoted[1:24].decode() + "Z"
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


_MILLISECONDS = tuple(f"{number:03d}Z" for number in range(1000))


class Stamp:
    """Returns the present as `rfc3339` would write it, from the system's clock, at a third of the price.

    Only the first call in a second formats more than the milliseconds.
    """

    def __init__(self) -> None:
        self._second = (-1, "")

    def __call__(self) -> str:
        """Return the current time."""
        second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        known, text = self._second
        if second != known:
            text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._second = (second, text)
        return text + _MILLISECONDS[nanoseconds // 1_000_000]


def random_id(kind: str) -> str:
    """Return `kind_` and 64 random bits in hexadecimal; a session id comes without the prefix."""
    bits = os.urandom(8).hex()
    return bits if kind == "ses" else f"{kind}_{bits}"


def counted_ids() -> Ids:
    """Return a cheaper source of ids for a logger that writes nothing: a random beginning and a count."""
    beginning, numbers = os.urandom(4).hex(), itertools.count(1)
    return lambda kind: f"{kind}_{beginning}{next(numbers):08x}"


utc_now: Clock = partial(datetime.now, UTC)
"""Returns the current time, aware, in UTC."""
