"""The floor's XML and crypto: the best known way with plain lxml and cryptography, measured against, never shipped.

It does the work that the route cannot do without, and none of the checks around it: it trusts its input. Signatures follow the same
profile as the bus's own (WS-Security X.509 token over Body and Timestamp, XAdES-B, exclusive C14N, RSA-SHA256), so both do equal work:

sign     parse, canonicalise once, splice the header's text in front of those octets
verify   by octets: equal digests prove that the octets at hand are the signed ones, so nothing is canonicalised but SignedInfo
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pybase64
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import load_pem_x509_certificate
from lxml import etree

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
DS = "http://www.w3.org/2000/09/xmldsig#"
XADES = "http://uri.etsi.org/01903/v1.3.2#"
_OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSSE, WSU = f"{_OASIS}wssecurity-secext-1.0.xsd", f"{_OASIS}wssecurity-utility-1.0.xsd"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_ENVELOPED = f"{DS}enveloped-signature"
_PROPERTIES = "http://uri.etsi.org/01903#SignedProperties"

_BODY = f'<soap:Body xmlns:soap="{SOAP}" xmlns:wsu="{WSU}" wsu:Id="body">'.encode()
_BODY_END = b"</soap:Body>"
_TIMESTAMP = (
    f'<wsu:Timestamp xmlns:wsu="{WSU}" wsu:Id="time"><wsu:Created>2026-01-01T00:00:00Z</wsu:Created>'
    "<wsu:Expires>2026-01-01T00:05:00Z</wsu:Expires></wsu:Timestamp>"
).encode()


@dataclass(frozen=True, slots=True)
class Key:
    """A private key with its certificate, loaded once."""

    private: rsa.RSAPrivateKey
    certificate: bytes

    @classmethod
    def load(cls, key: Path, certificate: Path) -> "Key":
        """From PEM files."""
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        if not isinstance(private, rsa.RSAPrivateKey):
            raise TypeError(f"{key} is not an RSA key")
        loaded = load_pem_x509_certificate(certificate.read_bytes())
        return cls(private, loaded.public_bytes(serialization.Encoding.DER))

    def sign(self, data: bytes) -> str:
        """RSA-SHA256, as SignatureValue's text."""
        return encoded(self.private.sign(data, padding.PKCS1v15(), hashes.SHA256()))

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise where ``signature`` is not over ``data``."""
        self.private.public_key().verify(signature, data, padding.PKCS1v15(), hashes.SHA256())


def encoded(data: bytes) -> str:
    """Base64 text."""
    return pybase64.b64encode(data).decode()


def digest(data: bytes) -> str:
    """SHA-256, as DigestValue's text."""
    return encoded(hashlib.sha256(data).digest())


def parse(data: bytes) -> etree._Element:
    """A hardened parse: no DTD, no entities, no network, a new parser each time."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True)
    return etree.fromstring(data, parser)


def canonical(element: etree._Element) -> bytes:
    """Exclusive C14N without comments, in place."""
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=False, with_tail=False)


def sign_envelope(payload: bytes, key: Key) -> bytes:
    """A signed envelope around ``payload``."""
    body = b"".join((_BODY, canonical(parse(payload)), _BODY_END))
    info = _signed_info(_reference("#body", digest(body)), _reference("#time", digest(_TIMESTAMP)))
    security = (
        f'<wsse:Security xmlns:wsse="{WSSE}" soap:mustUnderstand="1"><wsse:BinarySecurityToken xmlns:wsu="{WSU}" wsu:Id="token" '
        f'EncodingType="{_OASIS}soap-message-security-1.0#Base64Binary" ValueType="{_OASIS}x509-token-profile-1.0#X509v3">'
        f"{encoded(key.certificate)}</wsse:BinarySecurityToken>{_TIMESTAMP.decode()}"
        f'<ds:Signature xmlns:ds="{DS}">{info}<ds:SignatureValue>{key.sign(info.encode())}</ds:SignatureValue><ds:KeyInfo>'
        '<wsse:SecurityTokenReference><wsse:Reference URI="#token"/></wsse:SecurityTokenReference></ds:KeyInfo></ds:Signature>'
        "</wsse:Security>"
    )
    head = f'<soap:Envelope xmlns:soap="{SOAP}"><soap:Header>{security}</soap:Header>'.encode()
    return b"".join((head, body, b"</soap:Envelope>"))


def verify_envelope(envelope: bytes, key: Key) -> etree._Element:
    """The Body of an envelope that ``sign_envelope`` made, parsed from exactly the signed octets; raises where it is not."""
    begin, end = envelope.index(_BODY), envelope.rindex(_BODY_END) + len(_BODY_END)
    body = envelope[begin:end]
    info = next(parse(envelope[:begin] + envelope[end:]).iter(f"{{{DS}}}SignedInfo"))
    expected = [value.text for value in info.iter(f"{{{DS}}}DigestValue")]
    if expected != [digest(body), digest(_TIMESTAMP)]:
        raise ValueError("the digests differ")
    value = info.getnext()
    assert value is not None
    key.verify(pybase64.b64decode(value.text or ""), canonical(info))
    return parse(body)


def sign_receipt(receipt: bytes, key: Key) -> bytes:
    """A receipt with an enveloped XAdES-B signature; ``receipt`` is canonical by construction, as every text here."""
    properties = (
        f'<xades:SignedProperties xmlns:xades="{XADES}" Id="properties"><xades:SignedSignatureProperties>'
        "<xades:SigningTime>2026-01-01T00:00:00Z</xades:SigningTime><xades:SigningCertificateV2><xades:Cert><xades:CertDigest>"
        f'<ds:DigestMethod xmlns:ds="{DS}" Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></ds:DigestMethod>'
        f'<ds:DigestValue xmlns:ds="{DS}">{digest(key.certificate)}</ds:DigestValue></xades:CertDigest></xades:Cert>'
        "</xades:SigningCertificateV2></xades:SignedSignatureProperties></xades:SignedProperties>"
    )
    whole = _reference("", digest(receipt), _ENVELOPED)
    info = _signed_info(whole, _reference("#properties", digest(properties.encode()), kind=_PROPERTIES))
    signature = (
        f'<ds:Signature xmlns:ds="{DS}" Id="signature">{info}<ds:SignatureValue>{key.sign(info.encode())}</ds:SignatureValue><ds:KeyInfo>'
        f"<ds:X509Data><ds:X509Certificate>{encoded(key.certificate)}</ds:X509Certificate></ds:X509Data></ds:KeyInfo><ds:Object>"
        f'<xades:QualifyingProperties xmlns:xades="{XADES}" Target="#signature">{properties}</xades:QualifyingProperties>'
        "</ds:Object></ds:Signature>"
    )
    end = receipt.rindex(b"</")
    return b"".join((receipt[:end], signature.encode(), receipt[end:]))


def _signed_info(*references: str) -> str:
    return (
        f'<ds:SignedInfo xmlns:ds="{DS}"><ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"></ds:CanonicalizationMethod>'
        '<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"></ds:SignatureMethod>'
        f"{''.join(references)}</ds:SignedInfo>"
    )


def _reference(uri: str, value: str, *transforms: str, kind: str = "") -> str:
    named = "".join(f'<ds:Transform Algorithm="{transform}"></ds:Transform>' for transform in (*transforms, EXCLUSIVE))
    typed = f' Type="{kind}"' if kind else ""
    return (
        f'<ds:Reference{typed} URI="{uri}"><ds:Transforms>{named}</ds:Transforms>'
        '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></ds:DigestMethod>'
        f"<ds:DigestValue>{value}</ds:DigestValue></ds:Reference>"
    )
