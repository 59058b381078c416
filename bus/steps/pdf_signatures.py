"""PDF signatures: verify every signature in every PDF attached to an edXML document, where the legal signature of the document is.

What is found is written into the message's record (``govbus show``): for each file its digest and whether it is signed; for each
signature its field, signer, certificate, time, what it covers, what was changed since, and whether it is intact, valid and trusted.
Files are unpacked as the exchange packs them; what they are is decided by their octets and not by their names.

It only reports by default. ``demand: valid`` and ``demand: trusted`` refuse a document whose PDFs are not signed so: each of them (as
Decree 30/2020/NĐ-CP, appendix I, asks of annexes too) or, with ``of: any``, one of them; one with files of which none is a PDF is
unsigned. A document without files (a recall, for example) has nothing to sign and passes; so does a status. Nothing is fetched: a
signature is trusted by what lies in ``certs/<trust>`` and what the PDF brings, at its trusted time-stamp or, without one, now.

PDFs are read in a process of their own (``bus.pdf``), and not on the event loop. It may cost ``within`` seconds of processor time for
all PDFs of a message, and 400 MiB; what takes more, is larger than 50 MiB or cannot be parsed is reported as unreadable, never as signed.

Raises Rejected ``document-unsigned`` and ``document-signature-invalid`` (5.7.x), Deferred ``inspection-unavailable`` (4.3.2).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from bus import edxml, keyfiles
from bus.edxml import Attached
from bus.errors import Fault, Rejected
from bus.exchange import Exchange, Step
from bus.message import KIND, KIND_DOCUMENT, KIND_STATUS, Message
from bus.octets import digest
from bus.options import Duration, Model
from bus.pdf import Anchors, Inspection, Limits, Signature, State, anchors_of, inspector
from bus.site import Site
from bus.trust import Demands

#: The name under which the journal holds what was found.
TAP = "pdf-signatures"
#: Files of one message that are looked at, and their octets together, unpacked.
MOST_FILES = 50
MOST_OCTETS = 128 << 20
_LONGEST_NAME = 200

#: What it rejects is what the sender sent, as long as no step of ours has changed it.
CHECKS = True


class Options(Model):
    """What to demand, and whom to trust."""

    demand: Literal["none", "valid", "trusted"] = Field("none", description="what the signatures must be; none: only report")
    of: Literal["each", "any"] = Field("each", description="which PDFs must be signed so: each of them, or any one")
    trust: str = Field("", description="directory under certs/ with the authorities of those who sign, and their revocation lists")
    within: Duration = Field(
        timedelta(seconds=5), ge=timedelta(seconds=1), le=timedelta(minutes=5), description="processor time for the PDFs of one message"
    )

    @model_validator(mode="after")
    def _trusts_somebody(self) -> Self:
        if self.demand == "trusted" and not self.trust:
            raise ValueError("'demand: trusted' needs 'trust': the directory under certs/ with the authorities of those who sign")
        return self


def build(options: Options, site: Site) -> Step:
    """The step for one place in routes.yaml."""
    anchors = _anchors(site, options.trust) if options.trust else Anchors()
    return partial(_report, options, anchors)


def _report(options: Options, anchors: Anchors, exchange: Exchange) -> Exchange:
    kind, demand = exchange.message.header(KIND), options.demand
    if kind == KIND_STATUS or (kind != KIND_DOCUMENT and demand == "none"):
        return exchange
    try:
        found = tuple(_inspected(options, anchors, exchange.message, exchange.now))
    except Rejected as error:
        if demand != "none" or error.key != "edxml-invalid":
            raise
        # Another step has made something else of it.
        return exchange
    if demand != "none" and found:
        _check(found, demand, of=options.of)
    note = f"{TAP} {len(found)} files, {sum(one.found.state is State.SIGNED for one in found)} signed"
    return replace(exchange, taps={**exchange.taps, TAP: [one.as_json() for one in found]}).with_note(note)


def _inspected(options: Options, anchors: Anchors, message: Message, at: datetime) -> Iterator["Inspected"]:
    left, octets = options.within.total_seconds(), 0
    for number, file in enumerate(edxml.each_attachment(message.outline, message.hollow)):
        octets += len(file.data)
        if number == MOST_FILES or octets > MOST_OCTETS or left <= 0:
            # Nothing further is unpacked. What nobody has looked at is not signed for all we know.
            yield Inspected.of(file, Inspection(State.UNREADABLE, "not inspected, nor is what follows: too much for one message"))
            return
        if file.error:
            yield Inspected.of(file, Inspection(State.UNREADABLE, file.error))
            continue
        found, spent = inspector().inspect(file.data, anchors, at, Limits(math.ceil(left)))
        left -= spent
        yield Inspected.of(file, found)


@dataclass(frozen=True, slots=True)
class Inspected:
    """One attached file and what was found in it."""

    name: str
    size: int
    sha256: str
    found: Inspection

    @classmethod
    def of(cls, file: Attached, found: Inspection) -> "Inspected":
        """The finding about a file."""
        return cls(file.name[:_LONGEST_NAME], len(file.data), digest(file.data).hex(), found)

    def as_json(self) -> Mapping[str, Any]:
        """The finding as the journal holds it."""
        return {"name": self.name, "size": self.size, "sha256": self.sha256, **self.found.as_json()}


def _check(found: Sequence[Inspected], demand: str, *, of: str) -> None:
    """Refuse the document whose files do not meet the demand."""
    asked = [one for one in found if one.found.state is not State.OTHER]
    unmet = [one for one in asked if not _meets(one.found, demand)]
    if asked and (not unmet or (of == "any" and len(unmet) < len(asked))):
        return
    worst = next((one for one in unmet if one.found.state is not State.UNSIGNED), None)
    if worst is None:
        raise Rejected("document-unsigned", files=", ".join(one.name for one in unmet or found))
    raise Rejected("document-signature-invalid", file=worst.name, detail=_why(worst.found, demand))


def _meets(found: Inspection, demand: str) -> bool:
    """Whether every signature is as demanded. One that is not spoils the file: who looks at it in a reader sees that one too."""
    people = [one for one in found.signatures if one.profile != "time-stamp"]
    return bool(people) and all(_good(one, demand) for one in people)


def _good(signature: Signature, demand: str) -> bool:
    return signature.trusted if demand == "trusted" else signature.valid


def _why(found: Inspection, demand: str) -> str:
    bad = next((one for one in found.signatures if not _good(one, demand)), None)
    return f"{bad.field} ({bad.signer or '?'}): {bad.detail}" if bad else found.detail


def _anchors(site: Site, name: str) -> Anchors:
    directory = site.root / "certs" / name
    if not directory.is_dir():
        raise ValueError(f"certs/{name} does not exist; put the certificates of the authorities there whose signers you trust")
    faults: list[Fault] = []
    trust = keyfiles.trust(directory, name, Demands(), faults)
    keyfiles.demand(faults)
    site.warnings.extend(faults)
    return anchors_of(trust)
