"""The documentation, executed: every block of code and every shell line of README.md and docs/ does what the page says.

The blocks of a page run in order, in one empty directory; its Python blocks share one namespace, its shell lines one
environment. What runs:

    python          in one process per page; top-level `await` is fine
    console         the lines after `$ ` (continued with `> `); the other lines are the output that is expected
    bash, sh        every line; no output is expected
    json, jsonl, toml   parsed
    anything else   left alone

Expected output is compared after what differs from run to run (times, ids, durations) was masked on both sides, and
`…` or `...` stands for any text, alone on a line for any lines. A comment before a block changes what is done with it:

    <!-- test: file=NAME -->        the block is the content of this file, which is written
    <!-- test: lines=NAME -->       the block shows the last lines of this file
    <!-- test: output -->           the block shows what the block before printed
    <!-- test: exit=N -->           the last command of the block ends with this code
    <!-- test: no-run=REASON -->    only the syntax is checked, for the reason given
    <!-- test: setup python         code that readers do not see, up to `-->` (also `setup sh`)
"""

import ast
import contextlib
import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

DIRECTIVES = {"file", "lines", "output", "exit", "no-run", "setup"}
COMMAND_S = 60.0
FOLLOW_S = 10.0
FOLLOW_END_S = 0.5

# A machine without these still runs the tests: lines that use them are checked for their syntax alone.
OPTIONAL_TOOLS = ("jq", "rg", "duckdb", "lnav")

VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d(\.\d+)?\b"), "<time>"),
    (re.compile(r"\b(req|dec|ses|wtr|run)_\w+"), "<id>"),
    (re.compile(r'("\w+_ms": ?)\d+(\.\d+)?'), r"\1<duration>"),
    (re.compile(r"\b\d+(\.\d+)? ?(ms|s)\b"), "<duration>"),
)

# --- reading a page --------------------------------------------------------------------------------------------------


class DocsError(AssertionError):
    """A page that does not do what it says."""


class Block(NamedTuple):
    """One block of a page; `line` is the first line of its text, counted from 1."""

    language: str
    text: str
    line: int
    directives: dict[str, str]


FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<language>[\w+-]*)")
DIRECTIVE = re.compile(r"^ *<!-- test: (?P<name>[\w-]+)(?:=(?P<value>.+?))? -->$")
SETUP = re.compile(r"^ *<!-- test: setup (?P<language>python|sh)$")


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page and its hidden setup, in order."""
    lines = iter(enumerate(text.splitlines(), start=1))
    directives: dict[str, str] = {}
    for number, line in lines:
        if hidden := SETUP.match(line):
            body = []
            for _, inner in lines:
                if inner.strip() == "-->":
                    break
                body.append(inner)
            yield Block(hidden["language"], "\n".join(body), number + 1, {"setup": ""})
        elif directive := DIRECTIVE.match(line):
            directives[directive["name"]] = directive["value"] or ""
        elif "<!-- test:" in line:
            raise DocsError(f"line {number}: not a directive: {line.strip()}")
        elif opening := FENCE.match(line):
            body = []
            for _, inner in lines:
                if inner.strip() == opening["fence"]:
                    break
                body.append(inner.removeprefix(opening["indent"]))
            if unknown := directives.keys() - DIRECTIVES:
                raise DocsError(f"line {number}: no such directive: {', '.join(unknown)}")
            yield Block(opening["language"], "\n".join(body), number + 1, directives)
            directives = {}
        elif line.strip() and directives:
            raise DocsError(f"line {number}: a directive stands directly before its block")
    if directives:
        raise DocsError("a directive at the end of the page has no block")


class Command(NamedTuple):
    """A shell command, and the output that the page shows for it (None: it shows none)."""

    text: str
    expected: str | None


def commands(block: Block) -> list[Command]:
    """The commands of a shell block: by their prompts in `console`, one after the other otherwise."""
    if block.language != "console":
        return [Command(text, None) for text in shell_statements(block.text)]
    found: list[tuple[list[str], list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif not found:
            raise DocsError(f"line {block.line}: a console block starts with a `$ ` prompt")
        elif line.startswith("> ") and not found[-1][1]:
            found[-1][0].append(line[2:])
        else:
            found[-1][1].append(line)
    return [Command("\n".join(typed), "\n".join(shown).strip("\n") or None) for typed, shown in found]


def shell_statements(text: str) -> Iterator[str]:
    """Split a script into complete statements: quotes, loops, continuations and here-documents stay whole."""
    pending: list[str] = []
    until = None
    for line in text.splitlines():
        if not pending and (not line.strip() or line.lstrip().startswith("#")):
            continue
        pending.append(line)
        if until is not None and line.strip() != until:
            continue
        if until is None and (here := re.search(r"<<-?\s*['\"]?(\w+)", line)):
            until = here[1]
            continue
        until = None
        statement = "\n".join(pending)
        if not line.endswith("\\") and shell_syntax_error(statement) is None:
            yield statement
            pending = []
    if pending:
        raise DocsError(f"not a shell command: {pending[0]}: {shell_syntax_error(chr(10).join(pending))}")


def shell_syntax_error(statement: str) -> str | None:
    """What the shell has against a statement, without running it."""
    done = subprocess.run(
        ["bash", "-n", "-c", statement], capture_output=True, text=True, timeout=COMMAND_S, check=False
    )
    return done.stderr.strip() if done.returncode else None


def mask(text: str) -> str:
    """Replace what differs from run to run, and drop trailing blanks."""
    for pattern, stand_in in VARYING:
        text = pattern.sub(stand_in, text)
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def matches(expected: str, actual: str) -> bool:
    """Whether a page's output is what was printed, wildcards and masks applied."""
    pattern = ""
    for line in mask(expected).splitlines():
        if line.strip() in {"…", "..."}:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(re.escape(part) for part in re.split(r"…|\.\.\.", line)) + r"\n"
    return re.fullmatch(pattern, mask(actual) + "\n") is not None


def make_targets() -> set[str]:
    """The targets that the Makefile offers."""
    return set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))


def extras() -> set[str]:
    """The extras that the distribution offers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


def words_of(command: str) -> list[str]:
    """The words of a simple command; what `shlex` cannot read is split at blanks."""
    try:
        return shlex.split(command, comments=True)
    except ValueError:
        return command.split()


def check_only(command: str) -> bool:
    """Whether a command is checked and not run, because it installs, builds or would start these very tests again."""
    claimed = False
    for part in command.split("&&"):
        match words_of(part):
            case ["make", *targets]:
                claimed = True
                if missing := {word for word in targets if "=" not in word} - make_targets():
                    raise DocsError(f"`{command}`: the Makefile has no target {', '.join(sorted(missing))}")
            case ["pip" | "pipx" | "uv", *words] | ["python" | "python3", "-m", "pip", *words]:
                claimed = True
                for word in words:
                    if named := re.fullmatch(r"(?:structllm-logging|\.)\[([\w,-]+)\](?:[=<>~!].*)?", word):
                        if missing := set(named[1].split(",")) - extras():
                            raise DocsError(f"`{command}`: there is no extra {', '.join(sorted(missing))}")
                    elif word.startswith("structllm") and not re.match(r"structllm-logging\b", word):
                        raise DocsError(f"`{command}`: the distribution is called structllm-logging")
            case ["git", "clone", *_] | ["docker", *_]:
                claimed = True
    return claimed


# --- running a page --------------------------------------------------------------------------------------------------

INTERPRETER = """
import ast, asyncio, inspect, json, os, sys, traceback
control = os.fdopen(os.dup(1), "w")
output = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.dup2(output, 1), os.dup2(output, 2)
namespace = {"__name__": "__main__"}
loop = asyncio.new_event_loop()
async def awaited(value):
    return await value
for message in sys.stdin:
    source, name, environment = json.loads(message)
    os.environ.clear(), os.environ.update(environment)
    try:
        code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        result = eval(code, namespace)
        if inspect.iscoroutine(result):
            loop.run_until_complete(awaited(result))
        ok = True
    except BaseException:
        traceback.print_exc()
        ok = False
    sys.stdout.flush(), sys.stderr.flush()
    print(json.dumps(ok), file=control, flush=True)
"""


class Page:
    """The directory, the environment and the interpreter that the blocks of one page share."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory / "page"
        self.directory.mkdir()
        self._scratch = directory
        self._working_directory = str(self.directory)
        keep = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{keep.get('PATH', os.defpath)}"
        self._environment = {**keep, "PATH": path, "HOME": str(directory), "COLUMNS": "100", "NO_COLOR": "1"}
        self._environment |= {"TERM": "dumb", "PYTHONUNBUFFERED": "1"}
        self._python: subprocess.Popen[str] | None = None
        self._printed = ""

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_: object) -> None:
        if self._python is not None and self._python.stdin is not None:
            with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
                self._python.stdin.close()
                self._python.wait(timeout=COMMAND_S)
            stop(self._python)

    def run(self, block: Block) -> None:
        """Do with a block what its language and its directives say."""
        handlers: dict[str, Any] = {"python": self._run_python, "json": self._parse, "jsonl": self._parse}
        handlers |= dict.fromkeys(("console", "bash", "sh"), self._run_shell) | {"toml": self._parse}
        try:
            if name := block.directives.get("file"):
                target = self.directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text + "\n", encoding="utf-8")
                if block.language in {"json", "jsonl", "toml"}:
                    self._parse(block)
            elif name := block.directives.get("lines"):
                written = (self.directory / name).read_text(encoding="utf-8").splitlines()
                self._compare(block.text, "\n".join(written[-len(block.text.splitlines()) :]))
            elif "output" in block.directives:
                self._compare(block.text, self._printed)
            elif block.language in handlers:
                handlers[block.language](block)
        except DocsError as error:
            raise DocsError(f"{self.name}:{block.line}: {error}") from None

    def _parse(self, block: Block) -> None:
        try:
            if block.language == "toml":
                tomllib.loads(block.text)
                return
            try:
                json.loads(block.text)
            except json.JSONDecodeError:
                for line in filter(None, block.text.splitlines()):
                    json.loads(line)
        except ValueError as error:
            raise DocsError(f"not {block.language}: {error}") from None

    def _run_python(self, block: Block) -> None:
        source = "\n" * (block.line - 1) + block.text
        if "no-run" in block.directives:
            try:
                compile(source, self.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            except SyntaxError as error:
                raise DocsError(f"not Python: {error}") from None
            return
        output = self._scratch / "python-output"
        before = output.stat().st_size if output.exists() else 0
        if self._python is None:
            self._python = subprocess.Popen(
                [sys.executable, "-c", INTERPRETER, output],
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        pipes: tuple[IO[str] | None, IO[str] | None] = (self._python.stdin, self._python.stdout)
        assert pipes[0] is not None
        assert pipes[1] is not None
        pipes[0].write(json.dumps([source, self.name, self._environment]) + "\n")
        pipes[0].flush()
        answered, _, _ = select.select([pipes[1]], [], [], COMMAND_S)
        answer = pipes[1].readline() if answered else ""
        self._printed = output.read_bytes()[before:].decode() if output.exists() else ""
        if not answered:
            raise DocsError(f"still running after {COMMAND_S:.0f} s")
        if answer != "true\n":
            raise DocsError(self._printed or "the interpreter ended")

    def _run_shell(self, block: Block) -> None:
        listed = commands(block)
        for position, command in enumerate(listed):
            code = int(block.directives.get("exit", "0")) if position == len(listed) - 1 else 0
            missing = [
                tool for tool in OPTIONAL_TOOLS if re.search(rf"\b{tool}\b", command.text) and not shutil.which(tool)
            ]
            if check_only(command.text):
                continue
            if "no-run" in block.directives or missing:
                if problem := shell_syntax_error(command.text):
                    raise DocsError(f"`{command.text}`: {problem}")
            elif re.search(r"\btail\b.*\s(-\w*[fF]\b|--follow)", command.text):
                self._follow(command)
            else:
                self._execute(command, code)

    def _start(self, command: Command, output: Path) -> subprocess.Popen[bytes]:
        left = shlex.quote(str(self._scratch))
        script = f"trap 'pwd > {left}/directory; env -0 > {left}/environment' EXIT\n"
        script += f"cd {shlex.quote(self._working_directory)}\n"
        with output.open("wb") as sink:
            return subprocess.Popen(
                ["bash", "-c", script + command.text],
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _execute(self, command: Command, code: int) -> None:
        output = self._scratch / "shell-output"
        process = self._start(command, output)
        try:
            ended = process.wait(timeout=COMMAND_S)
        except subprocess.TimeoutExpired:
            raise DocsError(f"`{command.text}`: still running after {COMMAND_S:.0f} s") from None
        finally:
            stop(process)
        self._printed = output.read_text(encoding="utf-8")
        if ended != code:
            raise DocsError(f"`{command.text}` ended with {ended}, not {code}:\n{self._printed}")
        if command.expected is not None:
            self._compare(command.expected, self._printed)
        self._remember()

    def _follow(self, command: Command) -> None:
        """Run a command that never ends until it has shown what it should, and end it."""
        output = self._scratch / "shell-output"
        process = self._start(command, output)
        deadline = time.monotonic() + FOLLOW_S
        try:
            shown = False
            while time.monotonic() < deadline:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    # Once it has shown what it should it gets longer: a usage error is printed shortly before the end.
                    ended = process.wait(timeout=FOLLOW_END_S if shown else 0.05)
                    raise DocsError(f"`{command.text}` ended with {ended}:\n{output.read_text(encoding='utf-8')}")
                if shown:
                    return
                self._printed = output.read_text(encoding="utf-8")
                shown = matches(command.expected, self._printed) if command.expected else bool(self._printed)
        finally:
            stop(process)
        if command.expected is not None:
            self._compare(command.expected, self._printed)

    def _remember(self) -> None:
        """Take over the variables and the directory that the last command left."""
        environment = (self._scratch / "environment").read_bytes().decode()
        self._environment = dict(entry.split("=", 1) for entry in environment.split("\0") if entry)
        self._working_directory = (self._scratch / "directory").read_text(encoding="utf-8").rstrip("\n")

    def _compare(self, expected: str, actual: str) -> None:
        if not matches(expected, actual):
            raise DocsError(f"the page shows\n{mask(expected)}\n\nbut this came\n{mask(actual)}")


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process and everything it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=COMMAND_S)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def run_page(text: str, directory: Path, name: str = "page.md") -> None:
    """Run every block of a page in an empty directory."""
    with Page(name, directory) as page:
        for block in blocks(text):
            page.run(block)


# --- the documentation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
class TestDocumentation:
    """README.md and every page under docs/."""

    @pytest.mark.timeout(300)
    def test_does_what_it_says(self, path: Path, tmp_path: Path) -> None:
        """Every block runs, and shows what it says it shows."""
        run_page(path.read_text(encoding="utf-8"), tmp_path, str(path.relative_to(ROOT)))

    def test_links(self, path: Path) -> None:
        """A link to a file of the repository leads somewhere."""
        targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
        assert [] == [to for to in targets if "://" not in to and not (path.parent / to).exists()]


class TestProofs:
    """The tests that pages name as proofs."""

    def test_exist(self) -> None:
        """Each is there, down to the class and the method."""
        missing: list[str] = []
        for path in PAGES:
            for name in re.findall(r"`(tests/[\w/]+\.py(?:::\w+)*)`", path.read_text(encoding="utf-8")):
                file, *parts = name.split("::")
                body: Any = (
                    ast.parse((ROOT / file).read_text(encoding="utf-8")).body if (ROOT / file).exists() else None
                )
                for part in parts:
                    body = next((node.body for node in body or () if getattr(node, "name", None) == part), None)
                missing += [name] if body is None else []
        assert [] == missing


class TestReadme:
    """The first page."""

    def test_two_commands(self) -> None:
        """It names the two commands that a newcomer needs."""
        shell = [block for block in blocks(PAGES[0].read_text(encoding="utf-8")) if block.language in {"console", "sh"}]
        typed = {command.text for block in shell for command in commands(block)}
        assert {"make demo", "make test"} <= {text.partition("#")[0].strip() for text in typed}


# --- the runner, run -------------------------------------------------------------------------------------------------


def fenced(language: str, *lines: str) -> str:
    """A block of a page."""
    return "\n".join((f"```{language}", *lines, "```", ""))


GOOD_PAGES = {
    "python blocks share names": fenced("python", "x = 1") + fenced("python", "assert x == 1"),
    "top-level await": fenced("python", "import asyncio", "await asyncio.sleep(0)"),
    "python output": fenced("python", "print('a', 1)") + "<!-- test: output -->\n" + fenced("text", "a 1"),
    "prompt and output": fenced("console", "$ echo one; echo two", "one", "two"),
    "prompt without output": fenced("console", "$ echo one", "$ echo two", "two"),
    "continued prompt": fenced("console", "$ echo one \\", "> two", "one two"),
    "wildcards": fenced("console", "$ seq 5; echo a long line", "1", "…", "5", "a ... line"),
    "exports stay": fenced("sh", "export COLOUR=red") + fenced("console", "$ echo $COLOUR", "red"),
    "python sees exports": fenced("sh", "export A=b") + fenced("python", "import os; assert os.environ['A'] == 'b'"),
    "directory stays": fenced("sh", "mkdir -p a/b", "cd a/b") + fenced("console", "$ basename $PWD", "b"),
    "loop": fenced("bash", "for i in 1 2; do", "  echo $i", "done"),
    "here-document": fenced("bash", "cat > f <<'END'", "it's", "END", "grep -q it f"),
    "file": "<!-- test: file=a/b.json -->\n"
    + fenced("json", '{"a": 1}')
    + fenced("console", "$ cat a/b.json", '{"a": 1}'),
    "lines": fenced("python", "open('log', 'w').write('1\\n2\\n3\\n')")
    + "<!-- test: lines=log -->\n"
    + fenced("text", "2", "3"),
    "exit": "<!-- test: exit=3 -->\n" + fenced("console", "$ true", "$ exit 3"),
    "no-run": "<!-- test: no-run=needs a key -->\n" + fenced("python", "raise SystemExit"),
    "setup": "<!-- test: setup python\nhidden = 1\n-->\n" + fenced("python", "assert hidden == 1"),
    "masked": fenced(
        "console", "$ echo 2024-01-15T10:30:45.123Z req_1 took 15 ms", "2026-02-03T00:00:00Z req_2 took 7 ms"
    ),
    "follow": fenced("sh", "echo line > log") + fenced("console", "$ tail -F log", "line"),
    "make": fenced("sh", "make demo", "make test"),
    "install": fenced("sh", "pip install 'structllm-logging[langchain]'", "git clone URL structllm && cd structllm"),
    "several json values": fenced("json", '{"a": 1}', '{"a": 2}'),
    "in a list": "- item\n\n  ```python\n  if True:\n      x = 1\n  ```\n",
    "command of the package": fenced("console", "$ python -c 'import structllm'"),
}

BAD_PAGES = {
    "python fails": fenced("python", "1 / 0"),
    "python exits": fenced("python", "import os; os._exit(0)"),
    "python output differs": fenced("python", "print(1)") + "<!-- test: output -->\n" + fenced("text", "2"),
    "shell fails": fenced("sh", "false", "true"),
    "shell succeeds": "<!-- test: exit=1 -->\n" + fenced("sh", "true"),
    "shell output differs": fenced("console", "$ echo one", "two"),
    "output is missing": fenced("console", "$ true", "two"),
    "output goes on": fenced("console", "$ seq 3", "1", "2"),
    "no prompt": fenced("console", "echo one"),
    "unclosed quote": fenced("sh", "echo 'one"),
    "file differs": fenced("sh", "echo 1 > log") + "<!-- test: lines=log -->\n" + fenced("text", "2"),
    "no-run python": "<!-- test: no-run=needs a key -->\n" + fenced("python", "1 +"),
    "no-run does not parse": "<!-- test: no-run=needs a key -->\n" + fenced("sh", "for"),
    "json": fenced("json", "{'a': 1}"),
    "toml": fenced("toml", "a = "),
    "make": fenced("sh", "make coffee"),
    "extra": fenced("sh", "pip install 'structllm-logging[coffee]'"),
    "another distribution": fenced("sh", "pip install structllm"),
    "unknown directive": "<!-- test: skip -->\n" + fenced("sh", "true"),
    "misspelt directive": "<!-- test: exit = 1 -->\n" + fenced("sh", "false"),
    "directive without block": "<!-- test: exit=1 -->\n\ntext\n",
    "follow ends": fenced("console", "$ tail -F --no-such-option log"),
}


class TestRunner:
    """The runner of pages: it passes good ones, and finds what is wrong with bad ones."""

    @pytest.mark.parametrize("name", GOOD_PAGES)
    def test_good(self, name: str, tmp_path: Path) -> None:
        """A page that does what it says passes."""
        run_page(GOOD_PAGES[name], tmp_path)

    @pytest.mark.parametrize("name", BAD_PAGES)
    def test_bad(self, name: str, tmp_path: Path) -> None:
        """A page that does not do what it says fails."""
        with pytest.raises(DocsError):
            run_page(BAD_PAGES[name], tmp_path)

    def test_names_the_line(self, tmp_path: Path) -> None:
        """A failure says on which line of which page its block begins, and Python's own traceback agrees."""
        with pytest.raises(DocsError, match=r"(?s)page.md:4: .*page.md\", line 5"):
            run_page("# Title\n\n" + fenced("python", "x = 0", "1 / x"), tmp_path)

    def test_endless_command(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A command that does not end is ended, and is a failure."""
        monkeypatch.setattr(sys.modules[__name__], "COMMAND_S", 0.2)
        with pytest.raises(DocsError, match="still running"):
            run_page(fenced("sh", "sleep 60"), tmp_path)

    def test_followed_command_that_shows_something_else(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A command that never ends still has to show what the page says."""
        monkeypatch.setattr(sys.modules[__name__], "FOLLOW_S", 0.2)
        with pytest.raises(DocsError, match="but this came"):
            run_page(fenced("sh", "echo one > log") + fenced("console", "$ tail -f log", "two"), tmp_path)

    def test_missing_tool(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A line with a tool that this machine lacks has its syntax checked, and is not run."""
        monkeypatch.setattr(shutil, "which", lambda tool: None)
        run_page(fenced("sh", "jq -e . nowhere"), tmp_path)
        with pytest.raises(DocsError):
            run_page(fenced("sh", "jq 'unclosed"), tmp_path / "page")

    def test_no_key_is_seen(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pages run without the caller's provider keys, so no line of them can reach a provider."""
        monkeypatch.setenv("OPENAI_API_KEY", "set")
        run_page(fenced("python", "import os", "assert 'OPENAI_API_KEY' not in os.environ"), tmp_path)
