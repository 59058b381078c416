"""Steps and adapters, found by file name (ARCHITECTURE D5): ``bus/steps/trace.py`` is ``trace:``, ``adapters/soap`` is ``soap:``.

A step's module defines ``Options`` and ``build(options, site) -> Step``; an adapter's defines ``Options`` and ``Adapter``. A module
without them is no component. Adapters are loaded by name only, so that nothing below imports one.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Component:
    """One step or adapter. ``make`` is a step's ``build`` or an adapter's class; ``text`` its documentation.

    ``checks``: a step that checks what the sender sent (its module says ``CHECKS``); others do work of ours.
    """

    name: str
    options: type[BaseModel]
    make: Any
    text: str
    checks: bool = False


@cache
def steps() -> Mapping[str, Component]:
    """Every step, by its name in routes.yaml."""
    found = ((name, module, getattr(module, "build", None)) for name, module in _modules("bus.steps"))
    return {
        name: Component(name, module.Options, build, _text(module.__doc__), getattr(module, "CHECKS", False))
        for name, module, build in found
        if build
    }


@cache
def adapters() -> Mapping[str, Component]:
    """Every channel adapter, by its name in routes.yaml."""
    found = ((name, module, getattr(module, "Adapter", None)) for name, module in _modules("adapters"))
    return {name: Component(name, module.Options, made, _text(made.__doc__)) for name, module, made in found if made}


def documentation(components: Mapping[str, Component]) -> list[dict[str, Any]]:
    """Each component's name, text and options, for ``govbus steps`` and ``govbus adapters``."""
    return [{"name": one.name, "text": one.text, "options": _options(one.options)} for one in components.values()]


def _modules(package: str) -> Iterator[tuple[str, ModuleType]]:
    path = importlib.import_module(package).__path__
    for found in sorted(pkgutil.iter_modules(path), key=lambda module: module.name):
        if not found.name.startswith("_"):
            module = importlib.import_module(f"{package}.{found.name}")
            if hasattr(module, "Options"):
                yield found.name.replace("_", "-"), module


def _text(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "")


def _options(model: type[BaseModel]) -> list[dict[str, str]]:
    schema = model.model_json_schema(by_alias=True)
    required = schema.get("required", [])
    return [
        {
            "option": name,
            "type": _type(described),
            "default": "(required)" if name in required else _default(described.get("default")),
            "description": described.get("description", ""),
        }
        for name, described in schema.get("properties", {}).items()
    ]


def _type(described: Mapping[str, Any]) -> str:
    if "enum" in described:
        return " | ".join(map(str, described["enum"]))
    if "anyOf" in described:
        return " | ".join(dict.fromkeys(_type(one) for one in described["anyOf"] if one.get("type") != "null"))
    if "$ref" in described:
        return str(described["$ref"]).rpartition("/")[2].lower()
    if described.get("type") == "array":
        return f"list of {_type(described.get('items', {}))}"
    return str(described.get("format") or described.get("type", "any"))


def _default(value: object) -> str:
    return "" if value in (None, {}, []) else str(value)
