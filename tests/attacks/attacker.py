"""What an attacker has: messages that partners signed, a partner's own key (the insider), a key of nobody, and a pen.

``Forger`` makes rightly signed requests by two independent stacks (the bus's own writer, and zeep with libxmlsec), and signs again what
was altered. An outsider's alterations break a signature; an insider's do not, so that what refuses them is a rule and not arithmetic.
"""

import base64
import copy
import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import xmlsec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree
from zeep.wsse.signature import BinarySignature
from zeep.wsse.utils import get_security_header

from bus import soap
from bus.signature import wss
from bus.signature.profile import SOAP_ENVELOPES, WSSE, WSU
from bus.signature.times import written
from bus.signer import Signer
from bus.soap import SOAP_11, SOAP_12, Version

DS = "{http://www.w3.org/2000/09/xmldsig#}"
ID = f"{{{WSU}}}Id"
EXC = "http://www.w3.org/2001/10/xml-exc-c14n#"
CONTENT_TYPES = {SOAP_11: "text/xml; charset=utf-8", SOAP_12: "application/soap+xml; charset=utf-8"}
_DIGESTS = {
    "http://www.w3.org/2000/09/xmldsig#sha1": hashlib.sha1,
    "http://www.w3.org/2001/04/xmldsig-more#md5": hashlib.md5,
    "http://www.w3.org/2001/04/xmldsig-more#sha224": hashlib.sha224,
    "http://www.w3.org/2001/04/xmlenc#sha256": hashlib.sha256,
    "http://www.w3.org/2001/04/xmldsig-more#sha384": hashlib.sha384,
    "http://www.w3.org/2001/04/xmlenc#sha512": hashlib.sha512,
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "http://www.w3.org/2000/09/xmldsig#rsa-sha1": hashes.SHA1(),
    "http://www.w3.org/2001/04/xmldsig-more#rsa-md5": hashes.MD5(),
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha224": hashes.SHA224(),
}


@dataclass(frozen=True)
class Case:
    """One request that must be refused. ``kind`` groups it in the table."""

    kind: str
    name: str
    body: bytes
    content_type: str
    endpoint: str = "documents"


#: Alters a signed envelope in place, or gives other octets for it.
Mutation = Callable[[etree._Element], bytes | None]


@dataclass(frozen=True)
class Forger:
    """The attacker's workshop. ``home`` holds the partner's ``system.key`` and ``system.crt``; ``payload`` makes a request's content."""

    partner: Signer
    stranger: Signer
    home: Path
    payload: Callable[[int], bytes]

    def signed(self, version: Version, stack: str, number: int, signer: Signer | None = None, at: datetime | None = None) -> bytes:
        """A request that would be accepted (if its signer were the partner, now)."""
        envelope = soap.envelope(version, self.payload(number))
        if stack == "ours":
            return wss.sign(envelope, signer or self.partner, at or datetime.now(UTC))
        root = etree.fromstring(envelope)
        stamp = etree.SubElement(get_security_header(root), f"{{{WSU}}}Timestamp")
        moment = at or datetime.now(UTC)
        etree.SubElement(stamp, f"{{{WSU}}}Created").text = written(moment)
        methods = {"signature_method": xmlsec.constants.TransformRsaSha256, "digest_method": xmlsec.constants.TransformSha256}
        BinarySignature(str(self.home / "system.key"), str(self.home / "system.crt"), **methods).apply(root, {})
        return etree.tostring(root)

    def again(self, root: etree._Element) -> None:
        """The insider's part: digests and SignatureValue made right for what the message says now, as far as they can be."""
        canonical: dict[str | None, bytes] = {}
        for reference in root.iter(f"{DS}Reference"):
            value, method = reference.find(f"{DS}DigestValue"), reference.find(f"{DS}DigestMethod")
            uri = reference.get("URI")
            if uri not in canonical:
                target = self._target(root, uri)
                canonical[uri] = b"" if target is None else _canonical(target)
            digest = _DIGESTS.get(method.get("Algorithm") if method is not None else "")
            if value is not None and canonical[uri] and digest is not None:
                value.text = base64.b64encode(digest(canonical[uri]).digest()).decode()
        for signature in root.iter(f"{DS}Signature"):
            info, value = signature.find(f"{DS}SignedInfo"), signature.find(f"{DS}SignatureValue")
            if info is not None and value is not None:
                value.text = base64.b64encode(self.value(info)).decode()

    @staticmethod
    def _target(root: etree._Element, uri: str | None) -> etree._Element | None:
        if not uri:
            return root
        found = [element for element in root.iter() if isinstance(element.tag, str) and element.get(ID) == uri[1:]]
        return found[0] if found else None

    def value(self, info: etree._Element) -> bytes:
        """A SignatureValue over this SignedInfo, by the method that it names, as far as the partner's key goes."""
        method = info.find(f"{DS}SignatureMethod")
        name = method.get("Algorithm", "") if method is not None else ""
        if "hmac" in name:
            # The algorithm confusion: the partner's certificate, which everybody has, as the secret of an HMAC.
            sponge = hashlib.sha1 if name.endswith("sha1") else hashlib.sha256
            return hmac.new(self.partner.certificate_der, _canonical(info), sponge).digest()
        if name in _HASHES:
            key = load_pem_private_key((self.home / "system.key").read_bytes(), None)
            assert isinstance(key, rsa.RSAPrivateKey)
            return key.sign(_canonical(info), padding.PKCS1v15(), _HASHES[name])
        return self.partner.sign(_canonical(info))


def _canonical(element: etree._Element) -> bytes:
    # As a verifier would: the element alone, without its tail.
    alone = copy.copy(element)
    return etree.tostring(alone, method="c14n", exclusive=True, with_comments=False, with_tail=False)


def version_of(root: etree._Element) -> Version:
    """The SOAP version an envelope was made in."""
    return SOAP_11 if etree.QName(root).namespace == SOAP_ENVELOPES[0] else SOAP_12


def cases(
    forger: Forger, kind: str, mutations: Iterable[tuple[str, Mutation]], *, insider: bool, stacks: tuple[str, ...]
) -> Iterable[Case]:
    """Each mutation of a message of each stack and version, by an outsider and, if it makes sense, by an insider."""
    number = 0
    for name, mutate in mutations:
        for stack in stacks:
            for version in (SOAP_11, SOAP_12):
                for resign in (False, True) if insider else (False,):
                    number += 1
                    root = etree.fromstring(forger.signed(version, stack, number))
                    octets = mutate(root)
                    if resign:
                        root = root if octets is None else etree.fromstring(octets)
                        forger.again(root)
                        octets = None
                    by = "insider" if resign else "outsider"
                    body = etree.tostring(root) if octets is None else octets
                    yield Case(kind, f"{name} ({stack}, {version.name}, {by})", body, CONTENT_TYPES[version])


def security(root: etree._Element) -> etree._Element:
    """The wsse:Security header."""
    found = root.find(f".//{{{WSSE}}}Security")
    assert found is not None
    return found
