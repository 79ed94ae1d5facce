"""What LangChain tells of a step when it begins: model, parameters, tools, parents."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from structllm._fields import as_id

_RETRY_TAG = "retry:attempt:"
_MAX_ATTEMPT_DIGITS = 6
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample")


def request_fields(serialized: object, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what LangChain tells of a call, from wherever the model's integration puts it."""
    params: Mapping[str, Any] = kwargs.get("invocation_params") or {}
    metadata: Mapping[str, Any] = kwargs.get("metadata") or {}
    tags: Sequence[str] = kwargs.get("tags") or ()
    model = _first(params, "model", "model_name", "model_id") or metadata.get("ls_model_name")
    fields: dict[str, Any] = {
        "model": model or class_name(serialized) or "unknown",
        "temperature": _first(params, "temperature", otherwise=metadata.get("ls_temperature")),
        "max_tokens": _first(params, *_LIMITS, otherwise=metadata.get("ls_max_tokens")),
        "provider": metadata.get("ls_provider"),
    }
    tools = [name for tool in params.get("tools") or params.get("functions") or () if (name := _tool_name(tool))]
    if tools:
        fields["tools"] = tools
    if params.get("stream") is True:  # False says nothing: `.stream()` reports it too
        fields["stream"] = True
    if tags:
        fields["tags"] = list(tags)
        attempts = [tag.removeprefix(_RETRY_TAG) for tag in tags if tag.startswith(_RETRY_TAG)]
        if attempts and attempts[0].isdecimal() and len(attempts[0]) <= _MAX_ATTEMPT_DIGITS:
            fields["attempt"] = int(attempts[0])
    return fields


def _first(params: Mapping[str, Any], *names: str, otherwise: Any = None) -> Any:
    return next((params[name] for name in names if params.get(name) is not None), otherwise)


def parent_of(kwargs: Mapping[str, Any]) -> str | None:
    """Return the id of the step that called this one."""
    parent_run_id = kwargs.get("parent_run_id")
    return None if parent_run_id is None else as_id(parent_run_id)


def class_name(serialized: object) -> str | None:
    """Return the class that LangChain describes; for some steps it describes none."""
    if not isinstance(serialized, Mapping):
        return None
    described = cast("Mapping[str, Any]", serialized)
    return described.get("name") or next(reversed(described.get("id") or ()), None)


def _tool_name(tool: object) -> str | None:
    """Return the name of a tool in the shape of any provider; those that the provider runs go by their type."""
    if not isinstance(tool, Mapping):
        return None
    described = cast("Mapping[str, Any]", tool)
    function = described.get("function")
    inner = cast("Mapping[str, Any]", function) if isinstance(function, Mapping) else described
    return inner.get("name") or described.get("type")
