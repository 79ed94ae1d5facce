"""What the tests of the command share: logs to read, and the command in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from structllm.cli import cli
from tests.cli.recording import LogBuilder


@pytest.fixture
def log() -> LogBuilder:
    """An empty log."""
    return LogBuilder()


@pytest.fixture
def trading_log(log: LogBuilder) -> LogBuilder:
    """A short session: two priced calls with decisions, a failure, a model without price, a request without end."""
    for number, cost in ((1, 0.000495), (2, 0.0011)):
        request_id = log.call(number, cost_estimate_usd=cost, response_time_ms=1000 * number)
        log.decision(request_id, f"dec_{number:016x}", action=("LONG", "HOLD")[number - 1])
    log.request("req_0000000000000003")
    log.failure("req_0000000000000003")
    log.call(4, model="house-model", cost_estimate_usd=None, cost_status="unknown_model", provider=None)
    log.request("req_0000000000000005", market_context={"symbol": "ETH-USD"})
    return log


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's own colours and widths out, and run in an empty directory."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run the command in this process; return its output, errors and exit status."""

    def invoke(*arguments: object, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin, prog_name="structllm")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke
