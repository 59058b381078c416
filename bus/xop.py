"""XOP and SOAP with Attachments: bring what travelled beside an envelope back into its tree.

``inline`` puts each XOP part where the envelope refers to it, as base64 text. A WS-Security signature over an MTOM message is made over
this inlined form, so it must be done before anything is verified. ``outline`` is the way back for a message that we send. The parts of
SOAP with Attachments are signed beside an envelope that refers to them: they are only told, and ``attach`` puts them in afterwards.

Promise: every part is used exactly once, or the message is refused; nothing attached is dropped, and one part referred to a thousand
times cannot fill the memory.

Raises Rejected ``mime-invalid``.

Standards: XOP 1.0 (section 3.2), SOAP MTOM 1.0, SOAP Messages with Attachments (W3C note), WS-I Attachments Profile 1.0 (4.4, swaRef).
"""

from collections.abc import Iterator, Mapping
from urllib.parse import unquote

import pybase64
from lxml import etree

from bus import lexical
from bus.errors import Rejected
from bus.hollow import SHORTEST, Hollow
from bus.octets import Encoded, Octets

NAMESPACE = "http://www.w3.org/2004/08/xop/include"
_INCLUDE = f"{{{NAMESPACE}}}Include"
_CID = "cid:"


def inline(
    root: etree._Element, parameters: etree._Element | None, parts: Mapping[str, memoryview], hollow: Hollow
) -> dict[str, etree._Element]:
    """Resolve every XOP reference in place; returns the elements that refer to a part by SOAP with Attachments (href or swaRef), by name.

    Of a large part only a stand-in of ``hollow`` is put there.

    ``xop:Include`` may stand anywhere. The other style is looked for only in the children of ``parameters``, the Body's own
    element: edXML has ``cid:`` texts of its own further down.
    """
    waiting = dict(parts)
    for include in list(root.iter(_INCLUDE)):
        parent = include.getparent()
        if parent is None or len(parent) != 1 or lexical.trimmed(parent.text or "") or lexical.trimmed(include.tail or ""):
            raise _invalid("an xop:Include is not the only content of its element")
        data = _take(waiting, include.get("href", ""))
        parent.remove(include)
        parent.text = _base64(data, hollow)
    attached: dict[str, etree._Element] = {}
    for element, reference in _swa(parameters):
        if _name(reference) in parts:
            _take(waiting, reference)
            attached[_name(reference)] = element
    if waiting:
        raise _invalid(f"nothing refers to the part <{next(iter(waiting))}>")
    return attached


def attach(element: etree._Element, data: memoryview, hollow: Hollow) -> None:
    """Put a part in the place of ``element``'s reference to it, as ``inline`` does with XOP's."""
    element.attrib.pop("href", "")
    element.text = _base64(data, hollow)


def outline(envelope: Octets, name: str) -> Octets:
    """The envelope with its one ``Encoded`` piece, the base64 of the part ``name``, replaced by a reference to it."""
    return envelope.with_encoded(f'<xop:Include xmlns:xop="{NAMESPACE}" href="{_CID}{name}"/>'.encode())


def _swa(parameters: etree._Element | None) -> Iterator[tuple[etree._Element, str]]:
    for element in parameters if parameters is not None else ():
        reference = element.get("href", lexical.trimmed(element.text or ""))
        if len(element) == 0 and _is_cid(reference):
            yield element, reference


def _take(waiting: dict[str, memoryview], href: str) -> memoryview:
    if not _is_cid(href):
        raise _invalid("an xop:Include has no 'cid:' reference")
    name = _name(href)
    if name not in waiting:
        raise _invalid(f"the part <{name}> is missing, or referred to twice")
    return waiting.pop(name)


def _is_cid(reference: str) -> bool:
    """Whether it is a cid URL (RFC 2392); a scheme has no case (RFC 3986, 3.1), what follows it has."""
    return reference[: len(_CID)].lower() == _CID


def _name(reference: str) -> str:
    return unquote(reference[len(_CID) :])


def _base64(data: memoryview, hollow: Hollow) -> str:
    return (pybase64.b64encode(data) if len(data) < SHORTEST else hollow.stand_in(Encoded(data))).decode("ascii")


def _invalid(detail: str) -> Rejected:
    return Rejected("mime-invalid", detail=detail)
