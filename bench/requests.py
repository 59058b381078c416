"""The requests of the load: documents of one size, each with ids of its own, in envelopes that a unit's key signed."""

import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime

from adapters.soap import payloads
from bus import soap
from bus.edxml import write_document
from bus.signature import wss
from sandbox import documents
from sandbox.sites import Sites
from sandbox.unit import read_signer

UNIT = "telecom-authority"


class Unit:
    """A unit that writes to the partner agency, and never the same letter twice."""

    def __init__(self, places: Sites) -> None:
        self._signer = read_signer(places.key(UNIT))
        self._numbers = itertools.count(1)

    def document(self, size: int) -> bytes:
        """The next document: about ``size`` octets of edXML, most of which are its one file where it is large."""
        number = next(self._numbers)
        whole = documents.document(seed=number, number=number, receivers=(documents.PARTNER_AGENCY,))
        bare = len(write_document(replace(whole, attachments=(replace(whole.attachments[0], data=b""),))))
        content = random.Random(number).randbytes(max(1, (size - bare) * 3 // 4))
        return write_document(replace(whole, attachments=(replace(whole.attachments[0], data=content),)))

    def requests(self, size: int, count: int) -> list[bytes]:
        """``count`` signed SendDocument envelopes, the document inline; good for five minutes."""
        return [self._request(self.document(size)) for _ in range(count)]

    def _request(self, document: bytes) -> bytes:
        before, after = payloads.send_document(f"bench-{next(self._numbers)}")
        element = document.partition(b"?>")[2].lstrip()
        return wss.sign(soap.envelope(soap.SOAP_11, before + element + after), self._signer, datetime.now(UTC))
