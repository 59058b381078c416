"""Fault 37: rotation with overlap, on both sides and at the HTTPS door, under traffic, without a restart."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from authority_server import pem
from cryptography import x509
from helping import until
from trust_hands import audited, govbus, letter, reloaded, unit

from bus import pki
from bus.errors import Rejected
from sandbox.process import BusProcess


@dataclass
class Traffic:
    """Letters without end from one unit; whatever is not accepted at once is kept as what went wrong."""

    bus: BusProcess
    prefix: str
    options: dict[str, Path] = field(default_factory=dict)
    accepted: int = 0
    wrong: list[str] = field(default_factory=list)
    stopped: bool = False

    async def run(self) -> None:
        async with unit(self.bus, **self.options) as sender:
            while not self.stopped:
                try:
                    await sender.send(letter(self.accepted), f"{self.prefix}-{self.accepted}")
                except Exception as error:
                    self.wrong.append(str(error))
                self.accepted += 1


@asynccontextmanager
async def flowing(*traffics: Traffic) -> AsyncIterator[None]:
    """While the test does something, and for ten letters before and after."""
    tasks = [asyncio.create_task(traffic.run()) for traffic in traffics]
    await _ten_more(traffics)
    yield
    await _ten_more(traffics)
    for traffic in traffics:
        traffic.stopped = True
    await asyncio.gather(*tasks)


async def _ten_more(traffics: tuple[Traffic, ...]) -> None:
    marks = [traffic.accepted + 10 for traffic in traffics]
    await until(lambda: all(traffic.accepted >= mark for traffic, mark in zip(traffics, marks, strict=True)))


def issue(directory: Path, authority: Path, name: str, hosts: tuple[str, ...] = ()) -> Path:
    """A fresh pair ``<name>.key``, ``<name>.crt`` of the authority whose key lies in ``authority``."""
    issuer, now = pki.read_authority(authority), datetime.now(UTC)
    pki.issue(directory, name, issuer, common_name=f"{name} mới", organisation="x", now=now, hosts=hosts, key_type="ec-p256")
    return directory


def first(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(path.read_bytes())[0]


async def test_fault_37_our_signing_key_is_rotated_with_overlap(site: Path, tmp_path: Path, start: Callable[..., BusProcess]) -> None:
    """The steps of docs/trust.md: partners that pin take the new certificate first; then we change; old receipts still verify.

    Nothing is refused by anybody meanwhile. When the retired certificate is taken away, its receipts prove nothing any more.
    """
    own = site / "certs" / "own"
    fresh = issue(tmp_path / "fresh", site / "certs" / "development", "bus")
    # A partner that pins: the old leaf, the new one beside it, and the door's.
    pins = tmp_path / "pins"
    pins.mkdir()
    for name, path in {"old": own / "bus.crt", "new": fresh / "bus.crt", "tls": own / "tls.crt"}.items():
        (pins / f"{name}.crt").write_bytes(pem(first(path)))
    bus = start(site)
    traffic, pinning = Traffic(bus, "a"), Traffic(bus, "b", {"trust": pins})
    async with flowing(traffic, pinning):
        shutil.copy(own / "bus.crt", own / "bus-2026.crt")
        shutil.copy(fresh / "bus.key", own / ".bus.key")
        shutil.copy(fresh / "bus.crt", own / ".bus.crt")
        (own / ".bus.key").replace(own / "bus.key")
        (own / ".bus.crt").replace(own / "bus.crt")
        assert (await reloaded(bus)).faults == ()
    assert (traffic.wrong, pinning.wrong) == ([], [])
    (pins / "old.crt").unlink()
    async with unit(bus, trust=pins) as sender:
        assert (await sender.send(letter(0), "afterwards")).status == "ACCEPTED"
    assert bus.stop() == 0
    assert audited(site)["accepted"] == traffic.accepted + pinning.accepted + 1
    (own / "bus-2026.crt").unlink()
    assert govbus("audit", "--site", site).code == 1


async def test_fault_37_a_partners_certificate_is_rotated_with_overlap(
    site: Path, tmp_path: Path, start: Callable[..., BusProcess]
) -> None:
    """New authority and certificate beside the old: both count. The old taken away: refused with 5.7.8 at once, the new goes on."""
    trust, old = site / "certs" / "trust" / "telecom-authority", site / "certs" / "development" / "telecom-authority"
    pki.create_authority(tmp_path / "authority", "ca", "CA mới của Cục", "Cục", datetime.now(UTC))
    new = issue(tmp_path / "new", tmp_path / "authority", "system")
    bus = start(site)
    async with unit(bus, keys=new) as early:
        with pytest.raises(Rejected, match=r"5\.7\.8"):
            await early.send(letter(0), "early")
    before, after = Traffic(bus, "old"), Traffic(bus, "new", {"keys": new})
    async with flowing(before):
        (trust / "new.crt").write_bytes(pem(first(new / "system.crt")))
        assert (await reloaded(bus)).faults == ()
        async with flowing(after):
            pass
    assert (before.wrong, after.wrong) == ([], [])
    for name in ("ca.crt", "system.crt"):
        (trust / name).unlink()
    assert (await reloaded(bus)).faults == ()
    async with unit(bus, keys=old) as late, unit(bus, keys=new) as present:
        with pytest.raises(Rejected, match=r"5\.7\.8") as refused:
            await late.send(letter(0), "late")
        assert (await present.send(letter(1), "present")).status == "ACCEPTED"
    assert "belongs to no trusted partner." in refused.value.reason("en")
    assert "không thuộc đối tác nào được tin cậy." in refused.value.reason("vi")
    assert bus.stop() == 0
    assert audited(site)["accepted"] == before.accepted + after.accepted + 1


async def test_fault_37_the_doors_certificate_is_rotated_without_a_break(
    site: Path, tmp_path: Path, start: Callable[..., BusProcess]
) -> None:
    """The next handshake shows the new certificate; connections that are open, and those that trust the authority, notice nothing."""
    own = site / "certs" / "own"
    fresh = issue(tmp_path / "fresh", site / "certs" / "development", "tls", ("localhost", "127.0.0.1"))
    bus = start(site)
    assert _shown(bus) == sha256(ssl.PEM_cert_to_DER_cert(pem(first(own / "tls.crt")).decode())).hexdigest()
    traffic = Traffic(bus, "a")
    async with flowing(traffic):
        for name in ("tls.key", "tls.crt"):
            shutil.copy(fresh / name, own / f".{name}")
        for name in ("tls.key", "tls.crt"):
            (own / f".{name}").replace(own / name)
        assert (await reloaded(bus)).faults == ()
        assert await asyncio.to_thread(_shown, bus) == sha256(ssl.PEM_cert_to_DER_cert(pem(first(fresh / "tls.crt")).decode())).hexdigest()
    assert traffic.wrong == []
    async with unit(bus) as again:
        assert (await again.send(letter(0), "again")).status == "ACCEPTED"


def _shown(bus: BusProcess) -> str:
    host, port = bus.url.removeprefix("https://").rsplit(":", 1)
    shown = ssl.get_server_certificate((host, int(port)), timeout=20)
    return sha256(ssl.PEM_cert_to_DER_cert(shown)).hexdigest()


async def test_a_key_whose_certificate_is_not_there_yet_leaves_the_old_one_in_use(site: Path, start: Callable[..., BusProcess]) -> None:
    """Half a rotation is told by the reload, and changes nothing."""
    own = site / "certs" / "own"
    bus = start(site)
    issue(own / "half", site / "certs" / "development", "bus")
    good = (own / "bus.key").read_bytes()
    shutil.copy(own / "half" / "bus.key", own / "bus.key")
    assert "the certificate is not this key's" in " ".join((await reloaded(bus)).faults)
    async with unit(bus) as sender:
        assert (await sender.send(letter(0), "still")).status == "ACCEPTED"
    (own / "bus.key").write_bytes(good)
    assert (await reloaded(bus)).faults == ()
