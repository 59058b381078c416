"""One ds:Signature read by a strict grammar, and its two checks: digests and signature value.

The grammar is XML Signature's with everything optional and dangerous left out: exactly one SignedInfo, SignatureValue and KeyInfo, a few
references, no attribute that is not named here, and only the transforms of ``Kind``, of which a profile names those that it takes.
Raises Rejected: ``signature-invalid`` or ``algorithm-refused``.

Standards: XML Signature 1.1 sections 4 and 6; XML Signature Best Practices (references before content, no transforms but these).
"""

import binascii
import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pybase64
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from lxml import etree

from bus import lexical
from bus.hollow import Hollow
from bus.memo import remembered
from bus.methods import BY_URI, LEAST_RSA_BITS, PublicKey, WrongKey
from bus.octets import Body, digest
from bus.signature.policy import SignaturePolicy
from bus.signature.profile import (
    DIGESTS,
    DS,
    EXC_C14N,
    MOST_REFERENCES,
    TRANSFORMS,
    WSU,
    Kind,
    algorithm,
    invalid,
)
from bus.xmlio import canonicalize

_XML_ID = "{http://www.w3.org/XML/1998/namespace}id"
#: The attributes that a reference may resolve by.
_REGISTERED = (f"{{{WSU}}}Id", "Id", _XML_ID)
#: Those that any verifier might resolve by: a referenced value must be unique among all of them.
_IDS = etree.XPath("/descendant::*[@*][@wsu:Id or @Id or @xml:id or @ID or @id]", namespaces={"wsu": WSU}, regexp=False)
_ANY_ID = (*_REGISTERED, "ID", "id")
#: libxml2 goes through the list at every element: without a bound, a hostile list makes canonicalisation quadratic.
_MOST_PREFIXES = 64
#: Octets of a certificate whose key is remembered: real ones have two thousand.
_SMALL = 8 << 10
_PREFIX_LIST = f"{{{EXC_C14N}}}InclusiveNamespaces"


def ds(name: str) -> str:
    """``name`` in the XML-DSig namespace."""
    return f"{{{DS}}}{name}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A ds:Reference. ``id``: its Id or ""; ``prefixes``: its exclusive C14N's InclusiveNamespaces; ``digest`` as hashlib names it."""

    id: str
    uri: str
    type: str
    kind: Kind
    prefixes: tuple[str, ...]
    digest: str
    value: bytes

    def check(self, octets: Body | memoryview) -> None:
        """Refuse ``octets`` that do not have this reference's digest."""
        if not hmac.compare_digest(digest(octets, self.digest), self.value):
            raise invalid(f"the digest of {self.uri or 'the document'} differs: the content was changed")


@dataclass(frozen=True, slots=True)
class Signature:
    """A ds:Signature's parts; nothing is verified yet."""

    element: etree._Element
    signed_info: etree._Element
    prefixes: tuple[str, ...]
    method: str
    references: tuple[Reference, ...]
    value: bytes
    key_info: etree._Element
    objects: tuple[etree._Element, ...]

    def check_value(self, certificate: bytes, policy: SignaturePolicy, also: Collection[str] = ()) -> str:
        """Refuse a SignatureValue that is not this certificate's key's over SignedInfo, or is not of a kind that counts.

        The caller has trusted the certificate; ``policy`` is its owner's; ``also``: digests used beside the references. Returns the
        name of what counted only as legacy, or "".
        """
        method, legacy = policy.admit(self.method, {*(one.digest for one in self.references), *also})
        octets = canonicalize(self.signed_info, inclusive_prefixes=self.prefixes)
        try:
            method.verify(_public_key(certificate), self.value, octets)
        except WrongKey:
            raise invalid("the signature algorithm does not fit the certificate's key") from None
        except InvalidSignature:
            raise invalid("SignatureValue does not fit SignedInfo and the certificate's key") from None
        return legacy


_KINDS = {names: kind for kind, names in TRANSFORMS.items()}
_TRANSFORM = ds("Transform")
_TRANSFORMS = {name: name for names in TRANSFORMS.values() for name in names}
#: What a signature inside a document may cover.
IN_DOCUMENT = frozenset({Kind.ELEMENT, Kind.DOCUMENT})


def read(element: etree._Element, kinds: Collection[Kind] = IN_DOCUMENT, most: int = MOST_REFERENCES) -> Signature:
    """The parts of a ds:Signature of at most ``most`` references of these ``kinds``; refuses whatever the profile does not know."""
    _attributes(element, ("Id",))
    children = list(element)
    head, objects = children[:3], children[3:]
    if [child.tag for child in head] != [ds("SignedInfo"), ds("SignatureValue"), ds("KeyInfo")]:
        raise invalid("Signature must hold SignedInfo, SignatureValue and KeyInfo, one each and in this order")
    if any(child.tag != ds("Object") for child in objects):
        raise invalid("Signature holds something else than Object after KeyInfo")
    info, value, key_info = head
    prefixes, method, references = _signed_info(info, most)
    for one in references:
        if one.kind not in kinds:
            raise invalid(f"the reference {one.uri[:80]!r} has transforms that are not for this kind of signature")
    return Signature(element, info, prefixes, method, references, decoded(value), key_info, tuple(objects))


def canonical(reference: Reference, element: etree._Element, hollow: Hollow) -> bytes:
    """The octets of ``element`` that ``reference`` covers, its digest checked; with the stand-ins of ``hollow`` in them."""
    octets = canonicalize(element, inclusive_prefixes=reference.prefixes)
    reference.check(hollow.parsed(octets))
    return octets


def resolve(root: etree._Element, references: Collection[Reference], allowed: Collection[etree._Element]) -> list[etree._Element]:
    """The element each reference points at: one of ``allowed``, by a value of wsu:Id, Id or xml:id that is unique in the document."""
    holders = _holders(root)
    return [_resolved(reference.uri, holders, allowed) for reference in references]


def check_id(root: etree._Element, identifier: str, element: etree._Element) -> None:
    """Refuse to refer to ``element`` by an ``identifier`` that does not lead to it, and to nothing else."""
    _resolved(f"#{identifier}", _holders(root), [element])


def _holders(root: etree._Element) -> dict[str, set[etree._Element]]:
    """The elements that hold each value of any attribute that a verifier might resolve by."""
    holders: dict[str, set[etree._Element]] = {}
    for holder in _IDS(root):  # type: ignore[union-attr]
        for name in _ANY_ID:
            value = holder.get(name)  # type: ignore[union-attr]
            if value is not None:
                holders.setdefault(value, set()).add(holder)  # type: ignore[arg-type]
                if len(holders[value]) > 1 and name in (_REGISTERED[0], _XML_ID):
                    raise invalid(f"the Id {value[:80]!r} occurs twice")
    return holders


def expect(element: etree._Element, *names: str) -> list[etree._Element]:
    """The element's children, which must have exactly these tags."""
    children = list(element)
    if tuple(child.tag for child in children) != names:
        wanted = ", ".join(etree.QName(name).localname for name in names)
        raise invalid(f"{etree.QName(element).localname} must hold exactly {wanted}")
    return children


def decoded(element: etree._Element) -> bytes:
    """The element's base64 content; white space is allowed, anything else that is not base64 is not."""
    text = "".join(lexical.words(element.text or ""))
    try:
        octets = pybase64.b64decode(text.encode(), validate=True)
    except (binascii.Error, ValueError):
        octets = b""
    if not octets or len(element):
        raise invalid(f"{etree.QName(element).localname} is not base64")
    return octets


def _resolved(uri: str, holders: dict[str, set[etree._Element]], allowed: Collection[etree._Element]) -> etree._Element:
    if not uri.startswith("#") or len(uri) == 1:
        raise invalid(f"the reference {uri[:80]!r} does not name an element of this document by its Id")
    found = holders.get(uri[1:], set())
    if len(found) > 1:
        raise invalid(f"the Id {uri[1:][:80]!r} occurs twice")
    target = next(iter(found), None)
    if target is None or target not in allowed or uri[1:] not in {target.get(name) for name in _REGISTERED}:
        raise invalid(f"the reference {uri[:80]!r} points at nothing that may be signed here")
    return target


def _signed_info(element: etree._Element, most: int) -> tuple[tuple[str, ...], str, tuple[Reference, ...]]:
    _attributes(element, ("Id",))
    children = list(element)
    if [child.tag for child in children[:2]] != [ds("CanonicalizationMethod"), ds("SignatureMethod")]:
        raise invalid("SignedInfo must begin with CanonicalizationMethod and SignatureMethod")
    references = children[2:]
    if not 1 <= len(references) <= most or any(child.tag != ds("Reference") for child in references):
        raise invalid(f"SignedInfo must hold 1 to {most} Reference elements and nothing else after them")
    canonicalization, method = children[:2]
    _attributes(method, ("Algorithm",))
    algorithm(BY_URI, method.get("Algorithm", ""))
    expect(method)
    return _exclusive(canonicalization), method.get("Algorithm", ""), tuple(_reference(child) for child in references)


def _reference(element: etree._Element) -> Reference:
    _attributes(element, ("Id", "Type", "URI"))
    if "URI" not in element.attrib:
        raise invalid("a Reference has no URI")
    transforms, method, value = _reference_parts(element)
    _attributes(method, ("Algorithm",))
    digest = algorithm(DIGESTS, method.get("Algorithm", ""))
    expect(method)
    kind, prefixes = _transforms(transforms)
    return Reference(element.get("Id", ""), element.get("URI", ""), element.get("Type", ""), kind, prefixes, digest, decoded(value))


def _reference_parts(element: etree._Element) -> tuple[Sequence[etree._Element], etree._Element, etree._Element]:
    """The transforms, none where the octets are taken as they are; the digest's method and value."""
    if len(element) == 2:  # noqa: PLR2004 - without Transforms
        method, value = expect(element, ds("DigestMethod"), ds("DigestValue"))
        return (), method, value
    transforms, method, value = expect(element, ds("Transforms"), ds("DigestMethod"), ds("DigestValue"))
    _attributes(transforms, ())
    if not len(transforms):
        raise invalid("Transforms is empty")
    return list(transforms), method, value


def _transforms(steps: Sequence[etree._Element]) -> tuple[Kind, tuple[str, ...]]:
    """What a reference with these transforms covers, and the prefixes of its exclusive C14N."""
    names = tuple([step.get("Algorithm", "") for step in steps])
    if names not in _KINDS or any([step.tag != _TRANSFORM for step in steps]):  # noqa: C419 - one or two, on the way of every message
        for name in names:
            algorithm(_TRANSFORMS, name)
        raise invalid("Transforms are not in a number and order that have a meaning here")
    prefixes: tuple[str, ...] = ()
    for step, name in zip(steps, names, strict=True):
        if name == EXC_C14N:
            prefixes = _exclusive(step)
        else:
            _attributes(step, ("Algorithm",))
            expect(step)
    return _KINDS[names], prefixes


def _exclusive(element: etree._Element) -> tuple[str, ...]:
    """The PrefixList of an exclusive C14N method or transform; refuses every other algorithm."""
    _attributes(element, ("Algorithm",))
    algorithm({EXC_C14N: ()}, element.get("Algorithm", ""))
    if not len(element):
        return ()
    (inclusive,) = expect(element, _PREFIX_LIST)
    _attributes(inclusive, ("PrefixList",))
    prefixes = tuple(dict.fromkeys(lexical.words(inclusive.get("PrefixList", ""))))
    if len(prefixes) > _MOST_PREFIXES:
        raise invalid(f"a PrefixList names more than {_MOST_PREFIXES} prefixes")
    return prefixes


def _attributes(element: etree._Element, allowed: tuple[str, ...]) -> None:
    for name in element.attrib:
        if name not in allowed:
            raise invalid(f"{etree.QName(element).localname} has an attribute {etree.QName(name).localname[:80]!r} that is not known here")


@remembered(1024, _SMALL)
def _public_key(certificate: bytes) -> PublicKey:
    """The key in a certificate (DER), which may be a stranger's."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise invalid("the certificate's key cannot be read") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        raise invalid(f"the certificate's key is weak: RSA with {key.key_size} bits, where {LEAST_RSA_BITS} are the least")
    if not isinstance(key, PublicKey):
        raise invalid("the certificate's key is of a kind that signs nothing here")
    return key
