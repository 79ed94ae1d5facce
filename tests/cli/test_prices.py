"""`structllm prices`: what the list says of a model, and newer lists. No test reaches the internet."""

import http.client
import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest

from structllm.cli import download
from structllm.pricing import GenaiPrices, Usage
from tests.cli.conftest import Run
from tests.cli.recording import START, TIMEOUT_S

LIST = Path("prices.json")


def price_list(**output_mtok: float) -> bytes:
    """Return a list of o3-mini and whatever else is named, in genai-prices' own format."""
    prices = {"o3-mini": 8.8, **output_mtok}
    models = [
        {"id": name, "match": {"equals": name}, "prices": {"input_mtok": 1.1, "output_mtok": price}}
        for name, price in prices.items()
    ]
    provider = {"id": "openai", "name": "OpenAI", "api_pattern": r"https://api\.openai\.com", "models": models}
    return json.dumps([{**provider, "model_match": {"starts_with": "o3"}}]).encode()


class Website:
    """A web server of this machine that answers with what it is told to."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = price_list()
        self.asked: list[str] = []


@pytest.fixture
def website(monkeypatch: pytest.MonkeyPatch) -> Iterator[Website]:
    """A website for the time of the test."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            self.send_response(site.status)
            for name, value in {"Content-Length": str(len(site.body)), **site.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(site.body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site = Website(f"http://127.0.0.1:{server.server_port}/data.json")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=TIMEOUT_S)


class TestShow:
    """`structllm prices show`."""

    def test_text(self, run: Run) -> None:
        """The rates per million tokens, who says so, and since when."""
        result = run("prices", "show", "o3", "--at", "2025-06-10T12:00Z")
        facts, _, table = result.stdout.partition("\n\n")
        assert (0, "") == (result.exit_code, result.stderr)
        assert {"openai/o3", "genai-prices", "2025-06-10"} <= set(facts.split())
        assert ["OF", "PER", "USD"] == table.splitlines()[0].split()
        assert ["input_uncached", "million", "$2.00"] in [line.split() for line in table.splitlines()]

    @pytest.mark.parametrize(("at", "rate", "since"), [("2025-06-09", 10.0, None), ("2025-06-10", 2.0, "2025-06-10")])
    def test_at(self, run: Run, at: str, rate: float, since: str | None) -> None:
        """The rates are those of the day that is asked about."""
        shown = json.loads(run("prices", "show", "o3", "--at", at, "--json").stdout)
        assert (rate, since) == (shown["bands"][0]["usd_per_million"]["input_uncached"], shown["since"])

    def test_bands(self, run: Run) -> None:
        """Where long prompts have other rates, each band has its column."""
        shown = json.loads(run("prices", "show", "gemini-2.5-pro", "--provider", "google", "--json").stdout)
        assert [(0, 1.25), (200_000, 2.5)] == [
            (band["above_input_tokens"], band["usd_per_million"]["input_uncached"]) for band in shown["bands"]
        ]
        table = run("prices", "show", "gemini-2.5-pro", "--provider", "google").stdout.partition("\n\n")[2]
        assert "OF                PER       TO 200,000  ABOVE 200,000" == table.splitlines()[0]

    def test_tier(self, run: Run) -> None:
        """A tier has rates of its own."""
        standard, batch = (
            json.loads(run("prices", "show", "o3-mini", *tier, "--json").stdout)["bands"][0]["usd_per_million"]
            for tier in ([], ["--tier", "batch"])
        )
        assert standard["output_text"] == 2 * batch["output_text"]

    def test_unknown(self, run: Run) -> None:
        """An unknown model is a problem, not a price of zero; what was probably meant is named."""
        result = run("prices", "show", "o3-minni")
        assert (1, "") == (result.exit_code, result.stdout)
        assert result.stderr.startswith("structllm: no price for o3-minni; did you mean o3-mini")
        told = json.loads(run("prices", "show", "o3-minni", "--json").stdout)
        assert (False, "o3-mini") == (told["found"], told["suggestions"][0])

    def test_nothing_like_it(self, run: Run) -> None:
        """Where nothing is like the name, nothing is suggested."""
        assert "structllm: no price for zzzzzzzzzz\n" == run("prices", "show", "zzzzzzzzzz").stderr

    def test_override(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """An override of the settings wins, and is named as the source."""
        overrides = [{"model": "o3-mini", "rates": {"input": "1.5", "output": "0.0001"}}]
        monkeypatch.setenv("LLM__PRICING__OVERRIDES", json.dumps(overrides))
        output = run("prices", "show", "o3-mini").stdout
        assert "source   override\n" in output
        assert "$1.50\n" in output
        assert "$0.0001\n" in output

    def test_hostile_name(self, run: Run) -> None:
        """A name cannot act on a terminal."""
        assert run("prices", "show", "\x1b[2J\u202e").stderr.strip().isprintable()


class TestUpdate:
    """`structllm prices update`."""

    def test_from_a_website(self, run: Run, website: Website) -> None:
        """The list is kept, what changed is told, and what then prices calls says which list it is."""
        LIST.write_bytes(price_list())
        website.body = price_list(**{"o3-mini": 4.4, "o3-nano": 1.0})
        result = run("prices", "update", "--from", website.url, "--to", LIST)
        assert (0, "", website.body) == (result.exit_code, result.stderr, LIST.read_bytes())
        assert "1 model added, 1 model repriced\n" in result.stdout
        assert [LIST] == list(Path().iterdir())
        priced = GenaiPrices(LIST).price(Usage(output_text=1_000_000), "o3-nano", provider="openai", at=START)
        assert priced is not None
        assert Decimal(1) == priced.cost_usd
        assert priced.price_version in result.stdout

    def test_json(self, run: Run, website: Website) -> None:
        """Programs get the names of the models."""
        LIST.write_bytes(price_list(**{"o3-old": 1.0}))
        website.body = price_list(**{"o3-mini": 4.4, "o3-nano": 1.0})
        told = json.loads(run("prices", "update", "--from", website.url, "--to", LIST, "--json").stdout)
        assert (["openai/o3-nano"], ["openai/o3-old"], ["openai/o3-mini"]) == tuple(
            told[name] for name in ("added", "removed", "repriced")
        )
        assert told["old_version"] != told["new_version"]

    def test_first(self, run: Run, website: Website) -> None:
        """Without a list so far, the one in the package is what the new one is compared with."""
        result = run("prices", "update", "--from", website.url, "--to", "deep/er/prices.json")
        assert (0, True) == (result.exit_code, "(in the package)\n" in result.stdout)
        assert website.body == Path("deep/er/prices.json").read_bytes()

    def test_from_a_file(self, run: Run) -> None:
        """A list that came another way is checked and kept just so."""
        Path("mine.json").write_bytes(price_list())
        assert 0 == run("prices", "update", "--from", "mine.json", "--to", LIST).exit_code
        assert price_list() == LIST.read_bytes()

    def test_too_slow(self, run: Run, website: Website, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer that is not complete in time is given up, and the old list stays."""
        LIST.write_bytes(price_list())
        website.body = price_list(**{"o3-nano": 1.0})
        monkeypatch.setattr(download, "_MOST_S", -1.0)
        result = run("prices", "update", "--from", website.url, "--to", LIST)
        assert (1, True) == (result.exit_code, "not complete after" in result.stderr)
        assert price_list() == LIST.read_bytes()

    def test_cut_off(self, run: Run, website: Website) -> None:
        """An answer that ends before its end is no list, whatever it holds."""
        website.headers["Content-Length"] = str(len(website.body) + 100)
        result = run("prices", "update", "--from", website.url, "--to", LIST)
        assert (1, False) == (result.exit_code, LIST.exists())

    def test_a_target_that_cannot_be_written(self, run: Run, website: Website) -> None:
        """Says which, and why."""
        Path("file").write_bytes(b"")
        result = run("prices", "update", "--from", website.url, "--to", "file/prices.json")
        assert (2, True) == (result.exit_code, "cannot write file/prices.json: " in result.stderr)

    def test_setting(self, run: Run, website: Website, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without --to, the list goes where the settings look for it, and `prices show` reads it there."""
        monkeypatch.setenv("LLM__PRICING__PRICES_FILE", str(LIST))
        assert 0 == run("prices", "update", "--from", website.url).exit_code
        shown = json.loads(run("prices", "show", "o3-mini", "--json").stdout)
        assert 8.8 == shown["bands"][0]["usd_per_million"]["output_text"]
        assert "+sha256:" in shown["price_version"]

    def test_no_place(self, run: Run, website: Website) -> None:
        """Without a place for the list, the setting that would name one is named, and nothing is fetched."""
        result = run("prices", "update", "--from", website.url)
        assert (2, []) == (result.exit_code, website.asked)
        assert "pricing.prices_file (LLM__PRICING__PRICES_FILE)" in result.stderr

    @pytest.mark.parametrize(
        "wrong",
        [
            {"status": 404},
            {"body": b"[]"},
            {"body": b"<html>sign in</html>"},
            {"body": b'{"providers": []}'},
            {"body": price_list()[:-20]},
            {"headers": {"Content-Length": "100000"}},
            {"status": 302, "headers": {"Location": "file:///etc/passwd"}},
        ],
        ids=repr,
    )
    def test_wrong_answer(self, run: Run, website: Website, wrong: dict[str, Any]) -> None:
        """Whatever is no whole price list leaves the old one as it is, and nothing beside it."""
        LIST.write_bytes(old := price_list(**{"o3-old": 1.0}))
        for name, value in wrong.items():
            setattr(website, name, value)
        result = run("prices", "update", "--from", website.url, "--to", LIST)
        assert (1, "", 1) == (result.exit_code, result.stdout, result.stderr.count("\n"))
        assert website.url in result.stderr
        assert (old, [LIST]) == (LIST.read_bytes(), list(Path().iterdir()))

    @pytest.mark.parametrize(
        ("location", "said"),
        [
            ("http://127.0.0.1:{port}/other.json", "without encryption"),
            ("HTTP://127.0.0.1:{port}/other.json", "without encryption"),
            ("https://169.254.169.254/latest/meta-data", "metadata service"),
            ("https://metadata.google.internal/", "metadata service"),
        ],
    )
    def test_redirect_out_of_tls(
        self, run: Run, website: Website, monkeypatch: pytest.MonkeyPatch, location: str, said: str
    ) -> None:
        """An answer over TLS that leads to a place without it, or to a metadata service, is not followed."""

        class Terminated(urllib.request.HTTPSHandler):
            """TLS that ends in front of the website."""

            def https_open(self, req: urllib.request.Request) -> Any:
                return self.do_open(http.client.HTTPConnection, req)

        monkeypatch.setattr("urllib.request.HTTPSHandler", Terminated)
        secure = website.url.replace("http:", "https:")
        assert 0 == run("prices", "update", "--from", secure, "--to", LIST).exit_code
        old = LIST.read_bytes()
        website.body, website.status = price_list(o3=3.0), 302
        website.headers = {"Location": location.format(port=secure.rpartition(":")[2].partition("/")[0])}
        result = run("prices", "update", "--from", secure, "--to", LIST)
        assert (1, True) == (result.exit_code, said in result.stderr)
        assert (old, ["/data.json"] * 2) == (LIST.read_bytes(), website.asked)

    @pytest.mark.parametrize(
        ("origin", "said"),
        [
            ("http://prices.example/data.json", "is not encrypted"),
            ("http://169.254.169.254/latest", "metadata service"),
            ("https://0xa9fea9fe/latest", "metadata service"),
            ("https://me:zq-planted@prices.example/data.json", "user name or password"),
        ],
    )
    def test_refused_origin(self, run: Run, origin: str, said: str) -> None:
        """A list is fetched over TLS, or from this machine; a password in the URL is refused and not shown."""
        result = run("prices", "update", "--from", origin, "--to", LIST)
        assert (1, True, False) == (result.exit_code, said in result.stderr, "planted" in result.stderr)

    def test_directory_of_the_list(self, run: Run, website: Website) -> None:
        """Whatever the umask, nobody else can write where the list is put."""
        before = os.umask(0)
        try:
            assert 0 == run("prices", "update", "--from", website.url, "--to", "lists/prices.json").exit_code
        finally:
            os.umask(before)
        assert (0o700, 0o644) == tuple(S_IMODE(os.stat(p).st_mode) for p in ("lists", "lists/prices.json"))

    def test_too_large(self, run: Run, website: Website, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer that is too large for a list is not read to its end."""
        monkeypatch.setattr(download, "MAX_LIST_BYTES", 100)
        result = run("prices", "update", "--from", website.url, "--to", LIST)
        assert (1, True, False) == (result.exit_code, "too large" in result.stderr, LIST.exists())

    @pytest.mark.parametrize("origin", ["ftp://127.0.0.1/x", "nowhere.json", "http://127.0.0.1:1/x"])
    def test_nothing_there(self, run: Run, origin: str) -> None:
        """Where nothing can be had, the place and the reason are one sentence."""
        result = run("prices", "update", "--from", origin, "--to", LIST)
        assert (1, False) == (result.exit_code, LIST.exists())
        assert result.stderr.startswith(f"structllm: could not get the list from {origin}: ")

    def test_broken_old_list(self, run: Run, website: Website) -> None:
        """A list that is none is replaced like any other."""
        LIST.write_text("{")
        assert 0 == run("prices", "update", "--from", website.url, "--to", LIST).exit_code
        assert website.body == LIST.read_bytes()
