"""Pages of the audit log, read by statements whose cost does not grow with the log.

The log is listed in order of time and, within a microsecond, of place. An index holds one column
in front of that order, so the rows with one value are a range of it and a page is the beginning
of a smaller range. From there:

- Bounds of time and the cursor of a page narrow the range.
- Where several values have to hold, the range of the one that is rarest around here is read,
  between the first and the last row that each of them has; the others are asked of each row.
- Alternatives are pages of their own, which are merged. A value that is excluded is alternatives
  too, if the column has few: all the newest rows may have that one.
- Without a value to go by, rows are read in order of time until the page is full.

Left to themselves the planners do worse: SQLite merges and sorts whole ranges for an OR, and
PostgreSQL takes the rows of a value to lie evenly in time. So they get no choice. What is no bound
of the range is hidden from them, and the index by time alone can be used only by a statement that
repeats its predicate.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    ScalarSelect,
    Select,
    TextClause,
    func,
    literal,
    literal_column,
    select,
    text,
    true,
    tuple_,
    union,
)
from sqlalchemy.orm import Session

from core.filters import Comparison, Filter
from db.conjunctions import EARLIEST, LATEST, MAX_ALTERNATIVES, Conjunction, conjunctions
from db.filter_sql import FIELDS, to_sql
from db.tables import IN_ORDER_OF_TIME, PredictionRow

COLUMNS: Final = tuple(PredictionRow.__table__.c)
_KEY: Final[tuple[Any, ...]] = (PredictionRow.create_time, PredictionRow.sequence)
_PROBED_ROWS: Final = 1000
"""So many rows of a value tell how rare it is."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """At most ``limit`` rows behind the one with the time and place ``after``."""

    newest_first: bool
    limit: int
    after: tuple[int, int] | None = None

    def in_order(self, query: Select[Any]) -> Select[Any]:
        return query.order_by(*self.order(*_KEY))

    def order(self, *columns: Any) -> list[ColumnElement[Any]]:
        return [column.desc() if self.newest_first else column.asc() for column in columns]

    def bounds(self, wanted: Conjunction) -> list[ColumnElement[bool]]:
        """Conditions on the order: one at each end of the range, since SQLite makes use of one."""
        ends: dict[str, ColumnElement[bool]] = {}
        if wanted.first > EARLIEST:
            ends["first"] = PredictionRow.create_time >= wanted.first
        if wanted.last < LATEST:
            ends["last"] = PredictionRow.create_time <= wanted.last
        if self.after is not None:
            if self.newest_first and self.after[0] <= wanted.last:
                ends["last"] = tuple_(*_KEY) < tuple_(*self.after)
            elif not self.newest_first and self.after[0] >= wanted.first:
                ends["first"] = tuple_(*_KEY) > tuple_(*self.after)
        return list(ends.values())


def read_page(session: Session, where: Filter | None, listing: Listing) -> Sequence[Row[Any]]:
    """The rows of the page, with every column of ``predictions``."""
    found = (_narrowed(session, wanted, listing) for wanted in _spelled_out(session, where))
    alternatives = [wanted for wanted in found if wanted is not None]
    return session.execute(statement(alternatives, listing)).all() if alternatives else []


def statement(alternatives: Sequence[Conjunction], listing: Listing) -> Select[Any]:
    """The page of rows that satisfy one of the alternatives."""
    if len(alternatives) == 1:
        return _page(select(*COLUMNS), alternatives[0], listing)
    keys_only: Select[Any] = select(*_KEY)
    pages = (_page(keys_only, wanted, listing).subquery() for wanted in alternatives)
    merged = union(*(select(page) for page in pages))
    order = listing.order(literal_column("create_time"), literal_column("sequence"))
    keys = merged.order_by(*order).limit(listing.limit).subquery()
    rows = select(*COLUMNS).join(keys, keys.c.sequence == PredictionRow.sequence)
    return rows.order_by(*listing.order(keys.c.create_time, keys.c.sequence))


def _page(query: Select[Any], wanted: Conjunction, listing: Listing) -> Select[Any]:
    others = (*wanted.equalities[1:], *wanted.others)
    query = query.where(
        _way_in(wanted), *listing.bounds(wanted), *(hidden(to_sql(t)) for t in others)
    )
    if wanted.missing:
        # PostgreSQL does not see that these rows differ in time only.
        query = query.order_by(*listing.order(FIELDS[wanted.missing]))
    return listing.in_order(query).limit(listing.limit)


def _way_in(wanted: Conjunction) -> ColumnElement[bool] | TextClause:
    """What says which index is read."""
    if wanted.equalities:
        return _holds(wanted.equalities[0])
    if wanted.missing:
        return FIELDS[wanted.missing].is_(None)
    return text(IN_ORDER_OF_TIME)


def _holds(equality: Comparison) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = FIELDS[equality.field] == equality.value
    return condition


def hidden(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The same condition in a form that no planner looks for in an index."""
    return condition.is_(true())


# --- what is left when a value is excluded ------------------------------------------------------


def _spelled_out(session: Session, where: Filter | None) -> Sequence[Conjunction]:
    """The filter's alternatives, of which those with an excluded value are taken apart further,
    unless they become too many."""
    whole = conjunctions(where)
    fields = dict.fromkeys(field for wanted in whole for field in wanted.excluded_fields)
    few = {field: values for field in fields if (values := _few_values(session, field))}
    parts = [part for wanted in whole for part in _parts(wanted, few)]
    return parts if len(parts) <= max(MAX_ALTERNATIVES, len(whole)) else whole


def _parts(
    wanted: Conjunction, values: Mapping[str, Sequence[str | None]]
) -> Iterable[Conjunction]:
    field = next((field for field in wanted.excluded_fields if field in values), None)
    return [wanted] if field is None else wanted.spelled_out(field, values[field])


def _few_values(session: Session, field: str) -> Sequence[str | None]:
    """All values of a column, None among them if there may be rows without; nothing if these are
    too many."""
    missing = [None] if FIELDS[field].property.columns[0].nullable else []
    most = MAX_ALTERNATIVES - len(missing)
    values = session.scalars(_values(field, most + 1)).all()
    return [*values, *missing] if len(values) <= most else []


def _values(field: str, most: int) -> Select[Any]:
    """The first values of a column, by one look into its index for each."""
    values = FIELDS[field]
    first = select(func.min(values).label("value"), literal(1).label("number"))
    found = first.cte("found", recursive=True)
    following = select(func.min(values)).where(values > found.c.value).scalar_subquery()
    step = select(following, found.c.number + 1).where(
        found.c.value.is_not(None), found.c.number < most
    )
    found = found.union_all(step)
    return select(found.c.value).where(found.c.value.is_not(None))


# --- which of several values leads --------------------------------------------------------------


@dataclass(frozen=True)
class _Reach:
    """The times of a value's first and last row in the range that a page is read from, and of the
    one ``_PROBED_ROWS`` behind the first; None where there is no such row."""

    begin: int | None
    end: int | None
    probed: int | None

    @property
    def sparseness(self) -> float:
        """The time that so many rows take."""
        if self.begin is None or self.probed is None:
            return math.inf
        return abs(self.probed - self.begin)


def _narrowed(session: Session, wanted: Conjunction, listing: Listing) -> Conjunction | None:
    """With the rarest value in front, and within the time of all of them; None if that is none."""
    if len(wanted.equalities) < 2:
        return wanted
    reaches = _reaches(session, wanted, listing)
    rarest = max(reaches, key=lambda value: reaches[value].sparseness)
    others = (value for value in wanted.equalities if value != rarest)
    narrowed = replace(wanted, equalities=(rarest, *others))
    for reach in reaches.values():
        if reach.begin is None or reach.end is None:
            return None
        narrowed = narrowed.within(*sorted((reach.begin, reach.end)))
    return None if narrowed.empty else narrowed


def _reaches(session: Session, wanted: Conjunction, listing: Listing) -> dict[Comparison, _Reach]:
    probes = [probe for value in wanted.equalities for probe in _probes(value, wanted, listing)]
    times = iter(session.execute(select(*probes)).one())
    return {value: _Reach(next(times), next(times), next(times)) for value in wanted.equalities}


def _probes(value: Comparison, wanted: Conjunction, listing: Listing) -> list[ScalarSelect[int]]:
    times = select(PredictionRow.create_time).where(_holds(value), *listing.bounds(wanted))
    forwards = listing.in_order(times)
    backwards = replace(listing, newest_first=not listing.newest_first).in_order(times)
    probed = forwards.offset(_PROBED_ROWS)
    return [query.limit(1).scalar_subquery() for query in (forwards, backwards, probed)]
