"""The packs: which rules are in which, and which are on by default."""

from collections.abc import Mapping
from types import MappingProxyType

from structllm.redaction.packs.blocks import KEY_BLOCKS
from structllm.redaction.packs.clouds import CLOUD_KEYS
from structllm.redaction.packs.crypto import CRYPTO
from structllm.redaction.packs.entropy import ENTROPY
from structllm.redaction.packs.headers import HEADERS_AND_URLS
from structllm.redaction.packs.models import MODEL_KEYS
from structllm.redaction.packs.named import NAMED_VALUES
from structllm.redaction.packs.personal import PAYMENT, PII
from structllm.redaction.packs.services import SERVICE_KEYS
from structllm.redaction.packs.vendors import VENDOR_KEYS
from structllm.redaction.rule import Rule

PACKS: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "credentials": (
            *KEY_BLOCKS,
            *MODEL_KEYS,
            *CLOUD_KEYS,
            *SERVICE_KEYS,
            *HEADERS_AND_URLS,
            *NAMED_VALUES,
            *VENDOR_KEYS,
        ),
        "crypto": CRYPTO,
        "payment": PAYMENT,
        "pii": PII,
        "entropy": ENTROPY,
    }
)
"""Pack name to its rules."""

DEFAULT_PACKS = ("credentials", "crypto", "payment", "pii")
"""Packs that are on by default: all but `entropy`, which also finds ids."""
