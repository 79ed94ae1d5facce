"""Seed phrases are found by their checksum in any layout; prose and word lists are not taken for one."""

import random
from functools import cache

import pytest
from mnemonic import Mnemonic

from structllm.redaction.packs import PACKS
from structllm.redaction.scan import Scanner

WORDS = Mnemonic("english")
LAYOUTS = {
    "plain": " ".join,
    "upper": lambda words: " ".join(words).upper(),
    "title": lambda words: " ".join(words).title(),
    "lines": "\n".join,
    "escaped lines": "\\n".join,
    "commas": ", ".join,
    "array": lambda words: '["' + '", "'.join(words) + '"]',
    "numbered": lambda words: " ".join(f"{place}. {word}" for place, word in enumerate(words, 1)),
    "numbered lines": lambda words: "\n".join(f"{place}) {word}" for place, word in enumerate(words, 1)),
}
PROSE = [
    "The market may turn when volume falls below average, so keep your stop tight and wait for a clear signal today.",
    "Der Markt kann drehen, wenn das Volumen unter den Durchschnitt sinkt; bis dahin gilt Geduld und Disziplin.",
    "Le marché peut se retourner quand le volume baisse sous la moyenne, alors gardez un stop serré.",
    "El mercado puede girar cuando el volumen cae por debajo de la media, así que conviene esperar.",
    "Рынок может развернуться, когда объём упадёт ниже среднего.",
    "当成交量低于平均水平时，市场可能会反转。",
]


@cache
def scanner() -> Scanner:
    """Return a scanner of the crypto pack."""
    return Scanner(PACKS["crypto"])


class TestSeedPhrases:
    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("size", [12, 15, 18, 21, 24])
    def test_phrase_without_a_word_that_names_it(self, layout: str, size: int) -> None:
        """The checksum alone tells a phrase, in every layout and size."""
        rng = random.Random(size)
        phrase = WORDS.to_mnemonic(rng.randbytes(size * 4 // 3)).split()
        clean = scanner().redact("note: " + LAYOUTS[layout](phrase) + " .").text.lower()
        assert "[redacted:seed-phrase]" in clean
        assert [] == [word for word in phrase if word in clean.replace("[redacted:seed-phrase]", "").split()]

    def test_wrong_checksum_needs_a_name(self) -> None:
        """A phrase with a wrong checksum goes only where a word says what it is."""
        wrong = "abandon " * 11 + "abandon"
        assert f"text {wrong} end" == scanner().redact(f"text {wrong} end").text
        assert "abandon" not in scanner().redact(f"recovery phrase: {wrong} end").text

    def test_word_list_is_no_phrase(self) -> None:
        """The words in order are the public list."""
        text = "\n".join(WORDS.wordlist[:200])
        assert text == scanner().redact(text).text

    @pytest.mark.parametrize("text", PROSE)
    def test_prose_costs_one_pass(self, text: str) -> None:
        """Sentences in six languages do not even get as far as a check."""
        assert scanner().is_clean(text)

    def test_key_bytes_need_a_name(self) -> None:
        """Sixty-four numbers are Solana's key file only where a word says so."""
        numbers = str([byte % 256 for byte in range(100, 292, 3)])
        assert f"rsi: {numbers}" == scanner().redact(f"rsi: {numbers}").text
        assert "keypair: [REDACTED:wallet-key-bytes]" == scanner().redact(f"keypair: {numbers}").text
