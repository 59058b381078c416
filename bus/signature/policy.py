"""Signature policy: which methods and digests count in the signatures of one partner. Deny by default.

A signature is read by a grammar that knows every method of ``bus.methods``; that a method is known says nothing about whether it counts.
The policy is the identified partner's, so it is asked after the certificate is trusted and before anything is computed with its key.
What is legacy (SHA-1) counts only where that partner's policy names it, and is then said in what the verification returns.

Raises Rejected ``algorithm-refused`` naming the algorithm.

Standards: RFC 9231 section 2.3 (methods); ETSI TS 119 312 and NIST SP 800-131A (SHA-1 is not for new signatures).
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

from bus.errors import Rejected
from bus.methods import BY_NAME, BY_URI, Method

T = TypeVar("T")

#: What counts unless the partner's ``signatures`` say otherwise: what the exchange's contract promises.
USUAL = ("rsa-sha256", "rsa-sha384", "rsa-sha512", "ecdsa-sha256", "ecdsa-sha384")
MODERN = tuple(name for name, method in BY_NAME.items() if not method.legacy)
LEGACY = tuple(name for name, method in BY_NAME.items() if method.legacy)
_LEGACY_DIGESTS = frozenset(BY_NAME[name].digest for name in LEGACY)


@dataclass(frozen=True, slots=True)
class SignaturePolicy:
    """``methods`` that count, by name, and those that count as ``legacy``, each with the digest of its own hash."""

    methods: tuple[str, ...] = USUAL
    legacy: tuple[str, ...] = ()

    def admit(self, method_uri: str, digests: Collection[str]) -> tuple[Method, str]:
        """The method, if it and all ``digests`` (as hashlib names them) count; and the name of what counted only as legacy, or ""."""
        method = BY_URI[method_uri]
        if method.name not in (*self.methods, *self.legacy):
            raise Rejected("algorithm-refused", algorithm=method.uri)
        old = _LEGACY_DIGESTS.intersection(digests)
        for digest in old.difference(BY_NAME[name].digest for name in self.legacy):
            raise Rejected("algorithm-refused", algorithm=digest)
        return method, method.name if method.legacy else min(old, default="")


DEFAULT = SignaturePolicy()
#: For signatures of our own, with whatever key and method this site was given.
OWN = SignaturePolicy(MODERN)
#: Which policy is an identity's.
Policies = Callable[[T], SignaturePolicy]


def usual(_identity: object) -> SignaturePolicy:
    """The default policy, whoever it is."""
    return DEFAULT


def ours(_identity: object) -> SignaturePolicy:
    """The policy for our own signatures."""
    return OWN


def named(methods: Iterable[str], legacy: Iterable[str]) -> SignaturePolicy:
    """The policy that a partner's ``signatures`` and ``legacy`` describe."""
    return SignaturePolicy(tuple(methods) or USUAL, tuple(legacy))
