"""A filter tree as an SQL condition over the predictions table."""

from collections.abc import Callable, Mapping
from datetime import datetime
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, not_, or_
from sqlalchemy.orm import InstrumentedAttribute

from core.filters import And, Comparison, Filter, Not, Operator, Or
from db.mappers import to_us
from db.tables import PredictionRow

FIELDS: Final[Mapping[str, InstrumentedAttribute[Any]]] = {
    "create_time": PredictionRow.create_time,
    "label": PredictionRow.label,
    "decision": PredictionRow.decision,
    "outcome": PredictionRow.outcome,
    "status": PredictionRow.status,
    "model_version": PredictionRow.model_version,
    "image_sha256": PredictionRow.image_sha256,
    "caller": PredictionRow.caller,
    "request_id": PredictionRow.request_id,
}
_OPERATORS: Final[Mapping[Operator, Callable[[Any, Any], Any]]] = {
    Operator.EQ: eq,
    Operator.NE: ne,
    Operator.LT: lt,
    Operator.LE: le,
    Operator.GT: gt,
    Operator.GE: ge,
}


def to_sql(tree: Filter) -> ColumnElement[bool]:
    """The condition. Missing values compare as unequal to everything, never as unknown.

    Raises ``KeyError`` for a field that is not in ``FIELDS``: the parser lets none through.
    """
    match tree:
        case And(terms):
            return and_(*(to_sql(term) for term in terms))
        case Or(terms):
            return or_(*(to_sql(term) for term in terms))
        case Not(term):
            return not_(to_sql(term))
        case Comparison():
            return _comparison(tree)


def _comparison(tree: Comparison) -> ColumnElement[bool]:
    column = FIELDS[tree.field]
    value = to_us(tree.value) if isinstance(tree.value, datetime) else tree.value
    condition: ColumnElement[bool] = _OPERATORS[tree.operator](column, value)
    if not column.property.columns[0].nullable:
        return condition
    if tree.operator is Operator.NE:
        return or_(condition, column.is_(None))
    # With NULL the comparison would be unknown, and so would its negation.
    return and_(condition, column.is_not(None))
