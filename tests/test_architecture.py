"""The house rules that a machine can hold: who may import whom, what loads lazily, sizes, names and docstrings.

The tables below are the rules. Every checker takes source text and returns the violations it found, and is itself shown
violations that it has to find, because a checker that cannot fail proves nothing.
"""

import ast
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FunctionType
from typing import NamedTuple

import pytest

import structllm

ROOT = Path(__file__).resolve().parent.parent

# --- the rules -------------------------------------------------------------------------------------------------------

PACKAGES = {"structllm": "structllm", "structllm.processors": "processors", "structllm.sinks": "sinks"}
"""Import name to folder. The inner two lie beside `structllm/`; symlinks inside it serve editors and type checkers."""

READ_SIDE = (
    "structllm.archive",  # the stores and the format among it: the write side uses those, and it uses nothing of that
    "structllm.backward",
    "structllm.cli",
    "structllm.console",
    "structllm.figures",
    "structllm.follow",
    "structllm.query",
    "structllm.segment",
    "structllm.sequence",
    "structllm.tampering",
    "structllm.totals",
    "structllm.unpack",
    "structllm.verification",
)

SHARED = (
    "structllm.__version__",
    "structllm._types",
    "structllm.chain",
    "structllm.errors",
    "structllm.events",
    "structllm.metrics",
    "structllm.pricing",
    "structllm.usage",
)
"""What the read side may import beside itself: definitions and sums, nothing that writes."""

ENGINE = (
    "structllm._account",
    "structllm._background",
    "structllm._backoff",
    "structllm._deferred",
    "structllm._delivery",
    "structllm._diagnostics",
    "structllm._emitter",
    "structllm._fanout",
    "structllm._hooks",
    "structllm._process",
    "structllm._queue",
)
"""What brings events to sinks, whatever the sinks are."""

LATE = (
    "structllm.archive.manifest",
    "structllm.archive.pushing",
    "structllm.cli.archive",
    "structllm.cli.archives",
    "structllm.cli.config",
    "structllm.cli.demo",
    "structllm.cli.doctor",
    "structllm.cli.keys",
    "structllm.cli.prices",
    "structllm.cli.reprice",
    "structllm.cli.rules",
    "structllm.cli.source",
)
"""What needs pydantic, the settings or the write side all the same; it imports them inside its functions."""


class Ban(NamedTuple):
    """Modules that may not import others, `but` for some; a name stands for itself and for everything below it."""

    who: tuple[str, ...]
    what: tuple[str, ...]
    but: tuple[str, ...] = ()
    late: tuple[str, ...] = ()  # of `who`, those bound at module level only


BANS = (
    Ban(("structllm.processors",), ("structllm.sinks", "structllm.settings", "structllm.logger")),
    Ban(("structllm.sinks",), ("structllm.processors", "structllm.settings", "structllm.logger")),
    Ban(("structllm._types", "structllm.errors"), ("structllm",)),
    Ban(ENGINE, ("structllm.sinks", "structllm.settings", "structllm.logger")),
    Ban(READ_SIDE, ("structllm", "structlog", "pydantic", "pydantic_settings"), (*READ_SIDE, *SHARED), LATE),
)

ONLY_IN = {
    "structllm.assemble": ("structllm.__init__", "structllm.cli"),
    "langchain_core": ("structllm.langchain", "structllm.demo"),
    "langchain": ("structllm.agent", "structllm.langchain", "structllm.demo"),
    "genai_prices": ("structllm.pricing",),
    "re2": ("structllm.redaction", "structllm.pricing.overrides"),
    "boto3": ("structllm.archive.s3", "structllm.demo.storage"),
    "duckdb": (),
    "openai": (),
    "anthropic": (),
}

TWICE_LOADED = ("sinks", "processors")
"""Importable whenever the checkout's root is on `sys.path`, and then every class in them exists twice."""

HEAVY = {"boto3", "langchain_core", "pydantic_settings", "genai_prices", "duckdb", "starlette", "structlog", "pydantic"}

LAZY = {
    "import structllm": HEAVY | {"orjson", "re2", "rich", "click", "zstandard"},
    "import structllm.cli": HEAVY | {"structllm.logger", "structllm.settings", "structllm.assemble"},
    "import structllm; structllm.ConfigError": HEAVY,
    "import structllm; structllm.create_llm_logger": {"boto3", "langchain_core", "genai_prices", "duckdb", "starlette"},
}
"""A statement, and what must not be loaded after it."""

PUBLIC_NAMES = [
    "ChatCompletionLogger",
    "ConfigError",
    "FileSink",
    "LLMAgent",
    "LLMSettings",
    "LangChainCallbackHandler",
    "MarketState",
    "MemorySink",
    "MissingExtra",
    "Processor",
    "Record",
    "Sink",
    "StdoutSink",
    "StructllmError",
    "TradeAction",
    "bind_context",
    "bind_market",
    "bind_session",
    "create_langchain_callback",
    "create_llm_logger",
    "load_settings",
    "redact_value",
    "wrap",
    "wrap_context",
]

MODULE_LINES = 400
FUNCTION_LINES = 60
GRAB_BAGS = {"base", "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
LIVE_OBJECTS = {("structllm._process", "_alive")}
"""Module state that has to be: what a hook that cannot be taken back (`os.register_at_fork`) still has to reach."""

CONTAINERS = {"Counter", "OrderedDict", "WeakKeyDictionary", "WeakSet", "WeakValueDictionary", "defaultdict", "deque"}
CONTAINERS |= {"dict", "list", "set"}
MUTATORS = {
    "add",
    "append",
    "appendleft",
    "clear",
    "extend",
    "insert",
    "pop",
    "popitem",
    "popleft",
    "remove",
    "setdefault",
    "update",
}

# --- reading the source ----------------------------------------------------------------------------------------------


def python_files(*folders: str) -> list[Path]:
    """Every Python file in these folders of the repository, symlinked folders left out."""
    found = []
    for folder in folders:
        for here, below, names in os.walk(ROOT / folder, followlinks=False):
            below[:] = [name for name in below if name != "__pycache__"]
            found += [Path(here, name) for name in names if name.endswith(".py")]
    return sorted(found)


def module_name(path: Path) -> str:
    """`sinks/file.py` is `structllm.sinks.file`; a package's own file keeps its `__init__`."""
    inside = path.relative_to(ROOT).with_suffix("").parts
    names = {folder: name for name, folder in PACKAGES.items()}
    return ".".join((names[inside[0]], *inside[1:]))


PACKAGE_FILES = {module_name(path): path for path in python_files(*PACKAGES.values())}
every_module = pytest.mark.parametrize("module", sorted(PACKAGE_FILES))


@functools.cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a file, parsed once."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def within(module: str, names: tuple[str, ...]) -> bool:
    """Whether `module` is one of these names or lies below one."""
    return any(module == name or module.startswith(name + ".") for name in names)


class Import(NamedTuple):
    """One imported name: `from a import b` names both `a` and `a.b`, since b may be a module."""

    name: str
    line: int
    at_module_level: bool


def imports(tree: ast.Module, module: str) -> Iterator[Import]:
    """Everything a module imports, `import_module("…")` included.

    Type-checking imports count as well, but like those inside functions: they load nothing.
    """
    deferred = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or (isinstance(outer, ast.If) and isinstance(outer.test, ast.Name) and outer.test.id == "TYPE_CHECKING")
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                names = [alias.name for alias in aliases]
            case ast.ImportFrom(module=source, names=aliases, level=level):
                package = module.split(".")[:-1]
                above = package[: len(package) - level + 1] if level else []
                origin = ".".join([*above, source] if source else above)
                names = [origin] if origin != "structllm" else []  # the package itself holds nothing but names
                names += [f"{origin}.{alias.name}" for alias in aliases]
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(name)), *_]
            ):
                names = [name] if called in {"import_module", "__import__"} else []
            case _:
                continue
        for name in names:
            yield Import(name, node.lineno, node not in deferred)


def front_door() -> dict[str, str]:
    """Public name to the module it is loaded from: importing the name is importing that module."""
    return {f"structllm.{name}": home for name, home in vars(structllm)["_HOMES"].items()}


# --- the checkers ----------------------------------------------------------------------------------------------------


def forbidden_imports(tree: ast.Module, module: str) -> list[str]:
    """Imports that the tables above do not allow."""
    door = front_door()
    found = []
    for name, line, at_module_level in imports(tree, module):
        home = door.get(name, name)
        for ban in BANS:
            bound = within(module, ban.who) and (at_module_level or not within(module, ban.late))
            if bound and within(home, ban.what) and not within(home, ban.but):
                found.append(f"line {line}: {module} imports {name}")
        for target, homes in ONLY_IN.items():
            if within(name, (target,)) and not within(module, (target, *homes)):
                found.append(f"line {line}: {module} imports {name}")
        if within(name, TWICE_LOADED):
            found.append(f"line {line}: {module} imports {name} by its folder's name")
    return found


def more_than_reexports(tree: ast.Module) -> list[str]:
    """Statements of an `__init__` that are neither imports, nor `__all__`, nor what lazy loading needs."""
    found = []
    for node in tree.body:
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant(value=str())):
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body, orelse=[]):
                if all(isinstance(inner, ast.Import | ast.ImportFrom) for inner in body):
                    continue
            case ast.FunctionDef(name="__getattr__" | "__dir__"):
                continue
            case ast.Assign(targets=[ast.Name(id="__all__" | "__version__" | "_HOMES")]):
                continue
            case ast.AnnAssign(target=ast.Name(id="__all__" | "__version__" | "_HOMES")):
                continue
        found.append(f"line {node.lineno}: more than a re-export")
    return found


def missing_docstrings(tree: ast.Module) -> list[str]:
    """Public functions, classes and methods without one."""
    found = []

    def look(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
            repeats = decorators & {"overload", "typing.overload", "override"} or f"{node.name}.setter" in decorators
            if not repeats and not ast.get_docstring(node):
                found.append(f"line {node.lineno}: {prefix}{node.name} has no docstring")
            if isinstance(node, ast.ClassDef):
                look(node.body, f"{node.name}.")

    look(tree.body, "")
    return found


def long_functions(tree: ast.Module) -> list[str]:
    """Functions that do not fit a screen, docstring left out of the count."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if ast.get_docstring(node, clean=False) is not None and node.body[1:] else node.body[0]
            length = (node.end_lineno or node.lineno) - first.lineno + 1
            if length > FUNCTION_LINES:
                found.append(f"line {node.lineno}: {node.name} has {length} lines")
    return found


def structlog_configured(tree: ast.Module) -> list[str]:
    """Uses of structlog's global configuration, which belongs to the host program."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(
                value=ast.Name(id="structlog"), attr="configure" | "configure_once" | "reset_defaults" as name
            ):
                found.append(f"line {node.lineno}: structlog.{name}")
            case ast.ImportFrom(module="structlog", names=aliases):
                taken = {"configure", "configure_once", "reset_defaults"} & {alias.name for alias in aliases}
                found += [f"line {node.lineno}: structlog.{name}" for name in sorted(taken)]
    return found


def mutated_module_state(tree: ast.Module) -> list[tuple[str, str]]:
    """Module-level names that a function changes, rebound with `global` or as a container written to, and where."""
    containers = set()
    for statement in tree.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ):
                match value:
                    case ast.Dict() | ast.List() | ast.Set() | ast.DictComp() | ast.ListComp() | ast.SetComp():
                        containers.add(name)
                    case ast.Call(func=ast.Name(id=kind) | ast.Attribute(attr=kind)) if kind in CONTAINERS:
                        containers.add(name)
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        inside = list(ast.walk(function))
        local = {node.arg for node in inside if isinstance(node, ast.arg)}
        local |= {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        shared = containers - local
        for node in inside:
            match node:
                case ast.Global(names=names):
                    found += [(name, f"line {node.lineno}: global {name}") for name in names]
                case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()) if name in shared:
                    found.append((name, f"line {node.lineno}: {name}[...] is written"))
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=verb)) if name in shared:
                    found += [(name, f"line {node.lineno}: {name}.{verb}()")] if verb in MUTATORS else []
    return found


def loaded_by(statement: str) -> set[str]:
    """The modules that a statement loads in a fresh interpreter."""
    code = f"import json, sys; old = set(sys.modules); {statement}; print(json.dumps(sorted(set(sys.modules) - old)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout))


# --- the house -------------------------------------------------------------------------------------------------------


class TestImports:
    """Who may import whom."""

    @every_module
    def test_allowed(self, module: str) -> None:
        """A module imports only what the tables of this file allow it to."""
        assert [] == forbidden_imports(parse(PACKAGE_FILES[module]), module)

    @pytest.mark.parametrize(
        "path", python_files("tests", "benchmarks", "docs"), ids=lambda path: str(path.relative_to(ROOT))
    )
    def test_folder_names_are_not_imported(self, path: Path) -> None:
        """Tests, benchmarks and docs never import `sinks` or `processors` by the folders' bare names."""
        assert [] == [found for found in imports(parse(path), "outside") if within(found.name, TWICE_LOADED)]

    @pytest.mark.parametrize("statement", sorted(LAZY))
    def test_lazy(self, statement: str) -> None:
        """What a statement does not need is not loaded by it."""
        loaded = loaded_by(statement)
        assert set() == LAZY[statement] & loaded
        assert "structllm" in loaded

    def test_symlinks(self) -> None:
        """The two inner packages are relative symlinks, so that a checkout works wherever it lies."""
        assert ("../sinks", "../processors") == tuple(
            os.readlink(ROOT / "structllm" / name) for name in ("sinks", "processors")
        )


class TestPublicNames:
    """The public door."""

    def test_snapshot(self) -> None:
        """A public name is added or removed on purpose: here and in the CHANGELOG."""
        assert PUBLIC_NAMES == list(structllm.__all__)

    def test_sorted(self) -> None:
        """The list is sorted, so that two branches that each add a name merge."""
        assert sorted(structllm.__all__) == list(structllm.__all__)

    @pytest.mark.parametrize("name", PUBLIC_NAMES)
    def test_loads(self, name: str) -> None:
        """Every public name can be had, and documents itself (a type alias cannot)."""
        value = getattr(structllm, name)
        assert value.__doc__ or not isinstance(value, type | FunctionType)
        assert name in dir(structllm)

    def test_unknown_name(self) -> None:
        """A name that is not there is an AttributeError, as in any module."""
        with pytest.raises(AttributeError, match="no_such_name"):
            _ = structllm.no_such_name


class TestStyle:
    """Sizes, docstrings, names and state."""

    @every_module
    def test_module_size(self, module: str) -> None:
        """A module is read in one sitting."""
        lines = PACKAGE_FILES[module].read_text(encoding="utf-8").count("\n")
        assert lines <= MODULE_LINES

    @every_module
    def test_function_size(self, module: str) -> None:
        """A function fits a screen."""
        assert [] == long_functions(parse(PACKAGE_FILES[module]))

    @pytest.mark.parametrize("module", [name for name in PACKAGE_FILES if name.endswith(".__init__")])
    def test_init_only_reexports(self, module: str) -> None:
        """An `__init__` holds no behaviour of its own."""
        assert [] == more_than_reexports(parse(PACKAGE_FILES[module]))

    @every_module
    def test_docstrings(self, module: str) -> None:
        """Every public function, class and method says what it does."""
        tree = parse(PACKAGE_FILES[module])
        assert [] == missing_docstrings(tree)
        assert ast.get_docstring(tree) or not tree.body, f"{module} says nothing about itself"

    @every_module
    def test_no_grab_bag(self, module: str) -> None:
        """No module is named after nothing in particular."""
        assert set() == GRAB_BAGS & {part.strip("_") for part in module.split(".")}

    @every_module
    def test_structlog_is_not_configured(self, module: str) -> None:
        """structlog's configuration belongs to the host program."""
        assert [] == structlog_configured(parse(PACKAGE_FILES[module]))

    @every_module
    def test_no_module_state(self, module: str) -> None:
        """Nothing at module level changes while the program runs."""
        found = mutated_module_state(parse(PACKAGE_FILES[module]))
        assert [] == [where for name, where in found if (module, name) not in LIVE_OBJECTS]


# --- the checkers, checked -------------------------------------------------------------------------------------------

Checker = Callable[[ast.Module], Sequence[object]]

PLANTED_IMPORTS = [
    ("structllm.processors.redact", "from structllm.sinks.file import FileSink"),
    ("structllm.processors.redact", "from structllm import sinks"),
    ("structllm.processors.__init__", "from ..settings import LLMSettings"),
    ("structllm.processors.redact", "from ..settings import LLMSettings"),
    ("structllm.processors.redact", "def f():\n    from structllm import ChatCompletionLogger"),
    ("structllm.sinks.file", "import structllm.processors.redact"),
    ("structllm.sinks.file", "if TYPE_CHECKING:\n    from structllm.logger import ChatCompletionLogger"),
    ("structllm.query", "from structllm.logger import ChatCompletionLogger"),
    ("structllm.query", "def f():\n    import structlog"),
    ("structllm.query", "from structllm import create_llm_logger"),
    ("structllm.query", "import structllm"),
    ("structllm.query", "from structllm import settings"),
    ("structllm.query", "from structllm import a_module_of_tomorrow"),
    ("structllm.cli.tail", "def f():\n    from structllm.settings import load_settings"),
    ("structllm.cli.doctor", "from structllm.settings import load_settings"),
    ("structllm.errors", "from structllm import events"),
    ("structllm.metrics", "from structllm.assemble import create_llm_logger"),
    ("structllm.metrics", "import importlib\nimportlib.import_module('structllm.assemble')"),
    ("structllm.agent", "from langchain_core.messages import AIMessage"),
    ("structllm.agent", "def f():\n    import boto3"),
    ("structllm.metrics", "import re2"),
    ("structllm.metrics", "import genai_prices.types"),
    ("structllm.metrics", "import sinks"),
    ("structllm.metrics", "from processors.redact import Redact"),
]

ALLOWED_IMPORTS = [
    ("structllm.redaction.scan", "import re2\nfrom structllm._types import Event\nfrom . import rules"),
    ("structllm.sinks.file", "from structllm.errors import SinkRejected"),
    ("structllm.cli.doctor", "def f():\n    from structllm.settings import load_settings"),
    ("structllm.cli.demo", "def f():\n    from structllm.assemble import create_llm_logger"),
    ("structllm.langchain", "from langchain_core.callbacks import BaseCallbackHandler"),
    ("structllm.query", "from structllm import segment, __version__"),
    ("structllm.query", "import orjson\nfrom structllm.events import event_fields"),
    ("structllm.demo.run", "from structllm import create_llm_logger"),
    ("structllm.__init__", "from structllm.assemble import create_llm_logger"),
    ("structllm.processors.__init__", "from .redact import Redact"),
]

PLANTED: list[tuple[Checker, str]] = [
    (more_than_reexports, "def build():\n    return 1"),
    (more_than_reexports, "registry = {}"),
    (more_than_reexports, "if TYPE_CHECKING:\n    x = 1"),
    (missing_docstrings, "def shown():\n    return 1"),
    (missing_docstrings, "class Shown:\n    '''Says.'''\n    async def method(self): ..."),
    (missing_docstrings, "class Shown:\n    x = 1"),
    (long_functions, "def f():\n" + "    x = 1\n" * (FUNCTION_LINES + 1)),
    (structlog_configured, "import structlog\nstructlog.configure(processors=[])"),
    (structlog_configured, "from structlog import configure_once"),
    (mutated_module_state, "_seen = set()\ndef f(x):\n    _seen.add(x)"),
    (mutated_module_state, "_cache: dict[str, int] = {}\ndef f(x):\n    _cache[x] = 1"),
    (mutated_module_state, "_cache = {}\nclass A:\n    def f(self):\n        del _cache['x']"),
    (mutated_module_state, "_count = 0\ndef f():\n    global _count\n    _count += 1"),
]

HARMLESS: list[tuple[Checker, str]] = [
    (more_than_reexports, "'''Door.'''\nfrom a import b\n__all__ = ['b']\nif TYPE_CHECKING:\n    from c import d"),
    (missing_docstrings, "def _hidden(): ...\nclass A:\n    '''Says.'''\n    def __call__(self): ..."),
    (long_functions, "def f():\n    '''" + "text\n" * FUNCTION_LINES + "    '''\n    return 1"),
    (structlog_configured, "import structlog\nstructlog.wrap_logger(None)\nself.configure()"),
    (mutated_module_state, "_EXACT = Context(prec=50)\ndef f(a, b):\n    return _EXACT.add(a, b)"),
    (mutated_module_state, "FIELDS = {}\ndef f(FIELDS):\n    FIELDS['x'] = 1"),
    (mutated_module_state, "FIELDS = {}\ndef f():\n    return {**FIELDS, 'x': 1}"),
]


class TestCheckers:
    """Every checker finds what was planted, and leaves clean code alone."""

    @pytest.mark.parametrize(("module", "source"), PLANTED_IMPORTS)
    def test_finds_import(self, module: str, source: str) -> None:
        """A planted import is found."""
        assert forbidden_imports(ast.parse(source), module)

    @pytest.mark.parametrize(("module", "source"), ALLOWED_IMPORTS)
    def test_allows_import(self, module: str, source: str) -> None:
        """An import that the rules allow is not reported."""
        assert [] == forbidden_imports(ast.parse(source), module)

    @pytest.mark.parametrize(("checker", "source"), PLANTED)
    def test_finds(self, checker: Checker, source: str) -> None:
        """A planted violation is found."""
        assert checker(ast.parse(source))

    @pytest.mark.parametrize(("checker", "source"), HARMLESS)
    def test_leaves_alone(self, checker: Checker, source: str) -> None:
        """Code that keeps the rules is not reported."""
        assert [] == checker(ast.parse(source))

    def test_lazy_check_sees_a_load(self) -> None:
        """The check of lazy imports notices a module that is loaded."""
        assert "structlog" in loaded_by("import structlog")
