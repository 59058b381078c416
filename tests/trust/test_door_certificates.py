"""Fault 37 at the real door: every kind of certificate that does not count, its code, and nothing of it in the store."""

import re
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from authority_server import DAY, Issuer, pem, sha1_signed, usage
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from trust_hands import audited, events, letter, unit

from bus.errors import Rejected
from sandbox.process import BusProcess

#: What is wrong with the certificate -> the code of the refusal.
CODES = {
    "expired": "5.7.5",
    "not yet valid": "5.7.5",
    "revoked": "5.7.5",
    "authority revoked": "5.7.5",
    "signed by a leaf": "5.7.8",
    "path too long": "5.7.8",
    "not for signatures": "5.7.8",
    "for TLS alone": "5.7.8",
    "signed with SHA-1": "5.7.6",
    "wrong signer of the right name": "5.7.8",
    "unknown authority": "5.7.8",
    "another partner's": "5.7.1",
}


def _forged(ca: Issuer, key: Any) -> x509.Certificate:
    """Signed with the key of the leaf that it names as its issuer: its own."""
    forger = Issuer("nothing")
    forger.key = key
    return forger.leaf("signed by a leaf", key)


#: Makes the certificate that is faulty by itself; what is not here is a good one of its authority.
MAKERS: dict[str, Callable[[Issuer, Any], x509.Certificate]] = {
    "expired": lambda ca, key: ca.leaf("x", key, start=ca.now() - 9 * DAY, life=timedelta(days=3)),
    "not yet valid": lambda ca, key: ca.leaf("x", key, start=ca.now() + DAY),
    "signed by a leaf": _forged,
    "not for signatures": lambda ca, key: ca.leaf("x", key, usage(digital_signature=False, content_commitment=False, key_agreement=True)),
    "for TLS alone": lambda ca, key: ca.leaf("x", key, x509.ExtendedKeyUsage([Eku.CLIENT_AUTH, Eku.SERVER_AUTH])),
    "signed with SHA-1": lambda ca, key: sha1_signed(ca.leaf("x", key), ca.key),
    "wrong signer of the right name": lambda ca, key: Issuer(ca.common_name).leaf("x", key),
    "unknown authority": lambda _, key: Issuer("CA lạ").leaf("x", key),
}


def _keys(directory: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Path:
    directory.mkdir()
    octets = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "system.key").write_bytes(octets)
    (directory / "system.crt").write_bytes(pem(certificate))
    return directory


async def test_fault_37_at_the_door_only_the_certificate_that_counts_is_let_in(
    site: Path, tmp_path: Path, start: Callable[..., BusProcess]
) -> None:
    """Twelve refusals with their codes, and one letter accepted: the one whose certificate has nothing wrong with it."""
    root = Issuer("CA của Cục")
    below, revoked = (Issuer(name, parent=root, path_length=0) for name in ("CA hai", "CA bị thu hồi"))
    third = Issuer("CA ba", parent=below)
    trust = site / "certs" / "trust" / "telecom-authority"
    shutil.rmtree(trust)
    trust.mkdir()
    issuers = {"authority revoked": revoked, "path too long": third}
    agency = site / "certs" / "development" / "digital-agency"
    attempts: dict[str, Path] = {"another partner's": agency}
    for number, wrong in enumerate(["nothing", *(CODES.keys() - {"another partner's"})]):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = MAKERS.get(wrong, lambda ca, key: ca.leaf("nothing", key))(issuers.get(wrong, root), key)
        if wrong == "revoked":
            root.revoke(certificate)
        attempts[wrong] = _keys(tmp_path / str(number), key, certificate)
    root.revoke(revoked.certificate)
    for name, issuer in {"root": root, "below": below, "revoked": revoked, "third": third}.items():
        (trust / f"{name}.crt").write_bytes(pem(issuer.certificate))
    (trust / "root.crl").write_bytes(root.crl())
    bus = start(site)
    codes = {}
    for number, (wrong, keys) in enumerate(attempts.items()):
        async with unit(bus, keys=keys) as sender:
            try:
                codes[wrong] = str((await sender.send(letter(number), f"m{number}")).status)
            except Rejected as refused:
                codes[wrong] = re.findall(r"5\.7\.\d+", refused.reason("en"))[0]
    assert bus.stop() == 0
    assert codes == {**CODES, "nothing": "ACCEPTED"}
    # Those of one minute, code and address share a line.
    assert {line["code"] for line in events(bus, "message.refused")} == set(CODES.values())
    assert audited(site)["accepted"] == 1
