"""Filters over the audit log: a subset of AIP-160.

Comparisons (``= != < <= > >=``) of a field with a value, joined by ``AND``, ``OR``, ``NOT`` (or
``-``) and parentheses. As the AIP has it, ``OR`` binds tighter than ``AND``. A value is a word
or a quoted string in which a backslash takes the next character as it is; times are RFC 3339
(``2026-01-31T08:00:00Z``), dates mean midnight UTC. An empty filter matches everything.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import grpc
from lark import Lark, Token, Tree, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from core.errors import InvalidArgument
from core.filters import And, Comparison, Filter, Not, Operator, Or, Value
from core.labels import TumourLabel
from core.prediction import Decision, Outcome

MAX_LENGTH: Final = 2000
MAX_DEPTH: Final = 10

_GRAMMAR: Final = r"""
    ?conjunction: disjunction (_AND disjunction)*
    ?disjunction: term (_OR term)*
    ?term: simple | (_NOT | _MINUS) simple -> negation
    ?simple: comparison | "(" conjunction ")"
    comparison: FIELD OPERATOR (STRING | WORD)

    _AND.2: /AND(?![\w.])/
    _OR.2: /OR(?![\w.])/
    _NOT.2: /NOT(?![\w.])/
    _MINUS: "-"
    FIELD: /[A-Za-z_][\w.]*/
    OPERATOR: "!=" | "<=" | ">=" | "=" | "<" | ">"
    STRING: /"([^"\\]|\\.)*"|'([^'\\]|\\.)*'/s
    WORD: /[^\s()"'=<>!]+/
    %ignore /\s+/
"""
_PARSER: Final = Lark(_GRAMMAR, start="conjunction", parser="lalr", maybe_placeholders=False)


def parse_filter(text: str) -> Filter | None:
    """The filter as a tree over the fields of ``AuditRecord``; None for an empty one.

    Raises ``InvalidArgument`` on ``filter`` that says what is wrong and where.
    """
    if not text.strip():
        return None
    if len(text) > MAX_LENGTH:
        raise _refusal(f"has {len(text)} characters; at most {MAX_LENGTH} are read")
    _check_depth(text)
    try:
        tree = _PARSER.parse(text)
    except UnexpectedInput as exc:
        raise _refusal(_syntax_problem(exc, text)) from exc
    return _built(tree)


def _refusal(problem: str) -> InvalidArgument:
    return InvalidArgument.of("filter", problem)


def _check_depth(text: str) -> None:
    depth = 0
    for bracket in re.findall(r"[()]", re.sub(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", "", text)):
        depth += 1 if bracket == "(" else -1
        if depth > MAX_DEPTH:
            raise _refusal(f"has parentheses more than {MAX_DEPTH} deep")


def _syntax_problem(error: UnexpectedInput, text: str) -> str:
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return f"ends too early; at its end {_expected(error.accepts or error.expected)}"
    position = (error.pos_in_stream or 0) + 1
    found = text[position - 1 : position + 19].split(maxsplit=1)[0]
    wanted = error.allowed if isinstance(error, UnexpectedCharacters) else None
    if isinstance(error, UnexpectedToken):
        wanted = error.accepts or error.expected
    return f"does not go on with '{found}' at position {position}; there {_expected(wanted or ())}"


_WORDS: Final[Mapping[str, str]] = {
    "FIELD": "a field",
    "OPERATOR": "one of = != < <= > >=",
    "STRING": "a value",
    "WORD": "a value",
    "_AND": "AND",
    "_OR": "OR",
    "_NOT": "NOT",
    "LPAR": "'('",
    "RPAR": "')'",
}


def _expected(names: Any) -> str:
    words = list(dict.fromkeys(_WORDS[name] for name in sorted(names) if name in _WORDS))
    if not words:
        return "nothing more is read"
    return f"it needs {' or '.join(words)}" if len(words) < 3 else f"it needs {', '.join(words)}"


def _built(tree: Tree[Token]) -> Filter:
    parts = [child for child in tree.children if isinstance(child, Tree)]
    match tree.data:
        case "conjunction":
            return And(tuple(map(_built, parts)))
        case "disjunction":
            return Or(tuple(map(_built, parts)))
        case "negation":
            return Not(_built(parts[0]))
        case _:
            return _comparison(*(child for child in tree.children if isinstance(child, Token)))


def _comparison(name: Token, operator: Token, value: Token) -> Filter:
    field = _FIELDS.get(name)
    if field is None:
        known = ", ".join(_FIELDS)
        raise _refusal(f"does not know '{name}' at position {_position(name)}; use {known}")
    if Operator(operator) not in field.operators:
        allowed = " and ".join(field.operators)
        raise _refusal(
            f"cannot compare {name} with '{operator}' at position {_position(operator)}; "
            f"use {allowed}"
        )
    try:
        read = field.read(_unquoted(value))
    except ValueError as exc:
        raise _refusal(f"has at position {_position(value)} a bad {name}: {exc}") from exc
    return Comparison(str(name), Operator(operator), read)


def _position(token: Token) -> int:
    return (token.start_pos or 0) + 1


def _unquoted(token: Token) -> str:
    if token.type != "STRING":
        return str(token)
    return re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL)


# --- the fields -------------------------------------------------------------------------------


_EQUALITY: Final = (Operator.EQ, Operator.NE)
_ORDER: Final = tuple(Operator)
_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:(?P<time>[Tt]\d\d:\d\d:\d\d(?:\.\d{1,6})?)(?P<zone>[Zz]|[+-]\d\d:\d\d)?)?"
)


@dataclass(frozen=True)
class _Field:
    """How a field's value is read (``ValueError`` says what it must be), and its operators."""

    read: Callable[[str], Value]
    operators: tuple[Operator, ...] = _EQUALITY


def _one_of(choices: tuple[str, ...]) -> Callable[[str], Value]:
    def read(text: str) -> Value:
        if text not in choices:
            raise ValueError(f"use one of {', '.join(choices)}")
        return text

    return read


def _enum(kind: type[StrEnum]) -> Callable[[str], Value]:
    return _one_of(tuple(str(member) for member in kind))


def _moment(text: str) -> Value:
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError("use a date (2026-01-31) or a time (2026-01-31T08:00:00Z)")
    if match["time"] and not match["zone"]:
        raise ValueError("a time needs its zone, such as Z or +02:00 at the end")
    try:
        moment = datetime.fromisoformat(text.upper())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such day or time") from None


def _sha256(text: str) -> Value:
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        raise ValueError("use all 64 hexadecimal digits")
    return text.lower()


def _request_id(text: str) -> Value:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError("use a UUID") from None


def _text(text: str) -> Value:
    if "\0" in text:
        raise ValueError("it must not hold a NUL character")
    return text


def _model_version(text: str) -> Value:
    return _text(text.removeprefix("modelVersions/"))


_FIELDS: Final[Mapping[str, _Field]] = {
    "create_time": _Field(_moment, _ORDER),
    "label": _Field(_enum(TumourLabel)),
    "decision": _Field(_enum(Decision)),
    "outcome": _Field(_enum(Outcome)),
    "status": _Field(_one_of(tuple(code.name for code in grpc.StatusCode))),
    "model_version": _Field(_model_version),
    "image_sha256": _Field(_sha256),
    "caller": _Field(_text),
    "request_id": _Field(_request_id),
}
