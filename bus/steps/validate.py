"""Validate: the body is valid against an XML Schema of the library; its attached files are what they claim to be.

Every error is reported at once: XPath, line, what was expected. With ``files`` each attachment of an edXML document must have a name
and valid base64; a schema that types attachments as plain strings plus this check is thirty times faster than ``xs:base64Binary``.

The documents of the standard name elements in several orders, and a schema knows one. With ``normalised-by``, a stylesheet that puts
an edXML message into the schema's order, a message that is invalid *only* for its order is valid; its octets stay as they are.

In ``gate`` it refuses at the door; in ``steps`` it ends the delivery with a negative receipt. Raises Rejected ``schema-invalid`` (5.6.3).
"""

import copy
from collections import Counter

from lxml import etree
from pydantic import Field

from bus import edxml
from bus.errors import Rejected
from bus.exchange import Exchange, Step
from bus.options import Model, SchemaFile, Stylesheet
from bus.schemas import Library
from bus.site import Site

#: Elements, and characters beside the files, of a document that is put in order: a stylesheet takes fifty times as long as a schema.
MOST_ELEMENTS, MOST_CHARACTERS = 20_000, 2_000_000

#: What it rejects is what the sender sent, as long as no step of ours has changed it.
CHECKS = True


class Options(Model):
    """Against what, and how far."""

    schema_file: SchemaFile = Field(alias="schema", description="XML Schema, as a path under schemas/")
    normalised_by: Stylesheet | None = Field(None, alias="normalised-by", description="stylesheet that orders elements as the schema does")
    files: bool = Field(False, description="also check each attachment of an edXML document")


def build(options: Options, site: Site) -> Step:
    """The step for one place in routes.yaml."""
    library, schema = site.library, options.schema_file
    note = f"validate schemas/{schema} sha256:{library.digest(schema)}"

    def validate(exchange: Exchange) -> Exchange:
        message = exchange.message
        tree = message.outline
        _validate(library, schema, options.normalised_by, tree)
        if options.files:
            edxml.check_files(tree, schema, message.hollow)
        return exchange.with_note(note)

    return validate


def _validate(library: Library, schema: str, normalised_by: str | None, tree: etree._Element) -> None:
    try:
        library.validate(schema, tree)
    except Rejected as as_written:
        if normalised_by is None or _too_large(tree):
            raise
        in_order = library.stylesheet(normalised_by)(copy.deepcopy(tree)).getroot()
        lost, added = _content(tree) - _content(in_order), _content(in_order) - _content(tree)
        if lost:
            # It may mend values and leave out what it does not know; a gate that let that pass would check nothing.
            raise
        _take_out(in_order, added)
        try:
            library.validate(schema, in_order)
        except Rejected as as_ordered:
            # The same place either way: then the order was not the matter, and the message as written has line numbers.
            raise (as_written if as_ordered.at in _places(as_written) else as_ordered) from None


def _too_large(tree: etree._Element) -> bool:
    lengths = [len(element.text or "") for element in tree.iter()]
    return len(lengths) > MOST_ELEMENTS or sum(lengths) > MOST_CHARACTERS


def _content(tree: etree._Element) -> Counter[tuple[str, str]]:
    """What the message says, in no order: each element that has text, by name."""
    return Counter(said for said in map(_said, tree.iter(etree.Element)) if said[1])


def _said(element: etree._Element) -> tuple[str, str]:
    return etree.QName(element).localname, (element.text or "").strip()


def _take_out(tree: etree._Element, added: Counter[tuple[str, str]]) -> None:
    """Remove what the stylesheet made up, and what is then empty: a default must not stand in for what is mandatory."""
    for element in list(tree.iter(etree.Element)):
        if added[_said(element)] > 0:
            added[_said(element)] -= 1
            empty = element
            while (parent := empty.getparent()) is not None and not len(empty):
                parent.remove(empty)
                empty = parent


def _places(error: Rejected) -> set[str]:
    return {str(phrase.values.get("path")) for phrase in error.values["errors"]}  # type: ignore[attr-defined]
