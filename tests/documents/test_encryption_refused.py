"""Encrypted requests that must be refused: every one of them in the same words."""

import base64
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from encrypted_rig import CALLED, Sealer, content, put, request
from soap_rig import Rig, document, fault_code

from bus import soap
from bus.octets import whole
from bus.signature.encryption import XENC
from bus.signature.profile import DS, WSSE

MakeRig = Callable[..., Awaitable[Rig]]


def _cbc(sealer: Sealer, clear: bytes) -> bytes:
    sealer.content = f"{XENC}aes256-cbc"
    return sealer.envelope(clear)


def _pkcs1(sealer: Sealer, clear: bytes) -> bytes:
    sealer.transport, sealer.digest, sealer.mask, sealer.padding = f"{XENC}rsa-1_5", "", "", padding.PKCS1v15()
    return sealer.envelope(clear)


def _another_key(sealer: Sealer, clear: bytes) -> bytes:
    sealer.public = rsa.generate_private_key(65537, 2048).public_key()
    return sealer.envelope(clear)


def _changed_cipher(sealer: Sealer, clear: bytes) -> bytes:
    cipher = bytearray(base64.b64decode(sealer.cipher(content(clear))))
    cipher[40] ^= 1
    return put(clear, sealer.data(b"", cipher=base64.b64encode(cipher).decode()), sealer.key())


def _changed_key(sealer: Sealer, clear: bytes) -> bytes:
    wrapped = bytearray(base64.b64decode(sealer.wrapped()))
    wrapped[100] ^= 1
    return put(clear, sealer.data(content(clear)), sealer.key(base64.b64encode(wrapped).decode()))


def _short_secret(sealer: Sealer, clear: bytes) -> bytes:
    """A session key of sixteen octets where the method wants thirty-two."""
    sealed = put(clear, sealer.data(content(clear)), "")
    sealer.secret = sealer.secret[:16]
    return put(sealed, content(sealed).decode(), sealer.key())


def _two_keys(sealer: Sealer, clear: bytes) -> bytes:
    return put(sealer.envelope(clear), sealer.data(content(clear)), sealer.key())


def _two_data(sealer: Sealer, clear: bytes) -> bytes:
    return put(clear, sealer.data(content(clear)) * 2, sealer.key())


def _data_in_header(sealer: Sealer, clear: bytes) -> bytes:
    return put(clear, content(clear).decode(), sealer.key() + sealer.data(b"<a/>"))


def _beside_clear(sealer: Sealer, clear: bytes) -> bytes:
    return put(clear, sealer.data(content(clear)) + "<more xmlns='urn:x'/>", sealer.key())


def _key_elsewhere(sealer: Sealer, clear: bytes) -> bytes:
    sealed = put(clear, sealer.data(content(clear)))
    return sealed.replace(b"<soap:Header>", b"<soap:Header><x:a xmlns:x='urn:x'>" + sealer.key().encode() + b"</x:a>", 1)


def _reference_to_another(sealer: Sealer, clear: bytes) -> bytes:
    return put(clear, sealer.data(content(clear)), sealer.key(data="ED-2"))


def _cipher_reference(sealer: Sealer, clear: bytes) -> bytes:
    """A URI to fetch in the place of the octets."""
    data = re.sub("<xenc:CipherValue>.*</xenc:CipherValue>", '<xenc:CipherReference URI="file:///etc/passwd"/>', sealer.data(b"x"))
    return put(clear, data, sealer.key())


def _oaep_parameters(sealer: Sealer, clear: bytes) -> bytes:
    sealer.mask += "<xenc:OAEPparams>AAAA</xenc:OAEPparams>"
    return sealer.envelope(clear)


def _plain(octets: bytes) -> Callable[[Sealer, bytes], bytes]:
    return lambda sealer, clear: put(clear, sealer.data(octets), sealer.key())


def _encrypted_twice(sealer: Sealer, clear: bytes) -> bytes:
    return put(clear, sealer.data(sealer.data(content(clear)).encode()), sealer.key())


def _no_base64(sealer: Sealer, clear: bytes) -> bytes:
    return put(clear, sealer.data(b"", cipher="&#x263A;*"), sealer.key())


def _other_type(sealer: Sealer, clear: bytes) -> bytes:
    sealer.type = "http://www.w3.org/2009/xmlenc11#EXI"
    return sealer.envelope(clear)


def _empty_cipher(sealer: Sealer, clear: bytes) -> bytes:
    return put(clear, sealer.data(b"", cipher="AAAA"), sealer.key())


def _retrieval(sealer: Sealer, clear: bytes) -> bytes:
    info = f'<ds:KeyInfo xmlns:ds="{DS}"><ds:RetrievalMethod URI="http://127.0.0.1:9/key"/></ds:KeyInfo>'
    return put(clear, sealer.data(content(clear), info))


CASES: dict[str, Callable[[Sealer, bytes], bytes]] = {
    "CBC": _cbc,
    "PKCS#1 v1.5": _pkcs1,
    "for another key": _another_key,
    "cipher changed": _changed_cipher,
    "wrapped key changed": _changed_key,
    "session key of another length": _short_secret,
    "two keys": _two_keys,
    "data in the header": _data_in_header,
    "key outside the Security header": _key_elsewhere,
    "key for other data": _reference_to_another,
    "cipher by reference": _cipher_reference,
    "OAEP parameters": _oaep_parameters,
    "encrypted twice": _encrypted_twice,
    "not base64": _no_base64,
    "compressed XML": _other_type,
    "no cipher": _empty_cipher,
    "key by retrieval": _retrieval,
    "nothing inside": _plain(b""),
    "two elements inside": _plain(b"<a/><b/>"),
    "no XML inside": _plain(b"\x00\x01\x02"),
    "end tags inside": _plain(b"<a/></content><content>"),
    "body closed inside": _plain(b"<a/></soap:Body><soap:Body><b/>"),
    "DOCTYPE inside": _plain(b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'),
    "entity inside": _plain(b"<a>&lt;&undefined;</a>"),
    "depth inside": _plain(b"<a>" * 300 + b"</a>" * 300),
    "elements inside": _plain(b"<a>" + b"<b/>" * 300_000 + b"</a>"),
    "UTF-16 inside": _plain("<a/>".encode("utf-16")),
}


@pytest.mark.parametrize("name", CASES)
async def test_whatever_is_wrong_is_refused_in_the_same_words(rig: Rig, sealer: Sealer, name: str) -> None:
    """5.7.5, and of two refusals nothing differs but their reference: who tries learns nothing from the answer."""
    response = await rig.post(CASES[name](sealer, request(rig)))
    assert fault_code(response) == "5.7.5"
    text = re.sub(r"<f:Reference>[^<]*</f:Reference>", "", re.sub(r"<soap:Header>.*</soap:Header>", "", whole(response.body).decode()))
    assert "The message's content cannot be decrypted." in text
    assert "Không giải mã được nội dung bản tin." in text
    assert "<f:At>/Envelope/Body</f:At>" in text
    assert re.sub(r"wsu:Id=\"[^\"]*\"", "", text) == re.sub(r"wsu:Id=\"[^\"]*\"", "", await _text_of_reference(rig, sealer))
    assert not rig.store.show("m-1")


@pytest.mark.parametrize("make", [_two_data, _beside_clear])
async def test_nothing_stands_beside_what_is_encrypted(rig: Rig, sealer: Sealer, make: Callable[[Sealer, bytes], bytes]) -> None:
    """A Body of two elements is no SOAP of ours, encrypted or not: 5.6.5, before any key is used."""
    assert fault_code(await rig.post(make(sealer, request(rig)))) == "5.6.5"


async def _text_of_reference(rig: Rig, sealer: Sealer) -> str:
    """The refusal of what is encrypted for somebody else, for comparison."""
    response = await rig.post(_changed_key(sealer, request(rig)))
    return re.sub(r"<f:Reference>[^<]*</f:Reference>", "", re.sub(r"<soap:Header>.*</soap:Header>", "", whole(response.body).decode()))


async def test_encryption_proves_nobody(rig: Rig, sealer: Sealer) -> None:
    """Anyone may encrypt for us: what is inside needs its signature as ever, and one over another Body is not good for it."""
    clear = request(rig)
    other = content(request(rig, "m-2", document(2)))
    forged = put(clear, sealer.data(other), sealer.key())
    assert fault_code(await rig.post(forged)) == "5.7.7"
    unsigned = whole(soap.envelope(soap.SOAP_11, content(clear), b'<wsse:Security xmlns:wsse="%b"></wsse:Security>' % WSSE.encode()))
    assert fault_code(await rig.post(put(unsigned, sealer.data(content(clear)), sealer.key()))) == "5.7.0"


async def test_a_door_that_does_not_decrypt_refuses_what_is_encrypted(make_rig: MakeRig, sealed_certs: Path, sealer: Sealer) -> None:
    """Without `decrypt` the signature does not cover what came, whatever it was."""
    plain = await make_rig(CALLED.replace(", decrypt: [own/sealed, own/older]", ""), keys=sealed_certs)
    assert fault_code(await plain.post(sealer.envelope(request(plain)))).startswith("5.")
