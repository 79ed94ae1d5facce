"""Shapes that patterns share: where a key may begin, how a name and its value are written, which names mean what."""

from structllm.redaction.checks import is_key_anywhere, is_no_filler
from structllm.redaction.keys import PASS_OWNER
from structllm.redaction.rule import Rule, Sample

# A key begins where a word begins, after `_`, or after an escape that ends in a letter: \n in JSON text, %3D in a URL,
# the colour of a terminal, whose first character may itself be escaped or lost.
ESCAPE = r"%[0-9A-Fa-f]{2}|\\[bfnrt]|\\u[0-9A-Fa-f]{4}|\[[0-9;:]{0,16}[mKHJ]"
EDGE = rf"(?:{ESCAPE}|_|\b)"


def format_rule(id: str, pattern: str, *secrets: str, misses: tuple[str, ...]) -> Rule:
    """Return the rule of key formats that are recognised anywhere by their own prefix."""
    return Rule(id, f"{EDGE}({pattern})", tuple(Sample(secret) for secret in secrets), misses, is_no_filler)


def long_format_rule(id: str, pattern: str, *secrets: str, misses: tuple[str, ...], edged: str = "") -> Rule:
    """Return the rule of a format whose prefix is so long that it is also recognised inside a word.

    Args:
        id: Of the rule.
        pattern: What may stand inside a word.
        secrets: Examples.
        misses: Counterexamples.
        edged: More formats of the same vendor, too short for that.
    """
    whole = f"({pattern})|{EDGE}({edged})" if edged else f"({pattern})"
    return Rule(id, whole, tuple(Sample(secret) for secret in secrets), misses, is_key_anywhere, rescan=True)


# What stands between a name and its value: closing quote (JSON-escaped or not) or bracket, a type, and an operator:
# = : := ::= ?= += .= => -> or a full-width one. A list of variables has `name: X, value: Y`.
QUOTE = r"""(?:\\*["'`])?"""
SPACE = r"(?:[ \t\x{a0}\x{2000}-\x{200b}\x{202f}\x{3000}]|\\+u(?:00a0|200[0-9ab]|202f|3000))*"
_TYPE = r"(?:[ \t]*[: \t][ \t]*(?:str|string|String|&str|bytes|SecretStr|Optional\[str\])(?: \| None)?)?"
_OPERATOR = r"(?:[:.?|+]{0,3}=>?|[:\x{ff1a}\x{ff1d}]|->|\\+uff1[ad])"
_THEN_VALUE = r"""(?:[ \t]*,?(?:\s|\\n|\\t){0,24}\\*["']?(?:secret_?)?value\\*["']?)?"""
_BLOCK = r"(?:[|>][+-]?[ \t]*(?:\r?\n|\\n)[ \t]+)?"
_BOLD = r"\*{0,2}"
IS = QUOTE + r"\]?" + _BOLD + _TYPE + _THEN_VALUE + SPACE + _OPERATOR + _BOLD + SPACE + _BLOCK
_IN_QUOTES = r'"((?:[^"\\\n]|\\.)+)' + r"|'((?:[^'\\\n]|\\.)+)" + r"|`([^`\n]+)" + r"""|\\+["']((?:\\*[^"'\\\n])+)"""

# A list or an object that begins here and holds the value first: token: ["…"], "token": {"value": "…"}.
_WITHIN = r"""(?:[\[({]\s*(?:\\*["'`][a-z_]{1,24}\\*["'`][ \t]*:[ \t]*)?)?"""
QUOTED = f"{_WITHIN}[bfru]{{0,2}}(?:{_IN_QUOTES})"
OPENING = r"(?:[“„«‘]|\\+u(?:201[8ce]|00ab))?"
UNQUOTED_PASSWORD = OPENING + r"""([^\s"'`«»“”„‘’<>\\]+)"""

PASSWORD_NAME = (
    r"(?:pass(?:word|wd|phrase|code)s?|pwd|(?:" + PASS_OWNER + r")[_.-]?pass|"
    r"pa(?:ss|ß)wort|kennwort|contrase(?:ñ|\\u00f1|n)a|clave|mots? de passe|mot_?de_?passe|senha|wachtwoord"
    r"|lösenord|hasło|"
    r"heslo|parola|şifre|salasana|пароль|密[码碼]|パスワード|비밀번호|암호|mật khẩu|كلمة المرور|סיסמה|पासवर्ड)"
)
SECRET_NAME = (
    r"(?:secret|token|apikey|credentials?|(?:access|api|auth|bearer|bot|refresh)[_. -]?tokens|"
    r"(?:api|access|secret|private|signing|encryption|account|master|auth|hmac|ssh|shared|service[_. -]role"
    r"|deploy)[_. -]?keys?|"
    r"(?:api|auth|bot|deploy|personal[_. -]access)[_. -]?pat|api[- ]?(?:schlüssel|sleutel)|geheimnis|"
    r"cl(?:é|ave|e)s?[ _-](?:d['’]|de[ _-]|de[ _-]la[ _-])?(?:api|secr[eè]te|secreta|acceso|acc[eè]s|priv[eé]e)|"
    r"chave[ _-](?:d[ae][ _-])?(?:api|secreta|acesso)|chiave[ _-](?:api|segreta)|jeton|"
    r"(?:api|секретный)[ -]ключ|ключ[ _-]api|токен|(?:api ?)?(?:密钥|密鑰|秘钥|金鑰)|令牌|トークン"
    r"|api ?キー|シークレット|토큰|api ?키)"
)
SAYS = r"(?-i: is| was| ist| lautet| es| est| é| è|: is|\s*[是为為は은는이가]\s*|\s+[—–-])"
"""What stands between a name and its value in a sentence."""
SET_TO = r""" to (?:\\*["'`]|[«“„‘]|\\+u(?:201[8ce]|00ab))"""
"""As `set the password to "…"` has it; without a quote, what follows is a word more often than not."""


def pair_of(name: str) -> str:
    """Return the pattern of what stands for `name = value` in tuples, calls, XML and command lines."""
    return (
        r"""(?i)\([bu]?\\*["'][a-z0-9_.-]{0,32}"""
        + name
        + r"""\\*["'][ \t]*,[ \t]*[bfru]{0,2}\\*["']((?:\\*[^"'\\\n])+)\\*["'][ \t]*,?[ \t]*\)"""
        + r"|<[a-z0-9_:.-]{0,32}"
        + name
        + r"(?:[a-z0-9_.-]{0,16})(?: [^<>\n]{0,80})?>(?:\s"
        r"|\\[nrt])*(?:<!\[CDATA\[)?([^<>\s\\][^<>\n\\]*)(?:\]\]>)?(?:\s|\\[nrt])*<"
        + r"|--?[a-z-]{0,32}"
        + name
        + r"""[ \t]+(?:"([^"\n]+)"|'([^'\n]+)'|["']?([^\s"'`«»“”„<>\\-][^\s"'`«»“”„<>\\]*))"""
    )
