"""Reads each of ``bounds_inputs`` in a fork of this process: a line of JSON says what it came to, its CPU seconds and its peak in MB.

The fork is warm (everything is imported and has been used once) and holds the input already, so what it grows by is what reading cost;
the limits of the operating system end what would not end by itself.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping

import bounds_inputs
import fuzz_targets
from fuzz_signing import DOCUMENT, NOW, Lying, signer, trust

from bus import edxml, vxp, xmlio
from bus.errors import BusError
from bus.hollow import canonical_form
from bus.octets import whole
from bus.signature import wss
from bus.xpath import XPath

#: Beyond these the kernel ends the fork: CPU seconds, and octets of address space on top of what the fork has at first.
MOST_CPU, MOST_ADDRESSES = 20, 2 << 30
_ROUTING = XPath("To/OrganId = 'G18' or count(//*) < 0")


def _edxml(data: bytes) -> None:
    """All that a door does with a document: described, asked by routes, validated, its files checked, a hop appended."""
    tree = edxml.parse(data)
    for work in (
        lambda: edxml.describe(tree),
        lambda: edxml.receivers(tree),
        lambda: _ROUTING.holds(edxml.view(tree)),
        lambda: edxml.check_files(tree),
        lambda: edxml.append_trace(data, "G14", NOW),
        lambda: fuzz_targets._gate()(data),
    ):
        fuzz_targets._quietly(work)


def _insider(data: bytes) -> None:
    """Signed by the bus's own signer, however large, and verified."""
    envelope = wss.sign(data[: data.index(b"<wsse:Security")] + data[data.index(b"</wsse:Security>") + 16 :], signer(), NOW)
    wss.verify(xmlio.parse(envelope), wss.DEFAULT, trust, NOW)


READERS: Mapping[str, Callable[[bytes], object]] = {
    "xml": lambda data: xmlio.canonicalize(edxml.parse(data)),
    "hollow": lambda data: whole(canonical_form(data)),
    "soap": fuzz_targets._soap,
    "wss": lambda data: wss.verify(xmlio.parse(data), wss.DEFAULT, trust, NOW, known=Lying()),
    "insider": _insider,
    "edxml": _edxml,
    "json": lambda data: vxp.check_reply(vxp.read_reply(data, "hub"), "hub"),
}
WARM = {"xml": DOCUMENT, "hollow": DOCUMENT, "edxml": bounds_inputs.edxml(), "json": b'{"status":"OK"}'}


def outcome(reader: str, data: bytes) -> str:
    """The key of the refusal, "" where it was taken, or what else was raised. A refusal's words are part of its cost."""
    try:
        READERS[reader](data)
    except BusError as refusal:
        return f"{refusal.key} {max(map(len, refusal.reasons.values()))}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return ""


def read(name: str) -> None:
    """One kind, in a fork; prints its line."""
    reader, make = bounds_inputs.KINDS[name]
    data = make()
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU, MOST_CPU))
        held = _resident()
        resource.setrlimit(resource.RLIMIT_AS, (_addresses() + MOST_ADDRESSES,) * 2)
        began = time.process_time()
        said = outcome(reader, data)
        seconds, peak = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        line = {"name": name, "size": len(data), "said": said, "seconds": round(seconds, 2), "mb": round((peak - held) / 1e6)}
        os.write(tell, json.dumps(line).encode())
        os._exit(0)
    os.close(tell)
    _, status = os.waitpid(child, 0)
    with os.fdopen(told, "rb") as pipe:
        line = pipe.read().decode() or json.dumps({"name": name, "said": f"ended by the kernel ({status})", "seconds": MOST_CPU, "mb": 0})
    print(line, flush=True)


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _addresses() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    for kind, small in WARM.items():
        outcome(kind, small)
    for kind in sys.argv[1:] or bounds_inputs.KINDS:
        read(kind)
