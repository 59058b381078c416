"""A ds:Signature written as text that is its own canonical form.

What is digested or signed is written as its exclusive C14N, with explicit end tags and the namespace declarations it needs; in its place
in the document those that are in scope there are left out (``within``), so that the signed document is canonical as well. A signature
costs one hash, one RSA operation and no second parse.

Standards: XML Signature 1.1 section 4; Exclusive XML Canonicalization 1.0.
"""

from collections.abc import Sequence

import pybase64

from bus.octets import Body
from bus.octets import digest as octets_digest
from bus.signature.profile import DIGEST_URIS, DS, EXC_C14N, TRANSFORMS, Kind
from bus.signer import Signer

_REFERENCE = (
    '<ds:Reference{identifier}{type} URI="{uri}">{transforms}'
    '<ds:DigestMethod Algorithm="{method}"></ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>'
)
_TRANSFORM = '<ds:Transform Algorithm="{}"></ds:Transform>'
_TRANSFORMS = {
    kind: f"<ds:Transforms>{''.join(map(_TRANSFORM.format, names))}</ds:Transforms>" if names else "" for kind, names in TRANSFORMS.items()
}
_SIGNED_INFO = (
    f'<ds:SignedInfo xmlns:ds="{DS}"><ds:CanonicalizationMethod Algorithm="{EXC_C14N}"></ds:CanonicalizationMethod>'
    '<ds:SignatureMethod Algorithm="{method}"></ds:SignatureMethod>{references}</ds:SignedInfo>'
)
_SIGNATURE = (
    f'<ds:Signature xmlns:ds="{DS}"'
    "{id}>{signed_info}<ds:SignatureValue>{value}</ds:SignatureValue><ds:KeyInfo>{key_info}</ds:KeyInfo>{objects}</ds:Signature>"
)


def reference(
    uri: str, octets: Body, *, digest: str = "sha256", kind: Kind = Kind.ELEMENT, type_uri: str = "", identifier: str = ""
) -> str:
    """A ds:Reference to ``octets``, canonical where ``kind`` says so; ``digest`` as hashlib names it. The texts need no escaping."""
    return _REFERENCE.format(
        identifier=f' Id="{identifier}"' if identifier else "",
        type=f' Type="{type_uri}"' if type_uri else "",
        uri=uri,
        transforms=_TRANSFORMS[kind],
        method=DIGEST_URIS[digest],
        digest=encoded(octets_digest(octets, digest)),
    )


def signature(signer: Signer, references: Sequence[str], key_info: str, *, objects: str = "", identifier: str = "") -> bytes:
    """The whole ds:Signature over ``references``."""
    signed_info = _SIGNED_INFO.format(method=signer.algorithm, references="".join(references))
    value = encoded(signer.sign(signed_info.encode()))
    name = f' Id="{identifier}"' if identifier else ""
    placed = within(signed_info, ds=DS)
    return _SIGNATURE.format(id=name, signed_info=placed, value=value, key_info=key_info, objects=objects).encode()


def within(text: str, **scope: str) -> str:
    """Canonical ``text`` of ours as it stands inside an element whose canonical form has declared these prefixes."""
    for prefix, uri in scope.items():
        text = text.replace(f' xmlns:{prefix}="{uri}"', "")
    return text


def x509_data(signer: Signer) -> str:
    """KeyInfo's content that carries the signer's certificate."""
    return f"<ds:X509Data><ds:X509Certificate>{encoded(signer.certificate_der)}</ds:X509Certificate></ds:X509Data>"


def encoded(octets: bytes) -> str:
    """Base64 in one line."""
    return pybase64.b64encode_as_string(octets)
