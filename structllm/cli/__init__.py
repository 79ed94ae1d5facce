"""The `structllm` command."""

from structllm.cli.group import cli, main

__all__ = ["cli", "main"]
