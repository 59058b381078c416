"""WS-Security X.509: what we sign others verify, what others sign we verify, and no attack moves the verified away from the used."""

import base64
import copy
import shutil
import uuid
from datetime import timedelta

import pytest
import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree
from zeep.wsse import signature as zeep_signature
from zeep.wsse.utils import get_security_header

from bus import pki
from bus.errors import Rejected
from bus.keys import Keyring
from bus.signature import wss
from bus.signature.profile import SOAP_ENVELOPES, WSSE, WSU
from bus.signature.times import written
from bus.xmlio import canonicalize, parse

DS = "{http://www.w3.org/2000/09/xmldsig#}"
WSU_ID = f"{{{WSU}}}Id"
X509 = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#"
SOAP11, SOAP12 = SOAP_ENVELOPES
SHA256 = {"signature_method": xmlsec.constants.TransformRsaSha256, "digest_method": xmlsec.constants.TransformSha256}
HEADERS = {"none": "", "empty": "<s:Header/>", "with children": '<s:Header a="x>y"><q:To xmlns:q="urn:q" wsu:Id="to">x</q:To></s:Header>'}


def envelope(
    soap: str = SOAP11, header: str = "", payload: str = '<a type="xsd:string">đ &amp; <![CDATA[<s:Body>]]></a>', ns: str = ""
) -> bytes:
    declared = f'xmlns:s="{soap}" xmlns:xsd="urn:xsd" ' + (ns or f'xmlns:wsu="{WSU}"')
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<s:Envelope {declared}>{header}<!-- <s:Body> --><s:Body>{payload}</s:Body></s:Envelope>'
    )
    return text.encode()


def verify(world, data: bytes, policy: wss.Policy = wss.DEFAULT, later: timedelta = timedelta(0)):
    return wss.verify(parse(data), policy, world.keyring.identify, world.now + later, known=world.keyring)


@pytest.mark.parametrize("soap", SOAP_ENVELOPES)
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("signer", ["partner", "partner_ec"])
def test_round_trip(world, soap, header, signer):
    """The verified octets are the Body's canonical form, with the partner and the time of signing."""
    signed = wss.sign(envelope(soap, HEADERS[header]), getattr(world, signer), world.now)
    verified = verify(world, signed)
    assert (verified.octets, verified.identity, verified.signed_at) == (canonicalize(parse(signed)[-1]), "partner-agency", world.now)


PAYLOADS = {
    "canonical": ('<a xmlns="urn:a" type="xsd:string">đ &amp; &lt;s:Body&gt;<b></b></a>', True),
    "not canonical": ("<a type='x' b=\"1\"><![CDATA[đ]]><b/></a>", False),
    "repeats the envelope's namespace": (f'<q:a xmlns:q="urn:q"><soap:Body xmlns:soap="{SOAP11}"></soap:Body></q:a>', True),
    "repeats wsu": (f'<a><b xmlns:wsu="{WSU}" wsu:Id="b"></b></a>', True),
    "uses the envelope's own prefix": ("<soap:Fault><faultcode>soap:Client</faultcode></soap:Fault>", False),
}


@pytest.mark.parametrize("soap", SOAP_ENVELOPES)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_new_envelope_is_signed_as_it_is_written(world, soap, payload):
    """Whatever the payload repeats, the Body's octets are its canonical form, and we and libxmlsec verify it, WS-Addressing beside it."""
    text, canonical = PAYLOADS[payload]
    to = b'<w:To xmlns:w="http://www.w3.org/2005/08/addressing">x</w:To>'
    signed = wss.enclose(soap, text.encode(), world.partner, world.now, headers=to, canonical=canonical)
    verified = verify(world, signed)
    assert (verified.identity, verified.octets) == ("partner-agency", canonicalize(parse(signed)[-1]))
    assert verified.octets in signed
    assert parse(signed)[0][1].text == "x"
    zeep_signature.verify_envelope(etree.fromstring(signed), str(world.partners_home / "system.crt"))


@pytest.mark.parametrize("ns", ['xmlns:u="urn:u"', 'xmlns:wsu="urn:other"', f'xmlns:u="{WSU}"', f'xmlns:wsu="{WSU}"'])
def test_signing_keeps_every_namespace(world, ns):
    """Whatever the prefixes are, the signature holds, and declarations that only QNames in content use are still there."""
    signed = wss.sign(envelope(ns=ns), world.partner, world.now)
    assert verify(world, signed).identity == "partner-agency"
    assert b'xmlns:xsd="urn:xsd"' in signed


@pytest.mark.parametrize("soap", SOAP_ENVELOPES)
def test_zeep_verifies_ours(world, soap):
    """zeep, through libxmlsec, accepts what we sign."""
    signed = wss.sign(envelope(soap), world.partner, world.now)
    zeep_signature.verify_envelope(etree.fromstring(signed), str(world.partners_home / "system.crt"))


@pytest.mark.parametrize("soap", SOAP_ENVELOPES)
@pytest.mark.parametrize("kind", [zeep_signature.BinarySignature, zeep_signature.Signature])
def test_ours_verifies_zeep(world, soap, kind):
    """We accept zeep's signatures with SHA-256, by token and by embedded certificate, over Body and Timestamp."""
    assert verify(world, _by_zeep(world, kind, soap)).identity == "partner-agency"


def test_zeeps_sha1_default_is_refused(world):
    """zeep's default algorithms are SHA-1 and are refused by name."""
    root = _with_timestamp(world, SOAP11)
    files = str(world.partners_home / "system.key"), str(world.partners_home / "system.crt")
    zeep_signature.BinarySignature(*files).apply(root, {})
    with pytest.raises(Rejected, match=r"5\.7\.6 .*rsa-sha1"):
        verify(world, etree.tostring(root))


def test_a_signature_without_timestamp_is_refused(world):
    """A signature over the Body alone could be replayed for ever."""
    root = etree.fromstring(envelope())
    _apply(world, zeep_signature.BinarySignature, root)
    with pytest.raises(Rejected, match=r"5\.7\.0 .*Timestamp"):
        verify(world, etree.tostring(root))


@pytest.mark.parametrize("ours", ["issuer and serial", "issuer, spelt backwards with spaces", "SKI", "X509Data SKI", "X509v3 identifier"])
def test_references_to_known_certificates(world, tmp_path, ours):
    """A certificate that is only named is found among those pinned for the partners, in each form that stacks write."""
    signed = _renamed(world, ours)
    pinned = world.keyring.trusts["partner-agency"].__class__("partner-agency", pinned=(world.partner.certificate,))
    keyring = world.keyring.__class__({}, (), {"partner-agency": pinned})
    assert wss.verify(parse(signed), wss.DEFAULT, keyring.identify, world.now, known=keyring).identity == "partner-agency"


@pytest.mark.parametrize("ours", ["issuer and serial", "SKI"])
def test_references_to_certificates_that_do_not_lie_here(world, ours):
    """A certificate that is only named, and that no trust directory holds, is unknown."""
    with pytest.raises(Rejected, match=r"5\.7\.8"):
        verify(world, _renamed(world, ours))


@pytest.mark.parametrize(
    ("later", "accepted"),
    [
        (timedelta(minutes=-5), True),
        (timedelta(minutes=-5, microseconds=-1), False),
        (timedelta(minutes=9, seconds=59), True),
        (timedelta(minutes=10), False),
    ],
)
def test_timestamp_at_the_limits(world, later, accepted):
    """Created may be as far in the future, and Expires as far in the past, as the skew allows, and not one tick farther."""
    signed = wss.sign(envelope(), world.partner, world.now)
    if accepted:
        assert verify(world, signed, later=later).identity
    else:
        with pytest.raises(Rejected, match=r"5\.7\.9"):
            verify(world, signed, later=later)


def test_a_far_expiry_does_not_keep_a_message_fresh(world):
    """Whatever Expires says, a message older than the policy's age is stale."""
    signed = wss.sign(envelope(), world.partner, world.now, lifetime=timedelta(days=3650))
    with pytest.raises(Rejected, match="too old"):
        verify(world, signed, later=timedelta(minutes=21))


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-11-22", "20261122T080000Z", "2026-11-22T08:00:00+99:00"])
def test_times_that_are_none(world, text):
    """A Created that is no time is refused as such, before any cryptography."""
    signed = wss.sign(envelope(), world.partner, world.now).replace(written(world.now).encode(), text.encode(), 1)
    with pytest.raises(Rejected, match=r"5\.7\.9"):
        verify(world, signed)


def test_a_covered_header_must_be_there_and_signed(world):
    """A policy may demand that a header such as wsa:To is signed; present but unsigned, and absent, are both refused."""
    policy = wss.Policy(covers=("Body", "Timestamp", "To"))
    with pytest.raises(Rejected, match="not covered"):
        verify(world, wss.sign(envelope(header=HEADERS["with children"]), world.partner, world.now), policy)
    with pytest.raises(Rejected, match="no To"):
        verify(world, wss.sign(envelope(), world.partner, world.now), policy)


def test_inclusive_namespaces_are_honoured(world):
    """A signer's PrefixList, with prefixes declared on ancestors and #default, gives the digest that libxmlsec computes."""
    root = etree.fromstring(
        f'<s:Envelope xmlns:s="{SOAP11}" xmlns:xsd="urn:xsd" xmlns="urn:default"><s:Header/>'
        '<s:Body><a type="xsd:string"/></s:Body></s:Envelope>'
    )
    get_security_header(root).append(_timestamp(world))
    _apply(world, zeep_signature.BinarySignature, root, prefixes="xsd #default")
    assert b'xmlns="urn:default" xmlns:s=' in verify(world, etree.tostring(root)).octets


def test_an_unsigned_envelope_is_refused(world):
    """No Security header, and a Security header without Signature, are refused as missing security."""
    bare = etree.fromstring(wss.sign(envelope(), world.partner, world.now))
    signature = bare.find(f".//{DS}Signature")
    signature.getparent().remove(signature)
    for data in (envelope(), etree.tostring(bare)):
        with pytest.raises(Rejected, match=r"5\.7\.0"):
            verify(world, data)


def test_a_strangers_signature_is_refused(world):
    """A right signature by a certificate of no partner's authority is refused."""
    with pytest.raises(Rejected, match=r"5\.7\.8"):
        verify(world, wss.sign(envelope(), world.stranger, world.now))


def test_our_own_signature_is_no_partners(world):
    """What the bus signs does not come back as a partner's."""
    with pytest.raises(Rejected, match=r"5\.7\.8"):
        verify(world, wss.sign(envelope(), world.ours, world.now))


# --- wrapping: the signed elements stay somewhere, the used ones are forged ------------------------------------------------


def _forge(body):
    forged = copy.deepcopy(body)
    for child in list(forged):
        forged.remove(child)
    etree.SubElement(forged, "forged")
    return forged


def _body_into_header(root):
    body = root[-1]
    root.replace(body, _forge(body))
    etree.SubElement(root[0], "wrapper").append(body)


def _body_into_header_new_id(root):
    body = root[-1]
    forged = _forge(body)
    forged.set(WSU_ID, "other")
    root.replace(body, forged)
    etree.SubElement(root[0], "wrapper").append(body)


def _body_is_header_child(root):
    body = root[-1]
    forged = _forge(body)
    del forged.attrib[WSU_ID]
    root.replace(body, forged)
    root[0].append(body)


def _body_in_body(root):
    body = root[-1]
    forged = _forge(body)
    forged.set(WSU_ID, "other")
    root.replace(body, forged)
    forged.append(body)


def _two_bodies(root):
    root.append(_forge(root[-1]))


def _two_bodies_before(root):
    forged = _forge(root[-1])
    forged.set(WSU_ID, "other")
    root.insert(1, forged)


def _body_in_signature_object(root):
    body = root[-1]
    forged = _forge(body)
    forged.set(WSU_ID, "other")
    root.replace(body, forged)
    etree.SubElement(root.find(f".//{DS}Signature"), f"{DS}Object").append(body)


def _body_in_security(root):
    body = root[-1]
    forged = _forge(body)
    forged.set(WSU_ID, "other")
    root.replace(body, forged)
    root[0][0].append(body)


def _same_id_other_kind(kind):
    def attack(root):
        body = root[-1]
        forged = _forge(body)
        forged.attrib.pop(WSU_ID)
        forged.set(kind, body.get(WSU_ID))
        root.replace(body, forged)
        etree.SubElement(root[0], "wrapper").append(body)

    return attack


def _envelope_in_envelope(root):
    outer = copy.deepcopy(root)
    outer.replace(outer[-1], _forge(outer[-1]))
    outer[-1].set(WSU_ID, "other")
    outer[-1].append(root)
    return etree.tostring(outer)


def _timestamp_moved(root):
    old = root.find(f".//{{{WSU}}}Timestamp")
    fresh = copy.deepcopy(old)
    fresh.attrib.pop(WSU_ID)
    old.getparent().replace(old, fresh)
    etree.SubElement(root[0], "wrapper").append(old)


def _timestamp_twice(root):
    old = root.find(f".//{{{WSU}}}Timestamp")
    old.addnext(copy.deepcopy(old))


def _security_twice(root):
    root[0].append(copy.deepcopy(root[0][0]))


def _security_in_body(root):
    root[-1].append(root[0][0])


def _security_moved_aside(root):
    security = root[0][0]
    etree.SubElement(root[0], "wrapper").append(security)


def _security_of_another_role(root):
    other = etree.SubElement(root[0], f"{{{WSSE}}}Security")
    other.set(f"{{{etree.QName(root).namespace}}}actor", "http://schemas.xmlsoap.org/soap/actor/next")


def _signature_twice(root):
    signature = root.find(f".//{DS}Signature")
    signature.addnext(copy.deepcopy(signature))


def _token_twice(root):
    token = root.find(f".//{{{WSSE}}}BinarySecurityToken")
    token.addnext(copy.deepcopy(token))


def _header_after_body(root):
    root.append(root[0])


def _body_renamed(root):
    root[-1].tag = "{urn:other}Body"


def _envelope_renamed(root):
    root.tag = "{urn:other}Envelope"


def _edit(old: str, new: str):
    def attack(root):
        text = etree.tostring(root).decode()
        assert old in text
        return text.replace(old, new).encode()

    return attack


_EXC = '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'
_STR = '<ds:Transform Algorithm="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#STR-Transform"/>'
ATTACKS = {
    "signed Body in a wrapper in Header, forged Body with the same Id": _body_into_header,
    "signed Body in a wrapper in Header, forged Body with another Id": _body_into_header_new_id,
    "signed Body as a Header child, forged Body without Id": _body_is_header_child,
    "signed Body inside the forged Body": _body_in_body,
    "second Body after": _two_bodies,
    "second Body before": _two_bodies_before,
    "signed Body in the Signature's Object": _body_in_signature_object,
    "signed Body in Security": _body_in_security,
    "forged Body with the Id as Id": _same_id_other_kind("Id"),
    "forged Body with the Id as ID": _same_id_other_kind("ID"),
    "forged Body with the Id as xml:id": _same_id_other_kind("{http://www.w3.org/XML/1998/namespace}id"),
    "signed envelope inside a forged one": _envelope_in_envelope,
    "signed Timestamp moved": _timestamp_moved,
    "second Timestamp": _timestamp_twice,
    "second Security": _security_twice,
    "Security in Body": _security_in_body,
    "Security in a wrapper": _security_moved_aside,
    "Security for another role beside": _security_of_another_role,
    "second Signature": _signature_twice,
    "second token": _token_twice,
    "Header after Body": _header_after_body,
    "Body in another namespace": _body_renamed,
    "Envelope in another namespace": _envelope_renamed,
    "reference to the whole document": _edit('<ds:Reference URI="#Body-', '<ds:Reference URI="" Id="'),
    "external reference": _edit('<ds:Reference URI="#', '<ds:Reference URI="http://127.0.0.1:9/#'),
    "xpointer": _edit('<ds:Reference URI="#', '<ds:Reference URI="#xpointer'),
    "STR-Transform": _edit(_EXC, _STR),
    "hmac with the public key": _edit("xmldsig-more#rsa-sha256", "xmldsig-more#hmac-sha256"),
    "sha-1 digest": _edit("http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2000/09/xmldsig#sha1"),
    "PKIPath token": _edit("#X509v3", "#X509PKIPathv1"),
    "empty KeyInfo": lambda root: root.find(f".//{DS}KeyInfo").clear(),
    "empty token reference": lambda root: root.find(f".//{{{WSSE}}}SecurityTokenReference").clear(),
    "key name only": _edit("wsse:SecurityTokenReference", "ds:KeyName"),
    "changed content": _edit('type="xsd:string"', 'type="xsd:strinG"'),
    "thousand prefixes": _edit(
        _EXC,
        _EXC.replace("/>", ">")
        + '<e:InclusiveNamespaces xmlns:e="http://www.w3.org/2001/10/xml-exc-c14n#" '
        + f'PrefixList="{" ".join(f"p{n}" for n in range(1000))}"/></ds:Transform>',
    ),
}


@pytest.mark.parametrize("soap", SOAP_ENVELOPES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(world, attack, soap):
    """Each wrapping, doubling, renaming and algorithm attack on a rightly signed envelope is refused."""
    root = etree.fromstring(wss.sign(envelope(soap), world.partner, world.now))
    data = ATTACKS[attack](root) or etree.tostring(root)
    with pytest.raises(Rejected) as refused:
        verify(world, data)
    assert refused.value.code.startswith("5.7.") or refused.value.key == "soap-invalid"


def test_every_flipped_byte_is_refused_or_harmless(world):
    """Whatever single byte of a signed envelope is flipped, verification refuses, or the Body is the very one that was signed."""
    signed = wss.sign(envelope(), world.partner_ec, world.now)
    octets = verify(world, signed).octets
    for at in range(len(signed)):
        changed = signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :]
        try:
            verified = verify(world, changed)
        except Rejected:
            continue
        assert (verified.octets, verified.identity, verified.signed_at) == (octets, "partner-agency", world.now)


def _timestamp(world):
    stamp = etree.Element(f"{{{WSU}}}Timestamp")
    etree.SubElement(stamp, f"{{{WSU}}}Created").text = world.now.isoformat()
    etree.SubElement(stamp, f"{{{WSU}}}Expires").text = (world.now + timedelta(minutes=5)).isoformat()
    return stamp


def _with_timestamp(world, soap):
    root = etree.fromstring(envelope(soap))
    get_security_header(root).append(_timestamp(world))
    return root


def _apply(world, kind, root, prefixes: str = ""):
    """Signs as zeep does, with SHA-256; with ``prefixes``, the template gets an InclusiveNamespaces before it is signed."""
    add_transform = xmlsec.template.add_transform

    def with_prefixes(reference, transform):
        node = add_transform(reference, transform)
        etree.SubElement(node, "{http://www.w3.org/2001/10/xml-exc-c14n#}InclusiveNamespaces", PrefixList=prefixes)
        return node

    files = str(world.partners_home / "system.key"), str(world.partners_home / "system.crt")
    if prefixes:
        xmlsec.template.add_transform = with_prefixes
    try:
        kind(*files, **SHA256).apply(root, {})
    finally:
        xmlsec.template.add_transform = add_transform


def _by_zeep(world, kind, soap) -> bytes:
    root = _with_timestamp(world, soap)
    _apply(world, kind, root)
    return etree.tostring(root)


def _renamed(world, form: str) -> bytes:
    """An envelope signed by the partner, its token reference (which is not signed) replaced by another form."""
    certificate = world.partner.certificate
    ski = base64.b64encode(certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest).decode()
    issuer = certificate.issuer.rfc4514_string()
    backwards = ", ".join(reversed(issuer.split(",")))
    serial = (
        "<ds:X509Data><ds:X509IssuerSerial><ds:X509IssuerName>{}</ds:X509IssuerName>"
        "<ds:X509SerialNumber>{}</ds:X509SerialNumber></ds:X509IssuerSerial></ds:X509Data>"
    )
    token = base64.b64encode(world.partner.certificate_der).decode()
    forms = {
        "issuer and serial": serial.format(issuer, certificate.serial_number),
        "issuer, spelt backwards with spaces": serial.format(backwards, certificate.serial_number),
        "SKI": f'<wsse:KeyIdentifier ValueType="{X509}X509SubjectKeyIdentifier">{ski}</wsse:KeyIdentifier>',
        "X509Data SKI": f"<ds:X509Data><ds:X509SKI>{ski}</ds:X509SKI></ds:X509Data>",
        "X509v3 identifier": f'<wsse:KeyIdentifier ValueType="{X509}X509v3">{token}</wsse:KeyIdentifier>',
    }
    text = wss.sign(envelope(), world.partner, world.now).decode()
    start, end = text.index("<wsse:Reference "), text.index("</wsse:SecurityTokenReference>")
    return (text[:start] + forms[form] + text[end:]).encode()


def test_ids_of_the_senders_own_data_may_repeat(world):
    """A payload may use Id attributes as it likes, twice the same value too, as long as no signature refers to them."""
    payload = f'<row Id="{uuid.uuid4()}"/><row Id="1"/><row Id="1"/>'
    assert verify(world, wss.sign(envelope(payload=payload), world.partner, world.now)).identity == "partner-agency"


def test_certificates_out_of_their_time_and_revoked_are_refused(world, tmp_path):
    """The signature of an expired or revoked certificate is refused with that reason, though it verifies."""
    later = world.now + timedelta(days=1000)
    with pytest.raises(Rejected, match=r"5\.7\.5 .*outside its validity"):
        wss.verify(parse(wss.sign(envelope(), world.partner, later)), wss.DEFAULT, world.keyring.identify, later)
    trust = tmp_path / "trust"
    trust.mkdir()
    shutil.copy(world.partners_home / "ca.crt", trust)
    pki.revoke(trust / "ca.crl", pki.read_authority(world.partners_home), [world.partner.certificate.serial_number], world.now)
    keyring = Keyring.load(tmp_path, {"partner-agency": "trust"})
    with pytest.raises(Rejected, match=r"5\.7\.5 .*revoked"):
        wss.verify(parse(wss.sign(envelope(), world.partner, world.now)), wss.DEFAULT, keyring.identify, world.now)


def test_weak_keys_are_refused(world, tmp_path):
    """A signature by a 1024-bit RSA key is refused, even where its certificate is pinned."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "yếu")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(9)
    certificate = builder.not_valid_before(world.now).not_valid_after(world.now + timedelta(days=1)).sign(key, hashes.SHA256())
    files = tmp_path / "weak.key", tmp_path / "weak.crt"
    files[0].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files[1].write_bytes(certificate.public_bytes(Encoding.PEM))
    root = _with_timestamp(world, SOAP11)
    zeep_signature.BinarySignature(*map(str, files), **SHA256).apply(root, {})
    with pytest.raises(Rejected, match="weak"):
        wss.verify(parse(etree.tostring(root)), wss.DEFAULT, lambda certificate, at: "pinned", world.now)
