"""Encrypted Bodies between the bus and WSS4J: by AES-GCM and RSA-OAEP each reads the other; by CBC, or changed, nothing is read.

Standards: XML Encryption 1.1 sections 5.2.4 (AES-GCM) and 5.5.2 (RSA-OAEP); WS-Security 1.1 section 9.
"""

import re

import pytest
from cross_stacks import Refused
from cross_world import AMOUNT, ENVELOPE, World

from bus.errors import Rejected
from bus.hollow import Hollow
from bus.signature.encryption import Holder, Recipient
from bus.signer import Signer, SoftKey
from bus.xmlio import canonicalize, parse

GCM, CBC = "http://www.w3.org/2009/xmlenc11#aes{}-gcm", "http://www.w3.org/2001/04/xmlenc#aes{}-cbc"


def opened(world: World, envelope: bytes) -> bytes:
    """The Body that the bus reads with its key, canonical. Raises Rejected."""
    identity = world.recipient
    holder = Holder([Signer("own/sealed", SoftKey(identity.private), identity.certificate)])
    return canonicalize(holder.open(parse(envelope), Hollow())[-1])


def changed(envelope: bytes) -> bytes:
    """One character in the middle of the last CipherValue, which is the content's."""
    *_, found = re.finditer(rb"CipherValue>([^<]+)<", envelope)
    place = found.start(1) + len(found[1]) // 2
    return envelope[:place] + (b"B" if envelope[place : place + 1] == b"A" else b"A") + envelope[place + 1 :]


@pytest.mark.parametrize("bits", [128, 256])
def test_we_read_what_wss4j_encrypts(stack, world, bits):
    """By AES-GCM the Body is as it was, and with one character of it another nothing is read."""
    sealed = stack("wss4j bst").encrypt(world.recipient.der, GCM.format(bits), ENVELOPE)
    assert AMOUNT not in sealed
    assert opened(world, sealed) == canonicalize(parse(ENVELOPE)[-1])
    with pytest.raises(Rejected) as refusal:
        opened(world, changed(sealed))
    assert refusal.value.key == "decryption-failed"


@pytest.mark.parametrize("bits", [128, 256])
def test_cbc_is_refused(stack, world, bits):
    """WSS4J's default has a padding oracle (XML Encryption 1.1 section 6.1.4); it gets the same words as any other failure."""
    sealed = stack("wss4j bst").encrypt(world.recipient.der, CBC.format(bits), ENVELOPE)
    with pytest.raises(Rejected) as refusal:
        opened(world, sealed)
    assert refusal.value.key == "decryption-failed"


def test_wss4j_reads_what_we_encrypt(stack, world):
    """With the key wrapped as stacks know it that are older than XML Encryption 1.1; changed, nothing is read."""
    java, identity = stack("wss4j bst"), world.recipient
    sealed = Recipient(identity.certificate, "rsa-oaep-mgf1p").enclose(ENVELOPE)
    assert AMOUNT not in sealed
    assert canonicalize(parse(java.decrypt(identity.pkcs8, identity.der, sealed))[-1]) == canonicalize(parse(ENVELOPE)[-1])
    with pytest.raises(Refused):
        java.decrypt(identity.pkcs8, identity.der, changed(sealed))


def test_wss4j_1_6_says_that_it_is_older_than_our_usual_key_transport(stack, world):
    """RSA-OAEP with SHA-256 throughout came with XML Encryption 1.1: for such a partner the other transport must be chosen."""
    identity = world.recipient
    with pytest.raises(Refused, match=r"not supported: http://www\.w3\.org/2009/xmlenc11#rsa-oaep"):
        stack("wss4j bst").decrypt(identity.pkcs8, identity.der, Recipient(identity.certificate).enclose(ENVELOPE))
