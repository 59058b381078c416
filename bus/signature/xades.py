"""XAdES-B-B, enveloped: an XML signature that also signs who (certificate digest) and when (signing time).

``sign`` promises the document's exclusive C14N with the Signature as the root's last child, the whole of it canonical again; libxmlsec
verifies it.
``verify`` promises ``Verified``: exactly the signed octets (the document without its Signature), the certificate that the signed
properties name and that ``trust`` accepted, its identity, and the signer's own statement of the time. Unsigned properties are not read.

Raises Rejected: 5.6.x for what is not XML, ``security-missing``, ``signature-invalid``, ``algorithm-refused``, and what ``trust`` raises.

Standards: ETSI EN 319 132-1 V1.2.1 sections 4.3, 5.2.1 (SigningTime), 5.2.2 (SigningCertificateV2), 5.2.4 (DataObjectFormat), 6.3 (B-B).
"""

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from lxml import etree

from bus.hollow import Hollow
from bus.octets import digest
from bus.signature.profile import DIGESTS, DS, SHA256, SIGNED_PROPERTIES_TYPE, XADES, Verified, algorithm, invalid
from bus.signature.reading import Reference, Signature, canonical, decoded, ds, expect, resolve
from bus.signature.times import instant, written
from bus.signature.writing import encoded, reference, signature, within, x509_data
from bus.signature.xmldsig import check_whole, embedded_certificate, spliced, the_signature, unsigned, without
from bus.signer import Signer
from bus.trust import issuer_serial
from bus.xmlio import parse

T = TypeVar("T")

_SIGNED_PROPERTIES = (
    f'<xades:SignedProperties xmlns:xades="{XADES}"' + ' Id="{id}-properties"><xades:SignedSignatureProperties>'
    "<xades:SigningTime>{at}</xades:SigningTime>{certificate}</xades:SignedSignatureProperties></xades:SignedProperties>"
)
_SIGNING_CERTIFICATE = (
    "<xades:SigningCertificateV2><xades:Cert><xades:CertDigest>"
    f'<ds:DigestMethod xmlns:ds="{DS}" Algorithm="{SHA256}"></ds:DigestMethod><ds:DigestValue xmlns:ds="{DS}">'
    "{digest}</ds:DigestValue></xades:CertDigest><xades:IssuerSerialV2>{issuer_serial}</xades:IssuerSerialV2>"
    "</xades:Cert></xades:SigningCertificateV2>"
)
_OBJECT = (
    f'<ds:Object><xades:QualifyingProperties xmlns:xades="{XADES}"' + ' Target="#{id}">{signed}</xades:QualifyingProperties></ds:Object>'
)
#: Signed properties that change nothing in what the signature means to us. Any other, such as an explicit policy, is refused.
_HARMLESS = frozenset({"SignatureProductionPlace", "SignatureProductionPlaceV2", "SignerRole", "SignerRoleV2"})


def _xades(name: str) -> str:
    return f"{{{XADES}}}{name}"


def sign(document: bytes, signer: Signer, at: datetime, hollow: Hollow | None = None) -> bytes:
    """``document`` in canonical form, signed at ``at``. The Ids come from its digest: the same input gives the same properties.

    Where ``document`` was emptied by ``hollow``, the digests are those of the whole, and its stand-ins are in what this returns.
    """
    return sign_canonical(unsigned(document), signer, at, hollow)


def sign_canonical(octets: bytes, signer: Signer, at: datetime, hollow: Hollow | None = None) -> bytes:
    """The same for ``octets`` that are a document's exclusive C14N already and hold no Signature, such as text written to be so."""
    whole = hollow.parsed(octets) if hollow else octets
    identifier = "xades-" + digest(whole).hex()[:32]
    certificate = _signing_certificate(signer.certificate_der)
    properties = _SIGNED_PROPERTIES.format(id=identifier, at=written(at), certificate=certificate)
    references = [
        reference("", whole, enveloped=True),
        reference(f"#{identifier}-properties", properties.encode(), type_uri=SIGNED_PROPERTIES_TYPE),
    ]
    objects = _OBJECT.format(id=identifier, signed=within(properties, xades=XADES, ds=DS))
    return spliced(octets, signature(signer, references, x509_data(signer), objects=objects, identifier=identifier))


def verify(document: bytes, trust: Callable[[bytes], T], hollow: Hollow | None = None) -> Verified[T]:
    """What the document's signature proved. ``trust`` gets the certificate (DER) and raises Rejected, or returns who it is.

    Where ``document`` was emptied by ``hollow``, it is the whole that is verified, and the stand-ins are in ``octets``.
    """
    return verify_tree(parse(document), trust, hollow)


def verify_tree(root: etree._Element, trust: Callable[[bytes], T], hollow: Hollow | None = None) -> Verified[T]:
    """The same for a document that ``xmlio.parse`` has read, or a copy of an element of one. The Signature is taken out of the tree."""
    signed = the_signature(root)
    if root[-1] is not signed.element:
        raise invalid("the Signature is not the last child of the root")
    properties = _signed_properties(signed)
    whole = _check_references(root, signed, properties)
    certificate = embedded_certificate(signed.key_info)
    at = _read_properties(properties, certificate)
    identity = trust(certificate)
    signed.check_value(certificate)
    octets = without(root, signed.element, whole.prefixes)
    whole.check(hollow.parsed(octets) if hollow else octets)
    return Verified(octets, certificate, identity, at)


@lru_cache(maxsize=64)
def _signing_certificate(certificate: bytes) -> str:
    value = encoded(hashlib.sha256(certificate).digest())
    return _SIGNING_CERTIFICATE.format(digest=value, issuer_serial=encoded(issuer_serial(x509.load_der_x509_certificate(certificate))))


def _signed_properties(signed: Signature) -> etree._Element:
    """The one SignedProperties of the one Object, which must speak of this signature."""
    identifier = signed.element.get("Id")
    if len(signed.objects) != 1 or not identifier:
        raise invalid("a XAdES signature has an Id and one Object with its properties")
    (qualifying,) = expect(signed.objects[0], _xades("QualifyingProperties"))
    if qualifying.get("Target") != f"#{identifier}":
        raise invalid("QualifyingProperties do not speak of this Signature")
    if len(qualifying) == 0 or qualifying[0].tag != _xades("SignedProperties") or len(qualifying) > 2:  # noqa: PLR2004 - and UnsignedProperties
        raise invalid("QualifyingProperties must begin with SignedProperties")
    return qualifying[0]


def _check_references(root: etree._Element, signed: Signature, properties: etree._Element) -> Reference:
    """Refuse references to anything but the document, its properties and KeyInfo; returns the document's, the others are checked."""
    whole = [one for one in signed.references if one.enveloped]
    parts = [one for one in signed.references if not one.enveloped]
    if len(whole) != 1:
        raise invalid("exactly one reference must be to the whole document")
    check_whole(root, whole[0])
    targets = resolve(root, parts, [properties, signed.key_info])
    if targets.count(properties) != 1 or targets.count(signed.key_info) > 1:
        raise invalid("the signed properties are not covered, exactly once, by the signature")
    for one, target in zip(parts, targets, strict=True):
        if target is properties and one.type != SIGNED_PROPERTIES_TYPE:
            raise invalid("the reference to SignedProperties does not say that it is")
        canonical(one, target, Hollow())
    return whole[0]


def _read_properties(properties: etree._Element, certificate: bytes) -> datetime:
    """The signing time; refuses properties that name another certificate, or that this profile does not know."""
    about_signature = next(iter(properties), None)
    if about_signature is None or about_signature.tag != _xades("SignedSignatureProperties"):
        raise invalid("SignedProperties must begin with SignedSignatureProperties")
    found = {etree.QName(child).localname: child for child in about_signature if etree.QName(child).namespace == XADES}
    naming = found.get("SigningCertificateV2", found.get("SigningCertificate"))
    if naming is None or "SigningTime" not in found or len(found) != len(about_signature):
        raise invalid("the signed properties need one SigningTime and one SigningCertificateV2")
    unknown = found.keys() - _HARMLESS - {"SigningTime", "SigningCertificateV2", "SigningCertificate"}
    if unknown:
        raise invalid(f"the signed property {min(unknown)} is not known here")
    _check_certificate(naming, certificate)
    try:
        return instant(found["SigningTime"].text or "")
    except ValueError as error:
        raise invalid(f"SigningTime: {error}") from None


def _check_certificate(naming: etree._Element, certificate: bytes) -> None:
    """The first Cert is the signer's (section 5.2.2); its digest says which, so issuer and serial beside it need not be read."""
    digests = naming.findall(f"{_xades('Cert')}/{_xades('CertDigest')}")
    if not digests:
        raise invalid("SigningCertificate names no certificate")
    method, value = expect(digests[0], ds("DigestMethod"), ds("DigestValue"))
    digest = hashlib.new(algorithm(DIGESTS, method.get("Algorithm", "")), certificate).digest()
    if not hmac.compare_digest(digest, decoded(value)):
        raise invalid("the certificate in KeyInfo is not the one that the signed properties name")
