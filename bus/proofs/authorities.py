"""Authorities: whom a verification believes, and in which role.

With a trust directory of the verifier's own (``given``) nothing in the container is believed about whom to trust: a certificate counts if
the place of its role vouches for it. The container says which organisation a party is; the place of that organisation must bear it out.
Without such a directory the certificates in the container are taken for what it says they are, and the verification can only *name* them:
whoever reads its result must compare fingerprints with what the site and its partners publish.

Revocation lists and OCSP responses in the container are used either way: each bears its authority's signature, and can only refuse.

``vouch`` raises Rejected for a certificate that did not hold, see ``bus.trust``; one that nobody vouches for it tells.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from bus import ocsp
from bus.errors import Phrase, Rejected
from bus.names import same_name
from bus.octets import Body
from bus.proofs import given, manifest
from bus.proofs.given import Given, Unvouched
from bus.proofs.lines import Line, established, unvouched
from bus.proofs.manifest import Held, Manifest, invalid, octets_of
from bus.revocation import Statuses
from bus.trust import Trust, der, divided, is_authority, readable, subject, subject_key_identifier


@dataclass(frozen=True, slots=True)
class Role:
    """Who is to have signed. ``of``: as the container calls the party; ``places`` of the verifier's trust that may vouch for it."""

    of: str
    places: tuple[str, ...]


SITE = Role(manifest.SITE, (given.SITE,))
TSA = Role(manifest.TSA, (given.TSA,))


def party(name: str, codes: Iterable[str]) -> Role:
    """The role of a partner, by any of its organisation codes."""
    return Role(name, tuple(f"{given.PARTNERS}/{code}" for code in dict.fromkeys(codes)))


#: What each statement rests on, as the statement is called that nobody vouches for it.
_SIGNATURES: Mapping[str, str] = {
    "verify-signed": "signature-of-container",
    "verify-request": "signature-of-request",
    "verify-receipt": "signature-of-receipt",
    "verify-confirmation": "signature-of-confirmation",
    "verify-partner-receipt": "signature-of-reply",
    "verify-rows-proved": "signature-of-checkpoint",
}


@dataclass(frozen=True, slots=True)
class Signatory:
    """Whose a certificate is.

    ``who``: the organisation whose place vouches for it, or, without a trust directory, as the container calls it; ``subject`` of the
    certificate, and its SHA-256; ``unknown``: why nobody vouches for it.
    """

    who: str
    subject: str
    fingerprint: str
    unknown: Unvouched | None = None

    def line(self, key: str, **values: object) -> Line:
        """The statement that this one signed, if it did: else that nobody vouches for the signature."""
        if self.unknown is None:
            return established(key, subject=self.subject, fingerprint=self.fingerprint, **values)
        what, reason = Phrase(_SIGNATURES[key], {}), Phrase(self.unknown.key, self.unknown.values)
        return unvouched("verify-unvouched", what=what, who=self.who, fingerprint=self.fingerprint, reason=reason)


@dataclass(slots=True)
class Authorities:
    """``given``: the verifier's own trust, or None; ``held``: by whose they are, what the container holds."""

    given: Given | None
    held: Mapping[str, Trust]
    organisation: str
    responses: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    #: Everyone who was named, by certificate (DER).
    named: dict[bytes, Signatory] = field(default_factory=dict)

    def vouch(self, role: Role, certificate: bytes, at: datetime) -> Signatory:
        """Whose the certificate (DER) was at ``at``, in this role. Raises Rejected for one that did not hold."""
        parsed = readable(certificate)
        self._check_responses(role.of, parsed, at)
        held = self.held.get(role.of, Trust(role.of))
        if self.given is None:
            held.vouches(parsed, at, Statuses())
            return self.name(role.of, certificate)
        try:
            place = self.given.who(role.places, parsed, at, held.crls)
        except Unvouched as unknown:
            return self.name(role.of, certificate, unknown)
        code = place.removeprefix(f"{given.PARTNERS}/")
        return self.name(role.of if code == place else code, certificate)

    def name(self, of: str, certificate: bytes, unknown: Unvouched | None = None) -> Signatory:
        """Remember that this certificate (DER) was relied on."""
        parsed = readable(certificate)
        who = {manifest.SITE: self.organisation, manifest.TSA: "TSA"}.get(of, of)
        self.named[certificate] = Signatory(who, subject(parsed), parsed.fingerprint(hashes.SHA256()).hex(), unknown)
        return self.named[certificate]

    def knows(self, of: str, certificate: bytes, at: datetime) -> bool:
        """Whether the container says that this certificate (DER) is this party's."""
        return of in self.held and _refusal(self.held[of], readable(certificate), at) is None

    def named_anchors(self, of: str) -> list[x509.Certificate]:
        """The certificates by which the container names a party."""
        trust = self.held.get(of, Trust(of))
        return [*trust.authorities, *trust.pinned]

    def given_anchors(self, role: Role) -> list[x509.Certificate]:
        """All that the verifier trusts in this role."""
        return self.given.anchors(role.places) if self.given else []

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


def held(told: Manifest, files: Mapping[str, Body], trusted: Given | None) -> Authorities:
    """What the container holds about certificates; ``trusted``: the verifier's own, which alone is believed if there is one."""
    certificates = _by_owner(told.certificates, files)
    said = _by_owner(told.revocation, files)
    lists = {of: [octets for name, octets in each if name.endswith(".crl")] for of, each in said.items()}
    responses = {of: [octets for name, octets in each if name.endswith(".ocsp")] for of, each in said.items()}
    named = {of: _trust(of, [octets for _, octets in each], lists.get(of, ())) for of, each in certificates.items()}
    return Authorities(trusted, named, told.organisation, responses)


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
