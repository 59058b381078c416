"""Keyring: what the site signs with, and whom it trusts, read once from ``certs/``.

``certs/own/<key>.key``, ``.crt``     our keys (PKCS#8 PEM) with their certificates, leaf first; a ``.crt`` without a key is a retired
                                      certificate of ours, kept so that old receipts still verify
``certs/trust/<partner>/*.crt|pem``   a certificate with CA=true is an anchor: every leaf that it issued is that partner;
                                      any other certificate is pinned: exactly it is that partner
``certs/trust/<partner>/*.crl``       revocation lists (PEM or DER)

``Keyring.load`` raises ConfigurationError with every bad file. ``identify`` raises Rejected (5.7.x), see ``trust.py``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from bus.errors import ConfigurationError, Fault, Rejected, suggestion
from bus.methods import PrivateKey
from bus.signer import Signer, SoftKey
from bus.trust import Trust, check_dates, der, is_authority, issued, name_text, same_name, subject

#: Identified certificates remembered; one a partner's system is usual, so this is far above any real site.
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One line of ``govbus keys``. ``kind``: own, retired, anchor, pinned or crl; a CRL's ``not_after`` is its next update."""

    name: str
    kind: str
    subject: str
    not_before: datetime
    not_after: datetime
    fingerprint: str
    partner: str = ""


@dataclass(frozen=True)
class Keyring:
    """Our keys by name, and each partner's trust. Built by ``load``; read-only but for its memory of certificates identified."""

    signers: Mapping[str, Signer]
    retired: tuple[x509.Certificate, ...]
    trusts: Mapping[str, Trust]
    _identified: dict[tuple[bytes, int], tuple[x509.Certificate, str]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, certs: Path, trust: Mapping[str, str]) -> "Keyring":
        """Read ``certs``; ``trust`` maps a partner's name to its directory below ``certs``. Directories that are missing are empty."""
        faults: list[Fault] = []
        signers, retired = _own(certs, faults)
        trusts = {partner: _trust(certs / directory, partner, faults) for partner, directory in trust.items()}
        if faults:
            raise ConfigurationError(faults)
        return cls(signers, retired, trusts)

    def signer(self, name: str) -> Signer:
        """Our key called ``own/<name>``; KeyError naming those there are."""
        if name not in self.signers:
            raise KeyError(f"no key {name!r}{suggestion(name, self.signers)}")
        return self.signers[name]

    def identify(self, certificate: bytes, at: datetime) -> str:
        """The partner whose certificate (DER) this is at ``at``. Raises Rejected; a good answer is remembered for the hour.

        A revocation list that runs out within the hour is therefore noticed up to an hour late; dates are checked every time.
        """
        memory = (certificate, int(at.timestamp() // 3600))
        if memory in self._identified:
            parsed, partner = self._identified[memory]
            check_dates(parsed, at)
            return partner
        parsed = _readable(certificate)
        partner = self._identify(parsed, at)
        if len(self._identified) >= _REMEMBERED:
            self._identified.clear()
        self._identified[memory] = (parsed, partner)
        return partner

    def own(self, certificate: bytes) -> bool:
        """Whether this certificate (DER) is one of ours, in use or retired."""
        return certificate in self._ours

    def anchors(self, partner: str) -> tuple[bytes, ...]:
        """The partner's authorities and pinned certificates (DER), for a TLS context."""
        trust = self.trusts.get(partner, Trust(partner))
        return tuple(der(certificate) for certificate in (*trust.anchors, *trust.pinned))

    def find(self, issuer: str, serial: int) -> tuple[bytes, ...]:
        """Certificates (DER) lying in a trust directory by issuer and serial number, for tokens that name no more than these."""
        return tuple(der(one) for one in self._lying if one.serial_number == serial and same_name(issuer, one.issuer))

    def find_ski(self, identifier: bytes) -> tuple[bytes, ...]:
        """Certificates (DER) lying in a trust directory by subject key identifier."""
        return tuple(der(one) for one in self._lying if _ski(one) == identifier)

    def entries(self) -> tuple[KeyEntry, ...]:
        """Every certificate and revocation list, for ``govbus keys``."""
        ours = [_entry(name, "own", signer.certificate) for name, signer in self.signers.items()]
        ours += [_entry("own", "retired", certificate) for certificate in self.retired]
        return (*ours, *(entry for trust in self.trusts.values() for entry in _trust_entries(trust)))

    @cached_property
    def _ours(self) -> frozenset[bytes]:
        return frozenset({*(signer.certificate_der for signer in self.signers.values()), *(der(old) for old in self.retired)})

    @cached_property
    def _lying(self) -> tuple[x509.Certificate, ...]:
        """Authorities too: what ``openssl req -x509`` makes says that it is one, and signs for itself."""
        return tuple(certificate for trust in self.trusts.values() for certificate in (*trust.pinned, *trust.anchors))

    def _identify(self, certificate: x509.Certificate, at: datetime) -> str:
        """Partners who pin the certificate go before those whose anchors would vouch for it; two of either kind are no answer."""
        pinning = [trust for trust in self.trusts.values() if trust.pins(certificate)]
        candidates = pinning or [trust for trust in self.trusts.values() if trust.anchors]
        good, refusals = [], [Rejected("certificate-unknown", subject=subject(certificate))]
        for trust in candidates:
            try:
                trust.vouches(certificate, at)
            except Rejected as refusal:
                refusals.append(refusal)
            else:
                good.append(trust.partner)
        if len(good) > 1:
            raise Rejected("certificate-ambiguous", subject=subject(certificate), partners=", ".join(good))
        if not good:
            # The refusal that knew most about the certificate: any but "unknown".
            raise max(refusals, key=lambda refusal: refusal.key != "certificate-unknown")
        return good[0]


def _readable(certificate: bytes) -> x509.Certificate:
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        _ = parsed.subject, parsed.issuer, parsed.extensions
    except ValueError:
        raise Rejected("certificate-unknown", subject="(not readable as X.509)") from None
    return parsed


def _own(certs: Path, faults: list[Fault]) -> tuple[dict[str, Signer], tuple[x509.Certificate, ...]]:
    directory = certs / "own"
    signers: dict[str, Signer] = {}
    for path in sorted(directory.glob("*.key")):
        try:
            signers[f"own/{path.stem}"] = _signer(path)
        except (ValueError, TypeError, OSError) as error:
            faults.append(_fault(path, error))
    without_key = (path for path in sorted(directory.glob("*.crt")) if not path.with_suffix(".key").exists())
    loose = [certificate for path in without_key for certificate in _certificates(path, faults)]
    return signers, tuple(certificate for certificate in loose if not is_authority(certificate))


def _signer(path: Path) -> Signer:
    # The full RSA check takes 40 ms a key, at every start; the comparison with the certificate finds a damaged key as well.
    key = serialization.load_pem_private_key(path.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, PrivateKey):
        raise TypeError("the key is neither RSA, EC nor Ed25519")
    chain = path.with_suffix(".crt")
    if not chain.exists():
        raise ValueError(f"its certificate {chain.name} does not exist")
    return Signer(f"own/{path.stem}", SoftKey(key), x509.load_pem_x509_certificates(chain.read_bytes())[0])


def _trust(directory: Path, partner: str, faults: list[Fault]) -> Trust:
    files = sorted(path for suffix in ("*.crt", "*.pem") for path in directory.glob(suffix))
    # A leaf's file may carry its chain: each certificate counts once.
    certificates = dict.fromkeys(certificate for path in files for certificate in _certificates(path, faults))
    anchors = tuple(certificate for certificate in certificates if is_authority(certificate))
    pinned = tuple(certificate for certificate in certificates if not is_authority(certificate))
    crls = tuple(crl for path in sorted(directory.glob("*.crl")) for crl in _crls(path, anchors, faults))
    return Trust(partner, anchors, pinned, crls)


def _certificates(path: Path, faults: list[Fault]) -> Iterable[x509.Certificate]:
    try:
        data = path.read_bytes()
        found = x509.load_pem_x509_certificates(data) if b"-----BEGIN" in data else [x509.load_der_x509_certificate(data)]
        for certificate in found:
            _ = certificate.subject, certificate.issuer, certificate.extensions
    except (ValueError, OSError) as error:
        faults.append(_fault(path, error))
        return []
    return found


def _crls(path: Path, anchors: tuple[x509.Certificate, ...], faults: list[Fault]) -> Iterable[x509.CertificateRevocationList]:
    try:
        data = path.read_bytes()
        crl = x509.load_pem_x509_crl(data) if data.startswith(b"-----BEGIN") else x509.load_der_x509_crl(data)
    except (ValueError, OSError) as error:
        faults.append(_fault(path, error))
        return []
    named = [anchor for anchor in anchors if anchor.subject == crl.issuer]
    if named and not any(issued(anchor, crl) for anchor in named):
        faults.append(_fault(path, f"the revocation list does not bear the signature of its issuer {name_text(crl.issuer)}"))
    return [crl]


def _fault(path: Path, cause: Exception | str) -> Fault:
    text = str(cause) or type(cause).__name__
    return Fault(str(path), 1, 1, f"cannot be used: {text.splitlines()[0]}")


def _ski(certificate: x509.Certificate) -> bytes:
    """The identifier in the certificate; where it has none, the one that stacks compute (RFC 5280 section 4.2.1.2, method 1)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def _entry(name: str, kind: str, certificate: x509.Certificate, partner: str = "") -> KeyEntry:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return KeyEntry(name, kind, subject(certificate), start, end, certificate.fingerprint(hashes.SHA256()).hex(), partner)


def _trust_entries(trust: Trust) -> Iterator[KeyEntry]:
    for kind, certificates in (("anchor", trust.anchors), ("pinned", trust.pinned)):
        yield from (_entry(f"trust/{trust.partner}", kind, certificate, trust.partner) for certificate in certificates)
    for crl in trust.crls:
        end = crl.next_update_utc or crl.last_update_utc
        fingerprint = crl.fingerprint(hashes.SHA256()).hex()
        yield KeyEntry(f"trust/{trust.partner}", "crl", name_text(crl.issuer), crl.last_update_utc, end, fingerprint, trust.partner)
