"""Signature policy and forms through real configuration, doors and sockets: what a partner may sign with, and how we sign and log in."""

import shutil
import sqlite3
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from soap_rig import ROUTES, Rig, document, fault_code, now
from test_soap_client import CALLER, Serve, as_other, door_of, message

from adapters.soap import payloads
from bus import config, metrics, mime, pki, soap
from bus.errors import ConfigurationError, Deferred
from bus.evidence import Evidence
from bus.methods import BY_NAME
from bus.octets import whole
from bus.receipt import Status
from bus.signature import wss
from bus.signature.security_header import Style
from bus.signer import Signer, SoftKey
from bus.soap import SOAP_11

LEGACY = ROUTES.replace("password: env:UNIT_PASSWORD}", "password: env:UNIT_PASSWORD, legacy: [rsa-sha1]}")
ONLY_PSS = ROUTES.replace("password: env:UNIT_PASSWORD}", "password: env:UNIT_PASSWORD, signatures: [rsa-pss-sha256]}")
ADDRESSED = ROUTES.replace("path: /soap/documents, security: {", "path: /soap/documents, security: {covers: [Body, Timestamp, To], ")


def by(rig: Rig, method: str, partner: str = "unit") -> Signer:
    """A partner's key signing by a method that our own code would refuse to sign with."""
    key = load_pem_private_key((rig.site.root / f"certs/development/{partner}/system.key").read_bytes(), None)
    return Signer(partner, SoftKey(key), getattr(rig, partner).certificate, BY_NAME[method])  # type: ignore[arg-type]


async def handed_in(rig: Rig, method: str, number: int = 1) -> str:
    """The fault's code for a document signed by that method, or "" when it was accepted."""
    response = await rig.post(rig.signed(payloads.send_content(f"m-{method}-{number}", document(number)), signer=by(rig, method)))
    return "" if response.status == 200 else fault_code(response)


@pytest.fixture
async def running(make_rig: Callable[..., Rig]):
    """Builds a rig and starts it; stops all of them at the end."""
    made: list[Rig] = []

    async def start(routes: str, **more: object) -> Rig:
        rig = make_rig(routes, **more)
        await rig.engine.start()
        made.append(rig)
        return rig

    yield start
    for rig in made:
        for adapter in rig.endpoints.values():
            await adapter.stop()
        await rig.engine.stop(grace=1)
        rig.store.close()


async def test_only_the_methods_of_the_contract_count_unless_another_is_named(running) -> None:
    """Deny by default: RSA-PSS and SHA-1 are refused with their name, and nothing of them is stored."""
    rig = await running(ROUTES)
    methods = [name for name in BY_NAME if name.startswith("rsa")]
    assert {method: await handed_in(rig, method, number) for number, method in enumerate(methods, 1)} == {
        method: "5.7.6" if "pss" in method or "sha1" in method else "" for method in methods
    }


async def test_a_partners_own_list_replaces_the_default(running) -> None:
    """What is named counts for that partner, and what is not named does not."""
    rig = await running(ONLY_PSS)
    assert [await handed_in(rig, "rsa-pss-sha256", 1), await handed_in(rig, "rsa-sha256", 2)] == ["", "5.7.6"]


async def test_legacy_counts_for_that_partner_alone_and_is_journalled(running, capsys) -> None:
    """SHA-1 is accepted where it is named, and every use stands in the journal, in the log and in a metric."""
    rig = await running(LEGACY)
    counted = metrics.LEGACY_SIGNATURES.labels("unit", "rsa-sha1")
    before = counted.value
    assert [await handed_in(rig, "rsa-sha1"), await handed_in(rig, "rsa-sha256", 2)] == ["", ""]
    assert counted.value - before == 1
    payload = payloads.request("GetOrganizations")
    assert fault_code(await rig.post(rig.signed(payload, signer=by(rig, "rsa-sha1", "other")))) == "5.7.6"
    with sqlite3.connect(rig.site.root / "data" / "bus.db") as connection:
        rows = [detail for (detail,) in connection.execute("SELECT detail FROM journal") if "legacy-signature" in detail]
    assert len(rows) == 1
    assert '"legacy-signature":"rsa-sha1"' in rows[0].replace(" ", "")
    assert "signature.legacy" in "".join(capsys.readouterr())


def faults(make_rig: Callable[..., Rig], old: str, new: str, routes: str = ROUTES) -> str:
    """What is wrong with a site that was changed so."""
    with pytest.raises(ConfigurationError) as wrong:
        make_rig(routes.replace(old, new), environment={"PARTNER_URL": "http://127.0.0.1:9/"})
    return str(wrong.value)


SIGNS = "security: {verify: wss-x509, sign: own/bus}}}\nroutes"
WRONG = {
    "unknown method": (ROUTES, "trust: trust/unit,", "trust: trust/unit, signatures: [rsa-sha1],", "unknown signature method 'rsa-sha1'"),
    "unknown legacy": (ROUTES, "trust: trust/unit,", "trust: trust/unit, legacy: [md5],", "unknown legacy signature method 'md5'"),
    "method of another key": (
        ROUTES,
        "verify: wss-x509, sign: own/bus",
        "verify: wss-x509, sign: own/bus, method: ecdsa-sha256",
        "does not take",
    ),
    "method without key": (ROUTES, "verify: wss-x509, sign: own/bus", "verify: wss-x509, method: rsa-sha512", "name the key that signs"),
    "body not covered": (ROUTES, "verify: wss-x509,", "verify: wss-x509, covers: [Timestamp],", "must name the Body"),
    "unknown token": (ROUTES, "sign: own/bus", "sign: own/bus, token: key-name", "token"),
    "password in text over http": (
        CALLER,
        SIGNS,
        "security: {username: us, password: env:PARTNER_URL, password-type: text}}}\nroutes",
        "plain http",
    ),
    "user without password": (CALLER, SIGNS, "security: {username: us}}}\nroutes", "need each other"),
    "password in the file": (CALLER, SIGNS, "security: {username: us, password: secret}}}\nroutes", "is a secret"),
    "a login of a server": (
        ROUTES,
        "verify: wss-x509,",
        "verify: wss-x509, username: us, password: env:UNIT_PASSWORD,",
        "what a client sends",
    ),
    "header that no call has": (
        CALLER,
        SIGNS,
        "security: {verify: wss-x509, covers: [Body, Ticket]}}}\nroutes",
        "no header that a call has",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_work_is_said_at_the_start(make_rig: Callable[..., Rig], wrong: str) -> None:
    """A method, token, header or login that could never be is a fault of routes.yaml."""
    routes, old, new, said = WRONG[wrong]
    assert old in routes
    assert said in faults(make_rig, old, new, routes)


def test_a_legacy_partner_is_a_warning_of_check(make_rig: Callable[..., Rig]) -> None:
    """The site runs, and is told each time that it is checked."""
    rig = make_rig(LEGACY)
    found = config.check(rig.site.root, environment={"UNIT_PASSWORD": "x"}, clock=now)
    assert [fault.warning for fault in found if "rsa-sha1 is outdated" in fault.text] == [True]
    rig.store.close()


# --- how we sign and log in --------------------------------------------------------------------------------------------


def _as_pinned(certs: Path) -> None:
    """The partner's bus holds the ministry's leaf too, so that it may be only named."""
    shutil.copy(certs / "own" / "bus.crt", certs / "trust" / "unit" / "leaf.crt")
    as_other(certs)


def _knows_other(certs: Path) -> None:
    shutil.copy(certs / "development" / "other" / "system.crt", certs / "trust" / "other" / "leaf.crt")


SECURITY = "security: {verify: wss-x509, sign: own/bus}"
STYLES = {
    "a method of one's own": (", method: rsa-pss-sha512", ", signatures: [rsa-pss-sha512]"),
    "by issuer and serial number": (", token: issuer-serial", ""),
    "by key identifier": (", token: ski", ""),
    "within the reference": (", token: x509-data", ""),
    "with its headers": (", covers: [Body, Timestamp, To, Action, MessageID]", ""),
}


@pytest.mark.parametrize("style", STYLES)
async def test_two_buses_understand_each_other_in_every_style(running, serve: Serve, style: str) -> None:
    """Request and reply are signed as the endpoint says, verified on the other side, and end in a receipt."""
    options, partner = STYLES[style]
    security = SECURITY[:-1] + options + "}"
    theirs = ROUTES.replace("security: {verify: wss-x509, sign: own/bus}", security)
    theirs = theirs.replace("password: env:UNIT_PASSWORD}", f"password: env:UNIT_PASSWORD{partner}}}")
    # Their receipts are signed by the usual method whatever their replies are signed by.
    named = "trust: trust/other, signatures: [rsa-sha256, rsa-pss-sha512]}"
    ours = CALLER.replace(SECURITY, security).replace("trust: trust/other}", named)
    other = await running(theirs, arrange=_as_pinned)
    caller = await running(ours, environment={"PARTNER_URL": await serve(door_of(other))}, arrange=_knows_other)
    sent = await caller.endpoints["agency"].send(message())
    assert b"Receipt" in sent.reply


async def test_a_bus_whose_own_key_is_ed25519(running, serve: Serve) -> None:
    """Its receipts and replies are signed by Ed25519, which it believes of itself, and a partner that names the method believes too."""

    def with_ed25519(certs: Path) -> None:
        as_other(certs)
        issuer = pki.read_authority(certs / "development" / "other")
        pki.issue(certs / "own", "bus", issuer, common_name="bus", organisation="Bộ khác", now=now(), key_type="ed25519")

    other = await running(ROUTES, arrange=with_ed25519)
    ours = CALLER.replace("trust: trust/other}", "trust: trust/other, signatures: [ed25519]}")
    caller = await running(ours, environment={"PARTNER_URL": await serve(door_of(other))})
    sent = await caller.endpoints["agency"].send(message())
    assert sent.reply.count(BY_NAME["ed25519"].uri.encode()) == 2
    evidence = Evidence(other.site.keyring.signer("own/bus"), other.site.keyring.own, now)
    assert Status.ACCEPTED in {evidence.read(xml).status for xml in other.store.receipts_of("0190-message")}


async def test_a_reply_to_another_request_is_refused(running, serve: Serve) -> None:
    """Rightly signed, and of now: but it names another MessageID."""
    security = SECURITY[:-1] + ", covers: [Body, Timestamp, Action, MessageID]}"
    other = await running(ROUTES.replace(SECURITY, security), arrange=_as_pinned)
    kept: list[object] = []
    answer = door_of(other)

    async def replaying(request):
        response = await answer(request)
        kept.append((response.body, response.headers["Content-Type"]))
        body, content_type = kept[0]
        return web.Response(body=body, headers={"Content-Type": content_type})

    caller = await running(CALLER.replace(SECURITY, security), environment={"PARTNER_URL": await serve(replaying)}, arrange=_knows_other)
    await caller.endpoints["agency"].send(message())
    with pytest.raises(Deferred, match="to another request"):
        await caller.endpoints["agency"].send(message())


@pytest.mark.parametrize("kind", ["digest", "text"])
async def test_a_call_may_log_in_by_username(running, serve: Serve, kind: str) -> None:
    """A partner that knows us by name and password is sent both, over TLS, and never the same nonce twice."""
    theirs = ROUTES.replace("security: {verify: wss-x509, sign: own/bus}", "security: {verify: wss-username}")
    other = await running(theirs, arrange=as_other)
    security = f"security: {{username: unit, password: env:OUR_PASSWORD, password-type: {kind}}}"
    ours = "\n".join(line.replace(SECURITY, security) if "agency: {soap" in line else line for line in CALLER.splitlines())
    caller = await running(ours, environment={"PARTNER_URL": await serve(door_of(other)), "OUR_PASSWORD": "bí mật"})
    for _ in range(2):
        assert b"Receipt" in (await caller.endpoints["agency"].send(message())).reply


# --- SOAP with Attachments ---------------------------------------------------------------------------------------------


def _with_attachment(rig: Rig, sent: bytes, signed: bytes, place: bytes) -> tuple[str, bytes]:
    """A SendDocument whose Content is a part beside the envelope; what travels may differ from what was signed."""
    payload = b'<x:SendDocument xmlns:x="urn:govbus:exchange:v1"><x:MessageId>swa</x:MessageId>' + place + b"</x:SendDocument>"
    data = wss.sign(soap.envelope(SOAP_11, payload), rig.unit, now(), style=Style(), attachments={"f@x": signed})
    content_type, package = mime.package(data, "text/xml; charset=utf-8", "text/xml", {"f@x": sent})
    return content_type.replace("application/xop+xml", "text/xml"), whole(package)


@pytest.mark.parametrize("place", [b'<x:Content href="cid:f@x"/>', b"<x:Content>cid:f%40x</x:Content>"])
async def test_a_signed_attachment_is_accepted_and_a_changed_one_is_not(running, place: bytes) -> None:
    """By href and by swaRef: the Body is verified as it was sent, the part beside it, and both make the document."""
    rig = await running(ROUTES)
    changed = document(1).replace(b"1/CV-TN", b"2/CV-TN")
    content_type, package = _with_attachment(rig, changed, document(1), place)
    assert fault_code(await rig.post(package, content_type=content_type)) == "5.7.7"
    content_type, package = _with_attachment(rig, document(1), document(1), place)
    receipt = rig.read(await rig.post(package, content_type=content_type)).payload
    assert receipt.findtext(".//{*}Sha256") == sha256(document(1)).hexdigest()
