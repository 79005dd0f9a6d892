"""A parsed filter: a small expression tree that any store can translate."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

Value = str | int | float | datetime


class Operator(StrEnum):
    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


@dataclass(frozen=True)
class Comparison:
    field: str
    operator: Operator
    value: Value


@dataclass(frozen=True)
class And:
    terms: tuple["Filter", ...]


@dataclass(frozen=True)
class Or:
    terms: tuple["Filter", ...]


@dataclass(frozen=True)
class Not:
    term: "Filter"


Filter = Comparison | And | Or | Not
