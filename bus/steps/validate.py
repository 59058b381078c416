"""Validate: the body is valid against an XML Schema of the library; its attached files are what they claim to be.

Every error is reported at once: XPath, line, what was expected. With ``files`` each attachment of an edXML document must have a name
and valid base64; a schema that types attachments as plain strings plus this check is thirty times faster than ``xs:base64Binary``.

The documents of the standard name elements in several orders, and a schema knows one. With ``normalised-by``, a stylesheet that puts
an edXML message into the schema's order, a message that is invalid *only* for its order is let pass **in that order**: the octets that were
validated are the ones that go on, and the sender's own are kept beside them as they came (``edxml.ordering`` says what may differ).

In ``gate`` it refuses at the door; in ``steps`` it ends the delivery with a negative receipt. Raises Rejected ``schema-invalid`` (5.6.3).
"""

from lxml import etree
from pydantic import Field

from bus import edxml, mending
from bus.errors import Rejected
from bus.exchange import Exchange, Step
from bus.message import Message
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
    library, schema, stylesheet = site.library, options.schema_file, options.normalised_by
    note = f"validate schemas/{schema} sha256:{library.digest(schema)}"
    reordered = f"transform schemas/{stylesheet} sha256:{library.digest(stylesheet)}" if stylesheet else ""

    def validate(exchange: Exchange) -> Exchange:
        emptied = exchange.message.emptied
        mended = mending.mended(emptied)
        if mended is not emptied:
            # Its tree was read past what is no XML in it; what goes on has to be what was validated.
            exchange = exchange.with_body(exchange.message.hollow.filled(mended), "mended")
        try:
            library.validate(schema, exchange.message.outline)
        except Rejected as as_written:
            if stylesheet is None or _too_large(exchange.message.outline):
                raise
            message = _in_order(library, schema, stylesheet, exchange.message, as_written)
            exchange = exchange.with_body(message.body, reordered)
        if options.files:
            edxml.check_files(exchange.message.outline, schema, exchange.message.hollow)
        return exchange.with_note(note)

    return validate


def _in_order(library: Library, schema: str, stylesheet: str, message: Message, as_written: Rejected) -> Message:
    """The message in the schema's order, valid as it then is. Raises ``as_written`` where it was not the order alone."""
    ordered = library.stylesheet(stylesheet)(message.own_outline()).getroot()
    if ordered is None or not edxml.said_the_same(message.outline, ordered, library.declared(schema)):
        # A stylesheet may mend values and leave out what it does not know; a gate that let that pass would check nothing.
        raise as_written
    octets = b'<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(ordered, encoding="UTF-8", xml_declaration=False)
    mended = message.with_body(message.hollow.parsed(octets))
    try:
        library.validate(schema, mended.outline)
    except Rejected as as_ordered:
        # The same place either way: then the order was not the matter, and the message as written has line numbers.
        raise (as_written if as_ordered.at in _places(as_written) else as_ordered) from None
    return mended


def _too_large(tree: etree._Element) -> bool:
    lengths = [len(element.text or "") for element in tree.iter()]
    return len(lengths) > MOST_ELEMENTS or sum(lengths) > MOST_CHARACTERS


def _places(error: Rejected) -> set[str]:
    return {str(phrase.values.get("path")) for phrase in error.values["errors"]}  # type: ignore[attr-defined]
