"""XAdES-B-B: what is signed comes back octet for octet, others verify it, and nothing can be changed."""

import base64
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import signxml
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from bus.errors import Rejected
from bus.signature import xades, xmldsig
from bus.signer import Signer, SoftKey
from bus.xmlio import canonicalize, parse

DOCUMENT = (
    '<r:Receipt xmlns:r="urn:test:receipt" version="1"><r:Reason xml:lang="vi">Đã tiếp nhận &amp; lưu</r:Reason>\n<r:Empty/></r:Receipt>'
).encode()
XADES = "http://uri.etsi.org/01903/v1.3.2#"
DS = "{http://www.w3.org/2000/09/xmldsig#}"


def accepts(xmlsec1: str, file: Path, authority: Path) -> bool:
    command = [xmlsec1, "--verify", "--trusted-pem", str(authority), "--id-attr:Id", f"{XADES}:SignedProperties", str(file)]
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["partner", "partner_ec"])
def test_round_trip(world, kind):
    """What was verified is exactly the document's canonical octets, with who signed and when."""
    at = world.now - timedelta(minutes=1, microseconds=-123456)
    verified = xades.verify(xades.sign(DOCUMENT, getattr(world, kind), at), world.trust)
    assert (verified.octets, verified.identity, verified.signed_at) == (canonicalize(parse(DOCUMENT)), "partner-agency", at)


SPELLINGS = {
    "mark": "\ufeff".encode() + DOCUMENT,
    "UTF-16": DOCUMENT.decode().encode("utf-16"),
    "comments and instructions": b"<?a b?><!-- c -->" + DOCUMENT.replace(b"<r:Empty/>", b"<?a b?><r:Empty><!-- c --></r:Empty>"),
    "other quotes and spaces": DOCUMENT.replace(b' version="1.0"', b"").replace(b'version="1"', b"\n version = '1' "),
    "line ends": DOCUMENT.replace(b"\n", b"\r\n"),
    "CDATA": DOCUMENT.replace(b"&amp;", b"<![CDATA[&]]>"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_document_in_many_spellings_is_one(world, spelling):
    """Encoding, mark, comments, quotes, line ends and CDATA are spelling: the signed octets are the same."""
    assert xades.verify(xades.sign(SPELLINGS[spelling], world.partner_ec, world.now), world.trust).octets == canonicalize(parse(DOCUMENT))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=40),
    name=st.sampled_from(["a", "ds:x", "xml:lang"]),
)
def test_any_text_survives(world, text, name):
    """Whatever text a document holds, in content or attribute, composed or not, it is signed and read back as it was."""
    root = etree.Element(
        "r",
        {
            etree.QName(DS[1:-1], "x")
            if name == "ds:x"
            else "{http://www.w3.org/XML/1998/namespace}lang"
            if name == "xml:lang"
            else name: text
        },
    )
    root.text = text
    octets = xades.verify(xades.sign(etree.tostring(root), world.partner_ec, world.now), world.trust).octets
    read = parse(octets)
    assert (read.text or "", read.values()) == (text, [text])


def test_signing_changes_nothing_around_the_signature(world):
    """The signed document less the Signature is the document's canonical form, octet for octet."""
    signed = xades.sign(DOCUMENT, world.partner, world.now)
    start, end = signed.index(b"<ds:Signature "), signed.index(b"</ds:Signature>") + len(b"</ds:Signature>")
    assert signed[:start] + signed[end:] == canonicalize(parse(DOCUMENT))
    assert signed == canonicalize(parse(signed))


@pytest.mark.parametrize("kind", ["partner", "partner_ec"])
def test_libxmlsec_verifies_ours_and_refuses_a_change(world, tmp_path, kind, xmlsec1):
    """The reference implementation of XML signatures accepts what we sign, both references, and refuses it changed."""
    good, bad = tmp_path / "good.xml", tmp_path / "bad.xml"
    signed = xades.sign(DOCUMENT, getattr(world, kind), world.now)
    good.write_bytes(signed)
    bad.write_bytes(signed.replace(b"<xades:SigningTime>2026", b"<xades:SigningTime>2025"))
    assert [accepts(xmlsec1, file, world.partners_home / "ca.crt") for file in (good, bad)] == [True, False]


def test_signxml_verifies_ours(world):
    """A second independent implementation accepts our plain enveloped signature."""
    signed = xmldsig.sign_enveloped(DOCUMENT, world.partner)
    result = signxml.XMLVerifier().verify(signed, x509_cert=world.partner.certificate)
    assert canonicalize(result.signed_xml) == canonicalize(parse(DOCUMENT))


def test_ours_verifies_signxml(world):
    """We accept what signxml signs with exclusive C14N."""
    key = (world.partners_home / "system.key").read_bytes()
    certificate = (world.partners_home / "system.crt").read_bytes()
    signer = signxml.XMLSigner(c14n_algorithm="http://www.w3.org/2001/10/xml-exc-c14n#")
    signed = etree.tostring(
        signer.sign(parse(DOCUMENT), key=key, cert=certificate.decode().split("-----END")[0] + "-----END CERTIFICATE-----\n")
    )
    assert xmldsig.verify_enveloped(signed, world.trust).octets == canonicalize(parse(DOCUMENT))


def test_every_flipped_byte_is_refused_or_harmless(world):
    """Whatever single byte of a signed receipt is flipped, verification refuses, or hands back the very octets that were signed."""
    signed = xades.sign(DOCUMENT, world.partner, world.now)
    octets = canonicalize(parse(DOCUMENT))
    accepted = []
    for at in range(len(signed)):
        changed = signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :]
        try:
            verified = xades.verify(changed, world.trust)
        except Rejected:
            continue
        accepted.append(at)
        assert (verified.octets, verified.identity, verified.signed_at) == (octets, "partner-agency", world.now)
    # Only spelling that carries no meaning may differ, such as the last base64 digit's unused bits.
    assert len(accepted) < 20, [signed[at - 20 : at + 5] for at in accepted]


def test_a_strangers_signature_is_refused(world):
    """KeyInfo only proposes a certificate; one that no partner owns is refused however right the signature is."""
    with pytest.raises(Rejected, match=r"5\.7\.8"):
        xades.verify(xades.sign(DOCUMENT, world.stranger, world.now), world.trust)


def test_an_unsigned_document_is_refused(world):
    """A document whose signature was stripped is refused as unsigned."""
    with pytest.raises(Rejected, match=r"5\.7\.0"):
        xades.verify(DOCUMENT, world.trust)


def test_a_signed_document_is_not_signed_again(world):
    """This profile knows one signature a document."""
    with pytest.raises(Rejected, match="already"):
        xades.sign(xades.sign(DOCUMENT, world.partner, world.now), world.partner, world.now)


def test_a_swapped_certificate_is_refused(world):
    """Another certificate of the same key in KeyInfo is refused: the signed properties name which one it was."""
    renamed = Signer("own/other", SoftKey(_key(world)), world.partner.certificate)
    signed = etree.fromstring(xades.sign(DOCUMENT, renamed, world.now))
    signed.find(f".//{DS}X509Certificate").text = _base64(world.partner_ec.certificate_der)
    with pytest.raises(Rejected, match="not the one that the signed properties name"):
        xades.verify(etree.tostring(signed), world.trust)


def _changed(world, change) -> bytes:
    root = etree.fromstring(xades.sign(DOCUMENT, world.partner, world.now))
    return change(root) or etree.tostring(root)


def _wrap(root):
    """XSW 1: the signed document whole inside a new root, signature and all."""
    outer = etree.Element("{urn:test:receipt}Receipt", version="1")
    outer.text = "forged"
    outer.append(root)
    return etree.tostring(outer)


def _hoist(root):
    """XSW 2: a forged root with the original signature as its child and the original content beside it."""
    outer = etree.Element("{urn:test:receipt}Receipt", version="1")
    signature = root[-1]
    outer.append(root)
    outer.append(signature)
    return etree.tostring(outer)


def _into_object(root):
    """XSW 3: the original content hidden in the signature's own Object."""
    signature = root[-1]
    hidden = etree.SubElement(signature, f"{DS}Object")
    hidden.append(root[0])
    root.insert(0, etree.Element("{urn:test:receipt}Forged"))


def _second_properties(root):
    """Two SignedProperties with one Id: the signed one moved aside, a forged one in its place."""
    properties = root.find(f".//{{{XADES}}}SignedProperties")
    forged = etree.fromstring(etree.tostring(properties).replace(b">2026-", b">2020-"))
    properties.getparent().replace(properties, forged)
    unsigned = etree.SubElement(forged.getparent(), f"{{{XADES}}}UnsignedProperties")
    unsigned.append(properties)


def _not_last(root):
    etree.SubElement(root, "{urn:test:receipt}Appendix")


def _reference_text(old: str, new: str):
    def change(root):
        text = etree.tostring(root).decode()
        assert old in text
        return text.replace(old, new, 1).encode()

    return change


_EXC = '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'
_XPATH = '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><ds:XPath>not(self::x)</ds:XPath></ds:Transform>'
_XSLT = '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"><s:stylesheet xmlns:s="http://www.w3.org/1999/XSL/Transform"/></ds:Transform>'
_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_RSA = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"

ATTACKS = {
    "the whole wrapped": _wrap,
    "signature hoisted to a forged root": _hoist,
    "content hidden in Object": _into_object,
    "properties doubled": _second_properties,
    "signature not last": _not_last,
    "external reference": _reference_text('URI=""', 'URI="http://127.0.0.1:9/x"'),
    "file reference": _reference_text('URI=""', 'URI="file:///etc/passwd"'),
    "xpointer reference": _reference_text('URI=""', 'URI="#xpointer(/)"'),
    "bare # reference": _reference_text('URI=""', 'URI="#"'),
    "missing URI": _reference_text(' URI=""', ""),
    "xpath transform": _reference_text(_EXC, _XPATH + _EXC),
    "xslt transform": _reference_text(_EXC, _XSLT + _EXC),
    "sha-1 digest": _reference_text(_SHA256, "http://www.w3.org/2000/09/xmldsig#sha1"),
    "sha-1 signature": _reference_text(_RSA, "http://www.w3.org/2000/09/xmldsig#rsa-sha1"),
    "hmac": _reference_text(_RSA, "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"),
    "other family": _reference_text(_RSA, "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"),
    "inclusive C14N": _reference_text("2001/10/xml-exc-c14n#", "TR/2001/REC-xml-c14n-20010315"),
    "C14N with comments": _reference_text("xml-exc-c14n#", "xml-exc-c14n#WithComments"),
    "two SignedInfo": _reference_text("<ds:SignatureValue>", "<ds:SignedInfo/><ds:SignatureValue>"),
    "two signatures": _reference_text("<r:Reason ", "<ds:Signature xmlns:ds='http://www.w3.org/2000/09/xmldsig#'/><r:Reason "),
    "no signature value": _reference_text("<ds:SignatureValue>", "<ds:SignatureValue/><ds:SignatureValue>"),
    "a bare key": _reference_text("<ds:X509Data>", "<ds:KeyValue/><ds:X509Data><ds:X509SKI>AAAA</ds:X509SKI></ds:X509Data><ds:X509Data>"),
    "changed time": _reference_text("<xades:SigningTime>2026", "<xades:SigningTime>2025"),
    "changed content": _reference_text("Đã tiếp".encode("ascii", "xmlcharrefreplace").decode(), "x"),
    "policy smuggled in": _reference_text("<xades:SigningCertificateV2>", "<xades:SignaturePolicyIdentifier/><xades:SigningCertificateV2>"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(world, attack):
    """Each known way to make a verifier look at something else than what was signed is refused as a security fault."""
    with pytest.raises(Rejected) as refused:
        xades.verify(_changed(world, ATTACKS[attack]), world.trust)
    assert refused.value.code.startswith("5.7.")


def test_a_comment_cannot_split_a_value(world):
    """A comment put into signed text is dropped with the parse: the value read is the value signed, whole."""
    signed = xades.sign(DOCUMENT, world.partner, world.now).replace("Đã tiếp".encode(), "Đã<!-- x --> tiếp".encode())
    octets = xades.verify(signed, world.trust).octets
    assert parse(octets)[0].text == "Đã tiếp nhận & lưu"


def test_more_than_ten_references_are_refused(world):
    """A signature cannot make us digest without bound."""
    root = etree.fromstring(xades.sign(DOCUMENT, world.partner, world.now))
    info = root.find(f".//{DS}SignedInfo")
    for _ in range(9):
        info.append(etree.fromstring(etree.tostring(info[-1])))
    with pytest.raises(Rejected, match="1 to 10"):
        xades.verify(etree.tostring(root), world.trust)


def _key(world):
    return load_pem_private_key((world.partners_home / "system.key").read_bytes(), None)


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
