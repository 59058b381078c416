"""A Security header is for one reader: only one for us counts, and one for somebody else neither proves anything nor is a fault."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count

import pytest
from forms_rig import bus, forms_certs, refused  # noqa: F401 - fixtures
from lxml import etree
from soap_rig import Rig, document, now

from adapters.soap import payloads
from bus import roles, soap
from bus.errors import Rejected
from bus.octets import whole
from bus.signature import wss
from bus.signature.profile import DS, WSSE, WSU
from bus.soap import SOAP_11, SOAP_12, Version

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOTH = pytest.mark.parametrize("version", [SOAP_11, SOAP_12], ids=["1.1", "1.2"])
GATEWAY = "http://gateway.example/actor"
NONE = f"{roles.SOAP_12}/role/none"
OURS = ["", " ", "http://schemas.xmlsoap.org/soap/actor/next", f"{roles.SOAP_12}/role/next", f"{roles.SOAP_12}/role/ultimateReceiver"]
#: Not ours: URIs are compared letter by letter, and U+00A0 is no white space.
THEIRS = [GATEWAY, NONE, OURS[2].upper(), OURS[3].replace("http", "HTTP"), OURS[4] + "/", "\u00a0", OURS[3] + "\u00a0"]
NUMBERS = count(1)


def role(version: Version, value: str) -> str:
    """The attribute that says whom a header is for, in the prefix ``e``."""
    return f' e:{"actor" if version is SOAP_11 else "role"}="{value}"'


def foreign(version: Version, attribute: str, inside: str = "<w:UsernameToken><w:Username>gateway</w:Username></w:UsernameToken>") -> str:
    return f'<w:Security xmlns:w="{WSSE}" xmlns:e="{version.namespace}"{attribute}>{inside}</w:Security>'


def request(bus: Rig, version: Version) -> etree._Element:  # noqa: F811
    """A rightly signed SendDocument as a tree, in which the signature covers Body and Timestamp only."""
    payload = payloads.send_content(f"role-{next(NUMBERS)}", document(next(NUMBERS)))
    return etree.fromstring(bus.signed(whole(payload), version=version))


async def post(bus: Rig, version: Version, root: etree._Element) -> str:  # noqa: F811
    """ "" for what was accepted, else code and reason."""
    response = await bus.post(etree.tostring(root), content_type=f"{version.media_type}; charset=utf-8")
    return "" if response.status == 200 else refused(response)


@BOTH
@pytest.mark.parametrize("place", [0, 1], ids=["before ours", "after ours"])
@pytest.mark.parametrize("who", THEIRS)
async def test_a_security_header_for_somebody_else_is_no_fault(bus: Rig, version: Version, place: int, who: str) -> None:  # noqa: F811
    """WS-Security allows one a role; it may be first or last, and be marked mustUnderstand."""
    root = request(bus, version)
    root[0].insert(place, etree.fromstring(foreign(version, role(version, who) + ' e:mustUnderstand="1"')))
    assert await post(bus, version, root) == ""


@BOTH
@pytest.mark.parametrize("who", OURS)
async def test_a_second_security_header_for_us_is_refused(bus: Rig, version: Version, who: str) -> None:  # noqa: F811
    """However it says that it is ours, and whichever of the two the signature is in."""
    root = request(bus, version)
    root[0].append(etree.fromstring(foreign(version, role(version, who))))
    assert (await post(bus, version, root)).startswith("5.7.7")


@BOTH
@pytest.mark.parametrize("who", THEIRS)
async def test_a_signature_for_somebody_else_is_no_proof_for_us(bus: Rig, version: Version, who: str) -> None:  # noqa: F811
    """The only Security header names another reader: for us the request is unsigned."""
    root = request(bus, version)
    attribute = roles._ATTRIBUTES[version.namespace]
    root[0][0].set(attribute, who)
    assert (await post(bus, version, root)).startswith("5.7.0")


@BOTH
@pytest.mark.parametrize("who", OURS)
async def test_a_signature_for_whoever_is_next_is_a_proof_for_us(bus: Rig, version: Version, who: str) -> None:  # noqa: F811
    """Next and ultimate receiver are both what we are, with XML's white space around the URI."""
    root = request(bus, version)
    root[0][0].set(roles._ATTRIBUTES[version.namespace], f" \t{who}\n")
    assert await post(bus, version, root) == ""


@BOTH
async def test_the_other_versions_attribute_means_nothing(bus: Rig, version: Version) -> None:  # noqa: F811
    """`actor` in a SOAP 1.2 envelope, `role` in 1.1, and one without namespace, make nobody else's header of it."""
    other = {SOAP_11: roles._ATTRIBUTES[roles.SOAP_12], SOAP_12: roles._ATTRIBUTES[roles.SOAP_11]}[version]
    for attribute in (other, "actor", "role"):
        root = request(bus, version)
        second = etree.fromstring(foreign(version, ""))
        second.set(attribute, GATEWAY)
        root[0].append(second)
        assert (await post(bus, version, root)).startswith("5.7.7")
    root = request(bus, version)
    root[0][0].set(other, GATEWAY)
    assert await post(bus, version, root) == ""


def _signature_moved(root: etree._Element, theirs: etree._Element) -> None:
    theirs.append(root[0][0].find(f"{{{DS}}}Signature"))


def _timestamp_moved(root: etree._Element, theirs: etree._Element) -> None:
    theirs.append(root[0][0].find(f"{{{WSU}}}Timestamp"))


def _token_moved(root: etree._Element, theirs: etree._Element) -> None:
    theirs.append(root[0][0].find(f"{{{WSSE}}}BinarySecurityToken"))


def _old_timestamp_signed_there(root: etree._Element, theirs: etree._Element) -> None:
    """The signed Timestamp lies in the foreign header; ours has a fresh one that nobody signed."""
    signed = root[0][0].find(f"{{{WSU}}}Timestamp")
    unsigned = etree.fromstring(etree.tostring(signed))
    unsigned.attrib.clear()
    signed.addprevious(unsigned)
    theirs.append(signed)


def _body_moved(root: etree._Element, theirs: etree._Element) -> None:
    """The signed Body lies in the foreign header; the envelope has another one with the same Id."""
    forged = etree.fromstring(etree.tostring(root[-1]).replace(b"role-", b"forged-"))
    theirs.append(root[-1])
    root.append(forged)


def _same_id_there(root: etree._Element, theirs: etree._Element) -> None:
    etree.SubElement(theirs, f"{{{WSU}}}Timestamp").set(f"{{{WSU}}}Id", root[-1].get(f"{{{WSU}}}Id") or "")


ATTACKS: list[Callable[[etree._Element, etree._Element], None]] = [
    _signature_moved,
    _timestamp_moved,
    _token_moved,
    _old_timestamp_signed_there,
    _body_moved,
    _same_id_there,
]


@BOTH
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("place", [0, 1], ids=["before ours", "after ours"])
async def test_nothing_inside_a_foreign_header_is_used(bus: Rig, version: Version, attack: Callable[..., None], place: int) -> None:  # noqa: F811
    """No signature, token, Timestamp or Body that lies in a header for another role counts, nor can a reference reach it."""
    root = request(bus, version)
    theirs = etree.fromstring(foreign(version, role(version, GATEWAY), ""))
    attack(root, theirs)
    root[0].insert(place, theirs)
    assert (await post(bus, version, root)).startswith("5.7.")


@BOTH
async def test_a_foreign_header_must_not_hide_one_that_must_be_understood(bus: Rig, version: Version) -> None:  # noqa: F811
    """An unknown header for us with mustUnderstand is refused whatever the other version's attribute says; one for others is not."""
    for attribute, code in (
        (role(version, GATEWAY), ""),
        (role(version, OURS[2]), "5.6.5"),
        (' actor="x" role="x"', "5.6.5"),
        ("", "5.6.5"),
    ):
        root = request(bus, version)
        root[0].append(etree.fromstring(f'<o:Other xmlns:o="urn:o" xmlns:e="{version.namespace}" e:mustUnderstand="1"{attribute}/>'))
        assert (await post(bus, version, root))[:5] == code


@BOTH
async def test_a_reply_is_proved_by_its_header_for_us_alone(bus: Rig, version: Version) -> None:  # noqa: F811
    """As a client we read replies by the same rule."""
    reply = wss.sign(soap.envelope(version, b'<x:R xmlns:x="urn:x"/>'), bus.other, now())
    root = etree.fromstring(reply)
    root[0].append(etree.fromstring(foreign(version, role(version, GATEWAY))))
    known = wss.verify(soap.read(etree.tostring(root), version.media_type).root, wss.Policy(), lambda *_: "other", now())
    assert known.identity == "other"
    root[0][0].set(roles._ATTRIBUTES[version.namespace], GATEWAY)
    with pytest.raises(Rejected) as unsigned:
        wss.verify(soap.read(etree.tostring(root), version.media_type).root, wss.Policy(), lambda *_: "other", now())
    assert unsigned.value.code == "5.7.0"


async def test_a_name_for_somebody_else_costs_no_evidence(bus: Rig) -> None:  # noqa: F811
    """The signed request is kept though a foreign header names a user; where it holds a password as well, it is not."""
    for inside in ("", "<w:Password>bí mật</w:Password>"):
        root = request(bus, SOAP_11)
        token = f"<w:UsernameToken><w:Username>gateway</w:Username>{inside}</w:UsernameToken>"
        root[0].append(etree.fromstring(foreign(SOAP_11, role(SOAP_11, GATEWAY), token)))
        assert await post(bus, SOAP_11, root) == ""
    with closing(sqlite3.connect(bus.site.root / "data" / "bus.db")) as store:
        rows = store.execute("SELECT request FROM messages ORDER BY id DESC LIMIT 2").fetchall()
    assert [bool(kept) for (kept,) in rows] == [False, True]
