"""WS-Security beyond Body and Timestamp: how the certificate is given, other headers, UsernameTokens of ours, and attachments."""

import copy
from collections.abc import Mapping
from dataclasses import replace

import pytest
from lxml import etree
from zeep.wsse.username import UsernameToken

from bus import soap
from bus.errors import Rejected
from bus.keys import Keyring
from bus.mime import Part, media_type
from bus.octets import Octets
from bus.signature import attachments, username, wss
from bus.signature.profile import ATTACHMENT_CONTENT, SOAP_ENVELOPES, WSSE, WSU, X509_TOKEN, Kind
from bus.signature.reading import read
from bus.signature.security_header import Style
from bus.soap import SOAP_11, SOAP_12
from bus.xmlio import canonicalize, parse

DS = "{http://www.w3.org/2000/09/xmldsig#}"
WSU_ID = f"{{{WSU}}}Id"
ADDRESSED = ("Body", "Timestamp", "To", "Action", "MessageID")
HEADERS = soap.request_headers("https://b/a?b=1&c", "urn:x/P", "urn:uuid:0190")
ENVELOPE = soap.envelope(SOAP_11, b"<a>x</a>", HEADERS)
SHOWN = {
    "bst": f"{{{WSSE}}}Reference",
    "issuer-serial": f"{DS}X509IssuerSerial",
    "ski": f"{{{WSSE}}}KeyIdentifier",
    "x509-data": f"{DS}X509Certificate",
}
NONCE = bytes(range(16))
ACCOUNT = username.Account("đơn vị & <tên>", "mật khẩu > \r 1")


def verify(world, data: bytes, **more):
    policy = wss.Policy(covers=more.pop("covers", ("Body", "Timestamp")))
    return wss.verify(parse(data), policy, world.keyring.identify, world.now, known=more.pop("known", world.keyring), **more)


@pytest.fixture(scope="module")
def pinned(world, tmp_path_factory):
    """A keyring in whose directory the partner's certificates lie: what names no more than a serial number is looked up there."""
    certs = tmp_path_factory.mktemp("pinned")
    (certs / "trust").mkdir()
    for name in ("system", "own/system-ec"):
        (certs / "trust" / f"{name.replace('/', '-')}.crt").write_bytes((world.partners_home / f"{name}.crt").read_bytes())
    return Keyring.load(certs, {"partner-agency": "trust"})


@pytest.mark.parametrize("kind", ["partner", "partner_ec"])
@pytest.mark.parametrize("written", ["sign", "enclose"])
@pytest.mark.parametrize("token", SHOWN)
def test_each_way_to_give_the_certificate_is_understood(world, pinned, token, written, kind):
    """In a token, by issuer and serial number, by key identifier, within the reference: the same partner, in either version."""
    signer, style = getattr(world, kind), Style(token)
    if written == "sign":
        data = wss.sign(soap.envelope(SOAP_12, b"<a>x</a>"), signer, world.now, style=style)
    else:
        data = wss.enclose(SOAP_12.namespace, b"<a>x</a>", signer, world.now, style=style)
    reference = parse(data).find(f".//{{{WSSE}}}SecurityTokenReference")
    assert next(reference.iter(SHOWN[token]), None) is not None
    assert (f"{X509_TOKEN}X509v3".encode() in data) == (token == "bst")
    assert wss.verify(parse(data), wss.DEFAULT, pinned.identify, world.now, known=pinned).identity == "partner-agency"


@pytest.mark.parametrize("token", ["issuer-serial", "ski"])
def test_a_certificate_that_is_only_named_must_be_held(world, token):
    """The authority alone does not help to find the leaf; without any directory such a reference is refused too."""
    data = wss.sign(ENVELOPE, world.partner, world.now, style=Style(token))
    for known in (world.keyring, None):
        with pytest.raises(Rejected, match=r"5\.7\.8"):
            verify(world, data, known=known)


@pytest.mark.parametrize("written", ["sign", "enclose"])
@pytest.mark.parametrize("soap_namespace", SOAP_ENVELOPES)
def test_headers_are_signed_and_demanded(world, written, soap_namespace):
    """What ``covers`` names is signed by us and demanded of others; a signature without it is refused."""
    for style in (Style(), Style(headers=True)):
        if written == "sign":
            envelope = soap.envelope(soap.VERSIONS[soap_namespace], b"<a>x</a>", HEADERS)
            data = wss.sign(envelope, world.partner, world.now, style=style)
        else:
            data = wss.enclose(soap_namespace, b"<a>x</a>", world.partner, world.now, headers=HEADERS, style=style)
        assert verify(world, data).identity == "partner-agency"
        if style.headers:
            assert verify(world, data, covers=ADDRESSED).octets == canonicalize(parse(data)[-1])
        else:
            with pytest.raises(Rejected, match="To is not covered"):
                verify(world, data, covers=ADDRESSED)


def _changed(root):
    root[0].find("{*}To").text = "https://elsewhere/"


def _taken_away(root):
    root[0].remove(root[0].find("{*}Action"))


def _beside(root):
    twin = copy.deepcopy(root[0].find("{*}MessageID"))
    del twin.attrib[WSU_ID]
    twin.text = "urn:uuid:forged"
    root[0].append(twin)


def _swapped(root):
    to, action = root[0].find("{*}To"), root[0].find("{*}Action")
    to.text, action.text = action.text, to.text


def _exchanged_ids(root):
    to, action = root[0].find("{*}To"), root[0].find("{*}Action")
    first, second = to.get(WSU_ID), action.get(WSU_ID)
    to.set(WSU_ID, second)
    action.set(WSU_ID, first)


def _wrapped(root):
    to = root[0].find("{*}To")
    wrapper = etree.SubElement(root[0], "{urn:x}wrapper")
    forged = copy.deepcopy(to)
    del forged.attrib[WSU_ID]
    forged.text = "https://elsewhere/"
    root[0].insert(0, forged)
    wrapper.append(to)


@pytest.mark.parametrize("attack", [_changed, _taken_away, _beside, _swapped, _exchanged_ids, _wrapped])
def test_attacks_on_signed_headers_are_refused(world, attack):
    """Changed, stripped, doubled, exchanged or wrapped: a header that must be signed is the one that was signed."""
    root = etree.fromstring(wss.sign(ENVELOPE, world.partner, world.now, style=Style(headers=True)))
    attack(root)
    with pytest.raises(Rejected) as refused:
        verify(world, etree.tostring(root), covers=ADDRESSED)
    assert refused.value.code.startswith("5.7.")


# --- UsernameToken, outbound -------------------------------------------------------------------------------------------


def logged_in(world, account: username.Account, signer=None) -> bytes:
    login = username.write(account, NONCE, world.now)
    return wss.enclose(SOAP_11.namespace, b"<a>x</a>", signer, world.now, login=login)


@pytest.mark.parametrize("digested", [True, False])
@pytest.mark.parametrize("signs", [True, False])
def test_our_usernametoken_is_believed_alone_and_beside_a_signature(world, digested, signs):
    """Name and password come back whatever characters they have; with a key of ours the token is signed as well."""
    data = logged_in(world, replace(ACCOUNT, digested=digested), world.partner if signs else None)
    secrets = {ACCOUNT.user: ACCOUNT.password}
    assert username.verify(parse(data), secrets.get, world.now, username.NonceCache()).user == ACCOUNT.user
    assert ("mật khẩu".encode() in data) == (not digested)
    if signs:
        assert verify(world, data).identity == "partner-agency"
        for name in ("Username", "Nonce"):
            root = parse(data)
            root.find(f".//{{{WSSE}}}{name}").text += "A"
            with pytest.raises(Rejected, match=r"5\.7\.7 .*changed"):
                verify(world, etree.tostring(root))
    else:
        assert f"{DS}Signature" not in {element.tag for element in parse(data).iter()}


def test_our_digest_is_the_one_that_zeep_makes(world):
    """The same name, password, nonce and time give the same digest as an independent implementation's."""
    root = etree.fromstring(soap.envelope(SOAP_11, b"<a/>"))
    created = world.now.replace(microsecond=0)
    UsernameToken("unit", "secret", nonce="0123456789abcdef", created=created, use_digest=True).apply(root, {})
    token = root.find(f".//{{{WSSE}}}UsernameToken")
    ours = username.write(username.Account("unit", "secret"), b"0123456789abcdef", created)("1").text
    stated = token.findtext(f"{{{WSU}}}Created")
    login = username._Token("unit", "secret", True, b"0123456789abcdef", stated)
    assert token.findtext(f"{{{WSSE}}}Password") == username._digest(login, "secret")
    assert token.findtext(f"{{{WSSE}}}Nonce") == parse(ours.encode()).findtext(f"{{{WSSE}}}Nonce")


def test_a_password_is_not_shown(world):
    """What is printed of an account, such as into a log, has no password."""
    assert ACCOUNT.password not in repr(ACCOUNT)


# --- SOAP with Attachments ---------------------------------------------------------------------------------------------

FILES = {"a@x": b"\x00\xff" * 100, "b c": b"text\nwith line feeds", "c": b""}


def parts(files: Mapping[str, bytes] = FILES, kind: str = "application/octet-stream") -> dict[str, Part]:
    return {name: Part(media_type(kind), name, memoryview(data)) for name, data in files.items()}


def attached(world, **more) -> bytes:
    return wss.sign(soap.envelope(SOAP_11, b'<a href="cid:a@x">x</a>'), world.partner, world.now, attachments=FILES, **more)


@pytest.mark.parametrize("written", ["sign", "enclose"])
def test_attachments_are_covered(world, written):
    """Each part is under the signature, found by its Content-ID however that is percent-encoded."""
    if written == "sign":
        data = attached(world)
    else:
        files = {**FILES, "a@x": Octets(b"\x00\xff" * 50, b"\x00\xff" * 50)}
        data = wss.enclose(SOAP_11.namespace, b"<a>x</a>", world.partner, world.now, attachments=files)
    assert data.count(ATTACHMENT_CONTENT.encode()) == len(FILES)
    assert verify(world, data, attachments=parts()).identity == "partner-agency"


ATTACHED = {
    "one changed": ({**FILES, "c": b"1"}, "changed"),
    "one too many": ({**FILES, "d": b""}, "<d> is not covered"),
    "one too few": ({"a@x": FILES["a@x"]}, "to no attachment"),
    "none at all": ({}, "to no attachment"),
    "two exchanged": ({**FILES, "a@x": FILES["b c"], "b c": FILES["a@x"]}, "changed"),
    "renamed": ({("z" if name == "c" else name): data for name, data in FILES.items()}, "to no attachment"),
}


@pytest.mark.parametrize("change", ATTACHED)
def test_attachments_other_than_those_that_were_signed_are_refused(world, change):
    """Changed, added, taken away, exchanged or renamed."""
    files, said = ATTACHED[change]
    with pytest.raises(Rejected, match=said):
        verify(world, attached(world), attachments=parts(files))


def test_one_attachment_is_covered_once(world):
    """A second reference to it is refused, so that references cost no more than there are parts."""
    data = wss.sign(soap.envelope(SOAP_11, b"<a/>"), world.partner, world.now, attachments={"a": b"1"})
    signature = read(parse(data).find(f".//{DS}Signature"), frozenset(Kind))
    covering = [one for one in signature.references if one.kind is Kind.ATTACHMENT]
    attachments.check(covering, parts({"a": b"1"}))
    with pytest.raises(Rejected, match="covered already"):
        attachments.check(covering * 2, parts({"a": b"1"}))


@pytest.mark.parametrize(
    ("kind", "data", "counts"),
    [
        ("text/xml", b"<a></a>", True),
        ("text/xml; charset=utf-8", b"<a/>", False),
        ("application/xml", b"<a></a><!-- unsigned -->", False),
        ("image/svg+xml", b'<?xml version="1.0"?><a></a>', False),
        ("text/plain", b"a\r\nb", True),
        ("text/plain", b"a\nb", False),
        ("text/csv", b"a\rb", False),
        ("application/octet-stream", b"<a/>\n", True),
    ],
)
def test_a_part_counts_only_in_the_form_that_is_signed(world, kind, data, counts):
    """XML and text are signed in a canonical form: a part in any other form holds octets that nobody signed."""
    signed = wss.sign(soap.envelope(SOAP_11, b"<a/>"), world.partner, world.now, attachments={"f": data})
    if counts:
        assert verify(world, signed, attachments=parts({"f": data}, kind)).identity == "partner-agency"
    else:
        with pytest.raises(Rejected, match="canonical form"):
            verify(world, signed, attachments=parts({"f": data}, kind))


def test_a_reference_to_mime_headers_is_refused(world):
    """Only the content is covered by this profile."""
    with pytest.raises(Rejected, match=r"5\.7\.6 .*Complete"):
        verify(world, attached(world).replace(b"Attachment-Content-", b"Attachment-Complete-"), attachments=parts())
