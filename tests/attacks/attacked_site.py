"""The site that is attacked: three SOAP doors, a VXP hub, three partners of whom one is a thief, and secrets that can be searched for."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from attacker import Forger
from soap_rig import MINISTRY, OTHER, REPOSITORY, UNIT, Rig, build, document

from adapters.soap import payloads
from bus import pki
from bus.keys import Keyring
from bus.octets import whole
from sandbox.unit import read_signer

PASSWORD, HUB_SECRET = "mật khẩu của đơn vị 7f3a91", "hub-secret-c2d4e6f8a1b3"
THIEF, THIEF_PASSWORD, THIEF_SECRET = "000.00.00.G19", "mật khẩu của kẻ trộm", "thief-secret-91b7"
ENVIRONMENT = {
    "UNIT_PASSWORD": PASSWORD,
    "UNIT_SECRET": HUB_SECRET,
    "OTHER_SECRET": f"{HUB_SECRET}-other",
    "THIEF_PASSWORD": THIEF_PASSWORD,
    "THIEF_SECRET": THIEF_SECRET,
}

ROUTES = f"""\
site: {{organisation: {MINISTRY}, name: Bộ Thông tin và Truyền thông, key: own/bus, tls: TLS}}
partners:
  unit: {{codes: [{UNIT}], trust: trust/unit, password: env:UNIT_PASSWORD}}
  other: {{codes: [{OTHER}, G18], trust: trust/other}}
  thief: {{codes: [{THIEF}, G19], trust: trust/thief, password: env:THIEF_PASSWORD}}
endpoints:
  documents: {{soap: {{path: /soap/documents, security: {{verify: wss-x509, sign: own/bus}}}}}}
  named: {{soap: {{path: /soap/named, security: {{verify: wss-username, sign: own/bus}}}}}}
  shown: {{soap: {{path: /soap/shown, security: {{verify: mtls, sign: own/bus}}}}}}
  exchange:
    vxp:
      path: /vxp/exchange
      systems:
        {UNIT}: {{secret: env:UNIT_SECRET, partner: unit}}
        {OTHER}: {{secret: env:OTHER_SECRET, partner: other}}
        {THIEF}: {{secret: env:THIEF_SECRET, partner: thief}}
routes:
  - {{name: documents, from: documents, gate: [authorize: {{sender: From/OrganId}}], to: [{{documents: To/OrganId}}], receipts: documents}}
  - {{name: named, from: named, gate: [authorize: {{sender: From/OrganId}}], to: [{{documents: To/OrganId}}], receipts: documents}}
  - {{name: shown, from: shown, gate: [authorize: {{sender: From/OrganId}}], to: [{{documents: To/OrganId}}], receipts: documents}}
  - {{name: exchange, from: exchange, gate: [authorize: {{sender: From/OrganId}}], to: [{{documents: To/OrganId}}], receipts: documents}}
"""


def certificates(directory: Path) -> Path:
    """The site's keys, its partners' and a stranger's, in ``directory``."""
    moment = datetime.now(UTC)
    partners = {"unit": "Đơn vị", "other": "Bộ khác", "thief": "Kẻ trộm"}
    pki.development(directory, organisation_name="Bộ Thông tin và Truyền thông", partners=partners, now=moment)
    authority = pki.create_authority(directory / "development" / "stranger", "ca", "Kẻ lạ", "Kẻ lạ", moment)
    pki.issue(directory / "development" / "stranger" / "own", "system", authority, common_name="lạ", organisation="Kẻ lạ", now=moment)
    return directory


def guarded(root: Path, certs: Path) -> Rig:
    """The site as a bus in this process, in the empty directory ``root``; not started yet."""
    return build(root, certs, ROUTES.replace("TLS", "none"), ENVIRONMENT)


def write(root: Path, certs: Path, *, tls: bool) -> Path:
    """A site in ``root``, made if it does not exist, with a copy of ``certs``."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "routes.yaml").write_text(ROUTES.replace("TLS", "own/tls" if tls else "none"), encoding="utf-8")
    shutil.copytree(REPOSITORY / "schemas", root / "schemas")
    shutil.copytree(certs, root / "certs")
    (root / "data").mkdir(mode=0o750)
    return root


def forger(certs: Path) -> Forger:
    """Signs as the partner ``unit``, or as somebody the bus has never heard of."""
    stranger = Keyring.load(certs / "development" / "stranger", {}).signer("own/system")
    return Forger(
        partner=read_signer(certs / "development" / "unit"),
        stranger=stranger,
        home=certs / "development" / "unit",
        payload=lambda number: whole(payloads.send_content(f"attack-{number}", document(number))),
    )
