"""What must be true when everything has come to rest: the audit's own findings, and what the people and partners of this world know.

The audit (``bus.audit``) is the one oracle of the store. Here it is held against ledgers that the bus cannot write.
"""

from collections import Counter

import small_site
from nodes import Cluster
from people import Ledger
from world import World

from bus.audit import audit
from bus.evidence import Evidence
from bus.message import SENDER
from bus.receipt import FINAL, Status


def judge(world: World, cluster: Cluster, ledger: Ledger, evidence: Evidence) -> None:
    """Tell the world of everything that does not agree."""
    store = cluster.open_store("oracle")
    report = audit(store, evidence)
    for finding in report.findings:
        world.find(f"audit: {finding}")
    _answers(world, ledger, evidence)
    _ends(world)
    _effects(world, cluster)
    _confirmations(world, ledger)


def _answers(world: World, ledger: Ledger, evidence: Evidence) -> None:
    """Who has a receipt has it from the store; who was refused has nothing there; nothing is accepted twice."""
    stated = {bytes(row["xml"]): row for row in world.database.rows("SELECT * FROM receipts WHERE status = 'ACCEPTED'")}
    by_digest = Counter((row["sender"], row["digest"]) for row in world.database.rows("SELECT sender, digest FROM messages"))
    for name, letter in ledger.letters.items():
        times = by_digest[letter.header(SENDER), letter.digest]
        if name in ledger.receipts:
            row = stated.get(ledger.receipts[name])
            if row is None or evidence.read(row["xml"]).digest != letter.digest:
                world.find(f"{name}: its sender has a receipt that is not in the store")
            if times != 1:
                world.find(f"{name}: was accepted {times} times")
        elif name in ledger.refused and times:
            world.find(f"{name}: was refused ({ledger.refused[name]}) and is in the store")
        elif name not in ledger.refused:
            world.find(f"{name}: its sender never had an answer")
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


def _confirmations(world: World, ledger: Ledger) -> None:
    """What a reader was told about its confirmation is in the store."""
    stated = {bytes(row["xml"]) for row in world.database.rows("SELECT xml FROM receipts")}
    for place, xml in ledger.confirmed.items():
        if xml not in stated:
            world.find(f"{place}: was confirmed with a receipt that is not in the store")
