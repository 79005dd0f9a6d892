"""A filter finds the same rows in every store."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.filters import And, Comparison, Filter, Not, Operator, Or
from core.labels import LABELS
from core.paging import PageRequest
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.prediction import AuditEntry, Decision
from tests.fakes.records import NOW, a_refusal, an_entry
from tests.fakes.store import matches

ENTRIES: list[AuditEntry] = [
    entry
    for hour in range(3)
    for entry in (
        a_refusal(create_time=NOW + timedelta(hours=hour), caller="bob"),
        a_refusal(model_version="m2", request_id=f"r{hour}", status="NOT_FOUND"),
        *(
            an_entry(
                create_time=NOW + timedelta(hours=hour, microseconds=index),
                label=label,
                decision=list(Decision)[index % 3],
                model_version=f"m{hour}",
                image_sha256=f"{index}" * 64,
                request_id=f"r{hour}{index}" if index % 2 else None,
                caller="ann" if index else "Ann",
            )
            for index, label in enumerate(LABELS)
        ),
    )
]
EQUALITY = {
    "label": [*LABELS, "cyst"],
    "decision": [*Decision],
    "outcome": ["ANSWERED", "REFUSED"],
    "status": ["OK", "NOT_FOUND", "INVALID_ARGUMENT"],
    "model_version": ["m0", "m1", "m2", "m9"],
    "image_sha256": ["a" * 64, "1" * 64],
    "caller": ["ann", "Ann", "bob"],
    "request_id": ["r0", "r11", "zz"],
}


def a_text_comparison() -> st.SearchStrategy[Filter]:
    return st.sampled_from(sorted(EQUALITY)).flatmap(
        lambda name: st.builds(
            Comparison,
            st.just(name),
            st.sampled_from(list(Operator)),
            st.sampled_from([str(value) for value in EQUALITY[name]]),
        )
    )


def a_time_comparison() -> st.SearchStrategy[Filter]:
    moments = [NOW, NOW + timedelta(hours=1, microseconds=2), datetime(2026, 1, 1, tzinfo=UTC)]
    return st.builds(
        Comparison,
        st.just("create_time"),
        st.sampled_from(list(Operator)),
        st.sampled_from(moments),
    )


TREES: st.SearchStrategy[Filter] = st.recursive(
    a_text_comparison() | a_time_comparison(),
    lambda deeper: (
        st.builds(Not, deeper)
        | st.builds(And, st.lists(deeper, min_size=1, max_size=3).map(tuple))
        | st.builds(Or, st.lists(deeper, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=5,
)


@pytest.fixture
def filled(store: UnitOfWorkFactory) -> Iterator[UnitOfWorkFactory]:
    with store(write=True) as uow:
        uow.audit.append(ENTRIES)
        uow.commit()
    yield store


def found_by(uow: UnitOfWork, tree: Filter) -> list[int]:
    """Sequences of all rows, a page at a time, newest first."""
    found: list[int] = []
    page = uow.audit.list(PageRequest(size=4), tree)
    found += (record.sequence for record in page.items)
    while page.next is not None:
        page = uow.audit.list(PageRequest(size=4, after=page.next), tree)
        found += (record.sequence for record in page.items)
    return found


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(tree=TREES)
def test_any_filter_agrees_with_plain_python(filled: UnitOfWorkFactory, tree: Filter) -> None:
    with filled() as uow:
        rows = sorted(uow.audit.iterate(), key=lambda r: (r.create_time, r.sequence), reverse=True)
        found = found_by(uow, tree)
        oldest_first = uow.audit.list(PageRequest(size=100), tree, newest_first=False).items
    assert found == [record.sequence for record in rows if matches(tree, record)]
    assert [record.sequence for record in oldest_first] == found[::-1]


def test_a_missing_value_is_unequal_to_every_value(filled: UnitOfWorkFactory) -> None:
    with filled() as uow:
        all_rows = len(list(uow.audit.iterate()))
        gliomas = len(found_by(uow, Comparison("label", Operator.EQ, "glioma")))
        others = len(found_by(uow, Comparison("label", Operator.NE, "glioma")))
        negated = len(found_by(uow, Not(Comparison("label", Operator.EQ, "glioma"))))
    assert (all_rows, gliomas) == (18, 3)
    assert others == negated == 15
