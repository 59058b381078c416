"""What must be true when everything has come to rest: the audit's own findings, and what the people and partners of this world know.

The audit (``bus.audit``) is the one oracle of the store. Here it is held against ledgers that the bus cannot write.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

import small_site
from nodes import Cluster
from people import ARCHIVED, Ledger
from world import SLOWEST_COMMIT, World

from bus.audit import audit
from bus.evidence import Evidence
from bus.message import SENDER
from bus.receipt import FINAL, Receipt, Status


class Memory(Protocol):
    """The notary, and what it remembers."""

    evidence: Evidence
    sealed: Mapping[str, float]
    said: Mapping[bytes, Receipt]


def judge(world: World, cluster: Cluster, ledger: Ledger, notary: Memory) -> None:
    """Tell the world of everything that does not agree."""
    store = cluster.open_store("oracle")
    report = audit(store, notary.evidence)
    for finding in report.findings:
        world.find(f"audit: {finding}")
    _answers(world, ledger, notary.said)
    _ends(world)
    _effects(world, cluster)
    _order(world, cluster)
    _confirmations(world, ledger, notary.said)
    _receipt_mailboxes(world)
    _expiries(world, notary.sealed)


def _answers(world: World, ledger: Ledger, said: Mapping[bytes, Receipt]) -> None:
    """Who has a receipt has it from the store; who was refused has nothing there; nothing is accepted twice."""
    stated = {bytes(row["xml"]) for row in world.database.rows("SELECT xml FROM receipts WHERE status = 'ACCEPTED'")}
    accepted = Counter((row["sender"], row["digest"]) for row in world.database.rows("SELECT sender, digest FROM messages"))
    archived = Counter((row["sender"], row["digest"]) for row in world.database.rows("SELECT sender, digest FROM tombstones"))
    for name, letter in ledger.letters.items():
        who = (letter.header(SENDER), letter.digest)
        times = accepted[who] + archived[who]
        if name in ledger.receipts:
            xml = ledger.receipts[name]
            if said[xml].digest != letter.digest or (xml not in stated and not archived[who]):
                world.find(f"{name}: its sender has a receipt that is not in the store")
            if times != 1:
                world.find(f"{name}: was accepted {times} times")
        elif name not in ledger.refused:
            world.find(f"{name}: its sender never had an answer")
        elif times != archived[who] or (ledger.refused[name] == ARCHIVED) != (times == 1):
            world.find(f"{name}: was refused ({ledger.refused[name]}) and is in the store {times} times")
    keys = Counter((row["sender"], row["public_id"]) for row in world.database.rows("SELECT sender, public_id FROM messages"))
    for (sender, public_id), times in keys.items():
        if times > 1:
            world.find(f"{sender}/{public_id}: was accepted {times} times")


def _ends(world: World) -> None:
    """Every delivery that ended has the receipt that says so, and as many as it had ends."""
    endings = Counter[str]()
    for row in world.database.rows("SELECT delivery_id, status FROM receipts"):
        endings[row["delivery_id"]] += row["status"] in FINAL
    again = Counter(row["delivery_id"] for row in world.database.rows("SELECT delivery_id FROM journal WHERE event = 'resent'"))
    cancelled = Counter(row["delivery_id"] for row in world.database.rows("SELECT delivery_id FROM journal WHERE event = 'cancelled'"))
    for row in world.database.rows("SELECT * FROM deliveries WHERE receipt_id = ''"):
        ended = (row["state"] in {"DONE", "DEAD"} and not row["target"].startswith("route:")) or row["state"] == "DEAD"
        most = 1 + again[row["id"]] + cancelled[row["id"]]
        if not int(ended) <= endings[row["id"]] <= most:
            world.find(f"delivery {row['id']}: {row['state']} with {endings[row['id']]} final receipts")


def _effects(world: World, cluster: Cluster) -> None:
    """What is recorded as delivered took effect at the partner, once, with the octets that the store names, and is proved by its reply."""
    pushed = ", ".join(f"'{name}'" for name in small_site.PUSHED)
    for row in world.database.rows(f"SELECT * FROM deliveries WHERE target IN ({pushed}) AND outcome = ?", Status.DELIVERED):
        partner = cluster.partners[row["target"]]
        message = partner.taken.get(row["message_id"])
        if message is None or message.digest != row["digest"]:
            world.find(f"delivery {row['id']}: is DELIVERED, and {row['target']} does not have it")
            continue
        proofs = [bytes(proof["body"]) for proof in world.database.rows(_PROOFS, row["id"])]
        if proofs != [partner.reply(message)]:
            world.find(f"delivery {row['id']}: its proofs are {proofs}, {row['target']} said {partner.reply(message)!r}")


_PROOFS = "SELECT body FROM receipts JOIN blobs ON blobs.digest = reply WHERE delivery_id = ? AND status = 'DELIVERED'"


def _order(world: World, cluster: Cluster) -> None:
    """What has the same order key, and takes the same way, took effect at a partner in the order in which it was accepted.

    Not across a reload, which may lead later messages another way, nor where an operator sent one again: order is kept before each target.
    """
    if {"reload", "operator"} & set(world.knobs.mean):
        return
    place = {row["message_id"]: row["place"] for row in world.database.rows(_PLACES)}
    for name, partner in cluster.partners.items():
        delivered = {row["message_id"]: (row["route"], row["order_key"]) for row in world.database.rows(_IN_ORDER, name)}
        last: dict[tuple[str, str, bytes], str] = {}
        for id_, message in partner.taken.items():
            if id_ not in delivered:
                continue
            key = (*delivered[id_], message.body.partition(b"<to>")[2].partition(b"<")[0])
            if key in last and place[last[key]] > place[id_]:
                world.find(f"{id_} was accepted before {last[key]}, and took effect at {name} after it")
            last[key] = id_


_PLACES = "SELECT message_id, min(seq) AS place FROM deliveries GROUP BY message_id"
_IN_ORDER = """
SELECT message_id, messages.route, order_key FROM deliveries JOIN messages ON messages.id = message_id
WHERE target = ? AND order_key <> '' AND outcome = 'DELIVERED'
"""


def _confirmations(world: World, ledger: Ledger, said: Mapping[bytes, Receipt]) -> None:
    """What a reader was told about its confirmation is in the store, or was until it was pruned."""
    stated = {bytes(row["xml"]) for row in world.database.rows("SELECT xml FROM receipts")}
    archived = {name for row in world.database.rows("SELECT message_id, sender_key FROM tombstones") for name in row}
    for place, xml in ledger.confirmed.items():
        if xml not in stated and said[xml].message_id not in archived:
            world.find(f"{place}: was confirmed with a receipt that is not in the store")


def _receipt_mailboxes(world: World) -> None:
    """Where a sender finds its receipts in its mailbox it finds every one, once."""
    for row in world.database.rows(_POSTED):
        if row["posted"] != 1:
            world.find(f"receipt {row['id']} lies in its sender's mailbox {row['posted']} times")


_POSTED = """
SELECT receipts.id, (SELECT count(*) FROM deliveries WHERE receipt_id = receipts.id) AS posted
FROM receipts JOIN messages ON messages.id = receipts.message_id WHERE messages.receipts_to <> ''
"""


def _expiries(world: World, sealed: Mapping[str, float]) -> None:
    """Nothing expires early, in time that really passed; a clock that leaps can halve it, and is believed by a node that starts.

    A life is counted from the gate: it may all be over before the commit where a node stood still in between.
    """
    if world.count["frozen"] or (world.count["clock-stepped"] and world.count["booted"] > world.knobs.nodes):
        return
    least = 0.5 if world.count["clock-stepped"] else 1.0
    slack = SLOWEST_COMMIT if "slow-commit" in world.knobs.chance else 1.0
    for row in world.database.rows(_EXPIRED):
        life = (world.knobs.mailbox if row["owner"] else world.knobs.give_up).total_seconds()
        lived = sealed[row["id"]] - sealed[row["accepted"]]
        if lived < least * life - slack:
            world.find(f"delivery {row['delivery_id']} expired after {lived:.1f} s of {life:.1f} s")


_EXPIRED = """
SELECT receipts.id, receipts.delivery_id, deliveries.owner, accepted.id AS accepted
FROM receipts JOIN deliveries ON deliveries.id = receipts.delivery_id
    JOIN receipts AS accepted ON accepted.message_id = receipts.message_id AND accepted.status = 'ACCEPTED'
WHERE receipts.status = 'EXPIRED' AND NOT EXISTS (SELECT 1 FROM journal WHERE delivery_id = deliveries.id AND event = 'resent')
"""
