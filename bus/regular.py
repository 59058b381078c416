"""Files of the site, read without waiting and without end: a pipe or a device that lies in a file's place is named, and never opened.

Raises OSError, whose ``strerror`` says what is wrong.
"""

import errno
import os
import stat
from pathlib import Path

#: Octets of one file. The largest lists of public authorities have some ten megabytes.
MOST_OCTETS = 16 << 20


class Odd(OSError):
    """It is there, and is nothing that the site could be made of."""

    def __str__(self) -> str:
        return str(self.strerror)


def octets(path: Path) -> bytes:
    """What is in a file. Raises OSError; Odd for what is no regular file, or too large."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise Odd(errno.EINVAL, "it is no regular file; remove it", str(path))
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
        found = file.read(MOST_OCTETS + 1)
    if len(found) > MOST_OCTETS:
        raise Odd(errno.EFBIG, f"it has more than {MOST_OCTETS >> 20} MB, as no file of a site has", str(path))
    return found


def words(path: Path) -> str:
    """A file's text, UTF-8 with or without a mark. Raises OSError, Odd, UnicodeDecodeError."""
    return octets(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
