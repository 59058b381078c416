"""The payloads of ``urn:govbus:exchange:v1`` (schemas/exchange/v1/exchange.xsd), both directions and both sides.

A server reads requests with ``fields`` and writes replies; a client writes requests and reads replies. Replies and requests are byte
templates. Reading is strict about names and number, so that nothing a caller sent is silently left aside, and forgiving about order.

Raises Rejected ``soap-invalid`` for a payload that does not fit the contract, with the XPath of the misfit.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from lxml import etree

from bus import lexical, xmlio
from bus.endpoint import Fetched, Pending
from bus.errors import Rejected
from bus.hollow import Hollow
from bus.octets import Body, Encoded, Octets, collected, decoded, whole
from bus.organisations import Organisation
from bus.soap import text

NAMESPACE = "urn:govbus:exchange:v1"
#: The one namespace declaration that our payloads are written with, on their outermost element.
DECLARATION = f'xmlns:x="{NAMESPACE}"'.encode()
RECEIPT = "{urn:govbus:receipt:v1}Receipt"

#: Operation -> its parameters -> whether they must be there. The Body's element is named like the operation.
OPERATIONS: Mapping[str, Mapping[str, bool]] = {
    "SendDocument": {"MessageId": False, "Document": False, "Content": False},
    "GetPendingDocumentIds": {"OrganId": True, "Max": False},
    "GetDocument": {"MessageId": True},
    "ConfirmReceived": {"MessageId": True, "Status": True, "Reason": False},
    "GetReceipts": {"MessageId": True},
    "GetOrganizations": {"ChangedSince": False},
}


def action(operation: str) -> str:
    """The SOAP action of an operation, as in the WSDL."""
    return f"{NAMESPACE}/{operation}"


# --- requests, read by a server ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameters:
    """One request: its operation and its parameters' elements by name; ``hollow``: what of them stands elsewhere."""

    operation: str
    elements: Mapping[str, etree._Element]
    hollow: Hollow

    def text(self, name: str) -> str:
        """A parameter's text, trimmed; "" when it is absent. Raises Rejected where an element stands in it."""
        element = self.elements.get(name)
        if element is None:
            return ""
        if len(element):
            raise misfit(f"'{name}' is a text and holds an element", self.at(name))
        return lexical.trimmed(whole(self.hollow.text(element)).decode())

    def required(self, name: str) -> str:
        """A parameter's text that must hold something: an identifier, or a word."""
        try:
            return lexical.identifier(self.text(name))
        except ValueError as error:
            raise misfit(f"'{name}': {error}", self.at(name)) from None

    def at(self, name: str) -> str:
        """The XPath of a parameter."""
        return f"/Envelope/Body/{self.operation}/{name}"


def parameters(payload: etree._Element, hollow: Hollow) -> Parameters:
    """The request in a SOAP Body's one element."""
    name = etree.QName(payload)
    known = OPERATIONS.get(name.localname) if name.namespace == NAMESPACE else None
    if known is None:
        operations = ", ".join(OPERATIONS)
        raise misfit(f"'{payload.tag}' is none of the operations of {NAMESPACE}: {operations}", f"/Envelope/Body/{name.localname}")
    found: dict[str, etree._Element] = {}
    for child in payload:
        child_name = etree.QName(child)
        if child_name.namespace != NAMESPACE or child_name.localname not in known or child_name.localname in found:
            reason = "is repeated" if child_name.localname in found else f"is not a parameter (all are in the namespace {NAMESPACE})"
            raise misfit(f"'{child.tag}' {reason}", f"/Envelope/Body/{name.localname}/{child_name.localname}")
        found[child_name.localname] = child
    for parameter, needed in known.items():
        if needed and parameter not in found:
            raise misfit(f"'{parameter}' is missing", f"/Envelope/Body/{name.localname}")
    return Parameters(name.localname, found, hollow)


def document_element(element: etree._Element) -> etree._Element:
    """The one element inside ``Document``."""
    if len(element) != 1 or lexical.trimmed(element.text or "") or lexical.trimmed(element[0].tail or ""):
        raise misfit("'Document' must hold exactly one element", "/Envelope/Body/SendDocument/Document")
    return element[0]


def octets(element: etree._Element, hollow: Hollow, at: str = "/Envelope/Body/SendDocument/Content") -> Body:
    """The octets of an ``xs:base64Binary`` element; white space within it is allowed."""
    if len(element):
        raise misfit("base64 text holds an element", at)
    part = hollow.attached(element)
    if part is not None:
        return part
    try:
        return collected(decoded(hollow.text(element)))
    except ValueError:
        raise misfit("the base64 is damaged", at) from None


def whole_number(request: Parameters, name: str, default: int, most: int) -> int:
    """An ``xs:positiveInteger``, at most ``most``: asking for more is not an error, one gets the most there is."""
    if name not in request.elements:
        return default
    value = request.text(name)
    try:
        number = lexical.integer(value)
    except ValueError:
        number = 0
    if number < 1:
        raise misfit(f"'{value[:80]}' is not a positive whole number", request.at(name))
    return min(number, most)


def day(request: Parameters, name: str) -> date | None:
    """An ``xs:date``; a zone is read over, as days of the code book have none. None when it is absent."""
    try:
        return lexical.day(request.text(name)) if name in request.elements else None
    except ValueError as error:
        raise misfit(str(error), request.at(name)) from None


# --- replies, written by a server -------------------------------------------------------------------------------------


def receipts_reply(operation: str, receipts: Iterable[bytes]) -> bytes:
    """The reply that holds signed receipts: one, or for GetReceipts any number."""
    return _wrapped(f"{operation}Response", b"".join(_without_declaration(receipt) for receipt in receipts))


def pending_reply(entries: Iterable[Pending]) -> bytes:
    """The mailbox listing."""
    rows = (
        {
            "MessageId": entry.message_id,
            "DocumentId": entry.document_id,
            "FromOrganId": entry.from_organ,
            "Subject": entry.subject,
            "Kind": entry.kind,
            "ReceivedAt": _time(entry.received_at),
            "Size": str(entry.size),
        }
        for entry in entries
    )
    return _wrapped("GetPendingDocumentIdsResponse", "".join(_record("Id", row) for row in rows).encode())


def document_reply(content: Body, digest: str) -> Octets:
    """A mailbox message: its base64, as an ``Encoded`` piece, and its digest."""
    before, after = _around("GetDocumentResponse", f"<x:Content>\0</x:Content><x:Sha256>{digest}</x:Sha256>")
    return Octets(before, Encoded(content), after)


def organisations_reply(organisations: Iterable[Organisation]) -> bytes:
    """The code book; what an organisation does not have is left out."""
    rows = (
        {
            "OrganId": organisation.code,
            "OldOrganId": organisation.old_code,
            "Name": organisation.name,
            "ValidFrom": organisation.valid_from.isoformat() if organisation.valid_from else "",
            "ValidTo": organisation.valid_to.isoformat() if organisation.valid_to else "",
            "Successor": organisation.successor,
        }
        for organisation in organisations
    )
    present = ({name: value for name, value in row.items() if value or name == "Name"} for row in rows)
    return _wrapped("GetOrganizationsResponse", "".join(_record("Organization", row) for row in present).encode())


# --- requests, written by a client ------------------------------------------------------------------------------------


def request(operation: str, **values: str) -> bytes:
    """A request with text parameters; those that are "" are left out."""
    return _wrapped(operation, "".join(_element(name, value) for name, value in values.items() if value).encode())


def send_document(message_id: str) -> tuple[bytes, bytes]:
    """What stands before and after the edXML element in a SendDocument request."""
    identity = _element("MessageId", message_id) if message_id else ""
    return _around("SendDocument", f"{identity}<x:Document>\0</x:Document>")


def send_content(message_id: str, content: Body) -> Octets:
    """A SendDocument request with the base64 of a file, as an ``Encoded`` piece."""
    identity = _element("MessageId", message_id) if message_id else ""
    before, after = _around("SendDocument", f"{identity}<x:Content>\0</x:Content>")
    return Octets(before, Encoded(content), after)


# --- replies, read by a client ----------------------------------------------------------------------------------------


def receipts(payload: etree._Element) -> list[bytes]:
    """The signed receipts in a reply, each in its canonical form, which is what its signature is made over."""
    return [xmlio.canonicalize(receipt) for receipt in payload.iterchildren(RECEIPT)]


def only_receipt(payload: etree._Element) -> etree._Element:
    """The one signed receipt in a reply, as a document of its own. Raises ValueError where there is not exactly one."""
    (receipt,) = payload.iterchildren(RECEIPT)
    return copy.deepcopy(receipt)


def pending(payload: etree._Element) -> list[Pending]:
    """The mailbox listing in a reply."""
    rows = ({etree.QName(field).localname: field.text or "" for field in entry} for entry in payload)
    return [
        Pending(
            message_id=lexical.collapsed(row["MessageId"]),
            document_id=row["DocumentId"],
            from_organ=row["FromOrganId"],
            subject=row["Subject"],
            kind=row["Kind"],
            received_at=lexical.instant(row["ReceivedAt"]),
            size=lexical.integer(row["Size"]),
        )
        for row in rows
    ]


def fetched(payload: etree._Element, hollow: Hollow, message_id: str, kind: str = "") -> Fetched:
    """The mailbox message in a reply; the caller compares the digest with the octets."""
    content, digest = payload[0], payload[1].text or ""
    return Fetched(message_id, kind, octets(content, hollow, "/Envelope/Body/GetDocumentResponse/Content"), digest)


def organisations(payload: etree._Element) -> list[Organisation]:
    """The code book in a reply."""
    rows = ({etree.QName(field).localname: field.text or "" for field in entry} for entry in payload)
    return [
        Organisation(
            code=row["OrganId"],
            old_code=row.get("OldOrganId", ""),
            name=row["Name"],
            valid_from=_day(row.get("ValidFrom", "")),
            valid_to=_day(row.get("ValidTo", "")),
            successor=row.get("Successor", ""),
        )
        for row in rows
    ]


# --- small things -----------------------------------------------------------------------------------------------------


def misfit(detail: str, at: str) -> Rejected:
    """The refusal of a payload that does not fit the contract."""
    return Rejected("soap-invalid", detail=f"{detail} ({at})", at=at)


def _wrapped(name: str, content: bytes) -> bytes:
    tag = name.encode()
    return b"".join((b"<x:", tag, b" ", DECLARATION, b">", content, b"</x:", tag, b">"))


def _around(name: str, content: str) -> tuple[bytes, bytes]:
    """What stands before and after the NUL in ``content``, wrapped."""
    before, _, after = _wrapped(name, content.encode()).partition(b"\0")
    return before, after


def _element(name: str, value: str) -> str:
    return f"<x:{name}>{text(value)}</x:{name}>"


def _record(name: str, row: Mapping[str, str]) -> str:
    return f"<x:{name}>{''.join(_element(field, value) for field, value in row.items())}</x:{name}>"


def _without_declaration(document: bytes) -> bytes:
    return document.partition(b"?>")[2].lstrip() if document.startswith(b"<?xml") else document


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _day(value: str) -> date | None:
    return lexical.day(value) if value else None
