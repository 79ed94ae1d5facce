"""The exceptions: what they say, and that they survive the trip between processes."""

import pickle

import pytest

from structllm.errors import ConfigError, MissingExtra, SinkRejected, SinkUnavailable, StructllmError


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (ConfigError(["a is wrong", "b is wrong"]), "structllm: invalid configuration\n  a is wrong\n  b is wrong"),
            (ConfigError("a is wrong"), "structllm: invalid configuration\n  a is wrong"),
            (
                MissingExtra("S3 sink", "boto3", "s3"),
                "S3 sink needs boto3: pip install 'structllm-logging[s3]'",
            ),
            (SinkUnavailable("disk_full", "no space left"), "disk_full: no space left"),
            (SinkRejected("too_large"), "too_large"),
        ],
    )
    def test_text_and_pickle(self, error: StructllmError, text: str) -> None:
        """Each says what is wrong, and says the same after it was sent to another process."""
        again = pickle.loads(pickle.dumps(error))
        assert (str(error), str(again), type(again)) == (text, text, type(error))

    def test_a_missing_package_is_an_import_error(self) -> None:
        """Code that guards an import catches it."""
        assert issubclass(MissingExtra, ImportError)
