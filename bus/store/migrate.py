"""Bringing a database's tables up to date, with alembic, in one transaction; two processes that start together take turns.

Killed in the middle, it leaves the tables as they were. What was written by a newer program is refused, and not touched.
"""

from pathlib import Path

import sqlalchemy as sa

from bus import points
from bus.errors import ConfigurationError, Fault
from bus.store import dialect
from bus.store.tables import REVISION

_SCRIPTS = Path(__file__).parent / "migrations"


def beside(url: str) -> Path:
    """The directory for large bodies beside an SQLite file; its parent is made. Raises ConfigurationError for any other database."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ConfigurationError([Fault(dialect.shown(url), 0, 0, "a store that is not an SQLite file needs a directory for large bodies")])
    directory = Path(parsed.database).parent
    directory.mkdir(parents=True, exist_ok=True)
    return directory / "blobs"


def up_to_date(engine: sa.Engine, chain: str) -> None:
    """Create or upgrade the tables, for the writer of ``chain``.

    Raises ConfigurationError when they are newer than this program, when the database cannot be opened or cannot be trusted, and when
    another process writes the chain.
    """
    try:
        with engine.begin() as connection:
            _check(connection)
            if dialect.revision(connection) != REVISION:
                dialect.lock_for_migration(connection)
                points.reach("migrate.begun")
                _upgrade(connection)
                points.reach("migrate.upgraded")
    except sa.exc.DBAPIError as error:
        engine.dispose()
        raise ConfigurationError([Fault(dialect.shown(engine.url), 0, 0, dialect.refusal(error, chain))]) from error
    except ConfigurationError:
        engine.dispose()
        raise


def _check(connection: sa.Connection) -> None:
    faults = [Fault(dialect.shown(connection.engine.url), 0, 0, text) for text in dialect.distrust(connection)]
    if faults:
        raise ConfigurationError(faults)


def _upgrade(connection: sa.Connection) -> None:
    # Imported here: alembic takes longer to load than the rest of the store, and is needed once in a database's life.
    from alembic import command, config, util  # noqa: PLC0415

    settings = config.Config()
    settings.set_main_option("script_location", str(_SCRIPTS))
    settings.attributes["connection"] = connection
    try:
        command.upgrade(settings, "head")
    except util.CommandError as error:
        text = f"the store was written by a newer version of govbus ({error}); install that version, or restore a backup"
        raise ConfigurationError([Fault(dialect.shown(connection.engine.url), 0, 0, text)]) from error
