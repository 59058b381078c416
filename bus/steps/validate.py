"""Validate: the body is valid against an XML Schema of the library; its attached files are what they claim to be.

Every error is reported at once: XPath, line, what was expected. With ``files`` each attachment of an edXML document must have a name
and valid base64; a schema that types attachments as plain strings plus this check is thirty times faster than ``xs:base64Binary``.

In ``gate`` it refuses at the door; in ``steps`` it ends the delivery with a negative receipt. Raises Rejected ``schema-invalid`` (5.6.3).
"""

from pydantic import Field

from bus import edxml
from bus.exchange import Exchange, Step
from bus.options import Model, SchemaFile
from bus.site import Site


class Options(Model):
    """Against what, and how far."""

    schema_file: SchemaFile = Field(alias="schema", description="XML Schema, as a path under schemas/")
    files: bool = Field(False, description="also check each attachment of an edXML document")


def build(options: Options, site: Site) -> Step:
    """The step for one place in routes.yaml."""
    library, schema = site.library, options.schema_file
    note = f"validate schemas/{schema} sha256:{library.digest(schema)}"

    def validate(exchange: Exchange) -> Exchange:
        tree = exchange.message.tree
        library.validate(schema, tree)
        if options.files:
            edxml.check_files(tree, schema)
        return exchange.with_note(note)

    return validate
