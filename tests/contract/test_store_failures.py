"""What a database that is away, or values it cannot hold, come out as."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, ResourceClosedError

from core.audit_chain import verify_chain
from core.errors import InvalidArgument, NotFound, StoreUnavailable
from db.engine import create_store_engine
from db.migrate import upgrade
from db.unit_of_work import SqlUnitOfWorkFactory
from tests.fakes.records import a_dataset, a_refusal, an_entry


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Engine]:
    engine = create_store_engine(postgres_url)
    yield engine
    engine.dispose()


def cut_connections(url: str) -> None:
    """What a restart of the server does to everybody connected to the database."""
    target = make_url(url)
    engine = create_engine(target.set(database="postgres"))
    with engine.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": target.database},
        )
    engine.dispose()


def test_a_server_that_is_not_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = f"postgresql://postgres@/none?host={tmp_path_factory.mktemp('nobody')}"
    with pytest.raises(StoreUnavailable), SqlUnitOfWorkFactory(create_store_engine(url))():
        pytest.fail("it was opened")
    with pytest.raises(StoreUnavailable):
        upgrade(url)


def test_a_connection_that_breaks_in_the_middle(postgres: Engine, postgres_url: str) -> None:
    store = SqlUnitOfWorkFactory(postgres)
    with pytest.raises(StoreUnavailable) as caught, store(write=True) as uow:
        uow.audit.append([an_entry()])
        cut_connections(postgres_url)
        uow.audit.append([an_entry()])
    assert caught.value.__cause__ is not None
    with store() as uow:
        assert uow.audit.head().sequence == 0


def test_a_connection_that_breaks_before_commit(postgres: Engine, postgres_url: str) -> None:
    store = SqlUnitOfWorkFactory(postgres)
    with pytest.raises(StoreUnavailable), store(write=True) as uow:
        uow.audit.append([an_entry()])
        cut_connections(postgres_url)
        uow.commit()
    with store(write=True) as uow:
        assert [record.sequence for record in uow.audit.append([an_entry()])] == [1]


def test_idle_connections_are_replaced_without_an_error(
    postgres: Engine, postgres_url: str
) -> None:
    store = SqlUnitOfWorkFactory(postgres)
    for _ in range(2):
        with store(write=True) as uow:
            uow.audit.append([an_entry()])
            uow.commit()
        cut_connections(postgres_url)
    with store() as uow:
        assert uow.audit.head().sequence == 2


def test_a_reader_on_postgres_cannot_write(postgres: Engine) -> None:
    store = SqlUnitOfWorkFactory(postgres)
    with pytest.raises(DBAPIError, match="read-only transaction"), store() as uow:
        uow.datasets.add(a_dataset())
    with store(write=True) as uow:  # the next one is as it should be
        uow.datasets.add(a_dataset())
        uow.commit()


def test_odd_text_in_one_entry_does_not_cost_the_others(sql_engine: Engine) -> None:
    store = SqlUnitOfWorkFactory(sql_engine)
    with store(write=True) as uow:
        odd = a_refusal(model_version="m\0" + "x" * 5000, caller="ann\0", message="\0" * 3000)
        uow.audit.append([an_entry(), odd, an_entry()])
        uow.commit()
    with store() as uow:
        rows = list(uow.audit.iterate())
        assert verify_chain(rows, uow.audit.head()).intact
    assert rows[1].model_version == "m\N{REPLACEMENT CHARACTER}" + "x" * 254
    assert rows[1].caller == "ann\N{REPLACEMENT CHARACTER}"


def test_a_name_with_a_nul_is_nobodys(sql_engine: Engine) -> None:
    with pytest.raises((NotFound, InvalidArgument)), SqlUnitOfWorkFactory(sql_engine)() as uow:
        uow.models.digest_of("m\0")


def test_a_stream_that_is_left_half_read_costs_nobody(sql_engine: Engine) -> None:
    store = SqlUnitOfWorkFactory(sql_engine)
    with store(write=True) as uow:
        uow.audit.append([an_entry() for _ in range(1100)])
        uow.commit()
    with pytest.raises(NotFound), store() as uow:
        rows = uow.audit.iterate()
        next(rows)
        uow.audit.get("none")
    with store(write=True) as uow:
        uow.audit.append([an_entry()])
        with pytest.raises(ResourceClosedError):
            list(rows)
        uow.commit()
    with store() as uow:
        assert len(list(uow.audit.iterate())) == 1101
