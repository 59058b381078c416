"""XAdES of ours by the ETSI's own schema and by foreign verifiers: documents, receipts, time-stamped signatures, files in a container.

Standards: ETSI EN 319 132-1 (XAdES; schema XAdES01903v132-201601); ETSI EN 319 162-1 annex A.7 (XAdESSignatures).
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
import signxml
from cross_matrix import signed_by_us
from cross_stacks import Refused
from cross_time import TimeAuthority
from cross_world import BY_NAME, DOCUMENT, World
from lxml import etree

from bus import timestamps
from bus.checkpoint import NONE_BEFORE, Span, Summary
from bus.errors import Rejected
from bus.evidence import Evidence
from bus.receipt import Receipt, Status
from bus.signature import xades, xades_files
from bus.signature.policy import ours
from bus.signer import Signer, SoftKey

_DS, _XADES = "{http://www.w3.org/2000/09/xmldsig#}", "{http://uri.etsi.org/01903/v1.3.2#}"
#: The schemas as ETSI and W3C publish them; signxml brings them along, so that none is committed here.
_SCHEMA = Path(signxml.__file__).parent / "xades" / "schemas" / "XAdES01903v132-201601.xsd"
RECEIPT = Receipt(
    id="01934f6e-0000-7000-8000-000000000001",
    message_id="thu-1",
    document_id="000.00.07.G14,2026/01/31,00000001",
    sender="000.00.07.G14",
    recipient="000.00.00.G14",
    status=Status.ACCEPTED,
    code="2.0.0",
    reasons={"vi": "Đã tiếp nhận.", "en": "Accepted."},
    at=datetime(2026, 1, 31, 8, 0, tzinfo=UTC),
    digest="ab" * 32,
    previous="0" * 64,
)
FILES = {"original.xml": DOCUMENT, "receipts/1.xml": b"<a/>", "request.bin": bytes(range(256))}


def signer(world: World, key: str = "p256") -> Signer:
    """The bus's key of that kind."""
    identity = world.identities[key]
    return Signer("own/test", SoftKey(identity.private), identity.certificate)


@pytest.fixture(scope="session")
def time_authority(openssl: str, world: World) -> TimeAuthority:
    """openssl as a time-stamp authority."""
    return TimeAuthority(openssl, world)


def document(world: World, _tsa: TimeAuthority) -> bytes:
    """What ``sign: xades`` writes."""
    return signed_by_us("xades", BY_NAME["ecdsa-sha256"], world)


def receipt(world: World, _tsa: TimeAuthority) -> bytes:
    """What a partner gets."""
    evidence = Evidence(signer(world), lambda _: True, lambda: world.now)
    return evidence.seal(RECEIPT)


def checkpoint(world: World, _tsa: TimeAuthority) -> bytes:
    """What the site states about its journal."""
    summary = Summary(1, world.now, "000.00.00.G14", NONE_BEFORE, (Span("nút-1", 1, 9, "ab" * 32, "cd" * 32),))
    return Evidence(signer(world), lambda _: True, lambda: world.now).seal_checkpoint(summary)


def time_stamped(world: World, tsa: TimeAuthority) -> bytes:
    """B-T, with a real token."""
    signed = document(world, tsa)
    return xades.with_timestamp(signed, tsa.token(xades.time_stamped(signed)))


def files(world: World, tsa: TimeAuthority) -> bytes:
    """The signature of a container, time-stamped too."""
    signed = xades_files.sign_files([xades_files.File(name, body, "text/xml") for name, body in FILES.items()], signer(world), world.now)
    return xades.with_timestamp(signed, tsa.token(xades.time_stamped(signed)))


KINDS: Mapping[str, Callable[[World, TimeAuthority], bytes]] = {
    "document": document,
    "receipt": receipt,
    "checkpoint": checkpoint,
    "B-T": time_stamped,
    "files": files,
}


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    """The ETSI schema of XAdES, which imports the W3C's of XML signatures."""
    return etree.XMLSchema(etree.parse(_SCHEMA))


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_sign_is_valid_by_the_etsi_schema(schema, world, time_authority, kind):
    """The Signature and the QualifyingProperties in it are what XAdES01903v132-201601 says, each type and order."""
    signature = next(etree.fromstring(KINDS[kind](world, time_authority)).iter(f"{_DS}Signature"))
    schema.assertValid(signature)
    schema.assertValid(next(signature.iter(f"{_XADES}QualifyingProperties")))


@pytest.mark.parametrize("fault", ["SigningTime", "SigningCertificateV2"])
def test_the_schema_would_find_a_fault(schema, world, time_authority, fault):
    """A property that is out of its place in a signature of ours is found: the schema reaches as deep as that."""
    signature = next(etree.fromstring(document(world, time_authority)).iter(f"{_DS}Signature"))
    moved = next(signature.iter(f"{_XADES}{fault}"))
    parent = moved.getparent()
    if fault == "SigningTime":
        parent.append(moved)
    else:
        moved[0].remove(moved[0][0])
    assert not schema.validate(signature)


def test_the_schema_knows_the_foreign_signatures_that_we_accept(schema, world, stack):
    """What the JDK signs for the matrix is valid too: the matrix's XAdES is not only ours."""
    signed = etree.fromstring(stack("jdk").sign("xades", BY_NAME["rsa-sha256"], world))
    schema.assertValid(next(signed.iter(f"{_DS}Signature")))


@pytest.mark.parametrize("judge", ["xmlsec1", "python-xmlsec", "signxml", "jdk", "santuario"])
def test_a_time_stamp_leaves_the_signature_good_for_everybody(stack, world, time_authority, judge):
    """B-T is B-B with an unsigned property: every stack accepts it, and refuses it when the content is another."""
    signed, algorithm = time_stamped(world, time_authority), BY_NAME["ecdsa-sha256"]
    stack(judge).verify("xades", algorithm, world, signed)
    with pytest.raises(Refused):
        stack(judge).verify("xades", algorithm, world, signed.replace(b"4500000", b"9500000"))


@pytest.mark.parametrize("kind", ["B-T", "files"])
def test_the_time_stamp_that_we_hand_out_is_good_for_openssl(world, time_authority, kind):
    """The token and octets that ``verify`` gives are what openssl's ts -verify accepts, and nothing else is."""
    signed = KINDS[kind](world, time_authority)
    if kind == "B-T":
        verified = xades.verify(signed, lambda _: "us", policies=ours)
    else:
        verified = xades_files.verify_files(signed, FILES, lambda _: "us")
    (stamp,) = verified.time_stamps
    assert time_authority.holds(stamp.token, stamp.octets)
    assert not time_authority.holds(stamp.token, stamp.octets + b" ")


def test_openssl_stamps_what_we_ask_for_and_we_verify_it(world, time_authority):
    """Our request is answered by openssl, and its token proves the time of our octets to us; of no others, and for no other request."""
    octets, nonce = b"<a>checkpoint</a>", 2**62 + 7
    token = timestamps.granted(time_authority.answer(timestamps.request(octets, nonce, "1.2.3.4.1")))
    stamp = timestamps.verify(token, octets, [world.authority], nonce=nonce, policy="1.2.3.4.1")
    assert abs((stamp.at - datetime.now(UTC)).total_seconds()) < 60
    assert stamp.certificate == world.time_authority.der
    for wrong in ({"octets": octets + b" "}, {"nonce": nonce + 1}, {"policy": "1.2.3.4.2"}):
        asked = {"octets": octets, "nonce": nonce, "policy": "1.2.3.4.1", **wrong}
        with pytest.raises(Rejected) as refusal:
            timestamps.verify(token, anchors=[world.authority], **asked)
        assert refusal.value.key == "timestamp-invalid"


def unpacked(directory: Path, named: Mapping[str, bytes]) -> Path:
    """The files of a container as somebody unpacked them."""
    for name, body in named.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)
    return directory


@pytest.mark.parametrize("judge", ["xmlsec1", "jdk", "santuario"])
def test_a_signature_over_files_is_good_for_everybody(stack, world, time_authority, tmp_path, judge):
    """The container's signature verifies over the unpacked files, and fails over any of them with one octet more."""
    verify, algorithm, signed = stack(judge).verify_files, BY_NAME["ecdsa-sha256"], files(world, time_authority)
    verify(algorithm, world, signed, unpacked(tmp_path, FILES))
    for name, body in FILES.items():
        unpacked(tmp_path, {name: body + b" "})
        with pytest.raises(Refused):
            verify(algorithm, world, signed, tmp_path)
        unpacked(tmp_path, {name: body})
    verify(algorithm, world, signed, tmp_path)


@pytest.mark.parametrize(("judge", "reads"), [("xmlsec1", True), ("jdk", True), ("santuario", False)])
def test_names_that_are_escaped_in_uris_are_read_by_most(stack, world, tmp_path, judge, reads):
    """Spaces, Vietnamese and '&' in names (RFC 3986) work, but for Santuario, which unescapes spaces only: names of ours are plain."""
    named = {"Văn bản 1 & 2.xml": DOCUMENT}
    signed = xades_files.sign_files([xades_files.File(name, body) for name, body in named.items()], signer(world), world.now)
    unpacked(tmp_path, named)
    if reads:
        stack(judge).verify_files(BY_NAME["ecdsa-sha256"], world, signed, tmp_path)
    else:
        with pytest.raises(Refused, match="NoSuchFile"):
            stack(judge).verify_files(BY_NAME["ecdsa-sha256"], world, signed, tmp_path)
