"""``govbus backup`` and ``govbus restore``: a site in one file, signed by the site, and its way back.

A backup is signed by the site's key; without a usable one it is written all the same, unsigned, and says so. A restore unpacks aside,
verifies all of it, and only then moves it; of a backup that is refused nothing stays. Believed is who signs, or signed, for the site as it
is before the restore, never what the backup itself brings; or whom the operator names.
"""

import asyncio
import contextlib
import getpass
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from bus import config, daemon, datadir, keyfiles, sitefiles
from bus.cli.keeping import WhyOption, destination, keeping, stated, stopped, tell
from bus.cli.opening import signing, surveyed
from bus.cli.screen import JsonOption, SiteOption, console, language, say, table
from bus.config import Loaded
from bus.errors import BusError, Fault, Rejected
from bus.evidence import Evidence, backup_signer
from bus.sitefiles import Listing
from bus.store.backup import Unpacked, demand_bodies, examine, unpack
from bus.trust import der, is_authority, readable, subject

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass
class _Seal:
    """Signs a manifest with the site's key; where that cannot be, ``reason`` says why, and there is no signature."""

    loaded: Loaded
    reason: str = ""

    def __call__(self, manifest: bytes) -> bytes:
        try:
            signer = signing(self.loaded)
            return Evidence(signer, self.loaded.site.signs, daemon.utc_now).seal_backup(manifest)
        except BusError as error:
            self.reason = error.reason(language())
            return b""


def backup(
    file: Annotated[Path, typer.Argument(help="File or directory for the backup.")],
    with_keys: Annotated[bool, typer.Option("--with-keys", help="With private keys and site.env: keep the file like a key then.")] = False,
    site: SiteOption = Path(),
    json: JsonOption = False,
) -> None:
    """Copy the store, its large bodies and the site's files into one signed file, while the daemon runs."""
    now = daemon.utc_now()
    with keeping(site) as (loaded, store):
        place = destination(file, "backup", now)
        said = {"at": now.isoformat(), "by": getpass.getuser(), "keys": with_keys}
        seal = _Seal(loaded)
        told = store.backup(place, sitefiles.chosen(site, with_keys=with_keys), said, seal)
    if seal.reason:
        print(f"warning: {say('cli-backed-up-unsigned', reason=seal.reason)}", file=sys.stderr)
    signed = {"signed": not seal.reason, "reason": seal.reason}
    tell({**told, **signed, "file": str(place), "sha256": sitefiles.digest(place)}, say("cli-backed-up", file=place), json)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `govbus backup` wrote.", exists=True, dir_okay=False)],
    reason: WhyOption,
    trust: Annotated[
        str, typer.Option("--trust", metavar="CERT", help="Believe the key of this certificate (a file, or its SHA-256 fingerprint).")
    ] = "",
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Take a backup that nobody has signed.")] = False,
    site: SiteOption = Path(),
    json: JsonOption = False,
) -> None:
    """Put a backup in place of the store of a site that is stopped. Nothing that was owed is sent until you resend it.

    It must be signed by a key that signs, or signed, for this site, or by one that you name. Files that the site lacks are added, none is
    changed. One that was killed is undone first: type it again.
    """
    why = stated(reason)
    if os.environ.get("GOVBUS_STORE"):
        raise typer.BadParameter("GOVBUS_STORE names another store; restore is for the embedded one", param_hint="GOVBUS_STORE")
    named = _named(trust) if trust else frozenset()
    new = [path for path in (site, site / "data") if not path.exists()]
    site.mkdir(exist_ok=True, mode=sitefiles.DIRECTORY)
    datadir.recover(site)
    with stopped(site), _unmade(site, new):
        told = _restored(file, site, lambda unpacked: _signer(file, unpacked, site, named, unsigned=unsigned), why, json=json)
    sentence = say("cli-restored", at=told["at"], held=told["held"], replaced=told["replaced"])
    tell(told if json else {name: told[name] for name in ("signed", "signer", "held", "replaced")}, sentence, json)


def _restored(file: Path, site: Path, judged: Callable[[Unpacked], str], why: str, *, json: bool) -> dict[str, object]:
    """Unpack, verify, tell what will be written, and move. Gives what is told; raises before anything was moved."""
    beside = site / datadir.RESTORING
    shutil.rmtree(beside, ignore_errors=True)
    try:
        unpacked = unpack(file, beside)
        examine(file, unpacked)
        signer = judged(unpacked)
        at = str(unpacked.manifest.get("at", ""))
        held = asyncio.run(_hold(site, unpacked, {"by": getpass.getuser(), "reason": why, "backup": at, "signer": signer}))
        demand_bodies(file, unpacked)
        listing = sitefiles.compare(site, unpacked.site)
        if not json:
            _list(listing)
        replaced = datadir.put(site, unpacked.data, daemon.utc_now(), unpacked.site, listing.added)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    signed = {"signed": bool(signer), "signer": signer}
    files = {"files": asdict(listing), "believed": listing.believed}
    return {"at": at, "rows": unpacked.manifest.get("rows", {}), "held": held, "replaced": str(replaced), **signed, **files}


def _list(listing: Listing) -> None:
    """Every file of the site that the backup has, and what becomes of it; by name, what is believed from then on."""
    rows = [(name, say(f"cli-restore-{verdict}")) for verdict, names in asdict(listing).items() for name in names]
    table(["file", "detail"], sorted(rows))
    for name in listing.believed:
        console.print(say("cli-restore-believed", name=name))


@contextlib.contextmanager
def _unmade(site: Path, new: list[Path]) -> Iterator[None]:
    """Directories that a restore had to make go again where nothing comes of it."""
    try:
        yield
    except BaseException:
        if site / "data" in new:
            (site / "data" / "daemon.lock").unlink(missing_ok=True)
        for path in reversed(new):
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


# --- who is believed ------------------------------------------------------------------------------------------------------


def _signer(file: Path, unpacked: Unpacked, site: Path, named: frozenset[str], *, unsigned: bool) -> str:
    """The SHA-256 fingerprint of the certificate that vouches for the backup; "" for none. Raises Rejected 5.7.8 unless it is believed."""
    manifest, signature = unpacked.signed
    if not signature:
        if unsigned:
            return ""
        raise Rejected("backup-unsigned", file=file)
    certificate = backup_signer(signature, manifest)
    fingerprint = sha256(certificate).hexdigest()
    known = config.survey(site, environment=os.environ, clock=daemon.utc_now).site.signing
    if certificate in known or fingerprint in named:
        return fingerprint
    about = {"subject": subject(readable(certificate)), "fingerprint": fingerprint}
    if named or known or not sys.stdin.isatty() or not typer.confirm(say("cli-restore-confirm", **about), err=True):
        raise Rejected("backup-signer-unknown", file=file, **about)
    return fingerprint


def _named(trust: str) -> frozenset[str]:
    """The fingerprints of the certificates that an operator names: no authority is among them, which would vouch for others as well."""
    path, written = Path(trust), trust.replace(":", "").lower()
    if not path.exists() and _FINGERPRINT.fullmatch(written):
        return frozenset({written})
    faults: list[Fault] = []
    found = [one for one in keyfiles.certificates(path, faults) if not is_authority(one)]
    if not found:
        raise typer.BadParameter(say("cli-restore-unknown-trust", name=trust), param_hint="--trust")
    return frozenset(sha256(der(one)).hexdigest() for one in found)


# --- what was owed ---------------------------------------------------------------------------------------------------------


async def _hold(site: Path, unpacked: Unpacked, said: Mapping[str, str]) -> int:
    """Hold what is owed in a store that lies aside, and journal in each chain that it goes on from a backup."""
    loaded = surveyed(site if (site / "routes.yaml").exists() else unpacked.site)
    store = daemon.open_store_at(loaded.site, unpacked.data, "operator")
    try:
        held, chains = await store.hold(), store.chains()
        await store.note("restored", {**said, "held": held})
    finally:
        store.close()
    for chain in chains:
        if chain != "operator":
            store = daemon.open_store_at(loaded.site, unpacked.data, chain)
            try:
                await store.note("restored", said)
            finally:
                store.close()
    return held


def register(app: typer.Typer) -> None:
    """Put these commands into the program."""
    for command in (backup, restore):
        app.command()(command)
