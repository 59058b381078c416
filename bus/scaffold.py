"""``govbus init``: a new site, runnable as it is: the reference routes and schemas, a fresh development PKI, generated secrets.

The keys it makes are for development: a production site replaces ``certs/own`` by keys its authority certified and deletes
``certs/development``, which holds the partners' private keys so that tests and demos can act as those partners.
"""

import secrets
import shutil
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import yaml

from bus import pki

#: What the reference site's ``env:`` names stand for on one machine, with the sandbox partners beside it.
_SITE_ENV = """\
# Values of the env: names in routes.yaml; the process's environment wins. Secrets: keep this file unreadable to others.
VXP_URL=http://127.0.0.1:8440/vxp/exchange
VXP_SECRET={secret}
AGENCY_URL=https://127.0.0.1:8444/soap/documents
"""


class NotEmpty(Exception):
    """The directory holds something already."""


def reference() -> Path:
    """Where the reference site's files are: beside the packages in a checkout, ``share/govbus`` in an installation."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "routes.yaml").is_file() else Path(sys.prefix) / "share" / "govbus"


def create(directory: Path, now: datetime, environment: Mapping[str, str] | None = None) -> None:
    """Write a site into ``directory``, made if it does not exist. ``environment`` overrides lines of ``site.env``.

    Raises NotEmpty.
    """
    if directory.exists() and any(directory.iterdir()):
        raise NotEmpty(str(directory))
    directory.mkdir(parents=True, exist_ok=True)
    copy_site(reference() / "routes.yaml", directory)
    declared = yaml.safe_load((directory / "routes.yaml").read_text(encoding="utf-8"))
    trusting = {name: name for name, partner in declared["partners"].items() if "trust" in partner}
    certs = directory / "certs"
    pki.development(certs, organisation_name=declared["site"]["name"], partners=trusting, now=now)
    for partner in trusting:
        # Beside its authority: a message may name its signer by issuer and serial number alone, and then the bus must know the certificate.
        shutil.copy(certs / "development" / partner / "system.crt", certs / "trust" / partner / "system.crt")
    write_environment(directory, _SITE_ENV.format(secret=secrets.token_urlsafe(32)), environment or {})
    (directory / "data").mkdir(mode=0o750)


def copy_site(routes: Path, directory: Path) -> None:
    """The declared half of a site: its routes and its schemas."""
    shutil.copy(routes, directory / "routes.yaml")
    shutil.copytree(reference() / "schemas", directory / "schemas")


def write_environment(directory: Path, template: str, values: Mapping[str, str]) -> None:
    """``site.env`` from a template of NAME=value lines, some values replaced; readable to its owner only."""
    lines = [line for line in template.splitlines() if line.split("=", 1)[0] not in values]
    path = directory / "site.env"
    path.touch(mode=0o600)
    path.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in values.items())]) + "\n", encoding="utf-8")
