"""Attachments signed beside an envelope: SOAP with Attachments, whose parts are outside of the Body and need references of their own.

``check`` promises that every part given is covered by exactly one reference, and every such reference is to a part given. The octets that
are verified are the octets that are used: a part of an XML or text type, which the profile signs in a canonical form, counts only when it
*is* in that form. (Parts sent by MTOM are inside the Body, in their inlined form, and are covered with it.)

Only the content is covered (Attachment-Content-Signature-Transform); a reference to content and MIME headers is refused.

Raises Rejected ``signature-invalid``.

Standards: WS-Security SOAP Messages with Attachments Profile 1.1 sections 5.2 (references), 5.3.2 (canonical content), 5.4.1 (transform);
RFC 2392 (cid URLs).
"""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from bus.mime import MediaType, Part, content_id
from bus.octets import Body, whole
from bus.signature.profile import Kind, invalid
from bus.signature.reading import Reference
from bus.signature.writing import reference
from bus.xmlio import canonicalize, parse

_CID = "cid:"


def covering(parts: Mapping[str, Body], digest: str) -> list[str]:
    """References to ``parts``, octets by Content-ID, as ``application/octet-stream``; ``digest`` as hashlib names it."""
    return [reference(_CID + quote(name, safe="@"), body, digest=digest, kind=Kind.ATTACHMENT) for name, body in parts.items()]


def check(references: Sequence[Reference], parts: Mapping[str, Part]) -> None:
    """Refuse ``parts``, by Content-ID, that the ``references`` do not all cover once each, or that were changed."""
    waiting = dict(parts)
    for one in references:
        part = waiting.pop(content_id(one.uri.removeprefix(_CID)), None) if one.uri.startswith(_CID) else None
        if part is None:
            raise invalid(f"the reference {one.uri[:80]!r} is to no attachment, or to one that is covered already")
        if not _canonical(part.media, part.data):
            raise invalid(f"the attachment <{part.content_id[:80]}> is of type {part.media.name} and not in its canonical form")
        one.check(part.data)
    for name in waiting:
        raise invalid(f"the attachment <{name[:80]}> is not covered by the signature")


def _canonical(media: MediaType, data: memoryview) -> bool:
    """Whether ``data`` is what would be digested in its place: exclusive C14N of XML, text with CRLF, anything else as it stands."""
    if media.name in {"text/xml", "application/xml"} or media.name.endswith("+xml"):
        octets = whole(data)
        return canonicalize(parse(octets)) == octets
    if media.name.startswith("text/"):
        rest = whole(data).replace(b"\r\n", b"")
        return b"\r" not in rest and b"\n" not in rest
    return True
