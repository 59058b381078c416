"""Message: immutable bytes with named headers; and every header name, each with a sentence.

A message is replaced, never changed. Its tree is read-only, because everyone who holds a message with these octets is given the same.
"""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from lxml import etree

from bus import mending

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
#: edXML Subject (for a status: its code and description), for lists that people read.
SUBJECT = "subject"
#: Media type of the body.
CONTENT_TYPE = "content-type"
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
_remembered = lru_cache(maxsize=32)(mending.parse)


@dataclass(frozen=True)
class Message:
    """``id`` the bus's own id (UUID version 7 text); ``headers`` by the names above; ``body`` the octets, exactly."""

    id: str
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def tree(self) -> etree._Element:
        """The body's root element, by ``mending.parse``; read-only. Raises Rejected 5.6.x."""
        return _remembered(self.body) if len(self.body) <= _SMALL else mending.parse(self.body)

    def own_tree(self) -> etree._Element:
        """The same as a tree of the caller's own, to be changed at will."""
        return copy.deepcopy(self.tree) if "tree" in self.__dict__ else mending.parse(self.body)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the body, lower-case hex."""
        return hashlib.sha256(self.body).hexdigest()

    def header(self, name: str) -> str:
        """The header's value, or ""."""
        return self.headers.get(name, "")

    def with_body(self, body: bytes) -> "Message":
        """The same message with other octets."""
        return self if body == self.body else replace(self, body=body)

    def with_headers(self, **values: str) -> "Message":
        """The same message with some headers set; ``_`` in a keyword stands for ``-``."""
        return replace(self, headers={**self.headers, **{name.replace("_", "-"): value for name, value in values.items()}})
