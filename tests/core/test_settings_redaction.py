"""The settings of `redaction`, and what becomes of them in a logger."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from structllm import create_llm_logger
from structllm.errors import ConfigError
from structllm.settings import LLMSettings, load_settings
from structllm.settings_redaction import RedactionSettings
from structllm.settings_view import MASK, explain, settings_schema
from structllm.sinks.memory import MemorySink


def token(seed: str, length: int = 32) -> str:
    """Return random-looking letters and digits, the same ones for the same seed."""
    return hashlib.sha256(seed.encode()).hexdigest()[:length]


KEY = token("key", 64)
ACME = "acme_" + token("acme")


def rule(**fields: Any) -> dict[str, Any]:
    """Return a sound rule with some fields changed."""
    tests = {"match": [f"use {ACME}"], "no_match": ["acme_test"]}
    return {"id": "acme-key", "pattern": "acme_[a-z0-9]{32}", "keywords": ["acme_"], "tests": tests, **fields}


def problems(**redaction: Any) -> list[str]:
    """Return what is said against settings of redaction."""
    with pytest.raises(ConfigError) as refused:
        RedactionSettings(**redaction)
    return [str(problem) for problem in refused.value.problems]


def logged(text: str, **redaction: Any) -> list[dict[str, Any]]:
    """Return the events of a logger that was asked this text."""
    sink = MemorySink()
    logger = create_llm_logger(settings={"redaction": redaction, "sinks": [sink]})
    logger.log_completion_request(text, "o3-mini")
    logger.close()
    return sink.events


class TestTaken:
    """What may be said, and where."""

    def test_defaults(self) -> None:
        """Four packs are on, everything is masked, and nothing else is set."""
        assert (
            RedactionSettings(
                enabled=True,
                packs=("credentials", "crypto", "payment", "pii"),
                rules=(),
                rule_files=(),
                deny_keys=(),
                allow_keys=(),
                allow=(),
                action="mask",
                actions={},
                hmac_key=None,
                hmac_key_id="k1",
            )
            == LLMSettings().redaction
        )

    def test_from_a_file(self, tmp_path: Path) -> None:
        """A TOML file may hold all of it."""
        (tmp_path / "own.toml").write_text(
            "[[rules]]\nid = 'desk'\npattern = 'desk_[0-9]{6}'\n"
            "tests = {match = ['desk_123456'], no_match = ['desk_1']}\n"
        )
        path = tmp_path / "structllm.toml"
        path.write_text(
            f"[llm.redaction]\npacks = ['pii', 'entropy']\nrule_files = ['{tmp_path}/own.toml']\naction = 'partial'\n"
            "allow = ['desk_000000']\nactions = {pii = 'hmac', desk = 'drop_field', key-name = 'mask'}\n"
            f"[[llm.redaction.rules]]\nid = 'acme'\npattern = 'acme_[a-z0-9]{{32}}'\naction = 'hmac'\n"
            f"tests = {{match = ['{ACME}'], no_match = ['acme']}}\n"
        )
        redaction = load_settings(path).redaction
        assert ("pii", "entropy") == redaction.packs
        assert [("acme", "hmac"), ("desk", "partial")] == [(own.id, own.action) for own in redaction.own_rules()]
        assert {"acme": "hmac", "desk": "drop_field", "pii": "hmac", "key-name": "mask"} == redaction.chosen_actions()

    def test_from_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Variables hold single values, lists, or JSON."""
        monkeypatch.setenv("LLM__REDACTION__RULES", json.dumps([rule()]))
        monkeypatch.setenv("LLM__REDACTION__ACTION", "hmac")
        monkeypatch.setenv("LLM__REDACTION__ACTIONS__PII", "mask")
        monkeypatch.setenv("LLM__REDACTION__ALLOW", '["[a-z]+@example[.]com"]')
        monkeypatch.setenv("LLM__REDACTION__HMAC_KEY", KEY)
        redaction = load_settings().redaction
        assert (["acme-key"], "hmac", {"pii": "mask"}, ("[a-z]+@example[.]com",)) == (
            [own.id for own in redaction.rules],
            redaction.action,
            redaction.actions,
            redaction.allow,
        )
        assert redaction.hmac_key is not None
        assert KEY == redaction.hmac_key.get_secret_value()

    def test_key_from_a_secret(self, tmp_path: Path) -> None:
        """The key may lie in a directory of secrets, whose files end in a newline."""
        (tmp_path / "llm__redaction__hmac_key").write_text(KEY + "\n")
        key = load_settings(secrets_dir=tmp_path).redaction.hmac_key
        assert key is not None
        assert KEY == key.get_secret_value()

    def test_are_shown(self) -> None:
        """`config show` has all values in words but the key; a rule's name is no secret, whatever it is called."""
        settings = LLMSettings(
            redaction={"hmac_key": KEY, "rules": [rule(id="api-token")], "actions": {"api-token": "hmac"}}
        )
        rows = {row.name: row.value for row in explain(settings)}
        assert (MASK, {"api-token": "hmac"}) == (rows["redaction.hmac_key"], rows["redaction.actions"])
        assert "acme_[a-z0-9]{32}" == rows["redaction.rules"][0]["pattern"]
        assert KEY not in repr(settings)
        assert KEY not in str(explain(settings))

    def test_schema(self) -> None:
        """Editors know what a rule holds."""
        definitions = settings_schema()["$defs"]
        assert {"id", "pattern", "tests", "validators"} <= set(definitions["CustomRule"]["properties"])
        assert {"match", "no_match"} == set(definitions["RuleTests"]["properties"])

    def test_same_rules_twice(self) -> None:
        """Settings with the same rules are equal."""
        assert RedactionSettings(rules=[rule()]) == RedactionSettings(rules=[rule()])  # type: ignore[arg-type]


class TestRefused:
    """What is wrong is said without the value."""

    @pytest.mark.parametrize("key", [token("short", 31), "", "\u00e9" * 15])
    def test_short_key(self, key: str) -> None:
        """A key has 32 bytes or more; one that has not is not shown."""
        (problem,) = problems(hmac_key=key)
        assert "hmac_key (argument): must have at least 32 bytes, random ones: openssl rand -hex 32" == problem

    def test_key_is_counted_in_bytes(self) -> None:
        """Sixteen letters of two bytes are 32 bytes."""
        assert None is not RedactionSettings(hmac_key="\u00e9" * 16).hmac_key  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("setting", "expected"),
        [
            ({"actions": {"pi": "hmac"}}, "actions.pi (argument): neither a pack nor a rule; did you mean 'pii'?"),
            ({"actions": {"acme-kee": "mask"}, "rules": [rule()]}, "actions.acme-kee (argument): neither a pack nor"),
            ({"actions": {"pii": "hash"}}, "actions.pii (argument): must be 'mask', 'partial', 'hmac', 'drop_field'"),
            ({"action": "hmc"}, "action (argument): must be 'mask', 'partial', 'hmac', 'drop_field' or 'drop_event'"),
            ({"actions": "hmac"}, "actions (argument): must be JSON where it is given as text"),
            ({"allow": ["(?!x)"]}, "allow.0 (argument): has a look-ahead or look-behind"),
            ({"allow": [".*"]}, "allow.0 (argument): matches the empty text"),
            ({"hmac_key_id": "my key"}, "hmac_key_id (argument): must be 1 to 16 letters, digits, hyphens or"),
            ({"rule_files": ["/nowhere/x.toml"]}, "rule_files.0 (argument): /nowhere/x.toml: file of rules cannot be"),
            ({"rules": [rule(), rule()]}, "rules.1.id (argument): rule acme-key: is there twice"),
            ({"packs": ["pi"]}, "packs.0 (argument): must be 'credentials', 'crypto', 'payment', 'pii' or 'entropy'"),
        ],
    )
    def test_setting(self, setting: dict[str, Any], expected: str) -> None:
        """Each with its place and what to do."""
        (problem,) = problems(**setting)
        assert problem.startswith(expected)

    def test_rule_twice_in_files(self, tmp_path: Path) -> None:
        """A rule may be in one place only."""
        path = tmp_path / "own.toml"
        path.write_text(
            f"[[rules]]\nid = 'acme-key'\npattern = 'acme_'\ntests.match = ['{ACME}']\ntests.no_match = ['x']"
        )
        (problem,) = problems(rules=[rule()], rule_files=[path])
        said = f"{path}: rule acme-key: is in another file or in redaction.rules as well"
        assert f"rule_files.0 (argument): {said}" == problem

    def test_all_at_once(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Rules, files, patterns and the key are all judged, whatever is wrong with the others, by their source."""
        (tmp_path / "own.toml").write_text("[[rules]]\nid = 'a'\npattern = 'a*'\n")
        monkeypatch.setenv("LLM__REDACTION__RULE_FILES", f"{tmp_path}/own.toml")
        monkeypatch.setenv("LLM__REDACTION__HMAC_KEY", "zq-planted")
        monkeypatch.setenv("LLM__REDACTION__RULES", json.dumps([rule(pattern="zq-planted(?=x)"), rule(tests={})]))
        with pytest.raises(ConfigError) as refused:
            load_settings(redaction={"allow": ["zq-planted("]})
        said = refused.value.problems
        assert [
            "LLM__REDACTION__RULES (env): item 0: pattern",
            "LLM__REDACTION__RULES (env): item 1: tests: match",
            "LLM__REDACTION__RULES (env): item 1: tests: no_match",
            f"LLM__REDACTION__RULE_FILES (env): item 0: {tmp_path}/own.toml: rules.0.pattern",
            f"LLM__REDACTION__RULE_FILES (env): item 0: {tmp_path}/own.toml: rules.0.tests.match",
            f"LLM__REDACTION__RULE_FILES (env): item 0: {tmp_path}/own.toml: rules.0.tests.no_match",
            "redaction.allow.0 (argument)",
            "LLM__REDACTION__HMAC_KEY (env)",
        ] == [problem[: re.search(r": (?:rule |has|is|must)", problem).start()] for problem in said]  # type: ignore[union-attr]
        assert "zq-planted" not in str(refused.value)


class TestLogger:
    """What the settings say reaches the sinks."""

    def test_own_rule(self) -> None:
        """A rule of the settings redacts, and the event says so."""
        (event,) = logged(f"use {ACME} now", rules=[rule()])
        assert ("use [REDACTED:acme-key] now", {"count": 1, "rules": ["acme-key"]}) == (
            event["prompt_preview"],
            event["redactions"],
        )

    def test_rule_files(self, tmp_path: Path) -> None:
        """So do those of files, of gitleaks' as well."""
        path = tmp_path / "gitleaks.toml"
        path.write_text("[[rules]]\nid = 'Acme'\nregex = 'acme_([a-z0-9]{32})'\nkeywords = ['acme_']\n")
        (event,) = logged(f"use {ACME} now", rule_files=[str(path)])
        assert "use acme_[REDACTED:acme] now" == event["prompt_preview"]

    def test_actions(self) -> None:
        """A rule's action wins over its pack's, and that over the general one."""
        desk = rule(id="desk", pattern="desk_[a-z0-9]{32}", keywords=[])
        desk["tests"] = {"match": [f"desk_{token('desk')}"], "no_match": ["desk_"]}
        redaction = {"rules": [rule(action="mask"), desk], "action": "partial", "actions": {"pii": "hmac"}}
        (event,) = logged(f"{ACME} desk_{token('d')} bob@corp.example.org", hmac_key=KEY, **redaction)
        own = f"[REDACTED:acme-key] [REDACTED:desk:{token('d')[-4:]}] [PSEUDO:email:k1:"
        assert re.fullmatch(re.escape(own) + r"[0-9a-f]{16}\]", event["prompt_preview"])

    def test_pseudonyms_join(self) -> None:
        """The same address gets the same pseudonym under the same key, and another one under another key."""
        (one,), (same,), (other,) = (
            logged("bob@corp.example.org", action="hmac", hmac_key=key, hmac_key_id="2026")
            for key in (KEY, KEY, token("other", 64))
        )
        assert one["prompt_preview"].startswith("[PSEUDO:email:2026:")
        assert one["prompt_preview"] == same["prompt_preview"]
        assert one["prompt_preview"] != other["prompt_preview"]

    @pytest.mark.parametrize(
        "redaction", [{"action": "hmac"}, {"actions": {"pii": "hmac"}}, {"actions": {"email": "hmac"}}], ids=str
    )
    def test_no_key(self, capsys: pytest.CaptureFixture[str], redaction: dict[str, Any]) -> None:
        """Without a key, pseudonyms become masks, never a hash that anybody could try out; one line says so."""
        (event,) = logged("bob@corp.example.org", **redaction)
        assert "[REDACTED:email]" == event["prompt_preview"]
        said = "structllm: redaction: there is no redaction.hmac_key, so that action hmac masks\n"
        assert said == capsys.readouterr().err

    def test_key_is_not_written(self) -> None:
        """The key is a known value itself."""
        (event,) = logged(f"the key is {KEY}", hmac_key=KEY, packs=[])
        assert KEY not in str(event)

    def test_allow(self) -> None:
        """What the settings allow stays."""
        (event,) = logged("bob@corp.example.org ann@corp.example.org", allow=["ann@corp[.]example[.]org"])
        assert "[REDACTED:email] ann@corp.example.org" == event["prompt_preview"]

    def test_notices_of_gitleaks(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """What of a file has no meaning here is one line at the start."""
        path = tmp_path / "gitleaks.toml"
        path.write_text("[[rules]]\nid = 'a'\nregex = 'acme_'\n[[rules]]\nid = 'b'\npath = 'x'\n")
        logged("x", rule_files=[path])
        assert f"structllm: {path}: only paths and no regex, so left out: b\n" == capsys.readouterr().err

    def test_wrong_rules_refuse_to_start(self) -> None:
        """A logger is not built without the rules that were asked for."""
        with pytest.raises(ConfigError, match="rule acme-key: is not matched by the pattern"):
            create_llm_logger(settings={"redaction": {"rules": [rule(pattern="emca")]}})


class TestImport:
    """What loading costs."""

    def test_engine_is_loaded_for_patterns_only(self) -> None:
        """Settings without own patterns load neither the engine nor the packs."""
        code = (
            "import sys, structllm.settings\n"
            "structllm.settings.LLMSettings(redaction={'packs': ['pii'], 'deny_keys': ['x']})\n"
            "print([name for name in ('re2', 'structllm.redaction.packs') if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert "[]" == done.stdout.strip()
