"""Backup, disaster, restore: nothing is sent again without an operator's word, and what was lost since the backup is told."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from hands import AGENCY, NEIGHBOUR, Sender, audited, govbus, letter, typed, unit
from helping import until

from sandbox.process import BusProcess

LARGE = 400_000


def state(site: Path, name: str) -> tuple[str, str, int]:
    """State, code and attempts of the last delivery of a message."""
    with sqlite3.connect(site / "data" / "bus.db") as connection:
        message = "message_id = (SELECT id FROM messages WHERE public_id = ?)"
        query = f"SELECT state, last_code, attempt FROM deliveries WHERE receipt_id = '' AND {message} ORDER BY seq DESC LIMIT 1"
        return connection.execute(query, (name,)).fetchone() or ("", "", 0)


def receipts(site: Path, name: str, directory: Path) -> None:
    """The signed receipts of a message, as partners keep them."""
    done = govbus("receipts", name, "--site", site, "--json")
    assert done.code == 0, done.said
    directory.mkdir(exist_ok=True)
    for number, xml in enumerate(done.json):
        (directory / f"{name}-{number}.xml").write_text(xml, encoding="utf-8")


async def test_fault_18_after_a_restore_nothing_is_sent_again_unasked_and_receipts_reconcile(
    site: Path, start: Callable[..., BusProcess], tmp_path: Path
) -> None:
    """The drill of docs/operations.md, from the nightly backup under load to the last receipt."""
    routes = site / "routes.yaml"
    routes.write_text(routes.read_text(encoding="utf-8").replace("first: 30s", "first: 1s"), encoding="utf-8")
    bus = start(site)
    stop = asyncio.Event()
    sender = Sender(bus)
    load = asyncio.create_task(sender.run(stop.is_set))
    async with unit(bus) as telecom, unit(bus, NEIGHBOUR) as neighbour:
        await telecom.send(letter(901, AGENCY), "to-agency")
        await telecom.send(letter(902, NEIGHBOUR, LARGE), "large")
        await until(lambda: state(site, "to-agency")[:2] == ("READY", "4.4.1"))
        backup = tmp_path / "night.tar"
        done = await typed("backup", backup, "--site", site, "--json")
        # The large letter, and the signed request that it came in.
        assert (done.code, done.json["bodies"]) == (0, 2), done.said
        # What happens after the backup, and is lost with the disk.
        await neighbour.fetch("large")
        await neighbour.confirm("large")
        await telecom.send(letter(903), "after")
        stop.set()
        await load
    held = tmp_path / "held-by-partners"
    for name in ("large", "after"):
        receipts(site, name, held)
    assert bus.stop() == 0
    shutil.rmtree(site / "data")

    restored = govbus("restore", backup, "--site", site, "--reason", "đĩa hỏng", "--json")
    assert (restored.code, restored.json["held"]) == (0, 1), restored.said
    audited(site)
    assert state(site, "to-agency")[:2] == ("READY", "4.7.0")
    dead = govbus("dead", "--site", site)
    assert "to-agency" in govbus("dead", "--site", site, "--json").said
    assert "4.7.0" in dead.said

    told = govbus("reconcile", held, "--site", site, "--record", "--json")
    verdicts = {(row["message"], row["verdict"], row["status"]) for row in told.json["found"]}
    assert (told.code, told.json["counts"]["known"]) == (1, 1)
    assert verdicts == {("large", "forgotten", "FETCHED"), ("large", "forgotten", "CONFIRMED"), ("after", "lost", "ACCEPTED")}

    bus = start(site)
    async with unit(bus) as telecom:
        await telecom.send(letter(904, AGENCY), "new-to-agency")
        await until(lambda: state(site, "new-to-agency")[2] > 1)
        attempts = state(site, "to-agency")[2]
        assert state(site, "to-agency")[:2] == ("READY", "4.7.0")
        assert (await typed("resend", "to-agency", "--reason", "chưa tới nơi", "--site", site)).code == 0
        await until(lambda: state(site, "to-agency")[2] > attempts)
        assert (await telecom.send(letter(903), "after")).status == "ACCEPTED"
    assert bus.stop() == 0
    report = audited(site)
    assert report["counts"]["accepted"] >= 4
    events = _events(site)
    assert events["restored"] == len(events["chains"])
    assert events["reconciled"] == 1


def _events(site: Path) -> dict[str, object]:
    with sqlite3.connect(site / "data" / "bus.db") as connection:
        counted = dict(connection.execute("SELECT event, count(*) FROM journal GROUP BY event"))
        return {**counted, "chains": [row[0] for row in connection.execute("SELECT DISTINCT chain FROM journal")]}


def test_a_backup_holds_no_private_key_unless_asked(site: Path, tmp_path: Path) -> None:
    """Routes, schemas and certificates are in it; keys and site.env only with `--with-keys`; the file is its owner's alone."""
    import tarfile

    for words, secrets in (((), False), (("--with-keys",), True)):
        place = tmp_path / f"backup-{secrets}.tar.gz"
        assert govbus("backup", place, "--site", site, *words).code == 0
        with tarfile.open(place) as tar:
            names = tar.getnames()
        assert {"bus.db", "site/routes.yaml", "site/certs/own/bus.crt", "manifest.json"} <= set(names)
        assert any(name.endswith((".key", "site.env")) for name in names) is secrets
        assert place.stat().st_mode & 0o077 == 0


def test_a_restore_rebuilds_a_lost_machine(site: Path, tmp_path: Path) -> None:
    """With its keys, a backup makes a whole site out of an empty directory."""
    place = tmp_path / "backup.tar"
    assert govbus("backup", place, "--site", site, "--with-keys").code == 0
    done = govbus("restore", place, "--site", tmp_path / "fresh", "--reason", "máy mới", "--trust", site / "certs" / "own" / "bus.crt")
    assert done.code == 0, done.said
    audited(tmp_path / "fresh")
    assert govbus("check", "--site", tmp_path / "fresh").code == 0


def test_a_damaged_backup_restores_nothing(site: Path, tmp_path: Path) -> None:
    """5.6.11, and the store that was there is as it was."""
    place = tmp_path / "backup.tar"
    assert govbus("backup", place, "--site", site).code == 0
    octets = place.read_bytes()
    place.write_bytes(octets[:5000] + bytes([octets[5000] ^ 1]) + octets[5001:])
    done = govbus("restore", place, "--site", site, "--reason", "thử")
    assert (done.code, "5.6.11" in done.said) == (1, True), done.said
    assert sorted(path.name for path in site.iterdir() if path.name.startswith("data")) == ["data"]
    audited(site)


async def test_a_running_site_is_not_restored(site: Path, start: Callable[..., BusProcess], tmp_path: Path) -> None:
    """It is told which process to stop."""
    place = tmp_path / "backup.tar"
    assert govbus("backup", place, "--site", site).code == 0
    bus = start(site)
    done = govbus("restore", place, "--site", site, "--reason", "thử")
    assert (done.code, str(bus.pid) in done.said) == (1, True), done.said
    assert bus.stop() == 0


def test_another_store_is_not_backed_up_by_us(site: Path, postgres) -> None:
    """On PostgreSQL `govbus backup` says what to use instead."""
    done = govbus("backup", site / "b.tar", "--site", site, GOVBUS_STORE=postgres.url(postgres.create()))
    assert (done.code, "pg_basebackup" in done.said) == (1, True), done.said


def test_a_forged_receipt_is_none_of_ours(site: Path, tmp_path: Path) -> None:
    """`reconcile` tells what is not signed by us, and exits 0: nothing of ours is missing."""
    forged = tmp_path / "forged.xml"
    forged.write_text('<Receipt xmlns="urn:govbus:receipt:v1"/>', encoding="utf-8")
    done = govbus("reconcile", forged, "--site", site, "--json")
    assert (done.code, json.loads(done.said)["found"][0]["verdict"]) == (0, "foreign")


async def test_hold_keeps_back_what_a_restored_server_still_owed(site: Path, start: Callable[..., BusProcess]) -> None:
    """`govbus hold`, for stores restored by their own server's means: what was owed waits for an operator; a running site is refused."""
    bus = start(site)
    async with unit(bus) as telecom:
        await telecom.send(letter(1, AGENCY), "owed")
    assert govbus("hold", "--site", site, "--reason", "khôi phục").code == 1
    assert bus.stop() == 0
    done = govbus("hold", "--site", site, "--reason", "khôi phục", "--json")
    assert (done.code, done.json) == (0, {"held": 1}), done.said
    assert state(site, "owed")[:2] == ("READY", "4.7.0")
    audited(site)
