"""The container's form: written in one way, read only as it was written, and opened by tools that share no code with us."""

import hashlib
import io
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from evidence_rig import Told, broken, verify, written

from bus.asic import zipped
from bus.asic.container import MANIFEST, MIMETYPE, SIGNATURE
from bus.errors import Rejected
from bus.octets import Encoded, Octets

PARTS = {"mimetype": b"text/plain", "a/b.txt": b"x" * 40, "empty": b""}


def packed(entries: dict[str, bytes] | None = None) -> bytes:
    return b"".join(bytes(chunk) for chunk in zipped.write(entries or dict(PARTS)))


def refusal(octets: bytes) -> str:
    with pytest.raises(Rejected) as caught:
        zipped.read(io.BytesIO(octets))
    assert caught.value.key == "container-damaged"
    return str(caught.value)


def test_what_is_written_is_read_and_is_the_same_each_time() -> None:
    """Round trip, bodies in pieces and not in memory included; and Python's own reader finds the same."""
    large = Octets(b"<", Encoded(b"\0" * 90_000), b">")
    octets = packed({**PARTS, "large": large})  # type: ignore[dict-item]
    found = zipped.read(io.BytesIO(octets))
    assert {name: bytes(b"".join(map(bytes, zipped.chunks(body)))) for name, body in found.items()} == {
        **PARTS,
        "large": b"".join(map(bytes, large.chunks())),
    }
    assert packed({**PARTS, "large": large}) == octets  # type: ignore[dict-item]
    with zipfile.ZipFile(io.BytesIO(octets)) as other:
        assert other.testzip() is None
        assert other.namelist() == list(found)


def test_every_flipped_bit_of_a_file_is_refused() -> None:
    """Headers, times, attributes, sizes, offsets, names, content: no bit is free."""
    octets = packed()
    passed = []
    for at in range(len(octets)):
        for bit in range(8):
            changed = bytearray(octets)
            changed[at] ^= 1 << bit
            try:
                zipped.read(io.BytesIO(bytes(changed)))
            except Rejected:
                continue
            passed.append((at, bit))
    assert passed == []


def test_every_cut_and_every_addition_is_refused() -> None:
    """Whatever is missing at the end, or stands before, behind or between."""
    octets = packed()
    changed = [octets[:length] for length in range(len(octets))]
    changed += [octets[:at] + b"\0" + octets[at:] for at in range(len(octets) + 1)]
    for each in changed:
        refusal(each)


def _python(**options: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as other:
        for name, body in PARTS.items():
            other.writestr(name, body)
    return file.getvalue()


def _renamed(name: bytes) -> bytes:
    """The file with one entry's name replaced in both headers; of the same length."""
    return packed().replace(b"a/b.txt", name)


def _twice() -> bytes:
    """Two entries of one name, as the writer would write them if it could."""
    entries, offset = [], 0
    for body in (b"one", b"two"):
        entries.append((zipped._Entry("a", zlib.crc32(body), len(body), offset), body))
        offset = entries[-1][0].end
    directory = b"".join(entry.central() for entry, _ in entries)
    return b"".join(entry.local() + body for entry, body in entries) + directory + zipped._end(2, len(directory), offset)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no zip": lambda: b"x" * 5000,
    "an end alone": lambda: zipped._end(0, 0, 0),
    "sixty thousand entries": lambda: b"\0" * 100 + zipped._end(60_000, 100, 0),
    "a directory of four gigabytes": lambda: zipped._end(5, 0xFFFFFFFF, 0),
    "another writer": _python,
    "compressed": lambda: _python(compression=zipfile.ZIP_DEFLATED),
    "a step up": lambda: _renamed(b"../.txt"),
    "an absolute path": lambda: _renamed(b"/ab.txt"),
    "a backslash": lambda: _renamed(b"a\\b.txt"),
    "a hidden place": lambda: _renamed(b".ab.txt"),
    "a NUL": lambda: _renamed(b"a\0b.txt"),
    "one name twice": _twice,
    "a bomb that claims a gigabyte": lambda: packed().replace(struct.pack("<II", 40, 40), struct.pack("<II", 1 << 30, 1 << 30)),
    "an entry inside another": lambda: packed({"a": packed(), "b": b""}).replace(struct.pack("<I", 0), struct.pack("<I", 31)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_at_once(kind: str) -> None:
    """With the part that is wrong, and without a thought about what may be compressed in it."""
    assert refusal(HOSTILE[kind]())


@pytest.mark.parametrize("name", ["../up", "/top", "a//b", "", "đ", "a b", ".hidden", "x" * 201, "a/"])
def test_a_name_that_is_a_path_out_is_never_written(name: str) -> None:
    """What the reader would refuse, the writer does not make."""
    with pytest.raises(ValueError, match="is no name"):
        packed({name: b""})


def test_fault_44_any_flipped_byte_of_a_container_is_refused_and_the_part_is_named(small: bytes) -> None:
    """Each byte of a whole evidence container, one after the other: it does not hold, and which part it is."""
    container = small
    with zipfile.ZipFile(io.BytesIO(container)) as parts:
        names = {*parts.namelist(), zipped._THE_END}
    wrong = []
    for at in range(len(container)):
        changed = bytearray(container)
        changed[at] ^= 1 + at % 255
        report = verify(bytes(changed))
        named = broken(report)
        if report.ok or len(named) != 1 or not (named[0] in names or "entry" in named[0]):
            wrong.append((at, named))
    assert wrong == []


def test_a_byte_changed_with_its_checksums_put_right_is_refused_by_the_signature(container: bytes) -> None:
    """An attacker mends the ZIP file; then it is the signature that finds the part, whichever it is."""
    parts = zipped.read(io.BytesIO(container))
    wrong = []
    for name, body in parts.items():
        octets = bytes(b"".join(map(bytes, zipped.chunks(body))))
        changed = {**parts, name: octets[:-1] + bytes([octets[-1] ^ 1])}
        named = broken(verify(packed(changed)))  # type: ignore[arg-type]
        if named not in ([name], [SIGNATURE]):
            wrong.append((name, named))
    assert wrong == []


def test_a_part_removed_added_renamed_or_swapped_is_refused(told: Told, container: bytes, message: str) -> None:
    """The same parts, all of them, under the same names, and no others."""
    parts = dict(zipped.read(io.BytesIO(container)))
    middle = [name for name in parts if name not in {MIMETYPE, MANIFEST, SIGNATURE}]
    changed = [{name: body for name, body in parts.items() if name != gone} for gone in parts]
    changed += [{**parts, "message/more.xml": b"<a/>"}]
    changed += [{("renamed.xml" if name == old else name): body for name, body in parts.items()} for old in middle]
    changed += [{**parts, middle[0]: parts[middle[1]], middle[1]: parts[middle[0]]}]
    other = zipped.read(io.BytesIO(told.container(message)))
    changed += [{**parts, SIGNATURE: other[SIGNATURE]}]
    assert [index for index, each in enumerate(changed) if verify(packed(each)).ok] == []  # type: ignore[arg-type]


def test_the_container_opens_in_standard_tools(container: bytes, certs: Path, tmp_path: Path, xmlsec1: str) -> None:
    """``unzip`` tests and unpacks it, ``xmlsec1`` verifies the signature over the files as they lie there, and refuses a changed one."""
    file = written(container, tmp_path / "message.asice")
    unzip = shutil.which("unzip")
    if unzip is None:
        pytest.skip("unzip is not installed")
    place = tmp_path / "unpacked"
    subprocess.run([unzip, "-t", str(file)], check=True, capture_output=True, timeout=30)
    subprocess.run([unzip, "-q", str(file), "-d", str(place)], check=True, capture_output=True, timeout=30)
    assert container[:66].startswith(b"PK\3\4")
    assert container[38:].startswith(b"application/vnd.etsi.asic-e+zip")
    ids = ["--id-attr:Id", "http://uri.etsi.org/01903/v1.3.2#:SignedProperties"]
    command = [xmlsec1, "--verify", "--trusted-pem", str(certs / "own" / "ca.crt"), *ids, SIGNATURE]
    good = subprocess.run(command, cwd=place, capture_output=True, timeout=30, check=False)
    content = place / "message" / "content.xml"
    content.write_bytes(content.read_bytes() + b" ")
    bad = subprocess.run(command, cwd=place, capture_output=True, timeout=30, check=False)
    assert (good.returncode == 0, bad.returncode == 0) == (True, False), good.stderr


def test_the_digests_are_what_sha256sum_says(told: Told, message: str) -> None:
    """A journal row's file has the row's own hash, the message's row the digest in the journal: no tool of ours is needed."""
    files = told.files(message)
    with told.rig.store.snapshot() as snapshot:
        about = snapshot.about(message)
    assert about is not None
    hashes = [hashlib.sha256(octets).hexdigest() for name, octets in files.items() if name.startswith("journal/")]
    assert hashes == [row.hash for row in about.journal]
    accepted = next(octets for name, octets in files.items() if name.endswith("-accepted.json"))
    assert hashlib.sha256(files["message/row.json"]).hexdigest().encode() in accepted
