"""Given: the verifier's own trust, a directory of certificates in which each role has a place of its own.

::

    DIR/site/                  who wrote the evidence
    DIR/partners/<OrganId>/    each party, by one of its organisation codes, old or new, as the evidence writes them
    DIR/tsa/                   who time-stamps

A place vouches for its own role and for no other, and no name in a certificate moves one to another place. In a place the rule is the
running bus's (``bus.keys``): a certificate that is pinned is that party; an authority vouches for whatever lies under it, unless another
place pins that certificate, or another place's authority vouches for it too: then it is nobody's.

``read`` raises ConfigurationError for certificates that cannot be used, and Misplaced for a directory that is laid out otherwise: of such
a one nothing is believed. Links are not followed: a link can make one role's place of another's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cryptography import x509

from bus import keyfiles
from bus.errors import ConfigurationError, Fault, Rejected
from bus.organisations import well_formed
from bus.revocation import Statuses
from bus.trust import Demands, Trust, subject

#: The places of the two roles that there are once, and what holds those of the parties.
SITE, TSA, PARTNERS = "site", "tsa", "partners"
_ROLES = frozenset({SITE, TSA, PARTNERS})
#: Entries that are looked at: it is a directory of certificates.
_MOST_ENTRIES = 20_000


class Misplaced(ConfigurationError):
    """The directory does not say who is who."""


@dataclass(frozen=True, slots=True)
class Given:
    """What lies in each place: ``site``, ``tsa``, ``partners/<OrganId>``."""

    places: Mapping[str, Trust]

    def anchors(self, places: Sequence[str]) -> list[x509.Certificate]:
        """All certificates that lie in these places."""
        return [one for name in places if name in self.places for one in _lying(self.places[name])]

    def who(
        self, places: Sequence[str], certificate: x509.Certificate, at: datetime, lists: Sequence[x509.CertificateRevocationList] = ()
    ) -> str:
        """Which of the role's ``places`` vouches for the certificate at ``at``. ``lists``: more revocation lists, which can only refuse.

        Raises Unvouched where none does; any other Rejected where one knows it, and it did not hold.
        """
        signing = {name: trust for name, trust in self.places.items() if name != TSA}
        pinning = [name for name, trust in signing.items() if trust.pins(certificate)]
        own = [name for name in pinning if name in places]
        candidates = own or pinning or [name for name, trust in signing.items() if trust.anchors]
        good, refusals = list[str](), list[Rejected]()
        for name in candidates:
            trust = signing[name]
            try:
                replace(trust, crls=(*trust.crls, *lists)).vouches(certificate, at, Statuses())
            except Rejected as refusal:
                refusals += [refusal] if name in places and refusal.key != "certificate-unknown" else []
            else:
                good.append(name)
        if refusals:
            raise refusals[0]
        return _only(good, places, certificate)


class Unvouched(Rejected):
    """Nobody vouches for a certificate in its role."""


def _only(good: Sequence[str], places: Sequence[str], certificate: x509.Certificate) -> str:
    """The place of the role among those that vouch, if no other does."""
    others = [name for name in good if name not in places]
    if others and len(others) < len(good):
        raise Unvouched("certificate-ambiguous", subject=subject(certificate), partners=", ".join(good))
    if others:
        raise Unvouched("certificate-elsewhere", subject=subject(certificate), place=", ".join(others))
    if not good:
        raise Unvouched("certificate-unvouched", subject=subject(certificate), place=", ".join(f"{name}/" for name in places))
    return good[0]


def read(directory: Path) -> Given:
    """The verifier's own trust."""
    _check_layout(directory)
    faults: list[Fault] = []
    parties = sorted((directory / PARTNERS).iterdir()) if (directory / PARTNERS).is_dir() else []
    named = {SITE: directory / SITE, TSA: directory / TSA, **{f"{PARTNERS}/{path.name}": path for path in parties if path.is_dir()}}
    found = {name: keyfiles.trust(path, name, Demands(), faults) for name, path in named.items() if path.is_dir()}
    keyfiles.demand(faults)
    return Given({name: trust for name, trust in found.items() if _lying(trust)})


def _check_layout(directory: Path) -> None:
    """Refuse a directory in which anything lies where it could be taken for another's."""
    faults = [_fault(path, key) for path, key in _misplaced(directory)]
    if not any((directory / name).is_dir() for name in (SITE, TSA, PARTNERS)):
        faults.insert(0, _fault(directory, "trust-layout"))
    if faults:
        raise Misplaced(faults)


def _misplaced(directory: Path) -> Iterator[tuple[Path, str]]:
    """What lies in no place: with the catalogue's text about it."""
    for path in sorted(directory.rglob("*"))[:_MOST_ENTRIES]:
        parts = path.relative_to(directory).parts
        place = 2 if parts[0] == PARTNERS else 1
        if path.is_symlink():
            yield path, "trust-link"
        elif path.is_dir():
            if parts[0] not in _ROLES or len(parts) > place:
                yield path, "trust-layout"
            elif parts[0] == PARTNERS and len(parts) == place and not well_formed(path.name):
                yield path, "trust-layout-code"
        elif len(parts) <= place and (path.name in _ROLES or keyfiles.counts(path)):
            # Somebody means it to be believed; a note is passed over.
            yield path, "trust-layout"


def _fault(path: Path, key: str) -> Fault:
    return Fault.of(str(path), key, {"name": path.name})


def _lying(trust: Trust) -> tuple[x509.Certificate, ...]:
    return (*trust.authorities, *trust.pinned)
