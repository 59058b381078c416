"""Message: immutable octets with named headers; and every header name, each with a sentence.

A message is replaced, never changed. Its tree is read-only, because everyone who holds a message with these octets is given the same.
Of a large message look at the ``outline``: the whole ``tree`` takes several times the memory of the octets, which may be in a file.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from lxml import etree

from bus import mending
from bus.errors import Rejected
from bus.hollow import Hollow
from bus.memo import remembered
from bus.octets import SMALL, Body, digest, whole

#: The partner that was authenticated at the door: a name from routes.yaml, never something the message claims.
SENDER = "sender"
#: The sender's own id for the message: with SENDER, the idempotency key. Where a sender gives none, the body's digest stands in.
SENDER_MESSAGE_ID = "sender-message-id"
#: The endpoint it came in at.
ENDPOINT = "endpoint"
#: What it is: one of the KIND_ values below.
KIND = "kind"
#: edXML From/OrganId, as written.
FROM = "from"
#: Codes of the organisations it is for, as written, separated by one space.
RECEIVERS = "receivers"
#: edXML DocumentId (for a status: that of the document it speaks of).
DOCUMENT_ID = "document-id"
#: edXML Code, as ``30002/KH-CVT``: the document's number as people write it. Where it is missing, the last part of DOCUMENT_ID is.
NUMBER = "document-number"
#: edXML Subject (for a status: its code and description), for lists that people read.
SUBJECT = "subject"
#: Media type of the body.
CONTENT_TYPE = "content-type"
#: By what the sender was authenticated at the door: ``wss-x509``, ``wss-username``, ``mtls sha256:…`` (several joined by ", "), ``vxp``.
CREDENTIAL = "credential"
#: The organisation code of SENDER when the message was accepted: the partner's name may mean another later.
AUTHENTICATED = "authenticated"
#: The outdated algorithm of the sender's signature, where it counted only because the partner's policy names it as legacy.
LEGACY = "legacy-signature"
#: The id that the partner's system gave on transport (VXP DocId), where it differs from all the others.
TRANSPORT_ID = "transport-id"

KIND_DOCUMENT = "document"
KIND_STATUS = "status"
KIND_RECEIPT = "receipt"
#: Anything that is not edXML.
KIND_OTHER = "other"


#: Between the door, its route, the next route and the sending a message lies in the store, and each would parse the same octets again.
#: Memory stays under about 32 times three times this.
_SMALL = 192 << 10
_parsed = remembered(32, _SMALL)(mending.parse)


#: Largest body that a door takes, octets: 100 MB and some room. Its base64 is what our own clients read at most.
MOST = 104 << 20


def bounded(body: Body) -> Body:
    """``body``, which may be a message's. Raises Rejected 5.6.1 for one over MOST."""
    if len(body) > MOST:
        raise Rejected("xml-limit", limit="bytes", value=len(body), most=MOST)
    return body


@dataclass(frozen=True)
class Message:
    """``id`` the bus's own id (UUID version 7 text); ``headers`` by the names above; ``body`` the octets, exactly."""

    id: str
    headers: Mapping[str, str]
    body: Body

    @cached_property
    def tree(self) -> etree._Element:
        """The body's root element, by ``mending.parse``; read-only. Raises Rejected 5.6.x."""
        return _parsed(whole(self.body))

    @cached_property
    def outline(self) -> etree._Element:
        """The tree to look at: of a large body, without the insides of its files (``bus.hollow``); of any other, the tree."""
        return self.tree if len(self.body) <= SMALL else mending.parse(self._emptied)

    def own_outline(self) -> etree._Element:
        """The same as a tree of the caller's own, to be changed at will."""
        if len(self.body) > SMALL:
            return mending.parse(self._emptied)
        return copy.deepcopy(self.tree) if "tree" in self.__dict__ else mending.parse(whole(self.body))

    @cached_property
    def hollow(self) -> Hollow:
        """What the outline leaves out: whoever makes octets of it fills them again."""
        return Hollow()

    @cached_property
    def _emptied(self) -> bytes:
        return self.hollow.emptied(self.body)

    @property
    def emptied(self) -> bytes:
        """The octets of the outline."""
        return whole(self.body) if len(self.body) <= SMALL else self._emptied

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the body, lower-case hex."""
        return digest(self.body).hex()

    def moved(self, body: Body) -> "Message":
        """The same message, its octets in another place."""
        return self._knowing(replace(self, body=body))

    def _knowing(self, same: "Message") -> "Message":
        """``same``, which has the same octets, with the digest that was worked out already."""
        if "digest" in self.__dict__:
            same.__dict__["digest"] = self.digest
        return same

    def header(self, name: str) -> str:
        """The header's value, or ""."""
        return self.headers.get(name, "")

    def with_body(self, body: Body) -> "Message":
        """The same message with other octets."""
        return self if body == self.body else replace(self, body=body)

    def with_headers(self, **values: str) -> "Message":
        """The same message with some headers set; ``_`` in a keyword stands for ``-``."""
        return self._knowing(replace(self, headers={**self.headers, **{name.replace("_", "-"): value for name, value in values.items()}}))
