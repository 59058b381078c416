"""Guard: who sent a request. The endpoint's ``security:`` applied, before there is a message.

Promise: deny by default. Every credential that the endpoint knows and a request carries must be valid; all must name one partner; and
together they must satisfy one of the endpoint's alternatives. A request that carries a bad signature beside a good password is refused.

Raises Rejected 5.7.x; the reason names the check that failed, never key material.

Standards: WS-Security 1.1, X.509 Token Profile 1.1, UsernameToken Profile 1.1; mutual TLS as read by the HTTP edge.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import structlog

from adapters.soap.options import CHECKS, Security
from bus import log, metrics, roles, soap
from bus.errors import Rejected
from bus.signature import username, wss
from bus.signature.profile import DS, WSSE
from bus.site import Site
from bus.soap import Envelope
from bus.trust import Purpose

_SIGNATURE = f"{{{DS}}}Signature"
_USERNAME = f"{{{WSSE}}}UsernameToken"


_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """The partner that sent a request; ``signs``: it proved so by a signature, and is answered with one.

    ``credential``: by what it was authenticated, for the message's header; ``legacy``: as ``Proof`` says.

    ``used``: the nonce that came with its password: it counts once for the whole site, which is the caller's to see to.
    """

    partner: str
    signs: bool
    credential: str = ""
    legacy: str = ""
    used: username.Used | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """What one credential proved.

    ``legacy``: the outdated algorithm that counted only because the partner's policy names it, or ""; ``graced``: its certificate's
    revocation status is not known, and ``when-unknown: accept`` let it pass.
    """

    partner: str
    legacy: str = ""
    graced: bool = False
    used: username.Used | None = None


class Guard:
    """One endpoint's way to tell who calls."""

    def __init__(self, security: Security, site: Site) -> None:
        self._alternatives = security.alternatives
        self._known = frozenset().union(*self._alternatives)
        self._policy = wss.Policy(covers=security.covers, skew=security.skew)
        self._nonces = username.NonceCache(window=self._policy.age + 2 * security.skew)
        self._site = site
        self._holder = security.holder(site.keyring)
        self._checks: Mapping[str, Callable[[Envelope, bytes | None], Proof]] = dict(
            zip(CHECKS, (self._by_signature, self._by_tls, self._by_username), strict=True)
        )

    @property
    def understood(self) -> frozenset[str]:
        """Headers that this guard processes: the security header only where something in it is verified, or decrypted."""
        return frozenset({wss.SECURITY}) if self._holder or self._known & {"wss-x509", "wss-username"} else frozenset()

    def open(self, envelope: Envelope) -> Envelope:
        """The envelope with its Body decrypted, where this endpoint does that: from here on it is as if it had come so."""
        root = self._holder.open(envelope.root, envelope.hollow) if self._holder else None
        if root is not None and envelope.detached:
            # They would have travelled in clear, and nobody would have kept what their signature was made over.
            raise Rejected("decryption-failed", at="/Envelope/Body")
        return envelope if root is None else soap.opened(envelope, root)

    def identify(self, envelope: Envelope, certificate: bytes | None) -> Caller:
        """The partner; ``certificate`` is the DER one that TLS verified, if any."""
        carried = self._known & _carried(envelope, certificate)
        if not any(checks <= carried for checks in self._alternatives):
            wanted = " / ".join(sorted("+".join(sorted(checks)) for checks in self._alternatives))
            raise Rejected("security-missing", check=wanted, at="/Envelope/Header/Security")
        # A password last: its nonce is used up, and what comes before may have to be asked about and checked again.
        proofs = [self._checks[check](envelope, certificate) for check in CHECKS if check in carried]
        envelope.attach()
        partners = {proof.partner for proof in proofs}
        legacy = max(proof.legacy for proof in proofs)
        if len(partners) != 1:
            raise Rejected("credentials-invalid", check="one partner in every credential")
        (partner,) = partners
        note_legacy(partner, legacy)
        # What TLS showed is nowhere in the request: its fingerprint is all that is left of it.
        shown = {"mtls": f"mtls sha256:{sha256(certificate or b'').hexdigest()}"}
        said = [shown.get(check, check) for check in sorted(carried)] + ["revocation status unknown"] * any(
            proof.graced for proof in proofs
        )
        return Caller(partner, "wss-x509" in carried, ", ".join(said), legacy, next((proof.used for proof in proofs if proof.used), None))

    def _by_signature(self, envelope: Envelope, _certificate: bytes | None) -> Proof:
        keyring = self._site.keyring
        verified = wss.verify(
            envelope.root,
            self._policy,
            keyring.identify,
            self._site.clock(),
            known=keyring,
            hollow=envelope.hollow,
            policies=self._site.signatures,
            attachments=envelope.detached,
        )
        return Proof(verified.identity, verified.legacy, keyring.graced(verified.certificate, self._site.clock()))

    def _by_username(self, envelope: Envelope, _certificate: bytes | None) -> Proof:
        proved = username.verify(envelope.root, self._password, self._site.clock(), self._nonces, self._policy)
        return Proof(proved.user, used=proved.used)

    def _by_tls(self, _envelope: Envelope, certificate: bytes | None) -> Proof:
        keyring, now, shown = self._site.keyring, self._site.clock(), certificate or b""
        return Proof(keyring.identify(shown, now, Purpose.TLS_CLIENT), graced=keyring.graced(shown, now))

    def _password(self, name: str) -> str | None:
        partner = self._site.partners.get(name)
        return partner.password or None if partner else None


def carries_password(envelope: Envelope) -> bool:
    """Whether a UsernameToken, whoever it is for, says more than a name: what a password can be guessed from must be kept nowhere."""
    return any(len(token) > 1 for token in envelope.root.iter(_USERNAME))


def note_legacy(partner: str, algorithm: str) -> None:
    """Log and count a signature that counted only as legacy; nothing where ``algorithm`` is ""."""
    if algorithm:
        metrics.LEGACY_SIGNATURES.labels(partner, algorithm).inc()
        _log.warning(log.LEGACY_SIGNATURE, partner=partner, algorithm=algorithm)


def carries_signature(envelope: Envelope) -> bool:
    """Whether the sender tried to sign, for us."""
    return _holds(envelope, _SIGNATURE)


def _holds(envelope: Envelope, tag: str) -> bool:
    return any(security.find(tag) is not None for security in roles.ours(envelope.header, wss.SECURITY))


def _carried(envelope: Envelope, certificate: bytes | None) -> frozenset[str]:
    present = (carries_signature(envelope), bool(certificate), _holds(envelope, _USERNAME))
    return frozenset(check for check, there in zip(CHECKS, present, strict=True) if there)
