"""XML signatures by Id: one signature over one element of a document, which stands at a place that the caller names.

``sign`` promises the document's exclusive C14N with an Id on that element, where it had none, and the Signature as the root's last child.
``verify`` promises that the *one* element at that place, and nothing but it, is what the document's only Signature covers: the Id leads to
it, and does not say what it is. Its ``octets`` are that element's; the rest of the document, where the Signature stands too, proves nothing
and must not be used.

A place is written as names below the root, such as ``Content`` or ``Header/Order``: at each step exactly one child of that local name.

Raises Rejected: 5.6.x for what is not XML, ``security-missing``, ``signature-invalid``, ``algorithm-refused``, and what ``trust`` raises.

Standard: XML Signature 1.1 sections 4.4.3.2 (same-document references by Id) and 4.4.3.3, and 4.5.4 (X509Data).
"""

import re
from collections.abc import Callable
from typing import TypeVar

from lxml import etree

from bus.errors import Rejected
from bus.hollow import Hollow
from bus.octets import digest
from bus.signature.policy import Policies, usual
from bus.signature.profile import Kind, Verified, invalid
from bus.signature.reading import canonical, check_id, ds, read, resolve
from bus.signature.writing import reference, signature, x509_data
from bus.signature.xmldsig import embedded_certificate, refuse_signed, spliced
from bus.signer import Signer
from bus.xmlio import canonicalize, parse, value_prefixes

T = TypeVar("T")

#: What a place looks like, for options.
PLACE = r"^[\w.-]+(/[\w.-]+)*$"
_ID = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)


def sign(document: bytes, place: str, signer: Signer, hollow: Hollow | None = None) -> bytes:
    """``document`` in canonical form with a signature over the element at ``place``. ``hollow``: as ``xades.sign`` says."""
    root, cut = parse(document), hollow or Hollow()
    refuse_signed(root)
    element = _at(root, place)
    if element.get("Id") is None:
        element.set("Id", f"signed-{digest(cut.parsed(canonicalize(element))).hex()[:32]}")
    identifier = element.get("Id", "")
    if not _ID.fullmatch(identifier):
        raise invalid(f"the Id {identifier[:80]!r} cannot be referred to")
    covering = reference(f"#{identifier}", cut.parsed(canonicalize(element)), digest=signer.method.digest)
    check_id(root, identifier, element)
    return spliced(canonicalize(root, inclusive_prefixes=value_prefixes(root)), signature(signer, [covering], x509_data(signer)))


def verify(
    document: bytes, place: str, trust: Callable[[bytes], T], hollow: Hollow | None = None, *, policies: Policies[T] = usual
) -> Verified[T]:
    """What the signature proved of the element at ``place``. The other parameters are as ``xades.verify`` says."""
    root = parse(document)
    found = list(root.iter(ds("Signature")))
    if not found:
        raise Rejected("security-missing", check="the document has no ds:Signature")
    if len(found) > 1:
        raise invalid("the document holds more than one Signature")
    element = _at(root, place)
    if element in found[0].iterancestors():
        raise invalid("the Signature stands inside the element that it should cover")
    signed = read(found[0], frozenset({Kind.ELEMENT}), most=1)
    if signed.objects:
        raise invalid("a signature by Id has no Object here")
    resolve(root, signed.references, [element])
    certificate = embedded_certificate(signed.key_info)
    identity = trust(certificate)
    legacy = signed.check_value(certificate, policies(identity))
    octets = canonical(signed.references[0], element, hollow or Hollow())
    return Verified(octets, certificate, identity, legacy=legacy)


def _at(root: etree._Element, place: str) -> etree._Element:
    """The one element at ``place``."""
    element = root
    for name in place.split("/"):
        found = element.findall(f"{{*}}{name}")
        if len(found) != 1:
            raise invalid(f"there is not exactly one {name} where {place} should be")
        (element,) = found
    return element
