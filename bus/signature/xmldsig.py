"""Enveloped XML signatures: one signature in the document it signs, as a child of the root.

``sign_enveloped`` promises the exclusive C14N of the document with the Signature spliced in before the root's end tag.
``verify_enveloped`` promises that its ``octets`` are exactly the octets that a trusted key signed: use those, never the document.
KeyInfo only proposes a certificate; ``trust`` decides, by raising Rejected or returning an identity.

Raises Rejected: 5.6.x for what is not XML, ``security-missing``, ``signature-invalid``, ``algorithm-refused``, and what ``trust`` raises.

Standard: XML Signature 1.1, sections 4.4.3 (references) and 6.6.4 (enveloped signature transform).
"""

from collections.abc import Callable
from typing import TypeVar

from lxml import etree

from bus.errors import Rejected
from bus.hollow import Hollow
from bus.signature.policy import Policies, usual
from bus.signature.profile import Kind, Verified, invalid
from bus.signature.reading import Reference, Signature, decoded, ds, read, resolve
from bus.signature.writing import reference, signature, x509_data
from bus.signer import Signer
from bus.xmlio import canonicalize, parse, value_prefixes

T = TypeVar("T")


def sign_enveloped(document: bytes, signer: Signer, hollow: Hollow | None = None) -> bytes:
    """``document`` in canonical form with a Signature as the root's last child. ``hollow``: as ``xades.sign`` says."""
    octets, written = unsigned(document)
    whole = hollow.parsed(octets) if hollow else octets
    covering = reference("", whole, digest=signer.method.digest, kind=Kind.DOCUMENT)
    return spliced(written, signature(signer, [covering], x509_data(signer)))


def verify_enveloped(
    document: bytes, trust: Callable[[bytes], T], hollow: Hollow | None = None, *, policies: Policies[T] = usual
) -> Verified[T]:
    """What the document's one Signature proved; it is the only reference's whole document. ``hollow``: as ``xades.verify`` says."""
    root = parse(document)
    signed = the_signature(root)
    if signed.objects or len(signed.references) != 1:
        raise invalid("an enveloped signature has one reference and no Object here")
    (whole,) = signed.references
    check_whole(root, whole)
    certificate = embedded_certificate(signed.key_info)
    identity = trust(certificate)
    legacy = signed.check_value(certificate, policies(identity))
    octets = without(root, signed.element, whole.prefixes)
    whole.check(hollow.parsed(octets) if hollow else octets)
    return Verified(octets, certificate, identity, legacy=legacy)


def unsigned(document: bytes) -> tuple[bytes, bytes]:
    """The canonical octets of a document that is about to be signed, and those to be sent; refuses one that holds a Signature already.

    The two differ where only values use a prefix: what is sent keeps its declaration, which exclusive C14N does not see.
    """
    root = parse(document)
    refuse_signed(root)
    return canonicalize(root), canonicalize(root, inclusive_prefixes=value_prefixes(root))


def refuse_signed(root: etree._Element) -> None:
    """Refuse a document that holds a Signature already."""
    if next(root.iter(ds("Signature")), None) is not None:
        raise invalid("the document holds a Signature already; this profile knows one signature a document")


def spliced(octets: bytes, signature_text: bytes) -> bytes:
    """Canonical ``octets`` with ``signature_text`` as the root's last child: canonical form always has the root's end tag last."""
    end = octets.rindex(b"</")
    return b"%b%b%b" % (octets[:end], signature_text, octets[end:])


def the_signature(root: etree._Element) -> Signature:
    """The document's only ds:Signature, which must be a child of the root."""
    found = list(root.iter(ds("Signature")))
    if not found:
        raise Rejected("security-missing", check="the document has no ds:Signature")
    if len(found) > 1:
        raise invalid("the document holds more than one Signature")
    if found[0].getparent() is not root:
        raise invalid("the Signature is not a child of the root")
    return read(found[0])


def check_whole(root: etree._Element, whole: Reference) -> None:
    """Refuse a reference that is not to the whole document less the signature."""
    if whole.kind is not Kind.DOCUMENT:
        raise invalid("the reference to the document lacks the enveloped-signature transform")
    if whole.uri:
        resolve(root, [whole], [root])


def embedded_certificate(key_info: etree._Element) -> bytes:
    """The one certificate (DER) that KeyInfo proposes; a KeyName or a bare KeyValue beside it is not looked at."""
    data = [child for child in key_info if child.tag == ds("X509Data")]
    if len(data) != 1:
        raise invalid("KeyInfo must hold exactly one X509Data")
    return certificate_in(data[0])


def certificate_in(data: etree._Element) -> bytes:
    """The one X509Certificate of a ds:X509Data; names and serial numbers beside it are hints that need not be read."""
    certificates = [child for child in data if child.tag == ds("X509Certificate")]
    if len(certificates) != 1:
        raise invalid("X509Data must hold exactly one X509Certificate")
    return decoded(certificates[0])


def without(root: etree._Element, element: etree._Element, prefixes: tuple[str, ...]) -> bytes:
    """The canonical octets of ``root`` less its child ``element``, whose following text stays. Changes the tree."""
    tail, previous = element.tail or "", element.getprevious()
    if previous is not None:
        previous.tail = (previous.tail or "") + tail
    else:
        root.text = (root.text or "") + tail
    root.remove(element)
    return canonicalize(root, inclusive_prefixes=prefixes)
