"""Checkpoint: what the site states, now and then, about its whole journal, as XML. Pure: signed and kept elsewhere (``bus.evidence``).

A checkpoint is ``{urn:govbus:checkpoint:v1}Checkpoint`` (schemas/checkpoint/v1/checkpoint.xsd). It names the checkpoint before it by the
digest of its signed XML, and for each journal chain that has grown since, the rows it speaks of: the first and the last, the hash of the
last, and the Merkle tree hash (RFC 9162 section 2.1.1) over the hashes of all of them, 32 octets each. So a time-stamp on one checkpoint
covers all that came before it, and one row is proved by its own content and a few hashes, without showing any other.

``parse`` raises Rejected 5.6.x (``checkpoint-invalid``, or what ``xmlio.parse`` raises) for what is no checkpoint.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from lxml import etree

from bus import xmlio
from bus.errors import Rejected

NAMESPACE = "urn:govbus:checkpoint:v1"
#: The digest of the checkpoint before the first.
NONE_BEFORE = "0" * 64


@dataclass(frozen=True, slots=True)
class Span:
    """Journal rows ``first`` to ``last`` of a chain: the hash of the last, and the Merkle root over the hashes of all (lower-case hex)."""

    chain: str
    first: int
    last: int
    head: str
    root: str

    @property
    def size(self) -> int:
        """How many rows."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Summary:
    """What a checkpoint states. ``previous``: SHA-256 of the signed XML of the one before; spans are in the order of their chains."""

    number: int
    at: datetime
    organisation: str
    previous: str
    spans: tuple[Span, ...] = ()

    def span(self, chain: str) -> Span | None:
        """What is said about a chain, or None."""
        return next((span for span in self.spans if span.chain == chain), None)


def write(summary: Summary) -> bytes:
    """The checkpoint as XML, not signed yet, in canonical form (Exclusive XML Canonicalization 1.0)."""
    values = {
        "Number": summary.number,
        "At": summary.at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z",
        "Organisation": summary.organisation,
        "Previous": summary.previous,
    }
    return f'<Checkpoint xmlns="{NAMESPACE}">{_elements(values)}{"".join(map(_chain, summary.spans))}</Checkpoint>'.encode()


def _chain(span: Span) -> str:
    values = {"Name": span.chain, "First": span.first, "Last": span.last, "Head": span.head, "Root": span.root}
    return f"<Chain>{_elements(values)}</Chain>"


def _elements(values: dict[str, object]) -> str:
    return "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in values.items())


def parse(octets: bytes) -> Summary:
    """The checkpoint in XML whose signature was verified. Raises Rejected 5.6.x."""
    root = xmlio.parse(octets)
    if root.tag != f"{{{NAMESPACE}}}Checkpoint":
        raise Rejected("checkpoint-invalid", detail=str(root.tag))
    try:
        values = _values(root)
        return Summary(
            number=int(values["Number"]),
            at=datetime.fromisoformat(values["At"]),
            organisation=values["Organisation"],
            previous=values["Previous"],
            spans=tuple(_span(_values(chain)) for chain in root.iterchildren(f"{{{NAMESPACE}}}Chain")),
        )
    except (KeyError, ValueError) as error:
        raise Rejected("checkpoint-invalid", detail=str(error)) from error


def _span(values: dict[str, str]) -> Span:
    return Span(values["Name"], int(values["First"]), int(values["Last"]), values["Head"], values["Root"])


def _values(element: etree._Element) -> dict[str, str]:
    return {etree.QName(child).localname: child.text or "" for child in element.iterchildren("{*}*")}
