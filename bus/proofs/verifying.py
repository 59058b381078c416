"""Verifying: one evidence container, offline, question by question; what it establishes, what it leaves open, and what does not hold.

The container comes first: while any octet of it is in doubt nothing else is looked at. Then each topic is asked for itself, so that one
broken part does not hide another. Pure but for reading the file: no store, no network, no clock; certificates are judged as of the
moments that the journal, the receipts and the time-stamps name. Raises nothing for what it finds.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import IO

from bus import asic
from bus.asic.container import SIGNATURE, Container
from bus.errors import BusError, Rejected
from bus.proofs import authorities, chain, manifest, outcomes, sender
from bus.proofs.case import Case, Topic, within
from bus.proofs.given import Given
from bus.proofs.lines import Line, Report, Verdict, broken, established, unproved
from bus.proofs.manifest import NAME, invalid, octets_of
from bus.proofs.used import named


def verify(file: IO[bytes], trusted: Given | None) -> Report:
    """What the container in ``file`` establishes; ``trusted``: the verifier's own (``given.read``), or None."""
    try:
        case = _opened(asic.read(file, lambda certificate: certificate), trusted)
        lines = [line for topic in TOPICS for line in _asked(topic, case)]
        doubtful = any(line.key == "verify-unvouched" for line in lines[:_OF_CONTAINER])
        return Report([_doubted(line) for line in lines] if doubtful else lines, trusted is not None)
    except BusError as error:
        return Report([broken(str(error.values.get("part", "")) or SIGNATURE, error)])
    except Exception as error:  # noqa: BLE001 - as in ``_asked``
        return Report([broken(NAME, invalid(NAME, f"{type(error).__name__} {error}"))])


def _opened(container: Container[bytes], trusted: Given | None) -> Case:
    told = manifest.read(octets_of(container.files, NAME))
    return Case(container, told, authorities.held(told, container.files, trusted))


def _asked(topic: Topic, case: Case) -> Iterable[Line]:
    """The topic's lines, up to where it does not hold."""
    lines: list[Line] = []
    try:
        for line in topic(case):
            lines.append(line)  # noqa: PERF402 - what came before a refusal stands
    except BusError as error:
        lines.append(broken(str(error.values.get("part", "")) or topic.__name__, error))
    except Exception as error:  # noqa: BLE001 - signed perhaps by an enemy: whatever a library stumbles over here is a finding
        lines.append(broken(topic.__name__, invalid(topic.__name__, f"{type(error).__name__} {error}")))
    return lines


def _doubted(line: Line) -> Line:
    """The same statement where nobody vouches for who wrote the container: open, unless it stands by somebody else's signature."""
    return replace(line, verdict=Verdict.OPEN) if line.verdict is Verdict.ESTABLISHED and line.key not in _ALONE else line


def _container(case: Case) -> Iterator[Line]:
    """Who signed the container, and when, as the signer says."""
    verified = case.container.signed
    at = verified.signed_at or datetime.fromisoformat(case.manifest.written)
    try:
        by = case.authorities.vouch(authorities.SITE, verified.certificate, at)
    except Rejected as error:
        raise within(SIGNATURE, error) from error
    yield established("verify-container", count=len(case.files))
    yield by.line("verify-signed", at=at.isoformat(), organisation=case.manifest.organisation)


def _used(case: Case) -> Iterator[Line]:
    """By which route, schemas and stylesheets, as the journal names them; and which of these files are here."""
    files = {one.note: one.file for one in case.manifest.used}
    for one in named(row.detail for row in case.rows):
        file = files.get(one.note, "")
        if file and case.digest_of(file) != one.digest:
            raise invalid(file, "it is not what the journal names")
        values = {"kind": one.kind, "name": one.name, "digest": one.digest}
        yield established("verify-used", file=file, **values) if file else unproved("verify-used-gone", **values)


def _named(case: Case) -> Iterator[Line]:
    """Whose word all this is, where the verifier brought no trust: fingerprints to be compared with what those parties publish."""
    if case.authorities.given is None:
        for by in case.authorities.named.values():
            yield unproved("verify-named", who=by.who, subject=by.subject, fingerprint=by.fingerprint)


#: Lines of ``_container``.
_OF_CONTAINER = 2
#: Statements that do not rest on the word of the site: the octets agree, or another than the site signed what is said.
_ALONE = frozenset({"verify-container", "verify-request", "verify-request-carried", "verify-partner-receipt", "verify-timestamp"})
#: The questions, in the order in which a reader asks them.
TOPICS: Sequence[Topic] = (
    _container,
    outcomes.accepted,
    sender.signed,
    outcomes.receipts,
    outcomes.deliveries,
    chain.proved,
    _used,
    _named,
)
