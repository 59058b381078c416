"""A refused document is told every error at once, also those behind the first unexpected child of a parent."""

from pathlib import Path

import pytest
from lxml import etree
from test_spoilt_letters import LETTER, SPOILT, changed

from bus import schema_errors
from bus.errors import Rejected
from bus.schemas import Library

ROOT = Path(__file__).parents[2]
LIBRARY = Library(ROOT / "schemas")
NAMES = [
    "no subject",
    "a letter for a number",
    "an unknown attribute of a group",
    "an unknown attribute of the manifest",
    "a child of the root",
]


def errors(letter: str) -> list[dict[str, object]]:
    with pytest.raises(Rejected) as refused:
        LIBRARY.validate("edxml/v1/document.xsd", etree.fromstring(letter.encode()))
    assert refused.value.code == "5.6.3"
    return [dict(error.values) for error in refused.value.values["errors"]]  # type: ignore[attr-defined]


def test_what_stands_behind_the_first_error_is_said_too() -> None:
    """Subject is missing and PageAmount is no number: both are named, with place and line; libxml2 alone names one."""
    letter = LETTER
    for name in NAMES:
        letter = changed(letter, *SPOILT[name])
    found = errors(letter)
    paths = [str(error["path"]) for error in found]
    assert len(set(paths)) == len(paths)
    for end in ("/OtherInfo/PageAmount", "/From/@foo", "/edXMLManifest/@foo", "/Extra"):
        assert any(path.endswith(end) for path in paths), (end, paths)
    assert all(error["line"] for error in found)


def test_the_list_is_bounded() -> None:
    """A thousand errors are no longer list than fifty and libxml2's."""
    letter = changed(LETTER, "<edXML:OtherInfo>", "<edXML:OtherInfo>" + "<edXML:PageAmount>x</edXML:PageAmount>" * 1_000)
    assert 1 <= len(errors(letter)) <= schema_errors.MOST_FOUND + 21


def test_no_place_that_a_document_names_is_opened(tmp_path: Path) -> None:
    """A schemaLocation in the document is a hint, and is not followed."""
    other = tmp_path / "other.xsd"
    other.write_text("no schema at all")
    hint = f'<edXML xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:x {other.as_uri()}" '
    assert errors(changed(LETTER, *SPOILT["no subject"]).replace("<edXML ", hint, 1))
