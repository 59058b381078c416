"""Authorities: whom a verification believes.

With a trust directory of the verifier's own nothing in the container is believed about whom to trust: a certificate counts if something
in that directory vouches for it. Without one the certificates in the container are taken for what it says they are, and the verification
can only *name* them: whoever reads its result must compare fingerprints with what the site and its partners publish.

Revocation lists and OCSP responses in the container are used either way: each bears its authority's signature, and can only refuse.

``read`` raises ConfigurationError for a directory that cannot be used; ``vouch`` raises Rejected, see ``bus.trust``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from bus import keyfiles, ocsp
from bus.errors import Fault, Rejected
from bus.names import same_name
from bus.octets import Body
from bus.proofs.manifest import SITE, Held, Manifest, invalid, octets_of
from bus.revocation import Statuses
from bus.trust import Demands, Trust, der, divided, is_authority, readable, subject, subject_key_identifier

#: Directories below the one that is given, at most: it is a directory of certificates.
_MOST_DIRECTORIES = 1000


@dataclass(frozen=True, slots=True)
class Signatory:
    """Whose a certificate is: as its subject says, and by its SHA-256. ``unknown``: why the verifier's own trust does not know it."""

    subject: str
    fingerprint: str
    unknown: Rejected | None = None


@dataclass(slots=True)
class Authorities:
    """``given``: the verifier's own trust, or None; ``held``: by whose they are, what the container holds."""

    given: Sequence[Trust] | None
    held: Mapping[str, Trust]
    responses: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    #: Everyone who was named, by certificate (DER).
    named: dict[bytes, tuple[str, Signatory]] = field(default_factory=dict)

    def vouch(self, of: str, certificate: bytes, at: datetime) -> Signatory:
        """Whose the certificate (DER) was at ``at``; ``of``: whose the container says it is. Raises Rejected for one that did not hold."""
        parsed = readable(certificate)
        self._check_responses(of, parsed, at)
        held = self.held.get(of, Trust(of))
        trusts = [held] if self.given is None else [replace(one, crls=(*one.crls, *held.crls)) for one in self.given]
        refusals = [_refusal(trust, parsed, at) for trust in trusts]
        # Of those who know it, who says most against it: only where nobody vouches for it.
        worst = max((one for one in refusals if one), key=lambda one: one.key != "certificate-unknown", default=None)
        unknown = None if None in refusals else worst or Rejected("certificate-unknown", subject=subject(parsed))
        if unknown and (self.given is None or unknown.key != "certificate-unknown"):
            raise unknown
        return self.name(of, certificate, unknown)

    def name(self, of: str, certificate: bytes, unknown: Rejected | None = None) -> Signatory:
        """Remember that this certificate (DER) was relied on."""
        parsed = readable(certificate)
        named = Signatory(subject(parsed), parsed.fingerprint(hashes.SHA256()).hex(), unknown)
        self.named[certificate] = (of, named)
        return named

    def site(self, certificate: bytes, at: datetime) -> Signatory:
        """The same for what the site signed: without the site's own word there is no evidence. Raises Rejected for an unknown one too."""
        by = self.vouch(SITE, certificate, at)
        if by.unknown:
            raise by.unknown
        return by

    def knows(self, of: str, certificate: bytes, at: datetime) -> bool:
        """Whether the container says that this certificate (DER) is this party's."""
        return of in self.held and _refusal(self.held[of], readable(certificate), at) is None

    def named_anchors(self, of: str) -> list[x509.Certificate]:
        """The certificates by which the container names a party."""
        trust = self.held.get(of, Trust(of))
        return [*trust.authorities, *trust.pinned]

    def given_anchors(self) -> list[x509.Certificate]:
        """All that the verifier trusts."""
        return [one for trust in self.given or () for one in (*trust.authorities, *trust.pinned)]

    def _check_responses(self, of: str, certificate: x509.Certificate, at: datetime) -> None:
        """Refuse a certificate that an OCSP response in the container says was revoked by then."""
        issuers = [one for one in self.held.get(of, Trust(of)).authorities if one.subject == certificate.issuer]
        for octets in self.responses.get(of, ()):
            for issuer in issuers:
                try:
                    said = ocsp.read(octets, certificate.serial_number, issuer, at)
                except ocsp.Unanswered:
                    continue
                if said.revoked_at is not None and said.revoked_at <= at:
                    raise Rejected("certificate-revoked", subject=subject(certificate))


@dataclass(frozen=True, slots=True)
class Known:
    """Certificates that a message may only name, as ``bus.signature.tokens`` looks for them."""

    certificates: Sequence[x509.Certificate]

    def find(self, issuer: str, serial: int) -> tuple[bytes, ...]:
        """By issuer and serial number."""
        return tuple(der(one) for one in self.certificates if one.serial_number == serial and same_name(issuer, one.issuer))

    def find_ski(self, identifier: bytes) -> tuple[bytes, ...]:
        """By subject key identifier."""
        return tuple(der(one) for one in self.certificates if subject_key_identifier(one) == identifier)


def given(directory: Path) -> list[Trust]:
    """The verifier's own trust: each directory in it holds what one party is known by (``certs/trust/…`` of a site is such a directory)."""
    faults: list[Fault] = []
    places = [directory, *sorted(path for path in directory.rglob("*") if path.is_dir())][:_MOST_DIRECTORIES]
    trusts = [keyfiles.trust(place, place.name, Demands(), faults) for place in places]
    keyfiles.demand(faults)
    return [trust for trust in trusts if trust.authorities or trust.pinned]


def held(manifest: Manifest, files: Mapping[str, Body], trusts: Sequence[Trust] | None) -> Authorities:
    """What the container holds about certificates, to be believed beside or instead of ``trusts``."""
    certificates = _by_owner(manifest.certificates, files)
    said = _by_owner(manifest.revocation, files)
    lists = {of: [octets for name, octets in each if name.endswith(".crl")] for of, each in said.items()}
    responses = {of: [octets for name, octets in each if name.endswith(".ocsp")] for of, each in said.items()}
    trusted = {of: _trust(of, [octets for _, octets in each], lists.get(of, ())) for of, each in certificates.items()}
    return Authorities(trusts, trusted, responses)


def _by_owner(listed: Iterable[Held], files: Mapping[str, Body]) -> dict[str, list[tuple[str, bytes]]]:
    found: dict[str, list[tuple[str, bytes]]] = {}
    for one in listed:
        found.setdefault(one.of, []).append((one.file, octets_of(files, one.file)))
    return found


def _trust(of: str, certificates: Iterable[bytes], lists: Iterable[bytes]) -> Trust:
    try:
        parsed = [readable(one) for one in certificates]
        crls = tuple(x509.load_der_x509_crl(one) for one in lists)
    except (*ocsp.MALFORMED, Rejected) as error:
        raise invalid(f"certificates of {of}", str(error)) from None
    anchors, intermediates = divided([one for one in parsed if is_authority(one)])
    return Trust(of, anchors, tuple(one for one in parsed if not is_authority(one)), crls, intermediates)


def _refusal(trust: Trust, certificate: x509.Certificate, at: datetime) -> Rejected | None:
    try:
        trust.vouches(certificate, at, Statuses())
    except Rejected as refusal:
        return refusal
    return None
