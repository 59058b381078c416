"""Attacks on signed documents rather than envelopes: wrapping, transplanted to edXML, and what only XAdES can be made to say.

XSW1-8 after Somorovsky et al., "On Breaking SAML" (2012): where the signed original goes × what the forgery is called × where the Signature
stands. ETSI EN 319 132-1 sections 4.3 (QualifyingProperties), 5.2.1, 5.2.2 (SigningTime, SigningCertificateV2), 5.5 (unsigned properties).
"""

import base64
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import signatures
from attacker import DS, Forger
from lxml import etree
from soap_rig import QCVN, document

from bus.signature import xades, xmldsig, xmldsig_by_id
from bus.signature.profile import XADES

#: The element that a signature by Id covers in these documents.
PLACE = "edXMLEnvelope"
#: Forgeries of each profile, at least.
LEAST = {"xades": 660, "xmldsig": 490, "xmldsig-by-id": 490}
PROFILES = ("xades", "xmldsig", "xmldsig-by-id")
_X = f"{{{XADES}}}"
_Q = f"{{{QCVN}}}"


@dataclass(frozen=True, slots=True)
class Forged:
    """A document of which nothing but ``honest``, if anything, may count as signed."""

    profile: str
    name: str
    body: bytes
    honest: bytes


def signed(forger: Forger, profile: str, at) -> bytes:  # type: ignore[no-untyped-def]
    """A document that the partner signed."""
    match profile:
        case "xades":
            return xades.sign(document(1), forger.partner, at)
        case "xmldsig":
            return xmldsig.sign_enveloped(document(1), forger.partner)
    return xmldsig_by_id.sign(document(1), PLACE, forger.partner)


def _signature(root: etree._Element) -> etree._Element:
    return next(root.iter(f"{DS}Signature"))


def _forgery(root: etree._Element) -> etree._Element:
    """The same document with another subject and receiver, without a Signature."""
    forged = copy.deepcopy(root)
    found = _signature(forged)
    found.getparent().remove(found)  # type: ignore[union-attr]
    next(forged.iter(f"{_Q}Subject")).text = "V/v chuyển tiền"
    return forged


def _object(signature: etree._Element) -> etree._Element:
    return etree.SubElement(signature, f"{DS}Object")


#: Where the honest original, with or without its Signature, goes in the forged document.
_PLACES: dict[str, Callable[[etree._Element, etree._Element], etree._Element]] = {
    "the root": lambda root, _signature: root,
    "a wrapper": lambda root, _signature: etree.SubElement(root, "wrapper"),
    "the Body": lambda root, _signature: next(root.iter(f"{_Q}edXMLBody")),
    "the MessageHeader": lambda root, _signature: next(root.iter(f"{_Q}MessageHeader")),
    "an attachment": lambda root, _signature: etree.SubElement(root, f"{_Q}AttachmentEncoded"),
    "Signature/Object": lambda _root, signature: _object(signature),
    "KeyInfo": lambda _root, signature: signature[2],
    "SignedInfo": lambda _root, signature: signature[0],
}
_NAMES = ("nothing", "the same Id", "another Id", "ID", "id", "xml:id")


def _name(element: etree._Element, how: str, value: str) -> None:
    names = {"the same Id": "Id", "ID": "ID", "id": "id", "xml:id": "{http://www.w3.org/XML/1998/namespace}id"}
    element.attrib.pop("Id", None)
    if how != "nothing":
        element.set(names.get(how, "Id"), "other" if how == "another Id" else value)


def wrappings(honest: bytes) -> Iterator[tuple[str, bytes]]:
    """Each place × each name × the Signature first, last, or left in the original."""
    root = etree.fromstring(honest)
    identifier = next((each.get("Id") for each in root.iter() if each.get("Id") and each.tag != f"{DS}Signature"), "") or "whole"
    for place, find in _PLACES.items():
        for how in _NAMES:
            for stands in ("first", "last", "in the original"):
                if stands == "in the original" and place in {"Signature/Object", "KeyInfo", "SignedInfo"}:
                    continue
                original, forged = copy.deepcopy(root), _forgery(root)
                signature = _signature(original)
                if stands != "in the original":
                    original.remove(signature)
                    forged.insert(0 if stands == "first" else len(forged), signature)
                _name(forged, how, identifier)
                find(forged, signature).append(original)
                if stands == "last":
                    forged.append(signature)  # the holder may have come to stand behind it
                yield f"the original in {place}, the Signature {stands}, the forgery named by {how}", etree.tostring(forged)
    forged = _forgery(root)
    forged.append(copy.deepcopy(_signature(root)))
    yield "another document under the Signature", etree.tostring(forged)
    for words, first, second in (("first", root, forged), ("last", forged, root)):
        both = etree.Element(root.tag, nsmap=root.nsmap)
        both.extend([copy.deepcopy(first), copy.deepcopy(second)])
        yield f"two documents in one, the honest one {words}", etree.tostring(both)


def grammar(forger: Forger, honest: bytes) -> Iterator[tuple[str, bytes]]:
    """What is done to envelopes' signatures, where it can be done to these; each once as it is, once with a fresh SignatureValue."""
    stranger = forger.stranger.certificate_der
    for mutations in (signatures.references, signatures.algorithms, signatures.shapes, lambda: signatures.keys(stranger)):
        for name, mutate in mutations():
            for fresh in (False, True):
                root = etree.fromstring(honest)
                try:
                    mutate(root)
                except (IndexError, AttributeError):
                    continue  # such a signature has no such part
                if fresh:
                    for info in root.iter(f"{DS}SignedInfo"):
                        value = info.getnext()
                        if value is not None and value.tag == f"{DS}SignatureValue":
                            value.text = base64.b64encode(forger.value(info)).decode()
                yield f"{name}{', signed again' if fresh else ''}", etree.tostring(root)


def texts(honest: bytes) -> Iterator[tuple[str, bytes]]:
    """Comments, instructions and sections within what is signed; text of others around it."""
    subject = "V/v báo cáo thử nghiệm".encode()
    assert subject in honest
    for words, inside in {
        "a comment in a value": b"V/v <!-- x -->" + subject[4:],
        "a comment that hides a value": b"<!--" + subject + "-->V/v chuyển tiền".encode(),
        "an instruction in a value": b"V/v <?x y?>" + subject[4:],
        "a section in a value": b"<![CDATA[" + subject + b"]]>",
        "a section with another value": "<![CDATA[V/v chuyển tiền]]>".encode(),
        "a number for a letter": b"&#86;" + subject[1:],
        "a decomposed letter": "V/v báo cáo thử nghiệm".encode().replace("á".encode(), "a\u0301".encode()),
        "an entity": b"&x;",
    }.items():
        yield words, honest.replace(subject, inside, 1)
    yield "a DOCTYPE", b'<!DOCTYPE a [<!ENTITY x "y">]>' + honest
    yield "a default attribute", b'<!DOCTYPE edXML [<!ATTLIST edXML Id ID "x">]>' + honest
    yield "an attribute more on the root", honest.replace(b"<edXML ", b'<edXML a="b" ', 1)
    yield "a namespace more on the root", honest.replace(b"<edXML ", b'<edXML xmlns:a="urn:b" ', 1)
    yield "xml:base on the root", honest.replace(b"<edXML ", b'<edXML xml:base="http://127.0.0.1:9/" ', 1)
    yield "another encoding's name", b'<?xml version="1.0" encoding="windows-1258"?>' + honest


def properties(honest: bytes) -> Iterator[tuple[str, bytes]]:
    """XAdES: properties that are doubled, moved, of another signature or certificate; unsigned ones that would say what was signed."""

    def made(change: Callable[[etree._Element, etree._Element, etree._Element], object]) -> bytes:
        root = etree.fromstring(honest)
        change(root, next(root.iter(f"{_X}QualifyingProperties")), next(root.iter(f"{_X}SignedProperties")))
        return etree.tostring(root)

    def unsigned(inside: str) -> bytes:
        text = f'<xades:UnsignedProperties xmlns:xades="{XADES}" xmlns:ds="{DS[1:-1]}">{inside}</xades:UnsignedProperties>'
        return made(lambda _root, qualifying, _said: qualifying.append(etree.fromstring(text)))

    def twin(said: etree._Element, identifier: str | None) -> etree._Element:
        other = copy.deepcopy(said)
        next(other.iter(f"{_X}SigningTime")).text = "2020-01-01T00:00:00Z"
        other.attrib.pop("Id")
        if identifier is not None:
            other.set("Id", identifier)
        return other

    for words, name in {"the same Id": None, "another Id": "other", "no Id": ""}.items():

        def identifier(said: etree._Element, name: str | None = name) -> str | None:
            return (said.get("Id") if name is None else name) or None

        yield f"other properties before, {words}", made(lambda _r, q, s, i=identifier: q.insert(0, twin(s, i(s))))
        yield f"other properties behind, {words}", made(lambda _r, q, s, i=identifier: q.append(twin(s, i(s))))
        yield (
            f"other properties in their place, {words}",
            made(lambda _r, q, s, i=identifier: (_object(_signature(_r)).append(copy.deepcopy(s)), q.replace(s, twin(s, i(s))))),
        )
        yield f"other properties in the document, {words}", made(lambda r, _q, s, i=identifier: r.insert(0, twin(s, i(s))))
    yield "another Target", made(lambda _r, q, _s: q.set("Target", "#other"))
    yield "no Target", made(lambda _r, q, _s: q.attrib.pop("Target"))
    yield "no properties", made(lambda _r, q, s: q.remove(s))
    yield "no Object", made(lambda _r, q, _s: q.getparent().getparent().remove(q.getparent()))
    yield "the Object twice", made(lambda _r, q, _s: q.getparent().addnext(copy.deepcopy(q.getparent())))
    yield "properties outside the Signature", made(lambda r, q, _s: r.insert(0, q.getparent()))
    for name in ("SigningTime", "SigningCertificateV2", "CertDigest", "DigestValue", "IssuerSerialV2"):
        yield f"no {name}", made(lambda _r, _q, s, n=name: _drop(s, n))
    yield "another time", made(lambda _r, _q, s: setattr(next(s.iter(f"{_X}SigningTime")), "text", "2020-01-01T00:00:00Z"))
    yield "the properties' Type left out", made(lambda r, _q, _s: [e.attrib.pop("Type", None) for e in r.iter(f"{DS}Reference")])
    yield "the document's reference left out", made(lambda r, _q, _s: _signature(r)[0].remove(next(r.iter(f"{DS}Reference"))))
    stamp = "<xades:UnsignedSignatureProperties><xades:SignatureTimeStamp>{}</xades:SignatureTimeStamp></xades:UnsignedSignatureProperties>"
    for words, inside in {
        "nothing": "",
        "a time-stamp that is none": stamp.format("<xades:EncapsulatedTimeStamp>QUJD</xades:EncapsulatedTimeStamp>"),
        "a time-stamp that is not base64": stamp.format("<xades:EncapsulatedTimeStamp>!</xades:EncapsulatedTimeStamp>"),
        "an empty time-stamp": stamp.format(""),
        "a thousand time-stamps": stamp.format("<xades:EncapsulatedTimeStamp>QUJD</xades:EncapsulatedTimeStamp>") * 1000,
        "a megabyte of time-stamp": stamp.format(f"<xades:EncapsulatedTimeStamp>{'QUJD' * 250_000}</xades:EncapsulatedTimeStamp>"),
        "signed properties": "<xades:SignedProperties><xades:SignedSignatureProperties/></xades:SignedProperties>",
        "a counter-signature": "<xades:UnsignedSignatureProperties><xades:CounterSignature><ds:Signature/></xades:CounterSignature>"
        "</xades:UnsignedSignatureProperties>",
        "a document": "<edXML/>",
        "certificates": "<xades:UnsignedSignatureProperties><xades:CertificateValues/></xades:UnsignedSignatureProperties>",
    }.items():
        yield f"unsigned properties that hold {words}", unsigned(inside)
    yield (
        "unsigned properties twice",
        made(lambda _r, q, _s: q.extend([etree.Element(f"{_X}UnsignedProperties"), etree.Element(f"{_X}UnsignedProperties")])),
    )


def _drop(said: etree._Element, name: str) -> None:
    found = next(each for each in said.iter() if etree.QName(each).localname == name)
    found.getparent().remove(found)  # type: ignore[union-attr]


def documents(forger: Forger, at) -> Iterator[Forged]:  # type: ignore[no-untyped-def]
    """Every attack on every profile."""
    for profile in PROFILES:
        honest = signed(forger, profile, at)
        made = [*wrappings(honest), *grammar(forger, honest), *texts(honest), *(properties(honest) if profile == "xades" else ())]
        for name, body in made:
            yield Forged(profile, name, body, honest)
