"""The siege: what an honest unit notices while strangers and a partner attack, and what the bus keeps of it.

The unit sends at 70 % of the rate that the quiet bus reached: first alone, then beside each kind of attack, then beside all of them
(``SIEGE_SECONDS``, a minute by default; an hour is the soak). A ratio is the latency beside an attack over the latency alone, in one
run. At the end every message that was sent has its DELIVERED receipt, and the audit finds nothing.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.soap import payloads
from bench import accounting, besiegers, load, requests
from bus import soap
from bus.edxml import write_document
from bus.signature import wss
from sandbox import documents
from sandbox.unit import read_signer

SIZE = 5_000
SHARE = 0.7
#: Seconds beside each single attack, and of one batch of the long run: its requests are signed just before, and live five minutes.
EACH_SECONDS, BATCH_SECONDS = 15, 60
#: The partner that attacks; requests with PDFs of it for one batch.
ATTACKER, ATTACKER_REQUESTS = "digital-agency", 12


def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """Latencies alone and beside each attack, their ratios, and memory and disk batch by batch beside all of them."""
    seconds = int(os.environ.get("SIEGE_SECONDS", "60"))
    with tempfile.TemporaryDirectory(prefix="govbus-siege-") as directory, load.running(Path(directory)) as bench:
        unit = requests.Unit(bench.sites)
        bench.run(unit.requests(SIZE, load.WARM_UP))
        rate = SHARE * bench.run(unit.requests(SIZE, 600)).rate

        def beside(names: Sequence[str], duration: float) -> load.Figures:
            target = besiegers.Target(bench.door, bench.sites.authority, _slow(bench) if "pdfs" in names else ())
            with besiegers.besieging(names, target):
                return bench.run(unit.requests(SIZE, round(rate * duration)), rate)

        say(f"siege: {rate:.0f} messages a second, alone")
        quiet = _latency(bench.run(unit.requests(SIZE, round(rate * EACH_SECONDS)), rate))
        attacks = dict[str, Any]()
        for name in besiegers.ATTACKERS:
            say(f"siege: beside {name}")
            attacks[name] = _beside(quiet, beside([name], EACH_SECONDS))
        batches = list[dict[str, Any]]()
        for number in range(max(1, seconds // BATCH_SECONDS)):
            say(f"siege: beside all of them, minute {number + 1}")
            figures = _beside(quiet, beside(list(besiegers.ATTACKERS), min(seconds, BATCH_SECONDS)))
            batches.append({**figures, "rss_mb": round(accounting.rss_mb(bench.pid)), **_kept(bench)})
        return {
            "messages_per_second": round(rate, 1),
            "alone": quiet,
            "beside": attacks,
            "beside_all": batches,
            "peak_rss_mb": round(bench.peak_rss_mb()),
            "audit": _audit(bench.sites.ministry),
        }


def _slow(bench: load.Bench) -> list[bytes]:
    """Signed requests of the attacking partner, each with a PDF that costs its reader all the time it is given."""
    signer, pdf = read_signer(bench.sites.key(ATTACKER)), besiegers.slow_pdf()
    now = datetime.now(UTC)
    return [_request(signer, pdf, f"{now.timestamp():.0f}-{number}", now) for number in range(ATTACKER_REQUESTS)]


def _request(signer: Any, pdf: bytes, name: str, now: datetime) -> bytes:
    whole = documents.document(seed=abs(hash(name)), sender=documents.SECURITY_AUTHORITY, receivers=(documents.TELECOM_AUTHORITY,))
    body = write_document(replace(whole, attachments=(replace(whole.attachments[0], data=pdf),)))
    before, after = payloads.send_document(f"siege-{name}")
    return wss.sign(soap.envelope(soap.SOAP_11, before + body.partition(b"?>")[2].lstrip() + after), signer, now)


def _latency(figures: load.Figures) -> dict[str, float]:
    return {"p50_ms": round(statistics.median(figures.latencies), 1), "p99_ms": round(accounting.percentile(figures.latencies, 99), 1)}


def _beside(quiet: dict[str, float], figures: load.Figures) -> dict[str, float]:
    latency = _latency(figures)
    ratio = round(latency["p50_ms"] / quiet["p50_ms"], 2)
    return {**latency, "p50_ratio": ratio, "p99_ratio": round(latency["p99_ms"] / quiet["p99_ms"], 2), "cpu_ms": round(figures.cpu_ms, 2)}


def _kept(bench: load.Bench) -> dict[str, float]:
    """Disk of the site's data and the journal's rows of refusals."""
    data = bench.sites.ministry / "data"
    octets = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
    return {"disk_mb": round(octets / (1 << 20), 1), "refusal_rows": bench.count("SELECT count(*) FROM journal WHERE event = 'refused'")}


def _audit(site: Path) -> str:
    command = [sys.executable, "-m", "bus", "audit", "--site", str(site)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "GOVBUS_LANG": "en"}, check=False)
    return (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]
