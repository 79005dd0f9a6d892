"""What every command that talks to a server shares: connect, do it, explain what went wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import typer

from services.cli.output import Output

if TYPE_CHECKING:
    from services.cli.client import Client
    from services.cli.refusals import Refusal

ALL_ANSWERED: Final = 0
SOME_REFUSED: Final = 1
BAD_USAGE: Final = 2
UNREACHABLE: Final = 3
LOG_BROKEN: Final = 4
"""Of ``audit verify`` alone: a script must tell tampering from a server in trouble."""


@dataclass(frozen=True)
class Session:
    """A connected client and where its results go."""

    client: "Client"
    out: Output


@contextmanager
def session(address: str, as_json: bool) -> Iterator[Session]:
    """A session whose failed calls end the command, explained and with the right exit status."""
    from services.cli.client import Client
    from services.cli.refusals import ServerRefused, file_status

    out = Output(as_json)
    with Client(address) as client:
        try:
            yield Session(client, out)
        except ServerRefused as error:
            explain(out, error.refusal, address)
            raise typer.Exit(exit_status(error.refusal)) from error
        except BrokenPipeError:  # whoever read the output has enough: Click ends without a word
            raise
        except OSError as error:  # of files on this side; gRPC's own errors are none of these
            text = f"{error.filename or 'File'}: {error.strerror or error}"
            out.problem(text, file_status(error))
            raise typer.Exit(SOME_REFUSED) from error


def explain(out: Output, refusal: "Refusal", address: str) -> None:
    """What was refused and why: a line, and more where several fields are at fault."""
    from services.cli.refusal_words import refusal_lines

    if refusal.unreachable:
        message = (
            f"no server answers at {address}. Start one with 'braintumor up', or give --address "
            "(BRAINTUMOR_ADDRESS)."
        )
        refusal = replace(refusal, message=message)
    if out.as_json:
        out.error(refusal.as_error())
        return
    for line in refusal_lines(refusal):
        out.problem(line)


def exit_status(refusal: "Refusal") -> int:
    return UNREACHABLE if refusal.unreachable else SOME_REFUSED


def bad_usage(message: str) -> typer.Exit:
    """Says what is wrong with the command line; raise what it returns.

    It is text even where JSON was asked for, as Click's own errors of usage are.
    """
    Output(as_json=False).problem(message)
    return typer.Exit(BAD_USAGE)
