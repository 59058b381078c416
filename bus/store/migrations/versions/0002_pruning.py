"""Pruning: tombstones for what was pruned, and guards that let go what a pruning names.

Revision 0002. The way back is a backup: without these guards nothing that was pruned since could be told from what was removed.
"""

import sqlalchemy as sa
from alembic import op

from bus.store import dialect

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the two tables and put the guards against deletion anew."""
    keys = ("sender_key", "sender")
    known = [sa.Column(name, dialect.TEXT, primary_key=True, nullable=False) for name in keys]
    said = [sa.Column(name, dialect.TEXT, nullable=False) for name in ("endpoint", "message_id", "digest", "accepted")]
    op.create_table("tombstones", *known, *said)
    op.create_table("pruning", sa.Column("message_id", dialect.TEXT, primary_key=True, nullable=False))
    for statement in dialect.guarding(op.get_bind()):
        op.execute(statement)
