"""One daemon for the folder, on a site as an integrator would have changed it: own certificates, a revocation list, more endpoints."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from black_box import Bus, Identity, authority, govbus, identity, revocation_list
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from parties import PASSWORD

from sandbox.process import BusProcess

_ENDPOINTS = """\
endpoints:
  by-password:
    soap: {path: /soap/by-password, security: {verify: wss-username}}
  by-tls:
    soap: {path: /soap/by-tls, security: {verify: mtls}}
"""
_ROUTES = """\
routes:
  - {name: by-password-in, from: by-password, gate: [authorize: {sender: From/OrganId}], to: [unit-inbox: To/OrganId], receipts: unit-inbox}
  - {name: by-tls-in, from: by-tls, gate: [authorize: {sender: From/OrganId}], to: [unit-inbox: To/OrganId], receipts: unit-inbox}
"""


def _usage(*, sign: bool) -> x509.KeyUsage:
    flags = dict.fromkeys(("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"), False)
    return x509.KeyUsage(digital_signature=sign, key_encipherment=not sign, encipher_only=False, decipher_only=False, **flags)


def arrange(site: Path) -> dict[str, Identity]:
    """Change a fresh site as integrators do; the identities they act with, by name."""
    routes = site / "routes.yaml"
    text = routes.read_text(encoding="utf-8")
    text = text.replace("trust: trust/telecom-authority}", "trust: trust/telecom-authority, password: env:TELECOM_PASSWORD}")
    text = text.replace("endpoints:\n", _ENDPOINTS, 1).replace("routes:\n", _ROUTES, 1)
    routes.write_text(text, encoding="utf-8")
    trust, development = site / "certs" / "trust", site / "certs" / "development"
    telecom = Identity.read(development / "telecom-authority", "ca")
    mine = authority("CA of the integrator")
    made = {
        "expired": identity("expired", telecom, days=(-30, -1)),
        "not yet valid": identity("not yet valid", telecom, days=(1, 30)),
        "revoked": identity("revoked", mine),
        "unknown": identity("unknown", authority("CA of nobody")),
        "self-signed": identity("self-signed"),
        "for encryption": identity("for encryption", mine, extensions=[(_usage(sign=False), True)]),
        "issued by own CA": identity("issued by own CA", mine),
        "pinned RSA leaf": identity("pinned RSA leaf", key=rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "pinned like openssl req": authority("pinned like openssl req"),
        "pinned and expired": identity("pinned and expired", days=(-30, -1)),
    }
    directory = trust / "telecom-authority"
    (directory / "integrator-ca.pem").write_bytes(mine.pem)
    (directory / "integrator.crl").write_bytes(revocation_list(mine, made["revoked"].certificate.serial_number))
    for name in ("pinned RSA leaf", "pinned like openssl req", "pinned and expired"):
        (directory / f"{name.replace(' ', '-')}.crt").write_bytes(made[name].pem)
    return made


@pytest.fixture(scope="session")
def new_site(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes sites: one with `govbus init`, which takes a while, and copies of it."""
    fresh = tmp_path_factory.mktemp("fresh") / "site"
    done = govbus("init", fresh)
    assert done.returncode == 0, done.stdout + done.stderr

    def make() -> Path:
        return shutil.copytree(fresh, tmp_path_factory.mktemp("acceptance") / "site")

    return make


@pytest.fixture(scope="session")
def bus(new_site: Callable[[], Path]) -> Iterator[Bus]:
    """The daemon that most of these tests talk to."""
    site = new_site()
    made = arrange(site)
    with BusProcess(site, environment={"TELECOM_PASSWORD": PASSWORD}) as process:
        yield Bus(process.url, site, made)
