"""The floor does the bus's work: what it signs the bus accepts, and what was changed afterwards neither takes."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import plain
from bench.accounting import cpu_seconds, peak_rss_mb, percentile
from bench.plain_store import GROUP, Store
from bus import pki, xmlio
from bus.signature import wss, xades

NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
PAYLOAD = b'<x:Letter xmlns:x="urn:letter"><x:Subject>V\xe1\xbb\x81 vi\xe1\xbb\x87c h\xe1\xbb\x8dp</x:Subject></x:Letter>'


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> plain.Key:
    directory = tmp_path_factory.mktemp("floor")
    authority = pki.create_authority(directory, "ca", "Floor CA", "Floor", NOW)
    pki.issue(directory, "bus", authority, common_name="Floor", organisation="Floor", now=NOW)
    return plain.Key.load(directory / "bus.key", directory / "bus.crt")


def test_the_bus_accepts_an_envelope_that_the_floor_signed(key: plain.Key) -> None:
    """Body and Timestamp are covered, by the profile the bus demands."""
    root = xmlio.parse(plain.sign_envelope(PAYLOAD, key))
    assert wss.verify(root, wss.Policy(), lambda certificate, _at: certificate.hex(), NOW).identity == key.certificate.hex()


def test_the_bus_accepts_a_receipt_that_the_floor_signed(key: plain.Key) -> None:
    """XAdES-B, enveloped, over exactly the receipt's octets."""
    receipt = b'<Receipt xmlns="urn:govbus:receipt:v1"><Status>ACCEPTED</Status></Receipt>'
    assert xades.verify(plain.sign_receipt(receipt, key), lambda certificate: certificate.hex()).octets == receipt


def test_the_floor_verifies_what_it_signed_and_nothing_else(key: plain.Key) -> None:
    """The short way by octets is a verification too: one changed octet ends it."""
    envelope = plain.sign_envelope(PAYLOAD, key)
    assert plain.canonical(plain.verify_envelope(envelope, key)[0]) == PAYLOAD
    with pytest.raises(ValueError, match="digests differ"):
        plain.verify_envelope(envelope.replace(b"urn:letter", b"urn:Letter"), key)


def test_a_commit_of_the_floor_needs_the_commit_before_it(tmp_path: Path) -> None:
    """Nothing is routed or finished twice, so each commit is timed on the rows it will really find."""
    store = Store(tmp_path / "floor.db", b"document", b"receipt")
    store.accept()
    store.route()
    store.finish()
    with pytest.raises(IndexError):
        store.finish()
    store.close()
    assert GROUP > 1


def test_a_process_tree_has_cost_something() -> None:
    """CPU time and peak memory of this very process are above nothing."""
    pid = int(Path("/proc/self").readlink().name)
    assert cpu_seconds(pid) > 0
    assert peak_rss_mb(pid) > 1


@pytest.mark.parametrize(("percent", "expected"), [(50, 2), (75, 3), (99, 4), (100, 4)])
def test_percentiles_are_values_that_were_measured(percent: float, expected: float) -> None:
    """Nearest rank, never between two values."""
    assert percentile([4, 1, 3, 2], percent) == expected
