"""Small values that travel between layers."""

from dataclasses import FrozenInstanceError

import pytest

from core.filters import And, Comparison, Not, Operator, Or
from core.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Page, PageRequest

GLIOMA = Comparison("label", Operator.EQ, "glioma")
SURE = Comparison("decision", Operator.NE, "ABSTAINED")


def test_equal_filters_are_equal_and_hashable() -> None:
    first = And((GLIOMA, Or((SURE, Not(GLIOMA)))))
    again = And((Comparison("label", Operator("="), "glioma"), Or((SURE, Not(GLIOMA)))))
    assert first == again
    assert len({first, again}) == 1
    assert first != And((SURE, GLIOMA))


def test_filters_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        GLIOMA.field = "caller"  # type: ignore[misc]


def test_operators_are_spelled_as_in_the_filter_language() -> None:
    assert list(Operator) == ["=", "!=", "<", "<=", ">", ">="]


def test_a_page_begins_at_the_start_and_ends_the_list_by_default() -> None:
    assert PageRequest() == PageRequest(size=DEFAULT_PAGE_SIZE, after=None)
    assert Page(items=("a",)).next is None
    assert 0 < DEFAULT_PAGE_SIZE <= MAX_PAGE_SIZE
