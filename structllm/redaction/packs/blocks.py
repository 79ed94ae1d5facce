"""Key blocks: PEM, OpenSSH, PGP and what PKCS writes."""

from structllm.redaction import checks
from structllm.redaction.packs.examples import body, pem
from structllm.redaction.rule import BLOCK_RULE, Rule, Sample

# Blanks are `+` in the query of a URL.
_LABEL = r"(?:[A-Z0-9 +]{1,40}[ +])?PRIVATE[ +]KEY(?:[ +]BLOCK)?"

KEY_BLOCKS = (
    Rule(
        BLOCK_RULE,  # a block that does not end goes to the end of the text
        rf"(-----BEGIN[ +]{_LABEL}-----(?s:.*?)(?:-----END[ +]{_LABEL}-----|\z)"
        rf"|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----(?s:.*?)(?:---- END SSH2 ENCRYPTED PRIVATE KEY ----|\z)"
        r"|PuTTY-User-Key-File-[0-9]:(?s:.*?)Private-MAC: [0-9a-f]{40,64})",
        (
            Sample(pem("RSA PRIVATE", body(64), body(30))),
            Sample(pem("PRIVATE", body(64)).replace("\n", "\\n"), '{"pem": "{}\\n"}'),
            Sample(pem("OPENSSH PRIVATE", body(64), body(64), end=False), "cut off: {}"),
        ),
        ("-----BEGIN PUBLIC KEY-----", "-----BEGIN CERTIFICATE-----", pem("PRIVATE", "…"), pem("PRIVATE")),
        checks.is_key_block,
    ),
)
