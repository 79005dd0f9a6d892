"""Options that many commands share."""

from typing import Annotated, Final

import typer

DEFAULT_ADDRESS: Final = "127.0.0.1:50051"

Address = Annotated[
    str,
    typer.Option(
        "--address", envvar="BRAINTUMOR_ADDRESS", metavar="HOST:PORT", help="Where the server is."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON Lines, one object a result.")]
Limit = Annotated[
    int, typer.Option("--limit", min=0, metavar="N", help="At most this many; 0 for all.")
]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept in the history.")
]

DEFAULT_LIMIT: Final = 100


def resource(collection: str, text: str) -> str:
    """The full resource name of ``N`` or ``collection/N``."""
    return f"{collection}/{text.removeprefix(f'{collection}/')}"


def resource_id(collection: str, text: str) -> str:
    """The last part of ``N`` or ``collection/N``."""
    return text.removeprefix(f"{collection}/")
