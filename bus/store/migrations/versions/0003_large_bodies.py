"""Large bodies in the database, for stores that several nodes share.

Revision 0003. On SQLite the table stays empty: there large bodies are files.
"""

import sqlalchemy as sa
from alembic import op

from bus.store import dialect

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table and guard it as ``blobs`` is."""
    op.create_table(
        "blob_parts",
        sa.Column("digest", dialect.TEXT, primary_key=True, nullable=False),
        sa.Column("part", dialect.NUMBER, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Documents carry base64, mostly of what is compressed already: to try again costs more than it saves.
        op.execute("ALTER TABLE blob_parts ALTER COLUMN body SET STORAGE EXTERNAL")
    for statement in dialect.guarding(op.get_bind()):
        op.execute(statement)
