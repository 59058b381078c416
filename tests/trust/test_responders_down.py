"""Fault 38 on the real daemon: a partner's responder that goes and comes back, by both policies, told in both languages."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from authority_server import AuthorityServer, pem
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from helping import until
from trust_hands import audited, events, letter, page, unit

from bus.errors import Deferred, Rejected
from sandbox.process import BusProcess

PARTNER = "telecom-authority"
EN = "The revocation status of telecom-authority's certificates cannot be asked since "
VI = "Không hỏi được tình trạng thu hồi chứng thư của telecom-authority từ "


@pytest.fixture
def unit_keys(tmp_path: Path, site: Path, authority: AuthorityServer) -> Path:
    """The unit's own keys, of an authority that answers; the bus trusts that authority for this partner, and nobody else."""
    authority.issuer.ocsp_life = timedelta(seconds=2)
    keys = tmp_path / "unit"
    keys.mkdir()
    private = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.issuer.leaf("hệ thống của đơn vị", private)
    authority.known.append(certificate)
    form = serialization.PrivateFormat.PKCS8
    (keys / "system.key").write_bytes(private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    (keys / "system.crt").write_bytes(pem(certificate))
    directory = site / "certs" / "trust" / PARTNER
    shutil.rmtree(directory)
    directory.mkdir()
    (directory / "ca.crt").write_bytes(pem(authority.issuer.certificate))
    return keys


def demand(site: Path, rules: str) -> None:
    routes = site / "routes.yaml"
    text = routes.read_text(encoding="utf-8")
    assert f"trust: trust/{PARTNER}}}" in text
    routes.write_text(text.replace(f"trust: trust/{PARTNER}}}", f"trust: trust/{PARTNER}, revocation: {{{rules}}}}}"), encoding="utf-8")


async def test_fault_38_a_responder_that_is_down_defers_what_it_is_needed_for_and_says_so(
    site: Path, unit_keys: Path, authority: AuthorityServer, start: Callable[..., BusProcess]
) -> None:
    """By default the unknown is deferred (4.7.5), nothing is acknowledged, an alarm and /readyz say so; back, it goes on by itself."""
    demand(site, "check: ocsp, hosts: [127.0.0.1]")
    bus = start(site, environment={"GOVBUS_LANG": "vi"})
    async with unit(bus, keys=unit_keys) as sender:
        await sender.send(letter(1), "m1")
        await sender.send(letter(2), "m2")
        authority.close()
        deferred = await _deferral(sender)
        assert "4.7.5" in str(deferred)
        status, said = page(bus, "/readyz")
        warning = json.loads(said)["warnings"][f"revocation {PARTNER}"]
        assert (status, warning.startswith(VI)) == (200, True)
        assert warning.endswith("Thông điệp của đối tác này bị từ chối tạm thời (4.7.5) khi câu trả lời đang giữ hết hạn.")
        assert f'govbus_revocation_unavailable{{partner="{PARTNER}"}} 1.0' in page(bus, "/metrics")[1]
        authority.open()
        await until(lambda: f"revocation {PARTNER}" not in json.loads(page(bus, "/readyz")[1]).get("warnings", {}))
        assert (await sender.send(letter(3), "m3")).status == "ACCEPTED"
    [alarm] = events(bus, "alarm.revocation-unavailable")
    assert str(alarm["en"]).startswith(EN)
    assert str(alarm["en"]).endswith("This partner's messages are deferred (4.7.5) once the answers that are held have run out.")
    assert str(alarm["vi"]).startswith(VI)
    [refused] = {(line["code"], line["endpoint"]) for line in events(bus, "message.refused")}
    assert refused == ("4.7.5", "unit-documents")
    assert bus.stop() == 0
    assert audited(site)["accepted"] == 3


async def test_fault_38_by_policy_messages_are_accepted_within_the_grace_and_each_is_told(
    site: Path, unit_keys: Path, authority: AuthorityServer, start: Callable[..., BusProcess]
) -> None:
    """``when-unknown: accept``: letters go on being accepted, each use of the certificate is logged; a revocation that is known refuses."""
    demand(site, "check: ocsp, hosts: [127.0.0.1], when-unknown: accept, grace: 1h")
    bus = start(site)
    async with unit(bus, keys=unit_keys) as sender:
        await sender.send(letter(1), "m1")
        authority.close()
        number = 1
        while not events(bus, "revocation.accepted-unknown"):
            number += 1
            assert (await sender.send(letter(number), f"m{number}")).status == "ACCEPTED"
        [told, *_] = events(bus, "revocation.accepted-unknown")
        assert _credentials(site) == {"wss-x509", "wss-x509, revocation status unknown"}
        assert "was accepted although its revocation status is not known, by when-unknown: accept" in told["en"]
        assert "được chấp nhận dù chưa rõ tình trạng thu hồi" in told["vi"]
        assert json.loads(page(bus, "/readyz")[1])["warnings"][f"revocation {PARTNER}"].startswith(EN)
        authority.issuer.revoke(authority.known[0])
        authority.open()
        await until(lambda: f"revocation {PARTNER}" not in json.loads(page(bus, "/readyz")[1]).get("warnings", {}))
        with pytest.raises(Rejected, match=r"5\.7\.5") as refused:
            await sender.send(letter(0), "m0")
        assert refused.value.reason("en").endswith("5.7.5 The certificate 'CN=hệ thống của đơn vị,C=VN' is revoked.")
        assert refused.value.reason("vi").endswith("5.7.5 Chứng thư 'CN=hệ thống của đơn vị,C=VN' đã bị thu hồi.")
    assert bus.stop() == 0
    assert audited(site)["accepted"] == number


def _credentials(site: Path) -> set[str]:
    """What the messages' own records say of how their sender was authenticated."""
    with sqlite3.connect(site / "data" / "bus.db") as connection:
        return {json.loads(row[0])["credential"] for row in connection.execute("SELECT headers FROM messages")}


async def _deferral(sender: object) -> Deferred:
    """Send until the answer that is held has run out."""
    for number in range(100, 10_000):
        try:
            await sender.send(letter(2), "m2")  # type: ignore[attr-defined]
        except Deferred as deferred:
            return deferred
        assert number < 9_999
    raise AssertionError
