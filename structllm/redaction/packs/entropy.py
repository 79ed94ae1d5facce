"""Random-looking texts without a name: off by default, since ids of any kind look random too."""

from structllm.redaction import checks
from structllm.redaction.packs.examples import HEX, body
from structllm.redaction.packs.shapes import EDGE
from structllm.redaction.rule import Rule, Sample

ENTROPY = (
    Rule(
        "random-text",
        EDGE + r"([A-Za-z0-9][A-Za-z0-9+/=_-]{23,})",
        (Sample(body(40)), Sample(body(64), "see {} there")),
        (
            body(40, HEX),
            "the-quick-brown-fox-jumps-over-the-dog",
            "ThisIsAVeryLongNameOfAFunctionInCode",
            "/usr/local/lib",
        ),
        checks.is_random_text,
    ),
)
