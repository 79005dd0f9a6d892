"""Engines: how transactions begin, and what the driver's errors come out as."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from core.errors import InvalidArgument, StoreUnavailable
from db import engine as engine_module
from db.engine import create_store_engine, open_connection, store_errors
from db.unit_of_work import SqlUnitOfWork, SqlUnitOfWorkFactory
from tests.fakes.records import a_dataset, an_entry


@pytest.fixture
def engine(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """One that does not wait for locks."""
    monkeypatch.setattr(engine_module, "_BUSY_SECONDS", 0)
    engine = create_store_engine(sqlite_url)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 15000)],
)
def test_sqlite_is_set_up(sqlite_url: str, pragma: str, value: object) -> None:
    engine = create_store_engine(sqlite_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
    engine.dispose()


def test_a_new_database_may_be_opened_by_several_at_once(tmp_path: Path) -> None:
    together = Barrier(4)

    def open_it(number: int) -> None:
        engine = create_store_engine(f"sqlite:///{tmp_path / f'{number}.db'}")
        together.wait()
        try:
            with open_connection(engine, write=True) as connection, connection.begin():
                pass
        finally:
            engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        for number in range(40):  # one in ten used to fail
            list(pool.map(open_it, [number] * 4))


def test_the_folder_is_made(tmp_path: Path) -> None:
    create_store_engine(f"sqlite:///{tmp_path / 'a' / 'b' / 'store.db'}").dispose()
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("url", ["postgres://u:p@h/d", "postgresql://u:p@h/d"])
def test_postgres_means_psycopg_3(url: str) -> None:
    engine = create_store_engine(url)
    assert engine.url.drivername == "postgresql+psycopg"
    assert (engine.url.username, engine.url.host, engine.url.database) == ("u", "h", "d")
    engine.dispose()


@pytest.mark.parametrize("url", ["", "store.db", "mysql://u:secret@h/d", "redis://h/0"])
def test_other_urls_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(InvalidArgument, match=r"sqlite:///PATH") as caught:
        create_store_engine(url)
    assert "secret" not in str(caught.value)


def test_a_writer_holds_the_lock_from_its_start(engine: Engine) -> None:
    with open_connection(engine, write=True) as first:
        first.execute(text("SELECT 1"))
        with (
            open_connection(engine, write=True) as second,
            pytest.raises(OperationalError, match="locked"),
        ):
            second.execute(text("SELECT 1"))


def test_readers_and_a_writer_do_not_wait_for_each_other(engine: Engine) -> None:
    with open_connection(engine, write=True) as writer, open_connection(engine, write=False) as one:
        writer.execute(text("UPDATE audit_head SET sequence = 5"))
        assert one.execute(text("SELECT sequence FROM audit_head")).scalar() == 0
        writer.commit()
        with open_connection(engine, write=False) as another:
            assert another.execute(text("SELECT sequence FROM audit_head")).scalar() == 5


def test_a_returned_connection_forgets_that_it_wrote(engine: Engine) -> None:
    store = SqlUnitOfWorkFactory(engine)
    with store(write=True) as uow:
        uow.audit.append([an_entry()])
    with store() as uow, store(write=True) as writer:
        assert uow.audit.head().sequence == 0
        writer.audit.append([an_entry()])


def test_a_lock_that_is_held_too_long(engine: Engine) -> None:
    store = SqlUnitOfWorkFactory(engine)
    with store(write=True) as uow:
        uow.datasets.add(a_dataset())
        with pytest.raises(StoreUnavailable) as caught, store(write=True) as other:
            other.datasets.add(a_dataset("other"))
        uow.commit()
    assert isinstance(caught.value.__cause__, OperationalError)
    with store(write=True) as other:
        other.datasets.add(a_dataset("other"))
        other.commit()


def test_a_full_disk(engine: Engine) -> None:
    store = SqlUnitOfWorkFactory(engine)
    with pytest.raises(StoreUnavailable), store(write=True) as uow:
        assert isinstance(uow, SqlUnitOfWork)
        connection = uow._connection
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        uow.datasets.add(a_dataset(source="x" * 100_000))
    with store() as uow:
        assert uow.audit.head().sequence == 0


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database, but long enough to look like one" * 100)
    engine = create_store_engine(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable), SqlUnitOfWorkFactory(engine)() as uow:
        uow.audit.head()
    engine.dispose()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable):
        create_store_engine(f"sqlite:///{tmp_path / 'file' / 'store.db'}")


def test_an_exhausted_pool_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable), store_errors():
        raise PoolTimeoutError


def test_our_own_mistakes_are_not_blamed_on_the_database(engine: Engine) -> None:
    with engine.connect() as connection:
        with pytest.raises(OperationalError, match="no such table"), store_errors():
            connection.execute(text("SELECT * FROM nowhere"))
        with pytest.raises(IntegrityError), store_errors():
            connection.execute(text("INSERT INTO audit_head VALUES (1, 0, '')"))


def test_errors_of_the_bare_driver_are_translated_too(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught, store_errors():
        sqlite3.connect(tmp_path / "none" / "store.db")
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
