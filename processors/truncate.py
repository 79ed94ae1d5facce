"""Cut previews to their limits and keep a whole event below a size. Comes after redaction, never before it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from structllm._types import Event
from structllm.cut import cut_text
from structllm.errors import ConfigError
from structllm.processors.normalise import normalise_value
from structllm.shrink import chars_in, free_names, note_truncated, shorten, shrink_to_chars

PREVIEW_CHARS: Mapping[str, int] = {"prompt_preview": 500, "response_preview": 1000, "error_message": 1000}
"""Default limits of the previews, in characters."""

MAX_FIELD_CHARS = 65_536
MAX_EVENT_CHARS = 1_000_000


class _Preview(NamedTuple):
    limit: int
    length_name: str | None
    flag_name: str | None


class Truncate:
    """Processor that cuts previews, overlong strings and oversized events.

    Where the field `x_preview` is text, `x_length` is set if absent, and `x_truncated` says whether something is
    missing: the original was longer than the limit, or the redacted text was. Ids, times and the rest of the envelope
    are never cut. What is cut besides previews is listed in `truncated_fields`, e.g. `market_context.news[3]`.

    Args:
        preview_chars: Limits by field name, in characters, on top of `PREVIEW_CHARS`; 0 leaves an empty text.
        max_field_chars: Limit of every other string, nested ones included.
        max_event_chars: Limit of all strings and nested keys of an event together. The largest strings are cut first;
            if that is not enough, nested values are left out, largest first.

    Raises:
        ConfigError: A limit is negative.
    """

    def __init__(
        self,
        preview_chars: Mapping[str, int] | None = None,
        *,
        max_field_chars: int = MAX_FIELD_CHARS,
        max_event_chars: int = MAX_EVENT_CHARS,
    ) -> None:
        limits = {**PREVIEW_CHARS, **(preview_chars or {})}
        given = {**limits, "max_field_chars": max_field_chars, "max_event_chars": max_event_chars}
        wrong = [f"{name}: a limit in characters cannot be negative" for name, limit in given.items() if limit < 0]
        if wrong:
            raise ConfigError(wrong)
        self._previews = {name: _preview(name, limit) for name, limit in limits.items()}
        self._items = tuple(self._previews.items())
        self._max_field_chars = max_field_chars
        self._max_event_chars = max_event_chars
        self._harmless_chars = min(max_field_chars, max_event_chars)

    def __call__(self, logger: Any, method_name: str, event_dict: Event) -> Event:
        """Cut the event's texts."""
        for name, preview in self._items:
            text = event_dict.get(name)
            if type(text) is str:
                _cut_preview(event_dict, name, text, preview)
        # Almost always the whole event is smaller than one string may be.
        if chars_in(event_dict.values()) > self._harmless_chars:
            self._shrink(event_dict)
        return event_dict

    def on_error(self, event_dict: Event) -> Event:
        """Cut the previews bluntly: their limits hold whatever went wrong."""
        for name, preview in self._previews.items():
            text = event_dict.get(name)
            if isinstance(text, str):
                event_dict[name] = text[: preview.limit]
        return event_dict

    def _shrink(self, event: Event) -> None:
        free = free_names(event)
        for name in free:
            if isinstance(event[name], dict | list):
                # A copy of our own and without cycles, also in a chain that does not normalise.
                event[name] = normalise_value(event[name])
        cut = shorten(event, free, self._max_field_chars, but=self._previews)
        cut += shrink_to_chars(event, free, self._max_event_chars)
        if cut:
            for name in self._previews.keys() & set(cut):
                flag_name = self._previews[name].flag_name
                if flag_name is not None:
                    event[flag_name] = True
            note_truncated(event, cut)


def _preview(name: str, limit: int) -> _Preview:
    if not name.endswith("_preview"):
        return _Preview(limit, None, None)
    subject = name.removesuffix("_preview")
    return _Preview(limit, f"{subject}_length", f"{subject}_truncated")


def _cut_preview(event: Event, name: str, text: str, preview: _Preview) -> None:
    limit, length_name, flag_name = preview
    chars = len(text)
    if chars > limit:
        event[name] = cut_text(text, limit)
    if length_name is not None and flag_name is not None:
        length = event.setdefault(length_name, chars)
        event[flag_name] = chars > limit or (type(length) is int and length > limit)
