"""Refusals, as operators ask for them: by their reference, and newest first. The journal's rows are all that is kept of what was refused.

A row of before says neither where the error is nor which document it was: those are "" then. A stranger's reference may stand in two rows:
the first refusal of its minute, endpoint, code and source, and how many more there were (``bus.refusals``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from bus.store import dialect
from bus.store.searching import LAST, WALK, Ask, legible
from bus.store.tables import REFUSED, Row, journal, moment, stamp

#: Refusals that one beginning of a reference is given for.
MOST_ALIKE = 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row of refusals. ``reasons`` by language; ``place``: XPath or line; ``chain`` and ``seq``: its journal row, ``hash`` that row's.

    ``count``: how many refusals it tells of. ``source``: the address that a stranger's came from, "*" for all beyond a bound; a partner's
    are told one by one, without it.
    """

    reference: str
    at: datetime
    partner: str
    endpoint: str
    code: str
    reasons: Mapping[str, str]
    place: str
    document_id: str
    number: str
    subject: str
    digest: str
    source: str
    count: int
    chain: str
    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class WantedRefusals:
    """What is looked for; "" and None ask for nothing. ``code``: a code or its beginning."""

    partner: str = ""
    code: str = ""
    since: datetime | None = None
    limit: int = 50


def refused(ask: Ask, wanted: WantedRefusals) -> list[Refusal]:
    """The newest of the last WALK refusals that are ``wanted``."""
    if not (legible(wanted.partner) and legible(wanted.code)):
        return []
    since = [journal.c.at >= stamp(wanted.since)] if wanted.since else []
    newest = sa.select(journal).where(sa.text(REFUSED), *since).order_by(journal.c.at.desc()).limit(WALK).subquery()
    detail = sa.type_coerce(sa.cast(newest.c.detail, dialect.JSON), sa.JSON)
    query = sa.select(newest).order_by(newest.c.at.desc(), newest.c.chain, newest.c.seq.desc()).limit(wanted.limit)
    if wanted.partner:
        query = query.where(detail["partner"].as_string() == wanted.partner)
    if wanted.code:
        query = query.where(detail["code"].as_string().startswith(wanted.code, autoescape=True))
    return [_refusal(row) for row in ask(query)]


def by_reference(ask: Ask, reference: str) -> list[Refusal]:
    """The refusals whose reference is this, or begins so, oldest first; at most MOST_ALIKE."""
    begins = reference.strip().lower()
    if not (begins and legible(begins)):
        return []
    alike = sa.and_(journal.c.message_id >= begins, journal.c.message_id < begins + LAST, sa.text(REFUSED))
    rows = ask(sa.select(journal).where(alike).order_by(journal.c.message_id, journal.c.at).limit(MOST_ALIKE))
    return sorted(map(_refusal, rows), key=lambda each: each.at)


def _refusal(row: Row) -> Refusal:
    detail: Mapping[str, Any] = orjson.loads(row.detail)
    names = ("partner", "endpoint", "code", "place", "document_id", "number", "subject", "digest", "source")
    said: dict[str, Any] = {name: str(detail.get(name, "")) for name in names}
    said |= {"reasons": detail.get("reasons", {}), "count": int(detail.get("count", 1))}
    return Refusal(reference=row.message_id, at=moment(row.at), chain=row.chain, seq=row.seq, hash=row.hash, **said)
