"""Verification of the signatures in a PDF by pyHanko; the only module that imports it, and it runs in a process of its own.

Nothing is fetched: certificates and revocation data are those of the PDF and of the anchors. A signature whose certificate has a trusted
time-stamp is judged at that time, any other at the time of the inspection. Each is judged by itself: a damaged one spoils no other.

Cross-reference tables beside streams (hybrid files, 7.5.8.4) are read as readers since PDF 1.5 do: common office programs write them.

Raises Unreadable for a PDF that cannot be read, MemoryError and RecursionError for one that takes too much; what is wrong with one
signature is that signature's ``detail``.

Standards: ISO 32000-1 12.8 (signatures), 12.8.2.2 (DocMDP), 7.5.6; ETSI EN 319 142-1 sections 5.4 and 6; RFC 5280 section 6.
"""

import asyncio
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from asn1crypto import crl, x509
from cryptography.x509 import load_der_x509_certificate
from pyhanko.pdf_utils.crypt import AuthStatus
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.diff_analysis import ModificationLevel
from pyhanko.sign.fields import enumerate_sig_fields
from pyhanko.sign.validation import async_validate_pdf_signature, async_validate_pdf_timestamp
from pyhanko.sign.validation.dss import DocumentSecurityStore
from pyhanko.sign.validation.errors import NoDSSFoundError
from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature
from pyhanko.sign.validation.settings import KeyUsageConstraints
from pyhanko.sign.validation.status import SignatureCoverageLevel
from pyhanko_certvalidator import ValidationContext

from bus.pdf.report import Anchors, Inspection, Signature, State, shortened

#: A document has one or two signatures and a few time-stamps; each costs a comparison of the file's revisions.
MOST_SIGNATURES = 20
_TIME_STAMP = "/DocTimeStamp"
_COVERS = {
    SignatureCoverageLevel.ENTIRE_FILE: "document",
    SignatureCoverageLevel.ENTIRE_REVISION: "revision",
}
_CHANGES = {
    ModificationLevel.NONE: "none",
    ModificationLevel.LTA_UPDATES: "time-stamps",
    ModificationLevel.FORM_FILLING: "forms",
    ModificationLevel.ANNOTATIONS: "annotations",
}
#: Certificates for documents have either (RFC 5280 4.2.1.3).
_USAGE = KeyUsageConstraints(key_usage={"digital_signature", "non_repudiation"})


#: Limits of the process that were reached, no matter where.
_EXHAUSTED = (MemoryError, RecursionError)


class Unreadable(Exception):
    """The octets cannot be read as a PDF; the text says why."""


def inspect(data: bytes, anchors: Anchors, at: datetime) -> Inspection:
    """What every signature in the PDF proves at ``at``."""
    reader = _opened(data)
    try:
        found = list(islice(enumerate_sig_fields(reader, filled_status=True), MOST_SIGNATURES + 1))
    except Exception as error:
        raise _unreadable(error) from error
    if len(found) > MOST_SIGNATURES:
        raise Unreadable(f"more than {MOST_SIGNATURES} signatures")
    judge = _Judge(reader, anchors, at)
    signatures = tuple(judge.signature(str(name), field) for name, _, field in found)
    return Inspection(State.SIGNED if signatures else State.UNSIGNED, signatures=signatures)


def _opened(data: bytes) -> PdfFileReader:
    try:
        reader = PdfFileReader(io.BytesIO(data), strict=False)
        # A PDF with an owner's password alone opens for everybody, with an empty one (7.6.3).
        locked = reader.encrypted and reader.decrypt("").status == AuthStatus.FAILED
        _ = None if locked else reader.root
    except Exception as error:
        # Whatever a parser of hostile octets stumbles over: they are not what they should be.
        raise _unreadable(error) from error
    if locked:
        raise Unreadable("encrypted: it takes a password to read it")
    return reader


class _Judge:
    """Judges the signatures of one PDF."""

    def __init__(self, reader: PdfFileReader, anchors: Anchors, at: datetime) -> None:
        self._reader = reader
        self._at = at
        self._authorities = [x509.Certificate.load(each) for each in anchors.authorities]
        self._intermediates = [x509.Certificate.load(each) for each in anchors.intermediates]
        self._pinned = frozenset(anchors.pinned)
        self._crls = [crl.CertificateList.load(each) for each in anchors.crls]
        self._store, self._has_revocation = _security_store(reader)

    def signature(self, name: str, field: Any) -> Signature:
        """One signature, whatever is wrong with it."""
        signature = Signature(shortened(name))
        try:
            embedded = EmbeddedPdfSignature(self._reader, field, name)
            certificate = embedded.signer_cert
            subject, fingerprint = shortened(_name(certificate)), certificate.sha256.hex()
            signature = Signature(shortened(name), self._profile(embedded), subject, fingerprint)
            return asyncio.run(self._judged(signature, embedded))
        except Exception as error:  # as above: it is this signature's matter, and no other's
            if isinstance(error, _EXHAUSTED):
                raise
            return replace(signature, detail=shortened(_said(error)))

    async def _judged(self, signature: Signature, embedded: EmbeddedPdfSignature) -> Signature:
        at_present = self._context(embedded, self._at)
        status: Any
        if embedded.sig_object_type == _TIME_STAMP:
            status = await async_validate_pdf_timestamp(embedded, at_present)
            return self._said(signature, status, status.timestamp if status.trusted else None)
        status = await async_validate_pdf_signature(embedded, at_present, key_usage_settings=_USAGE)
        stamp = status.timestamp_validity
        stamped = stamp.timestamp if stamp is not None and stamp.trusted else None
        if stamped is not None and not status.trusted:
            then = self._context(embedded, stamped)
            status = await async_validate_pdf_signature(embedded, then, at_present, key_usage_settings=_USAGE)
        return self._said(signature, status, stamped)

    def _context(self, embedded: EmbeddedPdfSignature, at: datetime) -> ValidationContext:
        # A pinned certificate is trusted as it stands, and is no authority for others.
        signer = embedded.signer_cert
        roots = [*self._authorities, *([signer] if signer.dump() in self._pinned else [])]
        given: dict[str, Any] = {"trust_roots": roots, "other_certs": self._intermediates, "crls": self._crls, "moment": at}
        given |= {"allow_fetching": False, "revocation_mode": "soft-fail"}
        return self._store.as_validation_context(given) if self._store else ValidationContext(**given)

    def _said(self, signature: Signature, status: Any, stamped: datetime | None) -> Signature:
        covers = _COVERS.get(status.coverage, "part")
        changes = _CHANGES.get(getattr(status.diff_result, "modification_level", ModificationLevel.OTHER), "other")
        unsound = next((text for holds, text in _soundness(status, covers, changes) if not holds), "")
        untrusted = next((text for holds, text in self._trustworthiness(status, stamped or self._at) if not holds), "")
        return replace(
            signature,
            claimed=_iso(getattr(status, "signer_reported_dt", None)),
            stamped=_iso(stamped),
            covers=covers,
            changes=changes,
            intact=bool(status.intact),
            valid=not unsound,
            trusted=not unsound and not untrusted,
            detail=shortened(unsound or untrusted),
        )

    def _trustworthiness(self, status: Any, at: datetime) -> Iterator[tuple[bool, str]]:
        yield not status.revoked, "its certificate is revoked"
        yield status.trusted, f"its certificate is not trusted: {_problem(status)}"
        # A PDF brings its own, older word on revocation: the lists of the directory go before it, as they do for partners.
        path = {(each.issuer.hashable, each.serial_number) for each in status.validation_path.iter_certs(include_root=True)}
        for one in self._crls:
            content = one["tbs_cert_list"]
            revoked = {entry["user_certificate"].native: entry["revocation_date"].native for entry in content["revoked_certificates"] or ()}
            concerned = [serial for issuer, serial in path if issuer == one.issuer.hashable]
            yield not any(serial in revoked and revoked[serial] <= at for serial in concerned), "its certificate is revoked"
            ends = content["next_update"].native
            yield not concerned or ends is None or ends >= self._at, "the revocation list of its issuer has run out"

    def _profile(self, embedded: EmbeddedPdfSignature) -> str:
        """EN 319 142-1 section 6.1, by what is there."""
        if embedded.sig_object_type == _TIME_STAMP:
            return "time-stamp"
        if str(embedded.sig_object.get("/SubFilter", "")) != "/ETSI.CAdES.detached":
            return "CMS"
        attributes = embedded.signer_info["unsigned_attrs"] or ()
        if not any(attribute["type"].native == "signature_time_stamp_token" for attribute in attributes):
            return "PAdES-B-B"
        return "PAdES-B-LT" if self._has_revocation else "PAdES-B-T"


def _security_store(reader: PdfFileReader) -> tuple[DocumentSecurityStore | None, bool]:
    """The PDF's own certificates and revocation data (DSS, EN 319 142-1 section 5.4.2), and whether there are revocation data."""
    try:
        store = DocumentSecurityStore.read_dss(reader)
        _ = store.as_validation_context({"trust_roots": []})
    except NoDSSFoundError:
        return None, False
    except Exception:  # noqa: BLE001 - a damaged one is none: it only ever helps a signature
        return None, False
    return store, bool(store.crls or store.ocsps)


def _soundness(status: Any, covers: str, changes: str) -> Iterator[tuple[bool, str]]:
    """What a valid signature must be, and what to say when it is not."""
    yield status.intact, "the signed octets were changed"
    yield status.valid, "the signature is not by the key of its certificate"
    yield covers != "part", "it does not cover all of its revision"
    yield changes != "other", f"changed after signing, beyond what any signature permits: {status.diff_result}"
    yield getattr(status, "docmdp_ok", None) is not False, f"changed after signing ({changes}), beyond what this signature permits"
    yield getattr(status, "seed_value_ok", True), "it is not as its form field demands"


def _name(certificate: x509.Certificate) -> str:
    """The subject as it is written everywhere here (RFC 4514)."""
    return load_der_x509_certificate(certificate.dump()).subject.rfc4514_string()


def _problem(status: Any) -> str:
    problem = status.trust_problem_indic
    return problem.name.lower().replace("_", " ") if problem is not None else "no path to an authority"


def _iso(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""


def _unreadable(error: Exception) -> Exception:
    return error if isinstance(error, _EXHAUSTED) else Unreadable(_said(error))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
