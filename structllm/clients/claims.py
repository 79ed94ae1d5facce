"""Calls that a framework logs, so that a wrapped client below it does not log them a second time.

A framework's handler says before each model call that one is coming; the next call of a wrapped client in that context
is this one. Each is taken once, so what the host asks by itself while the framework's stream is open is logged as its
own. Loggers do not take from each other.
"""

from contextvars import ContextVar


class ExpectedCall:
    """A call that somebody else logs.

    Attributes:
        writer: The writer of the logger that has it.
        is_open: Whether it may still be taken: no client has, and its end was not seen.
    """

    __slots__ = ("is_open", "writer")

    def __init__(self, writer: str) -> None:
        self.writer = writer
        self.is_open = True

    def over(self) -> None:
        """Say that it ended, whether or not a wrapped client was asked (a cache may have answered)."""
        self.is_open = False


def expect_call(writer: str) -> ExpectedCall:
    """Say that a call is coming which this writer's logger has already. Call `over()` when it ended."""
    call = ExpectedCall(writer)
    _expected.set((*(other for other in _expected.get() if other.is_open), call))
    return call


def take_expected(writer: str) -> bool:
    """Return whether this call is one that the writer's logger has already."""
    for call in _expected.get():
        if call.writer == writer and call.is_open:
            call.is_open = False
            return True
    return False


_expected: ContextVar[tuple[ExpectedCall, ...]] = ContextVar("structllm_expected_calls", default=())
