"""Documents and requests of the tests of faults 41 to 43: handed in as a partner hands them in, and signed as libxmlsec signs them."""

import hashlib
from pathlib import Path

import xmlsec
from lxml import etree
from soap_rig import Rig, document

from adapters.soap import payloads
from bus import evidence
from bus.endpoint import Response
from bus.octets import whole
from bus.receipt import Receipt

DS = "http://www.w3.org/2000/09/xmldsig#"
EXC = "http://www.w3.org/2001/10/xml-exc-c14n#"


def request(message_id: str, inline: bytes) -> bytes:
    """A SendDocument with the document inline, not signed yet."""
    before, after = payloads.send_document(message_id)
    return b"".join((before, inline, after))


def receipt(rig: Rig, response: Response) -> Receipt:
    """The one receipt in a reply, proved to be the bus's."""
    assert response.status == 200, response.body
    [xml] = payloads.receipts(rig.read(response).payload)
    return evidence.parse(xml)


async def fetched(rig: Rig, given: Receipt) -> bytes:
    """The document as its receiver gets it."""
    listing = rig.signed(payloads.request("GetPendingDocumentIds", OrganId="000.00.00.G18", Max="1000"), signer=rig.other)
    entries = payloads.pending(rig.read(await rig.post(listing)).payload)
    [entry] = [entry for entry in entries if entry.document_id == given.document_id]
    reply = rig.read(await rig.post(rig.signed(payloads.request("GetDocument", MessageId=entry.message_id), signer=rig.other)))
    found = payloads.fetched(reply.payload, reply.hollow, entry.message_id)
    assert found.digest == hashlib.sha256(whole(found.body)).hexdigest()
    return whole(found.body)


def named(number: int, subject: str = "V/v báo cáo") -> etree._Element:
    """A document whose root has an Id."""
    root = etree.fromstring(document(number, subject=subject))
    root.set("Id", "doc")
    return root


def sealed(root: etree._Element, home: Path, *, uri: str = "#doc", transforms: tuple[str, ...] = (), inside: etree._Element | None = None):
    """``root`` with an enveloped signature by the partner whose keys are in ``home``, as libxmlsec makes it; more ``transforms`` by URI."""
    node = xmlsec.template.create(root, xmlsec.constants.TransformExclC14N, xmlsec.constants.TransformRsaSha256, ns="ds")
    root.append(node)
    covering = xmlsec.template.add_reference(node, xmlsec.constants.TransformSha256, uri=uri)
    xmlsec.template.add_transform(covering, xmlsec.constants.TransformEnveloped)
    xmlsec.template.add_transform(covering, xmlsec.constants.TransformExclC14N)
    for number, algorithm in enumerate(transforms):
        transform = etree.Element(f"{{{DS}}}Transform", Algorithm=algorithm)
        if inside is not None:
            transform.append(inside)
        # By place: lxml finds by name only what has a name of its own making.
        covering[0].insert(1 + number, transform)
    xmlsec.template.add_x509_data(xmlsec.template.ensure_key_info(node))
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_file(str(home / "system.key"), xmlsec.constants.KeyDataFormatPem)
    context.key.load_cert_from_file(str(home / "system.crt"), xmlsec.constants.KeyDataFormatPem)
    context.register_id(root, "Id")
    context.sign(node)
    return root
