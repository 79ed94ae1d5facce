"""The keys of logs that were sealed with `integrity=hmac`, as the user or the settings say.

The settings bring pydantic with them, so they are imported by the function that needs them.
"""

import os
import warnings
from collections.abc import Mapping

import click

from structllm.cli.output import Failure
from structllm.cli.source import CORRECTIONS_NAME, settings_given

key_option = click.option("--hmac-key-env", metavar="NAME", help="Variable that holds the key of integrity=hmac.")


class Keys:
    """The keys of the logs, as the user or the settings say.

    Args:
        variable: The variable that holds the key of every log; None: the settings have them.

    Raises:
        Failure: The variable is not set.
    """

    def __init__(self, variable: str | None) -> None:
        self._given: bytes | None = None
        self._settings: Mapping[str, bytes] = {}
        if variable is not None:
            key = os.environ.get(variable)
            if not key:
                raise Failure(f"the variable {variable} is not set, or empty; --hmac-key-env names one with the key")
            self._given = os.fsencode(key)
        elif settings_given():
            self._settings = _keys_of_settings()

    def of(self, live: str) -> bytes | None:
        """Return the key of a log, or None where it has none. Corrections have that of a log beside them."""
        path = os.path.abspath(live)
        key = self._given or self._settings.get(path)
        if key is None and os.path.basename(path) == CORRECTIONS_NAME:
            beside = (key for log, key in self._settings.items() if os.path.dirname(log) == os.path.dirname(path))
            key = next(beside, None)
        return key


def _keys_of_settings() -> Mapping[str, bytes]:
    from structllm.settings import load_settings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # variables that look like settings are for `config show` and the doctor
        sinks = load_settings().effective_sinks()
    keys: dict[str, bytes] = {}
    for sink in sinks:
        key = getattr(sink, "hmac_key", None)
        if key is not None and getattr(sink, "type", None) == "file":
            keys[os.path.abspath(str(getattr(sink, "path", "")))] = key.get_secret_value().encode()
    return keys
