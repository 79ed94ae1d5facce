"""What redaction costs, beside thirty times `re.sub`: on clean texts, on texts full of its words, and other threads.

`compare_redaction.py` asks other libraries too, and how much they find.
"""

import hashlib
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from benchmarks import compare_redaction, redaction_peers
from benchmarks.racing import Race, Target, Variant
from benchmarks.redaction_texts import dense, event, prose
from structllm.processors.redact import Redact

SECRET_PREFIX = "gh" + "p_"
COUNTS = 200_000
"""Steps of the thread that must not be stalled: some milliseconds."""


def note(text: str) -> dict[str, Any]:
    """Return an event with a text that is kept as a whole."""
    return {"event_type": "note", "note": text}


def through_redact(made: Callable[[], dict[str, Any]]) -> Callable[[int], None]:
    """Redact an event a number of times; each time a new one, as the chain has it."""
    redact = Redact()

    def run(count: int) -> None:
        for _ in range(count):
            redact(None, "", made())

    return run


def through_re_sub(texts: list[str]) -> Callable[[int], None]:
    """Replace in these texts a number of times."""
    substitute = redaction_peers.re_sub().run

    def run(count: int) -> None:
        for _ in range(count):
            for text in texts:
                substitute(text)

    return run


def check(text: str) -> None:
    """Make sure that a text is left as it is, and is not when there is a secret in it."""
    redact, secret = Redact(), SECRET_PREFIX + "a1B2c3D4e5F6" * 3
    assert text == redact(None, "", note(text))["note"]
    assert secret not in redact(None, "", note(f"{text} {secret}"))["note"]


def race_of(
    title: str, made: Callable[[], dict[str, Any]], texts: list[str], block: int, rounds: int, *, bound: float = 10.0
) -> Race:
    """Let redaction of an event and of its texts race."""
    variants = [Variant("30 x re.sub", through_re_sub(texts)), Variant("structllm", through_redact(made))]
    return Race(title, variants, block, [Target("structllm", "30 x re.sub", bound, faster=True)], rounds=rounds)


class TestRedact:
    """Texts without a secret, which is what an agent logs all day."""

    def test_event(self, race: Callable[[Race], Race]) -> None:
        """An event with 2 KB of clean text comes out as it went in; then what it takes."""
        made = event()
        assert made == Redact()(None, "", event())
        texts = [made["response_preview"], made["market_context"]["note"]]
        race(race_of("clean event of 2 KB (target: 25 us)", lambda: dict(made), texts, 5, 100))

    @pytest.mark.parametrize(
        ("chars", "target", "block", "rounds"),
        [(40_000, "100 us", 1, 60), (1_000_000, "20,000 us, which is 50 MB/s", 1, 7)],
        ids=["40 KB", "1 MB"],
    )
    def test_prose(self, race: Callable[[Race], Race], chars: int, target: str, block: int, rounds: int) -> None:
        """A long clean text, scanned as a whole, comes out as it went in; then what it takes."""
        text = prose(chars)
        check(text)
        race(
            race_of(
                f"{chars:,} characters of clean prose (target: {target})", lambda: note(text), [text], block, rounds
            )
        )

    def test_prompt(self, race: Callable[[Race], Race]) -> None:
        """A prompt of 1 MB costs what its preview costs: no more than its beginning is scanned."""
        text = prose(1_000_000)

        def made(chars: int) -> dict[str, Any]:
            return {"event_type": "completion_request", "prompt_preview": text[:chars]}

        assert text.startswith(Redact()(None, "", made(10**6))["prompt_preview"])
        variants = [Variant(f"of {chars:,}", through_redact(partial(made, chars))) for chars in (3_000, 1_000_000)]
        race(Race("preview of a prompt", variants, 5, [Target("of 1,000,000", "of 3,000", 3.0)], rounds=60))

    @pytest.mark.parametrize("chars", [2_000, 20_000], ids=["2 KB", "20 KB"])
    def test_dense(self, race: Callable[[Race], Race], chars: int) -> None:
        """A text full of the words that rules look for comes out as it went in; then what it takes."""
        text = dense(chars)
        check(text)
        target = 250 * chars // 2_000
        race(
            race_of(
                f"{chars:,} characters full of keywords (target: {target} us)",
                lambda: note(text),
                [text],
                1,
                60,
                bound=1.0,
            )
        )


class TestThreads:
    """Another thread, while this process redacts 1 MB after 1 MB."""

    def test_not_stalled(self, race: Callable[[Race], Race]) -> None:
        """The engine works without the lock of the interpreter, as sha256 does: a thread beside it counts on."""
        text = prose(1_000_000)
        redact, substitute = Redact(), redaction_peers.re_sub().run

        def count(times: int) -> None:
            for _ in range(times):
                for _ in range(COUNTS):
                    pass

        def beside(work: Callable[[], object]) -> Callable[[int], None]:
            def run(times: int) -> None:
                stop, started, done = threading.Event(), threading.Event(), list[int]()

                def go() -> None:
                    while not stop.is_set():
                        started.set()
                        work()
                        done.append(1)

                thread = threading.Thread(target=go)
                thread.start()
                assert started.wait(30)
                count(times)
                stop.set()
                thread.join(30)
                assert done
                assert not thread.is_alive()

            return run

        short, data = text[:20_000], text.encode()
        variants = [
            Variant("beside sha256", beside(lambda: hashlib.sha256(data))),
            Variant("beside structllm", beside(lambda: redact(None, "", note(text)))),
            Variant("beside 30 x re.sub", beside(lambda: substitute(short))),
        ]
        race(Race("a thread that counts", variants, 3, [Target("beside structllm", "beside sha256", 1.2)], rounds=30))


class TestComparison:
    """The script that draws the table."""

    def test_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Libraries that are installed are asked, each in its own process, about the same texts."""
        assert 0 == compare_redaction.main(["--secrets", "1", "--harmless", "1", "--rounds", "1"])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("| library | version | secrets found ")
        rows = {
            line.split(" | ")[0].removeprefix("| "): line.split(" | ") for line in lines[2:] if line.startswith("|")
        }
        assert {"structllm", "re.sub"} <= set(rows)
        assert float(rows["structllm"][2]) > float(rows["re.sub"][2])
        assert float(rows["structllm"][4]) > float(rows["re.sub"][4])

    def test_left_out(self, closing: ExitStack) -> None:
        """An interpreter that does not have a library is passed over."""
        with pytest.raises(compare_redaction.PeerError):
            closing.callback(compare_redaction.Peer("structllm", "/bin/false").close)

    @pytest.mark.parametrize(
        ("kept", "expected"),
        [
            (["a ", " c"], [(2, 3)]),
            (["", ""], [(0, 5)]),
            (["a ", " x"], []),
            (["a b c"], []),
            (["a", "b", "c"], [(1, 2), (3, 4)]),
        ],
    )
    def test_between(self, kept: list[str], expected: list[tuple[int, int]]) -> None:
        """What was replaced lies between the pieces that were kept."""
        assert expected == redaction_peers.between("a b c", kept)
