"""Nonces: those that partners' passwords came with, each good once for the whole site.

Revision 0008. A node of the version before knows nothing of the table, and remembers its own nonces only.
"""

import sqlalchemy as sa
from alembic import op

from bus.store import dialect

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the table and its index."""
    names = ("partner", "digest")
    op.create_table(
        "nonces",
        *(sa.Column(name, dialect.TEXT, primary_key=True, nullable=False) for name in names),
        sa.Column("until", dialect.TEXT, nullable=False),
    )
    op.create_index("nonces_until", "nonces", ["until"])
