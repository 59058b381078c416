"""WS-Addressing headers under the signature, between the bus and WSS4J: what is covered is demanded, and a changed one is refused.

Standards: WS-Addressing 1.0 (SOAP Binding) section 5; WS-Security 1.1 section 8.
"""

import pytest
from cross_stacks import Refused
from cross_world import BY_NAME, ENVELOPE, World

from bus.errors import Rejected
from bus.methods import BY_NAME as METHODS
from bus.signature import wss
from bus.signature.security_header import Style
from bus.signer import Signer, SoftKey
from bus.xmlio import parse

POLICY = wss.Policy(covers=("Body", "Timestamp", "To", "Action"))
ADDRESSED = ENVELOPE.replace(
    b"<soapenv:Header>",
    b'<soapenv:Header><w:To xmlns:w="http://www.w3.org/2005/08/addressing">https://truc.example/soap</w:To>'
    b'<w:Action xmlns:w="http://www.w3.org/2005/08/addressing">urn:thu:gui</w:Action>',
)


def verify(world: World, envelope: bytes) -> None:
    """Returns if the bus finds Body, Timestamp, To and Action signed. Raises Rejected."""
    wss.verify(parse(envelope), POLICY, world.keyring.identify, world.now, known=world.keyring)


def test_we_demand_and_find_the_headers_that_wss4j_signs(stack, world):
    """To and Action are covered where WSS4J signs them, refused when changed, missed when taken away or never signed."""
    java, identity, method = stack("wss4j bst"), world.identities["rsa"], BY_NAME["rsa-sha256"]
    signed = java.sign_envelope(ADDRESSED, identity.pkcs8, identity.der, method)
    verify(world, signed)
    unsigned = java.sign_envelope(ENVELOPE, identity.pkcs8, identity.der, method).replace(
        b"<soapenv:Header>", ADDRESSED[ADDRESSED.index(b"<soapenv:Header>") : ADDRESSED.index(b"</soapenv:Header>")]
    )
    assert b":To" in unsigned
    for wrong in (signed.replace(b"truc.example", b"truc-example"), signed.replace(b":Action", b":Accion"), unsigned):
        with pytest.raises(Rejected) as refusal:
            verify(world, wrong)
        assert refusal.value.key in {"signature-invalid", "security-missing"}


def test_wss4j_verifies_the_headers_that_we_sign(stack, world):
    """The same the other way round, with references to headers that carry nothing but our Ids."""
    java, identity = stack("wss4j bst"), world.identities["rsa"]
    signer = Signer("own/test", SoftKey(identity.private), identity.certificate, METHODS["rsa-sha256"])
    signed = wss.sign(ADDRESSED, signer, world.now, style=Style(headers=True))
    assert signed.count(b"<ds:Reference ") == 4
    java.verify("wss", BY_NAME["rsa-sha256"], world, signed)
    for wrong in (signed.replace(b"truc.example", b"truc-example"), signed.replace(b">urn:thu:gui<", b">urn:thu:Gui<")):
        with pytest.raises(Refused):
            java.verify("wss", BY_NAME["rsa-sha256"], world, wrong)
