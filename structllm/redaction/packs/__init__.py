"""The rules: what secrets and personal data look like, as data, each with its own examples.

A rule is an RE2 pattern and, where the shape alone does not decide, a check of `checks`. Its `matches` must
be redacted exactly and its `misses` left alone; a rule without examples does not exist. Patterns follow the formats
that vendors publish. Order is rank: where spans of several rules overlap, the marker names the first of them, so the
specific come before the general.
"""

from structllm.redaction.packs.catalogue import DEFAULT_PACKS, PACKS

__all__ = ["DEFAULT_PACKS", "PACKS"]
