"""Merkle trees: one hash over a list, and for each of its entries a proof of a few hashes that it stands in the list, and where.

A proof for one of n entries is log2(n) hashes, and says nothing about the other entries but that there are n of them.

Standard: RFC 9162 section 2.1.1 (tree hash), 2.1.3.1 (inclusion path) and 2.1.3.2 (its verification), with SHA-256. Raises ValueError.
"""

from collections.abc import Sequence
from hashlib import sha256

#: Section 2.1.1: leaves and nodes are hashed apart, so that no node can be shown as a leaf.
_LEAF, _NODE = b"\0", b"\1"


def root(entries: Sequence[bytes]) -> bytes:
    """MTH(entries), section 2.1.1."""
    level = _leaves(entries)
    while len(level) > 1:
        level = _above(level)
    return level[0] if level else sha256().digest()


def path(entries: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """PATH(index, entries), section 2.1.3.1: what ``root_from_path`` needs beside the entry, from its sibling up to the root's child."""
    if not 0 <= index < len(entries):
        raise ValueError(f"there is no entry {index} among {len(entries)}")
    level, found = _leaves(entries), []
    while len(level) > 1:
        # A last node without a sibling goes up as it is.
        found += level[index ^ 1 : (index ^ 1) + 1]
        level, index = _above(level), index // 2
    return tuple(found)


def root_from_path(entry: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root of a tree of ``size`` entries in which ``entry`` stands at ``index``, if ``path`` is true, section 2.1.3.2."""
    if not 0 <= index < size:
        raise ValueError(f"there is no entry {index} among {size}")
    at, last, found = index, size - 1, sha256(_LEAF + entry).digest()
    for beside in path:
        if last == 0:
            raise ValueError(f"the path of entry {index} of {size} is too long")
        if at % 2 or at == last:
            found = sha256(_NODE + beside + found).digest()
            while at and not at % 2:
                at, last = at // 2, last // 2
        else:
            found = sha256(_NODE + found + beside).digest()
        at, last = at // 2, last // 2
    if last:
        raise ValueError(f"the path of entry {index} of {size} is too short")
    return found


def _leaves(entries: Sequence[bytes]) -> list[bytes]:
    return [sha256(_LEAF + entry).digest() for entry in entries]


def _above(level: Sequence[bytes]) -> list[bytes]:
    """The nodes above a level. Pairing from the left, a last one alone going up, is the standard's split at the largest power of two."""
    pairs = [sha256(_NODE + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)]
    return [*pairs, level[-1]] if len(level) % 2 else pairs
