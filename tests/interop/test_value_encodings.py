"""SignatureValue has one spelling: of a value that is good, every other form, edge and near miss is refused, as Wycheproof collects them.

The one exception is ECDSA's own: (r, n - s) is as good as (r, s), for whoever has seen the one (FIPS 186-5 section 6.4); nothing of ours
takes a SignatureValue for an identity. Standards: RFC 9231 section 2.3.6; RFC 8017 section 8.2.2; RFC 8032 section 5.1.7.
"""

from collections.abc import Callable

import pytest
from cross_world import World
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from bus.methods import BY_NAME, WrongKey

DATA = "<SignedInfo>đã ký</SignedInfo>".encode()
#: Orders of the groups (SEC 2 sections 2.4.2 and 2.5.1; RFC 8032 section 5.1).
P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P384 = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
ED25519 = 2**252 + 27742317777372353535851937790883648493
_CURVES = {"ecdsa-sha256": ("p256", P256, 32), "ecdsa-sha384": ("p384", P384, 48)}


def pair(r: int, s: int, size: int) -> bytes:
    """r and s side by side, cut to fit where they are too long."""
    return b"".join((number % 256**size).to_bytes(size, "big") for number in (r, s))


#: From r, s, the order and the size in octets, a value that must be refused.
ECDSA: dict[str, Callable[[int, int, int, int], bytes]] = {
    "DER": lambda r, s, _n, _size: encode_dss_signature(r, s),
    "empty": lambda _r, _s, _n, _size: b"",
    "all zero": lambda _r, _s, _n, size: bytes(2 * size),
    "r is 0": lambda _r, s, _n, size: pair(0, s, size),
    "s is 0": lambda r, _s, _n, size: pair(r, 0, size),
    "r and s are 1": lambda _r, _s, _n, size: pair(1, 1, size),
    "r is n": lambda _r, s, n, size: pair(n, s, size),
    "s is n": lambda r, _s, n, size: pair(r, n, size),
    "r is n - 1": lambda _r, s, n, size: pair(n - 1, s, size),
    "both are all ones": lambda _r, _s, _n, size: pair(-1, -1, size),
    "r is negated": lambda r, s, n, size: pair(n - r, s, size),
    "r and s change places": lambda r, s, _n, size: pair(s, r, size),
    "s alone": lambda _r, s, _n, size: s.to_bytes(size, "big"),
    "r and s with a zero before each": lambda r, s, _n, size: pair(r, s, size + 1),
    "a zero after": lambda r, s, _n, size: pair(r, s, size) + b"\0",
    "a zero before": lambda r, s, _n, size: b"\0" + pair(r, s, size),
    "an octet short": lambda r, s, _n, size: pair(r, s, size)[:-1],
    "little endian": lambda r, s, _n, size: pair(r, s, size)[::-1],
    "twice": lambda r, s, _n, size: pair(r, s, size) * 2,
}
#: From a good value.
RSA: dict[str, Callable[[bytes, int], bytes]] = {
    "empty": lambda _value, _n: b"",
    "zero": lambda value, _n: bytes(len(value)),
    "one": lambda value, _n: (1).to_bytes(len(value), "big"),
    "the modulus": lambda value, n: n.to_bytes(len(value), "big"),
    "the modulus less one": lambda value, n: (n - 1).to_bytes(len(value), "big"),
    "more by the modulus": lambda value, n: (int.from_bytes(value, "big") + n).to_bytes(len(value) + 1, "big"),
    "negated": lambda value, n: (n - int.from_bytes(value, "big")).to_bytes(len(value), "big"),
    "a zero before": lambda value, _n: b"\0" + value,
    "a zero after": lambda value, _n: value + b"\0",
    "an octet short": lambda value, _n: value[:-1],
    "without its first octet": lambda value, _n: value[1:],
    "little endian": lambda value, _n: value[::-1],
}
EDDSA: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _value: b"",
    "all zero": lambda _value: bytes(64),
    "s is 0": lambda value: value[:32] + bytes(32),
    "s more by the order": lambda value: value[:32] + (int.from_bytes(value[32:], "little") + ED25519).to_bytes(32, "little"),
    "s more by eight orders": lambda value: value[:32] + (int.from_bytes(value[32:], "little") + 8 * ED25519).to_bytes(32, "little"),
    "R is the identity": lambda value: b"\1" + bytes(31) + value[32:],
    "R's sign is the other": lambda value: value[:31] + bytes([value[31] ^ 0x80]) + value[32:],
    "R and s change places": lambda value: value[32:] + value[:32],
    "big endian": lambda value: value[:32] + value[32:][::-1],
    "an octet short": lambda value: value[:-1],
    "a zero after": lambda value: value + b"\0",
}


@pytest.mark.parametrize("method", _CURVES)
@pytest.mark.parametrize("form", ECDSA)
def test_no_other_spelling_of_an_ecdsa_value_is_accepted(world: World, method: str, form: str) -> None:
    """Two numbers in their range, each as long as the order, side by side, are the one form."""
    name, order, size = _CURVES[method]
    key = world.identities[name].private
    good = BY_NAME[method].sign(key, DATA)
    r, s = int.from_bytes(good[:size], "big"), int.from_bytes(good[size:], "big")
    BY_NAME[method].verify(key.public_key(), pair(r, s, size), DATA)
    with pytest.raises(InvalidSignature):
        BY_NAME[method].verify(key.public_key(), ECDSA[form](r, s, order, size), DATA)


@pytest.mark.parametrize("method", ["rsa-sha256", "rsa-sha512", "rsa-pss-sha256", "rsa-pss-sha512"])
@pytest.mark.parametrize("form", RSA)
def test_no_other_spelling_of_an_rsa_value_is_accepted(world: World, method: str, form: str) -> None:
    """A number below the modulus, in as many octets as the modulus, is the one form."""
    key = world.identities["rsa"].private
    good = BY_NAME[method].sign(key, DATA)
    BY_NAME[method].verify(key.public_key(), good, DATA)
    with pytest.raises(InvalidSignature):
        BY_NAME[method].verify(key.public_key(), RSA[form](good, key.public_key().public_numbers().n), DATA)


@pytest.mark.parametrize("salt", [0, 20, 31, 33, "max"])
def test_a_pss_salt_of_another_length_is_refused(world: World, salt: int | str) -> None:
    """Without parameters the salt is as long as the hash (RFC 9231 section 2.3.10), and neither shorter nor longer."""
    key = world.identities["rsa"].private
    length = padding.PSS.MAX_LENGTH if salt == "max" else salt
    value = key.sign(DATA, padding.PSS(padding.MGF1(hashes.SHA256()), length), hashes.SHA256())
    with pytest.raises(InvalidSignature):
        BY_NAME["rsa-pss-sha256"].verify(key.public_key(), value, DATA)


def test_a_pss_mask_by_another_hash_is_refused(world: World) -> None:
    """The mask is by the hash that the method's name says, not by SHA-1, which RFC 8017 has for a default."""
    key = world.identities["rsa"].private
    value = key.sign(DATA, padding.PSS(padding.MGF1(hashes.SHA1()), 32), hashes.SHA256())
    with pytest.raises(InvalidSignature):
        BY_NAME["rsa-pss-sha256"].verify(key.public_key(), value, DATA)


@pytest.mark.parametrize("form", EDDSA)
def test_no_other_spelling_of_an_ed25519_value_is_accepted(world: World, form: str) -> None:
    """S below the order of the group, R as it was: Ed25519 values cannot be bent into others that are good as well."""
    key = world.identities["ed25519"].private
    good = BY_NAME["ed25519"].sign(key, DATA)
    BY_NAME["ed25519"].verify(key.public_key(), good, DATA)
    with pytest.raises(InvalidSignature):
        BY_NAME["ed25519"].verify(key.public_key(), EDDSA[form](good), DATA)


@pytest.mark.parametrize("signing", BY_NAME)
@pytest.mark.parametrize("verifying", BY_NAME)
def test_a_value_by_one_method_is_none_of_another(world: World, signing: str, verifying: str) -> None:
    """Of all pairs of methods, with the keys that each takes, only a method with itself is good: by its value, or by its key already."""
    keys = {"rsa": "rsa", "rsa-pss": "rsa", "ed25519": "ed25519"}
    one, other = BY_NAME[signing], BY_NAME[verifying]
    kind = keys.get(one.family, "p256" if one.curve == "secp256r1" else "p384")
    key = world.identities[kind].private
    value = one.sign(key, DATA)
    if one is other:
        other.verify(key.public_key(), value, DATA)
        return
    with pytest.raises((InvalidSignature, WrongKey)):
        other.verify(key.public_key(), value, DATA)
