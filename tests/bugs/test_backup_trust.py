"""A backup counts by who signed it, comes back whole or not at all, and makes nobody believed without a word."""

import hashlib
import io
import json
import os
import pty
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helping import Done, govbus

from bus import daemon, scaffold
from bus.evidence import Evidence

WHY = ("--reason", "thử")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites with a store, and a backup of each with its keys."""
    root = tmp_path_factory.mktemp("made")
    for name in ("ours", "theirs"):
        scaffold.create(root / name, datetime.now(UTC))
        assert govbus("messages", "--site", root / name).code == 0
        assert govbus("backup", root / f"{name}.tar", "--site", root / name, "--with-keys").code == 0
    return root


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "ours", tmp_path / "site"))


def seen(site: Path) -> dict[str, tuple[int, str]]:
    """Rights and digest of everything in the site, but the lock that every command makes."""
    files = {path for path in site.rglob("*") if path.name != "daemon.lock"}
    return {str(path.relative_to(site)): (path.lstat().st_mode, _digest(path)) for path in files}


def told(done: Done) -> Any:
    """The answer: warnings of standard error stand around it."""
    [line] = [line for line in done.said.splitlines() if line.startswith("{")]
    return json.loads(line)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def members(backup: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(backup) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar.getmembers()]  # type: ignore[union-attr]


def packed(path: Path, content: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for member, octets in content:
            member.size = len(octets)
            tar.addfile(member, io.BytesIO(octets))
    return path


def fitted(content: list[tuple[tarfile.TarInfo, bytes]], *, without_signature: bool = True) -> list[tuple[tarfile.TarInfo, bytes]]:
    """The same with a manifest that fits, as a forger makes it."""
    files = [(member, octets) for member, octets in content if member.name not in {"manifest.json", "signature.xml"}]
    [manifest, *signature] = [(member, octets) for member, octets in content if member.name in {"manifest.json", "signature.xml"}]
    said = json.loads(manifest[1])
    said["sha256"] = {member.name: hashlib.sha256(octets).hexdigest() for member, octets in files}
    said["size"] = {member.name: len(octets) for member, octets in files}
    return [*files, (manifest[0], json.dumps(said).encode()), *([] if without_signature else signature)]


def fingerprint(site: Path) -> str:
    [row] = [row for row in govbus("keys", "--site", site, "--json").json if row["name"] == "own/bus"]
    return str(row["fingerprint"])


def test_a_backup_lists_everything_in_it_and_is_signed(made: Path) -> None:
    """Database, bodies and site files stand in the manifest with size and SHA-256; the last member vouches for the manifest."""
    content = members(made / "ours.tar")
    assert [member.name for member, _ in content[-2:]] == ["manifest.json", "signature.xml"]
    said = json.loads(content[-2][1])
    assert said["sha256"] == {member.name: hashlib.sha256(octets).hexdigest() for member, octets in content[:-2]}
    assert said["size"] == {member.name: len(octets) for member, octets in content[:-2]}
    assert {"bus.db", "site/routes.yaml", "site/site.env", "site/certs/own/bus.key"} <= set(said["sha256"])


def test_anothers_backup_is_refused_until_its_key_is_named(made: Path, site: Path) -> None:
    """Names and everything else may be ours: only the key counts. The refusal says the fingerprint, and what to type."""
    before, theirs = seen(site), made / "theirs" / "certs" / "own"
    for words in ((), ("--unsigned",), ("--trust", site / "certs" / "own" / "bus.crt")):
        done = govbus("restore", made / "theirs.tar", "--site", site, *WHY, *words)
        assert (done.code, fingerprint(made / "theirs") in done.said, "--trust" in done.said) == (1, True, True), done.said
    for no_certificate in (theirs / "ca.crt", theirs / "bus.key", theirs / "none", "ab:cd"):
        assert govbus("restore", made / "theirs.tar", "--site", site, *WHY, "--trust", no_certificate).code == 2
    assert seen(site) == before
    for trust in (theirs / "bus.crt", fingerprint(made / "theirs"), fingerprint(made / "theirs").upper()):
        done = govbus("restore", made / "theirs.tar", "--site", site, *WHY, "--trust", trust, "--json")
        assert (done.code, told(done)["signed"], told(done)["signer"]) == (0, True, fingerprint(made / "theirs")), done.said


def test_what_the_backup_brings_vouches_for_nothing(made: Path, tmp_path: Path) -> None:
    """On a bare machine nobody is known: without a terminal it is refused, and neither a file nor a directory stays."""
    bare = tmp_path / "bare"
    done = govbus("restore", made / "ours.tar", "--site", bare, *WHY)
    assert (done.code, fingerprint(made / "ours") in done.said, "--trust" in done.said) == (1, True, True), done.said
    assert not bare.exists()
    assert govbus("restore", made / "ours.tar", "--site", bare, *WHY, "--trust", made / "ours" / "certs" / "own" / "bus.crt").code == 0


def answered(words: list[object], answer: bytes) -> tuple[int, str]:
    """The command at a terminal, where somebody types."""
    ours, its = pty.openpty()
    environ = {**os.environ, "GOVBUS_LANG": "en", "GOVBUS_STORE": ""}
    command = [sys.executable, "-m", "bus", *map(str, words)]
    os.write(ours, answer)
    try:
        done = subprocess.run(command, stdin=its, capture_output=True, text=True, timeout=120, env=environ, check=False)
    finally:
        os.close(ours)
        os.close(its)
    return done.returncode, done.stdout + done.stderr


def test_at_a_terminal_a_fingerprint_is_confirmed(made: Path, tmp_path: Path) -> None:
    """Lost anchors: the operator compares the fingerprint; no is the default. Who has a key of his own is not asked."""
    words = ["restore", made / "ours.tar", "--site", tmp_path / "bare", *WHY]
    code, said = answered(words, b"\n")
    assert (code, fingerprint(made / "ours") in said, (tmp_path / "bare").exists()) == (1, True, False), said
    code, said = answered(words, b"y\n")
    assert (code, "Continue with the backup signed by" in said) == (0, True), said
    code, said = answered(["restore", made / "theirs.tar", "--site", tmp_path / "bare", *WHY], b"y\n")
    assert (code, "Continue" in said) == (1, False), said


@pytest.mark.parametrize("lacking", ["expired", "gone", "damaged", "no site block"])
def test_a_backup_without_a_usable_key_is_written_and_says_so(site: Path, tmp_path: Path, lacking: str) -> None:
    """Unsigned, with the reason, in words and in JSON; restored only with ``--unsigned``."""
    own = site / "certs" / "own"
    if lacking == "expired":
        scaffold.create(tmp_path / "old", datetime.now(UTC) - timedelta(days=5000))
        shutil.copytree(tmp_path / "old" / "certs" / "own", own, dirs_exist_ok=True)
    elif lacking == "gone":
        (own / "bus.key").unlink()
    elif lacking == "damaged":
        (own / "bus.key").write_text("no key")
    else:
        (site / "routes.yaml").write_text("site: {organisation: 1, key: own/bus\n")
    done = govbus("backup", tmp_path / "b.tar", "--site", site, "--json")
    assert (done.code, told(done)["signed"], bool(told(done)["reason"]), "not signed" in done.said) == (0, False, True, True), done.said
    before = seen(site)
    done = govbus("restore", tmp_path / "b.tar", "--site", site, *WHY)
    assert (done.code, "--unsigned" in done.said, seen(site) == before) == (1, True, True), done.said
    done = govbus("restore", tmp_path / "b.tar", "--site", site, *WHY, "--unsigned", "--json")
    assert (done.code, told(done)["signed"], told(done)["signer"]) == (0, False, ""), done.said


def test_a_key_of_before_still_vouches(site: Path, tmp_path: Path) -> None:
    """Last year's backup, after the key was replaced: by its earlier certificate, which the site keeps; by another key of ours not."""
    own = site / "certs" / "own"
    assert govbus("backup", tmp_path / "b.tar", "--site", site).code == 0
    scaffold.create(tmp_path / "new", datetime.now(UTC))
    (own / "bus.crt").rename(own / "bus-2025.crt")
    for name in ("bus.key", "bus.crt"):
        shutil.copy(tmp_path / "new" / "certs" / "own" / name, own / name)
    assert govbus("restore", tmp_path / "b.tar", "--site", site, *WHY).code == 0
    (own / "bus-2025.crt").rename(own / "other.crt")
    assert govbus("restore", tmp_path / "b.tar", "--site", site, *WHY).code == 1


def test_a_backup_of_the_version_before_counts_as_unsigned(made: Path, site: Path, tmp_path: Path) -> None:
    """Its manifest lists no bodies and no sizes: it is taken with ``--unsigned``, and only then."""
    content = [(member, octets) for member, octets in members(made / "ours.tar") if member.name != "signature.xml"]
    said = json.loads(content[-1][1])
    said |= {"kind": "govbus-backup/1"}
    said.pop("size")
    old = packed(tmp_path / "old.tar", [*content[:-1], (content[-1][0], json.dumps(said).encode())])
    assert govbus("restore", old, "--site", site, *WHY).code == 1
    done = govbus("restore", old, "--site", site, *WHY, "--unsigned", "--json")
    assert (done.code, told(done)["signed"]) == (0, False), done.said
    assert govbus("audit", "--site", site).code == 0


def _named(content: list[tuple[tarfile.TarInfo, bytes]], name: str) -> int:
    return next(place for place, (member, _) in enumerate(content) if member.name == name)


def forged(content: list[tuple[tarfile.TarInfo, bytes]], other: list[tuple[tarfile.TarInfo, bytes]]) -> Iterator[tuple[str, list[object]]]:
    """What a forger makes of a signed backup."""
    changed = list(content)
    changed[_named(content, "site/routes.yaml")] = (tarfile.TarInfo("site/routes.yaml"), b"site: {}")
    yield "a member changed", [*changed]
    yield "a member changed and the manifest with it", [*fitted(changed, without_signature=False)]
    yield "the signature stripped", [*fitted(changed)]
    yield "another backup's signature", [*content[:-1], other[-1]]
    yield "a member added", [(tarfile.TarInfo("site/certs/trust/x/ca.crt"), b"x"), *content]
    yield "a member taken out", content[1:]
    yield "a member twice", [content[0], *content]
    yield "something after the signature", [*content, (tarfile.TarInfo("site/schemas/x"), b"")]
    yield "two signatures", [*content, content[-1]]
    yield "two manifests", [*content[:-1], *content[-2:]]
    yield "no signature at all, but an empty one", [*content[:-1], (tarfile.TarInfo("signature.xml"), b"")]
    yield "a signature that is no XML", [*content[:-1], (tarfile.TarInfo("signature.xml"), b"<a")]
    yield "a manifest that is a list", [*content[:-2], (tarfile.TarInfo("manifest.json"), b"[1]")]
    yield "nothing", []


def test_no_forgery_is_taken_and_nothing_of_it_stays(made: Path, site: Path, tmp_path: Path) -> None:
    """Each is refused, and the site is to the octet what it was: data, certs and routes.yaml."""
    shutil.rmtree(site / "certs" / "trust")
    before = seen(site)
    for name, content in forged(members(made / "ours.tar"), members(made / "theirs.tar")):
        done = govbus("restore", packed(tmp_path / "forged.tar", content), "--site", site, *WHY)  # type: ignore[arg-type]
        assert (name, done.code, seen(site) == before) == (name, 1, True), done.said
        assert " 5." in f" {done.said}"


def test_a_receipt_of_ours_does_not_vouch_for_a_backup(made: Path, site: Path, tmp_path: Path) -> None:
    """The site's key signs receipts too: only the statement about this manifest counts."""
    loaded = daemon.config.survey(site, environment={}, clock=daemon.utc_now)
    evidence: Evidence = daemon.open_evidence(loaded.site)
    content = members(made / "ours.tar")
    for signature in (evidence.seal_backup(b"another manifest"), evidence.seal_backup(content[-2][1]).replace(b"Backup", b"Backups")):
        forged = packed(tmp_path / "f.tar", [*content[:-1], (tarfile.TarInfo("signature.xml"), signature)])
        done = govbus("restore", forged, "--site", site, *WHY)
        assert (done.code, "5.7" in done.said) == (1, True), done.said


@pytest.mark.parametrize(
    "name",
    [
        "../escaped", "/escaped", "site/../escaped", "site/certs/../../escaped", "site/", "site//x", "site/./routes.yaml", "data/x",
        "site/data/bus.db", "site/store.id", "site/certs", "bus.db/x", "blobs/../x", "blobs/x", "x", "site/schemas/a\\..\\b",
    ],
)  # fmt: skip
def test_no_member_leaves_its_place(made: Path, site: Path, tmp_path: Path, name: str) -> None:
    """Names that lead elsewhere, or to what no backup holds, are refused even where nobody asks for a signature."""
    content = fitted([(tarfile.TarInfo(name), b"x"), *members(made / "ours.tar")])
    before = seen(tmp_path)
    done = govbus("restore", packed(tmp_path / "f.tar", content), "--site", site, *WHY, "--unsigned")
    (tmp_path / "f.tar").unlink()
    assert (done.code, "5.6.11" in done.said, seen(tmp_path) == before) == (1, True, True), done.said


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_what_is_no_regular_file_is_no_member(made: Path, site: Path, tmp_path: Path, kind: bytes) -> None:
    """A link out of the site and a file through it, a device, a pipe: refused before anything is made of it."""
    odd = tarfile.TarInfo("site/certs/trust/odd")
    odd.type, odd.linkname, odd.devmajor, odd.devminor = kind, str(tmp_path), 1, 3
    content = fitted([*members(made / "ours.tar")])
    before = seen(tmp_path)
    with tarfile.open(tmp_path / "f.tar", "w") as tar:
        tar.addfile(odd)
        for member, octets in content:
            member.size = len(octets)
            tar.addfile(member, io.BytesIO(octets))
    done = govbus("restore", tmp_path / "f.tar", "--site", site, *WHY, "--unsigned")
    (tmp_path / "f.tar").unlink()
    assert (done.code, "5.6.11" in done.said, seen(tmp_path) == before) == (1, True, True), done.said


def test_a_database_that_is_none_is_refused(made: Path, site: Path, tmp_path: Path) -> None:
    """Digests that fit are not enough: SQLite is asked."""
    before = seen(site)
    for octets in (b"", b"SQLite format 3\0" + bytes(4000), members(made / "ours.tar")[0][1][:8192]):
        content = members(made / "ours.tar")
        content[0] = (content[0][0], octets)
        done = govbus("restore", packed(tmp_path / "f.tar", fitted(content)), "--site", site, *WHY, "--unsigned")
        assert (done.code, seen(site) == before) == (1, True), done.said


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_secrets_come_back_for_their_owner_alone(made: Path, tmp_path: Path, umask: int) -> None:
    """Keys and site.env are 0600 and directories 0750, whatever the umask is."""
    site, before = tmp_path / "fresh", os.umask(umask)
    try:
        trust = made / "ours" / "certs" / "own" / "bus.crt"
        assert govbus("restore", made / "ours.tar", "--site", site, *WHY, "--trust", trust).code == 0
    finally:
        os.umask(before)
    secrets = [site / "site.env", *site.glob("certs/**/*.key")]
    assert len(secrets) > 4
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (site / "certs").rglob("*") if path.is_dir()} == {0o750}
    assert (site / "data").stat().st_mode & 0o777 == 0o750
    assert [path for path in site.rglob("*") if path.is_file() and path.stat().st_mode & 0o022] == []
    done = govbus("check", "--site", site)
    assert (done.code, "site.env" in done.said) == (0, False), done.said


def test_a_key_by_any_name_needs_the_option_and_comes_back_hidden(site: Path, tmp_path: Path) -> None:
    """What holds a private key is known by its content as well."""
    shutil.copy(site / "certs" / "own" / "bus.key", site / "certs" / "own" / "both.pem")
    assert govbus("backup", tmp_path / "without.tar", "--site", site).code == 0
    assert "site/certs/own/both.pem" not in {member.name for member, _ in members(tmp_path / "without.tar")}
    assert govbus("backup", tmp_path / "with.tar", "--site", site, "--with-keys").code == 0
    (site / "certs" / "own" / "both.pem").unlink()
    assert govbus("restore", tmp_path / "with.tar", "--site", site, *WHY).code == 0
    assert (site / "certs" / "own" / "both.pem").stat().st_mode & 0o777 == 0o600


def test_every_file_is_listed_and_what_is_believed_from_now_on_by_name(made: Path, site: Path) -> None:
    """Added, the same, or different and left alone; a certificate that was not here is told of once more."""
    partner = min((site / "certs" / "trust").iterdir()).name
    (site / "certs" / "trust" / partner / "ca.crt").unlink()
    (site / "certs" / "own" / "tls.key").unlink()
    with (site / "routes.yaml").open("a", encoding="utf-8") as routes:
        routes.write("# mine\n")
    done = govbus("restore", made / "ours.tar", "--site", site, *WHY, "--json")
    files = told(done)["files"]
    assert files["added"] == ["certs/own/tls.key", f"certs/trust/{partner}/ca.crt"]
    assert (files["different"], files["outside"], told(done)["believed"]) == (["routes.yaml"], [], [f"certs/trust/{partner}/ca.crt"])
    listed = [name for names in files.values() for name in names]
    assert sorted(listed) == sorted(member.name[5:] for member, _ in members(made / "ours.tar") if member.name.startswith("site/"))
    assert (site / "routes.yaml").read_text(encoding="utf-8").endswith("# mine\n")
    (site / "certs" / "trust" / partner / "ca.crt").unlink()
    said = govbus("restore", made / "ours.tar", "--site", site, *WHY, COLUMNS="200").said
    assert f"Believed from now on (it was not here before): certs/trust/{partner}/ca.crt" in said
    assert f"certs/trust/{partner}/system.crt" in said and "routes.yaml" in said


def test_nothing_is_written_through_a_link_that_leaves_the_site(made: Path, site: Path, tmp_path: Path) -> None:
    """It is listed, and not written; a link in a file's place stays as it is."""
    shutil.rmtree(site / "schemas")
    (tmp_path / "elsewhere").mkdir()
    (site / "schemas").symlink_to(tmp_path / "elsewhere")
    (site / "site.env").unlink()
    (site / "site.env").symlink_to(tmp_path / "nowhere")
    done = govbus("restore", made / "ours.tar", "--site", site, *WHY, "--json")
    assert done.code == 0, done.said
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (len(told(done)["files"]["outside"]) > 5, told(done)["files"]["different"]) == (True, ["site.env"])
    assert not (tmp_path / "nowhere").exists()


def test_a_restore_that_is_killed_takes_back_the_files_that_it_added(made: Path, tmp_path: Path, kill: Callable[..., int]) -> None:
    """A second one that fails leaves neither certificates nor routes of the first; a file that was changed meanwhile stays."""
    site = tmp_path / "bare"
    words = ("restore", made / "ours.tar", "--site", site, *WHY, "--trust", made / "ours" / "certs" / "own" / "bus.crt")
    assert kill("restore.aside", *words) == -9
    assert (site / "routes.yaml").exists()
    with (site / "schemas" / "mine.xsd").open("w", encoding="utf-8") as mine:
        mine.write("mine")
    (tmp_path / "bad.tar").write_bytes(b"bad")
    assert govbus("restore", tmp_path / "bad.tar", *words[2:]).code == 1
    assert [path.name for path in site.rglob("*") if path.is_file() and path.name != "daemon.lock"] == ["mine.xsd"]
    assert govbus(*words).code == 0
    assert govbus("audit", "--site", site).code == 0
    assert list(site.glob("data.restor*")) == []


@pytest.fixture
def kill() -> Callable[..., int]:
    """Runs the real command, which dies by SIGKILL at a point."""
    program = """
import os, signal, sys
from bus import points
where = sys.argv[1]
points.reach = lambda name, about=None: os.kill(os.getpid(), signal.SIGKILL) if name == where else None
sys.argv = ["govbus", *sys.argv[2:]]
from bus.cli import main
main()
"""

    def killed(where: str, *words: object) -> int:
        command = [sys.executable, "-c", program, where, *map(str, words)]
        environ = {**os.environ, "GOVBUS_STORE": ""}
        return subprocess.run(command, capture_output=True, timeout=120, env=environ, check=False).returncode

    return killed
