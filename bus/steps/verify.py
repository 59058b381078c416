"""Verify: the document carries a valid signature of a trusted partner; only the signed octets go on.

What continues is exactly what the signature covers, canonical and without the signature, so that no later step can be shown anything
else (signature wrapping has nowhere to hide). With ``xmldsig-by-id`` that is the one ``element`` that is named, as a document of its own.
The signature itself stays with the message as it was accepted.

Which methods count is the signer's policy (``partners``: ``signatures``, ``legacy``); what counted only as legacy is in the history.

``level: B-T`` demands a time-stamp on the signature (ETSI EN 319 132-1, section 5.3) by the authority that the site's ``timestamps`` names;
the note in the history says when it was.

``by: sender`` (default) demands that the signer is the partner that sent it; ``by: partner`` takes any partner's signature. Raises
Rejected 5.7.x: ``signature-invalid``, ``algorithm-refused``, ``certificate-…``, ``signer-not-sender``.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Literal, Self

from cryptography import x509
from pydantic import Field, model_validator

from bus import timestamps, xmlio
from bus.errors import Rejected
from bus.exchange import Exchange, Step
from bus.message import SENDER
from bus.options import Signed
from bus.signature import xades, xmldsig, xmldsig_by_id
from bus.signature.profile import Verified, invalid
from bus.site import Site

#: What it rejects is what the sender sent, as long as no step of ours has changed it.
CHECKS = True


class Options(Signed):
    """Whose signature, in which form."""

    by: Literal["sender", "partner"] = Field("sender", description="whose: the sending partner's, or any partner's")
    level: Literal["B-B", "B-T"] = Field("B-B", description="xades: B-T demands a time-stamp by the authority in the site's timestamps")

    @model_validator(mode="after")
    def _levelled(self) -> Self:
        if self.level == "B-T" and self.profile != "xades":
            raise ValueError("'level: B-T' is one of 'profile: xades'")
        return self


def build(options: Options, site: Site) -> Step:
    """The step for one place in routes.yaml."""
    profiles: Mapping[str, Callable[..., Verified[str]]] = {
        "xades": xades.verify,
        "xmldsig": xmldsig.verify_enveloped,
        "xmldsig-by-id": partial(xmldsig_by_id.verify, place=options.element),
    }
    verify_document = profiles[options.profile]
    anchors = _anchors(site) if options.level == "B-T" else ()

    def verify(exchange: Exchange) -> Exchange:
        message = exchange.message
        verified = verify_document(
            message.emptied,
            trust=lambda certificate: site.keyring.identify(certificate, exchange.now),
            hollow=message.hollow,
            policies=site.signatures,
        )
        sender = message.header(SENDER)
        if options.by == "sender" and verified.identity != sender:
            raise Rejected("signer-not-sender", signer=verified.identity, partner=sender)
        body = message.hollow.parsed(verified.octets)
        unsigned = [prefix for prefix in xmlio.value_prefixes(message.outline) if _undeclared(prefix, verified.octets)]
        if unsigned:
            # What goes on is what was signed, and there these would mean nothing.
            raise invalid(f"it does not cover the declaration of {', '.join(unsigned)}, which only values use: name it in a PrefixList")
        old = f" by legacy {verified.legacy}" if verified.legacy else ""
        when = f" time-stamped {_time_stamped(verified, anchors).isoformat()}" if anchors else ""
        return exchange.with_body(body, f"verify {options.profile} {verified.identity}{old}{when}")

    return verify


def _undeclared(prefix: str, octets: bytes) -> bool:
    """Whether canonical ``octets`` have values with this prefix and nowhere its declaration."""
    if prefix == "#default":
        return b":type=" in octets and b' xmlns="' not in octets
    return f"{prefix}:".encode() in octets and f" xmlns:{prefix}=".encode() not in octets


def _anchors(site: Site) -> Sequence[x509.Certificate]:
    if site.timestamps is None:
        raise ValueError("'level: B-T' needs 'timestamps' in 'site': the authority whose time-stamps count")
    return site.timestamps.anchors


def _time_stamped(verified: Verified[str], anchors: Sequence[x509.Certificate]) -> datetime:
    """The earliest time that a time-stamp on the signature proves; refuses a signature without one that holds."""
    times: list[datetime] = []
    refusal = Rejected("signature-invalid", check="a time-stamp on the signature (XAdES-B-T)")
    for stamp in verified.time_stamps:
        try:
            times.append(timestamps.verify(stamp.token, stamp.octets, anchors).at)
        except Rejected as error:
            refusal = error
    if not times:
        raise refusal
    return min(times)
