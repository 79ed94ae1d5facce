"""The chain of hashes: what is sealed, and that every edit of a log is found, once, and named."""

import hashlib
import hmac
import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structllm import chain, tampering
from structllm.chain import MOST_SEAL_BYTES, first_link, hasher, seal, unseal
from structllm.tampering import PROBLEMS, Place
from structllm.verification import LogCheck

WRITER = "wtr_00000000000000aa"
OTHER = "wtr_00000000000000bb"


def sealed_lines(count: int, writer: str = WRITER, key: bytes | None = None) -> list[bytes]:
    """Return the lines of a log of one writer, with their newlines."""
    lines: list[bytes] = []
    previous = first_link(writer)
    for n in range(1, count + 1):
        event = {"event_type": "run", "writer": writer, "seq": n, "name": "x" * (n % 7)}
        line, previous = seal(hasher(key), json.dumps(event, separators=(",", ":")).encode() + b"\n", n, previous)
        lines.append(line)
    return lines


LOG = sealed_lines(100)


def check(lines: Iterable[bytes], key: bytes | None = None) -> LogCheck:
    """Check lines with their newlines as one file, as the command does."""
    checked = LogCheck(hasher(key))
    for number, line in enumerate(b"".join(lines).split(b"\n")[:-1], 1):
        if line:
            checked.add(line, Place("x.log", number))
    checked.finish()
    return checked


def told(checked: LogCheck) -> list[tuple[str, int, int | None, int | None]]:
    """Return verdict, line and numbers of each finding."""
    return [(finding.verdict, finding.place.line, finding.first, finding.last) for finding in checked.findings]


class TestFormat:
    def test_a_sealed_line(self) -> None:
        """Number and hash come last; the hash is that of the hash before and of the line up to the number."""
        first, digest = seal(hasher(), b'{"a":1}\n', 1, first_link("w"))
        expected = hashlib.sha256(b'structllm chain 1 w{"a":1,"sink_seq":1').hexdigest()
        assert (f'{{"a":1,"sink_seq":1,"hash":"{expected}"}}\n'.encode(), expected.encode()) == (first, digest)
        _, following = seal(hasher(), b'{"a":2}\n', 2, digest)
        assert hashlib.sha256(digest + b'{"a":2,"sink_seq":2').hexdigest().encode() == following

    def test_a_key(self) -> None:
        """With a key it is HMAC-SHA256."""
        _, digest = seal(hasher(b"k" * 16), b'{"a":1}\n', 1, first_link("w"))
        text = b'structllm chain 1 w{"a":1,"sink_seq":1'
        assert hmac.new(b"k" * 16, text, "sha256").hexdigest().encode() == digest

    @given(st.dictionaries(st.text(max_size=9), st.text(max_size=99), min_size=1), st.integers(1, 10**19 - 1))
    def test_any_line(self, event: dict[str, str], seq: int) -> None:
        """A sealed line holds what the line held, is at most 105 bytes longer, and comes apart again."""
        line = json.dumps({**event, "event_type": "x"}).encode() + b"\n"
        made, digest = seal(hasher(), line, seq, b"")
        assert {**json.loads(line), "sink_seq": seq, "hash": digest.decode()} == json.loads(made)
        assert len(made) - len(line) <= MOST_SEAL_BYTES
        taken = unseal(made[:-1])
        assert taken is not None
        assert (seq, digest) == (taken.seq, taken.hash)
        assert digest == chain.link(hasher(), b"", taken.body)

    @pytest.mark.parametrize(
        "line", [b"{}", b'{"a":1}', LOG[0][:-2], LOG[0][:-1] + b" ", LOG[0][:-1] + b"\r", LOG[0].upper()[:-1]]
    )
    def test_what_is_not_sealed(self, line: bytes) -> None:
        """Only what ends in number and hash, to the byte, is sealed."""
        assert unseal(line) is None


class TestIntact:
    def test_nothing_is_found(self) -> None:
        """A log that nobody touched gives no finding, and every hash is proved."""
        checked = check(LOG)
        assert [] == checked.findings
        (found,) = checked.chains.values()
        assert (1, 100, 100, 100) == (found.first, found.last, found.lines, found.proved)

    def test_writers_interleave(self) -> None:
        """Each writer has a chain of its own."""
        other = sealed_lines(50, OTHER)
        mixed = [line for pair in zip(LOG[:50], other, strict=True) for line in pair]
        assert [] == check(mixed).findings

    @pytest.mark.parametrize("count", [1, 3])
    def test_written_again(self, count: int) -> None:
        """What a sink wrote last and writes again is no problem, and is named."""
        lines = [*LOG[:50], *LOG[50 - count : 50], *LOG[50:]]
        assert [("duplicate", 51, 51 - count, 50)] == told(check(lines))

    def test_half_a_line(self) -> None:
        """Half a line of a crash is no problem, and is named."""
        half = LOG[50][:40] + b"\n"
        assert [("bad", 51, None, None)] == told(check([*LOG[:50], half, *LOG[50:]]))

    def test_half_a_line_before_another(self) -> None:
        """Where the line was written again behind half a line and its own first try, nothing is wrong but that."""
        spoilt = [LOG[50][:40] + LOG[50], LOG[50][:-1] + b"~\n", b"~\n"]
        assert ["bad"] * 3 == [verdict for verdict, *_ in told(check([*LOG[:50], *spoilt, *LOG[50:]]))]

    def test_beginning_deleted(self) -> None:
        """Where retention took the beginning, that is said, and that the first line left cannot be checked."""
        assert [("unproven", 1, 31, 31)] == told(check(LOG[30:]))

    def test_switched_on_later(self) -> None:
        """Lines of others before the first sealed one are from before integrity was switched on."""
        assert [("unproven", 1, None, None)] == told(check([b'{"event_type":"x","writer":"old"}\n', *LOG]))

    def test_key(self) -> None:
        """With the key a log is intact; with another one, or none, no hash is right."""
        lines = sealed_lines(10, key=b"k" * 16)
        assert [] == check(lines, b"k" * 16).findings
        assert [10, 10] == [check(lines, key).count["altered"] for key in (None, b"l" * 16)]


class TestTampering:
    def test_every_bit(self) -> None:
        """Whichever bit of a log of 100 records is flipped, the line is named."""
        content = b"".join(LOG)
        ends = [index for index, byte in enumerate(content) if byte == 10]
        silent: list[tuple[int, int]] = []
        unproved: set[str] = set()
        line_of, number = [], 1
        for position in range(len(content)):
            line_of.append(number)
            number += position == ends[number - 1] if number <= len(ends) else 0
        for position in range(len(content)):
            first = max(0, line_of[position] - 2)  # lines far away are not concerned, and would take hours
            last = line_of[position] + 3
            start, end = (ends[first - 1] + 1 if first else 0), ends[min(last, 100) - 1] + 1
            for bit in range(8):
                damaged = bytearray(content[start:end])
                damaged[position - start] ^= 1 << bit
                checked = flipped(bytes(damaged), first, is_end=end == len(content))
                lines = {finding.place.line + first for finding in checked.findings if finding.verdict != "unproven"}
                unproved.update(finding.verdict for finding in checked.findings)
                if not any(abs(line - line_of[position]) <= 1 for line in lines):
                    silent.append((position, bit))
        assert [] == silent
        assert {"altered", "bad"} <= unproved

    @given(st.integers(1, 98))
    def test_any_line_deleted(self, index: int) -> None:
        """A missing line is missing, and named; nothing else is found."""
        lines = [*LOG[:index], *LOG[index + 1 :]]
        assert [("missing", index + 1, index + 1, index + 1)] == told(check(lines))

    @given(st.integers(1, 97), st.integers(1, 97))
    def test_any_lines_swapped(self, one: int, two: int) -> None:
        """Lines that changed places are out of order, both or the one that moved."""
        lines = list(LOG)
        lines[one], lines[two] = lines[two], lines[one]
        found = told(check(lines))
        numbers = {first for verdict, _, first, _ in found if verdict == "reordered"}
        assert {"reordered"} == {verdict for verdict, *_ in found} if one != two else not found
        assert not numbers - {one + 1, two + 1, (one + two) // 2 + 1}
        assert all(line in (one + 1, two + 1, (one + two) // 2 + 1) for _, line, *_ in found)

    @given(st.integers(0, 98), st.integers(0, 100))
    def test_any_line_put_elsewhere_again(self, index: int, target: int) -> None:
        """A copy of a line anywhere but right behind it, where a sink might have written it again, is found."""
        lines = [*LOG[:target], LOG[index], *LOG[target:]]
        found = told(check(lines))
        if target in (index, index + 1):
            assert [("duplicate", index + 2, index + 1, index + 1)] == found
        elif target:
            assert any(verdict in PROBLEMS and target + 1 == line for verdict, line, *_ in found)
            assert {index + 1} == {first for _, _, first, _ in found}
        else:
            assert check(lines).problems

    @given(st.integers(0, 99), st.integers(1, 200))
    def test_any_line_forged(self, target: int, seq: int) -> None:
        """A line with any number and a hash that continues nothing is found where it stands, and nothing else."""
        forged, _ = seal(hasher(), b'{"event_type":"x","writer":"%b"}\n' % WRITER.encode(), seq, b"nothing")
        checked = check([*LOG[: target + 1], forged, *LOG[target + 1 :]])
        assert ["inserted"] == [verdict for verdict, *_ in told(checked)] or seq > 100 or target == 99
        assert any(verdict in PROBLEMS and target + 2 == line for verdict, line, *_ in told(checked))

    def test_foreign_line(self) -> None:
        """A line without number and hash, of the writer or of another, is found."""
        for writer, verdict in ((WRITER, "altered"), ("other", "inserted")):
            foreign = b'{"event_type":"x","writer":"%b"}\n' % writer.encode()
            assert [(verdict, 51, None, None)] == told(check([*LOG[:50], foreign, *LOG[50:]]))

    def test_seal_taken_off(self) -> None:
        """A line whose seal was taken off is one finding, though its number is missing too."""
        stripped = LOG[50].replace(b"sink_seq", b"sink_sep")
        assert [("altered", 51, None, None)] == told(check([*LOG[:50], stripped, *LOG[51:]]))

    @pytest.mark.parametrize(
        ("old", "new", "verdict"),
        [
            (b'"seq":51', b'"seq":52', "altered"),
            (b'"sink_seq":51', b'"sink_seq":53', "altered"),
            (b'"sink_seq":51', b'"sink_seq":9', "altered"),
            (WRITER.encode(), OTHER.encode(), "altered"),
            (b'"hash":"', b'"hash":"f', "altered"),
        ],
    )
    def test_field_altered(self, old: bytes, new: bytes, verdict: str) -> None:
        """An altered field is found in its line, whichever it is."""
        lines = [*LOG[:50], LOG[50].replace(old, new), *LOG[51:]]
        assert (verdict, 51) in [(found, line) for found, line, *_ in told(check(lines))] or b'"sink_seq":9' == new
        assert check(lines).problems

    def test_hash_altered(self) -> None:
        """An altered hash is one finding: the next line continues the one that it should have."""
        line = LOG[50][:-6] + (b"0" if LOG[50][-6:-5] != b"0" else b"1") + LOG[50][-5:]
        assert [("altered", 51, 51, 51)] == told(check([*LOG[:50], line, *LOG[51:]]))

    def test_row_deleted_or_moved(self) -> None:
        """Many lines in a row are one finding."""
        assert [("missing", 31, 31, 60)] == told(check([*LOG[:30], *LOG[60:]]))
        assert [("reordered", 71, 31, 60)] == told(check([*LOG[:30], *LOG[60:], *LOG[30:60]]))
        assert [("inserted", 91, 31, 60)] == told(check([*LOG[:90], *LOG[30:60], *LOG[90:]]))

    def test_two_gaps_around_a_line(self) -> None:
        """Each gap is told, also where a single line stands between them."""
        lines = [*LOG[:5], LOG[6], *LOG[8:]]
        assert [("missing", 6, 6, 6), ("missing", 7, 8, 8)] == told(check(lines))

    def test_gap_at_the_end(self) -> None:
        """A gap before the very last line is a gap."""
        assert [("missing", 98, 98, 99)] == told(check([*LOG[:97], LOG[99]]))

    def test_every_second_line_deleted(self) -> None:
        """Gaps without end are told without holding all lines."""
        assert 49 == check(LOG[::2]).count["missing"]


class TestBounds:
    def test_findings(self) -> None:
        """Of many findings the first thousand are kept, and all are counted."""
        checked = check(line.replace(b'"name":', b'"game":') for line in sealed_lines(1500))
        assert (1500, 1000) == (checked.count["altered"], len(checked.findings))


def flipped(content: bytes, before: int, *, is_end: bool) -> LogCheck:
    """Check a part of the log as the part of the whole that it is."""
    checked = LogCheck(hasher())
    if before:
        start = tampering.Chain(WRITER, hasher(), checked.findings.append)
        checked.chains[WRITER] = start
        head = unseal(LOG[before - 1][:-1])
        assert head is not None
        start.first, start.begun, start.last = 1, Place("x.log", 0), before
        vars(start)["_previous"] = (head.hash,)
    *lines, rest = content.split(b"\n")
    for number, line in enumerate([*lines, rest] if rest else lines, 1):
        if line:
            checked.add(line, Place("x.log", number))
    checked.finish()
    if rest and is_end:
        checked.add_bad(Place("x.log", len(lines) + 1), "unfinished")
    return checked
