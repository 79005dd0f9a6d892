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


@pytest.mark.parametrize(
    ("of_an_answer", "of_none"),
    [
        (equals("label"), equals("outcome", "REFUSED")),
        (equals("decision"), equals("status", "NOT_FOUND")),
        (equals("outcome", "ANSWERED"), equals("status", "UNAVAILABLE")),
        (equals("status", "OK"), equals("outcome", "FAILED")),
    ],
)
def test_what_only_answers_have_is_never_beside_what_no_answer_has(
    of_an_answer: Comparison, of_none: Comparison
) -> None:
    assert conjunctions(And((of_an_answer, of_none))) == ()
    assert conjunctions(And((of_none, of_an_answer))) == ()


def test_what_answers_have_may_be_together() -> None:
    terms = (equals("label"), equals("decision"), equals("outcome", "ANSWERED"))
    assert conjunctions(And((*terms, equals("status", "OK")))) == (
        Conjunction(equalities=(*terms, equals("status", "OK"))),
    )


@pytest.mark.parametrize("excluding", [UNEQUAL, Not(equals("label"))])
def test_what_is_left_is_alternatives(excluding: Filter) -> None:
    other = Comparison("label", Operator.NE, "z")
    (wanted,) = conjunctions(And((excluding, time(Operator.GE), other, Not(UNEQUAL))))
    assert wanted.excluded_fields == ("label",)
    assert list(wanted.spelled_out("label", ["w", "x", "y", "z", None])) == [
        Conjunction(first=100, equalities=(equals("label", "w"),), others=(Not(UNEQUAL),)),
        Conjunction(first=100, equalities=(equals("label", "y"),), others=(Not(UNEQUAL),)),
        Conjunction(first=100, missing="label", others=(Not(UNEQUAL),)),
    ]


def test_each_column_with_an_excluded_value_is_named() -> None:
    other = Not(equals("caller"))
    (wanted,) = conjunctions(And((UNEQUAL, other)))
    assert wanted.excluded_fields == ("label", "caller")
    assert list(wanted.spelled_out("caller", ["y"])) == [
        Conjunction(equalities=(equals("caller", "y"),), others=(UNEQUAL,))
    ]


@pytest.mark.parametrize(
    "where",
    [
        And((UNEQUAL, equals("caller"))),
        time(Operator.NE),
        Not(UNEQUAL),
        Not(time(Operator.EQ)),
        Comparison("label", Operator.LT, "x"),
    ],
)
def test_nothing_is_spelled_out_without_need(where: Filter) -> None:
    (wanted,) = conjunctions(where)
    assert wanted.excluded_fields == ()


def unequal(field: str, value: str) -> Comparison:
    return Comparison(field, Operator.NE, value)


@pytest.mark.parametrize(
    "terms",
    [
        (equals("label"), UNEQUAL),
        (equals("label"), Not(equals("label"))),
        (equals("outcome", "ANSWERED"), unequal("status", "OK")),
        (equals("label"), unequal("outcome", "ANSWERED")),
        (equals("decision"), Not(equals("status", "OK"))),
    ],
)
def test_what_is_excluded_cannot_be_demanded(terms: tuple[Filter, ...]) -> None:
    assert conjunctions(And(terms)) == ()
    assert conjunctions(And(terms[::-1])) == ()


def test_to_exclude_another_value_says_nothing() -> None:
    redundant = And((unequal("label", "y"), equals("label"), Not(equals("label", "z"))))
    assert conjunctions(redundant) == conjunctions(equals("label"))
    apart = (equals("label"), unequal("outcome", "REFUSED"))
    assert conjunctions(And(apart)) == (Conjunction(equalities=apart[:1], others=apart[1:]),)


def test_an_or_is_alternatives() -> None:
    where = Or((equals("label"), Or((And((equals("caller"), UNEQUAL)), time(Operator.LT)))))
    assert conjunctions(where) == (
        Conjunction(equalities=(equals("label"),)),
        Conjunction(equalities=(equals("caller"),), others=(UNEQUAL,)),
        Conjunction(last=99),
    )


def test_what_else_has_to_hold_holds_of_every_alternative() -> None:
    other = unequal("status", "x")
    where = And((time(Operator.GE), Or((equals("label"), equals("caller"))), other))
    assert conjunctions(where) == (
        Conjunction(first=100, equalities=(equals("label"),), others=(other,)),
        Conjunction(first=100, equalities=(equals("caller"),), others=(other,)),
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
