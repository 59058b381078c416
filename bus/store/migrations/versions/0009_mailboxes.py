"""How full each mailbox is, so that a quota costs no counting.

Revision 0009. What lies there is counted once, here; a node of the version before does not go on counting, which ``filling.recount`` mends.
"""

import sqlalchemy as sa
from alembic import op

from bus.store import dialect

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the table, and count."""
    op.create_table(
        "mailboxes",
        sa.Column("owner", dialect.TEXT, primary_key=True, nullable=False),
        sa.Column("messages", dialect.NUMBER, nullable=False),
        sa.Column("octets", dialect.NUMBER, nullable=False),
    )
    op.execute(
        "INSERT INTO mailboxes (owner, messages, octets) SELECT owner, COUNT(*), SUM(size) FROM deliveries "
        "WHERE state = 'WAITING' AND receipt_id = '' AND owner <> '' GROUP BY owner"
    )
