"""Pictures, sound and documents become their type and size, before anything is scanned or cut."""

import base64
import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structllm.processors.redact import Redact
from structllm.redaction.known import KnownValues
from structllm.redaction.media import media_in, without_media

RNG = random.Random(4)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + RNG.randbytes(2992)
EMAIL = "jane" + "@example.com"


def uri(data: bytes, kind: str = "image/png") -> str:
    """Return a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def redacted(text: str, **options: object) -> str:
    """Return a text as it stands in an event."""
    redact = Redact(known=KnownValues(), **options)  # type: ignore[arg-type]
    return str(redact(None, "info", {"text": text})["text"])


class TestDataUris:
    @pytest.mark.parametrize("size", [0, 1, 2, 3, 100, 3008])
    def test_size_is_that_of_the_data(self, size: int) -> None:
        """The number is the size of what was encoded, in bytes."""
        assert f"see [image/png {size} bytes] now" == without_media(f"see {uri(PNG[:size])} now")

    @pytest.mark.parametrize("around", ['{{"url": "{}"}}', "![]({})", "<img src='{}'>", '\\"{}\\"', "{}\n{}", "a,{},b"])
    def test_around_stays(self, around: str) -> None:
        """Quotes, brackets and line ends that end a URI stay."""
        text = around.replace("{{", "{").replace("}}", "}")
        assert text.replace("{}", "[image/png 3008 bytes]") == without_media(text.replace("{}", uri(PNG)))

    def test_parameters_and_types(self) -> None:
        """Parameters are left out, and a URI without a type is text."""
        texts = [uri(b"abc", "image/svg+xml;charset=utf-8"), uri(b"abc", ""), uri(b"abc", "audio/mpeg")]
        assert ["[image/svg+xml 3 bytes]", "[text/plain 3 bytes]", "[audio/mpeg 3 bytes]"] == [
            without_media(text) for text in texts
        ]

    def test_in_an_event(self) -> None:
        """Media in any place of an event are replaced, and that is no redaction."""
        content = [{"type": "image_url", "image_url": {"url": uri(PNG)}}, {"type": "text", "text": "hi"}]
        event = Redact(known=KnownValues())(None, "info", {"messages": content, "raw": uri(PNG).encode()})
        assert "[image/png 3008 bytes]" == event["messages"][0]["image_url"]["url"]
        assert (b"[image/png 3008 bytes]", False) == (event["raw"], "redactions" in event)

    def test_what_stands_in_a_type_is_scanned(self) -> None:
        """A secret in the place of a type is one."""
        key = "sk-" + "ant-api03-" + "a7Gk2Lm9Qx4Zr8Tv1Wy5" * 2
        assert key not in redacted(f"data:{key}/x;base64,QUJD")

    def test_text_without_media(self) -> None:
        """Other texts are the same object."""
        for text in ("", "data: 5;base64", "the metadata:image/png;base64", "no /9j/ here", "data:x"):
            assert without_media(text) is text


class TestSignatures:
    @pytest.mark.parametrize(
        ("data", "kind"),
        [
            (PNG, "image/png"),
            (b"\xff\xd8\xff\xe0" + RNG.randbytes(500), "image/jpeg"),
            (b"GIF89a" + RNG.randbytes(500), "image/gif"),
            (b"RIFF1234WAVEfmt " + RNG.randbytes(500), "audio/wav"),
            (b"RIFF1234WEBPVP8 " + RNG.randbytes(500), "image/webp"),
            (b"%PDF-1.7" + RNG.randbytes(500), "application/pdf"),
            (b"ID3\x03" + RNG.randbytes(500), "audio/mpeg"),
            (b"OggS\0\2" + RNG.randbytes(500), "audio/ogg"),
        ],
    )
    def test_long_base64_of_a_known_format(self, data: bytes, kind: str) -> None:
        """Providers want base64 without a URI; a format is known by how it begins."""
        encoded = base64.b64encode(data).decode()
        expected = {"data": f"[{kind} {len(data)} bytes]"}
        event = Redact(known=KnownValues())(None, "info", {"source": {"data": encoded}})
        assert expected == event["source"]

    def test_not_inside_a_word(self) -> None:
        """What looks like a beginning inside other base64 is none."""
        text = "x" + base64.b64encode(PNG).decode()
        assert without_media(text) is text


class TestPreviews:
    def test_text_behind_a_picture_is_previewed(self) -> None:
        """A picture takes no more of a preview than its replacement, and what follows is scanned."""
        text = f"Look: {uri(PNG * 300)} says {EMAIL} and " + "more " * 1000
        event = Redact(preview_chars={"p": 60}, known=KnownValues())(None, "info", {"p": text})
        expected = f"Look: [image/png {len(PNG) * 300} bytes] says [REDACTED:email]"
        assert expected == event["p"][: len(expected)]
        assert len(event["p"]) <= 60 + 20

    @given(st.lists(st.sampled_from([uri(b"abc" * 99), EMAIL, "a b ", "x" * 30]), max_size=12), st.integers(0, 300))
    def test_any_preview_is_that_of_the_replaced_text(self, pieces: list[str], limit: int) -> None:
        """Asking for a beginning gives the beginning of the whole result."""
        text = " ".join(pieces)
        assert without_media(text)[:limit] == without_media(text, limit)[:limit]

    def test_cost_is_that_of_the_preview(self) -> None:
        """Twenty megabytes behind a preview cost no more than a hundred kilobytes do."""
        redact = Redact(preview_chars={"p": 200}, known=KnownValues())

        def cost_s(chars: int) -> float:
            text, costs = uri(PNG)[:-1] + "A" * chars, list[float]()
            for _ in range(5):
                began = time.process_time()
                redact(None, "info", {"p": text + '" and so on'})
                costs.append(time.process_time() - began)
            return min(costs)

        assert cost_s(20_000_000) < 1000 * cost_s(100_000)

    def test_many_small_ones_are_linear(self) -> None:
        """Ten times as many beginnings cost no more than thirty times as much."""

        def cost_s(count: int) -> float:
            text, costs = "data:a/b;base64," * count, list[float]()
            for _ in range(5):
                began = time.process_time()
                media_in(text)
                costs.append(time.process_time() - began)
            return min(costs)

        assert cost_s(8_000) < 30 * cost_s(800)

    def test_replacement_is_harmless(self) -> None:
        """A replacement has nothing but a type and a number."""
        for _, _, shown in media_in(f"{uri(PNG)} {uri(b'', 'a/b')}"):
            assert re.fullmatch(r"\[[\w.+/-]+ \d+ bytes\]", shown)
