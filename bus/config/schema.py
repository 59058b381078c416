"""The JSON Schema of routes.yaml, for editors: the blocks, and each step's and adapter's options where they may stand."""

from collections.abc import Mapping
from typing import Any

from bus.config.blocks import SiteFile
from bus.config.components import Component, adapters, steps


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of routes.yaml."""
    schema = SiteFile.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    definitions: dict[str, Any] = schema["$defs"]
    definitions["Step"] = _one_of(steps(), "step", definitions, bare=True)
    definitions["Endpoint"] = _one_of(adapters(), "adapter", definitions, bare=False)
    schema["properties"]["endpoints"]["additionalProperties"] = {"$ref": "#/$defs/Endpoint"}
    for key in ("gate", "steps"):
        definitions["RouteBlock"]["properties"][key]["items"] = {"$ref": "#/$defs/Step"}
    return schema


def _one_of(components: Mapping[str, Component], what: str, definitions: dict[str, Any], *, bare: bool) -> dict[str, Any]:
    """``{name: options}`` for one of the components; ``bare`` also allows the name alone."""
    properties = {}
    for name, component in components.items():
        template = f"#/$defs/{what}-{name}-{{model}}"
        options = component.options.model_json_schema(by_alias=True, ref_template=template)
        for inner, definition in options.pop("$defs", {}).items():
            definitions[f"{what}-{name}-{inner}"] = definition
        properties[name] = {**options, "type": ["object", "null"], "description": component.text}
    one = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False, "properties": properties}
    return {"anyOf": [one, {"enum": list(components)}]} if bare else one
