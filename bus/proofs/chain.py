"""The chain: that the journal rows stood in the journal when checkpoints say so, and that a time-stamp authority saw those checkpoints.

A row's SHA-256 leads along its path (RFC 9162 section 2.1.3.2) to a root that a checkpoint states; the site signed the checkpoint; and the
checkpoint, or one after it that names it by digest, each naming the one before, has a time-stamp. So the rows are not younger than that.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes

from bus import checkpoint, merkle, timestamps
from bus.checkpoint import Summary
from bus.errors import Rejected
from bus.octets import digest
from bus.proofs.case import Case, JournalRow, within
from bus.proofs.lines import Line, established, unproved
from bus.proofs.manifest import TSA, Stated, invalid
from bus.signature import xades
from bus.signature.policy import ours
from bus.timestamps import Stamp
from bus.trust import name_text, readable


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A checkpoint that the site signed, and its own time-stamp; ``known``: the authority is one that the verifier trusts, or named."""

    file: str
    digest: str
    summary: Summary
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
        yield established("verify-rows-proved", **said)
        covering = _covering(sealed, number)
        if covering is None:
            yield unproved("verify-no-timestamp", number=number)
        else:
            yield _stamped(number, *covering)


def _stamped(number: int, stamp: Stamp, known: bool) -> Line:
    certificate = readable(stamp.certificate)
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    values = {"number": number, "at": stamp.at.isoformat(), "authority": name_text(certificate.subject), "fingerprint": fingerprint}
    return established("verify-timestamp", **values) if known else unproved("verify-timestamp-untrusted", **values)


def _sealed(case: Case, stated: Stated) -> _Sealed:
    octets = case.octets(stated.file)
    try:
        verified = xades.verify(octets, lambda certificate: certificate, policies=ours)
        summary = checkpoint.parse(verified.octets)
        case.authorities.site(verified.certificate, summary.at)
    except Rejected as error:
        raise within(stated.file, error) from error
    if summary.number != stated.number or summary.organisation != case.manifest.organisation:
        raise invalid(stated.file, "it is another checkpoint than it is said to be")
    stamp, known = _stamp(case, stated, octets)
    return _Sealed(stated.file, digest(octets).hex(), summary, stamp, known)


def _stamp(case: Case, stated: Stated, octets: bytes) -> tuple[Stamp | None, bool]:
    """The checkpoint's own time-stamp: it must hold by the authority that the container names; does the verifier's own trust know that?

    One that the container names no authority for is as good as the verifier's own trust says, or as none.
    """
    if not stated.token:
        return None, False
    token, named, given = case.octets(stated.token), case.authorities.named_anchors(TSA), case.authorities.given_anchors()
    try:
        stamp = timestamps.verify(token, octets, [*named, *given])
    except Rejected as error:
        if not named:
            return None, False
        raise within(stated.token, error) from error
    case.authorities.name(TSA, stamp.certificate)
    if case.authorities.given is None:
        return stamp, True
    try:
        return timestamps.verify(token, octets, given), True
    except Rejected:
        return stamp, False


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
