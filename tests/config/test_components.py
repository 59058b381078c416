"""Steps and adapters are found by file name, documented from their own text, and described to editors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bus import config
from bus.config import marks

STEPS = {"authorize", "enrich", "pdf-signatures", "sign", "trace", "transform", "validate", "verify", "wiretap"}


def test_a_step_is_its_file() -> None:
    """Every module under bus/steps is a step, with hyphens for its underscores, and nothing else is."""
    files = {path.stem.replace("_", "-") for path in Path(config.__file__).parent.parent.joinpath("steps").glob("[a-z]*.py")}
    assert set(config.steps()) == STEPS == files


def test_every_component_and_every_option_is_documented() -> None:
    """`govbus steps` and `govbus adapters` have a text for each component and each of its options."""
    documents = [*config.documentation(config.steps()), *config.documentation(config.adapters())]
    assert {"soap", "vxp"} < {document["name"] for document in documents}
    assert [document["name"] for document in documents if not document["text"]] == []
    assert [(one["name"], option["option"]) for one in documents for option in one["options"] if not option["description"]] == []


def test_the_json_schema_knows_every_key_of_the_reference_site(repository: Path) -> None:
    """An editor that uses the schema accepts routes.yaml: each mapping's keys are properties where the schema says so."""
    schema = config.json_schema()
    data = marks.read((repository / "routes.yaml").read_text(encoding="utf-8"), "routes.yaml").data
    assert list(_unknown(data, schema, schema["$defs"])) == []


def test_the_json_schema_refers_only_to_what_it_holds() -> None:
    """No reference leads nowhere."""
    schema = config.json_schema()
    assert {reference.removeprefix("#/$defs/") for reference in _references(schema)} <= set(schema["$defs"])


def _unknown(data: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """Keys that the schema does not allow; of alternatives, one must allow all."""
    while "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    alternatives = schema.get("anyOf") or schema.get("oneOf") or []
    if alternatives:
        tried = [list(_unknown(data, one, definitions)) for one in alternatives if _fits(data, one, definitions)]
        yield from min(tried, key=len, default=[data])
    elif isinstance(data, dict):
        for key, value in data.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties", True))
            if inner is False:
                yield key
            elif isinstance(inner, dict):
                yield from _unknown(value, inner, definitions)
    elif isinstance(data, list) and isinstance(schema.get("items"), dict):
        for value in data:
            yield from _unknown(value, schema["items"], definitions)


def _fits(data: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    while "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return data in schema["enum"]
    kind = {dict: "object", list: "array", str: "string", type(None): "null"}[type(data)]
    return "type" not in schema or kind in schema["type"] or (kind == "string" and schema["type"] in {"number", "integer", "boolean"})


def _references(value: Any) -> Any:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)
