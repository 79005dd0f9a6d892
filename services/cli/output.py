"""Where results, notes and problems go, for a person or for a program."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH: Final = 240
"""Wide enough that a table in a pipe keeps one line a row."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading and what it shows of a row, None for nothing."""

    heading: str
    text: Callable[[Row], str | None]
    right: bool = False
    style: Callable[[Row], str] = lambda _row: ""


def when(row: Row) -> str:
    """When the thing came to be, to the second, in UTC."""
    return (row["create_time"] or "")[:19].replace("T", " ")


def short(name: str | None) -> str:
    """The id in a resource name, which commands take; for a column that says what it names."""
    return (name or "").rpartition("/")[2]


def filled(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """The columns that have something to show of some row."""
    return [column for column in columns if any(column.text(row) for row in rows)]


class Output:
    """Results go to standard output, everything else to standard error.

    For a program each result and each error is a line of JSON; for a person it is text and
    tables, and what moves (progress) is shown on a terminal only.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json: Final = as_json

    @property
    def lively(self) -> bool:
        """Whether to show progress."""
        return not self.as_json and sys.stderr.isatty()

    def row(self, row: Row) -> None:
        """A result for a program."""
        typer.echo(json.dumps(row))

    def line(self, text: str = "") -> None:
        """A result for a person."""
        typer.echo(text)

    def note(self, text: str) -> None:
        """Something beside the result; a program is not told."""
        if not self.as_json:
            typer.echo(text, err=True)

    def problem(self, text: str, status: str | None = None, reason: str | None = None) -> None:
        """What went wrong; a program is also told the status and the reason, if there are any."""
        if self.as_json:
            self.error({"status": status, "reason": reason, "message": text, "violations": []})
        else:
            typer.echo(text, err=True)

    def error(self, error: Row) -> None:
        """What went wrong, for a program."""
        typer.echo(json.dumps({"error": error}), err=True)

    def results(
        self, rows: Sequence[Row], columns: Sequence[Column], *, empty: str = "Nothing yet."
    ) -> None:
        """The rows: a line of JSON each, or one table."""
        if self.as_json:
            for row in rows:
                self.row(row)
        elif rows:
            self.table(rows, columns)
        else:
            self.note(empty)

    def table(self, rows: Sequence[Row], columns: Sequence[Column]) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for column in columns:
            justify = "right" if column.right else "left"
            table.add_column(column.heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for row in rows:
            table.add_row(*(Text(c.text(row) or "", style=c.style(row)) for c in columns))
        self.console().print(table)

    def fields(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Names and values of one thing, a line each."""
        width = max(len(name) for name, _ in pairs)
        for name, value in pairs:
            self.line(f"{name:<{width}}  {value}")

    def console(self) -> "Console":
        """Standard output for tables; colours on a terminal only."""
        from rich.console import Console

        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        return Console(width=width, markup=False, highlight=False, emoji=False)

    def error_console(self) -> "Console":
        """Standard error, for progress."""
        from rich.console import Console

        return Console(stderr=True, markup=False, highlight=False, emoji=False)
