"""Authenticated: a receipt names the partner that was authenticated, beside the sender that the message names.

Revision 0010. Receipts of before have none, and are vouched for by the journal as they were (``tables.LATER``).
"""

import sqlalchemy as sa
from alembic import op

from bus.store import dialect

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the two columns; a node of the version before goes on writing rows without them."""
    for name in ("authenticated", "method"):
        op.add_column("receipts", sa.Column(name, dialect.TEXT, nullable=False, server_default=""))
