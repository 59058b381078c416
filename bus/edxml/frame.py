"""The outer frame of an edXML message: the few elements that everything else starts from.

Tolerant as counterparties need it (QCVN 102:2016/BTTTT as it is really spoken): any or no prefix, any order, other spellings of
some names, the envelope as the root. (What is broken in the octets themselves, ``mending`` reads past.) Not tolerant where two
readers could see two different messages: a second header or a second sender is refused.

Raises Rejected ``edxml-invalid``, with what is wrong and where.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

from lxml import etree

from bus import lexical
from bus.errors import Rejected
from bus.memo import remembered

#: The one namespace of the standard, bound by writers twice: as default and as ``edXML:``.
NAMESPACE = "http://www.mic.gov.vn/TBT/QCVN_102_2016"
_QUALIFIED = f"{{{NAMESPACE}}}"
#: Files of one document, attached or named. The largest seen in the field carried 40; whoever pairs the two compares each with each.
MOST_FILES = 1_000
#: Receivers of one document: ministries, provinces and their units come to some hundreds. A router is asked once for each.
MOST_RECEIVERS = 500

#: Characters of a name that is remembered: a sender may write names of megabytes.
MOST_NAME = 256

#: Spellings met in the field -> the standard's own (whose ``Bussiness`` is no slip of ours).
SPELLINGS = {
    "EdXMLEnvelope": "edXMLEnvelope",
    "Business": "Bussiness",
    "BusinessDocType": "BussinessDocType",
    "BusinessDocReason": "BussinessDocReason",
    "BusinessDocumentInfo": "BussinessDocumentInfo",
    "OrganInCharge": "OrganizationInCharge",
    "DigitalSignature": "Signature",
}


def local(element: etree._Element) -> str:
    """The element's standard name, or "" for one that is not of the standard's namespace."""
    # Comments and processing instructions have no name.
    return _local(element.tag) if isinstance(element.tag, str) else ""


# A message has some sixty elements in its header, of thirty names.
@remembered(512, MOST_NAME)
def _local(tag: str) -> str:
    return standard_name(tag.removeprefix(_QUALIFIED)) if tag.startswith(_QUALIFIED) else ""


def standard_name(name: str) -> str:
    """The standard's spelling of a local name."""
    return SPELLINGS.get(name, name)


@cache
def _written(name: str) -> tuple[str, ...]:
    """The tags that have this standard name: libxml2 then looks for them, which no loop of ours does as fast."""
    return tuple(_QUALIFIED + spelling for spelling in (name, *SPELLINGS) if standard_name(spelling) == name)


def children(element: etree._Element | None, name: str) -> Iterator[etree._Element]:
    """The element's children of that standard name, in any spelling."""
    return iter(()) if element is None else element.iterchildren(*_written(name))


def child(element: etree._Element | None, name: str) -> etree._Element | None:
    """The first child of that name, or None."""
    return next(children(element, name), None)


def text(element: etree._Element | None) -> str:
    """The element's text, trimmed, or ""."""
    return lexical.trimmed(element.text or "") if element is not None else ""


@dataclass(frozen=True, slots=True)
class Frame:
    """The parts of a message. ``envelope``, ``header`` and ``message_header`` are always there, the others may be None."""

    root: etree._Element
    envelope: etree._Element
    header: etree._Element
    message_header: etree._Element
    trace_list: etree._Element | None
    manifest: etree._Element | None
    attachments: etree._Element | None
    is_status: bool


def frame(tree: etree._Element) -> Frame:
    """Find the parts of a message; Rejected ``edxml-invalid`` says precisely what is missing or doubled."""
    envelope = _envelope(tree)
    header = _only(envelope, "edXMLHeader", "edXMLEnvelope")
    message_header = _only(header, "MessageHeader", "edXMLHeader")
    _refuse_two_senders(message_header)
    receivers = (code for to in children(message_header, "To") for code in children(to, "OrganId"))
    _refuse_too_many(receivers, MOST_RECEIVERS, "receivers")
    manifest = child(child(envelope, "edXMLBody"), "edXMLManifest")
    attachments = next((found for parent in (tree, envelope) for found in children(parent, "AttachmentEncoded")), None)
    _refuse_too_many(children(attachments, "Attachment"), MOST_FILES, "Attachment elements")
    _refuse_too_many(children(manifest, "Reference"), MOST_FILES, "Reference elements")
    return Frame(
        root=tree,
        envelope=envelope,
        header=header,
        message_header=message_header,
        trace_list=child(header, "TraceHeaderList"),
        manifest=manifest,
        attachments=attachments,
        is_status=_is_status(message_header),
    )


def _envelope(tree: etree._Element) -> etree._Element:
    name = local(tree)
    if name == "edXMLEnvelope":
        return tree
    if name == "edXML":
        return _only(tree, "edXMLEnvelope", "edXML")
    written = etree.QName(tree)
    if written.localname.lower() in {"edxml", "edxmlenvelope"}:
        raise invalid(f"the root element's namespace is '{written.namespace or ''}' instead of '{NAMESPACE}'")
    raise invalid(f"the root element is '{written.localname}' instead of 'edXML'")


def _only(parent: etree._Element, name: str, of: str) -> etree._Element:
    """The one child of that name: none is not edXML, and with two, different readers would read different messages."""
    found = list(children(parent, name))
    if len(found) != 1:
        raise invalid(f"{of} has {len(found) or 'no'} {name}" + (", it must have exactly one" if found else ""), found)
    return found[0]


def _refuse_two_senders(message_header: etree._Element) -> None:
    """Who sends is what authorisation rests on: it must not depend on which of two elements one looks at."""
    senders = list(children(message_header, "From"))
    codes = [code for sender in senders for code in children(sender, "OrganId")]
    if len(senders) > 1 or len(codes) > 1:
        raise invalid(f"MessageHeader names {max(len(senders), len(codes))} senders, it must name one", senders)


def _refuse_too_many(elements: Iterator[etree._Element], most: int, name: str) -> None:
    if next(islice(elements, most, None), None) is not None:
        raise invalid(f"there are more than {most} {name}")


def _is_status(message_header: etree._Element) -> bool:
    if child(message_header, "To") is not None:
        return False
    if child(message_header, "StatusCode") is None:
        raise invalid("MessageHeader has neither To (a document) nor StatusCode (a status)", [message_header])
    return True


def invalid(detail: str, at: list[etree._Element] | None = None) -> Rejected:
    """The refusal, with the line of the last of the elements."""
    line = at[-1].sourceline if at else None
    return Rejected("edxml-invalid", detail=detail, at=f"line {line}" if line else "")
