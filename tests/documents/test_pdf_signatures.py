"""What is said about the signatures of real PDFs, made and signed by another program than the one that runs in the bus's process."""

import dataclasses
import re
from base64 import b64encode
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from signed_pdfs import NOW, People, encrypted, sign, stamped_alone, unsigned, updated

from bus.octets import CHUNK, Decoded, Octets
from bus.pdf import Anchors, Inspection, Inspector, Signature, State, find

#: A moment after everything here was signed.
THEN = NOW + timedelta(minutes=5)


def only(inspection: Inspection) -> Signature:
    (signature,) = inspection.signatures
    return signature


def verdict(signature: Signature) -> tuple[bool, bool, bool]:
    return signature.intact, signature.valid, signature.trusted


@pytest.mark.parametrize("who", ["rsa", "ec"])
@pytest.mark.parametrize(("pades", "profile"), [(True, "PAdES-B-B"), (False, "CMS")])
def test_a_signed_pdf_names_its_signer(officials: People, inspector: Inspector, who: str, pades: bool, profile: str) -> None:
    """RSA and ECDSA, PAdES and the older form: field, signer, certificate, claimed time, the whole document, trusted."""
    signer = getattr(officials, who)
    found, seconds = inspector.inspect(sign(unsigned(), signer, pades=pades), officials.anchors, THEN)
    signature = only(found)
    assert (found.state, verdict(signature), signature.detail) == (State.SIGNED, (True, True, True), "")
    assert (signature.field, signature.profile, signature.covers, signature.changes) == ("Chữ ký", profile, "document", "none")
    assert signature.certificate == signer.signing_cert.sha256.hex()
    assert "O=Cục Viễn thông (giả định)" in signature.signer
    assert abs(datetime.fromisoformat(signature.claimed) - THEN) < timedelta(hours=1)
    assert signature.stamped == ""
    assert seconds > 0


def test_a_second_signature_leaves_the_first_one_valid(officials: People, inspector: Inspector) -> None:
    """The official signs, then the clerk seals: the first covers its revision, and was followed by signing only."""
    twice = sign(sign(unsigned(), officials.rsa), officials.ec, "Con dấu")
    first, second = inspector.inspect(twice, officials.anchors, THEN)[0].signatures
    assert (first.field, first.covers, first.changes, verdict(first)) == ("Chữ ký", "revision", "forms", (True, True, True))
    assert (second.field, second.covers, second.changes, verdict(second)) == ("Con dấu", "document", "none", (True, True, True))


def test_a_signature_that_permits_nothing_more_is_broken_by_another(officials: People, inspector: Inspector) -> None:
    """DocMDP 1 (ISO 32000-1 12.8.2.2): what is added afterwards, a signature even, makes it invalid."""
    from pyhanko.sign.fields import MDPPerm

    closed = sign(unsigned(), officials.rsa, certify=True, docmdp_permissions=MDPPerm.NO_CHANGES)
    assert only(inspector.inspect(closed, officials.anchors, THEN)[0]).trusted
    first, _ = inspector.inspect(sign(closed, officials.ec, "Con dấu", forced=True), officials.anchors, THEN)[0].signatures
    assert verdict(first) == (True, False, False)
    assert first.detail.startswith("changed after signing")


def test_a_page_changed_by_an_update_is_found(officials: People, inspector: Inspector) -> None:
    """An incremental update with other content: the signed octets are intact, and still the signature does not count."""
    changed = only(inspector.inspect(updated(sign(unsigned(), officials.rsa)), officials.anchors, THEN)[0])
    assert (verdict(changed), changed.covers, changed.changes) == ((True, False, False), "revision", "other")
    assert changed.detail.startswith("changed after signing")


def test_an_octet_changed_inside_is_found(officials: People, inspector: Inspector) -> None:
    """An octet of the page; octets of the signature value, which ends the CMS object that /Contents holds in hexadecimal digits."""
    good = sign(unsigned(), officials.rsa)
    page = good.replace(b"/MediaBox [0 0 595 842]", b"/MediaBox [0 0 595 843]", 1)
    assert only(inspector.inspect(page, officials.anchors, THEN)[0]).detail == "the signed octets were changed"
    found = re.search(rb"/Contents <([0-9A-F]*?)0*>", good)
    assert found
    for place in range(found.end(1) - 500, found.end(1), 83):
        other = good[:place] + (b"0" if good[place : place + 1] != b"0" else b"1") + good[place + 1 :]
        signature = only(inspector.inspect(other, officials.anchors, THEN)[0])
        assert verdict(signature) == (True, False, False), place


def test_a_strangers_signature_is_valid_and_not_trusted(officials: People, strangers: People, inspector: Inspector) -> None:
    """By an authority that is not in the directory; or with no directory at all."""
    signed = sign(unsigned(), strangers.rsa)
    for anchors in (officials.anchors, Anchors()):
        signature = only(inspector.inspect(signed, anchors, THEN)[0])
        assert verdict(signature) == (True, True, False)
        assert signature.detail.startswith("its certificate is not trusted")


def test_a_pinned_certificate_vouches_for_itself_alone(officials: People, strangers: People, inspector: Inspector) -> None:
    """The certificate in the directory is trusted as it stands; another of the same authority is not."""
    pinned = Anchors(pinned=(strangers.certificate("van-thu").public_bytes(Encoding.DER),))
    assert only(inspector.inspect(sign(unsigned(), strangers.ec), pinned, THEN)[0]).trusted
    assert not only(inspector.inspect(sign(unsigned(), strangers.rsa), pinned, THEN)[0]).trusted


def test_revocation_in_the_directory_counts(officials: People, inspector: Inspector) -> None:
    """A listed certificate is revoked, and a list that has run out vouches for nobody."""
    signed = sign(unsigned(), officials.rsa)
    listing = dataclasses.replace(officials.anchors, crls=(officials.revoked("chanh-van-phong"),))
    assert only(inspector.inspect(signed, listing, THEN)[0]).detail == "its certificate is revoked"
    other = dataclasses.replace(officials.anchors, crls=(officials.revoked("van-thu"),))
    assert only(inspector.inspect(signed, other, THEN)[0]).trusted
    stale = only(inspector.inspect(signed, other, THEN + timedelta(days=3))[0])
    assert (stale.trusted, stale.detail) == (False, "the revocation list of its issuer has run out")


def test_a_time_stamp_outlives_the_certificate(officials: People, inspector: Inspector) -> None:
    """After the signer's certificate has ended, the stamped signature counts, at the stamped time; the other does not."""
    stamped = sign(unsigned(), officials.rsa, stamper=officials.stamper)
    plain = sign(unsigned(), officials.rsa)
    late = NOW + timedelta(days=900)
    now, then = (only(inspector.inspect(stamped, officials.anchors, at)[0]) for at in (THEN, late))
    assert (now.profile, now.trusted, then.trusted, then.stamped) == ("PAdES-B-T", True, True, now.stamped)
    assert abs(datetime.fromisoformat(then.stamped) - THEN) < timedelta(hours=1)
    assert not only(inspector.inspect(plain, officials.anchors, late)[0]).trusted


def test_a_time_stamp_by_a_stranger_stamps_nothing(officials: People, strangers: People, inspector: Inspector) -> None:
    """An untrusted authority's time is not reported as the time of signing."""
    signature = only(inspector.inspect(sign(unsigned(), officials.rsa, stamper=strangers.stamper), officials.anchors, THEN)[0])
    assert (signature.profile, signature.stamped) == ("PAdES-B-T", "")


def test_a_document_time_stamp_is_no_persons_signature(officials: People, inspector: Inspector) -> None:
    """A time-stamp that stands as a signature of its own (EN 319 142-1 5.4.3) is reported as what it is."""
    stamp = only(inspector.inspect(stamped_alone(unsigned(), officials.stamper), officials.anchors, THEN)[0])
    assert (stamp.profile, stamp.claimed, verdict(stamp)) == ("time-stamp", "", (True, True, True))
    assert stamp.stamped


def test_a_signature_elsewhere_than_at_the_beginning_covers_nothing(officials: People, inspector: Inspector) -> None:
    """A byte range that leaves something out is said to cover a part, and proves nothing."""
    good = sign(unsigned(), officials.rsa)
    found = re.search(rb"/ByteRange \[0 (\d+) (\d+) (\d+)\]", good)
    assert found
    start, end, size = (int(number) for number in found.groups())
    shorter = b"/ByteRange [0 %d %d %d]" % (start, end, size - 100)
    shorter += b" " * (len(found[0]) - len(shorter))
    signature = only(inspector.inspect(good.replace(found[0], shorter), officials.anchors, THEN)[0])
    assert (signature.covers, verdict(signature)[1:]) == ("part", (False, False))


def test_a_signed_pdf_under_an_owners_password_is_read(officials: People, inspector: Inspector) -> None:
    """With an empty user password everybody reads it, and so does the bus; with another nobody does."""
    signature = only(inspector.inspect(sign(encrypted(unsigned(), ""), officials.rsa, password=""), officials.anchors, THEN)[0])
    assert verdict(signature) == (True, True, True)
    locked = inspector.inspect(sign(encrypted(unsigned(), "bí mật"), officials.rsa, password="bí mật"), officials.anchors, THEN)[0]
    assert (locked.state, locked.detail) == (State.UNREADABLE, "encrypted: it takes a password to read it")


def test_what_is_not_signed_is_known_without_a_parser() -> None:
    """No PDF, or one without a byte range; a name is found in each of its spellings."""
    assert find(b"PK\x03\x04") is State.OTHER
    assert find(b"\x00" * 2000 + unsigned()) is State.OTHER
    assert find(b"junk\n" + unsigned()) is State.UNSIGNED
    for name in (b"/ByteRange", b"/#42yteRange", b"/Byte#52ang#65", b"/Byt#65R#61nge"):
        assert find(unsigned() + name) is State.SIGNED


@pytest.mark.parametrize("before", range(12))
def test_a_large_pdf_is_looked_through_in_portions(before: int) -> None:
    """What is decoded as it is read says the same, wherever a portion ends; the text is kept, the octets are not."""
    data = (unsigned() + bytes(CHUNK))[: CHUNK - before]
    assert find(Octets(Decoded(b64encode(data + b"/ByteRange")))) is State.SIGNED
    assert find(Octets(Decoded(b64encode(data + b"/ByteRang")))) is State.UNSIGNED
    assert find(Octets(Decoded(b64encode(bytes(CHUNK) + data + b"/ByteRange")))) is State.OTHER


def test_a_report_survives_its_journey(officials: People, inspector: Inspector) -> None:
    """As JSON and back it says the same."""
    found = inspector.inspect(sign(unsigned(), officials.rsa), officials.anchors, THEN)[0]
    assert Inspection.of_json(found.as_json()) == found
