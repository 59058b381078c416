"""XAdES-B-B and B-T, detached: one signature over files that lie beside it, as an ASiC-E container holds them.

``sign_files`` promises a ``XAdESSignatures`` document with one ds:Signature that refers to each file by its name, takes its octets as they
are, and signs its media type, the time and the certificate as well.
``verify_files`` promises that every file given is covered exactly once, and that nothing else is: a file too many is refused as one too
few is. The document must be spelt in the one way in which it is its own canonical form, base64 included, so that no octet of it can be
changed unnoticed, but for those of its time-stamps, which are handed out as they are.

Raises Rejected: 5.6.x for what is not XML, ``signature-invalid`` (naming the file), ``algorithm-refused``, and what ``trust`` raises.

Standards: ETSI EN 319 162-1 V1.1.1 sections 4.4.3.2 and 4.4.4 (ASiC-E with XAdES), annex A.7 (XAdESSignatures); ETSI EN 319 132-1 (see
``properties``); XML Signature 1.1 section 4.4.3.1 (references by URI); RFC 3986 (names as URIs).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

from lxml import etree

from bus.octets import Body, digest
from bus.signature import properties
from bus.signature.policy import Policies, ours
from bus.signature.profile import SIGNED_PROPERTIES_TYPE, XADES, Kind, Verified, invalid
from bus.signature.properties import Properties
from bus.signature.reading import Reference, Signature, decoded, ds, expect, read
from bus.signature.writing import encoded, reference, signature, x509_data
from bus.signature.xades import check_properties
from bus.signature.xmldsig import embedded_certificate
from bus.signer import Signer
from bus.xmlio import canonicalize, parse

T = TypeVar("T")

NAMESPACE = "http://uri.etsi.org/02918/v1.2.1#"
#: Files that one signature covers. A message has a handful, its receipts some more.
MOST_FILES = 1000
_ROOT = f"{{{NAMESPACE}}}XAdESSignatures"
_SIGNED = (ds("SignedInfo"), f"{{{XADES}}}SignedProperties")
#: All that may stand outside of what is signed, once each, and the attributes that it has.
_UNSIGNED: Mapping[str, tuple[str, ...]] = {
    _ROOT: (),
    ds("Signature"): ("Id",),
    ds("SignatureValue"): (),
    ds("KeyInfo"): (),
    ds("X509Data"): (),
    ds("X509Certificate"): (),
    ds("Object"): (),
    f"{{{XADES}}}QualifyingProperties": ("Target",),
    f"{{{XADES}}}UnsignedProperties": (),
    f"{{{XADES}}}UnsignedSignatureProperties": (),
    f"{{{XADES}}}SignatureTimeStamp": (),
    ds("CanonicalizationMethod"): ("Algorithm",),
    f"{{{XADES}}}EncapsulatedTimeStamp": (),
}
#: What of it is base64, which could be spelt in several ways.
_SPELT = (ds("SignatureValue"), ds("X509Certificate"), f"{{{XADES}}}EncapsulatedTimeStamp")


@dataclass(frozen=True, slots=True)
class File:
    """A file by its ``name``: its path from the container's root, such as ``receipts/1.xml``."""

    name: str
    body: Body
    media_type: str = "application/octet-stream"


def sign_files(files: Sequence[File], signer: Signer, at: datetime) -> bytes:
    """The signature document over ``files``, signed at ``at``. Raises ValueError for none, too many, or two of one name."""
    if not 0 < len(files) <= MOST_FILES or len({file.name for file in files}) != len(files):
        raise ValueError(f"a signature covers 1 to {MOST_FILES} files, each with a name of its own")
    algorithm = signer.method.digest
    identifier = "xades-" + digest(b"".join(digest(file.body) for file in files)).hex()[:32]
    names = [f"{identifier}-file-{number}" for number in range(1, len(files) + 1)]
    formats = {name: file.media_type for name, file in zip(names, files, strict=True)}
    said = properties.write(identifier, at, signer.certificate_der, formats)
    references = [
        reference(_uri(file.name), file.body, digest=algorithm, kind=Kind.FILE, identifier=name)
        for name, file in zip(names, files, strict=True)
    ]
    references.append(reference(f"#{identifier}-properties", said.encode(), digest=algorithm, type_uri=SIGNED_PROPERTIES_TYPE))
    objects = properties.placed(identifier, said)
    signed = signature(signer, references, x509_data(signer), objects=objects, identifier=identifier)
    return b'<asic:XAdESSignatures xmlns:asic="%b">%b</asic:XAdESSignatures>' % (NAMESPACE.encode(), signed)


def verify_files(document: bytes, files: Mapping[str, Body], trust: Callable[[bytes], T], *, policies: Policies[T] = ours) -> Verified[T]:
    """What the signature proved of all the ``files``, by their names. ``octets`` is SignedInfo, which holds the files' digests.

    ``trust`` gets the certificate (DER) and raises Rejected, or returns who it is; ``policies`` tells which methods count for whom.
    """
    root = parse(document)
    if root.tag != _ROOT or root.attrib:
        raise invalid("this is not an ASiC signature document")
    (element,) = expect(root, ds("Signature"))
    _check_spelling(root, document)
    signed = read(element, frozenset({Kind.FILE, Kind.ELEMENT}), MOST_FILES + 2)
    said = Properties.of(signed)
    certificate = embedded_certificate(signed.key_info)
    at, named_by = said.stated(certificate)
    identity = trust(certificate)
    legacy = signed.check_value(certificate, policies(identity), [named_by])
    check_properties(root, signed, said, [one for one in signed.references if one.kind is Kind.ELEMENT])
    _check_files(signed, said, files)
    stamps = said.time_stamps(element[1])
    if len(stamps) != (said.unsigned is not None):
        raise invalid("UnsignedProperties hold something else than one time-stamp over exclusive C14N")
    return Verified(canonicalize(signed.signed_info, inclusive_prefixes=signed.prefixes), certificate, identity, at, legacy, stamps)


def _uri(name: str) -> str:
    return quote(name, safe="/")


def _check_spelling(root: etree._Element, document: bytes) -> None:
    """Refuse a document that could have been written in any other way and mean the same."""
    if canonicalize(root) != document:
        raise invalid("the signature document is not written in canonical form")
    seen: set[str] = set()
    for element in _outside(root):
        name = etree.QName(element).localname
        if element.tag in seen or tuple(element.attrib) != _UNSIGNED.get(element.tag):
            raise invalid(f"{name} is not known here, there twice, or has other attributes than it should")
        seen.add(element.tag)
        if element.tail or (len(element) and element.text):
            raise invalid(f"there is text in or after {name}")
        if element.tag in _SPELT and encoded(decoded(element)) != element.text:
            raise invalid(f"{name} is not written as base64 is")


def _outside(element: etree._Element) -> Iterator[etree._Element]:
    """The elements that no digest covers."""
    yield element
    for child in element:
        if child.tag not in _SIGNED:
            yield from _outside(child)


def _check_files(signed: Signature, said: Properties, files: Mapping[str, Body]) -> None:
    references: dict[str, Reference] = {}
    for one in signed.references:
        if one.kind is Kind.FILE:
            if one.uri in references:
                raise invalid(f"two references are to the file {one.uri[:80]!r}")
            references[one.uri] = one
    bodies = {_uri(name): body for name, body in files.items()}
    for uri in sorted(references.keys() ^ bodies.keys()):
        fault = "is signed, and is not there" if uri in references else "is there, and is not signed"
        raise invalid(f"the file {uri[:80]!r} {fault}")
    formats = said.formats()
    for uri, one in references.items():
        if not formats.get(one.id):
            raise invalid(f"the media type of the file {uri[:80]!r} is not signed")
        one.check(bodies[uri])
