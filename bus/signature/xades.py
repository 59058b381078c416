"""XAdES-B-B and B-T, enveloped: an XML signature that also signs who (certificate digest), when (signing time) and what (media type).

``sign`` promises the document's exclusive C14N with the Signature as the root's last child, the whole of it canonical again; libxmlsec
verifies it. ``with_timestamp`` makes it B-T: its time proved by an authority, over ``time_stamped``.
``verify`` promises ``Verified``: exactly the signed octets (the document without its Signature), the certificate that the signed
properties name and that ``trust`` accepted, its identity, the signer's own statement of the time, and the time-stamps as they are: whoever
trusts an authority checks them (``bus.timestamps``). No other unsigned property is read.

Raises Rejected: 5.6.x for what is not XML, ``security-missing``, ``signature-invalid``, ``algorithm-refused``, and what ``trust`` raises.

Standards: ETSI EN 319 132-1 V1.2.1 sections 4.3, 5.2, 5.3 and 6.3 (see ``properties``); XML Signature 1.1 section 6.6.4.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from lxml import etree

from bus.hollow import Hollow
from bus.octets import digest
from bus.signature import properties
from bus.signature.policy import Policies, usual
from bus.signature.profile import SIGNED_PROPERTIES_TYPE, Kind, Verified, invalid
from bus.signature.properties import Properties
from bus.signature.reading import Reference, Signature, canonical, ds, resolve
from bus.signature.writing import reference, signature, x509_data
from bus.signature.xmldsig import check_whole, embedded_certificate, spliced, the_signature, unsigned, without
from bus.signer import Signer
from bus.xmlio import canonicalize, parse

T = TypeVar("T")

_MEDIA_TYPE = "text/xml"


def sign(document: bytes, signer: Signer, at: datetime, hollow: Hollow | None = None) -> bytes:
    """``document`` in canonical form, signed at ``at``. The Ids come from its digest: the same input gives the same properties.

    Where ``document`` was emptied by ``hollow``, the digests are those of the whole, and its stand-ins are in what this returns.
    """
    octets, written = unsigned(document)
    return sign_canonical(octets, signer, at, hollow, written)


def sign_canonical(octets: bytes, signer: Signer, at: datetime, hollow: Hollow | None = None, written: bytes = b"") -> bytes:
    """The same for ``octets`` that are a document's exclusive C14N already and hold no Signature, such as text written to be so.

    ``written``: the document as it is sent, where that is another text of the same canonical form.
    """
    whole = hollow.parsed(octets) if hollow else octets
    identifier = "xades-" + digest(whole).hex()[:32]
    document = f"{identifier}-document"
    said = properties.write(identifier, at, signer.certificate_der, {document: _MEDIA_TYPE})
    algorithm = signer.method.digest
    references = [
        reference("", whole, digest=algorithm, kind=Kind.DOCUMENT, identifier=document),
        reference(f"#{identifier}-properties", said.encode(), digest=algorithm, type_uri=SIGNED_PROPERTIES_TYPE),
    ]
    objects = properties.placed(identifier, said)
    return spliced(written or octets, signature(signer, references, x509_data(signer), objects=objects, identifier=identifier))


def time_stamped(signed: bytes) -> bytes:
    """The octets that a time-stamp of ``signed`` is made over: the exclusive C14N of its SignatureValue (section 5.3)."""
    found = list(parse(signed).iter(ds("SignatureValue")))
    if len(found) != 1:
        raise invalid("there is not exactly one signature to be time-stamped")
    return canonicalize(found[0])


def with_timestamp(signed: bytes, token: bytes) -> bytes:
    """``signed``, which this package made, as B-T: with an RFC 3161 ``token`` (DER) over its ``time_stamped`` octets."""
    return properties.stamped(signed, token)


def verify(document: bytes, trust: Callable[[bytes], T], hollow: Hollow | None = None, *, policies: Policies[T] = usual) -> Verified[T]:
    """What the document's signature proved. ``trust`` gets the certificate (DER) and raises Rejected, or returns who it is.

    ``policies`` tells which methods count for whom.

    Where ``document`` was emptied by ``hollow``, it is the whole that is verified, and the stand-ins are in ``octets``.
    """
    return verify_tree(parse(document), trust, hollow, policies=policies)


def verify_tree(
    root: etree._Element, trust: Callable[[bytes], T], hollow: Hollow | None = None, *, policies: Policies[T] = usual
) -> Verified[T]:
    """The same for a document that ``xmlio.parse`` has read, or a copy of an element of one. The Signature is taken out of the tree."""
    signed = the_signature(root)
    if root[-1] is not signed.element:
        raise invalid("the Signature is not the last child of the root")
    said = Properties.of(signed)
    whole = _check_references(root, signed, said)
    certificate = embedded_certificate(signed.key_info)
    at, named_by = said.stated(certificate)
    said.formats()
    identity = trust(certificate)
    legacy = signed.check_value(certificate, policies(identity), [named_by])
    stamps = said.time_stamps(signed.element[1])
    octets = without(root, signed.element, whole.prefixes)
    whole.check(hollow.parsed(octets) if hollow else octets)
    return Verified(octets, certificate, identity, at, legacy, stamps)


def _check_references(root: etree._Element, signed: Signature, said: Properties) -> Reference:
    """Refuse references to anything but the document, its properties and KeyInfo; returns the document's, the others are checked."""
    whole = [one for one in signed.references if one.kind is Kind.DOCUMENT]
    parts = [one for one in signed.references if one.kind is Kind.ELEMENT]
    if len(whole) != 1:
        raise invalid("exactly one reference must be to the whole document")
    check_whole(root, whole[0])
    check_properties(root, signed, said, parts)
    return whole[0]


def check_properties(root: etree._Element, signed: Signature, said: Properties, references: list[Reference]) -> None:
    """Refuse ``references`` that do not cover the signed properties, or cover anything else than them and KeyInfo."""
    targets = resolve(root, references, [said.signed, signed.key_info])
    if targets.count(said.signed) != 1 or targets.count(signed.key_info) > 1:
        raise invalid("the signed properties are not covered, exactly once, by the signature")
    for one, target in zip(references, targets, strict=True):
        if target is said.signed and one.type != SIGNED_PROPERTIES_TYPE:
            raise invalid("the reference to SignedProperties does not say that it is")
        canonical(one, target, Hollow())
