"""A filter as alternatives, each of which says where in an index its rows are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
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
        if any(_never_together(term, earlier) for earlier in self.equalities):
            return self.within(LATEST, EARLIEST)
        return replace(self, equalities=(*self.equalities, term))

    @property
    def excluded(self) -> Comparison | None:
        """A value of a column with an index that must not be there, if nothing leads into one."""
        if self.equalities or self.missing:
            return None
        return next((value for term in self.others if (value := _excluded(term))), None)

    def spelled_out(self, values: Sequence[str | None]) -> Iterator["Conjunction"]:
        """The same as alternatives; ``values`` are all that the column of ``excluded`` has.

        None stands for rows without a value.
        """
        if (excluded := self.excluded) is None:
            raise ValueError("no value is excluded")
        rest = tuple(term for term in self.others if _excluded(term) != excluded)
        for value in values:
            if value is None:
                yield replace(self, missing=excluded.field, others=rest)
            elif value != excluded.value:
                term = Comparison(excluded.field, Operator.EQ, value)
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
    return found


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


def _excluded(term: Filter) -> Comparison | None:
    """The equality that must not hold of an indexed column, if that is what the term says."""
    if isinstance(term, Not) and isinstance(term.term, Comparison):
        return term.term if _is_indexed(term.term) else None
    if isinstance(term, Comparison) and term.operator is Operator.NE:
        equality = replace(term, operator=Operator.EQ)
        return equality if _is_indexed(equality) else None
    return None


def _never_together(one: Comparison, other: Comparison) -> bool:
    """Of two different values, whether no row has both."""
    if one.field == other.field:
        return True
    return {_of_an_answer(one), _of_an_answer(other)} == {True, False}


def _of_an_answer(value: Comparison) -> bool | None:
    """Whether requests that were answered have the value, or those that were not; None: either."""
    match value.field:
        case "label" | "decision":
            return True
        case "outcome":
            return value.value == Outcome.ANSWERED
        case "status":
            return value.value == "OK"
        case _:
            return None


def _is_indexed(term: Comparison) -> bool:
    return term.operator is Operator.EQ and term.field in FILTERED_COLUMNS


def _bounds(term: Comparison) -> tuple[int, int] | None:
    """The first and the last microsecond that a comparison with a time admits."""
    if term.operator is Operator.NE or not isinstance(term.value, datetime):
        return None
    return _BOUNDS[term.operator](to_us(term.value))
