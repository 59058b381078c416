"""One partner's way through each of the doors, and what it was told: the answer without what names the question."""

import base64
import json
import re
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from soap_rig import Rig, now
from usernames import TEXT, good, security, token

from adapters.soap import payloads
from bus import lexical, soap, vxp
from bus.endpoint import Request, Response
from bus.octets import whole
from bus.plain import plain
from bus.signature import wss
from bus.signer import Signer
from bus.soap import SOAP_11
from sandbox.unit import read_signer

#: The contract's operations that take an id, with what else they take.
OPERATIONS = (
    ("GetDocument", {}),
    ("GetReceipts", {}),
    ("ConfirmReceived", {"Status": "done"}),
    ("ConfirmReceived", {"Status": "fail", "Reason": "không nhận"}),
)
#: The hub's, by method, with what else they take.
HUB_OPERATIONS = (
    ("POST", "getEdoc", {}),
    ("GET", "downloadEdoc", {}),
    ("POST", "updateStatus", {"status": "done"}),
    ("POST", "updateStatus", {"status": "fail"}),
    ("POST", "updateStatus", {"status": "processing"}),
    ("POST", "getSentEdocList", {"messagetype": "edoc"}),
)
DOORS = ("documents", "named", "shown")
_REFERENCE = re.compile(r"<([\w:]*Reference)>[^<]*</|\[[0-9a-f]{12}\]")


@dataclass(frozen=True)
class Caller:
    """A partner: its name, keys (in ``home``), password, and account at the hub."""

    rig: Rig
    name: str
    home: Path
    password: str
    system: str
    secret: str

    @cached_property
    def signer(self) -> Signer:
        """Its key, loaded once."""
        return read_signer(self.home)

    async def soap(self, door: str, payload: bytes) -> Response:
        """One request through one of the SOAP doors, proved as that door demands."""
        if door == "named":
            header = security(token(good(TEXT, self.password, self.name)))
            return await self.rig.post(whole(soap.envelope(SOAP_11, payload, header.encode())), door)
        if door == "shown":
            shown = x509.load_pem_x509_certificate((self.home / "system.crt").read_bytes()).public_bytes(Encoding.DER)
            return await self.rig.post(whole(soap.envelope(SOAP_11, payload)), door, peer=shown.hex())
        signed = wss.sign(whole(soap.envelope(SOAP_11, payload)), self.signer, now())
        return await self.rig.post(signed, door)

    async def hub(self, method: str, operation: str, parameters: dict[str, str], body: bytes = b"{}") -> Response:
        """One request to the hub, rightly signed."""
        signed = {"systemid": self.system, **parameters, "timestamp": vxp.timestamp(now()), "Content-Type": vxp.JSON}
        headers = {name.lower(): value for name, value in vxp.signed_headers(signed, self.secret).items()}
        ((path, door),) = self.rig.endpoints["exchange"].doors()
        return await door(Request(method, f"{path}/{operation}", "", headers, body, "https://bus.example"))

    async def asks(self, door: str, operation: str, message: str, **more: str) -> str:
        """What a question about ``message`` is answered, less the id and the reference."""
        response = await self.soap(door, payloads.request(operation, MessageId=message, **more))
        told = etree.tostring(soap.read(whole(response.body), response.content_type).payload, method="c14n").decode()
        return _plain(response, told, soap.text(_quoted(message)))

    async def asks_hub(self, method: str, operation: str, message: str, **more: str) -> str:
        """The same at the hub."""
        response = await self.hub(method, operation, {"docId": message, **more})
        told = whole(response.body).decode()
        return _plain(response, told, json.dumps(_quoted(message), ensure_ascii=False)[1:-1])


def _quoted(message: str) -> str:
    """An id as our answers quote it."""
    return plain(lexical.collapsed(message))


def _plain(response: Response, told: str, message: str) -> str:
    return f"{response.status} {_REFERENCE.sub('', told.replace(message, 'ID') if message else told)}"


def nobody(like: str) -> str:
    """An id that nobody ever had, as long as ``like``."""
    return (base64.b32encode(uuid.uuid4().bytes * 8).decode().rstrip("=").lower() * (1 + len(like) // 200))[: max(1, len(like))]
