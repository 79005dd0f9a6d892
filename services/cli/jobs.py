"""``braintumor jobs``: list, show, watch, cancel."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from core.search import TrialState
from core.training import Task, score_name
from services.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_LIMIT,
    Address,
    AsJson,
    Limit,
    resource,
)
from services.cli.output import Column, Output, Row, filled, short, when
from services.cli.session import session

if TYPE_CHECKING:
    from braintumor.v1 import training_pb2

app = typer.Typer(no_args_is_help=True, help="Training jobs.")

Name = Annotated[str, typer.Argument(metavar="J", help="J or trainingJobs/J.")]

_COLUMNS: Final = (
    Column("name", lambda row: short(row["name"])),
    Column("created", when),
    Column("state", lambda row: row["state"]),
    Column("progress", lambda row: f"{row['progress']:.0%}", right=True),
    Column("data set", lambda row: short(row["dataset"])),
    Column("backbone", lambda row: (row["spec"] or {}).get("backbone")),
    Column("result", lambda row: _short_result(row)),
)
_LONGEST_CELL: Final = 60
"""Characters of a result in a list; all of it is shown with the job."""


def _trial_columns(score: str) -> tuple[Column, ...]:
    return (
        Column("trial", lambda row: str(row["number"]), right=True),
        Column("state", lambda row: row["state"]),
        Column(score, lambda row: _number(row["macro_f1"]), right=True),
        Column("best", lambda row: "*" if row["best"] else ""),
        Column("epochs", lambda row: str(row["epochs"]), right=True),
        Column("seconds", lambda row: f"{row['duration_seconds'] or 0:.0f}", right=True),
        Column("recipe", lambda row: recipe_text(_rounded(row["recipe"]))),
        Column("error", lambda row: row["error_message"]),
    )


@app.command("list")
def list_(
    limit: Limit = DEFAULT_LIMIT, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False
) -> None:
    """List training jobs, newest first."""
    from braintumor.v1 import training_pb2

    from services.cli.paging import listed
    from services.cli.rows import row

    with session(address, as_json) as connected:
        client = connected.client

        def fetch(size: int, token: str) -> tuple[Any, str]:
            request = training_pb2.ListTrainingJobsRequest(page_size=size, page_token=token)
            page = client.call(client.training.ListTrainingJobs, request)
            return page.training_jobs, page.next_page_token

        rows = [row(job) for job in listed(fetch, limit)]
        empty = "No training jobs yet. Try: braintumor train --dataset N"
        connected.out.results(rows, _COLUMNS, empty=empty)


@app.command("show")
def show(name: Name, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Show one training job."""
    from braintumor.v1 import training_pb2

    with session(address, as_json) as connected:
        client = connected.client
        request = training_pb2.GetTrainingJobRequest(name=resource("trainingJobs", name))
        show_job(connected.out, client.call(client.training.GetTrainingJob, request).training_job)


@app.command("watch")
def watch(name: Name, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Follow a training job until it ends; exit 1 if it fails. Ctrl-C leaves it running."""
    from services.cli.watch import watch_job

    with session(address, as_json) as connected:
        raise typer.Exit(watch_job(connected, resource("trainingJobs", name)))


@app.command("cancel")
def cancel(name: Name, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Cancel a training job; a running one ends within 10 seconds."""
    from braintumor.v1 import training_pb2

    with session(address, as_json) as connected:
        client = connected.client
        request = training_pb2.CancelTrainingJobRequest(name=resource("trainingJobs", name))
        job = client.call(client.training.CancelTrainingJob, request).training_job
        show_job(connected.out, job)


def show_job(out: Output, job: "training_pb2.TrainingJob") -> None:
    """The job as a result."""
    from services.cli.rows import row

    fields = row(job)
    if out.as_json:
        out.row(fields)
        return
    out.fields(_facts(fields))
    if fields["trials"]:
        out.line()
        rows = _ranked(fields["trials"])
        out.table(rows, filled(_trial_columns(score_name(task_of(fields))), rows))


def task_of(job: Row) -> Task:
    """What the job learns."""
    outlines = (job["spec"] or {}).get("task") == Task.SEGMENTATION
    return Task.SEGMENTATION if outlines else Task.CLASSIFICATION


def show_submitted(out: Output, job: "training_pb2.TrainingJob") -> None:
    """The job as a result, and how to follow it."""
    show_job(out, job)
    out.note(f"Follow it with: braintumor jobs watch {job.name.removeprefix('trainingJobs/')}")


def _facts(row: Row) -> list[tuple[str, str]]:
    facts = [
        ("name", row["name"]),
        ("state", f"{row['state']}  {row['progress']:.0%}  {row['stage'] or ''}".rstrip()),
        ("data set", row["dataset"]),
        ("recipe", recipe_text(row["spec"])),
        *([("search", _search_text(row["search"]))] if row["search"] else []),
        ("created", row["create_time"] or ""),
        ("started", row["start_time"] or "not yet"),
        ("ended", row["end_time"] or "not yet"),
        ("attempt", str(row["attempt"])),
    ]
    return [*facts, ("result", result)] if (result := _result(row)) else facts


def recipe_text(spec: Row | None) -> str:
    """``epochs 5, batch size 32, ...``."""
    given = {k: v for k, v in (spec or {}).items() if v is not None}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in given.items())


def _rounded(recipe: Row | None) -> Row:
    """With what a search drew at random as short as it can be told apart by."""
    values = (recipe or {}).items()
    return {name: f"{v:.4g}" if isinstance(v, float) else v for name, v in values}


def _ranked(trials: Sequence[Row]) -> list[Row]:
    """The trials, with which of them is the best: by score, the earlier of equals."""
    done = [t for t in trials if t["state"] == TrialState.COMPLETE and t["macro_f1"] is not None]
    best = max(done, key=lambda t: (t["macro_f1"], -t["number"]), default=None)
    return [{**trial, "best": trial is best} for trial in trials]


def _search_text(search: Row) -> str:
    """``20 trials within 60 min of dropout 0.1 0.3, learning rate 0.0001..0.001 (log)``."""
    limit = search["time_limit_seconds"]
    within = f" within {limit / 60:g} min" if limit else ""
    space = ", ".join(map(_dimension_text, search["space"]))
    return f"{search['trials']} trials{within} of {space}"


def _dimension_text(dimension: Row) -> str:
    name, found = dimension["field"].replace("_", " "), dimension["range"]
    if found is None:
        return " ".join([name, *dimension["choice"]["values"]])
    return f"{name} {found['low']:g}..{found['high']:g}{' (log)' if found['log'] else ''}"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _result(row: Row) -> str:
    if row["error"]:
        return f"{row['error']['reason']}: {row['error']['message']}"
    return row["model_version"] or row["result_job"] or ""


def _short_result(row: Row) -> str:
    """Of a search the job that follows keeps its full name, for it is no model version."""
    text = short(row["model_version"]) or _result(row)
    if len(text) <= _LONGEST_CELL:
        return text
    return text[: _LONGEST_CELL - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
