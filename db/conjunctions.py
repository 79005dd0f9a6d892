"""A filter as alternatives, each of which says where in an index its rows are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import combinations
from typing import Final

from core.filters import And, Comparison, Filter, Not, Operator, Or
from core.prediction import Outcome
from db.mappers import to_us
from db.tables import FILTERED_COLUMNS

MAX_ALTERNATIVES: Final = 16
EARLIEST: Final = -(2**63)
LATEST: Final = 2**63 - 1

_BOUNDS: Final[Mapping[Operator, Callable[[int], tuple[int, int]]]] = {
    Operator.EQ: lambda at: (at, at),
    Operator.LT: lambda at: (EARLIEST, at - 1),
    Operator.LE: lambda at: (EARLIEST, at),
    Operator.GT: lambda at: (at + 1, LATEST),
    Operator.GE: lambda at: (at, LATEST),
}


@dataclass(frozen=True, kw_only=True)
class Conjunction:
    """What has to hold of a row, all of it.

    ``first`` and ``last`` bound its time, in microseconds, and are included; ``equalities`` are
    values of columns that have an index; ``missing`` is such a column without a value; ``others``
    is anything else.
    """

    first: int = EARLIEST
    last: int = LATEST
    equalities: tuple[Comparison, ...] = ()
    missing: str | None = None
    others: tuple[Filter, ...] = ()

    @property
    def empty(self) -> bool:
        return self.first > self.last

    def within(self, first: int, last: int) -> "Conjunction":
        return replace(self, first=max(self.first, first), last=min(self.last, last))

    def also(self, term: Filter) -> "Conjunction":
        if isinstance(term, Comparison):
            if (bounds := _bounds(term)) is not None:
                return self.within(*bounds)
            if _is_indexed(term):
                return self._with_value(term)
        return replace(self, others=(*self.others, term))

    def _with_value(self, term: Comparison) -> "Conjunction":
        if term in self.equalities:
            return self
        return replace(self, equalities=(*self.equalities, term))

    def settled(self) -> "Conjunction":
        """The same, empty if no row can be so, and without exclusions that say nothing."""
        terms = (*self.equalities, *filter(None, map(_excluding, self.others)))
        if any(_never_together(one, other) for one, other in combinations(terms, 2)):
            return self.within(LATEST, EARLIEST)
        told = {value.field for value in self.equalities}
        excluding = ((term, _excluding(term)) for term in self.others)
        others = (term for term, value in excluding if value is None or value.field not in told)
        return replace(self, others=tuple(others))

    @property
    def excluded_fields(self) -> tuple[str, ...]:
        """Columns of which values must not be there, if nothing leads into an index."""
        if self.equalities or self.missing:
            return ()
        excluding = filter(None, map(_excluding, self.others))
        return tuple(dict.fromkeys(value.field for value in excluding))

    def spelled_out(self, field: str, values: Sequence[str | None]) -> Iterator["Conjunction"]:
        """The same as alternatives; ``values`` are all that the column has.

        None stands for rows without a value.
        """
        excluding = [(term, _excluding(term)) for term in self.others]
        excluded = {value.value for _, value in excluding if value and value.field == field}
        rest = tuple(term for term, value in excluding if not (value and value.field == field))
        for value in values:
            if value is None:
                yield replace(self, missing=field, others=rest)
            elif value not in excluded:
                term = Comparison(field, Operator.EQ, value)
                yield replace(self, equalities=(term,), others=rest)


def conjunctions(where: Filter | None) -> tuple[Conjunction, ...]:
    """Alternatives that together are the filter; those that no row can satisfy are left out.

    An OR is taken apart if each of its terms leads into an index and they are few.
    """
    terms = () if where is None else tuple(_conjuncts(where))
    choice = next((term for term in terms if _is_choice(term)), None)
    options = [()] if choice is None else [tuple(_conjuncts(term)) for term in _disjuncts(choice)]
    rest = tuple(term for term in terms if term is not choice)
    alternatives = (_all_of((*option, *rest)) for option in options)
    return tuple(found for found in alternatives if not found.empty)


def _all_of(terms: Sequence[Filter]) -> Conjunction:
    found = Conjunction()
    for term in terms:
        found = found.also(term)
    return found.settled()


def _conjuncts(tree: Filter) -> Iterator[Filter]:
    if isinstance(tree, And):
        for term in tree.terms:
            yield from _conjuncts(term)
    else:
        yield tree


def _disjuncts(tree: Filter) -> Iterator[Filter]:
    if isinstance(tree, Or):
        for term in tree.terms:
            yield from _disjuncts(term)
    else:
        yield tree


def _is_choice(term: Filter) -> bool:
    if not isinstance(term, Or):
        return False
    options = tuple(_disjuncts(term))
    return len(options) <= MAX_ALTERNATIVES and all(map(_leads_into_an_index, options))


def _leads_into_an_index(option: Filter) -> bool:
    terms = (term for term in _conjuncts(option) if isinstance(term, Comparison))
    return any(_is_indexed(term) or _bounds(term) is not None for term in terms)


def _excluding(term: Filter) -> Comparison | None:
    """The comparison of an indexed column with a value that it must not have, if it is that."""
    if isinstance(term, Not) and isinstance(term.term, Comparison):
        unequal = replace(term.term, operator=Operator.NE)
        return unequal if _is_indexed(term.term) else None
    if isinstance(term, Comparison) and term.operator is Operator.NE:
        return term if _is_indexed(replace(term, operator=Operator.EQ)) else None
    return None


def _never_together(one: Comparison, other: Comparison) -> bool:
    """Whether no row satisfies both, each of which demands a value or excludes one."""
    if {_of_an_answer(one), _of_an_answer(other)} == {True, False}:
        return True
    if one.field != other.field:
        return False
    if one.operator is other.operator:
        return one.operator is Operator.EQ and one.value != other.value
    return one.value == other.value


def _of_an_answer(term: Comparison) -> bool | None:
    """Whether only requests that were answered satisfy it, or only others; None: either may."""
    demands = term.operator is Operator.EQ
    match term.field:
        case "label" | "decision":
            return True if demands else None
        case "outcome":
            return _told(demands, term.value == Outcome.ANSWERED)
        case "status":
            return _told(demands, term.value == "OK")
        case _:
            return None


def _told(demands: bool, answered: bool) -> bool | None:
    """Of a value that is demanded, or excluded, and that answers have, or others."""
    if demands:
        return answered
    return False if answered else None


def _is_indexed(term: Comparison) -> bool:
    return term.operator is Operator.EQ and term.field in FILTERED_COLUMNS


def _bounds(term: Comparison) -> tuple[int, int] | None:
    """The first and the last microsecond that a comparison with a time admits."""
    if term.operator is Operator.NE or not isinstance(term.value, datetime):
        return None
    return _BOUNDS[term.operator](to_us(term.value))
