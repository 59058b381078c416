"""A drain: a partner that was away for days is back, and a hundred thousand messages wait for it.

The ministry's bus runs as it does in earnest and finds them in its store when it starts. The partner is an HTTPS server that takes
everything at once and proves nothing, so that the rate is the bus's own. Memory is looked at along the way: a backlog must not be in it.
"""

import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from bench import accounting, backlog, plain_https
from bench.load import NotMeasurable
from bus.edxml import write_document
from bus.store import Owed
from sandbox import documents, sites
from sandbox.process import BusProcess

MESSAGES = 100_000
#: A drain in which nothing at all is delivered for so long is a hang.
STUCK_SECONDS = 60.0
TARGET = "agency-service"

_REPLY = b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><r:Taken xmlns:r="urn:bench"/></s:Body></s:Envelope>'
_MARK = "0123456789ABCDEF"
_LEFT = "SELECT count(*) FROM deliveries WHERE target = ? AND state IN ('READY', 'CLAIMED')"


def measure(messages: int = MESSAGES) -> dict[str, Any]:
    """Messages a second, what one costs, and the resident memory at each quarter of the way."""
    with tempfile.TemporaryDirectory(prefix="govbus-drain-") as directory:
        places = sites.create(Path(directory), datetime.now(UTC))
        tls = places.agency / "certs" / "own"
        with plain_https.server(tls / "tls.crt", tls / "tls.key", _REPLY) as (url, _):
            _point_at(places.ministry / "routes.yaml", url)
            store = places.ministry / "data" / "bus.db"
            store.parent.mkdir(exist_ok=True)
            backlog.fill(f"sqlite:///{store}", backlog.context(), messages, _letters(), "unit-inbox")
            with BusProcess(places.ministry, port=places.ports["ministry"]) as ministry:
                return _watched(ministry, store, messages)


def _point_at(routes: Path, url: str) -> None:
    """Have the partner's endpoint speak to ``url``, and send the message itself."""
    site = yaml.safe_load(routes.read_text(encoding="utf-8"))
    site["endpoints"][TARGET] = {"soap": {"url": url, "partner": "partner-agency", "payload": "literal"}}
    routes.write_text(yaml.safe_dump(site, allow_unicode=True), encoding="utf-8")


def _letters() -> backlog.Letter:
    """Real documents, each with a subject of its own."""
    whole = documents.document(seed=1, number=1, receivers=(documents.PARTNER_AGENCY,))
    body = write_document(replace(whole, header=replace(whole.header, subject=_MARK)))
    known = backlog.letters(0, seed=1, target=TARGET)

    def letter(number: int) -> tuple[Any, Owed]:
        message, owed = known(number)
        message = message.with_body(body.replace(_MARK.encode(), f"{number:016}".encode()))
        return message, replace(owed, message=message)

    return letter


def _watched(ministry: BusProcess, store: Path, messages: int) -> dict[str, Any]:
    began, cpu, memory = time.monotonic(), accounting.cpu_seconds(ministry.pid), [accounting.rss_mb(ministry.pid)]
    left, moved = _count(store, _LEFT), began
    first = left
    while left:
        time.sleep(0.5)
        before, left = left, _count(store, _LEFT)
        moved = time.monotonic() if left < before else moved
        if time.monotonic() - moved > STUCK_SECONDS:
            raise NotMeasurable(f"{left} still wait, and none was delivered for {STUCK_SECONDS:.0f} s; see {ministry.site / 'bus.log'}")
        if messages - left >= len(memory) * messages / 4:
            memory.append(accounting.rss_mb(ministry.pid))
    seconds = time.monotonic() - began
    return {
        "messages": first,
        "messages_per_second": round(first / seconds, 1),
        "cpu_ms": round((accounting.cpu_seconds(ministry.pid) - cpu) * 1000 / first, 3),
        "rss_mb_at_quarters": [round(each, 1) for each in memory],
    }


def _count(store: Path, question: str) -> int:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        return int(connection.execute(question, (TARGET,)).fetchone()[0])
