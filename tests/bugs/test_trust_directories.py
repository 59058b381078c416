"""Trust directories: whatever lies in one is read whole and counts, or is named; and lists are matched by key."""

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from asn1crypto import cms
from asn1crypto import crl as asn1_crl
from asn1crypto import x509 as asn1_x509
from authorities import DAY, NOW, Authority, der, named, pem
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from bus.errors import ConfigurationError, Fault, Rejected
from bus.keys import Keyring

#: How a file is written.
Form = Callable[..., bytes]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "certs" / "trust" / "agency"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture(scope="module")
def one() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def two() -> Authority:
    return Authority(named("CA thử nghiệm B"))


def ring(place: Path) -> Keyring:
    return Keyring.load(place.parent.parent, {"agency": "trust/agency"})


def verdict(place: Path, certificate: x509.Certificate) -> str:
    """Whose the certificate is, or the refusal's key."""
    try:
        return ring(place).identify(der(certificate), NOW)
    except Rejected as refusal:
        return refusal.key


def faults(place: Path) -> list[Fault]:
    """What is named of a directory, warnings too."""
    try:
        return list(ring(place).warnings)
    except ConfigurationError as error:
        return list(error.faults)


def bundle(*things: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """PKCS#7 with certificates and lists, as authorities publish their chains."""
    data = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [],
            "encap_content_info": {"content_type": "data"},
            "certificates": [asn1_x509.Certificate.load(der(thing)) for thing in things if isinstance(thing, x509.Certificate)],
            "crls": [asn1_crl.CertificateList.load(der(thing)) for thing in things if not isinstance(thing, x509.Certificate)],
            "signer_infos": [],
        }
    )
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": data}).dump())


#: A length octet from here on says how many octets of length follow.
_LONG = 0x80


def indefinite(octets: bytes) -> bytes:
    """The outer SEQUENCE of a value in BER's indefinite length."""
    header = 2 if octets[1] < _LONG else 2 + (octets[1] & 0x7F)
    return b"\x30\x80" + octets[header:] + b"\x00\x00"


def armoured(octets: bytes, label: str) -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(octets) + f"-----END {label}-----\n".encode()


@pytest.mark.parametrize("form", [pem, der, bundle, lambda *all_of: b"Issuer: someone\r\n" + pem(*all_of).replace(b"\n", b"\r\n")])
def test_every_list_of_a_file_counts(place: Path, one: Authority, two: Authority, form: Form) -> None:
    """Two authorities' lists in one file: who is on the second is refused like who is on the first."""
    bad = [authority.leaf() for authority in (one, two)]
    (place / "both.crt").write_bytes(pem(one.certificate, two.certificate))
    (place / "both.crl").write_bytes(form(one.crl(bad[0]), two.crl(bad[1])))
    found = [verdict(place, leaf) for leaf in (*bad, one.leaf(), two.leaf())]
    assert found == ["certificate-revoked", "certificate-revoked", "agency", "agency"]


@pytest.mark.parametrize("form", [pem, der, bundle])
@pytest.mark.parametrize("name", ["all.crt", "all.pem", "all.crl", "ALL.P7B", "all.p7c"])
def test_certificates_and_lists_of_one_file_count(place: Path, one: Authority, two: Authority, form: Form, name: str) -> None:
    """What a file is called does not say what is in it: every certificate and every list of it counts, in each encoding."""
    bad = two.leaf()
    (place / name).write_bytes(form(one.certificate, two.certificate, one.crl(), two.crl(bad)))
    assert [verdict(place, leaf) for leaf in (one.leaf(), two.leaf(), bad)] == ["agency", "agency", "certificate-revoked"]


@pytest.mark.parametrize("name", ["a.cer", "a.CRT", "a.Cer", "a.der", "a.pem", "a.PEM", "a.cert", "a.p7b", "9f3a1b2c.0"])
@pytest.mark.parametrize("form", [pem, der])
def test_a_certificate_counts_by_whatever_extension(place: Path, one: Authority, name: str, form: Form) -> None:
    """Windows writes ``.cer``, others capitals, ``openssl rehash`` its hashes: each is read, and named by nobody."""
    (place / name).write_bytes(form(one.certificate))
    assert (verdict(place, one.leaf()), faults(place)) == ("agency", [])


@pytest.mark.parametrize("name", ["a.CRL", "a.pem", "9f3a1b2c.r0", "a.der", ".a.crl"])
def test_a_list_counts_by_whatever_extension(place: Path, one: Authority, name: str) -> None:
    """A list that is not read lets in whom it revokes."""
    bad = one.leaf()
    (place / "ca.crt").write_bytes(pem(one.certificate))
    (place / name).write_bytes(der(one.crl(bad)))
    assert verdict(place, bad) == "certificate-revoked"


def test_pkcs7_counts_as_other_houses_write_it(place: Path, one: Authority, two: Authority) -> None:
    """The library's own, PEM by its name and by that of a certificate (Windows), and BER with an indefinite length."""
    for number, octets in enumerate(
        (
            pkcs7.serialize_certificates([one.certificate, two.certificate], Encoding.PEM),
            pkcs7.serialize_certificates([one.certificate, two.certificate], Encoding.DER),
            armoured(bundle(one.certificate, two.certificate), "CERTIFICATE"),
            indefinite(bundle(one.certificate, two.certificate)),
        )
    ):
        (place / "chain.p7b").write_bytes(octets)
        assert (number, verdict(place, one.leaf()), verdict(place, two.leaf())) == (number, "agency", "agency")


def test_words_around_the_blocks_are_allowed(place: Path, one: Authority, two: Authority) -> None:
    """``openssl x509 -text`` writes a page before each block, others a byte order mark or bag attributes."""
    words = "\ufeffCertificate:\n    Data:\n        Version: 3 (0x2)\n  30:45:02:20\n# CA thử nghiệm\n".encode()
    (place / "ca.pem").write_bytes(words + pem(one.certificate) + b"Bag Attributes\n  friendlyName: b\n" + pem(two.certificate) + words)
    assert [verdict(place, one.leaf()), verdict(place, two.leaf())] == ["agency", "agency"]


def spoilt(name: str, one: Authority, two: Authority) -> tuple[str, bytes]:
    """A file of which some part cannot be used, by a short name."""
    good, list_of_two = pem(one.certificate), pem(two.crl())
    return {
        "der-then-rubbish": ("a.der", der(one.certificate) + b"rubbish"),
        "der-then-newline": ("a.der", der(one.certificate) + b"\n"),
        "der-cut": ("a.crl", der(one.crl(), two.crl())[:-1]),
        "der-then-pem": ("a.crt", der(one.certificate) + good),
        "pem-then-der": ("a.crt", good + der(two.crl())),
        "second-block-broken": ("a.crl", pem(one.crl()) + list_of_two.replace(b"\n", b"\nA", 2)),
        "no-end-line": ("a.crl", pem(one.crl()) + list_of_two[: list_of_two.index(b"-----END")]),
        "no-begin-line": ("a.crl", pem(one.crl()) + list_of_two[list_of_two.index(b"\n") + 1 :]),
        "four-dashes": ("a.crl", pem(one.crl()) + list_of_two.replace(b"-----", b"----")),
        "labels-differ": ("a.crl", pem(one.crl()) + list_of_two.replace(b"END X509 CRL", b"END CERTIFICATE")),
        "private-key-too": ("a.pem", good + one.private()),
        "a-request-too": ("a.pem", good + armoured(b"\x30\x00", "CERTIFICATE REQUEST")),
        "one-in-pkcs7-broken": ("a.p7b", bundle(one.certificate, two.certificate).replace(der(two.certificate)[-20:], bytes(20)) + b"\x00"),
        "pkcs7-with-nothing": ("a.p7b", bundle()),
        "empty": ("a.crl", b""),
        "words-alone": ("a.crt", b"nonsense\n"),
        "utf-16": ("a.crt", pem(one.certificate).decode().encode("utf-16")),
        "misnamed-certificate": ("ca.crt.txt", good),
        "misnamed-list": ("list", der(one.crl())),
        "kept-aside": ("ca.crt.bak", der(one.certificate)),
        "hidden-and-misnamed": (".ca.crt.swp", b"b0VIM" + good),
        "certificate-under-key": ("a.key", good + one.private()),
        "too-large": ("a.crl", bytes((16 << 20) + 1)),
    }[name]


SPOILT = [
    "der-then-rubbish",
    "der-then-newline",
    "der-cut",
    "der-then-pem",
    "pem-then-der",
    "second-block-broken",
    "no-end-line",
    "no-begin-line",
    "four-dashes",
    "labels-differ",
    "private-key-too",
    "a-request-too",
    "one-in-pkcs7-broken",
    "pkcs7-with-nothing",
    "empty",
    "words-alone",
    "utf-16",
    "misnamed-certificate",
    "misnamed-list",
    "kept-aside",
    "hidden-and-misnamed",
    "certificate-under-key",
    "too-large",
]


@pytest.mark.parametrize("name", SPOILT)
def test_a_file_of_which_a_part_cannot_be_used_is_a_fault(place: Path, one: Authority, two: Authority, name: str) -> None:
    """What may change who is trusted stops the start, and the file is named; nothing of a key is."""
    file, octets = spoilt(name, one, two)
    (place / file).write_bytes(octets)
    with pytest.raises(ConfigurationError) as error:
        ring(place)
    assert [Path(fault.file).name for fault in error.value.faults if not fault.warning] == [file]
    assert one.private().splitlines()[1].decode() not in str(error.value)


def test_what_is_no_file_is_a_fault_and_is_not_waited_for(place: Path, tmp_path: Path) -> None:
    """A link that leads nowhere, a pipe that nobody writes into, a device without an end."""
    (place / "gone.crt").symlink_to(tmp_path / "nowhere.crt")
    os.mkfifo(place / "pipe.crl")
    (place / "endless").symlink_to("/dev/zero")
    found = faults(place)
    assert {Path(fault.file).name: fault.warning for fault in found} == {"gone.crt": False, "pipe.crl": False, "endless": False}


def test_what_is_plainly_no_trust_material_is_a_warning(place: Path, one: Authority) -> None:
    """A note, a directory, somebody's private key: named in both languages, and the rest counts."""
    (place / "ca.crt").write_bytes(pem(one.certificate))
    for name, octets in {"README.txt": b"to be renewed in May\n", ".gitkeep": b"", "ca.key": one.private(), ".DS_Store": bytes(9)}.items():
        (place / name).write_bytes(octets)
    (place / "old").mkdir()
    found = faults(place)
    assert sorted(Path(fault.file).name for fault in found) == [".DS_Store", ".gitkeep", "README.txt", "ca.key", "old"]
    assert all(fault.warning and fault.vi and fault.vi != fault.text for fault in found)
    assert verdict(place, one.leaf()) == "agency"


def test_a_link_to_a_file_counts_as_the_file(place: Path, tmp_path: Path, one: Authority) -> None:
    """A mounted secret is a directory of links into a hidden directory."""
    (place / "..2026_11").mkdir()
    (place / "..2026_11" / "ca.crt").write_bytes(pem(one.certificate))
    (place / "..data").symlink_to("..2026_11")
    (place / "ca.crt").symlink_to("..data/ca.crt")
    assert verdict(place, one.leaf()) == "agency"


# --- lists are matched by key ------------------------------------------------------------------------------------------


def test_an_old_list_beside_a_good_one_takes_nothing_away(place: Path, one: Authority) -> None:
    """In whatever order the files lie; and with the old one alone nobody is known to be good."""
    good, bad = one.leaf(), one.leaf()
    (place / "ca.crt").write_bytes(pem(one.certificate))
    (place / "b-old.crl").write_bytes(pem(one.crl(begin=-40 * DAY, end=-10 * DAY)))
    assert verdict(place, good) == "crl-expired"
    for name in ("a-new.crl", "c-new.crl"):
        (place / name).write_bytes(pem(one.crl(bad)))
        assert [verdict(place, good), verdict(place, bad)] == ["agency", "certificate-revoked"]


def test_what_any_list_revokes_stays_revoked_but_a_hold_is_lifted(place: Path, one: Authority) -> None:
    """The newest list of an authority counts, and is never made less strict; a hold lasts as long as the newest has it."""
    bad, held = one.leaf(), one.leaf()
    (place / "ca.crt").write_bytes(pem(one.certificate))
    older = [one.crl(bad, begin=-3 * DAY), one.crl(held, begin=-2 * DAY, reason=x509.ReasonFlags.certificate_hold)]
    (place / "older.crl").write_bytes(pem(*older))
    assert [verdict(place, bad), verdict(place, held)] == ["certificate-revoked", "certificate-revoked"]
    (place / "newest.crl").write_bytes(pem(one.crl()))
    assert [verdict(place, bad), verdict(place, held)] == ["certificate-revoked", "agency"]


def test_an_authority_with_another_key_under_its_name_is_two(place: Path) -> None:
    """Both certificates and a list of each: nobody is refused wrongly, nobody who is revoked is let in, whichever key signed."""
    old, new = Authority(), Authority()
    good, bad = [each.leaf() for each in (old, new)], [each.leaf() for each in (old, new)]
    (place / "authorities.pem").write_bytes(pem(old.certificate, new.certificate))
    (place / "lists.crl").write_bytes(pem(old.crl(bad[0], begin=-40 * DAY), new.crl(bad[1])))
    assert [verdict(place, leaf) for leaf in (*good, *bad)] == ["agency", "agency", "certificate-revoked", "certificate-revoked"]
    (place / "lists.crl").write_bytes(pem(old.crl(bad[0], begin=-40 * DAY, end=-10 * DAY), new.crl(bad[1])))
    found = [verdict(place, leaf) for leaf in (*good, *bad)]
    assert found == ["crl-expired", "agency", "certificate-revoked", "certificate-revoked"]


def test_one_keys_list_says_nothing_of_the_others_serial_numbers(place: Path) -> None:
    """A serial number is an authority's own: the same one under the other key is another certificate."""
    old, new = Authority(), Authority()
    leaf = new.leaf()
    (place / "authorities.pem").write_bytes(pem(old.certificate, new.certificate))
    (place / "lists.crl").write_bytes(pem(old.crl(leaf), new.crl()))
    assert verdict(place, leaf) == "agency"


def test_a_list_of_nobody_there_is_named_and_still_refuses_the_pinned(place: Path, one: Authority, two: Authority) -> None:
    """Without the authority's certificate nobody can check a list: it may refuse a pinned certificate by its name, and is named."""
    bad = one.leaf()
    (place / "leaf.crt").write_bytes(pem(bad))
    (place / "ca.crl").write_bytes(pem(one.crl(bad), two.crl()))
    found = faults(place)
    assert [(Path(fault.file).name, fault.warning) for fault in found] == [("ca.crl", True), ("ca.crl", True)]
    assert verdict(place, bad) == "certificate-revoked"


def test_a_list_by_an_authoritys_name_that_it_did_not_sign_is_a_fault(place: Path, one: Authority) -> None:
    """Not a warning: it may be the right authority's, whose certificate is missing, or a forgery."""
    (place / "ca.crt").write_bytes(pem(one.certificate))
    (place / "ca.crl").write_bytes(pem(one.crl(), Authority().crl()))
    assert [fault.warning for fault in faults(place)] == [False]


PARTIAL = {
    "delta": (x509.DeltaCRLIndicator(1), True),
    "delta-not-critical": (x509.DeltaCRLIndicator(1), False),
    "indirect": (x509.IssuingDistributionPoint(None, None, False, False, None, True, False), True),
    "some-reasons": (
        x509.IssuingDistributionPoint(None, None, False, False, frozenset({x509.ReasonFlags.key_compromise}), False, False),
        True,
    ),
    "unknown-critical": (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),
}


@pytest.mark.parametrize("name", PARTIAL)
def test_a_list_that_is_not_all_that_it_seems_is_a_fault(place: Path, one: Authority, name: str) -> None:
    """A list of changes, of several issuers, of some reasons, or with a rule that we do not know does not count silently."""
    (place / "ca.crt").write_bytes(pem(one.certificate))
    (place / "ca.crl").write_bytes(pem(one.crl(), one.crl(extensions=[PARTIAL[name]])))
    assert [(Path(fault.file).name, fault.warning) for fault in faults(place)] == [("ca.crl", False)]


def test_lists_of_parts_count_for_their_parts(place: Path, one: Authority) -> None:
    """A list of authorities alone that ran out does not concern a leaf; one of leaves does."""

    def part(*, users: bool) -> tuple[x509.ExtensionType, bool]:
        return x509.IssuingDistributionPoint(None, None, users, not users, None, False, False), True

    good, bad = one.leaf(), one.leaf()
    (place / "ca.crt").write_bytes(pem(one.certificate))
    users, others = one.crl(bad, extensions=[part(users=True)]), one.crl(begin=-9 * DAY, end=-DAY, extensions=[part(users=False)])
    (place / "ca.crl").write_bytes(pem(users, others))
    assert [verdict(place, good), verdict(place, bad)] == ["agency", "certificate-revoked"]
    (place / "ca.crl").write_bytes(
        pem(one.crl(extensions=[part(users=False)]), one.crl(begin=-9 * DAY, end=-DAY, extensions=[part(users=True)]))
    )
    assert verdict(place, good) == "crl-expired"


def test_a_list_of_tomorrow_does_not_stand_for_one_that_ran_out(place: Path, one: Authority) -> None:
    """Whom it revokes it revokes; that others are good it does not say yet."""
    good, bad = one.leaf(), one.leaf()
    (place / "ca.crt").write_bytes(pem(one.certificate))
    (place / "ca.crl").write_bytes(pem(one.crl(begin=-9 * DAY, end=-DAY), one.crl(bad, begin=DAY, end=9 * DAY)))
    assert [verdict(place, good), verdict(place, bad)] == ["crl-expired", "certificate-revoked"]
