"""Detached XAdES over files: each file given is covered exactly once, nothing else is, and no octet of the signature is free."""

import subprocess
from urllib.parse import quote

import pytest
from lxml import etree

from bus.errors import Rejected
from bus.octets import Octets
from bus.signature import xades, xades_files
from bus.signature.xades_files import File

FILES = (
    File("request.xml", "<a>Đã gửi</a>".encode(), "text/xml"),
    File("tài liệu/văn bản 1.edxml", b"\x00\xff" * 40),
    File("empty", b"", "text/plain"),
)
BODIES = {file.name: file.body for file in FILES}


def refused(world, document, files=None) -> str:
    with pytest.raises(Rejected) as caught:
        xades_files.verify_files(document, BODIES if files is None else files, world.trust)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["partner", "partner_ec"])
def test_round_trip(world, kind):
    """All files are proved, with who signed them and when; a large one may come in pieces."""
    document = xades_files.sign_files(FILES, getattr(world, kind), world.now)
    pieces = {**BODIES, "request.xml": Octets(b"<a>", "Đã gửi</a>".encode())}
    verified = xades_files.verify_files(document, pieces, world.trust)
    assert (verified.identity, verified.signed_at) == ("partner-agency", world.now)
    assert quote(FILES[1].name).encode() in verified.octets


def test_libxmlsec_verifies_the_files_where_they_lie(world, tmp_path, xmlsec1):
    """The reference implementation finds the files by their names, accepts them, and refuses them when one octet differs."""
    files = [File("request.xml", b"<a/>", "text/xml"), File("sent/1.bin", b"\x00\xff")]
    (tmp_path / "sent").mkdir()
    for file in files:
        (tmp_path / file.name).write_bytes(file.body)
    (tmp_path / "signatures001.xml").write_bytes(xades_files.sign_files(files, world.partner, world.now))
    ids = ["--id-attr:Id", "http://uri.etsi.org/01903/v1.3.2#:SignedProperties"]
    command = [xmlsec1, "--verify", "--trusted-pem", str(world.partners_home / "ca.crt"), *ids, "signatures001.xml"]
    results = []
    for last in (b"\xff", b"\xfe"):
        (tmp_path / "sent/1.bin").write_bytes(b"\x00" + last)
        results.append(subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=20, check=False).returncode == 0)
    assert results == [True, False]


def test_a_file_too_few_too_many_changed_or_renamed_is_refused_by_name(world):
    """The refusal names the file, whatever was done with it."""
    document = xades_files.sign_files(FILES, world.partner, world.now)
    without = {name: body for name, body in BODIES.items() if name != "empty"}
    assert "'empty' is signed, and is not there" in refused(world, document, without)
    assert "'more' is there, and is not signed" in refused(world, document, {**BODIES, "more": b""})
    assert "request.xml" in refused(world, document, {**BODIES, "request.xml": b"<a/>"})
    assert "'Empty' is there" in refused(world, document, {**without, "Empty": b""})
    swapped = {**BODIES, "empty": BODIES["request.xml"], "request.xml": b""}
    assert "the content was changed" in refused(world, document, swapped)


def test_every_flipped_byte_of_the_signature_is_refused(world):
    """No octet of the signature document is free: whichever is flipped, the files are not proved any more."""
    document = xades_files.sign_files(FILES, world.partner_ec, world.now)
    accepted = []
    for at in range(len(document)):
        changed = document[:at] + bytes([document[at] ^ 1]) + document[at + 1 :]
        try:
            xades_files.verify_files(changed, BODIES, world.trust)
        except Rejected:
            continue
        accepted.append(at)
    assert accepted == []


CHANGES = {
    "white space": lambda text: text.replace(b"<ds:KeyInfo>", b"<ds:KeyInfo> "),
    "a declaration": lambda text: b'<?xml version="1.0"?>' + text,
    "a comment": lambda text: text.replace(b"<ds:KeyInfo>", b"<!-- --><ds:KeyInfo>"),
    "another root": lambda text: text.replace(b"XAdESSignatures", b"Signatures"),
    "an attribute": lambda text: text.replace(b"<ds:KeyInfo>", b'<ds:KeyInfo a="1">'),
    "a second signature": lambda text: text.replace(b"</asic:", text[text.index(b"<ds:Signature ") : text.index(b"</asic:")] + b"</asic:"),
    "base64 in two lines": lambda text: text.replace(b"<ds:X509Certificate>M", b"<ds:X509Certificate>\nM"),
    "an attribute further in": lambda text: text.replace(b"<ds:X509Data>", b'<ds:X509Data a="1">'),
    "a key's name": lambda text: text.replace(b"<ds:KeyInfo>", b"<ds:KeyInfo><ds:KeyName>x</ds:KeyName>"),
    "an unsigned property": lambda text: text.replace(
        b"</xades:QualifyingProperties>", b"<xades:UnsignedProperties></xades:UnsignedProperties></xades:QualifyingProperties>"
    ),
    "unsigned properties, twice": lambda text: text.replace(
        b"</xades:QualifyingProperties>", b"<xades:UnsignedProperties></xades:UnsignedProperties>" * 2 + b"</xades:QualifyingProperties>"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_spelling_is_refused(world, change):
    """What would mean the same to XML is not the document that was signed."""
    document = xades_files.sign_files(FILES, world.partner, world.now)
    changed = CHANGES[change](document)
    assert changed != document
    assert "5.7." in refused(world, changed)


def _again(world, change) -> bytes:
    """The signature document changed and signed again by its own signer."""
    root = etree.fromstring(xades_files.sign_files(FILES, world.partner, world.now))
    change(root)
    info = root.find(".//{*}SignedInfo")
    octets = etree.tostring(info, method="c14n", exclusive=True)
    root.find(".//{*}SignatureValue").text = xades_files.encoded(world.partner.sign(octets))
    return etree.tostring(root, method="c14n", exclusive=True)


def _doubled(root):
    first = root.find(".//{*}Reference")
    first.addnext(etree.fromstring(etree.tostring(first)))


def _fetched(root):
    root.find(".//{*}Reference").set("URI", "http://127.0.0.1:9/x")


def _without_properties(root):
    info = root.find(".//{*}SignedInfo")
    info.remove(info[-1])


def _unnamed(root):
    del root.find(".//{*}Reference").attrib["Id"]


INSIDER = {
    "one file twice": (_doubled, "two references"),
    "a file of the network": (_fetched, "'http://127.0.0.1:9/x' is signed, and is not there"),
    "properties not covered": (_without_properties, "not covered"),
    "media type of nothing": (_unnamed, "media type"),
}


@pytest.mark.parametrize("change", INSIDER)
def test_a_rightly_signed_document_out_of_the_grammar_is_refused(world, change):
    """Rules refuse it, not arithmetic: the signer itself made it."""
    mutation, said = INSIDER[change]
    assert said in refused(world, _again(world, mutation))


def test_a_strangers_signature_is_refused(world):
    """KeyInfo only proposes a certificate."""
    assert "5.7.8" in refused(world, xades_files.sign_files(FILES, world.stranger, world.now))


def test_an_enveloped_signature_covers_no_file(world):
    """A file reference in a document's own signature is refused: each profile takes its own kind."""
    signed = xades.sign(b"<a/>", world.partner, world.now)
    start, end = signed.index(b"<ds:Transforms>"), signed.index(b"</ds:Transforms>") + len(b"</ds:Transforms>")
    with pytest.raises(Rejected, match="not for this kind"):
        xades.verify(signed[:start] + signed[end:], world.trust)


def test_signing_nothing_or_one_name_twice_is_our_mistake(world):
    """A signature over no file, or over two of one name, would prove nothing clear."""
    for files in ((), (FILES[0], FILES[0])):
        with pytest.raises(ValueError, match="files"):
            xades_files.sign_files(files, world.partner, world.now)
