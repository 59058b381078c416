"""The document's number and the folded subject of a message, to be searched for.

Revision 0006. Messages of before have none at first: they are filled in after the upgrade, some at a time (``naming``), which the guard of
``messages`` lets happen once a row. A node of the version before goes on writing rows without them.
"""

import sqlalchemy as sa
from alembic import op

from bus.store import dialect

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the two columns and the index, and put the guards anew."""
    for name in ("number", "folded"):
        op.add_column("messages", sa.Column(name, dialect.TEXT, nullable=True))
    op.create_index("messages_number", "messages", ["number"])
    for statement in dialect.guarding(op.get_bind()):
        op.execute(statement)
