"""Trust: whether one certificate is a partner's, at one time, by that partner's own anchors, pinned leaves and revocation lists.

Nothing is fetched: what is not in the partner's directory does not exist. Deny by default: an anchor outside its validity, a revocation
list that has run out, a key usage that is not for signing, all refuse.

Raises ``Rejected``: ``certificate-unknown``, ``certificate-expired``, ``certificate-revoked``, ``certificate-usage``, ``crl-expired``,
``algorithm-refused``.

Standards: RFC 5280 section 6 (path validation, by pyhanko-certvalidator), 4.2.1.3 (key usage), 5 and 6.3 (CRL).
"""

import re
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime

from asn1crypto import tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator import errors as path_errors

from bus.errors import Rejected

#: RFC 4514 section 2.4: what separates attributes unless it is escaped or quoted, and what an escape may be.
_SEPARATOR = re.compile(r"""(?<!\\)[,;+](?=(?:[^"]*"[^"]*")*[^"]*$)""")
_LONGEST_NAME = 2000
_ESCAPED = re.compile(r"((?:\\[0-9A-Fa-f]{2})+)|\\(.)")


@dataclass(frozen=True, slots=True)
class Trust:
    """What one partner's directory holds. ``pinned`` leaves are the partner as they stand; ``anchors`` vouch for any leaf they issued."""

    partner: str
    anchors: tuple[x509.Certificate, ...] = ()
    pinned: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()

    def pins(self, certificate: x509.Certificate) -> bool:
        """Whether exactly this certificate lies in the directory: as a leaf, or as an authority that signs for itself."""
        return certificate in self.pinned or certificate in self.anchors

    def vouches(self, certificate: x509.Certificate, at: datetime) -> None:
        """Returns when ``certificate`` is this partner's at ``at``; raises Rejected with the check that failed otherwise."""
        if not self.pins(certificate):
            self._check_path(certificate, at)
        check_dates(certificate, at)
        self._check_revocation(certificate, at)
        _check_usage(certificate)

    def _check_path(self, certificate: x509.Certificate, at: datetime) -> None:
        issuers = [anchor for anchor in self.anchors if anchor.subject == certificate.issuer]
        if not issuers:
            raise _unknown(certificate)
        check_dates(certificate, at)
        valid = [asn1_x509.Certificate.load(der(anchor)) for anchor in issuers if _valid(anchor, at)]
        if not valid:
            check_dates(issuers[0], at)
        context = ValidationContext(
            trust_roots=valid,
            moment=at,
            allow_fetching=False,
            crls=[crl.public_bytes(Encoding.DER) for crl in self.crls],
            revocation_mode="soft-fail",
        )
        validator = CertificateValidator(asn1_x509.Certificate.load(der(certificate)), validation_context=context)
        try:
            _finished(validator.async_validate_path())
        except path_errors.RevokedError:
            raise Rejected("certificate-revoked", subject=subject(certificate)) from None
        except path_errors.DisallowedAlgorithmError:
            raise Rejected("algorithm-refused", algorithm=certificate.signature_algorithm_oid.dotted_string) from None
        except (path_errors.PathError, path_errors.ValidationError, ValueError, TypeError, KeyError):
            raise _unknown(certificate) from None

    def _check_revocation(self, certificate: x509.Certificate, at: datetime) -> None:
        """The issuer's lists, where the directory has any: a listed serial refuses, and so does a list that has run out.

        A list is matched by issuer and not by signature: whoever can write into the directory may refuse, never admit.
        """
        for crl in self.crls:
            if crl.issuer != certificate.issuer:
                continue
            entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
            if entry is not None and entry.revocation_date_utc <= at:
                raise Rejected("certificate-revoked", subject=subject(certificate))
            if crl.next_update_utc is not None and crl.next_update_utc < at:
                raise Rejected("crl-expired", issuer=name_text(crl.issuer), end=crl.next_update_utc.isoformat())


def check_dates(certificate: x509.Certificate, at: datetime) -> None:
    """Refuse a certificate outside its validity, before it as well as after."""
    if not _valid(certificate, at):
        start, end = certificate.not_valid_before_utc.isoformat(), certificate.not_valid_after_utc.isoformat()
        raise Rejected("certificate-expired", subject=subject(certificate), start=start, end=end)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether basicConstraints say CA."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def issued(authority: x509.Certificate, crl: x509.CertificateRevocationList) -> bool:
    """Whether ``crl`` names ``authority`` as its issuer and bears its signature."""
    try:
        return crl.issuer == authority.subject and crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False


def der(certificate: x509.Certificate) -> bytes:
    """The certificate's DER octets."""
    return certificate.public_bytes(Encoding.DER)


def issuer_serial(certificate: x509.Certificate) -> bytes:
    """DER of the certificate's IssuerSerial (RFC 5035 section 5), as XAdES names a signing certificate."""
    parsed = asn1_x509.Certificate.load(der(certificate))
    names = [asn1_x509.GeneralName("directory_name", parsed.issuer)]
    return tsp.IssuerSerial({"issuer": names, "serial_number": parsed.serial_number}).dump()  # type: ignore[no-any-return]


def subject(certificate: x509.Certificate) -> str:
    """The subject as people read it."""
    return name_text(certificate.subject)


def name_text(name: x509.Name) -> str:
    """A distinguished name in RFC 4514 form, or a dash where it is empty."""
    return name.rfc4514_string() or "-"


def same_name(text: str, name: x509.Name) -> bool:
    """Whether ``text`` is ``name`` in one of the many ways in which stacks write a distinguished name.

    Orders, spaces and names of attribute types differ between stacks, so only the values are compared. That suffices: the text only
    helps to find a certificate, which must then be trusted and verify the signature.
    """
    return len(text) <= _LONGEST_NAME and _values(text) == _values(name.rfc4514_string())


def _values(text: str) -> list[str]:
    parts = (part.partition("=")[2] for part in _SEPARATOR.split(text))
    return sorted(" ".join(_ESCAPED.sub(_unescape, part).split()).strip('"').casefold() for part in parts)


def _unescape(found: re.Match[str]) -> str:
    pairs, character = found.groups()
    return character or bytes.fromhex(pairs.replace("\\", "")).decode("utf-8", "replace")


def _unknown(certificate: x509.Certificate) -> Rejected:
    return Rejected("certificate-unknown", subject=subject(certificate))


def _valid(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def _check_usage(certificate: x509.Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not (usage.digital_signature or usage.content_commitment):
        raise Rejected("certificate-usage", subject=subject(certificate))


def _finished(work: Coroutine[object, object, object]) -> None:
    """Run a coroutine that never waits: with fetching off the validator does no I/O, and there may be a loop running already."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("certificate validation tried to wait for something although fetching is off")
