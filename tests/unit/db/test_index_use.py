"""No documented question to the audit log reads the whole table."""

from collections.abc import Iterator
from unittest.mock import Mock

import pytest
from sqlalchemy import Engine, Select

from core.filters import And, Comparison, Filter, Operator
from db import audit_log
from db.audit_log import SqlAuditLog
from db.engine import create_store_engine
from db.filter_sql import FIELDS
from db.mappers import from_us
from db.tables import Base, PredictionRow
from db.unit_of_work import SqlUnitOfWorkFactory
from tests.fakes.records import a_refusal, an_entry


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A log with statistics, in which the rows asked for are few."""
    engine = create_store_engine(f"sqlite:///{tmp_path_factory.mktemp('plan') / 'store.db'}")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO audit_head VALUES (1, 0, '')")
    with SqlUnitOfWorkFactory(engine)(write=True) as uow:
        uow.audit.append([a_refusal() if n % 50 else an_entry() for n in range(500)])
        uow.commit()
    with engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")
    yield engine
    engine.dispose()


def plan_of(engine: Engine, query: Select[PredictionRow]) -> str:
    """The plan of the statement as the code sends it, with its values bound."""
    compiled = query.compile(dialect=engine.dialect, compile_kwargs={"render_postcompile": True})
    values = tuple(compiled.params[name] for name in compiled.positiontup or ())
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values).fetchall()
    return "\n".join(row.detail for row in rows)


def equals(field: str) -> Filter:
    return Comparison(field, Operator.EQ, from_us(0) if field == "create_time" else "x")


@pytest.mark.parametrize("field", sorted(set(FIELDS) - {"sequence", "create_time"}))
def test_a_filter_is_one_range_of_its_index(engine: Engine, field: str) -> None:
    query = audit_log._matching(equals(field), newest_first=True)
    plan = plan_of(engine, query.where(PredictionRow.sequence < 100).limit(51))
    assert f"SEARCH predictions USING INDEX ix_predictions_{field} ({field}=? AND" in plan
    assert "TEMP B-TREE" not in plan


def test_a_time_range_is_searched(engine: Engine) -> None:
    where = And(
        (
            Comparison("create_time", Operator.GE, from_us(0)),
            Comparison("create_time", Operator.LT, from_us(1)),
        )
    )
    plan = plan_of(engine, audit_log._matching(where, newest_first=True).limit(51))
    assert "SEARCH predictions USING INDEX ix_predictions_create_time" in plan


def test_filters_combine(engine: Engine) -> None:
    where = And((equals("label"), equals("caller")))
    plan = plan_of(engine, audit_log._matching(where, newest_first=True).limit(51))
    assert "SEARCH predictions USING INDEX" in plan


def test_an_unfiltered_page_walks_the_key(engine: Engine) -> None:
    query = audit_log._matching(None, newest_first=True).where(PredictionRow.sequence < 100)
    assert "SEARCH predictions USING INTEGER PRIMARY KEY" in plan_of(engine, query.limit(51))


def test_repeats_are_looked_up_in_the_partial_index(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqlUnitOfWorkFactory(engine)() as uow:
        assert isinstance(uow.audit, SqlAuditLog)
        session = uow.audit._session
        execute = Mock(wraps=session.execute)
        monkeypatch.setattr(session, "execute", execute)
        uow.audit.find_answered("ann", "r1")
    (query,) = execute.call_args.args
    plan = plan_of(engine, query)
    assert "USING INDEX uq_predictions_answered_request (caller=? AND request_id=?)" in plan
