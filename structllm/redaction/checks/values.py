"""Values that are secrets because of a name: whether one is a secret, or a placeholder, code or prose."""

import base64
import binascii
import re

from structllm.redaction.checks.formats import JUDGED_BYTES, is_filled
from structllm.redaction.checks.nearby import CONTEXT_BYTES
from structllm.redaction.rule import MARKER

_PLACEHOLDER = re.compile(
    rb"(?i)(?:(.)\1*|\*{3,}.*|x{4,}.*|<.*|\$\{.*|\$\(.*|(?-i:\$[A-Z_][A-Z0-9_]*)|\{\{.*|\{[a-z_.]*\}|%\(?[a-z_]+\)?[s%]|"
    rb"(?:your|insert|enter)[ _-].*|none|null|nil|true|false|undefined|str|string|bytes|bool|int|any|secretstr|"
    rb"optional(?:\[.*)?|required|missing|invalid|incorrect|wrong|unset|empty|hidden|expired|unknown|"
    rb"\[?(?:redacted|filtered|masked|hidden|password|token|secret)\]?|"
    rb"(?:(?:os|process|std|sys|ctx)(?:\.|::))?(?:environ|env|getenv|env_var)(?:\.|[\[(!]).*|\$env:.*"
    rb"|!?vault[ :|].*|ENC\[.*|"
    rb"prompt|input|must|should|cannot|the|with|field|reset|secretsmanager:.*|arn:aws:.*|\$\{?\{.*)"
)
_EXPRESSION = re.compile(
    rb"(?i)(?:self|cls|this|os|env|app|args|options|settings|config|conf|cfg|secrets|creds|ctx|context|request|params|"
    rb"kwargs|var|local|data|module)"
    rb"(?:(?:\.|->|::)[a-z_]\w*)+"
)
_FUNCTION = (
    rb"(?:get|load|read|fetch|make|create|generate|decrypt|input|prompt|ask|require)[a-z_.]*[0-9]?|"
    rb"[a-z]+(?:[_.][a-z]+)+[0-9]?"
)
_CALLED = re.compile(rb"(?i:" + _FUNCTION + rb")")
_CALL = re.compile(rb"(?i:" + _FUNCTION + rb")\([^()]*")
_NAME = re.compile(rb"[A-Za-z_]+")
_ADDRESS = re.compile(rb"0x[0-9a-fA-F]{40}")
_ASCII_WORD = re.compile(rb"[!-~]")
_FILLED = re.compile(rb"(?i)(?:[a-z]+ )?(?:[a-z0-9]{1,12}[_-]){0,2}(?:x{8,}|\*{6,}|\.{3,}|0{8,}|<.*|\{.*|\[.*)")
_DIGIT = re.compile(rb"[0-9]")
_LETTER = re.compile(rb"[A-Za-z]")
_MIXED = re.compile(rb"[a-z].*[A-Z]|[A-Z].*[a-z]")
_CAMEL_CASE = re.compile(rb"[A-Za-z]?[a-z]*(?:[ _.-]?[A-Z]?[a-z]{2,})*")
_SPECIAL_TYPE = re.compile(rb"(?i)[a-z_]+(?:\[[a-z_, |\]]*)?")


def is_password(text: bytes, start: int, end: int) -> bool:
    """Say whether the value given to a password is one, and not a placeholder, a type, or code that fetches it."""
    value = text[start:end]
    if len(value) > JUDGED_BYTES:
        return True
    bare = _bare(value)
    if len(bare) < 3 or _PLACEHOLDER.fullmatch(bare) or _FILLED.fullmatch(bare):
        return False
    if not _is_literal(text, start) and not _ASCII_WORD.search(bare):
        return False  # a sentence of a script without blanks goes on behind the colon
    return _is_literal(text, start) or not (
        _EXPRESSION.fullmatch(bare)
        or _CALL.fullmatch(bare)
        or (_CALLED.fullmatch(bare) and text[end : end + 1] == b"(")
        or (_NAME.fullmatch(bare) and _repeats_name(text, start, bare))
    )


_PROSE = re.compile(
    rb"(?i)and|argument|flag|for|from|given|instead|option|or|parameter|switch|to|value|when|without|you|your"
)


def is_argument(text: bytes, start: int, end: int) -> bool:
    """Say whether what follows `--password` is a password, and not the rest of a sentence about the option."""
    return is_password(text, start, end) and not _PROSE.fullmatch(_bare(text[start:end]))


_SYMBOL = re.compile(rb"[^A-Za-z0-9\s]")


def is_sentence_password(text: bytes, start: int, end: int) -> bool:
    """Say whether a word that a sentence calls the password is one: no word of a language has digits or symbols in it.

    `the password is correct-horse9` names one, `the password is missing` does not.
    """
    bare = _bare(text[start:end])
    looks_made = len(bare) >= 4 and (_DIGIT.search(bare) or (_SYMBOL.search(bare) and _MIXED.search(bare)))
    return bool(looks_made) and is_password(text, start, end)


def is_token(text: bytes, start: int, end: int) -> bool:
    """Say whether the value given to a key, token or secret looks random enough to be one.

    `token: BTC`, `token = tokenizer.next` and contract addresses are no secrets; eight characters with letters and
    digits are, and so are sixteen letters in a mixed case that is no camelCase.
    """
    value = text[start:end]
    if len(value) > JUDGED_BYTES:
        return True
    bare = _bare(value)
    if _PLACEHOLDER.fullmatch(bare) or _ADDRESS.fullmatch(bare) or _FILLED.fullmatch(bare) or is_filled(bare, 4):
        return False
    if not _is_literal(text, start) and (
        _EXPRESSION.fullmatch(bare) or (_CALLED.fullmatch(bare) and text[end : end + 1] == b"(")
    ):
        return False
    if _DIGIT.search(bare) and _LETTER.search(bare):
        return len(bare) >= 8
    return len(bare) >= 16 and _MIXED.search(bare) is not None and not _CAMEL_CASE.fullmatch(bare)


_LOOKS_COUNTED = re.compile(
    rb"[a-z]+(?:[-_./ ][a-z0-9]{1,7})+|[a-z]+[0-9]{1,4}|[A-Z]+[0-9]{1,4}|v?[0-9]+\.[0-9.]+[a-z]*"
)
_TELLING_NAME = re.compile(
    rb"(?i)(?:_|-|\b)?(?:name|names|type|path|file|url|uri|host|model|version|region|user(?:name)?|hash|sha|commit|"
    rb"public|cache|sort|partition|primary|foreign|next|page|cursor|etag|trace|span|request|order|session|address|tx|"
    rb"contract|digest|checksum|image|uuid|guid)[a-z_-]{0,12}\\*[\"'`]?\]?\s{0,4}(?:[:=?|>,.]{1,4})\s{0,4}\\*[\"'`]?\Z"
)

_SECRET_BEFORE = re.compile(
    rb"(?i)(?:key|token|secret)[\"'`\\\]]{0,3}(?:[ \t]*[:=?>|,.\s]{1,8}|[ \t]+str(?:ing)?[ \t]*=)\s*[\"'`\\]*\Z"
)


def is_vendor_token(text: bytes, start: int, end: int) -> bool:
    """Say whether a value that stands with a vendor's name looks random: letters and digits mixed, nothing readable."""
    bare = _bare(text[start:end])
    if _LOOKS_COUNTED.fullmatch(bare) or _TELLING_NAME.search(text[max(0, start - 40) : start]):
        return False
    if bare.isdigit():
        return (
            12 <= len(bare) <= 32
            and len(set(bare)) >= 5
            and _SECRET_BEFORE.search(text[max(0, start - 40) : start]) is not None
        )
    return is_token(text, start, end) and len(set(bare)) >= 8 and len(_DIGIT.findall(bare)) >= 2


def is_random_text(text: bytes, start: int, end: int) -> bool:
    """Say whether a long text has the variety of random characters, and not that of words, hashes, ids or paths."""
    value = text[start:end][:JUDGED_BYTES]
    if not (_MIXED.search(value) and len(_DIGIT.findall(value)) >= 3):
        return False
    return len(set(value)) >= min(20, len(value) // 2) and value.count(b"/") + value.count(b"-") <= len(value) // 8


_LOGIN_PLACEHOLDER = re.compile(
    rb"(?i)[\[{(<$%]*(?:pass(?:word|wd)?|pw|pwd|token|secret|api_?key|key|test|user(?:name)?|foo|bar|x+|y+|z+|\.+|\*+)"
    rb"[0-9]?[\]})>%]*"
)
_REFERENCE = re.compile(rb"\$[\w{(]|\{\{|<[a-zA-Z]|%\w+%")


def is_login(text: bytes, start: int, end: int) -> bool:
    """Say whether `user:password` on a command line holds a password or, with an empty one, a token for the user."""
    user, _, password = text[start : min(end, start + JUDGED_BYTES)].partition(b":")
    password = password.strip(b"\"'")
    if not password:
        return bool(_DIGIT.search(user) and _LETTER.search(user)) and len(user) >= 8 and not _REFERENCE.search(user)
    if _REFERENCE.search(password) or _LOGIN_PLACEHOLDER.fullmatch(password):
        return False
    return len(password) >= 3 and not _PLACEHOLDER.fullmatch(password)


def is_basic_credentials(text: bytes, start: int, end: int) -> bool:
    """Say whether base64 text decodes to `user:password` (RFC 7617)."""
    raw = text[start:end][:JUDGED_BYTES].rstrip(b"=")
    try:
        return b":" in base64.b64decode(raw[: len(raw) // 4 * 4] + _padded(raw[len(raw) // 4 * 4 :]))
    except binascii.Error:
        return False


def _padded(rest: bytes) -> bytes:
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


def is_cookie(text: bytes, start: int, end: int) -> bool:
    """Say whether the value of a cookie header still sets something once markers are taken away."""
    return b"=" in MARKER.sub(b"", text[start : min(end, start + JUDGED_BYTES)])


_BODY_OF_BLOCK = re.compile(rb"[A-Za-z0-9+/=]{4}")


def is_key_block(text: bytes, start: int, end: int) -> bool:
    """Say whether a private key block has a body, or was cut off; one in documentation has dots or nothing in it."""
    last = text.rfind(b"-----END", max(start, end - 96), end)
    if last < 0:
        return True
    first = text.find(b"-----", start + 11, last) + 5
    return _BODY_OF_BLOCK.search(text, first, min(last, first + 1024)) is not None


_FILE_NAME = re.compile(rb"(?i)\.(?:png|jpe?g|gif|svg|webp|css|js|ts|json|html?)$")
_URL_BEFORE = re.compile(rb"://[^\s/?#]*$")


def is_email(text: bytes, start: int, end: int) -> bool:
    """Say whether the text is an address of a person: not `git@host:`, not a file name, not a URL's user part."""
    value = text[start:end]
    if value.startswith(b"git@") or _FILE_NAME.search(value[-8:]):
        return False
    return not _URL_BEFORE.search(text[max(0, start - CONTEXT_BYTES) : start])


def _bare(value: bytes) -> bytes:
    """Take away what is redacted already and the punctuation that a sentence or a call puts around a value."""
    return MARKER.sub(b"", value).strip(b" .,;:!?)]}")


def _is_literal(text: bytes, start: int) -> bool:
    return text[max(0, start - 1) : start] in (b'"', b"'", b"`")


def _repeats_name(text: bytes, start: int, value: bytes) -> bool:
    """`password=password` hands a variable on."""
    return value.lower() in text[max(0, start - len(value) - 4) : start].lower()
