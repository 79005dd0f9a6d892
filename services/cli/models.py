"""``braintumor models``: list, show, compare, promote, rollback, report."""

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from core.labels import LABELS
from services.cli.jobs import recipe_text
from services.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_LIMIT,
    Address,
    AsJson,
    Limit,
    Reason,
    resource,
)
from services.cli.output import Column, Output, Row, when
from services.cli.session import bad_usage, session

app = typer.Typer(no_args_is_help=True, help="Trained models, and which of them serves.")

Name = Annotated[str, typer.Argument(metavar="V", help="V or modelVersions/V.")]
Alias = Annotated[str, typer.Option("--alias", metavar="A", help="The alias; default: production.")]

_COLUMNS: Final = (
    Column("name", lambda row: row["name"]),
    Column("created", when),
    Column("backbone", lambda row: row["backbone"]),
    Column("accuracy", lambda row: _score(row, "accuracy"), right=True),
    Column("macro F1", lambda row: _score(row, "macro_f1"), right=True),
    Column("ms", lambda row: f"{row['latency_ms'] or 0:.1f}", right=True),
    Column("data set", lambda row: row["dataset"]),
    Column("aliases", lambda row: ", ".join(row["aliases"]), style=lambda _: "bold"),
)


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
        connected.out.results(rows, _COLUMNS, empty=empty)


@app.command("show")
def show(name: Name, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Show one model version with its numbers."""
    from braintumor.v1 import models_pb2

    from services.cli.rows import row

    with session(address, as_json) as connected:
        client, out = connected.client, connected.out
        request = models_pb2.GetModelVersionRequest(name=resource("modelVersions", name))
        fields = row(client.call(client.models.GetModelVersion, request).model_version)
        if as_json:
            out.row(fields)
        else:
            _show(out, fields)


@app.command("compare")
def compare(
    names: Annotated[list[str], typer.Argument(metavar="V...", help="Two or more versions.")],
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Put model versions side by side and recommend one."""
    from braintumor.v1 import models_pb2

    from services.cli.rows import row

    full = [resource("modelVersions", name) for name in names]
    with session(address, as_json) as connected:
        client, out = connected.client, connected.out
        request = models_pb2.CompareModelVersionsRequest(names=full)
        fields = row(client.call(client.models.CompareModelVersions, request))
        if as_json:
            out.row(fields)
        else:
            out.table(fields["model_versions"], _compared())
            out.line()
            out.line(f"Recommended: {fields['recommended']}: {fields['recommendation_reason']}.")


@app.command("promote")
def promote(
    name: Name,
    alias: Alias = "",
    force: Annotated[
        bool, typer.Option("--force", help="Even if a check speaks against it; needs --reason.")
    ] = False,
    reason: Reason = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Let a model version serve, from the next request on."""
    from braintumor.v1 import models_pb2

    if force and not reason.strip():
        raise bad_usage("--force needs --reason TEXT: it is kept in the history.")
    request = models_pb2.PromoteModelVersionRequest(
        name=resource("modelVersions", name), alias=alias, reason=reason, force=force
    )
    with session(address, as_json) as connected:
        client = connected.client
        _moved(connected.out, client.call(client.models.PromoteModelVersion, request).move)


@app.command("rollback")
def rollback(
    alias: Alias = "",
    reason: Reason = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Let the version that served before serve again."""
    from braintumor.v1 import models_pb2

    request = models_pb2.RollbackModelAliasRequest(alias=alias, reason=reason)
    with session(address, as_json) as connected:
        client = connected.client
        _moved(connected.out, client.call(client.models.RollbackModelAlias, request).move)


@app.command("report")
def report(
    name: Name,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where to write it; - is a pipe.")
    ],
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Write the evaluation of a model version as a page to read (HTML)."""
    from braintumor.v1 import models_pb2

    full = resource("modelVersions", name)
    with session(address, as_json) as connected:
        client, out = connected.client, connected.out
        request = models_pb2.GetEvaluationReportRequest(name=full)
        answer = client.call(client.models.GetEvaluationReport, request)
        if str(output) == "-":
            sys.stdout.buffer.write(answer.content)
            return
        output.write_bytes(answer.content)
        size = len(answer.content)
        if as_json:
            out.row({"name": full, "output": str(output), "size_bytes": size})
        else:
            out.line(f"The report of {full} is in {output} ({size / 1024:.0f} KiB).")


def _moved(out: Output, move: Any) -> None:
    from services.cli.rows import row

    fields = row(move)
    if out.as_json:
        out.row(fields)
        return
    before = f" (before: {fields['from_version']})" if fields["from_version"] else ""
    out.line(f"{fields['alias']} is now {fields['to_version']}{before}.")


def _show(out: Output, row: Row) -> None:
    out.fields(_facts(row))
    evaluation = row["evaluation"]
    if not evaluation:
        return
    labels = list(evaluation["per_class"])
    out.line()
    out.table([{"label": n, **evaluation["per_class"][n]} for n in labels], _CLASS_COLUMNS)
    out.line()
    out.line("Rows: true class; columns: predicted class.")
    confusion = evaluation["confusion"]
    rows = [{"label": true, "counts": counts} for true, counts in confusion.items()]
    out.table(rows, _confusion_columns(list(confusion)))


_CLASS_COLUMNS: Final = (
    Column("class", lambda row: row["label"]),
    Column("precision", lambda row: f"{row['precision']:.3f}", right=True),
    Column("recall", lambda row: f"{row['recall']:.3f}", right=True),
    Column("F1", lambda row: f"{row['f1']:.3f}", right=True),
    Column("scans", lambda row: str(row["support"]), right=True),
)


def _confusion_columns(labels: list[str]) -> list[Column]:
    def count_at(place: int) -> Column:
        return Column(labels[place], lambda row: str(row["counts"][place]), right=True)

    first = Column("true \\ predicted", lambda row: row["label"])
    return [first, *(count_at(place) for place in range(len(labels)))]


def _facts(row: Row) -> list[tuple[str, str]]:
    evaluation = row["evaluation"] or {}
    return [
        ("name", row["name"]),
        ("aliases", ", ".join(row["aliases"]) or "none"),
        ("created", row["create_time"] or ""),
        ("data set", f"{row['dataset']} (digest {(row['dataset_digest'] or '')[:12]})"),
        ("made by", row["training_job"] or ""),
        ("recipe", recipe_text(row["spec"])),
        ("weights from", row["weights_source"] or ""),
        ("accuracy", _score(row, "accuracy")),
        ("macro F1", _score(row, "macro_f1")),
        ("scans", _split(evaluation)),
        ("held out", evaluation.get("protocol") or ""),
        ("parameters", f"{row['parameter_count']:,}"),
        ("size", f"{row['size_bytes'] / 1e6:.1f} MB"),
        ("latency", f"{row['latency_ms'] or 0:.1f} ms on the machine that trained it"),
        ("trained in", f"{row['train_duration_seconds'] or 0:.0f} s"),
        ("digest", row["digest"] or ""),
    ]


def _score(row: Row, name: str) -> str:
    return f"{row['evaluation'][name]:.3f}" if row["evaluation"] else ""


def _split(evaluation: Row) -> str:
    names = ("train_size", "validation_size", "test_size")
    sizes = [str(evaluation.get(name, 0)) for name in names]
    return "{} for training, {} for validation, {} for these numbers".format(*sizes)


def _class_f1(row: Row, label: str) -> str:
    numbers = (row["evaluation"] or {}).get("per_class", {}).get(label)
    return f"{numbers['f1']:.3f}" if numbers else ""


def _compared() -> list[Column]:
    def f1_of(label: str) -> Column:
        return Column(f"F1 {label}", lambda row: _class_f1(row, label), right=True)

    columns = [column for column in _COLUMNS if column.heading not in {"created", "data set"}]
    size = Column("MB", lambda row: f"{row['size_bytes'] / 1e6:.1f}", right=True)
    parameters = Column("parameters", lambda row: f"{row['parameter_count']:,}", right=True)
    return [*columns, *(f1_of(label) for label in LABELS), parameters, size]
