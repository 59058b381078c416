"""Outcomes: what became of the message. Receipts that the site signed, octets that were delivered, and what partners answered.

A receipt counts if the site's signature holds, if the journal row of its event names it by digest, and if it says what the row says. A
delivery counts if the journal vouches for its row; what was sent is compared with what the receipt's row names.

Raises Rejected: ``evidence-invalid``, and what ``bus.evidence`` and ``bus.signature`` raise.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from lxml import etree

from bus import evidence, lexical, soap, xmlio
from bus.errors import Quoted, Rejected
from bus.message import Message, bounded
from bus.octets import SMALL, Body, digest, whole
from bus.proofs import authorities
from bus.proofs.authorities import Role, Signatory
from bus.proofs.case import Case, JournalRow, within
from bus.proofs.lines import Line, established, unproved
from bus.proofs.manifest import CHAIN, SITE, TSA, invalid
from bus.proofs.sender import EXCHANGE, proved
from bus.receipt import Receipt, Status
from bus.signature import xades
from bus.signature.policy import LEGACY, MODERN, SignaturePolicy, ours
from bus.soap import SOAP_11, SOAP_12, Envelope

_RECEIPT = f"{{{evidence.NAMESPACE}}}Receipt"
_ANY = SignaturePolicy(MODERN, LEGACY)
_AS_IS, _CANONICAL, _OTHERWISE = "verify-sent-as-is", "verify-sent-canonical", "verify-sent-unknown"
_SAME = frozenset({_AS_IS, _CANONICAL})


def accepted(case: Case) -> Iterator[Line]:
    """The message itself: its row and its octets are those that the journal speaks of."""
    row, message = case.the_row("accepted"), case.message
    yield established("verify-accepted", message=message["public_id"], at=row.at.isoformat(), sender=message["sender"])
    body = case.body(message["digest"])
    if body is None:
        yield unproved("verify-content-lost", digest=message["digest"])
    else:
        yield established("verify-content", digest=message["digest"], size=len(body), file=case.digests[message["digest"]])


def receipts(case: Case) -> Iterator[Line]:
    """Every receipt that a journal row speaks of."""
    for row in case.rows:
        said = row.detail.get("receipt")
        if said:
            receipt, by = _receipt(case, row, str(said["sha256"]))
            values = {"status": receipt.status, "code": receipt.code, "at": receipt.at.isoformat(), "recipient": receipt.recipient}
            if by.unknown:
                yield by.line("verify-receipt")
            line = unproved if by.unknown else established
            yield line("verify-receipt", reason=Quoted(receipt.reasons), **values)


def _receipt(case: Case, row: JournalRow, wanted: str) -> tuple[Receipt, Signatory]:
    part = case.digests.get(wanted)
    if part is None:
        raise invalid(row.file, f"the receipt that it speaks of is not there (SHA-256 {wanted})")
    try:
        verified = xades.verify(case.octets(part), lambda certificate: certificate, policies=ours)
        receipt = evidence.parse(verified.octets)
        by = case.authorities.vouch(authorities.SITE, verified.certificate, receipt.at)
    except Rejected as error:
        raise within(part, error) from error
    told = (receipt.status.lower(), receipt.digest, receipt.previous)
    if told != (row.values["event"], case.message["digest"], row.values["previous"]):
        raise invalid(part, "it says something else than the journal row that names it")
    return receipt, by


def deliveries(case: Case) -> Iterator[Line]:
    """Every delivery that was owed, with what was sent and what came back."""
    for entry in (entry for row in case.rows for entry in row.detail.get("owed", ())):
        part = case.digests.get(entry["row"])
        if part is None:
            raise invalid(entry["delivery"], "the row of this delivery is not there")
        row = case.json(part)
        if not row["receipt_id"]:
            yield from _delivery(case, row)


def _delivery(case: Case, row: Mapping[str, Any]) -> Iterator[Line]:
    acts = [act for act in case.rows if act.values["delivery_id"] == row["id"]]
    last = next((act for act in reversed(acts) if "receipt" in act.detail or act.values["event"] == "routed"), None)
    values = {"target": row["owner"] or row["target"], "digest": row["digest"]}
    if last is None:
        yield unproved("verify-delivery-open", **values)
        return
    if last.values["event"] == "routed":
        return
    body = case.body(row["digest"])
    if body is None:
        yield unproved("verify-content-lost", digest=row["digest"])
    yield established("verify-delivery", event=last.values["event"].upper(), at=last.at.isoformat(), **values)
    for act in acts:
        if act.values["event"] == Status.DELIVERED.lower():
            yield from _sent(case, row, act, body)
        if act.values["event"] == Status.CONFIRMED.lower():
            yield from _confirmed(case, row, act)


def _confirmed(case: Case, row: Mapping[str, Any], act: JournalRow) -> Iterator[Line]:
    """The receiver's own word that it has the document, where it signed it."""
    owner, part = row["owner"], case.digests.get(act.detail.get("reply", ""))
    if part is None:
        yield unproved("verify-confirmation-alone", target=owner)
        return
    try:
        envelope = _envelope(case.octets(part))
        verified, by = proved(case, envelope, case.party(owner, *lexical.words(row["receivers"])), act.at)
    except Rejected as error:
        raise within(part, error) from error
    said = tuple(envelope.payload.findtext(f"{EXCHANGE}{name}") for name in ("MessageId", "Status"))
    if envelope.payload.tag != f"{EXCHANGE}ConfirmReceived" or said != (row["public_id"], "done"):
        raise invalid(part, "it confirms something else")
    yield by.line("verify-confirmation", target=by.who, at=verified.signed_at.isoformat() if verified.signed_at else "-")


def _envelope(octets: bytes) -> Envelope:
    """A request whose Content-Type was not kept: plain SOAP of either version."""
    version = SOAP_12 if SOAP_12.namespace.encode() in octets else SOAP_11
    return soap.read(octets, version.media_type)


def _sent(case: Case, row: Mapping[str, Any], act: JournalRow, body: Body | None) -> Iterator[Line]:
    """What left, and the partner's reply."""
    sent = act.detail.get("sent", "")
    if body is not None:
        form = _form(body, sent)
        line = established if form in _SAME else unproved
        yield line(form, digest=sent, target=row["target"])
    reply = act.detail.get("reply", "")
    if not reply:
        yield unproved("verify-no-reply", target=row["target"])
    elif reply not in case.digests:
        yield unproved("verify-content-lost", digest=reply)
    else:
        yield established("verify-reply", target=row["target"], digest=reply, file=case.digests[reply])
        yield from _answered(case, row, act, case.files[case.digests[reply]], sent)


def _form(body: Body, sent: str) -> str:
    """In which form these octets have the digest of what left: as they are, canonical, or in none that is known here."""
    if digest(body).hex() == sent:
        return _AS_IS
    try:
        canonical = Message("", {}, bounded(body))
        written = canonical.hollow.canonical(canonical.outline), canonical.hollow.document(canonical.outline)
    except Rejected:
        return _OTHERWISE
    return _CANONICAL if sent in (digest(form).hex() for form in written) else _OTHERWISE


def _answered(case: Case, row: Mapping[str, Any], act: JournalRow, reply: Body, sent: str) -> Iterator[Line]:
    """The partner's own receipt in its reply, if there is one that can be read: what it states about what it was sent."""
    found = _sealed(reply)
    if found is None:
        yield unproved("verify-reply-unsigned", target=row["target"])
        return
    part = case.digests[digest(reply).hex()]
    try:
        verified = xades.verify_tree(found, lambda certificate: certificate, policies=lambda _: _ANY)
        receipt = evidence.parse(verified.octets)
        by = case.authorities.vouch(_called(case, row, verified.certificate, act.at), verified.certificate, act.at)
    except Rejected as error:
        raise within(part, error) from error
    if receipt.digest != sent:
        raise invalid(part, "the partner's receipt is about other octets")
    yield by.line("verify-partner-receipt", target=by.who, status=receipt.status, at=receipt.at.isoformat())


def _sealed(reply: Body) -> etree._Element | None:
    """The one signed receipt in a reply that is plain XML."""
    try:
        root = xmlio.parse(whole(reply)) if len(reply) <= SMALL else None
    except Rejected:
        return None
    found = list(root.iter(_RECEIPT)) if root is not None else []
    if len(found) != 1 or found[0].find("{*}Signature") is None:
        return None
    return xmlio.parse(xmlio.canonicalize(found[0]))


def _called(case: Case, row: Mapping[str, Any], certificate: bytes, at: datetime) -> Role:
    """The partner that the delivery's endpoint calls; where the container does not say, whom the delivery was for."""
    named = next((one for one in case.manifest.parties if row["target"] in one.targets), None)
    return case.party(named.name) if named else case.party(_partner(case, certificate, at), *lexical.words(row["receivers"]))


def _partner(case: Case, certificate: bytes, at: datetime) -> str:
    """Whose the container says this certificate is: whoever's certificates vouch for it."""
    of = (of for of in case.authorities.held if of not in {SITE, CHAIN, TSA} and case.authorities.knows(of, certificate, at))
    return next(of, "")
