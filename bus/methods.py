"""Signature methods: every XML-DSig SignatureMethod that the bus knows, in one table, and what each does with a key.

A method decides which family of key it takes; a key of another family raises ``WrongKey``, so that no key is ever used in a way that it
was not made for. Which of the methods count is a matter of policy and not of this table.

Standards: RFC 9231 sections 2.3.2 (RSA PKCS#1 v1.5), 2.3.10 (RSASSA-PSS without parameters), 2.3.6 (ECDSA), 2.3.12 (EdDSA); RFC 8017, 8032.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_MORE_2007 = "http://www.w3.org/2007/05/xmldsig-more#"
_MORE_2021 = "http://www.w3.org/2021/04/xmldsig-more#"


class WrongKey(ValueError):
    """The key is not of the family that the method takes."""


@dataclass(frozen=True, slots=True)
class Method:
    """One SignatureMethod.

    ``name``    what routes.yaml calls it
    ``family``  rsa, rsa-pss, ec or ed25519; Ed25519 hashes by itself
    ``curve``   the one curve that it is used with: that whose order is as long as the hash (FIPS 186-5 section 6.1.1)
    ``legacy``  it is only ever verified, and only for a partner that it is named for
    """

    name: str
    uri: str
    family: str
    hash: hashes.HashAlgorithm | None = None
    curve: str = ""
    legacy: bool = False

    @property
    def digest(self) -> str:
        """What the references of such a signature are digested with, as hashlib names it: its own hash, or SHA-256 where it has none."""
        return self.hash.name if self.hash else "sha256"

    def takes(self, key: PublicKey) -> bool:
        """Whether ``key`` is of its family, and on its curve."""
        if isinstance(key, ec.EllipticCurvePublicKey):
            return self.family == "ec" and key.curve.name == self.curve
        return isinstance(key, rsa.RSAPublicKey if self.family in {"rsa", "rsa-pss"} else ed25519.Ed25519PublicKey) and self.family != "ec"

    def sign(self, key: PrivateKey, data: bytes) -> bytes:
        """The SignatureValue octets over ``data``. Raises WrongKey."""
        match self.family, key, self.hash:
            case "rsa", rsa.RSAPrivateKey(), hashes.HashAlgorithm() as digest:
                return key.sign(data, padding.PKCS1v15(), digest)
            case "rsa-pss", rsa.RSAPrivateKey(), hashes.HashAlgorithm() as digest:
                return key.sign(data, _pss(digest), digest)
            case "ec", ec.EllipticCurvePrivateKey(curve=ec.EllipticCurve(name=self.curve)), hashes.HashAlgorithm() as digest:
                return side_by_side(key.sign(data, ec.ECDSA(digest)), key.key_size)
            case "ed25519", ed25519.Ed25519PrivateKey(), None:
                return key.sign(data)
        raise WrongKey(f"{self.name} does not take such a key")

    def verify(self, key: PublicKey, value: bytes, data: bytes) -> None:
        """Refuse a ``value`` that is not this key's over ``data``: InvalidSignature; or a key of another family: WrongKey."""
        match self.family, key, self.hash:
            case "rsa", rsa.RSAPublicKey(), hashes.HashAlgorithm() as digest:
                key.verify(value, data, padding.PKCS1v15(), digest)
            case "rsa-pss", rsa.RSAPublicKey(), hashes.HashAlgorithm() as digest:
                key.verify(value, data, _pss(digest), digest)
            case "ec", ec.EllipticCurvePublicKey(curve=ec.EllipticCurve(name=self.curve)), hashes.HashAlgorithm() as digest:
                key.verify(_in_der(value, key.key_size), data, ec.ECDSA(digest))
            case "ed25519", ed25519.Ed25519PublicKey(), None:
                key.verify(value, data)
            case _:
                raise WrongKey(f"{self.name} does not take such a key")


_ALL = (
    Method("rsa-sha256", f"{_MORE}rsa-sha256", "rsa", hashes.SHA256()),
    Method("rsa-sha384", f"{_MORE}rsa-sha384", "rsa", hashes.SHA384()),
    Method("rsa-sha512", f"{_MORE}rsa-sha512", "rsa", hashes.SHA512()),
    Method("ecdsa-sha256", f"{_MORE}ecdsa-sha256", "ec", hashes.SHA256(), curve="secp256r1"),
    Method("ecdsa-sha384", f"{_MORE}ecdsa-sha384", "ec", hashes.SHA384(), curve="secp384r1"),
    Method("rsa-pss-sha256", f"{_MORE_2007}sha256-rsa-MGF1", "rsa-pss", hashes.SHA256()),
    Method("rsa-pss-sha384", f"{_MORE_2007}sha384-rsa-MGF1", "rsa-pss", hashes.SHA384()),
    Method("rsa-pss-sha512", f"{_MORE_2007}sha512-rsa-MGF1", "rsa-pss", hashes.SHA512()),
    Method("ed25519", f"{_MORE_2021}eddsa-ed25519", "ed25519"),
    Method("rsa-sha1", "http://www.w3.org/2000/09/xmldsig#rsa-sha1", "rsa", hashes.SHA1(), legacy=True),  # noqa: S303 - see legacy
)
#: Methods by the name that routes.yaml knows them by, and by the URI that stands in a signature.
BY_NAME: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ALL})
BY_URI: Mapping[str, Method] = MappingProxyType({method.uri: method for method in _ALL})

LEAST_RSA_BITS = 2048
_BY_CURVE: Mapping[str, Method] = MappingProxyType({method.curve: method for method in _ALL if method.curve})


def usual(key: PublicKey) -> Method:
    """The method that a key of ours signs with unless another is asked for. Raises ValueError for a key that partners would not accept."""
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < LEAST_RSA_BITS:
            raise ValueError(f"RSA keys must have {LEAST_RSA_BITS} bits or more, this one has {key.key_size}")
        return BY_NAME["rsa-sha256"]
    if isinstance(key, ed25519.Ed25519PublicKey):
        return BY_NAME["ed25519"]
    if key.curve.name not in _BY_CURVE:
        raise ValueError(f"EC keys must be P-256 or P-384, this one is {key.curve.name}")
    return _BY_CURVE[key.curve.name]


def chosen(name: str, key: PublicKey) -> Method:
    """The method called ``name``, for a key of ours that is to sign with it. Raises ValueError where it cannot, or should not."""
    method = BY_NAME[name]
    if method.legacy:
        raise ValueError(f"{name} is for verifying what old systems sign; it is not signed with")
    if not method.takes(key):
        raise WrongKey(f"{name} does not take such a key")
    return method


def side_by_side(signature: bytes, bits: int) -> bytes:
    """An ECDSA signature's DER as XML-DSig writes it: r and s, each as long as the curve's order (RFC 9231 section 2.3.6)."""
    size = (bits + 7) // 8
    r, s = decode_dss_signature(signature)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _in_der(value: bytes, bits: int) -> bytes:
    size = (bits + 7) // 8
    if len(value) != 2 * size:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(value[:size], "big"), int.from_bytes(value[size:], "big"))


def _pss(digest: hashes.HashAlgorithm) -> padding.PSS:
    """As long a salt as the hash, and the same hash for the mask (RFC 9231 section 2.3.10)."""
    return padding.PSS(padding.MGF1(digest), digest.digest_size)
