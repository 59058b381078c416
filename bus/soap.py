"""SOAP 1.1 and 1.2: envelopes and faults, read from parsed trees and written as byte templates; and the WS-Addressing of a reply.

Promise: what ``read`` returns has exactly one Body with exactly one element in it, in a version that agrees with its media type, with
everything that travelled beside it brought into the tree (``xop``), or, by SOAP with Attachments, waiting for ``attach``. It parses once
and never writes a tree back.

Raises Rejected: ``soap-invalid``, ``soap-version``, ``soap-not-understood``, ``mime-invalid``, and what ``xmlio.parse`` raises.
``raise_fault`` turns a partner's fault into Rejected ``partner-refused`` or Deferred ``partner-postponed``.

Standards: SOAP 1.1 (W3C note, 4 and 6), SOAP 1.2 part 1 (5) and part 2 (7), WS-I Basic Profile 1.1, WS-Addressing 1.0 (core, SOAP binding).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

from lxml import etree

from bus import lexical, mime, roles, xmlio, xop
from bus.errors import BusError, Deferred, Quoted, Rejected
from bus.hollow import Hollow
from bus.mime import Part
from bus.octets import SMALL, Body, around, whole

FAULT_NAMESPACE = "urn:govbus:fault:v1"
ADDRESSING = "http://www.w3.org/2005/08/addressing"
_ANONYMOUS = {f"{ADDRESSING}/anonymous", f"{ADDRESSING}/none", ""}
_FAULT_ACTION = f"{ADDRESSING}/soap/fault"
#: Addressing headers that may be marked mustUnderstand: we answer on the same connection and repeat the id, which is all they ask.
_ADDRESSING_HEADERS = frozenset(
    f"{{{ADDRESSING}}}{name}" for name in ("Action", "To", "MessageID", "ReplyTo", "FaultTo", "From", "RelatesTo")
)
#: HTTP charset parameters we read; the XML declaration decides, and must not be contradicted by something we would misread.
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii", "utf-16", "utf-16le", "utf-16be"})
_XOP = "application/xop+xml"
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CODE = re.compile(r"[45]\.\d{1,3}\.\d{1,3}")


@dataclass(frozen=True, slots=True)
class Version:
    """What differs between the two versions. ``client`` and ``server``: fault codes for their mistake and for ours."""

    name: str
    namespace: str
    media_type: str
    client: str
    server: str


SOAP_11 = Version("1.1", "http://schemas.xmlsoap.org/soap/envelope/", "text/xml", "Client", "Server")
SOAP_12 = Version("1.2", "http://www.w3.org/2003/05/soap-envelope", "application/soap+xml", "Sender", "Receiver")
VERSIONS = {version.namespace: version for version in (SOAP_11, SOAP_12)}
_BY_MEDIA_TYPE = {version.media_type: version for version in (SOAP_11, SOAP_12)}
#: Catalogue keys whose fault code SOAP itself prescribes; for all others the family of the code decides.
#: Faults that refuse the call, not what it carries: WS-Security 1.1.1, 12. Each try is signed afresh, by then with another key or clock.
_SECURITY_FAULTS = frozenset(
    {"FailedAuthentication", "FailedCheck", "InvalidSecurity", "InvalidSecurityToken", "MessageExpired", "SecurityTokenUnavailable"}
)
#: Ours for the same: the call's own timestamp or nonce.
_STALE = "5.7.9"
_PRESCRIBED = {"soap-not-understood": "MustUnderstand", "soap-version": "VersionMismatch"}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message as read.

    ``payload``    the Body's one element
    ``actions``    every action that the transport, the media type or WS-Addressing named
    ``addressed``  whether it had WS-Addressing headers; ``message_id`` and ``relates_to`` are its wsa:MessageID and RelatesTo, or ""
    ``optimised``  whether it came as an XOP package, so that its sender reads one too
    ``detached``   parts that came in by SOAP with Attachments, by Content-ID: a signature must cover each by itself
    ``places``     the elements that refer to them, in whose place ``attach`` puts them
    ``hollow``     what of large files stands elsewhere than in the tree
    """

    version: Version
    root: etree._Element
    header: etree._Element | None
    body: etree._Element
    payload: etree._Element
    actions: tuple[str, ...]
    addressed: bool
    message_id: str
    relates_to: str
    optimised: bool
    detached: Mapping[str, Part]
    places: Mapping[str, etree._Element]
    hollow: Hollow

    def attach(self) -> None:
        """Bring the ``detached`` parts into the tree. It changes what a signature covers, so that is verified before."""
        for name, element in self.places.items():
            xop.attach(element, self.detached[name].data, self.hollow)


def read(data: bytes, content_type: str, soap_action: str = "") -> Envelope:
    """Read a request or a reply, packaged or plain. ``soap_action``: the HTTP header SOAPAction, as it came."""
    media = mime.media_type(content_type)
    actions = [lexical.trimmed(soap_action).strip('"'), media.parameter("action")]
    parts: dict[str, memoryview] = {}
    types: Mapping[str, mime.MediaType] = {}
    hollow = Hollow()
    optimised = False
    if media.name == "multipart/related":
        package = mime.related(media, data)
        parts, types, data, media = dict(package.parts), package.media, bytes(package.root.data), package.root.media
        actions.append(media.parameter("action"))
        optimised = media.name == _XOP
    expected = _version_of(media)
    root = xmlio.parse(hollow.emptied(data) if len(data) > SMALL else data)
    version = _checked_version(root, expected)
    header, body = _sections(root, version)
    payload = _only_child(body)
    places = xop.inline(root, payload, parts, hollow)
    detached = {name: Part(types[name], name, parts[name]) for name in places}
    addressing = _addressing(header)
    actions.append(addressing.get("Action", ""))
    named = tuple(action for action in actions if action)
    message_id, relates_to = addressing.get("MessageID", ""), addressing.get("RelatesTo", "")
    return Envelope(
        version, root, header, body, payload, named, bool(addressing), message_id, relates_to, optimised, detached, places, hollow
    )


def opened(envelope: Envelope, root: etree._Element) -> Envelope:
    """The envelope with another tree, in which what was encrypted is not."""
    header, body = _sections(root, envelope.version)
    return replace(envelope, root=root, header=header, body=body, payload=_only_child(body))


def written(envelope: Envelope) -> bytes:
    """The envelope as XML again, for one that is no longer as it came: decrypted. In plain form, whatever it came in."""
    return whole(envelope.hollow.filled(etree.tostring(envelope.root, encoding="UTF-8")))


def guess_version(content_type: str) -> Version:
    """The version to answer in when the envelope itself could not be read."""
    return SOAP_12 if SOAP_12.media_type in content_type else SOAP_11


def check_action(envelope: Envelope, action: str, name: str) -> None:
    """Refuse a message whose transport says one action and whose Body says another (action spoofing)."""
    for given in envelope.actions:
        if given not in {action, name}:
            raise Rejected("soap-invalid", detail=f"the action '{given}' contradicts the Body's element '{name}'")


def check_understood(envelope: Envelope, understood: Collection[str]) -> None:
    """Refuse headers for us, marked mustUnderstand, that nobody here processes. ``understood``: names in Clark notation."""
    for header in envelope.header if envelope.header is not None else ():
        must = lexical.trimmed(header.get(f"{{{envelope.version.namespace}}}mustUnderstand", "0")) in {"1", "true"}
        if (
            must
            and roles.is_ours(header, envelope.version.namespace)
            and header.tag not in understood
            and header.tag not in _ADDRESSING_HEADERS
        ):
            raise Rejected("soap-not-understood", header=header.tag)


def envelope(version: Version, payload: Body, headers: bytes = b"") -> Body:
    """An envelope around a payload that is already XML."""
    prefix = f'<?xml version="1.0" encoding="UTF-8"?>\n<soap:Envelope xmlns:soap="{version.namespace}">'.encode()
    header = b"<soap:Header>%b</soap:Header>" % headers if headers else b""
    return around(b"%b%b<soap:Body>" % (prefix, header), payload, b"</soap:Body></soap:Envelope>")


def request_headers(to: str, action: str, message_id: str) -> bytes:
    """The WS-Addressing headers of a request whose reply comes back on the same connection."""
    return _addressing_headers({"To": to, "Action": action, "MessageID": message_id})


def reply_headers(request: Envelope | None, action: str = _FAULT_ACTION) -> bytes:
    """The WS-Addressing headers of the reply, where the request had such headers; the default action is a fault's."""
    if request is None or not request.addressed:
        return b""
    return _addressing_headers({"Action": action, "RelatesTo": request.message_id})


def _addressing_headers(values: Mapping[str, str]) -> bytes:
    return "".join(f'<wsa:{name} xmlns:wsa="{ADDRESSING}">{text(value)}</wsa:{name}>' for name, value in values.items() if value).encode()


def fault(version: Version, error: BusError, reference: str) -> bytes:
    """The Body's element for ``error``, in the prefix ``soap`` of our envelopes; ``reference`` is what an operator finds it by."""
    ours = isinstance(error, Deferred)
    code = _PRESCRIBED.get(error.key, version.server if ours else version.client)
    at = f"<f:At>{text(error.at)}</f:At>" if error.at else ""
    reasons = "".join(f'<f:Reason xml:lang="{language}">{text(reason)}</f:Reason>' for language, reason in error.reasons.items())
    detail = (
        f'<f:Fault xmlns:f="{FAULT_NAMESPACE}"><f:Code>{error.code}</f:Code>{reasons}{at}'
        f"<f:Reference>{text(reference)}</f:Reference></f:Fault>"
    )
    return _FAULTS[version.name](code, error, detail).encode()


def fault_status(version: Version, error: BusError) -> int:
    """The HTTP status of a fault: always 500 for SOAP 1.1; 400 for SOAP 1.2 when the sender must change something."""
    return 400 if version is SOAP_12 and isinstance(error, Rejected) else 500


def is_fault(reply: Envelope) -> bool:
    """Whether the payload is a SOAP fault; in either version's namespace, as node-soap mixes them."""
    name = etree.QName(reply.payload)
    return name.localname == "Fault" and name.namespace in VERSIONS


def raise_fault(reply: Envelope, target: str, retry_after: float | None = None) -> None:
    """Raise a partner's fault: Rejected when it is for good, Deferred when it is not. Does nothing for any other payload.

    Our own fault code decides where the partner is a bus too; else the SOAP code: Client or Sender is for good. That our call was not
    believed (a clock that is wrong, a certificate that has changed) is not for good: a message must not pay for it.
    """
    if not is_fault(reply):
        return
    code, reason, names = _fault_words(reply.payload)
    ours = _first(reply.payload, f"{{{FAULT_NAMESPACE}}}Code")
    reasons = {_language(said): f"{ours} {said.text}" for said in reply.payload.iter(f"{{{FAULT_NAMESPACE}}}Reason")}
    detail = Quoted(reasons) if ours and reasons else f"{ours or code}: {reason}"
    if ours == _STALE or (not ours and _SECURITY_FAULTS & names):
        raise Deferred("partner-security", target=target, detail=detail)
    transient = ours.startswith("4") if _CODE.fullmatch(ours) else code.partition(".")[0] in {"Server", "Receiver"}
    if transient:
        raise Deferred("partner-postponed", target=target, detail=detail, retry_after=retry_after)
    raise Rejected("partner-refused", target=target, detail=detail)


def text(value: str) -> str:
    """Character data, escaped as canonical form has it. What XML cannot hold becomes U+FFFD: an error message may quote anything."""
    return escape(_ILLEGAL.sub("\ufffd", value), {"\r": "&#xD;"})


# --- reading ----------------------------------------------------------------------------------------------------------


def _version_of(media: mime.MediaType) -> Version | None:
    """The version that the media type promises; None when an XOP root does not say."""
    if media.parameter("charset").lower() not in _CHARSETS:
        raise Rejected("soap-invalid", detail=f"the charset '{media.parameter('charset')}' is not accepted; send UTF-8")
    name = media.name
    if name == _XOP:
        name = mime.media_type(media.parameter("type")).name
        if not name:
            return None
    version = _BY_MEDIA_TYPE.get(name)
    if version is None:
        raise Rejected("soap-invalid", detail=f"the media type '{name}' is neither text/xml (SOAP 1.1) nor application/soap+xml (1.2)")
    return version


def _checked_version(root: etree._Element, expected: Version | None) -> Version:
    name = etree.QName(root)
    if name.localname != "Envelope":
        raise Rejected("soap-invalid", detail=f"the root element is '{root.tag}', not a SOAP Envelope", at="/")
    version = VERSIONS.get(name.namespace or "")
    if version is None:
        raise Rejected("soap-version", namespace=name.namespace or "")
    if expected is not None and version is not expected:
        detail = f"the media type says SOAP {expected.name} and the Envelope's namespace SOAP {version.name}"
        raise Rejected("soap-invalid", detail=detail)
    return version


def _sections(root: etree._Element, version: Version) -> tuple[etree._Element | None, etree._Element]:
    """The Header, if there is one, and the Body; nothing else may stand in an Envelope, and nothing twice."""
    names = [child.tag for child in root]
    header, body = f"{{{version.namespace}}}Header", f"{{{version.namespace}}}Body"
    if names == [header, body]:
        return root[0], root[1]
    if names == [body]:
        return None, root[0]
    raise Rejected("soap-invalid", detail="an Envelope holds at most one Header, then exactly one Body, and nothing else", at="/Envelope")


def _only_child(body: etree._Element) -> etree._Element:
    if len(body) != 1:
        raise Rejected("soap-invalid", detail=f"the Body holds {len(body)} elements where there must be one", at="/Envelope/Body")
    return body[0]


def _addressing(header: etree._Element | None) -> dict[str, str]:
    """WS-Addressing headers by local name. A reply to another address is refused: answering here would go to nobody."""
    found: dict[str, str] = {}
    for child in header if header is not None else ():
        if child.tag not in _ADDRESSING_HEADERS:
            continue
        name = etree.QName(child).localname
        found[name] = lexical.trimmed(child.findtext(f"{{{ADDRESSING}}}Address") or child.text or "")
        if name in {"ReplyTo", "FaultTo"} and found[name] not in _ANONYMOUS:
            raise Rejected("soap-invalid", detail=f"wsa:{name} must be anonymous: the reply goes back on the same connection")
    return found


def _fault_words(element: etree._Element) -> tuple[str, str, frozenset[str]]:
    """Fault code (without prefix) and reason, whichever version's children the fault has; and every code and subcode."""
    soap_12 = f"{{{SOAP_12.namespace}}}"
    codes = [lexical.trimmed(node.text or "").rpartition(":")[2] for node in element.iter("faultcode", f"{soap_12}Value")]
    return (codes or [""])[0], _first(element, "faultstring", f"{soap_12}Text") or "no reason given", frozenset(codes)


def _language(element: etree._Element) -> str:
    return str(element.get("{http://www.w3.org/XML/1998/namespace}lang", ""))


def _first(element: etree._Element, *names: str) -> str:
    found: Sequence[str] = [lexical.trimmed(node.text or "") for name in names for node in element.iter(name)]
    return found[0] if found else ""


# --- writing ----------------------------------------------------------------------------------------------------------


def _fault_11(code: str, error: BusError, detail: str) -> str:
    return (
        f"<soap:Fault><faultcode>soap:{code}</faultcode>"
        f'<faultstring xml:lang="en">{text(str(error))}</faultstring><detail>{detail}</detail></soap:Fault>'
    )


def _fault_12(code: str, error: BusError, detail: str) -> str:
    texts = "".join(f'<soap:Text xml:lang="{language}">{text(error.reason(language))}</soap:Text>' for language in ("en", "vi"))
    return (
        f"<soap:Fault><soap:Code><soap:Value>soap:{code}</soap:Value></soap:Code>"
        f"<soap:Reason>{texts}</soap:Reason><soap:Detail>{detail}</soap:Detail></soap:Fault>"
    )


_FAULTS = {SOAP_11.name: _fault_11, SOAP_12.name: _fault_12}
