"""A full disk: nothing is acknowledged that is not on disk, callers are told when to come back, and afterwards everything goes on."""

import resource
from collections.abc import Callable
from pathlib import Path

from black_box import SOAP, Bus, fresh_id, govbus, send_content
from parties import DIGITAL, TELECOM, letter
from test_bad_input import check_fault

from sandbox.process import BusProcess


def test_a_full_disk_is_4_3_1_with_retry_after(new_site: Callable[[], Path]) -> None:
    """The kernel refuses every further byte of the daemon's files: first the store's, then the log's and everything's."""
    site = new_site()
    with BusProcess(site) as process:
        bus = Bus(process.url, site)
        assert bus.call(send_content(letter(TELECOM, DIGITAL, seed=9))).receipts
        refused_while_full(bus, process, (site / "data" / "bus.db-wal").stat().st_size)
        refused_while_full(bus, process, 0)
        assert process.stop() == 0
    assert govbus("audit", "--site", site).returncode == 0


def refused_while_full(bus: Bus, process: BusProcess, most: int) -> None:
    """Small and large documents are answered, nothing of them is kept, the daemon stays alive; with room again they are taken."""
    sizes = (5_000, 9_000, 3_000_000)
    letters = {fresh_id(): letter(TELECOM, DIGITAL, seed=seed, size=size) for seed, size in enumerate(sizes)}
    before = bus.counts()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    for version in SOAP:
        for name, body in letters.items():
            answer = bus.call(send_content(body, name), version=version)
            check_fault(answer, version, "4.3.1")
            assert int(answer.headers["Retry-After"]) > 0
    check_fault(bus.post("/soap/documents", b"not XML"), "1.1", "5.6.0")
    assert bus.request("GET", "/healthz").status == 200
    ready = process.page("/readyz")
    assert most or (ready[0], "data" in ready[1], bus.request("GET", "/readyz").status) == (503, True, 503)
    assert bus.counts() == before
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for name, body in letters.items():
        assert bus.call(send_content(body, name)).texts("Status") == ["ACCEPTED"]
    assert bus.request("GET", "/readyz").status == 200
