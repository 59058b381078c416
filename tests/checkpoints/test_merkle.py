"""Merkle trees as RFC 9162 has them: checked against the standard's own recursive definition and against published vectors."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import merkle


def defined_root(entries: list[bytes]) -> bytes:
    """Section 2.1.1, word for word: split at the largest power of two below n."""
    if not entries:
        return sha256().digest()
    if len(entries) == 1:
        return sha256(b"\0" + entries[0]).digest()
    k = 1 << (len(entries) - 1).bit_length() - 1
    return sha256(b"\1" + defined_root(entries[:k]) + defined_root(entries[k:])).digest()


def defined_path(m: int, entries: list[bytes]) -> list[bytes]:
    """Section 2.1.3.1, word for word."""
    if len(entries) == 1:
        return []
    k = 1 << (len(entries) - 1).bit_length() - 1
    if m < k:
        return [*defined_path(m, entries[:k]), defined_root(entries[k:])]
    return [*defined_path(m - k, entries[k:]), defined_root(entries[:k])]


#: Certificate Transparency's own test entries, and the roots of its reference implementation after each of them.
VECTORS = [
    ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    ("606162636465666768696a6b6c6d6e6f", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
]


def test_the_published_roots_come_out() -> None:
    """The roots of Certificate Transparency's reference implementation."""
    entries = [bytes.fromhex(entry) for entry, _ in VECTORS]
    assert [merkle.root(entries[:n]).hex() for n in range(1, 9)] == [root for _, root in VECTORS]
    assert merkle.root([]) == sha256().digest()


@pytest.mark.parametrize("size", [*range(1, 34), 63, 64, 65, 100])
def test_every_entry_of_every_small_tree_is_proved(size: int) -> None:
    """Roots and paths are those of the definitions, and each path leads from its entry to the root."""
    entries = [bytes([number]) * 32 for number in range(size)]
    root = defined_root(entries)
    assert merkle.root(entries) == root
    for index, entry in enumerate(entries):
        path = merkle.path(entries, index)
        assert list(path) == defined_path(index, entries)
        assert merkle.root_from_path(entry, index, size, path) == root


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_is_not_so_is_not_proved(data: st.DataObject) -> None:
    """Another entry, another place, another size, a path that is longer, shorter or changed: no root, or another one."""
    size = data.draw(st.integers(1, 70))
    entries = [sha256(bytes([number])).digest() for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    root, path = merkle.root(entries), list(merkle.path(entries, index))
    forgeries = [
        (sha256(b"other").digest(), index, size, path),
        (entries[index], (index + 1) % (size + 1), size, path),
        (entries[index], index, size, [*path, root]),
        (entries[index], index, size, path[:-1] if path else [root]),
    ]
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        forgeries.append((entries[index], index, size, [*path[:at], bytes(32), *path[at + 1 :]]))
    for forged in forgeries:
        try:
            assert merkle.root_from_path(*forged) != root
        except ValueError:
            continue


def test_a_node_cannot_be_shown_as_an_entry() -> None:
    """The two halves of a tree, hashed as an entry, give another root: leaves and nodes are told apart (section 2.1.1)."""
    entries = [bytes([number]) * 32 for number in range(2)]
    halves = b"".join(sha256(b"\0" + entry).digest() for entry in entries)
    assert merkle.root([halves]) != merkle.root(entries)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_place_outside_the_tree_is_an_error(index: int) -> None:
    """Neither a path nor a root is made up for it."""
    with pytest.raises(ValueError, match="no entry"):
        merkle.path([b"a", b"b", b"c"], index)
    with pytest.raises(ValueError, match="no entry"):
        merkle.root_from_path(b"a", index, 3, [])
