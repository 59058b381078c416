"""What bad input gets: every row of the contract's last table, over the socket, in both SOAP versions; and that nothing of it is kept."""

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from black_box import (
    MEDIA,
    SOAP,
    WSSE,
    Answer,
    Bus,
    Identity,
    Style,
    authority,
    envelope,
    fresh_id,
    identity,
    operation,
    send_content,
    send_inline,
    sign,
    username_token,
)
from lxml import etree
from parties import DIGITAL, NOBODY, PASSWORD, TELECOM, letter

ASK = operation("GetOrganizations", ChangedSince="2026-01-01")


@dataclass(frozen=True)
class Case:
    """What is sent, given the bus and the SOAP version; the code that it must get; and what the reason must name."""

    body: Callable[[Bus, str], bytes]
    code: str
    names: str = ""
    path: str = "/soap/documents"


def _signed(payload: str | bytes, style: Style = Style()) -> Callable[[Bus, str], bytes]:
    return lambda bus, version: sign(envelope(payload, version), bus.identity(TELECOM.partner), style)


def _by(name: str) -> Callable[[Bus, str], bytes]:
    return lambda bus, version: sign(envelope(ASK, version), bus.identities[name])


def _spoilt(spoil: Callable[[bytes], bytes], payload: str = ASK) -> Callable[[Bus, str], bytes]:
    return lambda bus, version: spoil(_signed(payload)(bus, version))


def _wrapped(bus: Bus, version: str) -> bytes:
    """The signed Body is moved into a header, where its signature still holds, and another Body takes its place."""
    root = etree.fromstring(_signed(ASK)(bus, version))
    header, body = root
    wrapper = etree.SubElement(header, "{urn:wrapper}Wrapper")
    root.remove(body)
    wrapper.append(body)
    forged = etree.fromstring(envelope(send_content(letter(TELECOM, DIGITAL)), version))[1]
    for name in forged.attrib:
        del forged.attrib[name]
    root.append(forged)
    return etree.tostring(root)


def _wrapped_same_id(bus: Bus, version: str) -> bytes:
    """The same, with the forged Body under the signed one's Id."""
    root = etree.fromstring(_wrapped(bus, version))
    moved = root[0].find("{urn:wrapper}Wrapper")
    assert moved is not None
    for name, value in moved[0].attrib.items():
        root[1].set(name, value)
    return etree.tostring(root)


def _wrapped_security(bus: Bus, version: str) -> bytes:
    """A second, stale Security header beside the good one."""
    root = etree.fromstring(_signed(ASK)(bus, version))
    root[0].append(etree.fromstring(etree.tostring(root[0].find(f"{{{WSSE}}}Security"))))
    return etree.tostring(root)


def _other_signature_value(data: bytes) -> bytes:
    root = etree.fromstring(data)
    value = next(root.iter("{*}SignatureValue"))
    octets = bytearray(base64.b64decode(value.text or ""))
    octets[10] ^= 1
    value.text = base64.b64encode(octets).decode()
    return etree.tostring(root)


def _entity(data: bytes) -> bytes:
    return b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>' + data.replace(b"2026-01-01", b"&b;")


def _with_username(header: str, body: str = ASK) -> Callable[[Bus, str], bytes]:
    return lambda _bus, version: envelope(body, version, header)


_NONCE = secrets.token_bytes(16)
_OLD_NONCE = secrets.token_bytes(16)

XML_CASES = {
    "not XML": Case(lambda *_: b"%PDF-1.7 not XML at all", "5.6.0"),
    "empty": Case(lambda *_: b"", "5.6.0"),
    "truncated": Case(_spoilt(lambda data: data[:-40]), "5.6.0"),
    "undeclared entity": Case(_spoilt(lambda data: data.replace(b"2026-01-01", b"&x;")), "5.6.0"),
    "DOCTYPE": Case(_spoilt(lambda data: b"<!DOCTYPE Envelope>" + data), "5.6.2"),
    "external DTD": Case(_spoilt(lambda data: b'<!DOCTYPE Envelope SYSTEM "file:///etc/passwd">' + data), "5.6.2"),
    "entities": Case(_spoilt(_entity), "5.6.2"),
    "too deep": Case(lambda _, version: envelope("<a>" * 300 + "</a>" * 300, version), "5.6.1", "depth"),
    "too many elements": Case(lambda _, version: envelope("<a>" + "<b/>" * 250_000 + "</a>", version), "5.6.1", "elements"),
    "too many attributes": Case(
        lambda _, version: envelope("<a " + " ".join(f'b{number}=""' for number in range(1000)) + "/>", version), "5.6.1", "attributes"
    ),
    "too large": Case(lambda *_: b" " * (145 << 20), "5.6.1", "bytes"),
    "another encoding": Case(_spoilt(lambda data: b'<?xml version="1.0" encoding="UTF-7"?>' + data), "5.6.0"),
    "not SOAP": Case(lambda *_: b"<a/>", "5.6.5"),
    "no such operation": Case(_signed('<x xmlns="urn:x"/>'), "5.6.5"),
    "damaged base64": Case(_signed(operation("SendDocument", Content="*")), "5.6.5"),
    "content not XML": Case(_signed(send_content(b"%PDF-1.7")), "5.6.0"),
    "content truncated": Case(_signed(send_content(letter(TELECOM, DIGITAL)[:-200])), "5.6.0"),
    "content with DOCTYPE": Case(_signed(send_content(b"<!DOCTYPE edXML>" + letter(TELECOM, DIGITAL))), "5.6.2"),
}

SECURITY_CASES = {
    "unsigned": Case(lambda _, version: envelope(ASK, version), "5.7.0", "wss-x509"),
    "changed after signing": Case(_spoilt(lambda data: data.replace(b"2026-01-01", b"2026-01-02")), "5.7.7", "content was changed"),
    "wrong signature value": Case(_spoilt(_other_signature_value), "5.7.7", "SignatureValue"),
    "Body not signed": Case(_signed(ASK, Style(covers=("the-stamp",))), "5.7.7", "Body"),
    "Timestamp not signed": Case(_signed(ASK, Style(covers=("the-body",))), "5.7.7", "Timestamp"),
    "wrapped": Case(_wrapped, "5.7.7"),
    "wrapped under the same Id": Case(_wrapped_same_id, "5.7.7", "twice"),
    "two Security headers": Case(_wrapped_security, "5.7.7", "more than one"),
    "SHA-1": Case(_signed(ASK, Style(digest="sha1")), "5.7.6", "sha1"),
    "stale": Case(_signed(ASK, Style(age=timedelta(hours=2))), "5.7.9", "Expires"),
    "from the future": Case(_signed(ASK, Style(age=timedelta(hours=-2))), "5.7.9", "future"),
    "expired certificate": Case(_by("expired"), "5.7.5", "validity"),
    "expired pinned certificate": Case(_by("pinned and expired"), "5.7.5", "validity"),
    "certificate not yet valid": Case(_by("not yet valid"), "5.7.5", "validity"),
    "revoked certificate": Case(_by("revoked"), "5.7.5", "revoked"),
    "certificate of an unknown authority": Case(_by("unknown"), "5.7.8", "trusted"),
    "self-signed certificate": Case(_by("self-signed"), "5.7.8", "trusted"),
    "certificate not for signing": Case(_by("for encryption"), "5.7.8", "signatures"),
    "somebody else's code": Case(_signed(send_content(letter(DIGITAL, TELECOM))), "5.7.1", DIGITAL.code),
    "somebody else's mailbox": Case(_signed(operation("GetPendingDocumentIds", OrganId=DIGITAL.code)), "5.7.1", path="/soap/inbox"),
    "no password": Case(lambda _, version: envelope(ASK, version), "5.7.0", "wss-username", "/soap/by-password"),
    "wrong password": Case(_with_username(username_token(TELECOM.partner, "wrong", b"n")), "5.7.8", "password", "/soap/by-password"),
    "stale password": Case(
        _with_username(username_token(TELECOM.partner, PASSWORD, _OLD_NONCE, age=timedelta(hours=2))), "5.7.9", "old", "/soap/by-password"
    ),
    "no client certificate": Case(lambda _, version: envelope(ASK, version), "5.7.0", "mtls", "/soap/by-tls"),
}

_GOOD = letter(TELECOM, DIGITAL)
CONTENT_CASES = {
    "mandatory element missing": Case(_signed(send_content(_GOOD.replace(b"edXML:Subject>", b"edXML:Theme>"))), "5.6.3", "Theme"),
    "unknown element": Case(
        _signed(send_content(_GOOD.replace(b"<edXML:SteeringType>", b"<edXML:Mood>good</edXML:Mood><edXML:SteeringType>"))), "5.6.3", "Mood"
    ),
    "value not in the list": Case(
        _signed(send_content(_GOOD.replace(b"<edXML:SteeringType>1", b"<edXML:SteeringType>9"))), "5.6.3", "SteeringType"
    ),
    "default for what is mandatory": Case(
        _signed(send_content(_GOOD.replace(b"<edXML:SteeringType>1</edXML:SteeringType>", b""))), "5.6.3", "SteeringType"
    ),
    "no receiver": Case(_signed(send_content(_GOOD.replace(b"edXML:To>", b"edXML:Towards>"))), "5.6.3", "To"),
    "not edXML": Case(_signed(send_content(b"<report/>")), "5.6.3", "report"),
    "inline": Case(_signed(send_inline(_GOOD.replace(b"<edXML:SteeringType>1", b"<edXML:SteeringType>9"))), "5.6.3", "SteeringType"),
    "unknown receiver": Case(_signed(send_content(letter(TELECOM, NOBODY))), "5.1.1", NOBODY.code),
}


def check_fault(answer: Answer, version: str, code: str, *, names: str = "") -> str:
    """The answer is a fault of this version in the contract's shape; returns its reference."""
    assert answer.body.startswith(b"<"), answer
    assert answer.root.tag == f"{{{SOAP[version]}}}Envelope"
    assert answer.headers["Content-Type"].split(";")[0] == MEDIA[version].split(";")[0]
    fault = answer.fault
    permanent = code.startswith("5")
    assert fault.code == code, fault
    assert answer.status == (400 if version == "1.2" and permanent else 500)
    assert fault.soap_code == {"1.1": ("Server", "Client"), "1.2": ("Receiver", "Sender")}[version][permanent]
    assert set(fault.reasons) == {"vi", "en"}
    assert all(fault.reasons.values())
    assert fault.reasons["vi"] != fault.reasons["en"]
    assert names in fault.reasons["en"]
    assert fault.reference
    assert "PRIVATE" not in answer.body.decode()
    return fault.reference


@pytest.mark.parametrize("version", SOAP)
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in (XML_CASES | SECURITY_CASES | CONTENT_CASES).items()])
def test_bad_input_is_refused_with_its_code_and_leaves_nothing_but_the_refusal(bus: Bus, case: Case, version: str) -> None:
    """A fault 5.x.y with code, both languages and a reference; in the store one refusal more, under that reference, and nothing else."""
    body, before = case.body(bus, version), bus.counts()
    answer = bus.post(case.path, body, MEDIA[version])
    reference = check_fault(answer, version, case.code, names=case.names)
    # A stranger's shares its row with others of its minute, code and source.
    assert bus.counts() in ({**before, "refused": before["refused"] + more} for more in (0, 1, 2, 3))
    assert case.code in bus.journal_of(reference)


@pytest.mark.parametrize("version", SOAP)
def test_a_nonce_is_good_once(bus: Bus, version: str) -> None:
    """The same token again is refused, as the nonce was used."""
    request = envelope(ASK, version, username_token(TELECOM.partner, PASSWORD, secrets.token_bytes(16)))
    assert bus.post("/soap/by-password", request, MEDIA[version]).status == 200
    check_fault(bus.post("/soap/by-password", request, MEDIA[version]), version, "5.7.9", names="Nonce")


def test_a_schema_fault_lists_every_error_with_place_line_and_expectation(bus: Bus) -> None:
    """Two wrong values far apart are both in the one fault."""
    body = letter(TELECOM, DIGITAL).replace(b"<edXML:SteeringType>1", b"<edXML:SteeringType>9")
    start = body.index(b"<edXML:PromulgationDate>") + len(b"<edXML:PromulgationDate>")
    fault = bus.call(send_content(body[:start] + b"31-12-26" + body[start + 10 :])).fault
    assert fault.code == "5.6.3"
    for language, line in (("vi", "dòng"), ("en", "line")):
        assert fault.reasons[language].count(f"({line} ") == 2
        assert "MessageHeader/PromulgationInfo/PromulgationDate" in fault.reasons[language]
        assert "MessageHeader/SteeringType" in fault.reasons[language]
    assert "line 0" not in fault.reasons["en"]
    assert fault.at.endswith("/PromulgationInfo/PromulgationDate")


@pytest.mark.parametrize("version", SOAP)
def test_the_same_id_and_content_again_gets_the_first_receipt_and_other_content_a_fault(bus: Bus, version: str) -> None:
    """Idempotency by sender and id: once recorded, however often it is sent."""
    message_id, body = fresh_id(), letter(TELECOM, DIGITAL, seed=7)
    first = bus.call(send_content(body, message_id), version=version)
    before = bus.counts()
    again = bus.call(send_content(body, message_id), version=version)
    assert etree.tostring(again.receipts[0], method="c14n") == etree.tostring(first.receipts[0], method="c14n")
    assert bus.counts() == before
    other = bus.call(send_content(letter(TELECOM, DIGITAL, seed=8), message_id), version=version)
    check_fault(other, version, "5.6.9", names=message_id)
    assert bus.counts() == {**before, "refused": before["refused"] + 1}
    assert bus.call(send_content(letter(DIGITAL, TELECOM), message_id), DIGITAL.partner).receipts


def test_a_refused_id_is_not_used_up(bus: Bus) -> None:
    """What was refused was not taken: the mended message goes under the same id."""
    message_id = fresh_id()
    assert bus.call(send_content(letter(TELECOM, NOBODY), message_id)).fault.code == "5.1.1"
    assert bus.call(send_content(letter(TELECOM, DIGITAL), message_id)).texts("Status") == ["ACCEPTED"]


def test_a_certificate_that_tls_does_not_know_never_reaches_the_door(bus: Bus, tmp_path: Path) -> None:
    """At an endpoint that asks for TLS certificates, a stranger's ends the handshake, and a revoked one gets a fault."""
    before = bus.counts()
    stranger = identity("stranger", authority("CA of strangers"))
    with pytest.raises(OSError, match=r"alert|closed|reset|EOF"):
        bus.post("/soap/by-tls", envelope(ASK), certificate=_on_disk(tmp_path, "stranger", stranger))
    assert bus.counts() == before
    answer = bus.post("/soap/by-tls", envelope(ASK), certificate=_on_disk(tmp_path, "revoked", bus.identities["revoked"]))
    check_fault(answer, "1.1", "5.7.5", names="revoked")
    good = bus.site / "certs" / "development" / TELECOM.partner / "tls"
    assert bus.post("/soap/by-tls", envelope(ASK), certificate=good).status == 200
    check_fault(bus.post("/soap/by-tls", envelope(send_content(letter(DIGITAL, TELECOM))), certificate=good), "1.1", "5.7.1")


def _on_disk(directory: Path, name: str, who: Identity) -> Path:
    (directory / f"{name}.crt").write_bytes(who.pem)
    (directory / f"{name}.key").write_bytes(who.key_pem)
    return directory / name


@pytest.mark.parametrize("name", ["issued by own CA", "pinned RSA leaf", "pinned like openssl req"])
@pytest.mark.parametrize("reference", ["direct", "issuer-serial", "ski"])
def test_an_integrators_own_certificates_are_that_partner(bus: Bus, name: str, reference: str) -> None:
    """Dropped into the partner's trust directory, as leaf or as authority, RSA or ECDSA; only what lies there can be merely named."""
    request = sign(envelope(ASK), bus.identities[name], Style(reference=reference))
    answer = bus.post("/soap/documents", request)
    if name == "issued by own CA" and reference != "direct":
        check_fault(answer, "1.1", "5.7.8")
    else:
        assert answer.status == 200, answer.body


@pytest.mark.parametrize("reference", ["issuer-serial", "ski"])
def test_a_development_key_may_be_merely_named(bus: Bus, reference: str) -> None:
    """A fresh site knows the certificates that it made for its partners."""
    request = sign(envelope(ASK), bus.identity(TELECOM.partner), replace(Style(), reference=reference))
    assert bus.post("/soap/documents", request).status == 200
