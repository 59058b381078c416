"""What the door refuses, and with which code. One bus for the whole module: a refusal leaves nothing behind."""

import base64
import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from soap_rig import UNIT, Rig, document, fault_code, now

from adapters.soap import payloads
from bus import mime, pki, soap
from bus.endpoint import Request
from bus.errors import Deferred
from bus.signature import wss
from bus.soap import SOAP_11
from sandbox.unit import read_signer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def rig(shared_rig: Rig) -> Rig:
    """The module's bus."""
    return shared_rig


@pytest.mark.parametrize("organ", [UNIT, "000.00.99.G99"])
async def test_a_mailbox_is_opened_only_for_its_owner(rig: Rig, organ: str) -> None:
    """``OrganId`` must be one of the caller's own codes."""
    payload = payloads.request("GetPendingDocumentIds", OrganId=organ)
    assert fault_code(await rig.post(rig.signed(payload, signer=rig.other))) == "5.7.1"


EXCHANGE = 'xmlns:x="urn:govbus:exchange:v1"'


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (f"<x:DropDocument {EXCHANGE}/>", "5.6.5"),
        ('<SendDocument xmlns="urn:other"/>', "5.6.5"),
        ("<GetDocument><MessageId>1</MessageId></GetDocument>", "5.6.5"),
        (f"<x:SendDocument {EXCHANGE}/>", "5.6.5"),
        (f"<x:SendDocument {EXCHANGE}><x:Content>QQ==</x:Content><x:Document><a/></x:Document></x:SendDocument>", "5.6.5"),
        (f"<x:SendDocument {EXCHANGE}><x:Content>QQ=</x:Content></x:SendDocument>", "5.6.5"),
        (f"<x:SendDocument {EXCHANGE}><x:Content>đ</x:Content></x:SendDocument>", "5.6.5"),
        (f"<x:SendDocument {EXCHANGE}><x:Content><a/></x:Content></x:SendDocument>", "5.6.5"),
        (f"<x:SendDocument {EXCHANGE}><x:Content>QQ==</x:Content></x:SendDocument>", "5.6.0"),
        (f"<x:SendDocument {EXCHANGE}><x:Content>PGEvPg==</x:Content></x:SendDocument>", "5.6.3"),
        (f"<x:SendDocument {EXCHANGE}><x:Document><a/></x:Document></x:SendDocument>", "5.6.3"),
        (f"<x:SendDocument {EXCHANGE}><x:Document/></x:SendDocument>", "5.6.5"),
        (f"<x:SendDocument {EXCHANGE}><x:MessageId> </x:MessageId><x:Content>PGEvPg==</x:Content></x:SendDocument>", "5.6.3"),
        (f"<x:GetDocument {EXCHANGE}/>", "5.6.5"),
        (f"<x:GetDocument {EXCHANGE}><x:MessageId>nobody</x:MessageId></x:GetDocument>", "5.2.1"),
        (f"<x:GetDocument {EXCHANGE}><x:MessageId>1</x:MessageId><x:MessageId>2</x:MessageId></x:GetDocument>", "5.6.5"),
        (f"<x:GetPendingDocumentIds {EXCHANGE}><x:OrganId>{UNIT}</x:OrganId><x:Max>-1</x:Max></x:GetPendingDocumentIds>", "5.6.5"),
        (f"<x:ConfirmReceived {EXCHANGE}><x:MessageId>1</x:MessageId><x:Status>perhaps</x:Status></x:ConfirmReceived>", "5.6.5"),
        (f"<x:GetOrganizations {EXCHANGE}><x:ChangedSince>yesterday</x:ChangedSince></x:GetOrganizations>", "5.6.5"),
    ],
)
async def test_a_request_that_does_not_fit_the_contract_is_refused_with_its_reason(rig: Rig, payload: str, code: str) -> None:
    """A fault with a code, both languages and a reference; signed, as the request was."""
    response = await rig.post(rig.signed(payload.encode()))
    assert (response.status, fault_code(response)) == (500, code)
    rig.read(response)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda rig: soap.envelope(SOAP_11, payloads.request("GetOrganizations")), "5.7.0"),
        (lambda rig: rig.signed(payloads.request("GetDocument", MessageId="1")).replace(b">1<", b">2<"), "5.7.7"),
        (lambda rig: rig.signed(payloads.request("GetOrganizations"))[:-20], "5.6.0"),
        (lambda rig: b"", "5.6.0"),
        (lambda rig: b"GIF89a", "5.6.0"),
        (lambda rig: b'<!DOCTYPE a [<!ENTITY e "x">]>' + rig.signed(payloads.request("GetOrganizations"))[39:], "5.6.2"),
        (lambda rig: b"<a>" * 300 + b"</a>" * 300, "5.6.1"),
    ],
)
async def test_what_is_not_proved_is_refused_before_it_is_looked_at(rig: Rig, change: Any, code: str) -> None:
    """Unsigned, changed, truncated, not XML, hostile XML."""
    assert fault_code(await rig.post(change(rig))) == code


async def test_a_stranger_is_refused(rig: Rig, tmp_path: Path) -> None:
    """A certificate of an authority that no partner has."""

    authority = pki.create_authority(tmp_path, "ca", "Stranger", "Stranger", now())
    pki.issue(tmp_path, "system", authority, common_name="Stranger", organisation="Stranger", now=now())
    body = rig.signed(payloads.request("GetOrganizations"), signer=read_signer(tmp_path))
    assert fault_code(await rig.post(body)) == "5.7.8"


async def test_an_action_that_contradicts_is_refused_and_one_that_agrees_is_not(rig: Rig) -> None:
    """Quoted or not, and never looked at when it is empty."""
    signed = rig.signed(payloads.request("GetOrganizations"))
    for action in ('"urn:govbus:exchange:v1/GetOrganizations"', "urn:govbus:exchange:v1/GetOrganizations", '""', ""):
        assert (await rig.post(signed, soapaction=action)).status == 200
    assert fault_code(await rig.post(signed, soapaction='"urn:govbus:exchange:v1/SendDocument"')) == "5.6.5"


async def test_an_unknown_header_that_must_be_understood_is_refused(rig: Rig) -> None:
    """With SOAP's own fault code for it."""
    header = b'<soap:Header><t:Transaction xmlns:t="urn:t" soap:mustUnderstand="1"/></soap:Header><soap:Body>'
    response = await rig.post(soap.envelope(SOAP_11, payloads.request("GetOrganizations")).replace(b"<soap:Body>", header))
    assert b"<faultcode>soap:MustUnderstand</faultcode>" in response.body


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "GET"])
async def test_other_methods_are_not_allowed(rig: Rig, method: str) -> None:
    """GET is for the contract alone."""
    response = await rig.request(method)
    assert (response.status, response.headers) == (405, (("Allow", "GET, POST"),))


async def test_what_the_edge_would_not_take_is_answered_as_a_fault(rig: Rig) -> None:
    """Over the size limit, or too much in flight: with Retry-After where it may work later."""

    ((path, door),) = rig.endpoints["documents"].doors()
    refusal = Deferred("bus-busy", retry_after=5.0)
    response = await door(Request("POST", path, "", {"content-type": "text/xml"}, b"", "https://b", None, refusal))
    assert (response.status, fault_code(response), dict(response.headers)) == (500, "4.3.2", {"Retry-After": "5"})


# --- who may call ---------------------------------------------------------------------------------------------------

WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
TOKEN = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0"
ASK = payloads.request("GetOrganizations")


def username(name: str, password: str, nonce: bytes = b"", *, digest: bool = True, payload: bytes = ASK) -> bytes:
    """An envelope with a UsernameToken."""
    nonce = nonce or base64.b64encode(now().isoformat().encode())
    created = now().strftime("%Y-%m-%dT%H:%M:%SZ")
    octets = base64.b64decode(nonce) + created.encode() + password.encode()
    kind, value = ("Digest", base64.b64encode(hashlib.sha1(octets).digest()).decode()) if digest else ("Text", password)
    header = (
        f'<s:Security xmlns:s="{WSSE}" soap:mustUnderstand="1"><s:UsernameToken><s:Username>{name}</s:Username>'
        f'<s:Password Type="{TOKEN}#Password{kind}">{value}</s:Password><s:Nonce>{nonce.decode()}</s:Nonce>'
        f'<u:Created xmlns:u="{WSU}">{created}</u:Created></s:UsernameToken></s:Security>'
    )
    return soap.envelope(SOAP_11, payload, header.encode())


def certificate(rig: Rig, partner: str) -> str:
    """A partner's TLS certificate as the edge hands it over, in hex."""
    return read_signer(rig.site.root / "certs" / "development" / partner, "tls").certificate.public_bytes(Encoding.DER).hex()


@pytest.mark.parametrize("digest", [True, False])
async def test_a_username_token_proves_its_partner(rig: Rig, digest: bool) -> None:
    """As a digest and as text; the answer is not signed, for such a client could not read it."""
    response = await rig.post(username("unit", "bí mật", digest=digest), "several")
    assert (response.status, b"Signature" in response.body) == (200, False)


async def test_a_client_certificate_proves_its_partner(rig: Rig) -> None:
    """Mutual TLS alone, where the endpoint takes it."""
    assert (await rig.post(soap.envelope(SOAP_11, ASK), "several", peer=certificate(rig, "unit"))).status == 200


async def test_attachments_outside_the_envelope_are_taken_from_a_caller_that_tls_proves(rig: Rig) -> None:
    """TLS covers the whole request: SOAP with Attachments is fine there."""
    envelope = soap.envelope(SOAP_11, b'<x:SendDocument xmlns:x="urn:govbus:exchange:v1"><x:Content>cid:f</x:Content></x:SendDocument>')
    package = b"--b\r\nContent-Type: text/xml\r\n\r\n%b\r\n--b\r\nContent-ID: <f>\r\n\r\n%b\r\n--b--\r\n" % (envelope, document(90))
    response = await rig.post(package, "several", peer=certificate(rig, "unit"), content_type="multipart/related; boundary=b")
    assert hashlib.sha256(document(90)).hexdigest().encode() in response.body


@pytest.mark.parametrize(
    ("endpoint", "body", "peer", "code"),
    [
        ("several", lambda rig: soap.envelope(SOAP_11, ASK), "", "5.7.0"),
        ("several", lambda rig: username("unit", "wrong"), "", "5.7.8"),
        ("several", lambda rig: username("nobody", "bí mật"), "", "5.7.8"),
        ("several", lambda rig: username("other", ""), "", "5.7.8"),
        ("several", lambda rig: username("unit", "wrong"), "unit", "5.7.8"),
        ("several", lambda rig: username("unit", "bí mật"), "other", "5.7.8"),
        ("several", lambda rig: rig.signed(ASK), "other", "5.7.8"),
        ("strict", lambda rig: username("unit", "bí mật"), "", "5.7.0"),
        ("strict", lambda rig: soap.envelope(SOAP_11, ASK), "unit", "5.7.0"),
        ("strict", lambda rig: rig.signed(ASK), "unit", "5.7.0"),
        ("strict", lambda rig: username("unit", "bí mật"), "unit", ""),
        ("documents", lambda rig: username("unit", "bí mật"), "unit", "5.7.0"),
    ],
)
async def test_every_credential_that_is_shown_must_hold_and_all_name_one_partner(
    rig: Rig, endpoint: str, body: Callable[[Rig], bytes], peer: str, code: str
) -> None:
    """Deny by default: a good certificate does not excuse a bad password, and what the endpoint does not ask for proves nothing."""
    response = await rig.post(body(rig), endpoint, peer=certificate(rig, peer) if peer else "")
    assert (fault_code(response) if response.status != 200 else "") == code


async def test_a_nonce_is_good_once(rig: Rig) -> None:
    """The same token again is a replay."""
    token = username("unit", "bí mật", base64.b64encode(b"once"))
    assert [(await rig.post(token, "several")).status, fault_code(await rig.post(token, "several"))] == [200, "5.7.9"]


@pytest.mark.parametrize("age", [timedelta(hours=1), timedelta(hours=-1)])
async def test_a_stale_timestamp_is_refused(rig: Rig, age: timedelta) -> None:
    """Long ago, or not yet."""
    body = wss.sign(soap.envelope(SOAP_11, ASK), rig.unit, now() - age)
    assert fault_code(await rig.post(body)) == "5.7.9"


async def test_a_refusal_is_journalled_under_the_reference_that_the_fault_names(rig: Rig) -> None:
    """So that an operator finds what the partner reports."""
    response = await rig.post(rig.signed(payloads.request("GetDocument", MessageId="nobody")))
    reference = soap.read(response.body, response.content_type).payload.findtext(f".//{{{soap.FAULT_NAMESPACE}}}Reference")
    assert reference
    assert reference in str(await rig.journal())


async def test_a_large_part_in_the_place_of_a_short_text_is_refused(rig: Rig) -> None:
    """What stands beside the tree for a file is never taken for the text of another parameter."""
    content = b"x" * 100_000
    signed = rig.signed(payloads.request("GetDocument", MessageId=base64.b64encode(content).decode()))
    include = b'<i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="cid:f"/>'
    root = signed.replace(base64.b64encode(content), include)
    content_type, package = mime.package(root, 'application/xop+xml; type="text/xml"', "text/xml", {"f": content})
    response = await rig.post(package, content_type=content_type)
    assert fault_code(response) == "5.6.5"
    assert b"255" in response.body
