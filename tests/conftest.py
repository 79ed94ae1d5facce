"""What every test starts from: no settings from outside, no context left over; and what several folders share."""

import os
import signal
from collections.abc import Iterator
from contextvars import Context, copy_context

import pytest
from hypothesis import HealthCheck, settings

from tests.archive.proxy import Proxy
from tests.archive.scripted import ScriptedS3
from tests.archive.servers import SeaweedFS

# Other work on the machine must not fail a property: its time is bounded by the test's timeout, not by Hypothesis.
# Where CI is set, Hypothesis has a profile of its own, which does the same.
if "CI" not in os.environ:
    settings.register_profile("structllm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("structllm")

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them every program that they start:
# then nothing would end that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the caller's own `LLM`, `LLM__…` and `STRUCTLLM_…` variables, whatever their case."""
    for name in list(os.environ):
        if name.upper() == "LLM" or name.upper().startswith(("LLM__", "STRUCTLLM_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_context_left_over() -> Iterator[None]:
    """Give the context variables of structllm and structlog their defaults back after a test that bound some."""
    yield
    for variable in copy_context():
        if variable.name.startswith(("structllm", "structlog")):
            try:
                variable.set(Context().run(variable.get))
            except LookupError:  # it has no default, so it was never meant to be read unset
                continue


@pytest.fixture
def proxy(seaweedfs: SeaweedFS) -> Iterator[Proxy]:
    """Return a proxy in front of SeaweedFS; whose, each folder or module says itself."""
    with Proxy(seaweedfs.port) as proxy:
        yield proxy


@pytest.fixture
def scripted() -> Iterator[ScriptedS3]:
    """Return a server that answers what it is told."""
    with ScriptedS3() as server:
        yield server
