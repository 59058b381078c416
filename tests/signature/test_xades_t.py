"""XAdES-B-T: the time-stamp is handed out as it is, over what it must cover, and can take nothing from the signature."""

import pytest
from lxml import etree

from bus.errors import Rejected
from bus.octets import digest
from bus.signature import xades, xades_files
from bus.signature.profile import XADES, TimeStamp
from bus.signature.writing import encoded
from bus.signature.xades_files import File
from bus.xmlio import canonicalize, parse

DOCUMENT = "<r:Receipt xmlns:r='urn:r'><r:a>Đã nhận</r:a></r:Receipt>".encode()
DS = "{http://www.w3.org/2000/09/xmldsig#}"
TOKEN = bytes(range(256))
FILES = [File("a.xml", b"<a/>", "text/xml"), File("b", b"\x00")]
BODIES = {file.name: file.body for file in FILES}


def by_files(signed, world):
    return xades_files.verify_files(signed, BODIES, world.trust)


def by_document(signed, world):
    return xades.verify(signed, world.trust)


PROFILES = {
    "document": (lambda world: xades.sign(DOCUMENT, world.partner, world.now), by_document),
    "files": (lambda world: xades_files.sign_files(FILES, world.partner, world.now), by_files),
}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_time_stamp_is_put_in_and_handed_out(world, profile):
    """B-T is B-B with a token over the SignatureValue, and still its own canonical form; without one there is none."""
    sign, verify = PROFILES[profile]
    signed = sign(world)
    stamped = xades.with_timestamp(signed, TOKEN)
    assert verify(signed, world).time_stamps == ()
    octets = canonicalize(parse(signed).find(f".//{DS}SignatureValue"))
    assert xades.time_stamped(signed) == xades.time_stamped(stamped) == octets
    assert verify(stamped, world).time_stamps == (TimeStamp(TOKEN, octets),)
    assert (canonicalize(parse(stamped)), verify(stamped, world).octets) == (stamped, verify(signed, world).octets)


@pytest.mark.parametrize("profile", PROFILES)
def test_only_what_is_signed_and_not_stamped_yet_is_stamped(world, profile):
    """A second token, and a document without a signature, are our mistake."""
    sign, _ = PROFILES[profile]
    stamped = xades.with_timestamp(sign(world), TOKEN)
    for data in (stamped, DOCUMENT):
        with pytest.raises(Rejected, match="could be given its time-stamp"):
            xades.with_timestamp(data, TOKEN)
    with pytest.raises(Rejected, match="exactly one signature"):
        xades.time_stamped(DOCUMENT)


def _other_canonicalization(stamp):
    stamp[0].set("Algorithm", "http://www.w3.org/TR/2001/REC-xml-c14n-20010315")


def _no_canonicalization(stamp):
    stamp.remove(stamp[0])


def _two_tokens(stamp):
    stamp.append(etree.fromstring(etree.tostring(stamp[1])))


def _other_property(stamp):
    stamp.tag = f"{{{XADES}}}CounterSignature"


@pytest.mark.parametrize("change", [_other_canonicalization, _no_canonicalization, _two_tokens, _other_property])
def test_unsigned_properties_of_another_shape_prove_nothing_and_break_nothing(world, change):
    """Anybody could put them there or take them away: of a document they are passed over, in a container they have no place."""
    for profile, (sign, verify) in PROFILES.items():
        root = etree.fromstring(xades.with_timestamp(sign(world), TOKEN))
        change(root.find(f".//{{{XADES}}}SignatureTimeStamp"))
        changed = etree.tostring(root, method="c14n", exclusive=True)
        if profile == "document":
            assert verify(changed, world).time_stamps == ()
        else:
            with pytest.raises(Rejected, match=r"5\.7\.7"):
                verify(changed, world)


def test_every_flipped_byte_around_a_containers_token_is_refused(world):
    """Only within the token itself may an octet differ: its own signature is checked by whoever trusts its authority."""
    stamped = xades.with_timestamp(xades_files.sign_files(FILES, world.partner_ec, world.now), TOKEN)
    start = stamped.index(b"<xades:UnsignedProperties>")
    for at in range(start, len(stamped)):
        changed = stamped[:at] + bytes([stamped[at] ^ 1]) + stamped[at + 1 :]
        try:
            stamps = by_files(changed, world).time_stamps
        except Rejected:
            continue
        assert [stamp.token != TOKEN for stamp in stamps] == [True]


def test_what_is_signed_is_described(world):
    """B-B (EN 319 132-1 section 6.3): each signed data object has its format, which is signed."""
    root = parse(xades.sign(DOCUMENT, world.partner, world.now))
    covering = next(one for one in root.iter(f"{DS}Reference") if one.get("URI") == "")
    described = root.find(f".//{{{XADES}}}DataObjectFormat")
    assert (described.get("ObjectReference"), described.findtext(f"{{{XADES}}}MimeType")) == (f"#{covering.get('Id')}", "text/xml")


def test_signed_properties_that_this_profile_does_not_know_are_refused(world):
    """Of the data as of the signature: what could change the meaning and is not known is no harmless extra."""
    for place, name, said in ((1, "AllDataObjectsTimeStamp", "is not known here"), (None, "More", "something else than")):
        root = etree.fromstring(xades.sign(DOCUMENT, world.partner, world.now))
        said_properties = root.find(f".//{{{XADES}}}SignedProperties")
        etree.SubElement(said_properties if place is None else said_properties[place], f"{{{XADES}}}{name}")
        _sign_again(root, said_properties, world.partner)
        with pytest.raises(Rejected, match=said):
            xades.verify(etree.tostring(root), world.trust)


def _sign_again(root, said, signer):
    """As the signer itself would, so that a rule refuses it and not arithmetic."""
    covering = next(one for one in root.iter(f"{DS}Reference") if one.get("URI") == f"#{said.get('Id')}")
    covering.find(f"{DS}DigestValue").text = encoded(digest(canonicalize(said)))
    root.find(f".//{DS}SignatureValue").text = encoded(signer.sign(canonicalize(root.find(f".//{DS}SignedInfo"))))
