"""A ds:Signature written as text that is its own canonical form.

Every element that is digested or signed carries its own namespace declarations, in canonical order and with explicit end tags, so its
octets in the document are its exclusive C14N: a signature costs one hash, one RSA operation and no second parse.

Standards: XML Signature 1.1 section 4; Exclusive XML Canonicalization 1.0.
"""

import base64
import hashlib
from collections.abc import Sequence

from bus.keys import Signer
from bus.signature.profile import DS, ENVELOPED, EXC_C14N, SHA256

_REFERENCE = (
    '<ds:Reference{type} URI="{uri}"><ds:Transforms>{enveloped}<ds:Transform Algorithm="' + EXC_C14N + '"></ds:Transform></ds:Transforms>'
    '<ds:DigestMethod Algorithm="' + SHA256 + '"></ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>'
)
_ENVELOPED = f'<ds:Transform Algorithm="{ENVELOPED}"></ds:Transform>'
_SIGNED_INFO = (
    f'<ds:SignedInfo xmlns:ds="{DS}"><ds:CanonicalizationMethod Algorithm="{EXC_C14N}"></ds:CanonicalizationMethod>'
    '<ds:SignatureMethod Algorithm="{method}"></ds:SignatureMethod>{references}</ds:SignedInfo>'
)
_SIGNATURE = (
    f'<ds:Signature xmlns:ds="{DS}"'
    "{id}>{signed_info}<ds:SignatureValue>{value}</ds:SignatureValue><ds:KeyInfo>{key_info}</ds:KeyInfo>{objects}</ds:Signature>"
)


def reference(uri: str, octets: bytes, *, enveloped: bool = False, type_uri: str = "") -> str:
    """A ds:Reference to canonical ``octets`` by SHA-256; ``uri`` and ``type_uri`` need no escaping, we make them."""
    digest = encoded(hashlib.sha256(octets).digest())
    kind = f' Type="{type_uri}"' if type_uri else ""
    return _REFERENCE.format(type=kind, uri=uri, enveloped=_ENVELOPED if enveloped else "", digest=digest)


def signature(signer: Signer, references: Sequence[str], key_info: str, *, objects: str = "", identifier: str = "") -> bytes:
    """The whole ds:Signature over ``references``."""
    signed_info = _SIGNED_INFO.format(method=signer.algorithm, references="".join(references))
    value = encoded(signer.sign(signed_info.encode()))
    name = f' Id="{identifier}"' if identifier else ""
    return _SIGNATURE.format(id=name, signed_info=signed_info, value=value, key_info=key_info, objects=objects).encode()


def x509_data(signer: Signer) -> str:
    """KeyInfo's content that carries the signer's certificate."""
    return f"<ds:X509Data><ds:X509Certificate>{encoded(signer.certificate_der)}</ds:X509Certificate></ds:X509Data>"


def encoded(octets: bytes) -> str:
    """Base64 in one line."""
    return base64.b64encode(octets).decode("ascii")
