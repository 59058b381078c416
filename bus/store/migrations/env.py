"""Alembic environment: migrations run on the connection that ``bus.store.migrate`` hands over, inside its transaction."""

from alembic import context

from bus.store.tables import metadata

# SQLite's DDL is transactional once the driver leaves transactions to us (see ``bus.store.dialect``); alembic assumes it is not.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
