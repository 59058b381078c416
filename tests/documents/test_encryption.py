"""XML Encryption of a SOAP Body: both directions over real sockets, and against xmlsec1."""

import base64
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from encrypted_rig import (
    CALLED,
    Sealer,
    content,
    decrypted_by_xmlsec1,
    encrypted_by_xmlsec1,
    encryption_certificate,
    put,
    request,
)
from soap_rig import MINISTRY, OTHER, Rig, document, fault_code, now

from bus import pki, soap, xmlio
from bus.errors import ConfigurationError, Deferred, Rejected
from bus.hollow import Hollow
from bus.message import Message
from bus.octets import whole
from bus.signature import wss
from bus.signature.encryption import XENC, XENC11, Holder, Recipient
from bus.signature.profile import DS, SHA256

MakeRig = Callable[..., Awaitable[Rig]]


async def accepted(rig: Rig, envelope: bytes, message_id: str = "m-1") -> bytes:
    """The octets of the document that the bus keeps once it has taken the request."""
    response = await rig.post(envelope)
    assert response.status == 200, whole(response.body).decode()
    rig.read(response)
    return whole((await rig.store.fetch("other", message_id)).body)


# --- good ones --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sealed", "older"])
async def test_what_is_encrypted_for_a_key_of_ours_is_taken(rig: Rig, sealed_certs: Path, name: str) -> None:
    """For the key in use, and for the one that it replaces; what is kept is the document."""
    recipient = Recipient(_certificate(sealed_certs / "own" / f"{name}.crt"))
    sent = recipient.enclose(request(rig))
    assert b"OrganId" not in sent
    assert b"Content>" not in sent
    assert await accepted(rig, sent) == document()


async def test_what_is_kept_of_the_request_is_what_its_signature_proves(rig: Rig, sealed_certs: Path) -> None:
    """The evidence of an encrypted request can be verified without our key: it is kept decrypted."""
    await accepted(rig, Recipient(_certificate(sealed_certs / "own" / "sealed.crt")).enclose(request(rig)))
    kept = _kept_request(rig)
    assert b"EncryptedData" not in kept
    verified = wss.verify(xmlio.parse(kept), wss.Policy(), rig.site.keyring.identify, now())
    assert verified.identity == "unit"


def _kept_request(rig: Rig) -> bytes:
    import sqlite3

    with sqlite3.connect(rig.site.root / "data" / "bus.db") as connection:
        rows = connection.execute("SELECT b.body FROM messages m JOIN blobs b ON b.digest = m.request").fetchall()
    ((body,),) = rows
    return bytes(body)


async def test_large_documents_are_decrypted_too(rig: Rig, sealed_certs: Path) -> None:
    """Above 1 MiB, with a file in it that the parser never sees."""
    large = document().replace(
        b"</edXML:edXMLEnvelope>",
        b"</edXML:edXMLEnvelope><AttachmentEncoded><Attachment><AttachmentName>a.bin</AttachmentName><ContentTransferEncoded>"
        + base64.b64encode(bytes(range(256)) * 9000)
        + b"</ContentTransferEncoded></Attachment></AttachmentEncoded>",
    )
    sent = Recipient(_certificate(sealed_certs / "own" / "sealed.crt")).enclose(request(rig, body=large))
    assert len(sent) > 3 << 20
    assert await accepted(rig, sent) == large


async def test_where_it_is_optional_both_are_taken(rig: Rig, sealed_certs: Path) -> None:
    """`encryption: optional` takes what is not encrypted; the default refuses it, 5.7.0."""
    clear = request(rig)
    assert fault_code(await rig.post(clear)) == "5.7.0"
    assert (await rig.post(clear, "either")).status == 200
    sealed = Recipient(_certificate(sealed_certs / "own" / "sealed.crt")).enclose(request(rig, "m-2"))
    assert (await rig.post(sealed, "either")).status == 200


@pytest.mark.parametrize("place", ["header", "data"])
@pytest.mark.parametrize("variant", ["oaep", "oaep-sha512", "mgf1p", "mgf1p-sha1", "aes-128"])
async def test_other_stacks_ways_are_understood(rig: Rig, sealer: Sealer, place: str, variant: str) -> None:
    """The key in the Security header or with the data; OAEP by its old and its new name; AES-128 too."""
    if variant == "oaep-sha512":
        sealer.digest, sealer.mask = sealer.digest.replace("sha256", "sha512"), sealer.mask.replace("mgf1sha256", "mgf1sha512")
        sealer.padding = padding.OAEP(padding.MGF1(hashes.SHA512()), hashes.SHA512(), None)
    if variant == "mgf1p":
        sealer.transport, sealer.mask = f"{XENC}rsa-oaep-mgf1p", ""
        sealer.padding = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA256(), None)
    if variant == "mgf1p-sha1":
        sealer.transport, sealer.digest, sealer.mask = f"{XENC}rsa-oaep-mgf1p", "", ""
        sealer.padding = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    if variant == "aes-128":
        sealer.secret, sealer.content = sealer.secret[:16], f"{XENC11}aes128-gcm"
    clear = request(rig)
    if place == "header":
        sealed = sealer.envelope(clear)
    else:
        sealed = put(clear, sealer.data(content(clear), f'<ds:KeyInfo xmlns:ds="{DS}">{sealer.key()}</ds:KeyInfo>'))
    assert await accepted(rig, sealed) == document()


# --- xmlsec1 ----------------------------------------------------------------------------------------------------------


async def test_what_xmlsec1_encrypts_is_read(rig: Rig, sealed_certs: Path, xmlsec1: str, tmp_path: Path) -> None:
    """A request that we did not encrypt ourselves."""
    sealed = encrypted_by_xmlsec1(xmlsec1, request(rig), sealed_certs / "own" / "sealed.crt", tmp_path)
    assert b"OrganId" not in sealed
    assert await accepted(rig, sealed) == document()


async def test_what_we_encrypt_xmlsec1_reads(rig: Rig, sealed_certs: Path, xmlsec1: str, tmp_path: Path) -> None:
    """And the signature over the decrypted Body is good. Debian's xmlsec1 (1.2) knows OAEP by its older name."""
    clear = request(rig)
    sealed = Recipient(_certificate(sealed_certs / "own" / "sealed.crt"), "rsa-oaep-mgf1p").enclose(clear)
    opened = decrypted_by_xmlsec1(xmlsec1, sealed, sealed_certs / "own" / "sealed.key", tmp_path)
    assert xmlio.canonicalize(xmlio.parse(opened)[-1]) == xmlio.canonicalize(xmlio.parse(clear)[-1])
    assert wss.verify(xmlio.parse(opened), wss.Policy(), rig.site.keyring.identify, now()).identity == "unit"


# --- bus to bus -------------------------------------------------------------------------------------------------------

#: The other ministry's bus, as ours calls it.
CALLER = f"""\
site: {{organisation: {MINISTRY}, name: Bộ Thông tin và Truyền thông}}
partners:
  other: {{codes: [{OTHER}], trust: trust/other}}
endpoints:
  documents: {{soap: {{path: /soap/documents, security: {{verify: wss-x509, sign: own/bus}}}}}}
  agency:
    soap:
      url: env:PARTNER_URL
      partner: other
      timeout: 5s
      security: {{verify: wss-x509, sign: own/bus, encrypt: trust/other/sealed}}
routes:
  - {{name: documents, from: documents, to: [agency]}}
"""


async def test_bus_to_bus_nothing_is_read_on_the_way(
    make_rig: MakeRig, serve: Callable[..., Awaitable[str]], sealed_certs: Path, tmp_path: Path
) -> None:
    """Our client encrypts for the other bus, whose door decrypts, verifies and answers with its receipt; on the wire is no document."""
    theirs = tmp_path / "theirs"
    shutil.copytree(sealed_certs, theirs)
    _as_other(theirs)
    called = await make_rig(CALLED, keys=theirs)
    seen: list[bytes] = []
    url = await serve(_door_of(called, seen))
    calling = await make_rig(CALLER, {"PARTNER_URL": url}, keys=sealed_certs)
    adapter = calling.endpoints["agency"]
    sent = await adapter.send(Message("0190-message", {"kind": "document"}, document()))
    await adapter.stop()
    assert len(seen) == 1
    assert b"OrganId" not in seen[0]
    assert b"EncryptedKey" in seen[0]
    receipts = called.store.receipts_of("0190-message")
    assert len(receipts) == 1
    assert sent.digest.encode() in receipts[0]
    assert whole((await called.store.fetch("other", "0190-message")).body)


@pytest.mark.parametrize("wrong", ["ended", "signing", "ec"])
async def test_a_partners_certificate_must_be_for_encryption_and_in_force(
    make_rig: MakeRig, sealed_certs: Path, tmp_path: Path, wrong: str
) -> None:
    """One for signing, or without RSA, is a fault of the site; one that has ended defers the message, which does not pay for it."""
    own = tmp_path / "certs"
    shutil.copytree(sealed_certs, own)
    authority = pki.read_authority(own / "development")
    path = own / "trust" / "other" / "sealed.crt"
    if wrong == "ec":
        shutil.copy(own / "development" / "other" / "tls.crt", path)
    else:
        key = rsa.generate_private_key(65537, 2048)
        pki._write_certificates(path, encryption_certificate(authority, key, "x", for_keys=wrong != "signing", ended=wrong == "ended"))
    if wrong != "ended":
        with pytest.raises(ConfigurationError, match="keyEncipherment" if wrong == "signing" else "RSA"):
            await make_rig(CALLER, {"PARTNER_URL": "https://127.0.0.1:9/soap"}, keys=own)
        return
    calling = await make_rig(CALLER, {"PARTNER_URL": "https://127.0.0.1:9/soap"}, keys=own)
    with pytest.raises(Deferred, match="outside its validity"):
        await calling.endpoints["agency"].send(Message("0190-message", {"kind": "document"}, document()))


# --- the extra --------------------------------------------------------------------------------------------------------


async def test_without_the_extra_the_check_says_what_to_install(
    make_rig: MakeRig, sealed_certs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site that encrypts and has no python-xmlsec is a fault with its cure; any other never asks for it."""
    monkeypatch.setitem(sys.modules, "xmlsec", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'govbus\[xmlenc\]'"):
        await make_rig(CALLED, keys=sealed_certs)
    await make_rig(re.sub(r", decrypt: [^}]*", "", CALLED), keys=sealed_certs)


def test_the_pin_of_the_extra_holds() -> None:
    """python-xmlsec works on lxml's trees: both must carry the same libxml2, or the process dies (setup.cfg)."""
    import xmlsec
    from lxml import etree

    assert xmlsec.get_libxml_version() == etree.LIBXML_VERSION


#: Ten megabytes sealed by one process and opened by this one, which says what that cost: its own peak, where ru_maxrss starts at its
#: parent's size.
_OPENING = """
import re, sys, time
from pathlib import Path
from bus import xmlio
from bus.hollow import Hollow
from bus.keys import Keyring
from bus.signature.encryption import Holder
holder = Holder([Keyring.load(Path(sys.argv[1]), {}).signer("own/sealed")])
data, hollow, before = Path(sys.argv[2]).read_bytes(), Hollow(), time.process_time()
opened = holder.open(xmlio.parse(data), hollow)
assert len(hollow.text(opened[-1][0][0])) > 9_000_000
spent = time.process_time() - before
print(spent, int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def test_ten_megabytes_are_opened_within_bounds(sealed_certs: Path, tmp_path: Path) -> None:
    """At most 2 s of processor time and 400 MB, interpreter and libraries included."""
    text = b"<a><Content>%b</Content></a>" % base64.b64encode(bytes(7_000_000))
    sealed = Recipient(_certificate(sealed_certs / "own" / "sealed.crt")).enclose(soap.envelope(soap.SOAP_11, text))
    (tmp_path / "sealed.xml").write_bytes(sealed)
    command = [sys.executable, "-c", _OPENING, str(sealed_certs), str(tmp_path / "sealed.xml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    seconds, megabytes = (float(word) for word in done.stdout.split())
    assert seconds < 2
    assert megabytes < 400


def test_the_keys_show_nowhere(sealed_certs: Path) -> None:
    """Neither holder nor failure shows anything of a key."""
    holder = Holder([_own(sealed_certs, "sealed")])
    assert repr(holder) == "Holder()"
    root = xmlio.parse(whole(soap.envelope(soap.SOAP_11, b"<a/>")))
    with pytest.raises(Rejected) as refused:
        holder.open(root, Hollow())
    assert "PRIVATE" not in str(refused.value) + str(vars(refused.value))


def test_each_call_has_a_key_of_its_own(sealed_certs: Path) -> None:
    """The same content twice gives nothing in common."""
    recipient = Recipient(_certificate(sealed_certs / "own" / "sealed.crt"))
    clear = whole(soap.envelope(soap.SOAP_11, b"<a>x</a>"))
    first, second = (set(re.findall(rb"<xenc:CipherValue>(.*?)</xenc:CipherValue>", recipient.enclose(clear))) for _ in range(2))
    assert len(first) == 2
    assert first.isdisjoint(second)


def test_threads_share_recipient_and_holder(sealed_certs: Path) -> None:
    """Large messages are worked in threads, several at a time: each comes out as it went in."""
    recipient, holder = Recipient(_certificate(sealed_certs / "own" / "sealed.crt")), Holder([_own(sealed_certs, "sealed")])

    def there_and_back(number: int) -> bool:
        text = str(number).encode() * 20_000
        sealed = recipient.enclose(soap.envelope(soap.SOAP_11, b"<a>%b</a>" % text))
        opened = holder.open(xmlio.parse(sealed), Hollow())
        return opened is not None and opened[-1][0].text == text.decode()

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(there_and_back, range(200)))


def test_our_encryption_is_what_it_says(sealed_certs: Path) -> None:
    """AES-256-GCM under RSA-OAEP with SHA-256 and MGF1 with SHA-256, opened by other code."""
    sealed = xmlio.parse(Recipient(_certificate(sealed_certs / "own" / "sealed.crt")).enclose(soap.envelope(soap.SOAP_11, b"<a>x</a>")))
    methods = [one.get("Algorithm") for one in sealed.iter(f"{{{XENC}}}EncryptionMethod", f"{{{DS}}}DigestMethod", f"{{{XENC11}}}MGF")]
    assert methods == [f"{XENC11}rsa-oaep", SHA256, f"{XENC11}mgf1sha256", f"{XENC11}aes256-gcm"]
    wrapped, cipher = (base64.b64decode(one.text) for one in sealed.iter(f"{{{XENC}}}CipherValue"))
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    secret = _own(sealed_certs, "sealed").in_memory.decrypt(wrapped, oaep)
    assert (len(secret), AESGCM(secret).decrypt(cipher[:12], cipher[12:], None)) == (32, b"<a>x</a>")


def _certificate(path: Path):
    from cryptography import x509

    return x509.load_pem_x509_certificate(path.read_bytes())


def _own(certs: Path, name: str):
    from bus.keys import Keyring

    return Keyring.load(certs, {}).signer(f"own/{name}")


def _as_other(certs: Path) -> None:
    """Turn a site's keys around: it is ``other`` now, and its partner ``unit`` is the ministry."""
    shutil.copy(certs / "own" / "ca.crt", certs / "trust" / "unit" / "ca.crt")
    for suffix in ("key", "crt"):
        shutil.copy(certs / "development" / "other" / f"system.{suffix}", certs / "own" / f"bus.{suffix}")


def _door_of(rig: Rig, seen: list[bytes]) -> Callable[..., Awaitable[object]]:
    from aiohttp import web

    from bus.endpoint import Request

    async def handle(asked: web.Request) -> web.Response:
        ((_, door),) = rig.endpoints["documents"].doors()
        seen.append(await asked.read())
        headers = {name.lower(): value for name, value in asked.headers.items()}
        response = await door(Request(asked.method, "/soap/documents", asked.query_string, headers, seen[-1], "https://b"))
        return web.Response(status=response.status, body=whole(response.body), headers={"Content-Type": response.content_type})

    return handle
