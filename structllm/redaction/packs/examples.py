"""What examples are put together from: no line of the packs holds anything that a secret scanner would report."""

LOWER = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
HEX = DIGITS + "abcdef"
UPPER = LOWER.upper()
ALNUM = DIGITS + LOWER + UPPER
LOWER_ALNUM = DIGITS + LOWER
URL_SAFE = ALNUM + "_-"
BASE64 = ALNUM + "+/"
BASE32 = UPPER + "234567"
BASE58 = "".join(char for char in ALNUM if char not in "0OIl")


def body(length: int, alphabet: str = ALNUM) -> str:
    """Return random-looking characters, the same ones every time."""
    state = length
    chars: list[str] = []
    for _ in range(length):
        state = (state * 1103515245 + 12345) % 2**31
        chars.append(alphabet[(state >> 16) % len(alphabet)])
    return "".join(chars)


def uuid() -> str:
    """Return a random-looking UUID."""
    return "-".join(body(size, HEX) for size in (8, 4, 4, 4, 12))


def pem(kind: str, *lines: str, end: bool = True) -> str:
    """Return a key block; without its end, one that was cut off."""
    label = f"{kind} KEY-----"
    return "\n".join((f"-----BEGIN {label}", *lines, *([f"-----END {label}"] if end else [])))
