"""The sender: that the request which came in bears its signature, and carried exactly this message.

The request is verified again, octet for octet as it came in, and by no word of ours: WS-Security over the SOAP Body, parts sent by MTOM in
their inlined form, parts beside it (SOAP with Attachments) by references of their own. What the signature covers is then compared with the
message that the journal speaks of. Old certificates and times do not matter here: the signature is judged as of the moment of acceptance,
and the request's own time must lie close to that.

Raises Rejected: what ``bus.soap`` and ``bus.signature.wss`` raise, and ``evidence-invalid``.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson
from lxml import etree

from bus import soap
from bus.errors import Rejected
from bus.hollow import Hollow
from bus.message import CREDENTIAL
from bus.octets import Body, collected, decoded, digest, whole
from bus.proofs.authorities import Known, Role, Signatory
from bus.proofs.case import Case, within
from bus.proofs.lines import Line, established, unproved
from bus.proofs.manifest import invalid
from bus.signature import wss
from bus.signature.policy import LEGACY, MODERN, SignaturePolicy
from bus.signature.profile import Verified
from bus.soap import Envelope

EXCHANGE = "{urn:govbus:exchange:v1}"
#: What counted for the partner then is not known here. What is legacy is said.
_ANY = SignaturePolicy(MODERN, LEGACY)
#: No door takes a larger one.
_MOST = 144 << 20
#: The Timestamp was checked at the door; a signature over the Body is what proves the sender.
_COVERS = wss.Policy(covers=("Body",))


def signed(case: Case) -> Iterator[Line]:
    """Who sent the message, by its own signature."""
    message = case.message
    accepted = datetime.fromisoformat(message["accepted"])
    credential = orjson.loads(message["headers"]).get(CREDENTIAL, "")
    sender = message["sender"]
    request = case.body(message.get("request", ""))
    if not message.get("request"):
        yield unproved("verify-no-request", sender=sender, credential=credential or "-")
        return
    if request is None:
        yield unproved("verify-request-lost", digest=message["request"])
        return
    part = case.digests[message["request"]]
    try:
        envelope = _envelope(request, message["request_type"])
        verified, by = proved(case, envelope, case.party(sender, message["organ"]), accepted)
        envelope.attach()
        carried = message["digest"] if message["digest"] in _carried(envelope) else ""
    except Rejected as error:
        raise within(part, error) from error
    if not carried:
        raise invalid(part, "it carried another message")
    yield by.line("verify-request", sender=by.who, at=verified.signed_at.isoformat() if verified.signed_at else "-")
    yield established("verify-request-carried", digest=carried)
    if not _speaks(case, message):
        yield unproved("verify-claim", sender=sender, organ=message["organ"])
    if verified.legacy:
        yield unproved("verify-legacy", algorithm=verified.legacy, sender=sender, subject=by.subject, fingerprint=by.fingerprint)


def _speaks(case: Case, message: Mapping[str, Any]) -> bool:
    """Whether the organisation that the document names as its sender is the one that sent it."""
    codes = [code for one in case.manifest.parties if one.name == message["sender"] for code in one.codes]
    return not codes or message["organ"] in {*codes, message["sender"]}


def proved(case: Case, envelope: Envelope, role: Role, at: datetime) -> tuple[Verified[str], Signatory]:
    """What the signature of an envelope in this role proved as of ``at``, and whose certificate it was."""
    verified = wss.verify(
        envelope.root,
        _COVERS,
        lambda *_: role.of,
        at,
        known=Known(case.authorities.named_anchors(role.of) + case.authorities.given_anchors(role)),
        hollow=envelope.hollow,
        policies=lambda _: _ANY,
        attachments=envelope.detached,
    )
    return verified, case.authorities.vouch(role, verified.certificate, at)


def _envelope(request: Body, content_type: str) -> Envelope:
    if len(request) > _MOST:
        raise Rejected("xml-limit", limit="bytes", value=len(request), most=_MOST)
    return soap.read(whole(request), content_type)


def _carried(envelope: Envelope) -> tuple[str, ...]:
    """SHA-256 of the document in a SendDocument request: base64 content, or an element's octets, by the rule of now and of before."""
    payload = envelope.payload
    found = {name: payload.find(f"{EXCHANGE}{name}") for name in ("Content", "Document")}
    content, document = found["Content"], found["Document"]
    if payload.tag == f"{EXCHANGE}SendDocument":
        if content is not None and document is None:
            return (digest(_decoded(content, envelope.hollow)).hex(),)
        if document is not None and content is None and len(document) == 1:
            return tuple(digest(form).hex() for form in (envelope.hollow.document(document[0]), envelope.hollow.canonical(document[0])))
    raise Rejected("soap-invalid", detail="the request is no SendDocument with its document covered by the signature")


def _decoded(element: etree._Element, hollow: Hollow) -> Body:
    attached = hollow.attached(element)
    if attached is not None:
        return attached
    try:
        return collected(decoded(hollow.text(element)))
    except ValueError:
        raise Rejected("soap-invalid", detail="the base64 is damaged") from None
