"""Receipt: what the bus states, and signs, about one message. Every accepted message ends in one.

The wire form is ``{urn:govbus:receipt:v1}Receipt`` (schemas/receipt/v1/receipt.xsd), written by ``evidence.py``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

#: Namespaces of what the site itself states under its signature (``bus.evidence``). A partner's document that we signed in one of these
#: would be our own word.
STATEMENTS = frozenset({"urn:govbus:receipt:v1", "urn:govbus:checkpoint:v1", "urn:govbus:backup:v1"})


class Status(StrEnum):
    """What a receipt states. ACCEPTED begins a message's life; FETCHED is a way-mark; the others end a delivery."""

    ACCEPTED = "ACCEPTED"
    DELIVERED = "DELIVERED"
    FETCHED = "FETCHED"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    DEAD = "DEAD"
    CANCELLED = "CANCELLED"


#: Statuses that end a delivery badly.
NEGATIVE = frozenset({Status.REJECTED, Status.EXPIRED, Status.DEAD, Status.CANCELLED})
#: Statuses that end a delivery, well or badly.
FINAL = NEGATIVE | {Status.DELIVERED, Status.CONFIRMED}


#: What XML 1.0, section 2.2, cannot hold even escaped.
_ILLEGIBLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def legible(text: str) -> str:
    """``text`` as a receipt can hold it: characters that XML cannot hold (a partner's reason may have any) become U+FFFD."""
    return _ILLEGIBLE.sub("\ufffd", text)


@dataclass(frozen=True, slots=True)
class Receipt:
    """One statement about one message. Its texts are ``legible``.

    ``id``           the receipt's own id (UUID text)
    ``message_id``   the id the sender knows the message by
    ``document_id``  the edXML DocumentId, or ""
    ``sender``       organisation code of the sender, as the message names it
    ``recipient``    organisation codes of those it was for, separated by one space; the site's own code for ACCEPTED
    ``code``         RFC 3463 style, such as "2.0.0"
    ``reasons``      one sentence by language, "vi" and "en"
    ``at``           when, aware, UTC
    ``digest``       SHA-256 of the message as received, lower-case hex
    ``previous``     hash of the journal row before this receipt's own, lower-case hex
    ``authenticated``  organisation code of the partner that was authenticated at the door; "" for a message of before it was noted
    ``method``       by what it was: ``wss-x509``, ``wss-username``, ``mtls``, ``vxp``, ``amqp``; several joined by ", "
    """

    id: str
    message_id: str
    document_id: str
    sender: str
    recipient: str
    status: Status
    code: str
    reasons: Mapping[str, str]
    at: datetime
    digest: str
    previous: str
    authenticated: str = ""
    method: str = ""
