"""Trust: whether one certificate is a partner's, at one time, by that partner's own anchors, pinned leaves and revocation lists.

Nothing is fetched here: what is neither in the partner's directory nor in ``Statuses`` is not known. Deny by default: an anchor outside
its validity, lists in the directory that have all run out (``lists.py``), a weak key or hash on the path, a key usage or purpose that is
not for what the certificate is used for, a policy that the partner's entry demands and the path does not have, all refuse; and each
refusal names its check.

A pinned certificate is the partner as it stands: no path is built for it, but its dates, key, usage, policies and status are checked.

Raises ``Rejected``: ``certificate-unknown``, ``certificate-path``, ``certificate-expired``, ``certificate-revoked``,
``certificate-usage``, ``certificate-purpose``, ``certificate-weak``, ``crl-expired``, ``algorithm-refused``; and ``Unsettled``, see
``revocation.py``.

Standards: RFC 5280 section 6 (path validation, by pyhanko-certvalidator), 4.2.1.3 (key usage), 4.2.1.4 (policies), 4.2.1.10 (name
constraints), 4.2.1.12 (extended key usage), 5 and 6.3 (CRL); RFC 9336 (document signing); ETSI TS 119 312 (key sizes, hashes).
"""

import contextlib
import itertools
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TypeVar

from asn1crypto import tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator import errors as path_errors
from pyhanko_certvalidator.policy_decl import PKIXValidationParams

from bus import lists
from bus.errors import Phrase, Rejected
from bus.ocsp import MALFORMED
from bus.revocation import EVER, Check, Link, Rules, Statuses

T = TypeVar("T")


class Purpose(Enum):
    """What a certificate is used for."""

    SIGNING = "signing"
    TLS_CLIENT = "tls-client"


#: Purposes that say nothing about documents: a certificate that has no others was not issued to sign them.
_NOT_FOR_DOCUMENTS = frozenset(
    {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.CODE_SIGNING,
        ExtendedKeyUsageOID.TIME_STAMPING,
        ExtendedKeyUsageOID.OCSP_SIGNING,
    }
)
_PURPOSES: Mapping[Purpose, str] = {Purpose.SIGNING: "purpose-signing", Purpose.TLS_CLIENT: "purpose-tls-client"}
_LEAST_RSA, _LEAST_EC = 2048, 256
#: Certificates that came with one and are looked at as its path.
_LONGEST_CHAIN = 8


@dataclass(frozen=True, slots=True)
class Demands:
    """What a partner's entry demands beyond its directory.

    ``policies``    of which the path must have one (dotted OIDs); empty: any will do
    ``tls_signs``   a certificate that was issued for TLS alone may sign documents too
    """

    policies: frozenset[str] = frozenset()
    tls_signs: bool = False
    revocation: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True)
class Trust:
    """What one partner's directory holds.

    ``pinned`` leaves are the partner as they stand; ``anchors`` vouch for any leaf on a path from them, over ``intermediates`` if need be.
    """

    partner: str
    anchors: tuple[x509.Certificate, ...] = ()
    pinned: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    intermediates: tuple[x509.Certificate, ...] = ()
    demands: Demands = Demands()

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """Anchors and intermediates."""
        return (*self.anchors, *self.intermediates)

    def pins(self, certificate: x509.Certificate) -> bool:
        """Whether exactly this certificate lies in the directory: as a leaf, or as an authority that signs for itself."""
        return certificate in self.pinned or certificate in self.anchors

    def unasked(self) -> tuple[x509.Certificate, ...]:
        """Pinned certificates about whose status nobody can be asked although it is demanded: their issuer is not in the directory."""
        if not self.demands.revocation.check.kinds:
            return ()
        return tuple(one for one in self.pinned if not any(_issued(authority, one) for authority in self.authorities))

    def vouches(
        self,
        certificate: x509.Certificate,
        at: datetime,
        statuses: Statuses,
        purpose: Purpose = Purpose.SIGNING,
        chain: Sequence[x509.Certificate] = (),
    ) -> datetime:
        """Returns until when ``certificate`` counts as this partner's, as known at ``at``; raises with the check that failed otherwise.

        ``chain``: certificates that came with it, candidates for its path and no more.
        """
        path = self._pinned_path(certificate) if self.pins(certificate) else self._path(certificate, at, chain)
        for one in path:
            _check_key(one)
        check_dates(certificate, at)
        _check_usage(certificate, purpose, self.demands)
        if self.demands.revocation.check is Check.NONE:
            return EVER
        for issuer, one in itertools.pairwise(path) if len(path) > 1 else [(self._known_issuer(certificate), certificate)]:
            lists.check(self.crls, one, issuer, at, others=self.authorities)
        links = [Link(self.partner, one, issuer, self.demands.revocation) for issuer, one in itertools.pairwise(path)]
        return min((statuses.judge(link, at) for link in links), default=EVER)

    def _pinned_path(self, certificate: x509.Certificate) -> list[x509.Certificate]:
        """The certificate under its issuer, where that lies in the directory: without it nobody can be asked about the status."""
        if self.demands.policies and not self.demands.policies.intersection(policies_of(certificate)):
            raise _refused_path(certificate, "it has none of the certificate policies that are demanded")
        issuer = next((one for one in self.authorities if one != certificate and _issued(one, certificate)), None)
        if issuer is None and self.demands.revocation.check.kinds and certificate not in self.anchors:
            raise _refused_path(certificate, "its issuer's certificate is not in the directory, so nobody can be asked about its status")
        return [issuer, certificate] if issuer else [certificate]

    def _path(self, certificate: x509.Certificate, at: datetime, chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
        """From one of the anchors down to the certificate (RFC 5280 section 6)."""
        candidates = [*self.intermediates, *(one for one in chain[:_LONGEST_CHAIN] if is_authority(one))]
        if not any(one.subject == certificate.issuer for one in (*self.anchors, *candidates)):
            raise _unknown(certificate)
        check_dates(certificate, at)
        if _asn1(certificate)["signature_value"].contents[:1] != b"\x00":
            # A BIT STRING may hold back up to seven bits; a signature's has none to spare, and one certificate has one form.
            raise _unknown(certificate)
        valid = [anchor for anchor in self.anchors if _valid(anchor, at)]
        if not valid and self.anchors:
            check_dates(self.anchors[0], at)
        context = ValidationContext(
            trust_roots=[_asn1(anchor) for anchor in valid],
            other_certs=[_asn1(one) for one in candidates],
            moment=at,
            allow_fetching=False,
            revocation_mode="soft-fail",
        )
        policies = self.demands.policies
        parameters = PKIXValidationParams(frozenset(policies), initial_explicit_policy=True) if policies else PKIXValidationParams()
        try:
            path = _finished(CertificateValidator(_asn1(certificate), None, context, parameters).async_validate_path())
        except path_errors.DisallowedAlgorithmError:
            raise Rejected("algorithm-refused", algorithm=certificate.signature_algorithm_oid.dotted_string) from None
        except path_errors.PathBuildingError:
            named = {certificate.issuer, *(one.issuer for one in candidates)}
            for anchor in self.anchors:
                if anchor.subject in named:
                    check_dates(anchor, at)
            raise _unknown(certificate) from None
        except (path_errors.PathError, path_errors.ValidationError) as error:
            raise _path_refusal(certificate, str(error)) from None
        except (*MALFORMED, KeyError):
            raise _unknown(certificate) from None
        return [x509.load_der_x509_certificate(one.dump()) for one in path.iter_certs(include_root=True)]

    def _known_issuer(self, certificate: x509.Certificate) -> x509.Certificate | None:
        """The issuer of a certificate without a path: itself, where it signs for itself."""
        return certificate if certificate in self.anchors and _issued(certificate, certificate) else None

    def check_lists(self, certificate: x509.Certificate, at: datetime) -> None:
        """Refuse a certificate that the lists of its issuer, where the directory has any, revoke, or whose lists have run out."""
        issuer = next((one for one in self.authorities if _issued(one, certificate)), None)
        lists.check(self.crls, certificate, issuer, at, others=self.authorities)


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


def readable(certificate: bytes) -> x509.Certificate:
    """A certificate (DER). Raises Rejected."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        _ = parsed.subject, parsed.issuer, parsed.extensions
    except MALFORMED:
        raise Rejected("certificate-unknown", subject="(not readable as X.509)") from None
    return parsed


def subject_key_identifier(certificate: x509.Certificate) -> bytes:
    """The identifier in the certificate; where it has none, the one that stacks compute (RFC 5280 section 4.2.1.2, method 1)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def divided(authorities: Sequence[x509.Certificate]) -> tuple[tuple[x509.Certificate, ...], tuple[x509.Certificate, ...]]:
    """Anchors, and intermediates: authorities whose own issuer, by its name, lies beside them. Whether it signed them, paths show."""
    names = {one.subject for one in authorities}
    beneath = tuple(one for one in authorities if one.issuer != one.subject and one.issuer in names)
    return tuple(one for one in authorities if one not in beneath), beneath


def policies_of(certificate: x509.Certificate) -> list[str]:
    """The certificate policies that it is issued under (dotted OIDs)."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
    except x509.ExtensionNotFound:
        return []
    return [policy.policy_identifier.dotted_string for policy in found]


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


def _unknown(certificate: x509.Certificate) -> Rejected:
    return Rejected("certificate-unknown", subject=subject(certificate))


def _valid(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def _check_key(certificate: x509.Certificate) -> None:
    """Refuse a key that is too short to be believed (ETSI TS 119 312 section 8.4)."""
    key = certificate.public_key()
    weak = (isinstance(key, rsa.RSAPublicKey) and key.key_size < _LEAST_RSA) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < _LEAST_EC
    )
    if weak or isinstance(key, dsa.DSAPublicKey):
        size = getattr(key, "key_size", 0)
        raise Rejected("certificate-weak", subject=subject(certificate), check=f"{size} bits")


def _check_usage(certificate: x509.Certificate, purpose: Purpose, demands: Demands) -> None:
    """Key usage and extended key usage, where the certificate has them (RFC 5280 sections 4.2.1.3 and 4.2.1.12)."""
    extensions = certificate.extensions
    with contextlib.suppress(x509.ExtensionNotFound):
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        if not (usage.digital_signature or (usage.content_commitment and purpose is Purpose.SIGNING)):
            raise Rejected("certificate-usage", subject=subject(certificate))
    with contextlib.suppress(x509.ExtensionNotFound):
        purposes = frozenset(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        if purpose is Purpose.TLS_CLIENT:
            fits = bool(purposes & {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
        else:
            fits = bool(purposes - _NOT_FOR_DOCUMENTS) or demands.tls_signs
        if not fits:
            raise Rejected("certificate-purpose", subject=subject(certificate), purpose=Phrase(_PURPOSES[purpose], {}))


def _issued(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, *MALFORMED):
        return False
    return True


def _refused_path(certificate: x509.Certificate, check: str) -> Rejected:
    return Rejected("certificate-path", subject=subject(certificate), check=check)


def _path_refusal(certificate: x509.Certificate, said: str) -> Rejected:
    """The library's sentence about the step of RFC 5280 section 6.1 that failed; a signature that does not hold proves nothing at all."""
    if "signature" in said:
        return _unknown(certificate)
    return _refused_path(certificate, said.removeprefix("The path could not be validated because ").rstrip(".")[:300])


def _asn1(certificate: x509.Certificate) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(der(certificate))


def _finished(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine that never waits: with fetching off the validator does no I/O, and there may be a loop running already."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    work.close()
    raise RuntimeError("certificate validation tried to wait for something although fetching is off")
