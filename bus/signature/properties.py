"""XAdES qualifying properties: what a signature says of itself, signed (who, when, what it covers) and unsigned (its time-stamp).

``write`` promises properties that are their own canonical form, ``read`` that they speak of this signature and of this certificate, and
that they say nothing that this profile does not know. Unsigned properties are nobody's word: of them only time-stamps are handed out, as
they are, and everything else is passed over, since anyone could take it away or put it there without breaking the signature.

Raises Rejected ``signature-invalid``, ``algorithm-refused``.

Standards: ETSI EN 319 132-1 V1.2.1 sections 4.3 (QualifyingProperties), 5.2.1 (SigningTime), 5.2.2 (SigningCertificateV2), 5.2.4
(DataObjectFormat), 5.3 (SignatureTimeStamp), 6.3 (baseline levels B-B and B-T).
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from xml.sax.saxutils import escape

from cryptography import x509
from lxml import etree

from bus import lexical
from bus.signature.profile import DIGESTS, DS, EXC_C14N, SHA256, XADES, TimeStamp, algorithm, invalid
from bus.signature.reading import Signature, decoded, ds, expect
from bus.signature.times import written
from bus.signature.writing import encoded, within
from bus.trust import issuer_serial
from bus.xmlio import canonicalize

_SIGNED_PROPERTIES = (
    f'<xades:SignedProperties xmlns:xades="{XADES}"' + ' Id="{id}-properties"><xades:SignedSignatureProperties>'
    "<xades:SigningTime>{at}</xades:SigningTime>{certificate}</xades:SignedSignatureProperties>"
    "<xades:SignedDataObjectProperties>{formats}</xades:SignedDataObjectProperties></xades:SignedProperties>"
)
_SIGNING_CERTIFICATE = (
    "<xades:SigningCertificateV2><xades:Cert><xades:CertDigest>"
    f'<ds:DigestMethod xmlns:ds="{DS}" Algorithm="{SHA256}"></ds:DigestMethod><ds:DigestValue xmlns:ds="{DS}">'
    "{digest}</ds:DigestValue></xades:CertDigest><xades:IssuerSerialV2>{issuer_serial}</xades:IssuerSerialV2>"
    "</xades:Cert></xades:SigningCertificateV2>"
)
_FORMAT = '<xades:DataObjectFormat ObjectReference="#{id}"><xades:MimeType>{media_type}</xades:MimeType></xades:DataObjectFormat>'
_OBJECT = (
    f'<ds:Object><xades:QualifyingProperties xmlns:xades="{XADES}"' + ' Target="#{id}">{signed}</xades:QualifyingProperties></ds:Object>'
)
_TIME_STAMP = (
    "<xades:UnsignedProperties><xades:UnsignedSignatureProperties><xades:SignatureTimeStamp>"
    f'<ds:CanonicalizationMethod Algorithm="{EXC_C14N}"></ds:CanonicalizationMethod>'
    "<xades:EncapsulatedTimeStamp>{token}</xades:EncapsulatedTimeStamp>"
    "</xades:SignatureTimeStamp></xades:UnsignedSignatureProperties></xades:UnsignedProperties>"
)
_END = b"</xades:QualifyingProperties>"
#: Signed properties that change nothing in what the signature means to us. Any other, such as an explicit policy, is refused.
_HARMLESS = frozenset({"SignatureProductionPlace", "SignatureProductionPlaceV2", "SignerRole", "SignerRoleV2"})
_SIGNING_CERTIFICATES = frozenset({"SigningCertificateV2", "SigningCertificate"})
#: Of the data: its formats, and why it was signed.
_ABOUT_DATA = frozenset({f"{{{XADES}}}DataObjectFormat", f"{{{XADES}}}CommitmentTypeIndication"})


@dataclass(frozen=True, slots=True)
class Properties:
    """One signature's qualifying properties, which say that they are its own; nothing is verified yet."""

    signed: etree._Element
    unsigned: etree._Element | None

    @classmethod
    def of(cls, signature: Signature) -> "Properties":
        """The properties in the one Object of ``signature``."""
        identifier = signature.element.get("Id")
        if len(signature.objects) != 1 or not identifier:
            raise invalid("a XAdES signature has an Id and one Object with its properties")
        (qualifying,) = expect(signature.objects[0], _xades("QualifyingProperties"))
        if qualifying.get("Target") != f"#{identifier}":
            raise invalid("QualifyingProperties do not speak of this Signature")
        names = [child.tag for child in qualifying]
        if names not in ([_xades("SignedProperties")], [_xades("SignedProperties"), _xades("UnsignedProperties")]):
            raise invalid("QualifyingProperties must hold SignedProperties, then at most UnsignedProperties")
        return cls(qualifying[0], qualifying[1] if len(qualifying) > 1 else None)

    def stated(self, certificate: bytes) -> tuple[datetime, str]:
        """The time that the signer states, and the digest (as hashlib names it) by which it names its certificate.

        Refuses properties that name another than ``certificate``, or that this profile does not know.
        """
        found = _about_signature(self.signed)
        naming = found.get("SigningCertificateV2", found.get("SigningCertificate"))
        if naming is None or "SigningTime" not in found:
            raise invalid("the signed properties need one SigningTime and one SigningCertificateV2")
        unknown = found.keys() - _HARMLESS - _SIGNING_CERTIFICATES - {"SigningTime"}
        if unknown:
            raise invalid(f"the signed property {min(unknown)} is not known here")
        digest = _checked_certificate(naming, certificate)
        try:
            return lexical.instant(found["SigningTime"].text or ""), digest
        except ValueError as error:
            raise invalid(f"SigningTime: {error}") from None

    def formats(self) -> Mapping[str, str]:
        """Media types by the Id of the reference that they are of."""
        if len(self.signed) == 1:
            return {}
        about_data = self.signed[1]
        if len(self.signed) > 2 or about_data.tag != _xades("SignedDataObjectProperties"):  # noqa: PLR2004 - of the signature, of the data
            raise invalid("SignedProperties hold something else than SignedDataObjectProperties after the signature's own")
        for child in about_data:
            if child.tag not in _ABOUT_DATA:
                raise invalid(f"the signed property {etree.QName(child).localname} is not known here")
        formats = about_data.findall(_xades("DataObjectFormat"))
        found = {one.get("ObjectReference", "")[1:]: one.findtext(_xades("MimeType"), "") for one in formats}
        if len(found) != len(formats):
            raise invalid("two DataObjectFormat speak of one reference")
        return found

    def time_stamps(self, value: etree._Element) -> tuple[TimeStamp, ...]:
        """The time-stamps over ``value``, the SignatureValue, as this profile writes them: over its exclusive C14N, one token each."""
        if self.unsigned is None:
            return ()
        stamps = [list(one) for one in self.unsigned.findall(f"{_xades('UnsignedSignatureProperties')}/{_xades('SignatureTimeStamp')}")]
        tokens = [parts[1] for parts in stamps if [part.tag for part in parts] == _STAMP and parts[0].get("Algorithm") == EXC_C14N]
        return tuple(TimeStamp(decoded(token), canonicalize(value)) for token in tokens)


def write(identifier: str, at: datetime, certificate: bytes, formats: Mapping[str, str]) -> str:
    """SignedProperties of the signature ``identifier``; ``formats``: media types by the Id of the reference."""
    described = (_FORMAT.format(id=reference, media_type=escape(media_type)) for reference, media_type in formats.items())
    return _SIGNED_PROPERTIES.format(
        id=identifier, at=written(at), certificate=_signing_certificate(certificate), formats="".join(described)
    )


def placed(identifier: str, signed: str) -> str:
    """The ds:Object that holds them, as it stands in the ds:Signature."""
    return _OBJECT.format(id=identifier, signed=within(signed, xades=XADES, ds=DS))


def stamped(signed: bytes, token: bytes) -> bytes:
    """``signed``, which this package wrote, with ``token`` (DER) as its unsigned SignatureTimeStamp."""
    before, end, after = signed.rpartition(_END)
    if not end or b"<xades:UnsignedProperties>" in before:
        raise invalid("there is no XAdES signature here that could be given its time-stamp")
    return b"%b%b%b%b" % (before, _TIME_STAMP.format(token=encoded(token)).encode(), end, after)


def _xades(name: str) -> str:
    return f"{{{XADES}}}{name}"


_STAMP = [ds("CanonicalizationMethod"), _xades("EncapsulatedTimeStamp")]


@lru_cache(maxsize=64)
def _signing_certificate(certificate: bytes) -> str:
    value = encoded(hashlib.sha256(certificate).digest())
    return _SIGNING_CERTIFICATE.format(digest=value, issuer_serial=encoded(issuer_serial(x509.load_der_x509_certificate(certificate))))


def _about_signature(properties: etree._Element) -> dict[str, etree._Element]:
    """The SignedSignatureProperties by name, each there once."""
    about = next(iter(properties), None)
    if about is None or about.tag != _xades("SignedSignatureProperties"):
        raise invalid("SignedProperties must begin with SignedSignatureProperties")
    found = {etree.QName(child).localname: child for child in about if etree.QName(child).namespace == XADES}
    if len(found) != len(about):
        raise invalid("a signed property is there twice, or is not XAdES's")
    return found


def _checked_certificate(naming: etree._Element, certificate: bytes) -> str:
    """The digest of the first Cert, the signer's (section 5.2.2): it says which one, so issuer and serial beside it need not be read."""
    digests = naming.findall(f"{_xades('Cert')}/{_xades('CertDigest')}")
    if not digests:
        raise invalid("SigningCertificate names no certificate")
    method, value = expect(digests[0], ds("DigestMethod"), ds("DigestValue"))
    name = algorithm(DIGESTS, method.get("Algorithm", ""))
    if not hmac.compare_digest(hashlib.new(name, certificate).digest(), decoded(value)):
        raise invalid("the certificate in KeyInfo is not the one that the signed properties name")
    return name
