"""Keyring: what the site signs with, and whom it trusts, read once from ``certs/`` (``keyfiles.py`` says from which files).

``certs/trust/<partner>/``: a certificate with CA=true is an anchor, and every leaf on a path from it is that partner; an authority whose
own issuer lies beside it is an intermediate; any other certificate is pinned: exactly it is that partner.

``Keyring.load`` raises ConfigurationError with every bad file. ``identify`` raises Rejected (5.7.x), and Unsettled (4.7.5) where a
certificate's status must be asked first; see ``trust.py`` and ``revocation.py``.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from bus import keyfiles
from bus.answers import Answer, key_of
from bus.errors import BusError, Fault, Rejected, suggestion
from bus.names import same_name
from bus.pkcs11 import TokenKey
from bus.revocation import Statuses
from bus.signer import Signer
from bus.trust import (
    Demands,
    Purpose,
    Trust,
    check_dates,
    der,
    name_text,
    policies_of,
    readable,
    subject,
    subject_key_identifier,
)

#: Identified certificates of one partner that are remembered; one for each of its systems is usual, so this is far above any real site.
_REMEMBERED = 512
#: Octets of a certificate, with what came with it, that is remembered.
_SMALL = 64 << 10


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One line of ``govbus keys``.

    ``kind``: own, retired, anchor, intermediate or pinned; crl for a list in the directory, crl-answer and ocsp-answer for what was asked.
    ``not_after`` of the last three is when they run out. ``detail``: the token a key lies in; the policies a certificate is issued under,
    and how its status is known.
    """

    name: str
    kind: str
    subject: str
    not_before: datetime
    not_after: datetime
    fingerprint: str
    partner: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RevocationData:
    """Lists and OCSP responses (DER) that concern one partner's certificates, as they are held now."""

    crls: tuple[bytes, ...]
    ocsps: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """A certificate that was identified, and how long that need not be done again."""

    parsed: x509.Certificate
    partner: str
    hour: int
    version: int
    until: datetime


@dataclass(frozen=True)
class Keyring:
    """Our keys by name, and each partner's trust. Built by ``load``; read-only but for its memory of certificates identified.

    ``tokens``: those of our keys that lie in a PKCS#11 token; ``statuses``: what is known of revocations, which others fill;
    ``warnings``: what lies in ``certs/`` and does not count.
    """

    signers: Mapping[str, Signer]
    retired: tuple[x509.Certificate, ...]
    trusts: Mapping[str, Trust]
    tokens: tuple[TokenKey, ...] = ()
    statuses: Statuses = field(default_factory=Statuses, repr=False, compare=False)
    warnings: tuple[Fault, ...] = field(default=(), repr=False, compare=False)
    _identified: dict[tuple[bytes, Purpose, tuple[bytes, ...]], _Known] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(
        cls,
        certs: Path,
        trust: Mapping[str, str],
        demands: Mapping[str, Demands] | None = None,
        passwords: Mapping[str, str] | None = None,
    ) -> "Keyring":
        """Read ``certs``; ``trust`` maps a partner's name to its directory below ``certs``. Directories that are missing are empty.

        ``demands``: what partners' entries ask of their certificates; ``passwords``: of PKCS#12 files and tokens, by our key's name.
        """
        keyring, faults = cls.usable(certs, trust, demands, passwords)
        keyfiles.demand(faults)
        return keyring

    @classmethod
    def usable(
        cls,
        certs: Path,
        trust: Mapping[str, str],
        demands: Mapping[str, Demands] | None = None,
        passwords: Mapping[str, str] | None = None,
    ) -> tuple["Keyring", list[Fault]]:
        """As ``load``, but whatever of it can be used, and the bad files' faults.

        A certificate of ours whose key cannot be used counts as retired.
        """
        faults: list[Fault] = []
        own = keyfiles.own(certs, passwords or {}, faults)
        asked = demands or {}
        trusts = {name: keyfiles.trust(certs / place, name, asked.get(name, Demands()), faults) for name, place in trust.items()}
        return cls(own.signers, own.retired + own.keyless(certs), trusts, own.tokens, warnings=tuple(faults)), faults

    def signer(self, name: str) -> Signer:
        """Our key called ``own/<name>``; KeyError naming those there are."""
        if name not in self.signers:
            raise KeyError(f"no key {name!r}{suggestion(name, self.signers)}")
        return self.signers[name]

    def identify(self, certificate: bytes, at: datetime, purpose: Purpose = Purpose.SIGNING, chain: Sequence[bytes] = ()) -> str:
        """The partner whose certificate (DER) this is at ``at``, for ``purpose``. ``chain``: certificates (DER) that came with it.

        Raises Rejected, Unsettled. A good answer is remembered for the hour, while no status changes: a list in a directory that runs out
        within the hour is noticed up to an hour late; dates are checked every time.
        """
        hour, version = int(at.timestamp() // 3600), self.statuses.version
        place = (certificate, purpose, tuple(chain))
        known = self._identified.get(place)
        if known is not None and (known.hour, known.version) == (hour, version) and at < known.until:
            check_dates(known.parsed, at)
            return known.partner
        parsed = readable(certificate)
        partner, until = self._identify(parsed, at, purpose, [readable(one) for one in chain])
        self._remember(place, _Known(parsed, partner, hour, version, until))
        return partner

    def _remember(self, place: tuple[bytes, Purpose, tuple[bytes, ...]], known: _Known) -> None:
        """Bounded for each partner, whose oldest goes first: nobody's many certificates have another's looked at anew."""
        self._identified.pop(place, None)
        if len(place[0]) + sum(map(len, place[2])) > _SMALL:
            return
        own = [other for other, one in list(self._identified.items()) if one.partner == known.partner]
        for other in own[: max(0, len(own) - _REMEMBERED + 1)]:
            self._identified.pop(other, None)
        self._identified[place] = known

    def shown_by(self, certificate: bytes, at: datetime) -> str:
        """The partner that shows this certificate (DER) in TLS; "" where it proves nobody, or not yet: its door says why."""
        try:
            return self.identify(certificate, at, Purpose.TLS_CLIENT)
        except BusError:
            return ""

    def graced(self, certificate: bytes, at: datetime) -> bool:
        """Whether this certificate (DER), identified just now, counted although its status is not known: ``when-unknown: accept``."""
        if not any(trust.demands.revocation.accept_unknown for trust in self.trusts.values()):
            return False
        return self.statuses.graced(readable(certificate), at)

    def revocation_data(self, partner: str) -> RevocationData:
        """The lists in the partner's directory, and what its authorities answered."""
        trust = self.trusts.get(partner, Trust(partner))
        answers = self.statuses.answers(key_of(authority) for authority in trust.authorities)
        lists = [crl.public_bytes(Encoding.DER) for crl in trust.crls] + [answer.octets for answer in answers if answer.kind == "crl"]
        return RevocationData(tuple(dict.fromkeys(lists)), tuple(answer.octets for answer in answers if answer.kind == "ocsp"))

    def authorities(self) -> tuple[x509.Certificate, ...]:
        """Every anchor and intermediate of every partner."""
        return tuple(dict.fromkeys(one for trust in self.trusts.values() for one in trust.authorities))

    def own(self, certificate: bytes) -> bool:
        """Whether this certificate (DER) is one of ours, in use or retired."""
        return certificate in self._ours

    def anchors(self, partner: str) -> tuple[bytes, ...]:
        """The partner's authorities and pinned certificates (DER), for a TLS context."""
        trust = self.trusts.get(partner, Trust(partner))
        return tuple(der(certificate) for certificate in (*trust.authorities, *trust.pinned))

    def find(self, issuer: str, serial: int) -> tuple[bytes, ...]:
        """Certificates (DER) lying in a trust directory by issuer and serial number, for tokens that name no more than these."""
        return tuple(der(one) for one in self._lying if one.serial_number == serial and same_name(issuer, one.issuer))

    def find_ski(self, identifier: bytes) -> tuple[bytes, ...]:
        """Certificates (DER) lying in a trust directory by subject key identifier."""
        return tuple(der(one) for one in self._lying if subject_key_identifier(one) == identifier)

    def entries(self) -> tuple[KeyEntry, ...]:
        """Every certificate, revocation list and answer, for ``govbus keys``."""
        places = {token.name: f"PKCS#11 token {token.uri.token!r}" for token in self.tokens}
        ours = [_entry(name, "own", signer.certificate, detail=places.get(name, "")) for name, signer in self.signers.items()]
        ours += [_entry("own", "retired", certificate) for certificate in self.retired]
        return (*ours, *(entry for trust in self.trusts.values() for entry in _trust_entries(trust, self.statuses)))

    @cached_property
    def _ours(self) -> frozenset[bytes]:
        return frozenset({*(signer.certificate_der for signer in self.signers.values()), *(der(old) for old in self.retired)})

    @cached_property
    def _lying(self) -> tuple[x509.Certificate, ...]:
        """Authorities too: what ``openssl req -x509`` makes says that it is one, and signs for itself."""
        return tuple(certificate for trust in self.trusts.values() for certificate in (*trust.pinned, *trust.authorities))

    def _identify(
        self, certificate: x509.Certificate, at: datetime, purpose: Purpose, chain: Sequence[x509.Certificate]
    ) -> tuple[str, datetime]:
        """Partners who pin the certificate go before those whose anchors would vouch for it; two of either kind are no answer."""
        pinning = [trust for trust in self.trusts.values() if trust.pins(certificate)]
        candidates = pinning or [trust for trust in self.trusts.values() if trust.anchors]
        good: dict[str, datetime] = {}
        refusals = [Rejected("certificate-unknown", subject=subject(certificate))]
        for trust in candidates:
            try:
                good[trust.partner] = trust.vouches(certificate, at, self.statuses, purpose, chain)
            except Rejected as refusal:
                refusals.append(refusal)
        if len(good) > 1:
            raise Rejected("certificate-ambiguous", subject=subject(certificate), partners=", ".join(good))
        if not good:
            # The refusal that knew most about the certificate: any but "unknown".
            raise max(refusals, key=lambda refusal: refusal.key != "certificate-unknown")
        return next(iter(good.items()))


def _entry(name: str, kind: str, certificate: x509.Certificate, partner: str = "", detail: str = "") -> KeyEntry:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return KeyEntry(name, kind, subject(certificate), start, end, certificate.fingerprint(hashes.SHA256()).hex(), partner, detail)


def _trust_entries(trust: Trust, statuses: Statuses) -> Iterator[KeyEntry]:
    name = f"trust/{trust.partner}"
    for kind, certificates in (("anchor", trust.anchors), ("intermediate", trust.intermediates), ("pinned", trust.pinned)):
        for certificate in certificates:
            policies = "".join(f", policy {policy}" for policy in policies_of(certificate))
            yield _entry(name, kind, certificate, trust.partner, f"revocation: {trust.demands.revocation.check}{policies}")
    for crl in trust.crls:
        end = crl.next_update_utc or crl.last_update_utc
        fingerprint = crl.fingerprint(hashes.SHA256()).hex()
        yield KeyEntry(name, "crl", name_text(crl.issuer), crl.last_update_utc, end, fingerprint, trust.partner)
    for authority in trust.authorities:
        for answer in statuses.answers([key_of(authority)]):
            yield _answer_entry(name, trust, authority, answer)


def _answer_entry(name: str, trust: Trust, authority: x509.Certificate, answer: Answer) -> KeyEntry:
    about = name_text(authority.subject) if answer.serial is None else f"{name_text(authority.subject)}, serial number {answer.serial:x}"
    end = answer.until(trust.demands.revocation.fresh)
    fingerprint = hashlib.sha256(answer.octets).hexdigest()
    return KeyEntry(name, f"{answer.kind}-answer", about, answer.this_update, end, fingerprint, trust.partner)
