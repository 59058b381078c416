"""WSS4J against the real daemon over TLS: requests as Java's stack signs them, replies as it verifies them."""

import base64
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import requests
from cross_foreign import Wss4j
from cross_stacks import Refused
from cross_world import BY_NAME
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from lxml import etree
from soap_rig import document

from bus import scaffold
from sandbox.process import BusProcess

SENDER, CODE, RECEIVER = "telecom-authority", "000.00.01.G14", "000.00.02.G14"
EXCHANGE = "urn:govbus:exchange:v1"
#: By SOAP version: the namespace and the media type.
VERSIONS = {
    "1.1": ("http://schemas.xmlsoap.org/soap/envelope/", "text/xml"),
    "1.2": ("http://www.w3.org/2003/05/soap-envelope", "application/soap+xml"),
}
FAULT_CODE = ".//{urn:govbus:fault:v1}Code"
TOKENS = ("bst", "issuer-serial", "ski", "x509-identifier")
BOUNDARY = "ranh-gioi"


@dataclass(frozen=True)
class Client:
    """A partner on Java: WSS4J signs what it sends and verifies what it gets."""

    daemon: BusProcess

    def envelope(self, version: str, message_id: str, content: bytes) -> bytes:
        """A SendDocument, not signed yet."""
        return (
            f'<e:Envelope xmlns:e="{VERSIONS[version][0]}"><e:Header/><e:Body><x:SendDocument xmlns:x="{EXCHANGE}">'
            f"<x:MessageId>{message_id}</x:MessageId><x:Content>{base64.b64encode(content).decode()}</x:Content>"
            "</x:SendDocument></e:Body></e:Envelope>"
        ).encode()

    def signed(self, stack: Wss4j, envelope: bytes, party: str = SENDER) -> bytes:
        """The envelope with WSS4J's signature, by the party's key."""
        home = self.daemon.site / "certs" / "development" / party
        key = serialization.load_pem_private_key((home / "system.key").read_bytes(), None)
        formats = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return stack.sign_envelope(envelope, key.private_bytes(*formats), _der(home / "system.crt"), BY_NAME["rsa-sha256"])

    def post(self, body: bytes, content_type: str) -> requests.Response:
        """One request over TLS."""
        with requests.Session() as session:
            # Else REQUESTS_CA_BUNDLE of the environment would win.
            session.trust_env, session.verify = False, str(self.daemon.site / "certs" / "own" / "ca.crt")
            return session.post(f"{self.daemon.url}/soap/documents", data=body, headers={"content-type": content_type}, timeout=30)

    def verify(self, stack: Wss4j, reply: bytes) -> etree._Element:
        """The reply's Body, after WSS4J has found the bus's signature over it and its Timestamp good."""
        own = self.daemon.site / "certs" / "own"
        stack.verify_envelope(reply, _der(own / "bus.crt"), _der(own / "ca.crt"))
        return etree.fromstring(reply)[-1]


def _der(path) -> bytes:
    return x509.load_pem_x509_certificates(path.read_bytes())[0].public_bytes(serialization.Encoding.DER)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The reference site's daemon; the partner's certificate lies there, so that a token may merely name it."""
    site = tmp_path_factory.mktemp("wss4j") / "site"
    scaffold.create(site, datetime.now(UTC))
    certs = site / "certs"
    shutil.copy(certs / "development" / SENDER / "system.crt", certs / "trust" / SENDER / "system.crt")
    with BusProcess(site) as process:
        yield Client(process)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("token", TOKENS)
def test_wss4j_sends_a_document_and_verifies_the_receipt(stack, client, token, version):
    """However WSS4J names its certificate, the document is accepted, and WSS4J finds the bus's signature on the reply good."""
    java = stack(f"wss4j {token}")
    content = document(10 * TOKENS.index(token) + list(VERSIONS).index(version), sender=CODE, receiver=RECEIVER)
    reply = client.post(client.signed(java, client.envelope(version, f"{token}-{version}", content)), VERSIONS[version][1])
    body = client.verify(java, reply.content)
    assert (reply.status_code, body.findtext(".//{*}Status")) == (200, "ACCEPTED")
    assert body.findtext(".//{*}Sha256") == hashlib.sha256(content).hexdigest()
    with pytest.raises(Refused):
        client.verify(java, reply.content.replace(b"ACCEPTED", b"REJECTED"))


def test_wss4js_signature_over_the_inlined_form_covers_an_mtom_part(stack, client):
    """A request signed over base64 and sent with that part outside (MTOM 1.0 section 1.2) is accepted, and refused when changed."""
    java, content = stack("wss4j bst"), document(77, sender=CODE, receiver=RECEIVER)
    signed = client.signed(java, client.envelope("1.1", "mtom", content))
    include = b'<i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="cid:content@java"/>'
    root = signed.replace(base64.b64encode(content), include)
    assert root != signed
    kind = f'multipart/related; boundary={BOUNDARY}; type="application/xop+xml"; start="<root@java>"; start-info="text/xml"'
    changed = client.post(_multipart(root, content.replace(b"V/v", b"V/V")), kind)
    assert etree.fromstring(changed.content).findtext(FAULT_CODE) == "5.7.7"
    assert client.verify(java, client.post(_multipart(root, content), kind).content).findtext(".//{*}Status") == "ACCEPTED"


@pytest.mark.parametrize("change", ["content", "stranger", "unsigned"])
def test_what_wss4j_did_not_sign_is_refused(stack, client, change):
    """A changed document, another partner's signature and none at all: a fault 5.7, and no receipt."""
    java = stack("wss4j bst")
    envelope = client.envelope("1.1", f"refused-{change}", document(5, sender=CODE, receiver=RECEIVER))
    request = envelope if change == "unsigned" else client.signed(java, envelope, "digital-agency" if change == "stranger" else SENDER)
    if change == "content":
        request = request.replace(b"refused-content", b"refused-Content")
    reply = client.post(request, "text/xml")
    assert reply.status_code == 500
    assert etree.fromstring(reply.content).findtext(FAULT_CODE).startswith("5.7.")


def _multipart(root: bytes, content: bytes) -> bytes:
    parts = [
        (b'Content-Type: application/xop+xml; charset=UTF-8; type="text/xml"\r\nContent-ID: <root@java>', root),
        (b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <content@java>", content),
    ]
    line = f"--{BOUNDARY}".encode()
    return b"".join(line + b"\r\n" + head + b"\r\n\r\n" + body + b"\r\n" for head, body in parts) + line + b"--\r\n"
