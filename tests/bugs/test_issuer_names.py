"""Issuer names: recognised in every form that Java, .NET and OpenSSL write, and in nothing that is only nearly the name."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from authorities import NAME, NOW, Authority, der, pem
from cryptography import x509
from cryptography.x509.oid import NameOID

from bus.keys import Keyring
from bus.names import equal, same_name

COMMON, ORGANISATION, COUNTRY, EMAIL = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.COUNTRY_NAME, NameOID.EMAIL_ADDRESS
#: ca@vi-du.example as an IA5String, and as a UTF8String.
HEX, HEX_UTF8 = "161063614076692d64752e6578616d706c65", "0c1063614076692d64752e6578616d706c65"


def name(*pairs: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


#: "thử nghiệm" as OpenSSL escapes it.
TEST_X = r"th\xE1\xBB\xAD nghi\xE1\xBB\x87m"

FORMS = {
    "Java's toString": "EMAILADDRESS=ca@vi-du.example, CN=CA thử nghiệm, O=Cơ quan thử nghiệm, C=VN",
    "Java's RFC 2253": f"1.2.840.113549.1.9.1=#{HEX},CN=CA thử nghiệm,O=Cơ quan thử nghiệm,C=VN",
    "capitals in hex": f"1.2.840.113549.1.9.1=#{HEX.upper()},CN=CA thử nghiệm,O=Cơ quan thử nghiệm,C=VN",
    "another string in hex": f"1.2.840.113549.1.9.1=#{HEX_UTF8},CN=CA thử nghiệm,O=Cơ quan thử nghiệm,C=VN",
    "Java's RFC 1779": "OID.1.2.840.113549.1.9.1=ca@vi-du.example, CN=CA thử nghiệm, O=Cơ quan thử nghiệm, C=VN",
    "Java's canonical": f"1.2.840.113549.1.9.1=#{HEX},cn=ca thử nghiệm,o=cơ quan thử nghiệm,c=vn",
    ".NET": "E=ca@vi-du.example, CN=CA thử nghiệm, O=Cơ quan thử nghiệm, C=VN",
    ".NET, quoted": 'E=ca@vi-du.example, CN="CA thử nghiệm", O="Cơ quan thử nghiệm", C=VN',
    ".NET, semicolons": "C=VN; O=Cơ quan thử nghiệm; CN=CA thử nghiệm; E=ca@vi-du.example",
    "OpenSSL's slashes": rf"/C=VN/O=C\xC6\xA1 quan {TEST_X}/CN=CA {TEST_X}/emailAddress=ca@vi-du.example",
    "slashes, UTF-8": "/C=VN/O=Cơ quan thử nghiệm/CN=CA thử nghiệm/emailAddress=ca@vi-du.example",
    "OpenSSL's commas": "C = VN, O = Cơ quan thử nghiệm, CN = CA thử nghiệm, emailAddress = ca@vi-du.example",
    "OpenSSL's compat": rf"C=VN, O=C\xC6\xA1 quan {TEST_X}, CN=CA {TEST_X}/emailAddress=ca@vi-du.example",
    "hex of UTF-8": r"emailAddress=ca@vi-du.example,CN=CA th\E1\BB\AD nghi\E1\BB\87m,O=C\C6\A1 quan th\E1\BB\AD nghi\E1\BB\87m,C=VN",
    "OpenSSL's code points": r"emailAddress=ca@vi-du.example,CN=CA th\U1EED nghi\U1EC7m,O=C\U01A1 quan th\W00001EED nghi\U1EC7m,C=VN",
    "decomposed": "E=ca@vi-du.example,CN=CA thử nghiệm,O=Cơ quan thử nghiệm,C=VN",
    "wide spaces": "  E = ca@vi-du.example ,  CN =  CA   thử nghiệm , O=Cơ\u00a0quan thử nghiệm,C=VN  ",
    "broken over lines": "E=ca@vi-du.example,\n   CN=CA thử\n   nghiệm,\n   O=Cơ quan thử nghiệm,\n   C=VN",
    "dotted everywhere": f"1.2.840.113549.1.9.1=#{HEX},2.5.4.3=CA thử nghiệm,OID.2.5.4.10=Cơ quan thử nghiệm,oid.2.5.4.6=VN",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_name_is_recognised_however_it_is_written(form: str) -> None:
    """Order, spaces, case, quotes, escapes, words for types, and hex of what has no word."""
    assert same_name(FORMS[form], NAME)


@pytest.mark.parametrize("form", FORMS)
def test_a_signer_that_is_named_is_found(tmp_path: Path, form: str) -> None:
    """By issuer and serial number, among the certificates that lie in a trust directory."""
    authority = Authority()
    leaf, other = authority.leaf(), authority.leaf()
    place = tmp_path / "trust" / "agency"
    place.mkdir(parents=True)
    (place / "all.pem").write_bytes(pem(authority.certificate, leaf, other))
    ring = Keyring.load(tmp_path, {"agency": "trust/agency"})
    assert ring.find(FORMS[form], leaf.serial_number) == (der(leaf),)
    assert ring.identify(der(leaf), NOW) == "agency"


AWKWARD = name((COUNTRY, "VN"), (ORGANISATION, 'Sở "A", B+C; D=E'), (COMMON, "x/CN=y \\z"))
AWKWARD_FORMS = [
    r"CN=x/CN=y \\z,O=Sở \"A\"\, B\+C\; D=E,C=VN",
    r"CN=x/CN\=y \5Cz,O=Sở \22A\22\2C B\2BC\3B D\3DE,C=VN",
    'CN="x/CN=y \\\\z", O="Sở ""A"", B+C; D=E", C=VN',
    'CN="x/CN=y \\\\z", O="Sở \\"A\\", B+C; D=E", C=VN',
]


@pytest.mark.parametrize("text", AWKWARD_FORMS)
def test_what_separates_may_be_part_of_a_value(text: str) -> None:
    """Escaped or quoted, a separator is a character like others."""
    assert same_name(text, AWKWARD)


def test_types_have_many_words() -> None:
    """S is a state for .NET, ST for others; and what one stack has no word for another has."""
    known = name((NameOID.STATE_OR_PROVINCE_NAME, "Hà Nội"), (NameOID.ORGANIZATION_IDENTIFIER, "VN-1"), (NameOID.USER_ID, "MST:01"))
    for text in ("UID=MST:01,organizationIdentifier=VN-1,ST=Hà Nội", "0.9.2342.19200300.100.1.1=MST:01,2.5.4.97=VN-1,S=Hà Nội"):
        assert same_name(text, known)


def test_several_attributes_may_stand_in_one_part() -> None:
    """Within one the order does not count; two parts are another name than one of two."""
    pair = [x509.NameAttribute(COMMON, "a"), x509.NameAttribute(NameOID.SERIAL_NUMBER, "7")]
    one = x509.Name([x509.RelativeDistinguishedName([x509.NameAttribute(COUNTRY, "VN")]), x509.RelativeDistinguishedName(pair)])
    assert [same_name(text, one) for text in ("CN=a+SERIALNUMBER=7,C=VN", "SERIALNUMBER=7 + CN=a, C=VN", "C=VN,2.5.4.5=7+CN=a")] == [
        True
    ] * 3
    assert [same_name(text, one) for text in ("CN=a,SERIALNUMBER=7,C=VN", "CN=a+SERIALNUMBER=7+C=VN", "CN=a+CN=a,C=VN")] == [False] * 3


THREE = name((COUNTRY, "VN"), (ORGANISATION, "Sở"), (COMMON, "CA"))
NEARLY = [
    "",
    " ",
    ",",
    "=",
    "CN",
    "/",
    "CN=CA",
    "CN=CA,O=Sở",
    "CN=CA,O=Sở,C=VN,",
    ",CN=CA,O=Sở,C=VN",
    "CN=CA,O=Sở,C=VN,C=VN",
    "O=Sở,CN=CA,C=VN",
    "CN=Sở,O=CA,C=VN",
    "OU=CA,O=Sở,C=VN",
    "CN=CA,O=Sở,C=VN,OU=",
    r"CN=CA\,O=Sở,C=VN",
    r"CN=CA,O=Sở\,C=VN",
    'CN="CA,O=Sở",C=VN',
    'CN="CA",O="Sở,C=VN"',
    'CN="CA,O=Sở,C=VN',
    "CN=CA+O=Sở,C=VN",
    "/C=VN/O=Sở/CN=CA/CN=CA",
    "/C=VN/O=Sở/CN=",
    "C=VN/O=Sở/CN=CA",
    "CN=CA,O=So,C=VN",
    "CN=C A,O=Sở,C=VN",
    "CN=CA,O=#0c04,C=VN",
    "CN=#0c024341ff,O=Sở,C=VN",
    "CN=#zz,O=Sở,C=VN",
    "CN=#" + "3080" * 400 + ",O=Sở,C=VN",
    "quite=CA,O=Sở,C=VN",
    "2.5.4=CA,O=Sở,C=VN",
]


@pytest.mark.parametrize("text", NEARLY)
def test_a_name_that_is_only_nearly_it_is_another(text: str) -> None:
    """Fewer parts or more, another order, another type, a separator that is none, half a quotation, hex that is no string, nothing."""
    assert not same_name(text, THREE)


def test_a_part_inside_a_value_makes_no_part() -> None:
    """One certificate's long value is not the other's two parts, whichever of the two is asked for."""
    long, two = name((ORGANISATION, "Sở,CN=CA")), name((COMMON, "CA"), (ORGANISATION, "Sở"))
    texts = [r"O=Sở\,CN=CA", "O=Sở,CN=CA", 'O="Sở,CN=CA"']
    assert [(same_name(text, long), same_name(text, two)) for text in texts] == [(True, False), (False, True), (True, False)]


def test_a_certificate_without_an_issuer_is_nobodys() -> None:
    """An empty text finds nothing, not even an empty name."""
    assert (same_name("", x509.Name([])), same_name("CN=", name((COMMON, "x")))) == (False, False)


@pytest.mark.parametrize(
    "text", [" " * 2000, "CN=" + " " * 1990 + '"', '"' * 2000, "CN=" + '""' * 900 + "x", "\\" * 1999, "a=" * 1000, "/" * 2000]
)
def test_no_text_takes_long(text: str) -> None:
    """A stranger chooses it before any signature is checked."""
    begin = time.process_time()
    assert not same_name(text, THREE)
    assert time.process_time() - begin < 1


def test_lists_and_certificates_may_spell_one_name_differently() -> None:
    """RFC 5280 section 7.1: case and white space do not count, other letters and another order do."""
    other = name((COUNTRY, "vn"), (ORGANISATION, " SỞ "), (COMMON, "ca"))
    assert (equal(THREE, other), equal(THREE, name((COMMON, "CA"), (ORGANISATION, "Sở"), (COUNTRY, "VN")))) == (True, False)


STYLES = ["oneline", "compat", "RFC2253", "RFC2253,-esc_msb", "oneline,-esc_msb,utf8", "RFC2253,oid", "RFC2253,dump_all,dump_der"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize(
    "option",
    [
        "oneline",
        "compat",
        "RFC2253",
        "RFC2253,-esc_msb",
        "oneline,-esc_msb,utf8",
        "RFC2253,oid",
        "RFC2253,dump_all",
        "RFC2253,dump_der,dump_all",
    ],
)
@pytest.mark.parametrize("known", [NAME, THREE, AWKWARD], ids=["email", "plain", "awkward"])
def test_what_openssl_writes_is_recognised(tmp_path: Path, option: str, known: x509.Name) -> None:
    """Its own words on a certificate, in each of its styles."""
    (tmp_path / "a.pem").write_bytes(pem(Authority(known).certificate))
    command = ["openssl", "x509", "-in", "a.pem", "-noout", "-issuer", "-nameopt", option]
    said = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert same_name(said.strip().removeprefix("issuer="), known)
