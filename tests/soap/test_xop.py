"""Attached parts come back into the envelope, each exactly once."""

import base64

import pytest
from lxml import etree

from bus import xmlio, xop
from bus.errors import Rejected
from bus.hollow import Hollow
from bus.octets import Encoded, Octets, whole

INCLUDE = '<i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="{}"/>'


def tree(content: str) -> etree._Element:
    return xmlio.parse(f"<b><p>{content}</p></b>".encode())


@pytest.mark.parametrize("href", ["cid:a@b", "cid:a%40b"])
def test_an_include_becomes_the_base64_that_was_signed(href: str) -> None:
    """One text without line breaks, which is the form that XOP prescribes."""
    root = tree(f"<c>{INCLUDE.format(href)}</c>")
    assert xop.inline(root, root[0], {"a@b": memoryview(b"\x00" * 100)}, Hollow()) == {}
    assert (root[0][0].text, len(root[0][0])) == (base64.b64encode(b"\x00" * 100).decode(), 0)


def test_a_package_without_any_include_is_legal() -> None:
    """SAAJ with handlers sends MTOM with zero Includes."""
    root = tree("<c>QQ==</c>")
    assert xop.inline(root, root[0], {}, Hollow()) == {}
    assert root[0][0].text == "QQ=="


@pytest.mark.parametrize("content", ['<c href="cid:f"/>', "<c> cid:f </c>"])
def test_soap_with_attachments_references_are_resolved(content: str) -> None:
    """By href (SwA) and by text (swaRef); the caller is told, for a signature covers the reference and not what it stands for."""
    root = tree(content)
    before = xmlio.canonicalize(root)
    places = xop.inline(root, root[0], {"f": memoryview(b"A")}, Hollow())
    assert (places, xmlio.canonicalize(root)) == ({"f": root[0][0]}, before)
    xop.attach(places["f"], memoryview(b"A"), Hollow())
    assert (root[0][0].text, dict(root[0][0].attrib)) == ("QQ==", {})


def test_cid_texts_of_the_document_are_left_alone() -> None:
    """edXML has ``cid:`` texts of its own in ContentId; they are not references to MIME parts."""
    root = tree("<Document><edXML><ContentId>cid:f</ContentId></edXML></Document>")
    with pytest.raises(Rejected, match="nothing refers"):
        xop.inline(root, root[0], {"f": memoryview(b"A")}, Hollow())
    assert root.findtext(".//ContentId") == "cid:f"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("<c/>", "nothing refers"),
        (f"<c>{INCLUDE.format('cid:other')}</c>", "missing"),
        (f"<c>{INCLUDE.format('cid:f')}</c><c>{INCLUDE.format('cid:f')}</c>", "twice"),
        (f"<c>{INCLUDE.format('http://localhost/f')}</c>", "no 'cid:'"),
        ('<c><i:Include xmlns:i="http://www.w3.org/2004/08/xop/include"/></c>', "no 'cid:'"),
        (f"<c>x{INCLUDE.format('cid:f')}</c>", "only content"),
        (f"<c>{INCLUDE.format('cid:f')}x</c>", "only content"),
        (f"<c>{INCLUDE.format('cid:f')}<d/></c>", "only content"),
    ],
)
def test_a_part_is_used_exactly_once_or_the_message_refused(content: str, named: str) -> None:
    """gSOAP's signed MTOM drops href; a part referred to a thousand times would fill the memory."""
    root = tree(content)
    with pytest.raises(Rejected, match=named):
        xop.inline(root, root[0], {"f": memoryview(b"A")}, Hollow())


def test_what_is_taken_out_comes_back() -> None:
    """``outline`` and ``inline`` are each other's way back."""
    original = Octets(b"<b><p><c>", Encoded(b"\x01" * 50), b"</c></p></b>")
    root = xmlio.parse(whole(xop.outline(original, "f@x")))
    xop.inline(root, root[0], {"f@x": memoryview(b"\x01" * 50)}, Hollow())
    assert xmlio.canonicalize(root) == whole(original)
