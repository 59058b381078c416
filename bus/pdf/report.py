"""What is said about one PDF and its signatures: plain data, which the journal keeps as JSON.

Nothing here parses a PDF. ``find`` only looks for what a signed one cannot do without.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from bus.octets import CHUNK, Body, regrouped
from bus.receipt import legible

#: A reader accepts a header within the first 1024 octets (ISO 32000-1, annex H, implementation note 13).
_HEADER_WITHIN = 1024
_HEADER = b"%PDF-"
#: Longest text taken from a PDF: the journal is for evidence, not for texts.
LONGEST = 300


class State(StrEnum):
    """What a file is, as far as signatures go."""

    OTHER = "other"
    UNSIGNED = "unsigned"
    SIGNED = "signed"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Anchors:
    """Whose signatures are trusted: DER of authorities, of those below them, of pinned certificates, and of revocation lists."""

    authorities: tuple[bytes, ...] = ()
    intermediates: tuple[bytes, ...] = ()
    pinned: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()


#: The parts of ``Anchors``, in order.
NAMES = tuple(field.name for field in fields(Anchors))


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature, or document time-stamp, of a PDF.

    ``field``        name of its form field (12.7.4.5)
    ``profile``      ``PAdES-B-B``, ``PAdES-B-T``, ``PAdES-B-LT``, ``CMS``, ``time-stamp``: by what is there, not by a conformance test
    ``signer``       subject of its certificate; ``certificate`` the SHA-256 of its DER
    ``claimed``      time of signing as the signer says; ``stamped`` as a *trusted* time-stamp says; ISO 8601, or ""
    ``covers``       ``document``: every octet of the file; ``revision``: the file as it was then; ``part``: less, which proves nothing
    ``changes``      what was added after it: ``none``, ``time-stamps`` (and revocation data), ``forms`` (filled in, or signed by more),
                     ``annotations``, ``other``
    ``intact``       the signed octets are what they were
    ``valid``        intact, signed by that key, covering its revision, changed since only as it permits
    ``trusted``      valid, by a certificate that the trust directory vouches for, at ``stamped``, or now
    ``detail``       why not, if not
    """

    field: str
    profile: str = ""
    signer: str = ""
    certificate: str = ""
    claimed: str = ""
    stamped: str = ""
    covers: str = ""
    changes: str = ""
    intact: bool = False
    valid: bool = False
    trusted: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in one file; ``detail`` says why it is unreadable."""

    state: State
    detail: str = ""
    signatures: tuple[Signature, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        signatures = [{field.name: getattr(one, field.name) for field in fields(one)} for one in self.signatures]
        return {"state": self.state.value, "detail": self.detail, "signatures": signatures}

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> "Inspection":
        """The way back, for what a process said that has read hostile octets: of the right types, and of a bounded length."""
        signatures = tuple(Signature(**{f.name: _plain(each[f.name], f.type) for f in fields(Signature)}) for each in data["signatures"])
        return cls(State(data["state"]), _plain(data["detail"], str), signatures)


def _plain(value: object, kind: object) -> Any:
    if not isinstance(value, bool if kind is bool else str):
        raise TypeError(f"{value!r} is no {kind}")
    return shortened(value) if isinstance(value, str) else value


def shortened(text: str) -> str:
    """The text as the journal can hold it."""
    return legible(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


def _written(name: bytes) -> bytes:
    """A pattern for a PDF name however it is written: each of its characters may be ``#`` and two digits (7.3.5)."""
    return b"/" + b"".join(b"(?:%c|#(?i:%02x))" % (code, code) for code in name)


# The array stands beside the octets that it leaves out, so it is never inside a compressed object stream (12.8.1).
_BYTE_RANGE = re.compile(_written(b"ByteRange"))
#: Octets of that name, at most: it may lie across two portions.
_LONGEST_NAME = 1 + 3 * len(b"ByteRange")


def find(data: Body) -> State:
    """OTHER for what is no PDF, UNSIGNED for a PDF that holds no signature; SIGNED where one should be looked for."""
    portions = [data] if isinstance(data, bytes) else regrouped(data, CHUNK)
    state, end = State.OTHER, b""
    for portion in portions:
        if state is State.OTHER and _HEADER not in portion[:_HEADER_WITHIN]:
            return state
        if _BYTE_RANGE.search(end + portion if end else portion):
            return State.SIGNED
        state, end = State.UNSIGNED, portion[-_LONGEST_NAME:]
    return state
