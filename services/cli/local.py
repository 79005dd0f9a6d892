"""Commands that need no running server: ``up``, ``quickstart``, ``synthesize``."""

from pathlib import Path
from typing import Annotated, Final

import typer

QUICKSTART_DIR: Final = Path(".quickstart")

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="BRAINTUMOR_DATA_DIR",
        metavar="DIR",
        help="Where data live; default: the user's data folder.",
    ),
]
Listen = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="BRAINTUMOR_ADDRESS",
        metavar="HOST:PORT",
        help="Where to listen; default: 127.0.0.1:50051.",
    ),
]


def up(data_dir: DataDir = None, address: Listen = None) -> None:
    """Run the whole system on this machine until Ctrl-C."""
    from services.cli.up_run import run_up

    raise typer.Exit(run_up(data_dir, address))


def quickstart(
    data_dir: Annotated[
        Path, typer.Option("--data-dir", metavar="DIR", help="Where its data live.")
    ] = QUICKSTART_DIR,
    address: Listen = None,
) -> None:
    """Show everything once: start, train on synthetic scans, classify, audit."""
    from services.cli.quickstart_run import run_quickstart

    raise typer.Exit(run_quickstart(data_dir, address))


def synthesize(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False)],
    per_class: Annotated[int, typer.Option(min=1, help="Scans of each class.")] = 40,
    size: Annotated[int, typer.Option(min=32, max=2048, help="Side in pixels.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same scans.")] = 0,
) -> None:
    """Draw synthetic scans to try the system on, a folder for each class."""
    from services.cli.output import Output
    from services.cli.session import SOME_REFUSED
    from services.cli.synthetic import write_dataset

    out = Output(as_json=False)
    try:
        written = write_dataset(folder, per_class, size, seed)
    except OSError as error:
        out.problem(f"{error.filename or folder}: {error.strerror or error}")
        raise typer.Exit(SOME_REFUSED) from error
    out.line(f"{len(written)} synthetic scans are in {folder}.")
