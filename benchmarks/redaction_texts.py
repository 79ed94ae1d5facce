"""Texts to time redaction on: what agents send all day, and what is as bad as it gets without a secret."""

from random import Random
from typing import Any

SENTENCES = (
    "Momentum holds while the trend is intact, so the position stays as it is.",
    "The daily close of {0} confirms the range between {1} and {2}.",
    "Volume on {3} was {0}, a third above the mean of twenty sessions.",
    "Funding turned negative ({1} %), which has preceded a squeeze before.",
    "Reduce the size by half below {2} and add again above {0}.",
    "The order book is thin: {1} on the bid against {2} on the ask.",
)
DENSE = (
    "The token unlock is the key risk; reset your password if the password is missing.",
    "An API key is required: create the key, then store the secret in a vault.",
    "api_key=os.environ['BROKER_KEY'], secret=${SECRET}, token=<your-token>, password=********",
    '{"token": "ETH", "total_tokens": 225, "key": "close", "private_key": null, "session_id": "abc12345"}',
    "tx 0x{0} of card holder 7, order 1234567890123456 at 1705314645123",
    "Authorization: Bearer $TOKEN to https://api.example.com/v1/tokens?key=close&sort=secret",
)


def price(rng: Random) -> str:
    """Draw a price."""
    return f"{rng.uniform(1, 90000):,.2f}"


def prose(chars: int, seed: int = 1) -> str:
    """Return so many characters about a market, in which no rule finds a beginning."""
    rng, sentences, size = Random(seed), list[str](), 0
    while size < chars:
        names = (price(rng), price(rng), price(rng), rng.choice(["BTC-USD", "ETH-USD", "SOL-USD"]))
        sentences.append(rng.choice(SENTENCES).format(*names))
        size += len(sentences[-1]) + 1
    return " ".join(sentences)[:chars]


def dense(chars: int, seed: int = 1) -> str:
    """Return so many characters full of the words that rules look for, and of no secret."""
    rng, lines, size = Random(seed), list[str](), 0
    while size < chars:
        lines.append(rng.choice(DENSE).replace("{0}", f"{rng.getrandbits(256):064x}"))
        size += len(lines[-1]) + 1
    return "\n".join(lines)[:chars]


def event(chars: int = 2000) -> dict[str, Any]:
    """Return the event of a completion, of about so many characters of text."""
    return {
        "event_type": "completion_response",
        "timestamp": "2026-03-04T09:15:02.118Z",
        "request_id": "req_67890def01234567",
        "model": "gpt-4o-mini",
        "provider": "openai",
        "success": True,
        "response_time_ms": 1523.4,
        "token_usage": {"prompt_tokens": 612, "completion_tokens": 181, "total_tokens": 793},
        "cost_estimate_usd": 0.0002004,
        "response_preview": prose(500),
        "market_context": {"symbol": "BTC-USD", "close": 45230.5, "note": prose(chars - 600, seed=2)},
    }
