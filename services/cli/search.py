"""``braintumor search``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from core.errors import InvalidArgument
from core.search import SEARCHABLE, Choice, SearchSpec
from core.training import Task
from services.cli.options import DEFAULT_ADDRESS, Address, AsJson, resource
from services.cli.session import bad_usage, session
from services.cli.train import (
    SETTABLE,
    ChosenBackbone,
    GoOnFrom,
    from_version,
    pairs_of,
    recipe_of,
    submit,
)

if TYPE_CHECKING:
    from braintumor.v1 import training_pb2

_SETTABLE: Final = [name for name in SETTABLE if name != "folds"]
"""A search refuses folds: they would test on the slices that it compares recipes on."""


def search(
    dataset: Annotated[str, typer.Option("--dataset", metavar="N", help="The data set.")],
    space: Annotated[
        list[str],
        typer.Option(
            "--try",
            metavar="KEY=LOW..HIGH[:log]|A,B,..",
            help=f"What to vary, of {', '.join(sorted(SEARCHABLE))}. Repeatable.",
        ),
    ],
    trials: Annotated[
        int, typer.Option("--trials", help="How many recipes to try.")
    ] = SearchSpec.trials,
    minutes: Annotated[
        float, typer.Option("--minutes", help="Time for all trials together; 0 for no limit.")
    ] = 0.0,
    backbone: ChosenBackbone = None,
    go_on_from: GoOnFrom = "",
    task: Annotated[Task, typer.Option("--task", help="What to learn.")] = Task.CLASSIFICATION,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help=f"What every trial has, of {', '.join(_SETTABLE)}. Repeatable.",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the search until it ends; exit 1 if it fails.")
    ] = False,
    request_id: Annotated[
        str, typer.Option("--request-id", metavar="UUID", help="Makes repeats answer alike.")
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Search for a better recipe; a training job by the best one follows by itself.

    Recipes are compared on validation slices, by macro-F1, those of segmenters by Dice.
    """
    from services.cli.jobs import show_submitted
    from services.cli.watch import watch_job

    recipe = recipe_of(backbone, task, settings or (), go_on_from)
    wanted = search_message(search_of(space, trials, minutes))
    with session(address, as_json) as connected:
        recipe = from_version(connected, go_on_from) | recipe
        job = submit(connected, resource("datasets", dataset), recipe, request_id, wanted)
        if watch:
            connected.out.note(f"{job.name} is submitted.")
            raise typer.Exit(watch_job(connected, job.name))
        show_submitted(connected.out, job)


def search_of(space: Sequence[str], trials: int, minutes: float) -> SearchSpec:
    """Raises ``typer.Exit`` for what cannot be used."""
    pairs = pairs_of(space, "--try", "dropout=0.1,0.3 or learning_rate=1e-4..1e-3:log")
    dimensions = {name: _dimension(text) for name, text in pairs.items()}
    try:
        return SearchSpec.validated(
            {"trials": trials, "seconds": minutes * 60, "space": dimensions}
        )
    except InvalidArgument as error:
        lines = (f"{v.field.rpartition('.')[2]}: {v.description}" for v in error.violations)
        raise bad_usage("This cannot be searched: " + "; ".join(lines)) from error


def search_message(search: SearchSpec) -> "training_pb2.SearchSpec":
    from braintumor.v1 import training_pb2

    message = training_pb2.SearchSpec(trials=search.trials)
    message.time_limit.FromMicroseconds(round(search.seconds * 1e6))
    for name, found in search.space.items():
        dimension = message.space.add(field=name)
        if isinstance(found, Choice):
            dimension.choice.values.extend(str(value).lower() for value in found.values)
        else:
            dimension.range.low = found.low
            dimension.range.high = found.high
            dimension.range.log = found.log
    return message


def _dimension(text: str) -> dict[str, Any]:
    low, dots, rest = text.partition("..")
    if not dots:
        return {"values": [value for value in text.split(",") if value.strip()]}
    high, _, kind = rest.partition(":")
    if kind not in {"", "log"}:
        raise bad_usage(f"--try ..{rest}: behind a range may stand :log and nothing else.")
    return {"low": low, "high": high, "log": kind == "log"}
