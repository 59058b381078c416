"""The names of partners: which codes each stood for, and what it is called now.

Revision 0007. Partners of before are written down when the next generation is taken.
"""

import sqlalchemy as sa
from alembic import op

from bus.store import dialect

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the table; nodes of the version before do not ask it."""
    columns = [sa.Column(name, dialect.TEXT, nullable=False) for name in ("codes", "first", "last", "became")]
    op.create_table("partners", sa.Column("name", dialect.TEXT, primary_key=True, nullable=False), *columns)
