"""Lay out the reference of the Python API from signatures and docstrings; `docs/generate.py` writes it."""

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import structllm

API_HEAD = """# Python API

Every public name, with its signature and what its docstring says. Names come from `structllm` itself unless another
module is given. Everything is typed, and whatever raises says so: a logger's methods never do. What events hold is in
[events](events.md), what settings mean in [settings](settings.md).
"""

# Section to `module: names`. A test holds it to `structllm.__all__`.
API = {
    "Logger": {
        "structllm.assemble": "create_llm_logger",
        "structllm.logger": "ChatCompletionLogger",
        "structllm.completion": "Completion",
    },
    "Context": {"structllm.processors.context": "bind_session bind_market bind_context wrap_context"},
    "Settings": {"structllm.settings": "load_settings LLMSettings"},
    "Redaction": {"structllm.redaction.known": "redact_value"},
    "Clients": {"structllm.clients.wrapping": "wrap"},
    "LangChain": {
        "structllm.langchain": "create_langchain_callback instrument uninstrument LangChainCallbackHandler",
    },
    "Agent": {
        "structllm.agent": "LLMAgent",
        "structllm.trading": "MarketState TradeAction Verdict SizeCap validate_action",
    },
    "Sinks": {
        "structllm._types": "Sink Record",
        "structllm.sinks.file": "FileSink FileSinkConfig",
        "structllm.sinks.stdout": "StdoutSink StdoutSinkConfig",
        "structllm.sinks.memory": "MemorySink MemorySinkConfig",
        "structllm.sinks.config": "SinkConfig",
    },
    "Processors": {
        "structllm._types": "Processor",
        "structllm.processors.context": "BindContext",
        "structllm.processors.normalise": "Normalise",
        "structllm.processors.price": "Price",
        "structllm.processors.redact": "Redact",
        "structllm.processors.truncate": "Truncate",
        "structllm.processors.observe": "Observe",
        "structllm.processors.render": "Render",
    },
    "Errors": {
        "structllm.errors": "StructllmError ConfigError MissingExtra SinkError SinkUnavailable SinkRejected",
    },
    "Testing": {"structllm.testing": "FrozenClock FaultySink sample_records check_sink"},
}

# Where people import a name from that is defined elsewhere.
PUBLIC_HOMES = {"structllm.trading": "structllm.agent"}

# Made by other functions, or by their bases from the fields that are listed: their own constructor says nothing.
NOT_CONSTRUCTED = {"ChatCompletionLogger", "Completion"}

SIGNATURE_CHARS = 100
SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Warns):$", flags=re.M)
ENTRY = re.compile(r"^(\*{0,2}\w+): ", flags=re.M)


def api_page() -> str:
    """Return the reference of the Python API."""
    parts = [API_HEAD]
    for section, homes in API.items():
        parts.append(f"## {section}\n")
        for module, names in homes.items():
            for name in names.split():
                parts += [f"### {name}\n", *api_entry(module, name)]
    return "\n".join(parts)


def api_entry(module: str, name: str) -> Iterator[str]:
    """Yield what there is to say about one name: whence, signature, docstring, and the same of its methods."""
    if name not in structllm.__all__:
        yield f"`from {PUBLIC_HOMES.get(module, module)} import {name}`\n"
    node, doc = definition(module, name)
    if isinstance(node, ast.ClassDef):
        yield from class_entry(node, doc)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield code(signature(node, node.name))
        yield prose(doc, {})
    else:
        yield f"`{ast.unparse(node).replace(': TypeAlias', '')}`\n"
        yield prose(doc, {})


def class_entry(node: ast.ClassDef, doc: str) -> Iterator[str]:
    """Yield how an object is made, what the class says, and its public methods."""
    methods = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
    made = next((item for item in methods if item.name == "__init__"), None)
    if made is not None and node.name not in NOT_CONSTRUCTED:
        yield code(signature(made, node.name).removesuffix(" -> None"))
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    yield prose(doc, {ast.unparse(field.target): annotation(field.annotation) for field in fields})
    for method in methods:
        said = ast.get_docstring(method)
        # The hooks of a callback handler are for its framework to call.
        if said is None or method.name.startswith(("_", "on_")):
            continue
        if any(isinstance(mark, ast.Name) and mark.id == "property" for mark in method.decorator_list):
            returns = annotation(method.returns) if method.returns is not None else "Any"
            yield f"`{node.name}.{method.name}` → `{returns}`: {inline(said)}\n"
            continue
        yield f"#### {node.name}.{method.name}\n"
        yield code(signature(method, method.name))
        yield prose(said, {})


@cache
def syntax(module: str) -> ast.Module:
    """Return the syntax tree of a module. Read from its source, a signature looks alike under every Python."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):  # defaults as they are written: 0o600, not 384
            node.defaults = [ast.Name(inline(ast.get_source_segment(source, item) or "")) for item in node.defaults]
            node.kw_defaults = [
                None if item is None else ast.Name(inline(ast.get_source_segment(source, item) or ""))
                for item in node.kw_defaults
            ]
    return tree


def definition(module: str, name: str) -> tuple[ast.stmt, str]:
    """Return the definition of a name and its docstring; that of an alias is the text that follows it."""
    body = syntax(module).body
    for node, following in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return node, ast.get_docstring(node) or ""
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
            return node, ast.literal_eval(following.value) if isinstance(following, ast.Expr) else ""
    raise LookupError(f"{module} defines no {name}")


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> str:
    """Return a signature under this name: on one line where that is short, else a line for each parameter."""
    rows = list(parameters(node.args))
    begin = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    end = f" -> {annotation(node.returns)}" if node.returns is not None else ""
    line = f"{begin}{name}({', '.join(rows)}){end}"
    if len(line) <= SIGNATURE_CHARS:
        return line
    return f"{begin}{name}(\n" + "".join(f"    {row},\n" for row in rows) + f"){end}"


def parameters(arguments: ast.arguments) -> Iterator[str]:
    """Yield each parameter with its annotation and default, and the marks between them; `self` is left out."""
    positional = [*arguments.posonlyargs, *arguments.args]
    without = len(positional) - len(arguments.defaults)
    last_by_position = arguments.posonlyargs[-1] if arguments.posonlyargs else None
    for item, default in zip(positional, [*[None] * without, *arguments.defaults], strict=True):
        if item.arg not in {"self", "cls"}:
            yield parameter(item, default)
            if item is last_by_position:
                yield "/"
    if arguments.vararg is not None:
        yield "*" + parameter(arguments.vararg, None)
    elif arguments.kwonlyargs:
        yield "*"
    for item, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield parameter(item, default)
    if arguments.kwarg is not None:
        yield "**" + parameter(arguments.kwarg, None)


def parameter(item: ast.arg, default: ast.expr | None) -> str:
    """Return one parameter with its annotation and default."""
    text = item.arg if item.annotation is None else f"{item.arg}: {annotation(item.annotation)}"
    sign = "=" if item.annotation is None else " = "
    return text if default is None else text + sign + ast.unparse(default)


class Bare(ast.NodeTransformer):
    """Takes the type out of `Annotated[type, ...]`."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Return the first element of what is annotated."""
        self.generic_visit(node)
        if ast.unparse(node.value) == "Annotated" and isinstance(node.slice, ast.Tuple):
            return node.slice.elts[0]
        return node


def annotation(node: ast.expr) -> str:
    """Return an annotation as text, without the quotes that only a forward reference needs."""
    text = ast.unparse(Bare().visit(ast.parse(ast.unparse(node), mode="eval")))
    return re.sub(r"^'(.*)'$", r"\1", text).replace("'", '"')


def prose(doc: str, types: dict[str, str]) -> str:
    """Return a docstring as Markdown: its sections become lists; `types` are those of attributes."""
    head, *sections = SECTION.split(inspect.cleandoc(doc))
    parts = [head.strip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        text, after = dedented(body)
        first, *entries = ENTRY.split(text)
        if entries and not first.strip():
            parts.append(f"**{title}**\n")
            parts[-1] += "".join(
                f"\n- `{name}`{f' ({code_span(types[name])})' if name in types else ''}: {inline(said)}"
                for name, said in zip(entries[::2], entries[1::2], strict=True)
            )
        else:
            parts.append(f"**{title}**: {inline(text)}")
        if after:
            parts.append(after)
    return "\n\n".join(parts) + "\n"


def dedented(body: str) -> tuple[str, str]:
    """Return the indented lines of a section without their indent, and what follows them."""
    lines = body.strip("\n").splitlines()
    count = next((index for index, line in enumerate(lines) if line and not line.startswith(" ")), len(lines))
    return "\n".join(line.removeprefix("    ") for line in lines[:count]).strip(), "\n".join(lines[count:]).strip()


def inline(text: str) -> str:
    """Return a text of several lines on one."""
    return " ".join(text.split())


def code_span(text: str) -> str:
    """Return code in a line of prose."""
    return f"`{text}`"


def code(text: str) -> str:
    """Return a block of code that the tests of the documentation do not run."""
    return f"```py\n{text}\n```\n"
