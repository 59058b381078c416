"""Every schema of the reference site, collected: ``examples/valid-*`` are valid, ``invalid-*`` are not, and two validators say so.

An example belongs to the schema its name continues with (``valid-status-02.xml`` to ``status.xsd``), or else to the domain's own.
"""

from pathlib import Path

import pytest
import xmlschema
from lxml import etree

from bus.schemas import Library

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"
EXAMPLES = sorted(SCHEMAS.glob("*/*/examples/*.xml"))


def schema_of(example: Path) -> str:
    version = example.parent.parent
    wish = example.stem.split("-")[1]
    name = wish if (version / f"{wish}.xsd").is_file() else version.parent.name
    return f"{version.parent.name}/{version.name}/{name}.xsd"


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(SCHEMAS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parents[2].name}/{path.stem}")
def test_examples_are_what_their_names_say(example: Path, library: Library) -> None:
    """What is named valid passes, what is named invalid fails."""
    schema = library.schema(schema_of(example))
    assert schema.validate(etree.parse(example)) is example.name.startswith("valid-"), schema.error_log


@pytest.mark.parametrize("version", sorted({example.parent.parent for example in EXAMPLES}), ids=lambda path: path.parent.name)
def test_every_domain_has_examples_of_both_kinds(version: Path) -> None:
    """A schema without a counter-example has not been tried."""
    kinds = {example.name.split("-")[0] for example in (version / "examples").glob("*.xml")}
    assert kinds == {"valid", "invalid"}


@pytest.mark.parametrize("schema", ["edxml/v1/document.xsd", "edxml/v1/status.xsd", "edxml/v1/agency.xsd"])
def test_a_second_validator_agrees(schema: str) -> None:
    """xmlschema, which shares no code with libxml2, judges every example alike."""
    second = xmlschema.XMLSchema(str(SCHEMAS / schema), allow="local")
    for example in EXAMPLES:
        if schema_of(example) == schema:
            assert second.is_valid(str(example)) is example.name.startswith("valid-"), example.name
