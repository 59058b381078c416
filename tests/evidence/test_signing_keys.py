"""A key signs what it is for: a receipt that another key of the site's signed is none, to the audit as to everybody."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from evidence_rig import ROUTES
from soap_rig import build, document
from typer.testing import CliRunner

from adapters.soap import payloads
from bus import cli, pki


@pytest.fixture
async def own(tmp_path: Path, certs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``certs/own`` of a site whose store holds receipts that its signing key signed."""
    root = tmp_path / "site"
    root.mkdir()
    rig = build(root, certs, "\n".join(line for line in ROUTES.splitlines() if "timestamps:" not in line))
    await rig.engine.start()
    answer = await rig.post(rig.signed(payloads.send_content("tin-1", document())), "plain")
    await rig.engine.stop(grace=1)
    rig.store.close()
    assert answer.status == 200
    for name, value in {"GOVBUS_SITE": str(root), "GOVBUS_STORE": "", "UNIT_PASSWORD": "bí mật", "GOVBUS_LANG": "en"}.items():
        monkeypatch.setenv(name, value)
    return root / "certs" / "own"


def audited() -> tuple[int, str]:
    """``govbus audit``: how it ended, and what it said."""
    done = CliRunner().invoke(cli.app, ["audit"])
    return done.exit_code, done.output


def renewed(own: Path) -> None:
    """A new pair for the signing key; its old pair is moved away first."""
    authority = pki.read_authority(own.parent / "development")
    pki.issue(own, "bus", authority, common_name="bus mới", organisation="Bộ", now=datetime.now(UTC), key_type="ec-p256")


def moved(own: Path, name: str, *endings: str) -> None:
    for ending in endings or (".key", ".crt"):
        shutil.move(own / f"bus{ending}", own / f"{name}{ending}")


def test_a_receipt_that_the_doors_key_signed_is_none(own: Path) -> None:
    """The store's receipts are signed by what is now the door's key: one of the site's own, and not the one that signs."""
    assert audited()[0] == 0
    moved(own, "tls")
    renewed(own)
    code, said = audited()
    assert (code, said.count("5.7.8") > 0) == (1, True), said


@pytest.mark.parametrize("name", ["tls-2026", "old", "xbus-2026", "busy"])
def test_a_retired_certificate_of_another_name_signs_nothing(own: Path, name: str) -> None:
    """Of the door, or of nobody knows what: that it lies in ``certs/own`` does not make it one that signed receipts."""
    moved(own, name, ".crt")
    renewed(own)
    assert audited()[0] == 1


def test_what_the_signing_key_signed_before_its_rotation_still_verifies(own: Path) -> None:
    """As docs/trust.md has it: the old certificate stays as ``bus-2026.crt``."""
    moved(own, "bus-2026", ".crt")
    renewed(own)
    assert audited()[0] == 0


@pytest.mark.parametrize("usable", [True, False])
def test_a_key_of_its_own_is_no_earlier_one_of_another(own: Path, *, usable: bool) -> None:
    """``bus-door.key`` beside ``bus-door.crt`` makes it another key, and that it is damaged makes it no signing key."""
    moved(own, "bus-door")
    renewed(own)
    if not usable:
        (own / "bus-door.key").write_text("no key")
    assert audited()[0] == 1


def test_what_the_signing_key_signed_stays_so_when_its_file_is_damaged(own: Path) -> None:
    """The audit needs its certificate, and no key."""
    (own / "bus.key").write_text("no key")
    code, said = audited()
    assert (code, "5.7.8" in said) == (0, False), said


def test_past_keys_count_although_another_word_of_the_site_is_wrong(own: Path) -> None:
    """The audit reads on beside a ``site`` block with a fault: what it says of keys of before still holds."""
    moved(own, "old")
    renewed(own)
    routes = own.parent.parent / "routes.yaml"
    text = routes.read_text(encoding="utf-8")
    for wrong in ("colour: red", "tls: [own/tls]"):
        routes.write_text(text.replace("site:\n", f"site:\n  past-keys: [own/old]\n  {wrong}\n", 1), encoding="utf-8")
        code, said = audited()
        assert (code, "5.7.8" in said) == (0, False), said


@pytest.mark.parametrize("endings", [(".crt",), (".key", ".crt")])
def test_a_signing_key_of_another_name_is_listed(own: Path, endings: tuple[str, ...]) -> None:
    """``past-keys`` names it, with its key or without; one that is not there is a fault of ``check``."""
    moved(own, "old", *endings)
    renewed(own)
    routes = own.parent.parent / "routes.yaml"
    text = routes.read_text(encoding="utf-8")
    routes.write_text(text.replace("site:\n", "site:\n  past-keys: [own/old]\n", 1), encoding="utf-8")
    assert audited()[0] == 0
    routes.write_text(text.replace("site:\n", "site:\n  past-keys: [own/elsewhere]\n", 1), encoding="utf-8")
    done = CliRunner().invoke(cli.app, ["check"])
    assert (done.exit_code, "certs/own/elsewhere.crt" in done.output) == (1, True), done.output
