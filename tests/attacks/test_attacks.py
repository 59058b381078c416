"""Whatever is sent to a SOAP door that no honest partner would send is refused with its code, and nothing of it gets past the gate."""

import resource
import time
from collections.abc import Callable, Iterable, Iterator

import octets
import pytest
import signatures
import usernames
import wrappings
from attacker import CONTENT_TYPES, Case, Forger, Mutation, cases
from soap_rig import Rig, fault_code

from bus.soap import SOAP_11, SOAP_12

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOTH = ("ours", "zeep")
#: What one hostile input may cost.
MOST_SECONDS, MOST_GROWTH_MB = 2.0, 400


def _mutated(kind: str, mutations: Callable[[], Iterable[tuple[str, Mutation]]], *, insider: bool = True, stacks: tuple[str, ...] = BOTH):
    return lambda forger: cases(forger, kind, mutations(), insider=insider, stacks=stacks)


def _keys(forger: Forger) -> Iterator[Case]:
    yield from cases(forger, "key", signatures.keys(forger.stranger.certificate_der), insider=True, stacks=("ours",))
    for version in (SOAP_11, SOAP_12):
        yield Case(
            "key", f"signed by a stranger ({version.name})", forger.signed(version, "ours", 1, forger.stranger), CONTENT_TYPES[version]
        )


KINDS: dict[str, Callable[[Forger], Iterable[Case]]] = {
    "wrapping": _mutated("wrapping", wrappings.mutations, stacks=("ours",)),
    "wrapping, zeep": _mutated("wrapping", wrappings.mutations, insider=False, stacks=("zeep",)),
    "reference": _mutated("reference", signatures.references, stacks=("ours",)),
    "algorithm": _mutated("algorithm", signatures.algorithms),
    "shape": _mutated("shape", signatures.shapes, insider=False),
    "time": _mutated("time", signatures.times),
    "identifier": _mutated("identifier", signatures.identifiers),
    "key": _keys,
    "document type": octets.doctypes,
    "flood": octets.floods,
    "encoding": octets.encodings,
    "cut off": octets.cuts,
    "changed octet": octets.changes,
    "MIME": octets.multiparts,
    "content type": octets.lies,
    "username": usernames.usernames,
}


#: Cases of each kind, at least.
LEAST = {
    "wrapping": 700,
    "wrapping, zeep": 350,
    "reference": 530,
    "algorithm": 256,
    "shape": 328,
    "time": 140,
    "identifier": 80,
    "key": 90,
    "document type": 48,
    "flood": 36,
    "encoding": 50,
    "cut off": 78,
    "changed octet": 100,
    "MIME": 30,
    "content type": 20,
    "username": 250,
}


@pytest.mark.parametrize("kind", KINDS)
async def test_attacks_are_refused_and_reach_nothing(attacked: Rig, forger: Forger, kind: str) -> None:
    """A fault with 5.6 or 5.7 for each, within its time and memory; the store knows of refusals and of nothing else."""
    before = await _kept(attacked)
    wrong, names = [], set()
    for case in KINDS[kind](forger):
        names.add(case.name)
        began, size = time.process_time(), _resident_mb()
        response = await attacked.post(case.body, case.endpoint, content_type=case.content_type)
        spent, grown = time.process_time() - began, _resident_mb() - size
        code = _code(response)
        if not code.startswith(("5.6", "5.7")) or spent > MOST_SECONDS or grown > MOST_GROWTH_MB:
            wrong.append(f"{case.name}: HTTP {response.status}, {code}, {spent:.2f} s, {grown} MB")
    assert wrong == []
    assert len(names) >= LEAST[kind]
    assert await _kept(attacked) == before


def _code(response) -> str:
    if response.status == 200:
        return "accepted"
    try:
        return fault_code(response)
    except Exception as error:
        return f"no fault: {error}"


def _resident_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


async def _kept(rig: Rig) -> tuple[int, set[object]]:
    rows = await rig.journal()
    return sum(row["event"] != "refused" for row in rows), {row["event"] for row in rows} - {"refused"}
