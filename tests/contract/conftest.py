"""The store in memory, on SQLite and on a real PostgreSQL, for the same tests."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from core.ports import UnitOfWorkFactory
from db.engine import create_store_engine
from db.unit_of_work import SqlUnitOfWorkFactory
from tests.fakes.store import FakeUnitOfWorkFactory


@pytest.fixture(params=["sqlite", "postgres"])
def sql_url(request: pytest.FixtureRequest) -> str:
    """A database with the schema."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def sql_engine(sql_url: str) -> Iterator[Engine]:
    engine = create_store_engine(sql_url)
    yield engine
    engine.dispose()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[UnitOfWorkFactory]:
    """An empty store behind its port."""
    if request.param == "memory":
        yield FakeUnitOfWorkFactory()
        return
    factory = SqlUnitOfWorkFactory(
        create_store_engine(request.getfixturevalue(f"{request.param}_url"))
    )
    yield factory
    factory.close()
