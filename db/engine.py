"""Engines for SQLite and PostgreSQL, set up so that both behave alike."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from core.errors import BrainTumorError, InvalidArgument, StoreUnavailable

_WRITE: Final = "braintumor_write"
"""Execution option of a connection that will write: SQLite takes its write lock at BEGIN."""

_BUSY_SECONDS: Final = 15
_TRY_AGAIN_SECONDS: Final = 0.01
_CONNECT_SECONDS: Final = 5
_POSTGRES_OPTIONS: Final = {
    "connect_timeout": _CONNECT_SECONDS,
    # A server that vanished without a word must not hold a request for the kernel's quarter hour.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_SQLITE_AWAY: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""Result codes that blame the database and not the statement."""


def create_store_engine(url: str) -> Engine:
    """An engine for ``sqlite:///path`` or ``postgresql://...`` (``postgres://`` too).

    The folder of an SQLite file is made if it is missing. Raises ``InvalidArgument`` for any
    other URL and ``StoreUnavailable`` if the folder cannot be made.
    """
    parsed = _parsed(url)
    return _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgres(parsed)


def open_connection(engine: Engine, *, write: bool) -> Connection:
    """A connection whose transaction is set up for writing, or for reading one snapshot.

    Without the snapshot a reader on PostgreSQL could see the audit log's head move while it
    walks the rows, and take an honest log for a forged one.
    """
    connection = engine.connect()
    if write:
        return connection.execution_options(**{_WRITE: True})
    if connection.dialect.name == "postgresql":
        return connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
    return connection


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn the driver's errors into the taxonomy's, where the database or the values are to blame.

    ``StoreUnavailable`` for a database that is away, locked, full or broken;
    ``InvalidArgument`` for a value that it cannot hold, such as a text with a NUL character.
    """
    try:
        yield
    except (DBAPIError, PoolTimeoutError, sqlite3.Error) as exc:
        error = _translated(exc)
        if error is None:
            raise
        raise error from exc


def _translated(error: DBAPIError | PoolTimeoutError | sqlite3.Error) -> BrainTumorError | None:
    if isinstance(error, PoolTimeoutError):
        return StoreUnavailable()
    if isinstance(error, DataError):
        return InvalidArgument.of("request", "holds a value that the database cannot store")
    driver = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(driver, sqlite3.Error):
        primary_code = getattr(driver, "sqlite_errorcode", 0) & 0xFF
        return StoreUnavailable() if primary_code in _SQLITE_AWAY else None
    away = isinstance(error, OperationalError | InterfaceError)
    if away or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return StoreUnavailable()
    return None


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as exc:
        raise _unusable_url() from exc
    if parsed.get_backend_name() not in {"sqlite", "postgres", "postgresql"}:
        raise _unusable_url()
    return parsed


def _unusable_url() -> InvalidArgument:
    # The URL itself stays out of the message: it may hold a password.
    return InvalidArgument.of(
        "database_url", "use sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    )


def _postgres(url: URL) -> Engine:
    options = {name: value for name, value in _POSTGRES_OPTIONS.items() if name not in url.query}
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        pool_size=8,
        pool_timeout=_CONNECT_SECONDS,
        connect_args=options,
    )


def _sqlite(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StoreUnavailable() from exc
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _text_or_bytes(data: bytes) -> str | bytes:
    """What SQLite keeps as text, which may be anything: a row that somebody made unreadable is for
    the mappers to name, and not for the driver to stop at."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.text_factory = _text_or_bytes
    # The driver would begin transactions by itself, and too late to take the write lock.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
    _set_wal(connection)
    for pragma in (
        # An answer must not leave before its audit row would survive a loss of power.
        "synchronous = FULL",
        # Pages of a large log are written back seldom and many together: 32 MB.
        "wal_autocheckpoint = 8000",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _set_wal(connection: Any) -> None:
    """Have readers not wait for a writer.

    Of two that do so to a new database at once, SQLite tells one that it is locked, and does not
    let it wait: each has what the other needs.
    """
    give_up_at = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            is_locked = exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_locked or time.monotonic() >= give_up_at:
                raise
            time.sleep(_TRY_AGAIN_SECONDS)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and then writes fails at once if another wrote in between,
    # whatever the busy timeout; so writers take the lock at the start.
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
