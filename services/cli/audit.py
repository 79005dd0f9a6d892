"""``braintumor audit``: list, show, review, verify, export."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Final

import typer

from core.labels import TumourLabel
from services.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_LIMIT,
    Address,
    AsJson,
    Limit,
    resource,
)
from services.cli.output import Column, Output, Row, short, when
from services.cli.pages import PIPE
from services.cli.session import ALL_ANSWERED, LOG_BROKEN, Session, session

app = typer.Typer(no_args_is_help=True, help="What was asked and answered, tamper-evident.")

Name = Annotated[str, typer.Argument(metavar="P", help="P or predictions/P.")]
Filter = Annotated[
    str,
    typer.Option(
        "--filter",
        metavar="F",
        help='For example: label = "glioma" AND create_time > "2026-01-31". Fields: '
        "create_time, label, decision, outcome, status, model_version, image_sha256, caller, "
        "request_id.",
    ),
]

_COLUMNS: Final = (
    Column("no.", lambda row: str(row["sequence"]), right=True),
    Column("time", when),
    Column("prediction", lambda row: short(row["prediction"])),
    Column("label", lambda row: row["label"] or ""),
    Column("probability", lambda row: _probability(row), right=True),
    Column("decision", lambda row: row["decision"] or ""),
    Column("outcome", lambda row: _outcome(row)),
    Column("model", lambda row: short(row["model_version"])),
    Column("caller", lambda row: row["caller"] or ""),
    Column("image", lambda row: (row["image_sha256"] or "")[:12]),
)


@app.command("list")
def list_(
    filter_: Filter = "",
    limit: Limit = DEFAULT_LIMIT,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """List classifications, newest first."""
    with session(address, as_json) as connected:
        rows = predictions(connected, filter_, limit)
        if as_json:
            for row in rows:
                connected.out.row(row)
        else:
            empty = "Nothing was asked." if not filter_ else "Nothing matches the filter."
            connected.out.results(list(rows), _COLUMNS, empty=empty)


@app.command("show")
def show(name: Name, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Show one classification with its reviews."""
    from braintumor.v1 import audit_pb2

    from services.cli.rows import reviewed_row

    with session(address, as_json) as connected:
        client = connected.client
        request = audit_pb2.GetPredictionRequest(name=resource("predictions", name))
        found = client.call(client.audit.GetPrediction, request).prediction
        fields = reviewed_row(found)
        if as_json:
            connected.out.row(fields)
        else:
            connected.out.fields(_facts(fields))


@app.command("review")
def review(
    name: Name,
    agrees: Annotated[
        bool | None,
        typer.Option(
            "--agree/--disagree", help="Whether the prediction is right; --label says it too."
        ),
    ] = None,
    label: Annotated[
        TumourLabel | None, typer.Option("--label", help="The right class, if you know it.")
    ] = None,
    comment: Annotated[
        str, typer.Option("--comment", metavar="TEXT", help="No patient's name.")
    ] = "",
    reviewer: Annotated[
        str, typer.Option("--reviewer", metavar="WHO", help="Default: the caller.")
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Record a person's verdict beside a classification."""
    from functools import partial
    from uuid import uuid4

    from braintumor.v1 import audit_pb2, labels_pb2

    from services.cli.client import with_retries
    from services.cli.rows import row

    if agrees is None and label is None:
        raise typer.BadParameter("Say --agree or --disagree, or give the right --label.")
    number = labels_pb2.TumorLabel.Value(f"TUMOR_LABEL_{label.upper()}") if label else 0
    verdict = audit_pb2.Review(
        reviewer=reviewer,
        agrees=agrees,
        label=number,  # type: ignore[arg-type]
        comment=comment,
    )
    full = resource("predictions", name)
    request = audit_pb2.RecordReviewRequest(name=full, review=verdict, request_id=str(uuid4()))
    with session(address, as_json) as connected:
        client = connected.client
        client.check_reachable()
        call = partial(client.call, client.audit.RecordReview, request)
        recorded = with_retries(call).review
        if as_json:
            connected.out.row({"prediction": full, **row(recorded)})
        else:
            connected.out.line(f"The review of {full} is recorded.")


@app.command("verify")
def verify(address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Check the whole log; exit 4 and name the first bad row if it was tampered with.

    Exit 1 or 3 means that it could not be checked.
    """
    with session(address, as_json) as connected:
        fields = verified(connected)
        out = connected.out
        if as_json:
            out.row(fields)
        elif fields["intact"]:
            out.line(f"The audit log is intact: {fields['rows_checked']} rows checked.")
        else:
            out.problem(_broken(fields))
        raise typer.Exit(ALL_ANSWERED if fields["intact"] else LOG_BROKEN)


@app.command("export")
def export(
    filter_: Filter = "",
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where to write it; - is a pipe.")
    ] = PIPE,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Write every matching classification with its reviews as JSON Lines, oldest first."""
    import json

    from braintumor.v1 import audit_pb2

    from services.cli.rows import reviewed_row

    request = audit_pb2.ExportPredictionsRequest(filter=filter_)
    with session(address, as_json) as connected:
        client, count = connected.client, 0
        answers = client.stream(client.audit.ExportPredictions, request)
        with _sink(output) as sink:
            for answer in answers:
                sink.write(json.dumps(reviewed_row(answer.prediction)) + "\n")
                count += 1
        where = "" if output == PIPE else f" to {output}"
        connected.out.note(f"{count} rows exported{where}.")


def predictions(connected: Session, filter_: str, limit: int) -> Iterator[Row]:
    """Rows of the log, newest first. Raises ``ServerRefused``."""
    from braintumor.v1 import audit_pb2

    from services.cli.paging import listed
    from services.cli.rows import prediction_row

    client = connected.client

    def fetch(size: int, token: str) -> tuple[Any, str]:
        request = audit_pb2.ListPredictionsRequest(page_size=size, page_token=token, filter=filter_)
        page = client.call(client.audit.ListPredictions, request)
        return page.predictions, page.next_page_token

    return (prediction_row(found) for found in listed(fetch, limit))


def verified(connected: Session) -> Row:
    """What the server finds when it checks the chain; ``broken_at`` is null if it is whole."""
    from braintumor.v1 import audit_pb2

    from services.cli.client import SLOW_SECONDS
    from services.cli.rows import row

    client = connected.client
    request = audit_pb2.VerifyAuditLogRequest()
    fields = row(client.call(client.audit.VerifyAuditLog, request, timeout=SLOW_SECONDS))
    return fields | {"broken_at": fields["broken_at"] or None}


def show_predictions(out: Output, rows: list[Row]) -> None:
    """The rows as a table."""
    out.table(rows, _COLUMNS)


@contextmanager
def _sink(output: Path) -> Iterator[IO[str]]:
    if output == PIPE:
        import sys

        yield sys.stdout
        return
    unfinished = output.with_name(f"{output.name}.part")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            yield file
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)


def _facts(row: Row) -> list[tuple[str, str]]:
    facts = [
        (name.replace("_", " "), _plain(value))
        for name, value in row.items()
        if name not in {"probabilities", "reviews", "regions"} and value is not None
    ]
    facts += [
        (f"p({label})", f"{probability:.4f}") for label, probability in row["probabilities"].items()
    ]
    facts += [("region", text) for text in _region_texts(row["regions"])]
    return facts + [("review", _review_text(review)) for review in row["reviews"]]


def _region_texts(regions: list[Row] | None) -> list[str]:
    """A line each; none where nothing was to be outlined, or could be."""
    if regions is None:
        return []
    return [_region_text(region) for region in regions] or ["none"]


def _region_text(region: Row) -> str:
    x0, y0, x1, y1 = region["box"]
    area = f"{region['area_px']} px"
    if region["area_mm2"] is not None:
        area += f" ({region['area_mm2']:.1f} mm2)"
    return f"x {x0} to {x1}, y {y0} to {y1}, {area}, score {region['score']:.3f}"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _review_text(review: Row) -> str:
    verdict = "agrees" if review["agrees"] else "disagrees"
    label = f", says {review['label']}" if review["label"] else ""
    comment = f": {review['comment']}" if review["comment"] else ""
    by_another = review["caller"] not in {None, review["reviewer"]}
    sender = f" (sent by {review['caller']})" if by_another else ""
    return f"{review['create_time']} {review['reviewer']}{sender} {verdict}{label}{comment}"


def _probability(row: Row) -> str:
    return f"{row['probabilities'][row['label']]:.1%}" if row["label"] else ""


def _outcome(row: Row) -> str:
    if row["outcome"] == "ANSWERED":
        return "ANSWERED"
    return f"{row['outcome']} {row['error_reason'] or row['status'] or ''}".rstrip()


def _broken(fields: Row) -> str:
    where = f" ({fields['broken_prediction']})" if fields["broken_prediction"] else ""
    return (
        f"The audit log is broken at row {fields['broken_at']}{where}: {fields['problem']}. "
        f"{fields['rows_checked']} rows before it are in order."
    )
