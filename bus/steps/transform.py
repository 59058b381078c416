"""Transform: the body through an XSLT 1.0 stylesheet of the library (EIP *Message Translator*).

The result is written as UTF-8 with an XML declaration, whatever ``xsl:output`` says. The stylesheet can reach no file and no network,
and is given the body only: same octets in, same octets out. With ``schema`` the result must be valid, or it does not leave. Of a body
over 1 MiB it sees the outline (``bus.hollow``): it may move, copy or leave out a large file's base64, and see how it begins, but not its
length.

A signature over the body does not survive: put ``sign`` after it. Raises Rejected ``transform-failed`` (5.6.8; an ``xsl:message`` with
``terminate`` is the detail) and ``schema-invalid`` (5.6.3). XSLT 1.0, EXSLT common functions.
"""

from lxml import etree
from pydantic import Field

from bus.errors import Rejected
from bus.exchange import Exchange, Step
from bus.message import Message
from bus.options import Model, SchemaFile, Stylesheet
from bus.site import Site

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'


class Options(Model):
    """With what, and what must come out."""

    stylesheet: Stylesheet = Field(description="XSLT 1.0 stylesheet, as a path under schemas/")
    result_schema: SchemaFile | None = Field(None, alias="schema", description="XML Schema that the result must be valid against")


def build(options: Options, site: Site) -> Step:
    """The step for one place in routes.yaml."""
    library, name, schema = site.library, options.stylesheet, options.result_schema
    note = f"transform schemas/{name} sha256:{library.digest(name)}"

    def transform(exchange: Exchange) -> Exchange:
        result = _apply(library.stylesheet(name), name, exchange.message)
        if schema:
            library.validate(schema, result)
        body = _DECLARATION + etree.tostring(result, encoding="UTF-8", xml_declaration=False)
        return exchange.with_body(exchange.message.hollow.parsed(body), note)

    return transform


def _apply(stylesheet: etree.XSLT, name: str, message: Message) -> etree._Element:
    try:
        # Not the message's own tree, which is read-only: xsl:strip-space takes the white space out of the tree it is given.
        result = stylesheet(message.own_outline()).getroot()
    except etree.XSLTApplyError as error:
        raise Rejected("transform-failed", stylesheet=name, detail=str(error)) from None
    if result is None:
        raise Rejected("transform-failed", stylesheet=name, detail="no root element")
    return result
