"""Reading the caller's objects without running their code.

Objects of unknown classes are looked at on their way into an event: a mock answers to every name, a property may do
I/O, a `__repr__` may raise or print a password. So attributes are read where they are stored, and what a class says of
itself is read at the C level of `type`, past metaclasses.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

HIDDEN = "<hidden>"
"""Stands for a field that its class keeps out of its repr: often a secret."""

class_bases: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
"""Returns a class and its bases, in the order of their precedence."""

class_name: Callable[[type], str] = type.__dict__["__name__"].__get__
"""Returns the bare name of a class."""

_namespace: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__

_ROLES = MappingProxyType({"human": "user", "ai": "assistant"})


def declared(kind: type, name: str) -> Any:
    """Return what a class or one of its bases holds under a name, or None; descriptors are not called."""
    for base in class_bases(kind):
        namespace = _namespace(base)
        if name in namespace:
            return namespace[name]
    return None


def stored(value: object) -> dict[str, Any] | None:
    """Return the instance's own dictionary, or None where it has none. Read-only by agreement."""
    try:
        attributes: dict[str, Any] | None = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return attributes


def declared_fields(value: object) -> dict[str, Any] | None:
    """Return the fields of a pydantic, dataclass, attrs or msgspec object; None for objects of other classes.

    No property, computed field or serialiser of the class runs. Fields kept out of the repr come as `HIDDEN`, fields
    that a pydantic model excludes do not come.

    Raises:
        Exception: Whatever the object raises when it is read.
    """
    kind = type(value)
    if declared(kind, "__dataclass_fields__") is not None:
        return _slots(value, dataclasses.fields(kind))  # type: ignore[arg-type]  # a dataclass, as was just seen
    models = declared(kind, "__pydantic_fields__")
    if models is not None:
        return _pydantic_fields(value, models)
    attributes = declared(kind, "__attrs_attrs__")
    if attributes is not None:
        return _slots(value, attributes)
    names = declared(kind, "__struct_fields__")
    if names is not None:
        return {name: object.__getattribute__(value, name) for name in names}
    return None


def _pydantic_fields(value: object, models: Mapping[str, Any]) -> dict[str, Any]:
    own = stored(value) or {}
    extra: Mapping[str, Any] | None = object.__getattribute__(value, "__pydantic_extra__")
    shown = {name: model for name, model in models.items() if name in own and model.exclude is not True}
    fields = {name: own[name] if model.repr is not False else HIDDEN for name, model in shown.items()}
    return fields | (dict(extra) if extra else {})


def _slots(value: object, definitions: Iterable[Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for definition in definitions:
        try:
            stored_value = object.__getattribute__(value, definition.name)
        except AttributeError:
            continue
        fields[definition.name] = stored_value if definition.repr is not False else HIDDEN
    return fields


def message_role(message: Mapping[str, Any]) -> str:
    """Return who speaks in a message, in the providers' word: LangChain's `human` is `user`, its `ai` `assistant`."""
    role = message.get("role") or message.get("type")
    if not isinstance(role, str):
        return ""
    role = role.removesuffix("MessageChunk").lower()
    return _ROLES.get(role, role)
