"""The key rules for texts: a prompt, a tool's arguments or an answer may hold `"api_secret": "…"` as a dict may.

A name in quotes, as JSON and Python write it, is judged as the key of a dict is. Names that the settings deny are also
found without quotes, in `name=value`, `name: value`, `--name value` and `<name>value</name>`; the built-in ones are
left to the rules for passwords and secrets there, because in prose they are mostly words.
"""

import re
from functools import lru_cache

from structllm.redaction.checks import is_password
from structllm.redaction.keys import DENIED_NAMES, PASS_OWNER, KeyRules, Verdict, Words
from structllm.redaction.packs.shapes import QUOTED
from structllm.redaction.rule import KEY_RULE, MARKER, Rule, Sample

_NAME_BYTES = 96
_AROUND = "[A-Za-z0-9_. -]{0,32}"
_GAP = "[^A-Za-z0-9]{0,2}"
_BARE = r"""([^\s"'`,;&<>(){}\[\]\\]+)"""
_NAME_BEFORE = re.compile(rb"""([A-Za-z0-9][A-Za-z0-9_. -]*?)[\s\\"'`\]\[({bfru:=>-]*$""")
_NOTHING = re.compile(rb"(?i)null|none|undefined|nil")


def rule_of_keys(key_rules: KeyRules) -> Rule:
    """Return the rule that finds in texts what these key rules deny.

    Its secret is the value. It is the last in rank: a rule that knows what the value is names it better. Equal key
    rules get the same rule, since a set of rules that was compiled once is used again.
    """
    return _rule_of(key_rules)


@lru_cache(maxsize=16)
def _rule_of(key_rules: KeyRules) -> Rule:
    built_in = "|".join([*map(_spelled, DENIED_NAMES), f"(?:{PASS_OWNER}){_GAP}pass"])
    quoted = rf"""\\*["'`]{_AROUND}(?:{built_in}){_AROUND}\\*["'`]\s*[:=]\s*{QUOTED}"""
    patterns, own = [quoted], key_rules.denied
    if own:
        names = rf"{_AROUND}(?:{'|'.join(map(_spelled, own))})[A-Za-z0-9_.-]{{0,32}}"
        patterns += [
            rf"""{names}\\*["'`]?\]?\s*(?:[:=]|%3[AaDd])\s*(?:{QUOTED}|{_BARE})""",
            rf"""--?{names}[ \t]+["']?{_BARE}""",
            rf"<{names}>([^<>]+)<",
        ]

    def is_denied(text: bytes, start: int, end: int) -> bool:
        found = _NAME_BEFORE.search(text[max(0, start - _NAME_BYTES) : start])
        if found is None or key_rules.judge(found[1].decode()) is not Verdict.DENIED:
            return False
        if key_rules.denies_itself(found[1].decode()):
            return not _NOTHING.fullmatch(text[start:end]) and bool(MARKER.sub(b"", text[start:end]).strip())
        return is_password(text, start, end)

    known = ["_".join(words) for words in (*own, ("passphrase",), *DENIED_NAMES)]
    name = next((name for name in known if key_rules.judge(name) is Verdict.DENIED), None)
    if name is None:  # every name is allowed: what is left finds itself, as each rule has to, and nothing else
        return Rule(KEY_RULE, "\\x00key-name\\x00", (Sample("\0key-name\0"),), ("key-name",))
    return Rule(
        KEY_RULE,
        "(?i)" + "|".join(patterns),
        (Sample("two words", f'{{"{name}": "{{}}"}}'),),
        ("a sentence", '{"1": "2"}'),
        is_denied,
        rescan=True,
    )


def _spelled(words: Words) -> str:
    return _GAP.join(map(re.escape, words))
