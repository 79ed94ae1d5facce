"""What all dialects are turned into: counts that do not overlap, one for every rate that a price list may have."""

from decimal import Decimal
from typing import NamedTuple


class Usage(NamedTuple):
    """What one completion used, in disjoint buckets.

    Attributes:
        input_uncached: Input read at the full rate.
        cache_read: Input read from the provider's cache.
        cache_write_5m: Input written to the cache for five minutes, or for the provider's only lifetime.
        cache_write_1h: Input written to the cache for an hour.
        input_audio: Input of audio, not cached.
        input_other: Input of which it is not reported which rate applies: audio or images that were cached in part.
        output_text: Output that is none of the following.
        output_reasoning: Output spent on reasoning.
        output_audio: Output of audio.
        output_other: Output that has no bucket of its own.
        unsplit: Tokens of the total that are reported neither as input nor as output.
        web_searches: Searches that the provider made for the call; a count, no tokens.
        cache_read_audio: Audio read from the cache.
        cache_read_image: Images read from the cache.
        input_image: Input of images, not cached.
        input_video: Input of video, not cached.
        output_image: Output of images.
        output_video: Output of video.
        parts: Further model calls that were billed beside these counts.
        reported_usd: What the provider says that the call cost, in USD; None where it does not say.
        cache_lifetime_assumed: True where cache writes came without their lifetime.
    """

    input_uncached: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    input_other: int = 0
    output_text: int = 0
    output_reasoning: int = 0
    output_audio: int = 0
    output_other: int = 0
    unsplit: int = 0
    web_searches: int = 0
    cache_read_audio: int = 0
    cache_read_image: int = 0
    input_image: int = 0
    input_video: int = 0
    output_image: int = 0
    output_video: int = 0
    parts: "tuple[Part, ...]" = ()
    reported_usd: Decimal | None = None
    cache_lifetime_assumed: bool = False

    @property
    def prompt_tokens(self) -> int:
        """Input tokens of every kind, those of the parts included."""
        own = (
            self.input_uncached
            + self.cache_read
            + self.cache_write_5m
            + self.cache_write_1h
            + self.input_audio
            + self.input_other
            + self.cache_read_audio
            + self.cache_read_image
            + self.input_image
            + self.input_video
        )
        return own + sum(part.usage.prompt_tokens for part in self.parts) if self.parts else own

    @property
    def completion_tokens(self) -> int:
        """Output tokens of every kind, those of the parts included."""
        own = (
            self.output_text
            + self.output_reasoning
            + self.output_audio
            + self.output_other
            + self.output_image
            + self.output_video
        )
        return own + sum(part.usage.completion_tokens for part in self.parts) if self.parts else own

    @property
    def total_tokens(self) -> int:
        """Input, output and what is neither."""
        unsplit = self.unsplit
        if self.parts:
            unsplit += sum(part.usage.unsplit for part in self.parts)
        return self.prompt_tokens + self.completion_tokens + unsplit

    @property
    def has_split(self) -> bool:
        """Whether it says how the total divides into input and output; without that no price can be had."""
        return not self.unsplit or self.prompt_tokens + self.completion_tokens > 0

    def token_usage(self) -> dict[str, int]:
        """Return the event's `token_usage`: the totals, then the kinds that occurred, the parts included."""
        prompt, completion, total = self.prompt_tokens, self.completion_tokens, self.total_tokens
        if total and not prompt and not completion:
            return {"total_tokens": total}
        counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
        self._add_kinds(counts)
        for part in self.parts:
            part.usage._add_kinds(counts)
        return counts

    def _add_kinds(self, counts: dict[str, int]) -> None:
        if cached := self.cache_read + self.cache_read_audio + self.cache_read_image:
            counts["cached_tokens"] = counts.get("cached_tokens", 0) + cached
        if self.cache_read_audio:
            counts["cached_audio_tokens"] = counts.get("cached_audio_tokens", 0) + self.cache_read_audio
        if written := self.cache_write_5m + self.cache_write_1h:
            counts["cache_write_tokens"] = counts.get("cache_write_tokens", 0) + written
        if self.output_reasoning:
            counts["reasoning_tokens"] = counts.get("reasoning_tokens", 0) + self.output_reasoning
        if self.input_audio:
            counts["audio_input_tokens"] = counts.get("audio_input_tokens", 0) + self.input_audio
        if self.output_audio:
            counts["audio_output_tokens"] = counts.get("audio_output_tokens", 0) + self.output_audio


class Part(NamedTuple):
    """A model call that was billed with another: a compaction of the context, an advisor's answer.

    Attributes:
        model: The model that answered; None where it is that of the whole call.
        usage: Its counts.
    """

    model: str | None
    usage: Usage


BUCKETS: tuple[str, ...] = Usage._fields[:18]
"""Names of the counts of a `Usage`, in its order; behind them stands what is no count."""
