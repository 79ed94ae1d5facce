"""Numbers, times and ids of events as people read them.

Shared by the lines of `console` and the tables of the commands. Imports nothing but the standard library, and takes
whatever an event holds: what is no number is shown as `-`, never as zero.
"""

import math
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, cast


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping as it is, anything else as an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def number(value: object) -> float | int | None:
    """Return a finite number as it is, anything else as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def short_id(value: object) -> str:
    """Return the first eight characters of an id, without a prefix such as `req_`."""
    if not isinstance(value, str):
        return ""
    head, mark, rest = value.partition("_")
    return (rest if mark and rest and len(head) <= 4 else value)[:8]


def format_count(value: object) -> str:
    """Return a count with thousands separators, `-` where there is none."""
    count = number(value)
    return "-" if count is None else f"{count:,.0f}"


def counted(count: int, thing: str) -> str:
    """Return `1 call`, `2 calls`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def format_duration(milliseconds: object) -> str:
    """Return milliseconds as `345 ms`, `1.77 s`, `12.3 s` or `2m05s`, `-` where there are none."""
    value = number(milliseconds)
    if value is None:
        return "-"
    seconds = value / 1000
    if abs(seconds) >= 100:
        whole = round(seconds)
        return f"{whole // 60}m{whole % 60:02d}s" if whole < 6000 else format_age(seconds)
    if abs(value) >= 999.5:
        return f"{seconds:.2f} s" if abs(seconds) < 9.995 else f"{seconds:.1f} s"
    return f"{value:.0f} ms" if abs(value) >= 10 or value == int(value) else f"{value:.1f} ms"


def format_age(seconds: float) -> str:
    """Return a span of seconds in its largest one or two units: `42s`, `7m`, `3h20m`, `5d4h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86_400:
        hours, rest = divmod(whole, 3600)
        return f"{hours}h{rest // 60:02d}m" if rest >= 60 else f"{hours}h"
    days, rest = divmod(whole, 86_400)
    return f"{days}d{rest // 3600}h" if rest >= 3600 else f"{days}d"


def format_usd(value: Decimal | float | None, places: int = 6) -> str:
    """Return US dollars, `-` where they are not known; an amount that rounds to nothing says `<` instead of zero."""
    if value is None:
        return "-"
    amount = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not amount.is_finite():
        return "-"
    step = Decimal(1).scaleb(-places)
    if amount and abs(amount) < step / 2:
        return f"<${step}"
    # Beyond this, quantize would not fit the default precision of 28 digits.
    rounded = amount if abs(amount) >= Decimal(10) ** 20 else amount.quantize(step, ROUND_HALF_UP)
    return f"-${-rounded:,}" if rounded < 0 else f"${rounded:,}"


def format_tokens(usage: object) -> str:
    """Return `150+75 tok` (prompt and completion), or the total alone, or nothing."""
    counts = mapping(usage)
    prompt, completion = number(counts.get("prompt_tokens")), number(counts.get("completion_tokens"))
    if prompt is not None and completion is not None:
        return f"{prompt:,.0f}+{completion:,.0f} tok"
    total = number(counts.get("total_tokens"))
    return "" if total is None else f"{total:,.0f} tok"


def format_time(timestamp: object, *, with_date: bool = True) -> str:
    """Return an event's timestamp as `01-15 10:30:45Z`, or `10:30:45Z`; a foreign one as it is, up to 19 characters."""
    text = timestamp if isinstance(timestamp, str) else ""
    if len(text) >= 20 and text[10] == "T" and text[-1] == "Z":
        return f"{text[5:10]} {text[11:19]}Z" if with_date else f"{text[11:19]}Z"
    return text[:19]
