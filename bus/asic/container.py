"""An ASiC-E container with XAdES: files, and one signature over all of them.

::

    mimetype                     first and stored, so that the file tells what it is without being unpacked (annex A.1)
    META-INF/manifest.xml        the files and their media types (OpenDocument 1.2 part 3, section 4)
    …                            the files themselves
    META-INF/signatures001.xml   XAdES-B-B, detached, with one reference to each file (``bus.signature.xades_files``)

``write`` promises that the same files and signature give the same octets. ``read`` promises ``Container``: files that the signature covers,
each exactly once, and nothing else; and that every octet of the file was either covered or had no choice. The manifest says what the names
say, and media types follow from the names, so that it can be written anew and compared.

Raises Rejected: ``container-damaged``, naming the part; ``signature-invalid``, ``algorithm-refused``, and what ``trust`` raises.

Standards: ETSI EN 319 162-1 V1.1.1 sections 4.4 (ASiC-E), 4.4.3.2 (with XAdES), annex A (container and media type).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import IO, Generic, TypeVar

from bus.asic import zipped
from bus.errors import Rejected
from bus.octets import Body, Chunk, whole
from bus.signature.profile import Verified
from bus.signature.xades_files import MOST_FILES, File, sign_files, verify_files
from bus.signer import Signer

T = TypeVar("T")

SUFFIX = ".asice"
MEDIA_TYPE = "application/vnd.etsi.asic-e+zip"
MIMETYPE, MANIFEST, SIGNATURE = "mimetype", "META-INF/manifest.xml", "META-INF/signatures001.xml"
#: The largest signature document: a kilobyte a file is more than it takes.
_MOST_SIGNATURE = (MOST_FILES + 20) << 10
_NAMESPACE = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
#: Media types by the ending of a name.
_MEDIA_TYPES: Mapping[str, str] = {
    ".xml": "application/xml",
    ".xsd": "application/xml",
    ".xsl": "application/xslt+xml",
    ".json": "application/json",
    ".txt": "text/plain",
    ".cer": "application/pkix-cert",
    ".crl": "application/pkix-crl",
    ".ocsp": "application/ocsp-response",
    ".tst": "application/vnd.etsi.timestamp-token",
}


@dataclass(frozen=True, slots=True)
class Container(Generic[T]):
    """What a container was proved to hold. ``files`` by their names; ``signed``: by whom, and when as the signer states."""

    files: Mapping[str, Body]
    signed: Verified[T]


def media_type(name: str) -> str:
    """The media type of a file of this name."""
    return _MEDIA_TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")


def write(files: Mapping[str, Body], signer: Signer, at: datetime) -> Iterator[Chunk]:
    """The container's octets, in portions, signed at ``at``. Raises ValueError for more than a container holds."""
    signature = sign_files([File(name, body, media_type(name)) for name, body in files.items()], signer, at)
    around = {MIMETYPE: MEDIA_TYPE.encode(), MANIFEST: _manifest(list(files))}
    return zipped.write({**around, **files, SIGNATURE: signature})


def read(file: IO[bytes], trust: Callable[[bytes], T]) -> Container[T]:
    """What the container in ``file`` holds. ``trust`` gets the signer's certificate (DER) and raises Rejected, or returns who it is."""
    found = zipped.read(file)
    names = list(found)
    if names[:2] != [MIMETYPE, MANIFEST] or names[-1] != SIGNATURE or len(names) < 4:  # noqa: PLR2004 - and at least one file
        raise zipped.damaged(SIGNATURE, f"a container begins with {MIMETYPE} and {MANIFEST}, and ends with its signature")
    files = {name: found[name] for name in names[2:-1]}
    expected = {MIMETYPE: MEDIA_TYPE.encode(), MANIFEST: _manifest(list(files))}
    for name, octets in expected.items():
        if len(found[name]) != len(octets) or whole(found[name]) != octets:
            raise zipped.damaged(name, "it is not what it must be for these files")
    if len(found[SIGNATURE]) > _MOST_SIGNATURE:
        raise zipped.damaged(SIGNATURE, "it is too large")
    try:
        return Container(files, verify_files(whole(found[SIGNATURE]), files, trust))
    except Rejected as error:
        raise _named(error) from error


def _named(error: Rejected) -> Rejected:
    """The refusal of a signature, with the part; one that speaks of a file names it itself."""
    return zipped.damaged(SIGNATURE, str(error)) if error.code.startswith("5.6.") else error


def _manifest(names: Sequence[str]) -> bytes:
    entries = "".join(_entry(name, media_type(name)) for name in names)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<manifest:manifest xmlns:manifest="{_NAMESPACE}" manifest:version="1.2">\n'
        f"{_entry('/', MEDIA_TYPE)}{entries}</manifest:manifest>\n"
    ).encode()


def _entry(path: str, media: str) -> str:
    return f' <manifest:file-entry manifest:full-path="{path}" manifest:media-type="{media}"/>\n'
