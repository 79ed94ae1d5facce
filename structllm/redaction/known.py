"""The process's own secrets: what needs no rule to be recognised, since the value itself is known.

Nothing else catches the key of an exchange that is printed without a word beside it. A value is looked for as it is
and as it reads in JSON, in a URL and in base64.
"""

import json
import re
import threading
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, quote_plus

import re2  # type: ignore[import-untyped]  # google-re2 has no stubs

from structllm.errors import ConfigError
from structllm.redaction.budget import Budget
from structllm.redaction.checks import is_password, is_token
from structllm.redaction.forks import enrol
from structllm.redaction.keys import KeyRules, Verdict
from structllm.redaction.rules import engine_options

_engine: Any = re2

MIN_CHARS = 8
"""A shorter value stands in too many texts that have nothing to do with it."""

MAX_BYTES = 65_536
"""Of one value, as UTF-8."""

MAX_VALUES = 1_000
"""Of one registry; then the oldest value gives way."""

_HEAD_BYTES = 16  # of a value are in the pattern; what begins like a value is compared with it
_MEMORY_BYTES = 63 * 2**20
_ENOUGH_LETTERS = 16
_ENOUGH_DIGITS = 12

_AWS = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"})
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:(?P<userinfo>[^/?#@\s]+)@)?")
_PATH = re.compile(r"(?:~?/|\.{1,2}/|[A-Za-z]:[\\/])[^\s]*")
_CORE_EDGE = 3  # base64 characters beside a value that may hold some of its bits


class Secret(Protocol):
    """A value that hides itself, such as pydantic's `SecretStr`."""

    def get_secret_value(self) -> str | bytes:
        """Return the value."""
        ...


class _Form(NamedTuple):
    """One way to write a value; in base64 its ends share characters with what stands beside it."""

    text: bytes
    is_base64: bool


class _Finder:
    """Finds the forms of values, compiled."""

    def __init__(self, values: Iterable[bytes], generation: int) -> None:
        by_head = dict[bytes, list[_Form]]()
        for form in {form for value in values for form in _forms_of(value)}:
            by_head.setdefault(form.text[:MIN_CHARS], []).append(form)
        for forms in by_head.values():
            forms.sort(key=lambda form: -len(form.text))
        self._by_head = by_head
        options = engine_options(_MEMORY_BYTES + generation)
        options.encoding = _engine.Options.Encoding.LATIN1  # a head may end inside a character
        heads = {form.text[:_HEAD_BYTES] for forms in by_head.values() for form in forms}
        self.pattern: Any = _engine.compile(b"|".join(map(_quoted, sorted(heads))), options)

    def find(self, data: bytes, limit: int, budget: Budget, found: list[tuple[int, int]]) -> int:
        position = 0
        while position <= limit and (match := self.pattern.search(data, position)) is not None:
            start = int(match.start())
            if start > limit:
                break
            if budget.spend():
                return start
            for form in self._by_head[data[start : start + MIN_CHARS]]:
                if data.startswith(form.text, start):
                    end = start + len(form.text)
                    found.append(_widened(data, start, end) if form.is_base64 else (start, end))
                    break
            position = start + 1
        return limit


class KnownValues:
    """Secrets to look for. Safe to share between threads.

    Args:
        values: Some of them.
        above: Another registry, whose values, also future ones, are looked for as well.

    Raises:
        ConfigError: A value is shorter than 8 characters or longer than 64 KiB.
    """

    def __init__(self, values: Iterable[str | bytes | Secret] = (), above: "KnownValues | None" = None) -> None:
        self._above = above
        self._values: tuple[bytes, ...] = ()
        self._added = 0
        self._renew()
        for value in values:
            self.add(value)
        enrol(self)

    def _renew(self) -> None:
        self._lock = threading.RLock()
        self._built: tuple[tuple[tuple[bytes, ...], ...], _Finder | None] = ((), None)
        self._generation = 0

    def renew_after_fork(self) -> None:
        """Begin anew in a forked child: a thread of the parent may hold the lock or be in the middle of a search."""
        inherited, generation = self._built, self._generation
        self._renew()
        self._inherited = inherited  # not freed: that thread may have left it half changed
        self._generation = generation + 1

    def add(self, value: str | bytes | Secret) -> None:
        """Look for a value from now on.

        Raises:
            ConfigError: The value is shorter than 8 characters or longer than 64 KiB.
        """
        data = _data_of(value)
        if len(data.decode("utf-8", "replace")) < MIN_CHARS:
            raise ConfigError(f"a value to redact needs at least {MIN_CHARS} characters; this one would hide words")
        if len(data) > MAX_BYTES:
            raise ConfigError(f"a value to redact can have {MAX_BYTES:,} bytes at most")
        with self._lock:
            if data not in self._values:
                self._values = (*self._values, data)[-MAX_VALUES:]
                self._added += 1

    def occur_in(self, data: bytes) -> bool:
        """Say whether something begins like one of the values: one pass, no comparison."""
        finder = self._finder()
        return finder is not None and finder.pattern.search(data) is not None

    def find(self, data: bytes, limit: int, budget: Budget, found: list[tuple[int, int]]) -> int:
        """Add start and end (bytes) of every value; return up to where was looked, at most the limit."""
        finder = self._finder()
        return limit if finder is None else finder.find(data, limit, budget, found)

    @property
    def version(self) -> int:
        """A number that is another one once there are more values."""
        return self._added + (self._above.version if self._above is not None else 0)

    def __len__(self) -> int:
        return len(self._values) + (len(self._above) if self._above is not None else 0)

    def __bool__(self) -> bool:
        return True  # an empty one may be filled later

    def _finder(self) -> _Finder | None:
        above = self._above
        values = (self._values,) if above is None else (self._values, above._values)
        built, finder = self._built
        if built is values or built == values:
            return finder
        with self._lock:
            self._generation += 1
            every = dict.fromkeys(value for some in values for value in some)
            finder = _Finder(every, self._generation) if every else None
            self._built = (values, finder)
        return finder


_process = KnownValues()


def redact_value(value: str | bytes | Secret) -> None:
    """Never write this value, in any event of this process: a token that was fetched, a key that was entered.

    It is looked for in all texts, as it is and as it reads in JSON, in a URL and in base64. The newest 1,000 values are
    remembered.

    Args:
        value: The secret, 8 characters or more, 64 KiB or less.

    Raises:
        ConfigError: The value is too short or too long. The message does not show it.
    """
    _process.add(value)


def known_here(
    environ: Mapping[str, str], key_rules: KeyRules | None = None, settings: object | None = None
) -> KnownValues:
    """Return what this process knows: registered values, secrets of its environment, and those in its settings.

    Args:
        environ: The environment.
        key_rules: Say which names hold secrets.
        settings: Any object, such as a pydantic model; the `SecretStr` values in it are taken.
    """
    known = KnownValues(above=_process)
    for value in (*secrets_in(environ, key_rules or KeyRules()), *secrets_of(settings)):
        if len(value) >= MIN_CHARS and len(value.encode("utf-8", "surrogatepass")) <= MAX_BYTES:
            known.add(value)
    return known


def secrets_in(environ: Mapping[str, str], key_rules: KeyRules) -> Iterator[str]:
    """Yield the values of variables whose name says that they hold a secret, words and paths excepted."""
    for name, value in environ.items():
        if name in _AWS:
            yield value
            continue
        verdict = key_rules.judge(name)
        if verdict is Verdict.DENIED or verdict is Verdict.SUSPECT:
            yield from _secrets_in_value(value.strip(), verdict)


def _secrets_in_value(value: str, verdict: Verdict) -> Iterator[str]:
    url = _URL.match(value)
    if url is not None:
        if url["userinfo"] is not None:
            yield value
            password = url["userinfo"].partition(":")[2]
            if not _is_word(password):
                yield password
        return
    data = value.encode("utf-8", "surrogatepass")
    looks_secret = is_password if verdict is Verdict.DENIED else is_token
    if not _PATH.fullmatch(value) and not _is_word(value) and looks_secret(data, 0, len(data)):
        yield value


def _is_word(value: str) -> bool:
    """Say whether a value, `postgres` or `86400000`, may well stand in texts that have nothing to do with it."""
    if value.isdigit():
        return len(value) < _ENOUGH_DIGITS
    is_one_case = value.islower() or value.isupper() or value.istitle()
    return value.isalpha() and is_one_case and len(value) < _ENOUGH_LETTERS


def secrets_of(settings: object) -> Iterator[str]:
    """Yield the values of all `SecretStr` and `SecretBytes` in models, mappings and lists, to the bottom."""
    seen, waiting = set[int](), [settings]
    while waiting:
        value = waiting.pop()
        if value is None or isinstance(value, (str, bytes, int, float)) or id(value) in seen:
            continue
        seen.add(id(value))
        reveal: Any = getattr(value, "get_secret_value", None)
        if callable(reveal):
            yield _data_of(value).decode("utf-8", "surrogateescape")
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, (list, tuple, set, frozenset)):
            waiting += value
        elif hasattr(type(value), "model_fields"):
            waiting += vars(value).values()


def _data_of(value: Any) -> bytes:
    if not isinstance(value, (str, bytes)):
        reveal = getattr(value, "get_secret_value", None)
        value = reveal() if callable(reveal) else value
    if isinstance(value, str):
        return value.strip().encode("utf-8", "surrogatepass")
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).strip()
    raise ConfigError("a value to redact is a text, bytes or a SecretStr")


def _forms_of(value: bytes) -> Iterator[_Form]:
    text = value.decode("utf-8", "replace")
    plain = {value}
    for ascii_only in (True, False):
        escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        plain |= {_utf8(form) for form in (escaped, json.dumps(escaped, ensure_ascii=ascii_only)[1:-1])}
    for form in (quote(value), quote(value, safe=""), quote_plus(value)):
        plain |= {form.encode(), _HEX_PAIR.sub(lambda pair: pair[0].lower(), form).encode()}
    yield from (_Form(form, is_base64=False) for form in plain)
    for before in range(3):
        whole = b64encode(b"\0" * before + value).rstrip(b"=")
        # The characters that hold bits of what stands before or behind are not known.
        known = whole[(0, 2, 3)[before] : len(whole) - (1 if (before + len(value)) % 3 else 0)]
        if len(known) >= MIN_CHARS:
            yield _Form(known, is_base64=True)
            yield _Form(known.translate(_TO_URL_SAFE), is_base64=True)


_HEX_PAIR = re.compile("%[0-9A-F]{2}")
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_BASE64_BEFORE = re.compile(rb"[A-Za-z0-9+/_-]{0,%d}$" % _CORE_EDGE)
_BASE64_AFTER = re.compile(rb"[A-Za-z0-9+/_-]{0,%d}={0,2}" % _CORE_EDGE)


def _widened(data: bytes, start: int, end: int) -> tuple[int, int]:
    before = _BASE64_BEFORE.search(data[max(0, start - _CORE_EDGE) : start])
    after = _BASE64_AFTER.match(data, end)
    return start - (len(before[0]) if before else 0), after.end() if after else end


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _quoted(head: bytes) -> bytes:
    """Return a pattern for bytes, in Latin-1."""
    return "".join(f"\\x{byte:02x}" for byte in head).encode()
