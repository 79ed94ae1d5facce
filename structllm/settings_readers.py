"""Reading what settings are given in: JSON and TOML files, environment variables, `.env` files, directories of secrets.

Values come out as they were written; nothing here knows whether they are right. Errors say where, never what.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

from structllm._options import nearest, printable, shown
from structllm.errors import ConfigError

SECTION = "llm"
CONFIG_VARIABLE = "STRUCTLLM_CONFIG"

KnownSettings: TypeAlias = Mapping[str, Sequence[str]]
"""The settings, each with the settings inside it (none for a plain value)."""

Variables: TypeAlias = Mapping[str, str]
"""Variable to value: names in lower case, empty values left out, as compose files write `NAME=` for "not set"."""

# Settings, all of them texts, with everyday names: LLM_MODEL is another program's more often than it is a slip.
_EVERYDAY = frozenset({"model", "service"})


def read_environment() -> Variables:
    """Return the variables of this process."""
    # Imported here, as in `read_env_file`: it takes 0.3 s, which a program that passes its settings need not pay.
    from pydantic_settings import BaseSettings, EnvSettingsSource

    return _filled(EnvSettingsSource(BaseSettings, case_sensitive=False).env_vars)


def read_env_file(path: Path) -> Variables:
    """Return the variables of a `.env` file. Raises ConfigError where it cannot be read."""
    from pydantic_settings import BaseSettings, DotEnvSettingsSource

    _read_text(path, "env file")  # the source itself takes a missing file for an empty one
    return _filled(DotEnvSettingsSource(BaseSettings, env_file=path, case_sensitive=False).env_vars)


def read_secrets(directory: Path) -> Variables:
    """Return the files of a directory such as `/run/secrets` whose names begin with `llm__`, as variables.

    Raises:
        ConfigError: There is no such directory, or one of the files cannot be read.
    """
    if not directory.is_dir():
        raise ConfigError(f"secrets directory not found: {directory}")
    files = [file for file in sorted(directory.iterdir()) if file.name.lower().startswith(f"{SECTION}__")]
    return _filled({file.name: _read_text(file, "secret file").strip() for file in files if file.is_file()})


def read_config_file(path: Path, known: KnownSettings) -> dict[str, Any] | None:
    """Return the section `llm` of a JSON or TOML file, None without one; other sections belong to other programs.

    Raises:
        ConfigError: The file is missing or broken, its section is misspelt, or settings stand outside it.
    """
    text, file = _read_text(path, "config file"), printable(path)
    kinds = {".json": _parse_json, ".toml": _parse_toml}
    if path.suffix.lower() not in kinds:
        raise ConfigError(f"{file}: unknown kind of config file; it must end in .json or .toml")
    content = kinds[path.suffix.lower()](text, file)
    if not isinstance(content, dict):
        raise ConfigError(f'{file}: must hold an object such as {{"{SECTION}": {{...}}}}')
    return _section(cast("dict[str, Any]", content), file, known)


def json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object in a text, or None where there is none."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def near_misses(variables: Variables, known: KnownSettings) -> Iterator[tuple[str, str]]:
    """Yield the variables that look like ours but are not read, each with the one that was probably meant."""
    joined = {"_".join(parts): "__".join(parts) for parts in _variable_parts(known)}
    for name in variables:
        section, delimiter, rest = name.partition("__")
        meant: str | None = None
        if section == SECTION or name == CONFIG_VARIABLE.lower():
            continue
        if section.startswith(f"{SECTION}_"):
            whole = nearest(section.removeprefix(f"{SECTION}_"), joined.keys() - _EVERYDAY, cutoff=0.85)
            meant = whole and f"{SECTION}__{joined[whole]}{delimiter}{rest}".upper()
        elif rest and _one_slip_apart(section, SECTION) and _is_setting_like(rest.partition("__")[0], known):
            meant = f"{SECTION}__{rest}".upper()
        elif nearest(name, [CONFIG_VARIABLE.lower()], cutoff=0.86):
            meant = CONFIG_VARIABLE
        if meant:
            yield shown(name.upper()), shown(meant)


def _variable_parts(known: KnownSettings) -> Iterator[tuple[str, ...]]:
    for name, inner in known.items():
        yield (name,)
        yield from ((name, part) for part in inner)


def _one_slip_apart(word: str, wanted: str) -> bool:
    """Say whether one letter is missing, added, changed or swapped with its neighbour."""
    if word == wanted:
        return True
    if len(word) == len(wanted):
        wrong = [at for at in range(len(word)) if word[at] != wanted[at]]
        swapped = len(wrong) == 2 and sorted(word) == sorted(wanted)
        return len(wrong) == 1 or (swapped and wrong[1] == wrong[0] + 1)
    short, long = sorted((word, wanted), key=len)
    return len(long) == len(short) + 1 and any(long[:at] + long[at + 1 :] == short for at in range(len(long)))


def _filled(variables: Mapping[str, str | None]) -> Variables:
    return {name.lower(): value for name, value in variables.items() if value}


def _read_text(path: Path, what: str) -> str:
    """Return the text of a file, without the mark that some editors put first."""
    try:
        return path.expanduser().read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problem = f"{what} not found: {path}"
    except IsADirectoryError:
        problem = f"{what} is a directory: {path}"
    except UnicodeDecodeError:
        problem = f"{what} is not UTF-8 text: {path}"
    except (OSError, RuntimeError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
        problem = f"{what} cannot be read ({reason}): {path}"
    raise ConfigError(printable(problem))


def _parse_json(text: str, file: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"{file}:{error.lineno}:{error.colno}: not valid JSON ({error.msg})"
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "a number is too long"
        problem = f"{file}: not valid JSON ({reason})"
    raise ConfigError(problem)


def _parse_toml(text: str, file: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, found, place = str(error).rpartition(" (at ")
        line, column = re.findall(r"\d+", place) or _end_of(text)
        problem = f"{file}:{line}:{column}: not valid TOML ({reason if found else 'broken'})"
    except (ValueError, RecursionError):
        problem = f"{file}: not valid TOML (a value is too long or nested too deeply)"
    raise ConfigError(problem)


def _end_of(text: str) -> tuple[int, int]:
    lines = text.split("\n")
    return len(lines), len(lines[-1]) + 1


def _section(content: dict[str, Any], file: str, known: KnownSettings) -> dict[str, Any] | None:
    problems: list[str] = []
    for name, value in content.items():
        if name == SECTION:
            if not isinstance(value, dict):
                problems.append(f"{SECTION} ({file}): must be an object of settings")
        elif name in known and (name not in _EVERYDAY or isinstance(value, str)):
            problems.append(f"{name} ({file}): belongs inside the section '{SECTION}'")
        elif isinstance(value, dict) and _one_slip_apart(name.lower(), SECTION):
            inner = cast("dict[str, Any]", value)
            # Beside our own section a similar one may be another program's (`vlm`), unless settings of ours are in it.
            alone = SECTION not in content or name.lower() == SECTION
            if alone or any(_is_setting_like(setting, known) for setting in inner):
                problems.append(f"{shown(name)} ({file}): unknown section; did you mean '{SECTION}'?")
    if problems:
        raise ConfigError(problems)
    return cast("dict[str, Any] | None", content.get(SECTION))


def _is_setting_like(name: str, known: KnownSettings) -> bool:
    """Say whether a name is a setting or a slip of one, so that what holds it is probably meant for us."""
    return nearest(name, known.keys() - _EVERYDAY, cutoff=0.8) is not None
