"""The profile: every digest, transform and namespace that a signature may use, and what a verification returns.

Allow-lists, so that what is not here is refused (``algorithm-refused``, 5.7.6): MD5, HMAC, inclusive C14N, XPath, XSLT, base64 and
STR-Transform among them. What is here still needs a policy that says it counts (``policy``).
Raises through its callers: ``signature-invalid`` (5.7.7).

Standards: XML Signature 1.1; RFC 9231 (algorithm names); Exclusive XML Canonicalization 1.0; ETSI TS 119 312 (sizes, hashes).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Generic, TypeVar

from bus.errors import Rejected

T = TypeVar("T")

DS = "http://www.w3.org/2000/09/xmldsig#"
EXC_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = DS + "enveloped-signature"
XADES = "http://uri.etsi.org/01903/v1.3.2#"
SIGNED_PROPERTIES_TYPE = "http://uri.etsi.org/01903#SignedProperties"
_OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSSE = _OASIS + "wssecurity-secext-1.0.xsd"
WSU = _OASIS + "wssecurity-utility-1.0.xsd"
X509_TOKEN = _OASIS + "x509-token-profile-1.0#"
ATTACHMENT_CONTENT = "http://docs.oasis-open.org/wss/oasis-wss-SwAProfile-1.1#Attachment-Content-Signature-Transform"
BASE64_BINARY = _OASIS + "soap-message-security-1.0#Base64Binary"
USERNAME_TOKEN = _OASIS + "username-token-profile-1.0#"
SOAP_ENVELOPES = ("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope")

_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_ENC = "http://www.w3.org/2001/04/xmlenc#"
SHA256 = _ENC + "sha256"
#: Digest algorithms, by the name that hashlib knows.
DIGESTS: Mapping[str, str] = MappingProxyType(
    {SHA256: "sha256", _MORE + "sha384": "sha384", _ENC + "sha512": "sha512", DS + "sha1": "sha1"}
)
DIGEST_URIS: Mapping[str, str] = MappingProxyType({name: uri for uri, name in DIGESTS.items()})
#: Body, Timestamp, token and a handful of WS-Addressing headers; more is an attempt at our CPU.
MOST_REFERENCES = 10


class Kind(Enum):
    """What a reference covers, told by its transforms. A profile accepts the kinds that it knows how to find, and no other."""

    ELEMENT = "element"
    DOCUMENT = "document"
    FILE = "file"
    ATTACHMENT = "attachment"


#: The transforms of each kind. They are not the enum's values: Python 3.11.2 makes another object of a value that is an empty tuple.
TRANSFORMS: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        Kind.ELEMENT: (EXC_C14N,),
        Kind.DOCUMENT: (ENVELOPED, EXC_C14N),
        Kind.FILE: (),
        Kind.ATTACHMENT: (ATTACHMENT_CONTENT,),
    }
)


@dataclass(frozen=True, slots=True)
class TimeStamp:
    """An RFC 3161 ``token`` (DER) that lay in a signature, not looked into here, and the ``octets`` that it must have been made over."""

    token: bytes
    octets: bytes


@dataclass(frozen=True, slots=True)
class Verified(Generic[T]):
    """What a signature proved.

    ``octets``       the canonical octets that were signed: the document without its signature, the SOAP Body, or SignedInfo of files
    ``certificate``  the signer's certificate (DER), trusted
    ``identity``     what the trust callable said about it
    ``signed_at``    the time the signer states, or None where it states none
    ``legacy``       the algorithm that counted only because the identity's policy names it as legacy, or ""
    ``time_stamps``  what may prove that time to who trusts their authority; nothing of theirs is verified yet
    """

    octets: bytes
    certificate: bytes
    identity: T
    signed_at: datetime | None = None
    legacy: str = ""
    time_stamps: tuple[TimeStamp, ...] = ()


def invalid(check: str) -> Rejected:
    """The refusal that names the check that failed."""
    return Rejected("signature-invalid", check=check)


def algorithm(table: Mapping[str, T], uri: str) -> T:
    """The table's entry for ``uri``; refuses what is not in it."""
    if uri not in table:
        raise Rejected("algorithm-refused", algorithm=uri[:200])
    return table[uri]
