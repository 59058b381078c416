"""Checkpoints of the journal, and the time-stamps on them.

Revision 0004. What was journalled before is taken into the first checkpoints that are written.
"""

import sqlalchemy as sa
from alembic import op

from bus.store import dialect

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the three tables and guard them as the journal is."""
    op.create_table("checkpoints", _key("number"), *_texts("at", "digest"), _octets("xml"))
    op.create_table(
        "checkpoint_spans",
        sa.Column("chain", dialect.TEXT, primary_key=True, nullable=False),
        _key("last"),
        _number(),
        sa.Column("first", dialect.NUMBER, nullable=False),
        *_texts("head"),
        _octets("leaves"),
    )
    op.create_index("checkpoint_spans_number", "checkpoint_spans", ["number"])
    op.create_table("timestamps", _number(primary_key=True), *_texts("at", "digest"), _octets("token"))
    for statement in dialect.guarding(op.get_bind()):
        op.execute(statement)


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, dialect.NUMBER, primary_key=True, autoincrement=False, nullable=False)


def _number(*, primary_key: bool = False) -> sa.Column[int]:
    to = sa.ForeignKey("checkpoints.number")
    return sa.Column("number", dialect.NUMBER, to, primary_key=primary_key, autoincrement=False, nullable=False)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, dialect.TEXT, nullable=False) for name in names]


def _octets(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False)
