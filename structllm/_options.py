"""What everything that a user configures has in common: construction that reports problems in plain words.

Settings and sink configurations are pydantic models. Pydantic's own errors carry the offending values, which here may
be secrets, so `Checked` turns them into a `ConfigError` whose text and traceback chain name settings only.
"""

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias, cast, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError
from pydantic_core.core_schema import ErrorType

from structllm.errors import ConfigError

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a setting is, e.g. `("sinks", 0, "path")`."""

# A message that repeats this many characters in a row of a value is taken to quote it.
_QUOTE_CHARS = 8
_SHOWN_CHARS = 64

# Pydantic's own complaints speak of the rule; those of validators, and the few named here, may quote the value.
_MAY_QUOTE = {
    "assertion_error",
    "get_attribute_error",
    "iteration_error",
    "json_invalid",
    "mapping_type",
    "union_tag_invalid",
    "url_parsing",
    "url_syntax_violation",
    "uuid_parsing",
    "value_error",
}
_FIXED_MESSAGES = frozenset(get_args(ErrorType)) - _MAY_QUOTE

# Pydantic's complaint to ours; {...} is what pydantic knows about the rule.
_IN_PLAIN_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("string_type", "string_sub_type", "string_unicode"), "must be text"),
    **dict.fromkeys(("path_type",), "must be text, the path of a file or directory"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "mapping_type"), "must be an object"),
    **dict.fromkeys(("model_type", "model_attributes_type"), "must be an object of settings"),
    **dict.fromkeys(("literal_error", "enum"), "must be {expected}"),
    "greater_than": "must be greater than {gt:,}",
    "greater_than_equal": "must be at least {ge:,}",
    "less_than": "must be less than {lt:,}",
    "less_than_equal": "must be at most {le:,}",
    "string_too_short": "must have at least {min_length:,} characters",
    "string_too_long": "must have at most {max_length:,} characters",
    "too_short": "must have at least {min_length:,} items",
    "too_long": "must have at most {max_length:,} items",
}

_SECRET_WORD = re.compile("apikey|authorization|cookie|credentials?|dsn|hmac|pass(phrase|w(or)?d)|pwd|secret|token")
_KEY_OF_SECRETS = re.compile("access|account|api|auth|encryption|hmac|private|secret|shared|signing")


class Problem(str):
    """One sentence about one setting, which remembers where the setting is so that it can be told again from outside.

    Args:
        text: What is wrong and what to do, without the value.
        path: Where the setting is, seen from the model that complains; empty for the model itself.
    """

    text: str
    path: KeyPath

    def __new__(cls, text: str, path: KeyPath = ()) -> "Problem":
        problem = super().__new__(cls, f"{dotted(path)} (argument): {text}" if path else text)
        problem.text = text
        problem.path = path
        return problem

    def __getnewargs__(self) -> tuple[str, KeyPath]:  # type: ignore[override]  # str's own has one item
        return self.text, self.path

    def inside(self, path: KeyPath) -> "Problem":
        """Return the same problem as seen from a model that holds the complaining one at `path`."""
        return Problem(self.text, path + self.path)


class Checked(BaseModel):
    """Base of settings and sink configurations: unknown settings are refused, values never appear in errors.

    Raises:
        ConfigError: Something is wrong; all problems at once, each a `Problem`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
            return
        except ValidationError as error:
            problems = _problems_of(error, type(self).model_fields)
        # Outside the handler: else the ValidationError, which holds the values, would be the context of this one.
        raise ConfigError(problems)

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Read settings from an object as pydantic does, and complain as the constructor does."""
        return cls._checked(super().model_validate, obj, options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Read settings from JSON as pydantic does, and complain as the constructor does."""
        return cls._checked(super().model_validate_json, json_data, options)

    @classmethod
    def model_validate_strings(cls, obj: Any, **options: Any) -> Self:
        """Read settings from texts as pydantic does, and complain as the constructor does."""
        return cls._checked(super().model_validate_strings, obj, options)

    @classmethod
    def _checked(cls, validate: Callable[..., Self], given: Any, options: Mapping[str, Any]) -> Self:
        try:
            return validate(given, **options)
        except ValidationError as error:
            problems = _problems_of(error, cls.model_fields)
        raise ConfigError(problems)


def dotted(path: KeyPath) -> str:
    """Return the path as people write it, e.g. `sinks.0.path`."""
    return ".".join(shown(str(part)) for part in path)


def shown(name: str) -> str:
    """Return a name that a user chose, fit for one line of a message: printable and of bounded length."""
    return printable(name if len(name) <= _SHOWN_CHARS else name[:_SHOWN_CHARS] + "...")


def printable(text: object) -> str:
    """Return the text with `?` for what would break or disturb a line of a message."""
    return "".join(character if character.isprintable() else "?" for character in str(text))


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that was probably meant, or None."""
    matches = difflib.get_close_matches(name.lower()[: 2 * _SHOWN_CHARS], list(known), n=1, cutoff=cutoff)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or nothing where no known name is near."""
    match = nearest(name, known)
    return f"; did you mean '{match}'?" if match else ""


def is_secret_name(name: str) -> bool:
    """Say whether a setting of this name holds a secret: one of its words says so, e.g. `secret_key`, `apiToken`."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]
    if words == ["key"] or any(_SECRET_WORD.fullmatch(word) for word in words):
        return True
    return any(after == "key" and _KEY_OF_SECRETS.fullmatch(word) for word, after in pairwise(words))


def _problems_of(error: ValidationError, known: Iterable[str]) -> list[Problem]:
    problems: list[Problem] = []
    names = list(known)
    for detail in error.errors(include_url=False):
        path: KeyPath = detail["loc"]
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            problems.extend(_as_problem(inner).inside(path) for inner in cause.problems)
        else:
            problems.append(Problem(_in_words(detail, names), path))
    return list(dict.fromkeys(problems))


def _as_problem(problem: str) -> Problem:
    return problem if isinstance(problem, Problem) else Problem(problem)


def _in_words(detail: Mapping[str, Any], known: Iterable[str]) -> str:
    """Return pydantic's complaint as a sentence that does not contain the value."""
    kind, message = detail["type"], str(detail["msg"])
    if kind == "extra_forbidden":
        name = str(detail["loc"][-1])
        return "unknown setting" + (did_you_mean(name, known) if len(detail["loc"]) == 1 else "")
    if kind == "missing":
        return "is missing, it has no default"
    if kind not in _FIXED_MESSAGES and kind not in _IN_PLAIN_WORDS:
        message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
        return "this value is not accepted" if _quotes(message, detail["input"]) else message
    message = _in_plain_words(kind, message, detail.get("ctx", {}))
    if kind in {"literal_error", "enum"} and isinstance(detail["input"], str):
        return message + _meant_choice(detail["input"], message)
    return message


def _in_plain_words(kind: str, message: str, rule: Mapping[str, Any]) -> str:
    """Return a complaint of pydantic's own as people say it; one without a translation nearly as it is."""
    if kind in {"string_too_short", "too_short"} and rule.get("min_length") == 1:
        return "must not be empty"
    try:
        return _IN_PLAIN_WORDS[kind].format_map(rule)
    except (KeyError, ValueError, TypeError):  # no translation, or a bound that is no number, such as a date
        return re.sub("^(Input|String|Value) should ", "must ", message)


def _meant_choice(value: str, message: str) -> str:
    """Return the suggestion for a value that should be one of those that the message lists in quotes."""
    choices = {choice.lower(): choice for choice in re.findall(r"'([^']*)'", message)}
    match = nearest(value, choices)
    return f"; did you mean '{choices[match]}'?" if match else ""


def _quotes(message: str, value: object) -> bool:
    """Say whether the message repeats a part of the value, as a validator of somebody else's sink might."""
    pieces = {message[at : at + _QUOTE_CHARS] for at in range(max(1, len(message) - _QUOTE_CHARS + 1))}
    return any(
        (4 <= len(leaf) <= _QUOTE_CHARS and leaf in message) or any(piece in leaf for piece in pieces)
        for leaf in _leaves(value)
    )


def _leaves(value: object, depth: int = 0) -> Iterable[str]:
    """Yield the scalars in a value as text."""
    if isinstance(value, Mapping):
        value = list(cast("Mapping[object, object]", value).values())
    if isinstance(value, list | tuple | set | frozenset):
        if depth < 8:
            for item in cast("Iterable[object]", value):
                yield from _leaves(item, depth + 1)
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, str | int | float | Path):
        yield str(value)


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _split_words(value: object) -> object:
    """Read a list given as text by a variable or URL: JSON, or words between commas or spaces."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [word for word in re.split(r"[,\s]+", value) if word]
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    raise ConfigError(Problem("not a valid JSON list; words between commas will do"))


def _file_path(value: object) -> object:
    """Refuse text that names no file: `Path("")` would silently be the current directory."""
    if not isinstance(value, str | Path):
        raise ConfigError(Problem("must be text, the path of a file"))
    text = str(value)
    if not text.strip():
        raise ConfigError(Problem("must not be empty"))
    if "\0" in text:
        raise ConfigError(Problem("must not contain a null character"))
    if os.path.basename(text) in {"", ".", ".."}:
        raise ConfigError(Problem("names a directory; add the name of a file"))
    return text


def _home_expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        pass
    raise ConfigError(Problem("begins with '~', but that home directory is not known"))


AnyCase = BeforeValidator(_upper)
"""Accepts a word in any case."""

SPLIT = BeforeValidator(_split_words)
"""Accepts a list of words as text: split at commas and spaces, or read as JSON."""

Word: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Text that says something."""

Words: TypeAlias = Annotated[tuple[Word, ...], SPLIT]
"""A list of words."""

LogPath: TypeAlias = Annotated[Path, BeforeValidator(_file_path), AfterValidator(_home_expanded)]
"""The path of a file: not empty, no directory; a leading `~` is the home directory."""
