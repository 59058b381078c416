"""Trust directories of a running daemon: what is put into one counts after ``reload``, or ``check``, ``reload`` and ``keys`` name it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from authorities import Authority, named, pem
from cryptography import x509
from helping import govbus

from bus import pki
from sandbox import documents
from sandbox.documents import SECURITY_AUTHORITY, TELECOM_AUTHORITY
from sandbox.process import BusProcess
from sandbox.unit import Unit

PARTNER = "telecom-authority"


async def test_what_lies_in_a_trust_directory_counts_or_is_named(make_site: Callable[..., Path], start: Callable[..., BusProcess]) -> None:
    """A note is a warning everywhere, half a list a fault everywhere that changes nothing, and a second list in a file revokes."""
    site = make_site()
    trusted = site / "certs" / "trust" / PARTNER
    bus = await asyncio.to_thread(start, site)
    await send(bus, 1)

    (trusted / "README.txt").write_text("to be renewed in May\n")
    said = await asyncio.gather(*(asyncio.to_thread(govbus, word, "--site", site) for word in ("check", "reload", "keys")))
    assert [(done.code, "README.txt" in done.said) for done in said] == [(0, True)] * 3
    rows = {Path(row["name"]).name: row for row in govbus("keys", "--site", site, "--json").json}
    assert (rows["README.txt"]["kind"], rows["README.txt"]["not_after"]) == ("unread", None)

    both = lists(site)
    (trusted / "lists.crl").write_bytes(both[:-60])
    said = await asyncio.gather(*(asyncio.to_thread(govbus, word, "--site", site) for word in ("check", "reload", "keys")))
    # `keys` is the tool for a broken file: it answers all the same, and names it.
    assert [(done.code, "lists.crl:1:1" in done.said) for done in said] == [(1, True), (1, True), (0, True)]
    await send(bus, 2)

    (trusted / "lists.crl").write_bytes(both)
    assert (await asyncio.to_thread(govbus, "reload", "--site", site)).code == 0
    with pytest.raises(Exception, match=r"5\.7\.5"):
        await send(bus, 3)


def lists(site: Path) -> bytes:
    """Somebody's list, and after it, in the same file, the one that revokes the unit's certificate."""
    stranger = Authority(named("CA khác"))
    directory = site / "certs" / "development" / PARTNER
    (site / "certs" / "trust" / PARTNER / "stranger.CER").write_bytes(pem(stranger.certificate))
    written = site / "data" / "revoked.crl"
    certificate = (directory / "system.crt").read_bytes()
    serial = x509.load_pem_x509_certificate(certificate).serial_number
    pki.revoke(written, pki.read_authority(directory), [serial], datetime.now(UTC))
    return pem(stranger.crl()) + written.read_bytes()


async def send(bus: BusProcess, number: int) -> None:
    """A letter from the unit, over a connection of its own."""
    letter = documents.make(size=4_000, seed=number, sender=TELECOM_AUTHORITY, receivers=(SECURITY_AUTHORITY,), number=number)
    certs = bus.site / "certs"
    async with Unit.connect(bus.url, TELECOM_AUTHORITY.code, keys=certs / "development" / PARTNER, trust=certs / "own") as unit:
        await unit.send(letter, f"m{number}")


def test_files_of_ours_that_are_not_read_are_named(make_site: Callable[..., Path]) -> None:
    """A certificate of ours called ``.CRT`` or ``.cer`` is no retired one; whoever put it there is told."""
    site = make_site()
    own = site / "certs" / "own"
    for name in ("old.CRT", "old.cer", "bus.KEY"):
        (own / name).write_bytes((own / "bus.crt").read_bytes())
    (own / "notes.txt").write_text("x")
    done = govbus("check", "--site", site)
    found = {name for name in ("old.CRT", "old.cer", "bus.KEY", "notes.txt") if f"own/{name}:1:1" in done.said}
    assert (done.code, found) == (0, {"old.CRT", "old.cer", "bus.KEY"})


def test_every_trust_directory_is_spoken_of(make_site: Callable[..., Path]) -> None:
    """Those of the time-stamping authority and of who signs documents as well: notes, and for time-stamps lists too."""
    site = make_site()
    routes = site / "routes.yaml"
    text = routes.read_text(encoding="utf-8")
    text = text.replace("  tls: own/tls\n", "  tls: own/tls\n  timestamps: {url: 'http://127.0.0.1:1/'}\n")
    text = text.replace("    steps:\n", "    steps:\n      - pdf-signatures: {trust: trust/signers}\n", 1)
    routes.write_text(text, encoding="utf-8")
    stranger = Authority(named("CA khác"))
    for name in ("tsa", "signers"):
        place = site / "certs" / "trust" / name
        place.mkdir()
        (place / "all.p7b").write_bytes(pem(stranger.certificate, stranger.crl()))
        (place / "notes.txt").write_text("x")
    done = govbus("check", "--site", site)
    found = [name for name in ("trust/tsa/notes.txt", "trust/signers/notes.txt", "for time-stamps neither counts") if name in done.said]
    assert (done.code, len(found)) == (0, 3), done.said
    rows = [row["name"] for row in govbus("keys", "--site", site, "--json").json if row["kind"] == "unread"]
    assert rows == ["trust/signers/notes.txt", "trust/tsa/notes.txt"]


def test_lists_that_are_not_valid_yet_or_have_run_out_are_named(make_site: Callable[..., Path]) -> None:
    """A list of tomorrow is; one that ran out is as long as no newer one of the same key takes its place."""
    site = make_site()
    trusted = site / "certs" / "trust" / PARTNER
    stranger = Authority(named("CA khác"))
    (trusted / "stranger.crt").write_bytes(pem(stranger.certificate))
    far = datetime.now(UTC) - stranger.certificate.not_valid_before_utc
    (trusted / "a.crl").write_bytes(pem(stranger.crl(begin=-2 * far, end=-far)))
    assert "ran out on" in govbus("check", "--site", site).said
    (trusted / "b.crl").write_bytes(pem(stranger.crl(end=2 * far)))
    assert "revocation list" not in govbus("check", "--site", site).said
    (trusted / "c.crl").write_bytes(pem(stranger.crl(begin=far, end=2 * far)))
    assert "is not valid before" in govbus("check", "--site", site).said
