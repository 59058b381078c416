"""XML at the door: what swells, reaches out, wraps or hides is refused (41, 42); what only looks different is the same (43)."""

import copy
import io
import socket
import time
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import xml_documents as xml
from lxml import etree
from soap_rig import Rig, document, fault_code
from xml_documents import DS

from bus import edxml, soap
from bus.octets import whole
from bus.soap import SOAP_11

pytestmark = pytest.mark.asyncio(loop_scope="module")

_LAUGHS = '<!ENTITY a "ha">' + "".join(
    '<!ENTITY {} "{}">'.format(now, f"&{before};" * 10) for before, now in zip("abcdefgh", "bcdefghi", strict=True)
)


# --- 41: what swells or reaches out -----------------------------------------------------------------------------------


def _doctype(declarations: str, use: str = "&e;") -> bytes:
    bare = whole(soap.envelope(SOAP_11, f"<a>{use}</a>".encode())).partition(b"?>")[2].lstrip()
    return f"<!DOCTYPE a {declarations}>".encode() + bare


def _flood(inside: bytes) -> bytes:
    return whole(soap.envelope(SOAP_11, b"<a>%b</a>" % inside))


SWELLING: dict[str, Callable[[str], bytes]] = {
    "an entity that is a file": lambda file: _doctype(f'[<!ENTITY e SYSTEM "{file}">]'),
    "an entity that is a file, by parameter": lambda file: _doctype(f'[<!ENTITY % p SYSTEM "{file}"> %p;]'),
    "a billion laughs": lambda _: _doctype(f"[{_LAUGHS}]", "&i;"),
    "a quadratic blow-up": lambda _: _doctype('[<!ENTITY e "' + "x" * 100_000 + '">]', "&e;" * 100_000),
    "a million attributes": lambda _: _flood(b"<b" + b"".join(b' c%d=""' % number for number in range(1_000_000)) + b"/>"),
    "a depth of a hundred thousand": lambda _: _flood(b"<b>" * 100_000 + b"</b>" * 100_000),
    "a million elements": lambda _: _flood(b"<b/>" * 1_000_000),
}


@pytest.mark.parametrize("name", SWELLING)
async def test_fault_41_what_swells_is_refused_before_it_swells(bus: Rig, tmp_path: Path, name: str) -> None:
    """With its code, in a moment; and no octet of a file of ours is in the answer."""
    secret = tmp_path / "secret"
    secret.write_text("bí mật nhà nước")
    body = SWELLING[name](secret.as_uri())
    began = time.process_time()
    response = await bus.post(body)
    assert time.process_time() - began < 2
    assert fault_code(response) in {"5.6.1", "5.6.2"}
    assert "bí mật".encode() not in whole(response.body)


@pytest.mark.parametrize(
    "declared", ['SYSTEM "{}"', 'PUBLIC "-//X//Y//EN" "{}"', '[<!ENTITY % p SYSTEM "{}"> %p;]', '[<!ENTITY e SYSTEM "{}">]']
)
async def test_fault_41_nothing_outside_a_message_is_ever_asked_for(bus: Rig, declared: str) -> None:
    """A DTD or an entity that lies with somebody else: nobody connects there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x.dtd"
        assert fault_code(await bus.post(_doctype(declared.format(address)))) == "5.6.2"
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("encoding", ["binary", "gzip", "base64"])
async def test_fault_41_too_many_parts_and_compressed_ones_are_refused(bus: Rig, encoding: str) -> None:
    """Ten thousand parts, whatever they are called, and a part that says it is compressed."""
    parts = b"".join(
        b"--b\r\nContent-ID: <%d>\r\nContent-Transfer-Encoding: %b\r\n\r\nAAAA\r\n" % (n, encoding.encode()) for n in range(10_000)
    )
    root = b"--b\r\nContent-Type: text/xml\r\n\r\n%b\r\n" % _flood(b"")
    response = await bus.post(root + parts + b"--b--\r\n", content_type='multipart/related; boundary="b"; type="text/xml"')
    assert fault_code(response).startswith("5.6")


async def test_fault_41_a_file_that_unpacks_a_thousandfold_is_not_unpacked(bus: Rig) -> None:
    """The door takes the document, for its files are its own business; who unpacks them stops, and says so."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.txt", "w") as entry:
        for _ in range(4):
            entry.write(b"\0" * 10_000_000)
    parsed = edxml.read(edxml.parse(document(4100)))
    assert isinstance(parsed, edxml.Document)
    bomb = edxml.Attachment("bao-cao.zip", packed.getvalue(), "cid:1")
    body = edxml.write_document(replace(parsed, attachments=(bomb,)))
    began = time.process_time()
    given = xml.receipt(bus, await bus.post(bus.signed(xml.request("bomb", body.partition(b"?>")[2].lstrip()))))
    assert given.status == "ACCEPTED"
    with pytest.raises(ValueError, match="unpacks to more"):
        edxml.files.unpack("bao-cao.txt", packed.getvalue())
    assert time.process_time() - began < 4


# --- 42: what wraps or hides ------------------------------------------------------------------------------------------


def _taken(root: etree._Element) -> etree._Element:
    signature = root.find(f"{{{DS}}}Signature")
    assert signature is not None
    root.remove(signature)
    return signature


def _forged(root: etree._Element) -> etree._Element:
    """The same document with another subject, and no signature."""
    forged = copy.deepcopy(root)
    _taken(forged)
    next(forged.iter("{*}Subject")).text = "giả mạo"
    return forged


def _beside(root: etree._Element, *, first: bool, whole_original: bool, name: str | None = "doc") -> etree._Element:
    """The original stands in the forgery, before or after the signature, with it or without."""
    forged, original = _forged(root), copy.deepcopy(root)
    signature = _taken(original) if not whole_original else copy.deepcopy(root.find(f"{{{DS}}}Signature"))
    _call(forged, name)
    forged.insert(0, original) if first else forged.append(original)
    forged.append(signature)
    return forged


def _inside(root: etree._Element, wrapper: str, *, name: str | None = "doc") -> etree._Element:
    """The original stands in the signature: in an Object, in KeyInfo, or wrapped once more."""
    forged, original = _forged(root), copy.deepcopy(root)
    signature = _taken(original)
    holder = signature.find(f"{{{DS}}}KeyInfo") if wrapper == "KeyInfo" else etree.SubElement(signature, f"{{{DS}}}Object")
    if wrapper == "wrapped":
        holder = etree.SubElement(holder, "wrapper")
    holder.append(original)
    _call(forged, name)
    forged.append(signature)
    return forged


def _call(element: etree._Element, name: str | None) -> None:
    if name is None:
        element.attrib.pop("Id")
    else:
        element.set("Id", name)


#: Somorovsky et al., "On Breaking SAML" (2012), section 4.2, transplanted from an assertion in a response to a document in a document.
XSW: dict[str, Callable[[etree._Element], etree._Element]] = {
    "1: the original in the signature": lambda root: _inside(root, "Object"),
    "2: detached, before the signature": lambda root: _beside(root, first=True, whole_original=False),
    "3: the forgery first, another Id": lambda root: _beside(root, first=False, whole_original=True, name="other"),
    "4: the original within, another Id": lambda root: _beside(root, first=True, whole_original=True, name="other"),
    "5: the same Id twice": lambda root: _beside(root, first=False, whole_original=True),
    "6: the original in KeyInfo": lambda root: _inside(root, "KeyInfo", name="other"),
    "7: the original wrapped, no Id outside": lambda root: _inside(root, "wrapped", name=None),
    "8: the original in an Object, no Id outside": lambda root: _inside(root, "Object", name=None),
}


async def _code(bus: Rig, root: etree._Element, name: str) -> str:
    return fault_code(await bus.post(bus.signed(xml.request(name, etree.tostring(root))), endpoint="sealed"))


async def test_fault_42_a_document_that_libxmlsec_signed_is_taken_and_a_comment_hides_nothing(bus: Rig, certs: Path) -> None:
    """Without this the refusals below would mean nothing. A comment in a value is not signed, and is not there for anybody."""
    root = xml.sealed(xml.named(4200, "V/v 1000 đồng"), certs / "development" / "unit")
    octets = etree.tostring(root, encoding="UTF-8").replace("1000 đồng".encode(), "10<!-- 9 -->00<?x y?> đồng".encode())
    given = xml.receipt(bus, await bus.post(bus.signed(xml.request("comment", octets)), endpoint="sealed"))
    assert "<edXML:Subject>V/v 1000 đồng</edXML:Subject>".encode() in await xml.fetched(bus, given)


@pytest.mark.parametrize("name", XSW)
async def test_fault_42_a_wrapped_signature_is_refused(bus: Rig, certs: Path, name: str) -> None:
    """XSW1 to XSW8 on a document's own signature: somewhere in it a rightly signed one is found, and the bus looks elsewhere."""
    root = XSW[name](xml.sealed(xml.named(4201), certs / "development" / "unit"))
    assert await _code(bus, root, f"xsw {name}") == "5.7.7"


def _duplicate(root: etree._Element) -> None:
    etree.SubElement(root[0], "x").set("Id", "doc")
    root.append(_taken(root))


def _reference(uri: str) -> Callable[[etree._Element], None]:
    return lambda root: next(root.iter(f"{{{DS}}}Reference")).set("URI", uri)


def _renamed(root: etree._Element) -> None:
    """The signature's prefix means something else, and its elements are of another namespace."""
    text = etree.tostring(root).replace(DS.encode(), b"urn:another")
    root[:] = list(etree.fromstring(text))


def _rebound(root: etree._Element) -> None:
    """Around the signature the prefix is another's: its own elements declare it again."""
    signature = _taken(root)
    scope = etree.SubElement(root, "{urn:x}scope", nsmap={"ds": "urn:another"})
    scope.append(signature)


HIDING: dict[str, tuple[Callable[[etree._Element], None], str]] = {
    "a duplicate Id": (_duplicate, "5.7.7"),
    "a detached reference": (_reference("http://127.0.0.1:9/doc"), "5.7.7"),
    "a reference to a file": (_reference("file:///etc/hostname"), "5.7.7"),
    "an empty reference": (_reference("#"), "5.7.7"),
    "an XPointer": (_reference("#xpointer(id('doc'))"), "5.7.7"),
    "another namespace": (_renamed, "5.7.0"),
    "a prefix bound anew": (_rebound, "5.7.7"),
}


@pytest.mark.parametrize("name", HIDING)
async def test_fault_42_a_signature_that_speaks_of_something_else_is_refused(bus: Rig, certs: Path, name: str) -> None:
    """Ids, references and namespaces that two readers would read in two ways."""
    change, code = HIDING[name]
    root = xml.sealed(xml.named(4202), certs / "development" / "unit")
    change(root)
    assert await _code(bus, root, f"hiding {name}") == code


_XPATH = f'<ds:XPath xmlns:ds="{DS}">not(ancestor-or-self::*[local-name() = "Subject"])</ds:XPath>'
_XSLT = '<x:stylesheet xmlns:x="http://www.w3.org/1999/XSL/Transform" version="1.0"><x:template match="/"><a/></x:template></x:stylesheet>'


@pytest.mark.parametrize(
    ("algorithm", "inside"),
    [("http://www.w3.org/TR/1999/REC-xpath-19991116", _XPATH), ("http://www.w3.org/TR/1999/REC-xslt-19991116", _XSLT)],
)
async def test_fault_42_a_signature_over_what_a_transform_left_is_refused(bus: Rig, certs: Path, algorithm: str, inside: str) -> None:
    """libxmlsec signs, and would accept, a document without its subject, or something else altogether."""
    home = certs / "development" / "unit"
    root = xml.sealed(xml.named(4203), home, transforms=(algorithm,), inside=etree.fromstring(inside))
    assert (await _code(bus, root, f"transform {algorithm}")) == "5.7.6"


# --- 43: what only looks different ------------------------------------------------------------------------------------


def _lines(text: str) -> str:
    """Line ends of three kinds, in turns."""
    ends = ("\r\n", "\n", "\r")
    return "".join(line + ends[number % 3] for number, line in enumerate(text.split("\n")))


WRITTEN: dict[str, Callable[[str], bytes]] = {
    "UTF-8": lambda text: text.encode(),
    "UTF-8, declared": lambda text: f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode(),
    "UTF-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, big end first": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "UTF-16 without a mark, declared": lambda text: f'<?xml version="1.0" encoding="UTF-16"?>{text}'.encode("utf-16-le"),
    "mixed line ends": lambda text: _lines(text).encode(),
    "mixed line ends, UTF-16": lambda text: _lines(text).encode("utf-16"),
    "by reference": lambda text: text.replace("ệ", "&#x1ec7;").replace("\u0301", "&#769;").encode(),
}
#: Composed, decomposed, and both in one text: Vietnamese keyboards write all three.
SUBJECTS = {
    "NFC": unicodedata.normalize("NFC", "V/v việc xử lý\nvăn bản"),
    "NFD": unicodedata.normalize("NFD", "V/v việc xử lý\nvăn bản"),
    "mixed": "V/v việc " + unicodedata.normalize("NFD", "xử lý\nvăn bản"),
}


@pytest.mark.parametrize("form", SUBJECTS)
async def test_fault_43_one_message_has_one_digest_however_it_is_written(bus: Rig, form: str) -> None:
    """Signed once, sent in nine ways: each signature holds, each is the same message, and its text arrives as it was composed."""
    body = document(4300 + list(SUBJECTS).index(form), subject=SUBJECTS[form])
    text = bus.signed(xml.request(f"43 {form}", body)).decode()
    given = [xml.receipt(bus, await bus.post(write(text), content_type="text/xml")) for write in WRITTEN.values()]
    assert {receipt.id for receipt in given} == {given[0].id}
    assert SUBJECTS[form].encode() in await xml.fetched(bus, given[0])


async def test_fault_43_two_compositions_are_two_texts(bus: Rig) -> None:
    """Nothing is normalised on the way: what looks the same and is not has another digest, and is another content under the same id."""
    composed, decomposed = (document(4310, subject=SUBJECTS[form]) for form in ("NFC", "NFD"))
    one = xml.receipt(bus, await bus.post(bus.signed(xml.request("43 one", composed))))
    two = xml.receipt(bus, await bus.post(bus.signed(xml.request("43 two", decomposed))))
    assert one.digest != two.digest
    assert fault_code(await bus.post(bus.signed(xml.request("43 one", decomposed)))) == "5.6.9"


@pytest.mark.parametrize("name", ["UTF-8 with a mark", "UTF-16", "mixed line ends, UTF-16"])
async def test_fault_43_a_file_keeps_its_octets(bus: Rig, name: str) -> None:
    """As a file, in base64, a document is not written anew: what was handed in is fetched, mark and line ends and all."""
    octets = WRITTEN[name](document(4320 + len(name), subject=SUBJECTS["NFD"]).decode())
    given = await bus.send(octets, f"43 file {name}")
    [receipt] = [xml.evidence.parse(each) for each in xml.payloads.receipts(given.payload)]
    assert await xml.fetched(bus, receipt) == octets


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
async def test_fault_43_utf_16_that_does_not_say_so_is_refused(bus: Rig, codec: str) -> None:
    """XML 1.0, section 4.3.3: without a mark and a declaration it would be UTF-8."""
    text = bus.signed(xml.request("43 bare", document(4330))).decode()
    assert fault_code(await bus.post(text.encode(codec), content_type="text/xml")) == "5.6.0"
