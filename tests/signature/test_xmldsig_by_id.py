"""XML signatures by Id: the element at the named place is what was signed, and nothing that only bears its Id."""

import copy
import subprocess

import pytest
import signxml
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree

from bus.errors import Rejected
from bus.hollow import Hollow
from bus.octets import whole
from bus.signature import xmldsig, xmldsig_by_id
from bus.xmlio import canonicalize, parse

DOCUMENT = '<o:Order xmlns:o="urn:o"><o:Head n="1"/><o:Content>Đặt &lt; hàng</o:Content><o:Tail/></o:Order>'.encode()
DS = "{http://www.w3.org/2000/09/xmldsig#}"
PLACE = "Content"


def verify(world, document: bytes, place: str = PLACE, **more):
    return xmldsig_by_id.verify(document, place, world.trust, **more)


@pytest.mark.parametrize("kind", ["partner", "partner_ec"])
@pytest.mark.parametrize("identified", [DOCUMENT, DOCUMENT.replace(b"<o:Content>", b'<o:Content Id="c.1">')])
def test_round_trip(world, kind, identified):
    """What is verified is the one element, with its Id; an Id that was there is kept."""
    signed = xmldsig_by_id.sign(identified, PLACE, getattr(world, kind))
    verified = verify(world, signed)
    assert (verified.octets, verified.identity) == (canonicalize(parse(signed)[1]), "partner-agency")
    assert parse(verified.octets).text == "Đặt < hàng"
    assert b'Id="c.1"' in signed or b'Id="signed-' in signed


def test_a_place_may_be_deep_and_the_rest_of_the_document_is_free(world):
    """Only the element is covered: what stands around it may change, and proves nothing."""
    document = b"<a><b><c>x</c></b><d/></a>"
    signed = xmldsig_by_id.sign(document, "b/c", world.partner)
    changed = signed.replace(b"<d>", b"<d>changed")
    assert parse(verify(world, changed, "b/c").octets).text == "x"


def test_libxmlsec_verifies_ours_and_refuses_a_change(world, tmp_path, xmlsec1):
    """The reference implementation finds the element by its Id and accepts it."""
    signed = xmldsig_by_id.sign(DOCUMENT, PLACE, world.partner)
    results = []
    for number, data in enumerate((signed, signed.replace("Đặt".encode(), "Ðặt".encode()))):
        (tmp_path / f"{number}.xml").write_bytes(data)
        command = [xmlsec1, "--verify", "--trusted-pem", str(world.partners_home / "ca.crt"), "--id-attr:Id", "urn:o:Content"]
        done = subprocess.run([*command, str(tmp_path / f"{number}.xml")], capture_output=True, timeout=20, check=False)
        results.append(done.returncode == 0)
    assert results == [True, False]


def test_ours_verifies_signxml(world):
    """We accept an element that signxml signed by its Id, with its detached signature put beside it."""
    key = load_pem_private_key((world.partners_home / "system.key").read_bytes(), None)
    root = parse(DOCUMENT.replace(b"<o:Content>", b'<o:Content Id="c1">'))
    signer = signxml.XMLSigner(method=signxml.methods.detached, c14n_algorithm="http://www.w3.org/2001/10/xml-exc-c14n#")
    signature = signer.sign(root[1], key=key, cert=[world.partner.certificate], reference_uri="#c1")
    root.append(signature)
    assert parse(verify(world, etree.tostring(root)).octets).text == "Đặt < hàng"


def _forged(element):
    twin = copy.deepcopy(element)
    twin.text = "giả mạo"
    return twin


def _moved_aside(root):
    """XSW: the signed element in a wrapper elsewhere, a forged one without Id in its place."""
    signed = root[1]
    twin = _forged(signed)
    del twin.attrib["Id"]
    root.replace(signed, twin)
    etree.SubElement(root, "{urn:o}Wrapper").append(signed)


def _moved_aside_same_id(root):
    signed = root[1]
    root.replace(signed, _forged(signed))
    etree.SubElement(root, "{urn:o}Wrapper").append(signed)


def _in_object(root):
    signed = root[1]
    twin = _forged(signed)
    del twin.attrib["Id"]
    root.replace(signed, twin)
    etree.SubElement(root[-1], f"{DS}Object").append(signed)


def _beside(root):
    twin = _forged(root[1])
    del twin.attrib["Id"]
    root[1].addprevious(twin)


def _in_key_info(root):
    signed = root[1]
    twin = _forged(signed)
    del twin.attrib["Id"]
    root.replace(signed, twin)
    root.find(f".//{DS}KeyInfo").append(signed)


def _new_root(root):
    outer = etree.Element("{urn:o}Order")
    twin = _forged(root[1])
    twin.set("Id", "other")
    outer.append(etree.Element("{urn:o}Head"))
    outer.append(twin)
    outer.append(root)
    return etree.tostring(outer)


def _other_id(name: str):
    def change(root):
        root[0].set(name, root[1].get("Id"))

    return change


def _inside(root):
    root[1].append(root[-1])


def _text(old: bytes, new: bytes):
    def change(root):
        text = etree.tostring(root)
        assert old in text
        return text.replace(old, new)

    return change


ATTACKS = {
    "moved aside": _moved_aside,
    "moved aside, one Id twice": _moved_aside_same_id,
    "moved into Object": _in_object,
    "moved into KeyInfo": _in_key_info,
    "another beside": _beside,
    "a new root": _new_root,
    "Id as ID elsewhere": _other_id("ID"),
    "Id as id elsewhere": _other_id("id"),
    "Id as xml:id elsewhere": _other_id("{http://www.w3.org/XML/1998/namespace}id"),
    "signature inside": _inside,
    "signature twice": lambda root: root.append(copy.deepcopy(root[-1])),
    "no signature": lambda root: root.remove(root[-1]),
    "content": _text(b"&lt; ", b""),
    "whole document": _text(b'URI="#', b'URI="" Id="'),
    "external": _text(b'URI="#', b'URI="http://127.0.0.1:9/#'),
    "xpointer": _text(b'URI="#', b'URI="#xpointer(/)'),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(world, attack):
    """Wherever the signed element is taken and whatever stands in its place, it is not taken for what was signed."""
    root = etree.fromstring(xmldsig_by_id.sign(DOCUMENT, PLACE, world.partner))
    data = ATTACKS[attack](root) or etree.tostring(root)
    with pytest.raises(Rejected, match=r"5\.7\."):
        verify(world, data)


def test_another_place_is_refused(world):
    """The caller says what must be signed; a signature over something else is none over that."""
    signed = xmldsig_by_id.sign(DOCUMENT, "Head", world.partner)
    with pytest.raises(Rejected, match="points at nothing that may be signed"):
        verify(world, signed)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"<a><Content/><Content/></a>", "not exactly one"),
        (b"<a><b/></a>", "not exactly one"),
        (b'<a><Content Id="a&amp;b"/></a>', "cannot be referred to"),
        (b'<a><Content Id="x"/><b ID="x"/></a>', "twice"),
    ],
)
def test_what_nobody_could_verify_is_not_signed(world, document, said):
    """Two elements at the place, an Id that is no Id or not the only one: an error now, not at the partner."""
    with pytest.raises(Rejected, match=said):
        xmldsig_by_id.sign(document, PLACE, world.partner)


def test_a_document_is_signed_once(world):
    """By Id or enveloped: this house puts one signature into a document."""
    for signed in (xmldsig_by_id.sign(DOCUMENT, PLACE, world.partner), xmldsig.sign_enveloped(DOCUMENT, world.partner)):
        with pytest.raises(Rejected, match="already"):
            xmldsig_by_id.sign(signed, PLACE, world.partner)


def test_a_large_file_is_covered_as_a_whole(world):
    """Without the insides of its file a document has the same signature as with them."""
    document = DOCUMENT.replace("Đặt &lt; hàng".encode(), b"QUJD" * 100_000)
    hollow = Hollow()
    signed = hollow.parsed(xmldsig_by_id.sign(hollow.emptied(document), PLACE, world.partner, hollow))
    assert whole(signed) == xmldsig_by_id.sign(document, PLACE, world.partner)
    emptied = Hollow()
    octets = emptied.parsed(verify(world, emptied.emptied(signed), hollow=emptied).octets)
    assert whole(octets) == verify(world, whole(signed)).octets
