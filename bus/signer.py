"""Signer: one of our private keys with its certificate, wherever the key lies.

The key itself is behind ``Key``: in memory (``SoftKey``), or in a token that never gives it away. It is loaded once and never shown.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from cryptography import x509

from bus.methods import Method, PrivateKey, PublicKey, chosen, usual
from bus.trust import der


class Key(Protocol):
    """A private key that may be used and not seen."""

    @property
    def public(self) -> PublicKey:
        """Its public half."""

    def sign(self, data: bytes, method: Method) -> bytes:
        """The SignatureValue octets over ``data``. Raises WrongKey, and Deferred when the key is out of reach."""


@dataclass(frozen=True)
class SoftKey:
    """A private key in memory."""

    private: PrivateKey

    @cached_property
    def public(self) -> PublicKey:
        """Its public half."""
        return self.private.public_key()

    def sign(self, data: bytes, method: Method) -> bytes:
        """The SignatureValue octets over ``data``. Raises WrongKey."""
        return method.sign(self.private, data)

    def __repr__(self) -> str:
        return "SoftKey()"


class Signer:
    """A key of ours by its name, with its certificate, and the method that it signs with."""

    def __init__(self, name: str, key: Key, certificate: x509.Certificate, method: Method | None = None) -> None:
        """Raises ValueError for a key that partners would not accept, that is not the certificate's, or that the method does not take."""
        if key.public != certificate.public_key():
            raise ValueError("the certificate is not this key's")
        self.name = name
        self.certificate = certificate
        self.certificate_der = der(certificate)
        self.method = method or usual(key.public)
        self._key = key

    def using(self, method: str) -> "Signer":
        """The same key signing by the method called ``method``; ValueError where the key or the house cannot. "" changes nothing."""
        return Signer(self.name, self._key, self.certificate, chosen(method, self._key.public)) if method else self

    @property
    def algorithm(self) -> str:
        """The URI of the method."""
        return self.method.uri

    def sign(self, data: bytes) -> bytes:
        """The SignatureValue octets over ``data``. Raises Deferred when the key is out of reach."""
        return self._key.sign(data, self.method)

    @property
    def in_memory(self) -> PrivateKey:
        """The private key itself, for the one use that is not signing: to decrypt. Raises ValueError for a key in a token."""
        if not isinstance(self._key, SoftKey):
            raise ValueError(f"the key {self.name} lies in a token, and decryption needs one in memory")  # noqa: TRY004 - its place is wrong
        return self._key.private

    def __repr__(self) -> str:
        return f"Signer({self.name!r})"
