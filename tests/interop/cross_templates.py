"""Signatures as templates, for stacks that fill in digests and value (libxmlsec, openssl): XML-DSig, XAdES and WS-Security by hand.

Written from the standards and not by the bus's own writer, so that the two can disagree.

Standards: XML Signature 1.1 section 4; ETSI EN 319 132-1 section 5.2; WS-Security X.509 Token Profile 1.1 section 3.
"""

import base64
import hashlib
from datetime import timedelta

from cross_world import DOCUMENT, ENVELOPE, IDENTIFIED, IDENTIFIER, Algorithm, Identity, World

DS = "http://www.w3.org/2000/09/xmldsig#"
XADES = "http://uri.etsi.org/01903/v1.3.2#"
_OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSSE, WSU = f"{_OASIS}wssecurity-secext-1.0.xsd", f"{_OASIS}wssecurity-utility-1.0.xsd"
X509_V3 = f"{_OASIS}x509-token-profile-1.0#X509v3"
BASE64 = f"{_OASIS}soap-message-security-1.0#Base64Binary"
SIGNED_PROPERTIES = "http://uri.etsi.org/01903#SignedProperties"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
TOKEN = (
    f'<wsse:SecurityTokenReference xmlns:wsse="{WSSE}"><wsse:Reference URI="#token" ValueType="{X509_V3}"/></wsse:SecurityTokenReference>'
)


def template(profile: str, algorithm: Algorithm, identity: Identity, world: World) -> bytes:
    """The profile's document with a signature in it, but for the digests and the value."""
    return _BUILDERS[profile](algorithm, identity, world)


def qualifying_properties(identity: Identity, world: World) -> str:
    """XAdES-B-B's properties as any stack may carry them in a ds:Object (ETSI EN 319 132-1 sections 5.2.1, 5.2.2)."""
    digest = base64.b64encode(hashlib.sha256(identity.der).digest()).decode()
    return (
        f'<xades:QualifyingProperties xmlns:xades="{XADES}" Target="#foreign"><xades:SignedProperties Id="foreign-properties">'
        f"<xades:SignedSignatureProperties><xades:SigningTime>{world.now.strftime(_TIME)}</xades:SigningTime>"
        f'<xades:SigningCertificateV2><xades:Cert><xades:CertDigest><ds:DigestMethod xmlns:ds="{DS}" '
        f'Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue xmlns:ds="{DS}">{digest}</ds:DigestValue>'
        "</xades:CertDigest></xades:Cert></xades:SigningCertificateV2></xades:SignedSignatureProperties></xades:SignedProperties>"
        "</xades:QualifyingProperties>"
    )


def _xmldsig(algorithm: Algorithm, identity: Identity, _world: World) -> bytes:
    return _inside(DOCUMENT, _signature(algorithm, [_reference("", algorithm, enveloped=True)], x509_data(identity)))


def _by_id(algorithm: Algorithm, identity: Identity, _world: World) -> bytes:
    return _inside(IDENTIFIED, _signature(algorithm, [_reference(f"#{IDENTIFIER}", algorithm)], x509_data(identity)))


def _xades(algorithm: Algorithm, identity: Identity, world: World) -> bytes:
    properties = _reference("#foreign-properties", algorithm, kind=SIGNED_PROPERTIES)
    references = [_reference("", algorithm, enveloped=True), properties]
    held = f"<ds:Object>{qualifying_properties(identity, world)}</ds:Object>"
    return _inside(DOCUMENT, _signature(algorithm, references, x509_data(identity), held))


def _wss(algorithm: Algorithm, identity: Identity, world: World) -> bytes:
    return secured(identity, world, _signature(algorithm, [_reference("#body", algorithm), _reference("#time", algorithm)], TOKEN))


def secured(identity: Identity, world: World, signature: str = "") -> bytes:
    """The envelope with a Timestamp and a BinarySecurityToken in its Security header, and a signature where there is one."""
    security = (
        f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}" soapenv:mustUnderstand="1"><wsu:Timestamp wsu:Id="time">'
        f"<wsu:Created>{world.now.strftime(_TIME)}</wsu:Created>"
        f"<wsu:Expires>{(world.now + timedelta(minutes=5)).strftime(_TIME)}</wsu:Expires></wsu:Timestamp>"
        f'<wsse:BinarySecurityToken EncodingType="{BASE64}" ValueType="{X509_V3}" wsu:Id="token">{_base64(identity.der)}'
        f"</wsse:BinarySecurityToken>{signature}</wsse:Security>"
    )
    text = ENVELOPE.replace(b"<soapenv:Header>", b"<soapenv:Header>" + security.encode())
    return text.replace(b"<soapenv:Body>", f'<soapenv:Body xmlns:wsu="{WSU}" wsu:Id="body">'.encode())


_BUILDERS = {"xmldsig": _xmldsig, "by-id": _by_id, "xades": _xades, "wss": _wss}


def _signature(algorithm: Algorithm, references: list[str], key_info: str, objects: str = "") -> str:
    return (
        f'<ds:Signature xmlns:ds="{DS}" Id="foreign"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"/>'
        f'<ds:SignatureMethod Algorithm="{algorithm.uri}"/>{"".join(references)}</ds:SignedInfo>'
        f"<ds:SignatureValue></ds:SignatureValue><ds:KeyInfo>{key_info}</ds:KeyInfo>{objects}</ds:Signature>"
    )


def _reference(uri: str, algorithm: Algorithm, *, enveloped: bool = False, kind: str = "") -> str:
    first = f'<ds:Transform Algorithm="{DS}enveloped-signature"/>' if enveloped else ""
    typed = f' Type="{kind}"' if kind else ""
    return (
        f'<ds:Reference URI="{uri}"{typed}><ds:Transforms>{first}<ds:Transform Algorithm="{EXCLUSIVE}"/></ds:Transforms>'
        f'<ds:DigestMethod Algorithm="{algorithm.digest_uri}"/><ds:DigestValue></ds:DigestValue></ds:Reference>'
    )


def x509_data(identity: Identity) -> str:
    """KeyInfo's content that carries the certificate."""
    return f'<ds:X509Data xmlns:ds="{DS}"><ds:X509Certificate>{_base64(identity.der)}</ds:X509Certificate></ds:X509Data>'


def _inside(document: bytes, signature: str) -> bytes:
    end = document.rindex(b"</")
    return document[:end] + signature.encode() + document[end:]


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
