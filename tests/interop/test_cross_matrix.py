"""What we sign is accepted by stacks that share no code with us, and what they sign by us; whatever is changed in it is refused by both.

The whole matrix is printed by the last test.
"""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
from cross_matrix import BAD, COLUMNS, GOOD, NOT_OURS, NOT_SUPPORTED, THEY_SIGN, WE_SIGN, Row, row, signed_by_us, table, verified_by_us
from cross_stacks import Refused, Stack
from cross_world import BY_NAME, World

from bus.errors import Rejected
from bus.signature.policy import DEFAULT

_DOCUMENTS = ("xmldsig", "by-id", "xades")
_ALL = (*_DOCUMENTS, "wss")
#: Every foreign stack with its profiles; after the name, how a WS-Security stack names its certificate.
STACKS = {
    "xmlsec1": _ALL,
    "python-xmlsec": _ALL,
    "signxml": _DOCUMENTS,
    "openssl": ("xmldsig",),
    "jdk": _DOCUMENTS,
    "santuario": _DOCUMENTS,
    "mono": _ALL,
    "xmlseclibs": ("xmldsig", "by-id", "wss"),
    "zeep bst": ("wss",),
    "zeep x509-data": ("wss",),
    "wss4j bst": ("wss",),
    "wss4j issuer-serial": ("wss",),
    "wss4j ski": ("wss",),
    "wss4j x509-data": ("wss",),
    "wss4j x509-identifier": ("wss",),
    "wss4j thumbprint": ("wss",),
}
#: What only one side can write.
_ONE_WAY = {"wss4j x509-data": (WE_SIGN,), "wss4j x509-identifier": (THEY_SIGN,), "wss4j thumbprint": (THEY_SIGN,)}
ROWS = [
    (profile, name, direction)
    for profile in _ALL
    for name in STACKS
    if profile in STACKS[name]
    for direction in _ONE_WAY.get(name, (WE_SIGN, THEY_SIGN))
]

#: What a stack may say that it does not support, by its program and the direction; a newer version may know it. Anything else is a fault.
UNSUPPORTED = {
    ("xmlsec1", WE_SIGN): {"rsa-pss-sha256", "ed25519"},
    ("xmlsec1", THEY_SIGN): {"rsa-pss-sha256", "ed25519"},
    ("python-xmlsec", WE_SIGN): {"ed25519"},
    ("python-xmlsec", THEY_SIGN): {"ed25519"},
    ("signxml", WE_SIGN): {"ed25519"},
    ("signxml", THEY_SIGN): {"ed25519", "rsa-sha1", "rsa-sha1 legacy"},
    ("mono", WE_SIGN): {"rsa-pss-sha256", "ecdsa-sha256", "ecdsa-sha384", "ed25519"},
    ("mono", THEY_SIGN): {"rsa-pss-sha256", "ecdsa-sha256", "ecdsa-sha384", "ed25519"},
    ("xmlseclibs", WE_SIGN): {"rsa-pss-sha256", "ecdsa-sha256", "ecdsa-sha384", "ed25519"},
    ("xmlseclibs", THEY_SIGN): {"rsa-pss-sha256", "ecdsa-sha256", "ecdsa-sha384", "ed25519"},
    ("zeep", WE_SIGN): {"ed25519"},
    ("zeep", THEY_SIGN): {"rsa-pss-sha256", "ed25519"},
    ("santuario", WE_SIGN): {"rsa-pss-sha256", "ed25519"},
    ("santuario", THEY_SIGN): {"rsa-pss-sha256", "ed25519"},
    ("wss4j", WE_SIGN): {"rsa-pss-sha256", "ed25519"},
    ("wss4j", THEY_SIGN): {"rsa-pss-sha256", "ed25519"},
}
#: What we refuse as it stands, whatever the algorithm, and why.
REFUSED_AS_IT_STANDS = {
    # It digests SignedProperties by exclusive C14N and does not say so: section 4.4.3.2 of XML Signature then means inclusive C14N.
    ("xades", "signxml", THEY_SIGN): "the transforms are missing",
    # A SHA-1 thumbprint names a certificate by a hash that collisions are made for.
    ("wss", "wss4j thumbprint", THEY_SIGN): "ThumbprintSHA1",
}


def should_be(profile: str, name: str, direction: str, column: str) -> str:
    """The cell as it should be where the stack knows the algorithm."""
    if column.startswith("rsa-sha1") and direction == WE_SIGN:
        return NOT_OURS
    if column == "rsa-sha1" or (profile, name, direction) in REFUSED_AS_IT_STANDS:
        return BAD
    return GOOD


@pytest.fixture(scope="session")
def tried(stack: Callable[[str], Stack], world: World) -> Callable[[str, str, str], Row]:
    """A row of the matrix, computed once."""
    rows: dict[tuple[str, str, str], Row] = {}

    def get(profile: str, name: str, direction: str) -> Row:
        key = (profile, name, direction)
        if key not in rows:
            rows[key] = row(stack(name), profile, direction, world)
        return rows[key]

    return get


@pytest.mark.parametrize(("profile", "name", "direction"), ROWS)
def test_every_cell_is_as_it_should_be(tried, profile, name, direction):
    """The signature is accepted as it stands and refused when an octet of content, SignedInfo or value is another; SHA-1 always."""
    found = tried(profile, name, direction)
    unsupported = UNSUPPORTED.get((name.split()[0], direction), set())
    for column, cell in found.cells.items():
        allowed = {should_be(profile, name, direction, column)} | ({NOT_SUPPORTED} if column in unsupported else set())
        assert cell in allowed, (column, cell, found.reasons.get(column))
        assert (cell == NOT_SUPPORTED) == bool(found.reasons.get(column))


@pytest.mark.parametrize("column", ["rsa-pss-sha256", "ed25519", "rsa-sha1 legacy"])
def test_a_method_that_the_partners_policy_does_not_name_is_refused(stack, world, column):
    """A foreign signature that is good counts for a partner whose policy names its method, and for no other."""
    algorithm, policy = COLUMNS[column]
    signed = stack("openssl").sign("xmldsig", algorithm, world)
    verified_by_us("xmldsig", signed, policy, world)
    with pytest.raises(Rejected) as refusal:
        verified_by_us("xmldsig", signed, DEFAULT, world)
    assert refusal.value.key == "algorithm-refused"


def test_wss4js_own_choice_of_algorithms_is_refused(stack, world):
    """WSS4J 1.6 left to its defaults signs and digests with SHA-1: that is named as the reason."""
    signed = stack("wss4j bst").sign("wss", None, world)
    with pytest.raises(Rejected) as refusal:
        verified_by_us("wss", signed, DEFAULT, world)
    assert (refusal.value.key, "sha1" in refusal.value.values["algorithm"]) == ("algorithm-refused", True)


@pytest.mark.parametrize("judge", ["python-xmlsec", "xmlsec1", "jdk"])
def test_signxmls_exclusive_xades_is_wrong_and_not_only_for_us(stack, world, judge):
    """signxml 5.2 digests the signed properties in another form than its references say: independent stacks refuse it as we do."""
    algorithm = BY_NAME["rsa-sha256"]
    signed = stack("signxml").sign("xades", algorithm, world)
    with pytest.raises(Refused):
        stack(judge).verify("xades", algorithm, world, signed)


@pytest.mark.parametrize(("judge", "reads"), [("python-xmlsec", True), ("jdk", True), ("mono", False)])
@pytest.mark.parametrize("text", ['<a b="1&#x9;2"/>', "<a>1&#xD;2</a>"])
def test_a_tab_in_an_attribute_and_a_carriage_return_are_lost_on_signedxml(stack, world, judge, reads, text):
    """.NET's SignedXml writes the document out and reads it in again before it digests it, and loses these two; other stacks do not."""
    algorithm = BY_NAME["rsa-sha256"]
    signed = signed_by_us("xmldsig", algorithm, world, text.encode())
    with nullcontext() if reads else pytest.raises(Refused):
        stack(judge).verify("xmldsig", algorithm, world, signed)


def test_the_matrix_is_printed(tried, capsys):
    """Stack by direction by algorithm by change, with the stacks that are installed here."""
    rows = []
    for profile, name, direction in ROWS:
        try:
            rows.append(tried(profile, name, direction))
        except pytest.skip.Exception as absent:
            rows.append(Row(profile, name, direction, dict.fromkeys(COLUMNS, NOT_SUPPORTED), dict.fromkeys(COLUMNS, str(absent))))
    with capsys.disabled():
        print("\n" + table(rows))
    assert len(rows) == len(ROWS)
