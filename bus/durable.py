"""Durable files: complete or absent, also after a power cut. A file's octets and its name are two things that a disk must be told to keep.

Raises OSError.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

#: How an unfinished file's name begins.
UNFINISHED = ".unfinished-"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file that has the name ``path``, in place of any other, once it is written down to the disk; for its owner's eyes only.

    What fails half-way leaves nothing behind.
    """
    unfinished = path.with_name(f"{UNFINISHED}{secrets.token_hex(4)}-{path.name}")
    try:
        with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            yield file
            flush(file)
        unfinished.replace(path)
        sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def flush(file: BinaryIO) -> None:
    """Have what was written to ``file`` on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync(place: Path) -> None:
    """Have the names in a directory, or the octets of a file, on the disk."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """The same of everything in a directory, whatever its depth."""
    for place in directory.rglob("*"):
        sync(place)
    sync(directory)
