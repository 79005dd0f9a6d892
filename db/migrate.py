"""Bring the database to this software's schema: ``python -m db.migrate``."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, event, text

from core.errors import BrainTumorError, FailedPrecondition
from core.settings import Settings
from db.engine import create_store_engine, open_connection, store_errors

_SCRIPTS: Final = Path(__file__).parent / "migrations"
_ADVISORY_LOCK: Final = 0x62726169  # any number, the same in every process: "brai"


def upgrade(url: str) -> None:
    """Apply every migration that is missing, all or none.

    Safe to run from several processes at once. Raises ``StoreUnavailable``, and
    ``FailedPrecondition`` if the database was made by a newer version of this software.
    """
    with (
        _engine(url) as engine,
        store_errors(),
        open_connection(engine, write=True) as connection,
        connection.begin(),
    ):
        _lock(connection)
        _run(connection)
        _check_foreign_keys(connection)


def current_revision(url: str) -> str | None:
    """The schema's revision, or None for an empty database. Raises ``StoreUnavailable``."""
    with (
        _engine(url) as engine,
        store_errors(),
        open_connection(engine, write=False) as connection,
    ):
        return MigrationContext.configure(connection).get_current_revision()


def check_schema(url: str) -> None:
    """Raises ``FailedPrecondition`` unless the schema is this software's or a newer one's.

    A revision that this software does not know is of a newer version, which has migrated already:
    while a system is being upgraded, both stand on it. Raises ``StoreUnavailable``.
    """
    revision = current_revision(url)
    if revision is None:
        raise FailedPrecondition("The database has no tables yet. Run: python -m db.migrate")
    needed, *older = (script.revision for script in ScriptDirectory(str(_SCRIPTS)).walk_revisions())
    if revision in older:
        raise FailedPrecondition(
            f"The database is at revision {revision}, and this version of the software needs "
            f"{needed}. Run: python -m db.migrate"
        )


def main() -> int:
    """Upgrade the configured database; the exit status."""
    try:
        url = Settings.from_environment().database_url
        upgrade(url)
        sys.stdout.write(f"The database is at revision {current_revision(url)}.\n")
    except BrainTumorError as exc:
        sys.stderr.write(f"The database was not migrated. {exc}\n")
        return 1
    return 0


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = create_store_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _without_foreign_keys)
    try:
        yield engine
    finally:
        engine.dispose()


def _without_foreign_keys(connection: Any, _record: Any) -> None:
    # SQLite alters a table by copying and dropping it, and dropping a table that others point
    # to would delete their rows by cascade. It cannot be switched inside the transaction.
    connection.execute("PRAGMA foreign_keys = OFF")


def _check_foreign_keys(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        return
    orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if orphans:
        tables = ", ".join(sorted({str(row[0]) for row in orphans}))
        raise FailedPrecondition(
            f"Rows of {tables} point to rows that do not exist; nothing was changed. "
            "Restore the database from a backup or remove those rows, then try again."
        )


def _lock(connection: Connection) -> None:
    # SQLite took its write lock at BEGIN IMMEDIATE; PostgreSQL needs to be asked.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


def _run(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as exc:
        revision = MigrationContext.configure(connection).get_current_revision()
        raise FailedPrecondition(
            f"The database is at revision {revision}, which this version of the software does "
            "not know. Install the version that made it, or a newer one."
        ) from exc


if __name__ == "__main__":
    sys.exit(main())
