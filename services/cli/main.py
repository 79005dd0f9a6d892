"""The ``braintumor`` command: this module only says which commands there are.

Their work is in modules of their own that are imported when they run, so that ``--help`` is
quick and no command pays for another's libraries.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from services.cli import audit, datasets, jobs, models
from services.cli.classify import classify
from services.cli.local import quickstart, synthesize, up
from services.cli.search import search
from services.cli.train import train

app = typer.Typer(
    name="braintumor",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Brain-tumour MRI classification. Decision support for research, not a medical device.",
    epilog="Exit status: 0 all answered, 1 some refused, 2 bad usage, 3 no server reached, "
    "4 audit log broken.",
)
app.command("up")(up)
app.command("quickstart")(quickstart)
app.command("classify")(classify)
app.add_typer(datasets.app, name="datasets")
app.command("train")(train)
app.command("search")(search)
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")
app.add_typer(audit.app, name="audit")
app.command("synthesize")(synthesize)


def _print_version(asked: bool) -> None:
    if asked:
        try:
            typer.echo(f"braintumor {version('braintumor')}")
        except PackageNotFoundError:
            typer.echo("braintumor (not installed)")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version."),
    ] = False,
) -> None:
    """Options of the command itself."""


def run() -> None:
    """The console entry point."""
    app()


if __name__ == "__main__":
    run()
