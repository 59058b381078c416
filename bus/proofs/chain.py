"""The chain: that the journal rows stood in the journal when checkpoints say so, and that a time-stamp authority saw those checkpoints.

A row's SHA-256 leads along its path (RFC 9162 section 2.1.3.2) to a root that a checkpoint states; the site signed the checkpoint; and the
checkpoint, or one after it that names it by digest, each naming the one before, has a time-stamp. So the rows are not younger than that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from bus import checkpoint, merkle, timestamps
from bus.checkpoint import Summary
from bus.errors import Rejected
from bus.octets import digest
from bus.proofs import authorities, given
from bus.proofs.authorities import Signatory
from bus.proofs.case import Case, JournalRow, within
from bus.proofs.lines import Line, established, unproved, unvouched
from bus.proofs.manifest import TSA, Stated, invalid
from bus.signature import xades
from bus.signature.policy import ours
from bus.timestamps import Stamp
from bus.trust import Trust, name_text, readable


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A checkpoint, by whom it was signed, and its own time-stamp; ``known``: the authority is one that the verifier trusts, or named."""

    file: str
    digest: str
    summary: Summary
    by: Signatory
    stamp: Stamp | None
    known: bool


def proved(case: Case) -> Iterator[Line]:
    """Each row against its checkpoint, each checkpoint against its time-stamp."""
    sealed = {stated.number: _sealed(case, stated) for stated in case.manifest.checkpoints}
    for row in case.rows:
        if row.proof:
            _check_included(row, sealed)
    included = [row for row in case.rows if row.proof]
    if len(included) < len(case.rows):
        yield unproved("verify-rows-unproved", count=len(case.rows) - len(included), total=len(case.rows))
    for number in sorted({row.proof.checkpoint for row in included if row.proof}):
        rows = [row for row in included if row.proof and row.proof.checkpoint == number]
        said = {"number": number, "count": len(rows), "at": sealed[number].summary.at.isoformat()}
        by = sealed[number].by
        if by.unknown:
            yield by.line("verify-rows-proved")
        yield unproved("verify-rows-proved", **said) if by.unknown else established("verify-rows-proved", **said)
        covering = _covering(sealed, number)
        if covering is None:
            line = unvouched if case.authorities.given and any(one.token for one in case.manifest.checkpoints) else unproved
            yield line("verify-no-timestamp", number=number)
        else:
            yield _stamped(number, *covering)


def _stamped(number: int, stamp: Stamp, known: bool) -> Line:
    certificate = readable(stamp.certificate)
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    values = {"number": number, "at": stamp.at.isoformat(), "authority": name_text(certificate.subject), "fingerprint": fingerprint}
    return established("verify-timestamp", **values) if known else unvouched("verify-timestamp-untrusted", **values)


def _sealed(case: Case, stated: Stated) -> _Sealed:
    octets = case.octets(stated.file)
    try:
        verified = xades.verify(octets, lambda certificate: certificate, policies=ours)
        summary = checkpoint.parse(verified.octets)
        by = case.authorities.vouch(authorities.SITE, verified.certificate, summary.at)
    except Rejected as error:
        raise within(stated.file, error) from error
    if summary.number != stated.number or summary.organisation != case.manifest.organisation:
        raise invalid(stated.file, "it is another checkpoint than it is said to be")
    stamp, known = _stamp(case, stated, octets)
    return _Sealed(stated.file, digest(octets).hex(), summary, by, stamp, known)


def _stamp(case: Case, stated: Stated, octets: bytes) -> tuple[Stamp | None, bool]:
    """The checkpoint's own time-stamp, and whether anybody vouches for it: the verifier's own trust, or, without one, the container.

    One that neither vouches for is damaged where the container names an authority for it, and as good as none where it does not.
    """
    if not stated.token:
        return None, False
    trusted = None if case.authorities.given is None else case.authorities.given_anchors(authorities.TSA)
    named = case.authorities.named_anchors(TSA)
    # Each for itself: two authorities may be called the same.
    found = [_verified(case.octets(stated.token), octets, anchors) for anchors in (trusted, named) if anchors is not None]
    stamp = next((one for one in found if isinstance(one, Stamp)), None)
    if stamp is None:
        if named:
            raise within(stated.token, next(one for one in reversed(found) if isinstance(one, Rejected)))
        return None, False
    case.authorities.name(TSA, stamp.certificate)
    if case.authorities.given:
        try:
            case.authorities.given.places.get(given.TSA, Trust(TSA)).check_lists(readable(stamp.certificate), stamp.at)
        except Rejected as error:
            raise within(stated.token, error) from error
    return stamp, stamp is found[0]


def _verified(token: bytes, octets: bytes, anchors: Sequence[x509.Certificate]) -> Stamp | Rejected:
    try:
        return timestamps.verify(token, octets, anchors)
    except Rejected as refusal:
        return refusal


def _check_included(row: JournalRow, sealed: dict[int, _Sealed]) -> None:
    proof = row.proof
    if proof is None or proof.checkpoint not in sealed:
        raise invalid(row.file, "the checkpoint of its proof is not there")
    span = sealed[proof.checkpoint].summary.span(str(row.values["chain"]))
    if span is None or (span.first, span.last) != (proof.first, proof.last) or row.values["seq"] != span.first + proof.index:
        raise invalid(row.file, f"checkpoint {proof.checkpoint} does not speak of it")
    try:
        root = merkle.root_from_path(bytes.fromhex(row.hash), proof.index, span.size, [bytes.fromhex(step) for step in proof.path])
    except ValueError as error:
        raise invalid(row.file, f"its proof is none ({error})") from None
    if root.hex() != span.root:
        raise invalid(row.file, f"its proof does not lead to the root that checkpoint {proof.checkpoint} states: the row was changed")


def _covering(sealed: dict[int, _Sealed], number: int) -> tuple[Stamp, bool] | None:
    """The time-stamp of this checkpoint, or of the first after it that has one and leads back to it."""
    here = sealed[number]
    while here.stamp is None:
        after = sealed.get(number + 1)
        if after is None:
            return None
        if after.summary.previous != here.digest:
            raise invalid(after.file, f"it does not name checkpoint {number} as the one before it")
        number, here = number + 1, after
    return here.stamp, here.known
