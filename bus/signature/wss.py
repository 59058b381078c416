"""WS-Security: the Body, Timestamp, other headers and attachments of a SOAP envelope, signed by an X.509 token. SOAP 1.1 and 1.2.

``sign`` promises a Security header (``security_header``) with a Signature over Body and Timestamp, and over the other headers where the
``Style`` says so; everything else of the envelope keeps its octets. ``enclose`` promises the same for a payload that has no envelope yet:
it writes one whose Body is canonical as it stands, so that nothing is parsed or serialised for the signature.

``verify`` promises that *the* Body of *the* Envelope and *the* Timestamp of *the* Security header are covered,
by element identity and never by name or Id alone, that every reference was used, that the time is now, and that every attachment given
is covered too (``attachments``).

Raises Rejected: ``security-missing``, ``signature-invalid``, ``algorithm-refused``, ``timestamp-stale``, and what ``identify`` raises.

Standards: WS-Security 1.1 (SOAP Message Security) sections 5 (header), 8 (signatures), 10 (timestamps); X.509 Token Profile 1.1 section 3;
WS-I Basic Security Profile 1.1 (one Security header a role, one Timestamp, Created once).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from lxml import etree

from bus import lexical, roles
from bus.errors import Rejected
from bus.hollow import Hollow, forms
from bus.mime import Part
from bus.octets import Body, around, chunks
from bus.signature import security_header
from bus.signature.attachments import check as check_attachments
from bus.signature.attachments import covering
from bus.signature.policy import Policies, usual
from bus.signature.profile import MOST_REFERENCES, SOAP_ENVELOPES, WSSE, WSU, Kind, Verified, invalid
from bus.signature.reading import canonical, ds, read, resolve
from bus.signature.security_header import LIFETIME, Login, Style
from bus.signature.times import written
from bus.signature.tokens import Certificates, certificate
from bus.signature.writing import reference
from bus.signer import Signer
from bus.xmlio import canonicalize, parse

SECURITY = f"{{{WSSE}}}Security"
_WSU_ID = f"{{{WSU}}}Id"
#: An envelope of ours: its Body declares what it uses itself, in canonical order, so its octets here are its exclusive C14N.
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<soap:Envelope xmlns:soap="{soap}"><soap:Header>{security}'
_BODY = f'<soap:Body xmlns:soap="{{soap}}" xmlns:wsu="{WSU}" wsu:Id="Body-{{id}}">'
_BODY_END = b"</soap:Body>"
#: The first octets of a payload, its MessageId among them, tell one envelope from another: Ids need no more than to be unforeseeable.
_DISTINCT = 1024
_KINDS = frozenset({Kind.ELEMENT, Kind.ATTACHMENT})
DEFAULT_STYLE = Style()
NONE: Mapping[str, Any] = MappingProxyType({})
# So that a tree's wsu:Id is written with the prefix that everybody writes.
etree.register_namespace("wsu", WSU)


@dataclass(frozen=True, slots=True)
class Policy:
    """What an endpoint demands.

    ``covers``  "Body", "Timestamp", or the local name of a Header child that must be there and be signed
    ``skew``    how far the partner's clock may be from ours, either way
    ``age``     how old a message may be, whatever Expires says: with ``skew``, the window in which a replay is possible
    """

    covers: tuple[str, ...] = ("Body", "Timestamp")
    skew: timedelta = timedelta(minutes=5)
    age: timedelta = timedelta(minutes=15)


DEFAULT = Policy()


def sign(
    envelope: bytes,
    signer: Signer,
    now: datetime,
    *,
    lifetime: timedelta = LIFETIME,
    style: Style = DEFAULT_STYLE,
    attachments: Mapping[str, Body] = NONE,
) -> bytes:
    """``envelope`` with a Security header, and a wsu:Id on its Body where it had none. It must not have a Security header yet.

    ``attachments``: octets by Content-ID of parts that travel beside it, by SOAP with Attachments, and are covered as well.
    """
    root = parse(envelope)
    parts = Parts.of(root)
    if parts.security is not None:
        raise ValueError("the envelope has a Security header already")
    identifier = hashlib.sha256(envelope + written(now).encode()).hexdigest()[:32]
    if parts.header is None:
        root.insert(0, etree.Element(f"{{{parts.soap}}}Header"))
    signed = [(parts.body, f"Body-{identifier}")]
    if style.headers:
        signed += [(header, f"H{number}-{identifier}") for number, header in enumerate(root[0])]
    references = [_identified(element, name, signer.method.digest) for element, name in signed]
    references += covering(attachments, signer.method.digest)
    security = security_header.write(
        parts.soap, identifier, now, signer=signer, references=references, style=style, lifetime=lifetime
    ).encode()
    # As text, so that no namespace declaration of what was signed is moved; the parser dropped every other comment.
    root[0].insert(0, etree.Comment("security"))
    return etree.tostring(root, encoding="UTF-8").replace(b"<!--security-->", security, 1)


def enclose(
    soap: str,
    payload: Body,
    signer: Signer | None,
    now: datetime,
    *,
    headers: bytes = b"",
    canonical: bool = False,
    style: Style = DEFAULT_STYLE,
    login: Callable[[str], Login] | None = None,
    attachments: Mapping[str, Body] = NONE,
) -> Body:
    """A new envelope of that SOAP version's namespace, signed, around ``payload``; ``headers`` come after the Security header.

    ``canonical``    ``payload`` is known to be the exclusive C14N of its one element, as a document of its own
    ``login``        makes the UsernameToken, given what tells its Id from others; signed too, and instead of a signature without ``signer``
    ``attachments``  as ``sign`` says
    """
    beginning = next(chunks(payload), b"")[:_DISTINCT]
    identifier = hashlib.sha256(b"".join((written(now).encode(), beginning))).hexdigest()[:32]
    body = around(_BODY.format(soap=soap, id=identifier).encode(), payload, _BODY_END)
    references: list[str] = []
    if signer:
        if not canonical or _redeclares(payload, soap):
            form, body = forms(body)
        else:
            form = body
        references.append(reference(f"#Body-{identifier}", form, digest=signer.method.digest))
        if style.headers and headers:
            headers, covered = _signed_headers(headers, identifier, signer.method.digest)
            references += covered
        references += covering(attachments, signer.method.digest)
    said = login(identifier) if login else None
    security = security_header.write(soap, identifier, now, signer=signer, references=references, style=style, login=said)
    head = _HEAD.format(soap=soap, security=security).encode()
    return around(b"%b%b</soap:Header>" % (head, headers), body, b"</soap:Envelope>")


def verify(
    root: etree._Element,
    policy: Policy,
    identify: Callable[[bytes, datetime], str],
    now: datetime,
    *,
    known: Certificates | None = None,
    hollow: Hollow | None = None,
    policies: Policies[str] = usual,
    attachments: Mapping[str, Part] = NONE,
) -> Verified[str]:
    """What the envelope's signature proved: ``octets`` is the Body, canonical, as signed. ``root`` is from ``xmlio.parse``, unchanged.

    ``hollow`` knows what its stand-ins in ``root`` stand for: the digests are those of the whole, ``octets`` has the stand-ins.

    ``identify`` turns a certificate (DER) into a partner or raises Rejected. ``known`` (a Keyring) finds certificates that
    the message only names by issuer and serial number or by subject key identifier; without it such references are refused.
    ``policies`` tells which methods count for whom. ``attachments``, by Content-ID, must be covered, all of them.
    """
    parts = Parts.of(root)
    security = parts.required_security()
    signed = read(_only_child(security, ds("Signature"), "ds:Signature"), _KINDS, MOST_REFERENCES + len(attachments))
    if signed.objects:
        raise invalid("a WS-Security signature has no Object here")
    created = _check_timestamp(parts, policy, now)
    elements = [one for one in signed.references if one.kind is Kind.ELEMENT]
    targets = resolve(root, elements, parts.signable())
    _check_coverage(parts, policy, targets)
    der = certificate(signed.key_info, security, known)
    identity = identify(der, now)
    legacy = signed.check_value(der, policies(identity))
    cut = hollow or Hollow()
    octets = {id(target): canonical(one, target, cut) for one, target in zip(elements, targets, strict=True)}
    check_attachments([one for one in signed.references if one.kind is Kind.ATTACHMENT], attachments)
    return Verified(octets.get(id(parts.body), b""), der, identity, created, legacy)


@dataclass(frozen=True, slots=True)
class Parts:
    """The elements of one envelope that security speaks of, each found by its place and by nothing else."""

    soap: str
    root: etree._Element
    header: etree._Element | None
    security: etree._Element | None
    timestamp: etree._Element | None
    body: etree._Element

    @classmethod
    def of(cls, root: etree._Element) -> "Parts":
        """Refuses what is not a SOAP envelope with one Body, at most one Header before it, and at most one Security for us and Timestamp.

        A Security header for another role is one header among others: it proves nothing, and nothing inside it can be referred to.
        """
        soap = etree.QName(root).namespace or ""
        header_tag, body_tag = f"{{{soap}}}Header", f"{{{soap}}}Body"
        if soap not in SOAP_ENVELOPES or etree.QName(root).localname != "Envelope":
            raise Rejected("soap-invalid", detail="the root is not a SOAP 1.1 or 1.2 Envelope")
        if [child.tag for child in root] not in ([body_tag], [header_tag, body_tag]):
            raise Rejected("soap-invalid", detail="Envelope must hold at most one Header, then exactly one Body")
        header = root[0] if len(root) > 1 else None
        found = list(roles.ours(header, SECURITY))
        if len(found) > 1:
            raise invalid("there is more than one Security header for us")
        security = found[0] if found else None
        return cls(soap, root, header, security, _at_most_one(security, f"{{{WSU}}}Timestamp"), root[-1])

    def required_security(self) -> etree._Element:
        """The Security header; refuses its absence."""
        if self.security is None:
            raise Rejected("security-missing", check="the Header has no wsse:Security for us")
        return self.security

    def signable(self) -> list[etree._Element]:
        """All that a reference may point at: the Body, the Header's children, the Security header's tokens and Timestamp."""
        headers = [] if self.header is None else [child for child in self.header if child is not self.security]
        tokens = [] if self.security is None else [child for child in self.security if child.tag != ds("Signature")]
        return [self.body, *headers, *tokens]

    def named(self, name: str) -> list[etree._Element]:
        """The elements that a policy calls ``name``."""
        if name == "Body":
            return [self.body]
        if name == "Timestamp":
            return [] if self.timestamp is None else [self.timestamp]
        return [] if self.header is None else [child for child in self.header if etree.QName(child).localname == name]


def _at_most_one(parent: etree._Element | None, tag: str) -> etree._Element | None:
    found = [] if parent is None else parent.findall(tag)
    if len(found) > 1:
        raise invalid(f"there is more than one {etree.QName(tag).localname}")
    return found[0] if found else None


def _only_child(parent: etree._Element, tag: str, label: str) -> etree._Element:
    child = _at_most_one(parent, tag)
    if child is None:
        raise Rejected("security-missing", check=f"the Security header has no {label}")
    return child


def _check_coverage(parts: Parts, policy: Policy, targets: list[etree._Element]) -> None:
    if len(set(targets)) != len(targets):
        raise invalid("two references point at one element")
    for name in policy.covers:
        demanded = parts.named(name)
        if not demanded:
            raise Rejected("security-missing", check=f"there is no {name} to be signed")
        if any(element not in targets for element in demanded):
            raise invalid(f"the {name} is not covered by the signature")


def _check_timestamp(parts: Parts, policy: Policy, now: datetime) -> datetime | None:
    """The time of creation; refuses a Timestamp that the policy demands and is missing, or that is not of now."""
    if parts.timestamp is None:
        if "Timestamp" in policy.covers:
            raise Rejected("security-missing", check="the Security header has no wsu:Timestamp")
        return None
    created = _time(parts.timestamp, "Created")
    expires = _time(parts.timestamp, "Expires")
    if created is None:
        raise Rejected("timestamp-stale", check="Timestamp has no Created")
    check_fresh(created, expires, policy, now)
    return created


def check_fresh(created: datetime, expires: datetime | None, policy: Policy, now: datetime) -> None:
    """Refuse what was created in the future, has expired, or is older than the policy's age."""
    if created > now + policy.skew:
        raise Rejected("timestamp-stale", check=f"Created {written(created)} is in the future; it is {written(now)} here")
    if expires is not None and expires <= now - policy.skew:
        raise Rejected("timestamp-stale", check=f"Expires {written(expires)} is past; it is {written(now)} here")
    if created < now - policy.age - policy.skew:
        raise Rejected("timestamp-stale", check=f"Created {written(created)} is too old; it is {written(now)} here")


def _time(timestamp: etree._Element, name: str) -> datetime | None:
    element = _at_most_one(timestamp, f"{{{WSU}}}{name}")
    if element is None:
        return None
    try:
        return lexical.instant(element.text or "")
    except ValueError as error:
        raise Rejected("timestamp-stale", check=f"{name}: {error}") from None


def _identified(element: etree._Element, name: str, digest: str) -> str:
    """A reference to ``element``, which is given the wsu:Id ``name`` where it had none."""
    if element.get(_WSU_ID) is None:
        element.set(_WSU_ID, name)
    return reference(f"#{element.get(_WSU_ID)}", canonicalize(element), digest=digest)


def _signed_headers(headers: bytes, identifier: str, digest: str) -> tuple[bytes, list[str]]:
    """``headers`` with Ids, each in canonical form, and the references to them."""
    found = list(parse(b"<headers>%b</headers>" % headers))
    references = [_identified(header, f"H{number}-{identifier}", digest) for number, header in enumerate(found)]
    return b"".join(canonicalize(header) for header in found), references


def _redeclares(payload: Body, soap: str) -> bool:
    """Whether a declaration that our Body makes may stand in ``payload`` again, where canonical form would leave it out."""
    declarations = [f'xmlns:{prefix}="{uri}"'.encode() for prefix, uri in (("soap", soap), ("wsu", WSU))]
    # What is no text in memory is base64.
    texts = [payload] if isinstance(payload, bytes) else [piece for piece in payload.pieces if isinstance(piece, bytes)]
    return any(declaration in text for declaration in declarations for text in texts)
