"""``braintumor models``: list, show, compare, promote, rollback, history, report, card."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.registry import PRODUCTION, SEGMENTATION
from services.cli.aliases import move_alias, pointed_at, serving_alias
from services.cli.model_views import COLUMNS, MOVES, show_comparison, show_version
from services.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_LIMIT,
    Address,
    AsJson,
    Limit,
    Reason,
    resource,
)
from services.cli.output import Output, Row, filled
from services.cli.pages import PIPE, write_page
from services.cli.session import Session, bad_usage, session
from services.cli.versions import WHAT_SERVES, version_name

if TYPE_CHECKING:
    from braintumor.v1 import models_pb2

app = typer.Typer(no_args_is_help=True, help="Trained models, and which of them serves.")

Name = Annotated[str, typer.Argument(metavar="V", help="V or modelVersions/V.")]
NameToRead = Annotated[
    str, typer.Argument(metavar="V", help=f"V or modelVersions/V, or {WHAT_SERVES}.")
]
Alias = Annotated[
    str, typer.Option("--alias", metavar="A", help=f"The alias; default: {PRODUCTION}.")
]
AliasOfTask = Annotated[
    str,
    typer.Option(
        "--alias",
        metavar="A",
        help=f"The alias; default: {PRODUCTION} for a classifier, {SEGMENTATION} for a segmenter.",
    ),
]


@app.command("list")
def list_(
    limit: Limit = DEFAULT_LIMIT, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False
) -> None:
    """List model versions, newest first."""
    from braintumor.v1 import models_pb2

    from services.cli.paging import listed
    from services.cli.rows import row

    with session(address, as_json) as connected:
        client = connected.client

        def fetch(size: int, token: str) -> tuple[Any, str]:
            request = models_pb2.ListModelVersionsRequest(page_size=size, page_token=token)
            page = client.call(client.models.ListModelVersions, request)
            return page.model_versions, page.next_page_token

        rows = [row(version) for version in listed(fetch, limit)]
        empty = "No model versions yet. Try: braintumor train --dataset N --watch"
        connected.out.results(rows, filled(COLUMNS, rows), empty=empty)


@app.command("show")
def show(name: NameToRead, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Show one model version with its numbers."""
    from services.cli.rows import row

    with session(address, as_json) as connected:
        out = connected.out
        fields = row(_version(connected, version_name(connected, name)))
        if as_json:
            out.row(fields)
        else:
            show_version(out, fields)


@app.command("compare")
def compare(
    names: Annotated[
        list[str],
        typer.Argument(metavar="V...", help=f"Two or more versions, or {WHAT_SERVES}."),
    ],
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Put model versions side by side and recommend one."""
    from braintumor.v1 import models_pb2

    from services.cli.client import SLOW_SECONDS
    from services.cli.rows import row

    with session(address, as_json) as connected:
        client, out = connected.client, connected.out
        full = [version_name(connected, name) for name in names]
        request = models_pb2.CompareModelVersionsRequest(names=full)
        compared = client.call(client.models.CompareModelVersions, request, timeout=SLOW_SECONDS)
        fields = row(compared)
        if as_json:
            out.row(fields)
        else:
            show_comparison(out, fields)


@app.command("promote")
def promote(
    name: Name,
    alias: AliasOfTask = "",
    force: Annotated[
        bool, typer.Option("--force", help="Even if a check speaks against it; needs --reason.")
    ] = False,
    reason: Reason = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Let a model version serve, from the next request on.

    It is refused if it is of no use by its own held-out slices, if it is worse than what serves on
    those that both have in common, or if its files are not what was trained.
    """
    from braintumor.v1 import models_pb2

    if force and not reason.strip():
        raise bad_usage("--force needs --reason TEXT: it is kept in the history.")
    full = resource("modelVersions", name)
    request = models_pb2.PromoteModelVersionRequest(
        name=full, alias=alias, reason=reason, force=force
    )
    with session(address, as_json) as connected:
        out, models = connected.out, connected.client.models
        # The answer to a promotion that changes nothing is the alias's last move, like any other.
        version = _version(connected, full)
        alias = alias or serving_alias(version)
        answer = move_alias(connected, models.PromoteModelVersion, request, alias)
        if answer.move.alias in version.aliases and not answer.note and not as_json:
            out.line(f"{answer.move.alias} is {full} already; nothing changes.")
        else:
            _moved(out, answer.move, {"note": answer.note or None})


@app.command("rollback")
def rollback(
    alias: Alias = "",
    reason: Reason = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Let the version that served before serve again."""
    from braintumor.v1 import models_pb2

    with session(address, as_json) as connected:
        serving = pointed_at(connected.client, alias)
        request = models_pb2.RollbackModelAliasRequest(
            alias=alias, reason=reason, from_version=serving or ""
        )
        models = connected.client.models
        answer = move_alias(connected, models.RollbackModelAlias, request, alias or PRODUCTION)
        _moved(connected.out, answer.move, {"note": answer.note or None})


@app.command("history")
def history(
    alias: Alias = "",
    limit: Limit = DEFAULT_LIMIT,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """List who pointed an alias where, when and why, newest first."""
    from braintumor.v1 import models_pb2

    from services.cli.paging import listed
    from services.cli.rows import row

    with session(address, as_json) as connected:
        client = connected.client

        def fetch(size: int, token: str) -> tuple[Any, str]:
            request = models_pb2.ListAliasMovesRequest(
                alias=alias, page_size=size, page_token=token
            )
            page = client.call(client.models.ListAliasMoves, request)
            return page.alias_moves, page.next_page_token

        rows = [row(move) for move in listed(fetch, limit)]
        connected.out.results(rows, MOVES, empty="This alias was never pointed at anything.")


@app.command("report")
def report(
    name: NameToRead,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where to write it; - is a pipe.")
    ],
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Write the evaluation of a model version as a page to read (HTML)."""
    from braintumor.v1 import models_pb2

    with session(address, as_json) as connected:
        full = version_name(connected, name)
        page = _evaluation(connected, full, models_pb2.REPORT_FORMAT_HTML)
        write_page(connected.out, page, output, what="report", name=full)


@app.command("card")
def card(
    name: NameToRead,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where to write it; - shows it.")
    ] = PIPE,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Show the model card: what a version is for, its limits and its numbers (Markdown)."""
    from braintumor.v1 import models_pb2

    with session(address, as_json) as connected:
        full = version_name(connected, name)
        page = _evaluation(connected, full, models_pb2.REPORT_FORMAT_MARKDOWN)
        write_page(connected.out, page, output, what="model card", name=full)


def _version(connected: Session, name: str) -> "models_pb2.ModelVersion":
    from braintumor.v1 import models_pb2

    client = connected.client
    request = models_pb2.GetModelVersionRequest(name=name)
    return client.call(client.models.GetModelVersion, request).model_version


def _evaluation(connected: Session, name: str, form: "models_pb2.ReportFormat.ValueType") -> bytes:
    from braintumor.v1 import models_pb2

    client = connected.client
    request = models_pb2.GetEvaluationReportRequest(name=name, format=form)
    answer = client.call(client.models.GetEvaluationReport, request)
    return bytes(answer.content)


def _moved(out: Output, move: Any, more: Row | None = None) -> None:
    from services.cli.rows import row

    fields = row(move) | dict(more or {})
    if out.as_json:
        out.row(fields)
        return
    before = f" (before: {fields['from_version']})" if fields["from_version"] else ""
    out.line(f"{fields['alias']} is now {fields['to_version']}{before}.")
    if fields.get("note"):
        out.line(fields["note"])
