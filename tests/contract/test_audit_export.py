"""An export reads the log a page at a time, however long it is."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, event

from core.prediction import AuditRecord
from db import mappers
from db.unit_of_work import SqlUnitOfWorkFactory
from services.filtering import parse_filter
from services.usecases.audit import EXPORT_PAGE, AuditUseCases
from tests.fakes.records import NOW, a_review, an_entry
from tests.fakes.store import FakeClock

ROWS = 3 * EXPORT_PAGE + 1  # an odd number


@pytest.fixture
def log(sql_engine: Engine) -> AuditUseCases:
    """Rows whose times run against their places; every other one is Bob's."""
    store = SqlUnitOfWorkFactory(sql_engine)
    with store(write=True) as uow:
        uow.audit.append(
            [
                an_entry(
                    create_time=NOW - timedelta(seconds=number),
                    caller="bob" if number % 2 else "ann",
                )
                for number in range(ROWS)
            ]
        )
        uow.commit()
    return AuditUseCases(uow_factory=store, clock=FakeClock())


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The places of the rows that were read so far."""
    places: list[int] = []
    record_from_row = mappers.record_from_row

    def remember(row: object) -> AuditRecord:
        record = record_from_row(row)  # type: ignore[arg-type]
        places.append(record.sequence)
        return record

    monkeypatch.setattr(mappers, "record_from_row", remember)
    return places


def test_no_page_is_read_before_it_is_asked_for(
    log: AuditUseCases, sql_engine: Engine, read: list[int]
) -> None:
    pages = log.export(None)
    for number in range(1, 4):
        page = next(pages)
        assert [record.sequence for record, _ in page] == read[-EXPORT_PAGE:]
        assert len(read) == number * EXPORT_PAGE + 1  # and the newest, which is the end
        # A reader that is slow keeps no transaction open.
        assert sql_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert [len(page) for page in pages] == [1]


@pytest.mark.parametrize(
    ("where", "step"),
    [("", 1), ("create_time < 2027-01-01", 1), ("caller = bob", 2), ("NOT caller = ann", 2)],
)
def test_every_matching_row_comes_once_and_oldest_first(
    log: AuditUseCases, where: str, step: int
) -> None:
    exported = [record.sequence for page in log.export(parse_filter(where)) for record, _ in page]
    assert exported == list(range(ROWS + 1 - step, 0, -step))


def test_what_is_added_meanwhile_is_left_out_wherever_it_comes(
    log: AuditUseCases, sql_engine: Engine
) -> None:
    store = SqlUnitOfWorkFactory(sql_engine)
    exported: list[int] = []
    for page in log.export(None):
        exported += (record.sequence for record, _ in page)
        with store(write=True) as uow:
            earlier = an_entry(create_time=NOW - timedelta(seconds=0.5))
            uow.audit.append([earlier, an_entry(create_time=NOW + timedelta(days=1))])
            uow.commit()
    assert exported == list(range(ROWS, 0, -1))


def test_reviews_come_with_their_records_by_one_query_a_page(
    log: AuditUseCases, sql_engine: Engine
) -> None:
    store = SqlUnitOfWorkFactory(sql_engine)
    with store(write=True) as uow:
        first, second, *_ = uow.audit.iterate()
        reviews = [a_review(first.id), a_review(first.id, create_time=NOW + timedelta(hours=1))]
        for review in (*reviews, other := a_review(second.id)):
            uow.audit.add_review(review)
        uow.commit()
    asked: list[str] = []
    event.listen(
        sql_engine, "before_cursor_execute", lambda _c, _u, statement, *_: asked.append(statement)
    )
    found = {record.id: reviews for page in log.export(None) for record, reviews in page}
    assert {name: kept for name, kept in found.items() if kept} == {
        first.id: tuple(reviews),
        second.id: (other,),
    }
    assert sum("FROM reviews" in statement for statement in asked) == 4  # pages
