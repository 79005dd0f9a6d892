"""No question to a large audit log reads the whole table, on either database.

The plans are those of the statements that the code sends, with their values. SQLite has no
statistics, as in service; PostgreSQL has them, as its autovacuum would see to.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from core.paging import PageRequest
from core.ports import UnitOfWork
from db.engine import create_store_engine
from db.filter_sql import FIELDS
from db.migrate import upgrade
from db.unit_of_work import SqlUnitOfWorkFactory
from services.filtering import parse_filter
from tests.conftest import PostgresServer

ROWS = 20_000
FIRST_DAY = "2025-01-01"
FIRST_US = 1_735_689_600_000_000
"""The microsecond at which it begins."""

# A row an hour. Versions replace each other, one row in twenty is a refusal, and one in a
# thousand has a rare value.
FILL = """
INSERT INTO predictions (
    sequence, id, create_time, request_id, caller, image_sha256, image_bytes, model_version,
    probabilities, label, decision, outcome, status, latency_us, software_version, previous_hash,
    row_hash
)
WITH RECURSIVE numbers(n) AS (
    SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows
)
SELECT
    n, 'p' || n, :start + n * 3600000000, 'r' || n, 'station-' || (n % 7), 'picture-' || n, 1000,
    'm' || (n * 5 / :rows),
    CASE WHEN n % 20 = 0 THEN NULL ELSE '[0.25, 0.25, 0.25, 0.25]' END,
    CASE WHEN n % 20 = 0 THEN NULL WHEN n % 3 = 0 THEN 'glioma' ELSE 'no_tumor' END,
    CASE WHEN n % 20 = 0 THEN NULL WHEN n % 1000 = 1 THEN 'ABSTAINED' ELSE 'ACCEPTED' END,
    CASE WHEN n % 20 = 0 THEN 'REFUSED' ELSE 'ANSWERED' END,
    CASE WHEN n % 1000 = 0 THEN 'NOT_FOUND' WHEN n % 20 = 0 THEN 'INVALID_ARGUMENT' ELSE 'OK' END,
    1000, '0.1.0', 'x', 'y'
FROM numbers
"""

REQUEST_ID = "6f1c1b0e-8a55-4d1f-9b7e-0d1f2a3b4c5d"
BY_VALUE = {
    "label": ["glioma", "pituitary"],
    "decision": ["ACCEPTED", "ABSTAINED"],
    "outcome": ["ANSWERED", "REFUSED"],
    "status": ["OK", "NOT_FOUND"],
    "model_version": ["m0", "m4"],
    "image_sha256": ["a" * 64],
    "caller": ["station-1", "nobody"],
    "request_id": [REQUEST_ID],
}
"""Common and rare values, old and new ones, and such that no row has."""
BY_TIME = [
    "create_time > 2025-02-01",
    "create_time >= 2027-02-01",
    "create_time < 2025-02-01",
    "create_time <= 2027-02-01",
    "create_time = 2025-02-01",
    "create_time >= 2025-03-01 AND create_time < 2025-04-01",
]
WALKS = [
    "",
    f"image_sha256 != {'a' * 64}",
    "NOT create_time = 2025-02-01",
    "create_time != 2025-02-01",
]
"""What most rows satisfy is read in order of time."""
EXCLUSIONS = ["label != glioma", "NOT caller = station-1", "model_version != m4", "status != OK"]
EXCLUSIONS += [
    "label != glioma AND NOT label = pituitary",
    f"status != OK AND request_id != {REQUEST_ID}",
    f"label != glioma AND create_time != 2025-02-01 AND image_sha256 != {'a' * 64}",
]
"""Few values are left."""
PAIRS = {
    "caller = station-1 AND status = NOT_FOUND": "status",
    "status = NOT_FOUND AND caller = station-1": "status",
    "outcome = ANSWERED AND caller = station-1": "caller",
    "decision = ABSTAINED AND outcome = ANSWERED": "decision",
    # Of the newest rows none is of that version, of its own time every one.
    "model_version = m2 AND caller = station-1": "caller",
}
"""Two values, and the one whose rows are the fewer."""


@dataclass(frozen=True)
class Plan:
    """The steps of a plan that read predictions, and whether rows are sorted."""

    steps: Sequence[str]
    sorts: bool


@dataclass(frozen=True)
class LargeLog:
    engine: Engine

    def plans_of(self, question: Callable[[UnitOfWork], object]) -> list[Plan]:
        """Of each statement that reads predictions."""
        with self._statements() as sent, SqlUnitOfWorkFactory(self.engine)() as uow:
            question(uow)
        return [self._plan(*statement) for statement in sent]

    def page_plans(self, where: str, *, newest_first: bool, late: bool) -> list[Plan]:
        middle = (FIRST_US + ROWS // 2 * 3_600_000_000, ROWS // 2)
        page = PageRequest(size=100, after=middle if late else None)
        tree = parse_filter(where)
        return self.plans_of(lambda uow: uow.audit.list(page, tree, newest_first=newest_first))

    @contextmanager
    def _statements(self) -> Iterator[list[tuple[str, Any]]]:
        sent: list[tuple[str, Any]] = []

        def keep(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
            if "FROM predictions" in statement:
                sent.append((statement, values))

        event.listen(self.engine, "before_cursor_execute", keep)
        try:
            yield sent
        finally:
            event.remove(self.engine, "before_cursor_execute", keep)

    def _plan(self, statement: str, values: Any) -> Plan:
        with self.engine.connect() as connection:
            if self.engine.dialect.name == "sqlite":
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
                return _sqlite_plan([row.detail for row in rows])
            (row,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values)
        return _postgres_plan(row[0] if isinstance(row[0], list) else json.loads(row[0]))


def _sqlite_plan(details: list[str]) -> Plan:
    steps = [detail for detail in details if " predictions" in detail]
    return Plan(steps, sorts=any("TEMP B-TREE" in detail for detail in details))


def _postgres_plan(tops: list[dict[str, Any]]) -> Plan:
    nodes = list(_nodes(tops[0]["Plan"]))
    steps = [
        f"{node['Node Type']} {node.get('Index Name', '')} ({node.get('Index Cond', '')})"
        for node in nodes
        if "Scan" in node["Node Type"] and node["Node Type"] not in _READ_NO_MORE
    ]
    return Plan(steps, sorts=any("Sort" in node["Node Type"] for node in nodes))


_READ_NO_MORE = ("Bitmap Heap Scan", "Subquery Scan", "CTE Scan", "WorkTable Scan")
"""They take the rows that the steps below them found."""


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def log(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LargeLog]:
    with _database(request, tmp_path_factory.mktemp("log")) as url:
        engine = create_store_engine(url)
        with engine.begin() as connection:
            connection.execute(text(FILL), {"rows": ROWS, "start": FIRST_US})
        if engine.dialect.name == "postgresql":
            with engine.begin() as connection:
                connection.execute(text("ANALYZE predictions"))
        yield LargeLog(engine)
        engine.dispose()


@contextmanager
def _database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    if request.param == "sqlite":
        url = f"sqlite:///{folder / 'store.db'}"
        upgrade(url)
        yield url
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create(request.getfixturevalue("postgres_template"))
    yield server.url(name)
    server.drop(name)


RANGES = ("SEARCH predictions", "Index Scan", "Index Only Scan", "Bitmap Index Scan")


def assert_ranges(plan: Plan, index: str = "") -> None:
    """Every step reads a range of an index, or of that one."""
    assert plan.steps
    for step in plan.steps:
        assert step.startswith(RANGES), step
        assert f"{index} (" in step, step
        assert "()" not in step, step


either_order = pytest.mark.parametrize("newest_first", [True, False])
either_page = pytest.mark.parametrize("late", [False, True])


def test_every_documented_filter_is_asked() -> None:
    assert {*BY_VALUE, "create_time"} == set(FIELDS)


@either_order
@either_page
@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BY_VALUE.items() for value in values]
)
def test_the_rows_with_a_value_are_a_range_in_order(
    log: LargeLog, field: str, value: str, newest_first: bool, late: bool
) -> None:
    (plan,) = log.page_plans(f"{field} = {value}", newest_first=newest_first, late=late)
    assert_ranges(plan, f"ix_predictions_{field}_time")
    assert not plan.sorts


@either_order
@either_page
@pytest.mark.parametrize("field", sorted(BY_VALUE))
def test_a_value_within_a_time_is_a_range_in_order(
    log: LargeLog, field: str, newest_first: bool, late: bool
) -> None:
    where = (
        f"{field} = {BY_VALUE[field][0]} AND create_time >= 2025-03-01 AND create_time < 2026-06-01"
    )
    (plan,) = log.page_plans(where, newest_first=newest_first, late=late)
    assert_ranges(plan, f"ix_predictions_{field}_time")
    assert not plan.sorts
    (step,) = plan.steps
    assert step.count("create_time") == 2


@either_order
@either_page
@pytest.mark.parametrize("where", BY_TIME)
def test_a_time_is_a_range_in_order(
    log: LargeLog, where: str, newest_first: bool, late: bool
) -> None:
    (plan,) = log.page_plans(where, newest_first=newest_first, late=late)
    assert_ranges(plan, "ix_predictions_time")
    assert not plan.sorts


@either_order
@pytest.mark.parametrize("where", WALKS)
def test_the_log_is_walked_in_order_until_the_page_is_full(
    log: LargeLog, where: str, newest_first: bool
) -> None:
    first = log.page_plans(where, newest_first=newest_first, late=False)[-1]
    (step,) = first.steps
    assert "ix_predictions_time" in step
    assert not first.sorts
    late = log.page_plans(where, newest_first=newest_first, late=True)[-1]
    assert_ranges(late, "ix_predictions_time")
    assert not late.sorts


@either_order
@either_page
@pytest.mark.parametrize(("where", "leading"), PAIRS.items())
def test_of_two_values_the_rarer_one_leads(
    log: LargeLog, where: str, leading: str, newest_first: bool, late: bool
) -> None:
    *probes, page = log.page_plans(where, newest_first=newest_first, late=late)
    for probe in probes:
        assert_ranges(probe)
    # PostgreSQL may sort such a range where it expects hardly more than a page.
    assert_ranges(page, f"ix_predictions_{leading}_time")


def test_values_that_never_meet_are_not_looked_for(log: LargeLog) -> None:
    probes = log.page_plans("caller = nobody AND label = glioma", newest_first=True, late=False)
    assert len(probes) == 1
    for contradiction in (
        "label = glioma AND label = no_tumor",
        "label = glioma AND outcome = REFUSED",
    ):
        assert log.page_plans(contradiction, newest_first=True, late=False) == []


@either_order
@either_page
@pytest.mark.parametrize(
    "where",
    [
        "label = glioma OR label = no_tumor",
        "caller = nobody OR status = NOT_FOUND",
        "label = glioma AND (caller = station-1 OR caller = station-2)",
        "create_time < 2025-02-01 OR decision = ABSTAINED",
    ],
)
def test_alternatives_are_a_range_each(
    log: LargeLog, where: str, newest_first: bool, late: bool
) -> None:
    for plan in log.page_plans(where, newest_first=newest_first, late=late):
        assert_ranges(plan)


@either_order
@either_page
@pytest.mark.parametrize("where", EXCLUSIONS)
def test_what_is_left_without_a_value_is_a_range_each(
    log: LargeLog, where: str, newest_first: bool, late: bool
) -> None:
    *values, page = log.page_plans(where, newest_first=newest_first, late=late)
    field = where.removeprefix("NOT ").split()[0]
    for plan in values:
        # SQLite calls a look at one end of an index a scan of it.
        assert plan.steps
        assert all(
            "index ix_" in step.replace("INDEX", "index") or "Index" in step for step in plan.steps
        )
    by_value = [step for step in page.steps if f"ix_predictions_{field}_time" in step]
    assert len(by_value) >= 2
    assert_ranges(page)


def test_a_value_that_all_the_newest_rows_have_can_be_excluded(log: LargeLog) -> None:
    with SqlUnitOfWorkFactory(log.engine)() as uow:
        page = uow.audit.list(PageRequest(size=2), parse_filter("model_version != m4"))
    assert [record.model_version for record in page.items] == ["m5", "m3"]


def test_a_record_and_a_repeat_are_looked_up(log: LargeLog) -> None:
    for question in (
        lambda uow: uow.audit.get("p7"),
        lambda uow: uow.audit.find_answered("station-0", "r7"),
    ):
        for plan in log.plans_of(question):
            assert_ranges(plan)


def test_the_chain_is_walked_by_its_key(log: LargeLog) -> None:
    (plan,) = log.plans_of(lambda uow: next(uow.audit.iterate()))
    assert not plan.sorts
