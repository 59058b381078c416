"""Whom a SOAP header block is for: its ``actor`` (1.1) or ``role`` (1.2), an attribute in the Envelope's own namespace.

A block is ours when it names nobody, or whoever reads it next, or the ultimate receiver: we are both. A block for anybody else is neither
understood nor believed here; it may be there, and be signed. The attribute of the other SOAP version means nothing. Raises nothing.

Standards: SOAP 1.1 section 4.2.2; SOAP 1.2 part 1 sections 2.2 and 5.2.2 (compared character by character); WS-Security 1.1 section 5: of
several Security headers, no two may be for the same role.
"""

from collections.abc import Iterator, Mapping

from lxml import etree

from bus import lexical

SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
_ATTRIBUTES: Mapping[str, str] = {SOAP_11: f"{{{SOAP_11}}}actor", SOAP_12: f"{{{SOAP_12}}}role"}
#: Of both versions at once: a stack that writes the other version's name for "whoever is next" means us, too.
_OURS = frozenset({"", "http://schemas.xmlsoap.org/soap/actor/next", f"{SOAP_12}/role/next", f"{SOAP_12}/role/ultimateReceiver"})


def is_ours(block: etree._Element, soap: str) -> bool:
    """Whether a header block is for us. ``soap``: the Envelope's namespace."""
    attribute = _ATTRIBUTES.get(soap)
    return attribute is None or lexical.trimmed(block.get(attribute) or "") in _OURS


def ours(header: etree._Element | None, tag: str) -> Iterator[etree._Element]:
    """The blocks of that tag, in Clark notation, that are for us."""
    if header is not None:
        soap = etree.QName(header).namespace or ""
        yield from (block for block in header.iterchildren(tag) if is_ours(block, soap))
