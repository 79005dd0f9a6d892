from datetime import UTC, datetime, timedelta

import pytest

from core.filters import And, Comparison, Filter, Not, Operator, Or
from db.conjunctions import EARLIEST, LATEST, MAX_ALTERNATIVES, Conjunction, conjunctions

MOMENT = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=100)


def equals(field: str, value: str = "x") -> Comparison:
    return Comparison(field, Operator.EQ, value)


def time(operator: Operator, microseconds: int = 0) -> Comparison:
    return Comparison("create_time", operator, MOMENT + timedelta(microseconds=microseconds))


UNEQUAL = Comparison("label", Operator.NE, "x")


def test_no_filter_admits_every_row() -> None:
    assert conjunctions(None) == (Conjunction(),)


@pytest.mark.parametrize(
    ("operator", "first", "last"),
    [
        (Operator.EQ, 100, 100),
        (Operator.LT, EARLIEST, 99),
        (Operator.LE, EARLIEST, 100),
        (Operator.GT, 101, LATEST),
        (Operator.GE, 100, LATEST),
    ],
)
def test_a_time_is_a_bound(operator: Operator, first: int, last: int) -> None:
    assert conjunctions(time(operator)) == (Conjunction(first=first, last=last),)


def test_the_narrowest_bounds_count() -> None:
    where = And((time(Operator.GE), time(Operator.GT, 4), time(Operator.LE, 9), time(Operator.LT)))
    assert conjunctions(And(where.terms[:3])) == (Conjunction(first=105, last=109),)
    assert conjunctions(where) == ()


def test_what_has_to_hold_is_told_apart() -> None:
    other_time = time(Operator.NE)
    nested = And((equals("label"), And((Not(UNEQUAL), equals("caller"), other_time))))
    assert conjunctions(nested) == (
        Conjunction(
            equalities=(equals("label"), equals("caller")), others=(Not(UNEQUAL), other_time)
        ),
    )


def test_a_comparison_that_no_index_serves_is_something_else() -> None:
    below = Comparison("label", Operator.LT, "x")
    assert conjunctions(And((below, UNEQUAL))) == (Conjunction(others=(below, UNEQUAL)),)


def test_a_column_has_one_value() -> None:
    assert conjunctions(And((equals("label"), equals("label")))) == conjunctions(equals("label"))
    assert conjunctions(And((equals("label"), equals("label", "y")))) == ()


def test_an_or_is_alternatives() -> None:
    where = Or((equals("label"), Or((And((equals("caller"), UNEQUAL)), time(Operator.LT)))))
    assert conjunctions(where) == (
        Conjunction(equalities=(equals("label"),)),
        Conjunction(equalities=(equals("caller"),), others=(UNEQUAL,)),
        Conjunction(last=99),
    )


def test_what_else_has_to_hold_holds_of_every_alternative() -> None:
    where = And((time(Operator.GE), Or((equals("label"), equals("caller"))), UNEQUAL))
    assert conjunctions(where) == (
        Conjunction(first=100, equalities=(equals("label"),), others=(UNEQUAL,)),
        Conjunction(first=100, equalities=(equals("caller"),), others=(UNEQUAL,)),
    )


def test_an_alternative_that_no_row_satisfies_is_left_out() -> None:
    where = And((equals("label"), Or((equals("label", "y"), equals("caller")))))
    assert conjunctions(where) == (Conjunction(equalities=(equals("caller"), equals("label"))),)


@pytest.mark.parametrize(
    "whole",
    [
        Or((equals("label"), UNEQUAL)),
        Or((equals("label"), Not(equals("caller")))),
        Or(tuple(equals("caller", str(number)) for number in range(MAX_ALTERNATIVES + 1))),
        Not(Or((equals("label"), equals("caller")))),
    ],
)
def test_what_leads_into_no_index_stays_whole(whole: Filter) -> None:
    assert conjunctions(whole) == (Conjunction(others=(whole,)),)


def test_one_or_is_taken_apart() -> None:
    choice = Or((equals("label"), equals("caller")))
    other = Or((equals("status"), equals("outcome")))
    assert [found.others for found in conjunctions(And((choice, other)))] == [(other,), (other,)]
