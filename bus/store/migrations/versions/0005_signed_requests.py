"""Signed requests: a message names the request that it came in, which bears its sender's signature.

Revision 0005. Messages of before have none, and are vouched for by the journal as they were (``tables.LATER``).
"""

import sqlalchemy as sa
from alembic import op

from bus.store import dialect

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the two columns; a node of the version before goes on writing rows without them."""
    for name in ("request", "request_type"):
        op.add_column("messages", sa.Column(name, dialect.TEXT, nullable=False, server_default=""))
