"""``braintumor datasets``: upload, import, list, show, audit, delete."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from core.source_names import dataset_id_from, is_archive
from services.cli.audit_facts import audit_facts
from services.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_LIMIT,
    Address,
    AsJson,
    Limit,
    resource,
    resource_id,
)
from services.cli.output import Column, Output, Row, short, when
from services.cli.pages import write_page
from services.cli.session import Session, bad_usage, session

if TYPE_CHECKING:
    from services.cli.upload import UploadPlan

app = typer.Typer(no_args_is_help=True, help="Labelled scans to train on.")

_NAMED: Final = 5
"""Files that a message names before it counts the rest."""
_COLUMNS: Final = (
    Column("name", lambda row: short(row["name"])),
    Column("created", when),
    Column("scans", lambda row: str(row["item_count"]), right=True),
    Column("groups", lambda row: str(row["group_count"]), right=True),
    Column("classes", lambda row: counted(row["class_counts"])),
)

Name = Annotated[str, typer.Argument(metavar="N", help="N or datasets/N.")]
NewName = Annotated[
    str, typer.Option("--name", metavar="N", help="Its name; default: taken from the source.")
]
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="Leave out files that cannot be used instead of refusing all."),
]


@app.command("upload")
def upload(
    path: Annotated[
        Path, typer.Argument(exists=True, help="A folder with a folder per class, a zip or a tar.")
    ],
    name: NewName = "",
    skip_bad: SkipBad = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Send a data set to the server."""
    from services.cli.upload import plan_upload

    if path.is_file() and not is_archive(path.name):
        raise bad_usage(f"{path} is neither a folder nor a .zip or .tar archive.")
    given = resource_id("datasets", name)
    dataset_id = given if name else dataset_id_from(path.resolve().name)
    with session(address, as_json) as connected:
        plan = plan_upload(path)
        if not plan.files:
            raise bad_usage(f"There are no pictures (JPEG, PNG, BMP, TIFF, WebP) in {path}.")
        if plan.left_out:
            connected.out.note(f"Not sent, since they are no pictures: {_some(plan.left_out)}.")
        if plan.unnamed:
            pictures = "1 picture" if len(plan.unnamed) == 1 else f"{len(plan.unnamed)} pictures"
            connected.out.note(
                f"manifest.csv does not name {pictures}, which will be left out: "
                f"{_some(plan.unnamed)}. Name there what belongs to the data set, or, if its "
                "folders tell the class of everything, upload it without a manifest."
            )
        dataset = send(connected, plan, dataset_id, skip_bad=skip_bad)
        show_dataset(connected.out, dataset)
        _say_if_known(connected.out, dataset)


@app.command("import")
def import_(
    uri: Annotated[
        str, typer.Argument(metavar="URI", help="A URI, or a path, that the server can read.")
    ],
    name: NewName = "",
    skip_bad: SkipBad = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Have the server read a data set by itself."""
    from uuid import uuid4

    from braintumor.v1 import datasets_pb2

    request = datasets_pb2.ImportDatasetRequest(
        dataset_id=resource_id("datasets", name),
        uri=_as_uri(uri),
        request_id=str(uuid4()),
        on_bad_file=_on_bad_file(skip_bad),
    )
    with session(address, as_json) as connected:
        client = connected.client
        response = client.call(client.datasets.ImportDataset, request, timeout=None)
        show_dataset(connected.out, response.dataset)
        _say_if_known(connected.out, response.dataset)


@app.command("list")
def list_(
    limit: Limit = DEFAULT_LIMIT, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False
) -> None:
    """List data sets, newest first."""
    from braintumor.v1 import datasets_pb2

    from services.cli.paging import listed
    from services.cli.rows import row

    with session(address, as_json) as connected:
        client = connected.client

        def fetch(size: int, token: str) -> tuple[Any, str]:
            request = datasets_pb2.ListDatasetsRequest(page_size=size, page_token=token)
            page = client.call(client.datasets.ListDatasets, request)
            return page.datasets, page.next_page_token

        rows = [row(dataset) for dataset in listed(fetch, limit)]
        empty = "No data sets yet. Try: braintumor datasets upload PATH"
        connected.out.results(rows, _COLUMNS, empty=empty)


@app.command("show")
def show(name: Name, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Show one data set and what its audit found."""
    from braintumor.v1 import datasets_pb2

    with session(address, as_json) as connected:
        client = connected.client
        request = datasets_pb2.GetDatasetRequest(name=resource("datasets", name))
        show_dataset(connected.out, client.call(client.datasets.GetDataset, request).dataset)


@app.command("audit")
def audit(
    name: Name,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where to write it; - is a pipe.")
    ],
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Write the audit of a data set as a page to read, with example pictures (HTML)."""
    from braintumor.v1 import datasets_pb2

    full = resource("datasets", name)
    with session(address, as_json) as connected:
        client = connected.client
        request = datasets_pb2.GetDatasetAuditReportRequest(name=full)
        answer = client.call(client.datasets.GetDatasetAuditReport, request)
        write_page(connected.out, answer.content, output, what="audit", name=full)


@app.command("delete")
def delete(name: Name, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Delete a data set that no unfinished training job needs."""
    from braintumor.v1 import datasets_pb2

    full = resource("datasets", name)
    with session(address, as_json) as connected:
        client = connected.client
        client.call(client.datasets.DeleteDataset, datasets_pb2.DeleteDatasetRequest(name=full))
        if as_json:
            connected.out.row({"name": full, "deleted": True})
        else:
            connected.out.line(f"{full} is deleted.")
            connected.out.note(
                "Its pictures stay in the store until an operator removes what no data set has: "
                "python -m workers.curation.unused"
            )


def _some(names: Sequence[str]) -> str:
    """The first few of them, and how many others there are."""
    others = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {others} more" if others > 0 else "")


def send(connected: Session, plan: "UploadPlan", dataset_id: str, *, skip_bad: bool) -> Any:
    """Upload the files; the accepted ``Dataset``. Raises ``ServerRefused``."""
    from contextlib import nullcontext
    from uuid import uuid4

    from braintumor.v1 import datasets_pb2

    from services.cli.progress import transferring
    from services.cli.upload import upload_messages

    header = datasets_pb2.UploadHeader(
        dataset_id=dataset_id, request_id=str(uuid4()), on_bad_file=_on_bad_file(skip_bad)
    )
    out, client = connected.out, connected.client
    bar: Any = nullcontext(lambda _count: None)
    if out.lively:
        bar = transferring(out.error_console(), "Uploading", plan.size_bytes)
    with bar as sent:
        messages = upload_messages(plan, header, sent)
        return client.call(client.datasets.UploadDataset, messages, timeout=None).dataset


def _on_bad_file(skip: bool) -> Any:
    from braintumor.v1 import datasets_pb2

    return datasets_pb2.ON_BAD_FILE_SKIP if skip else datasets_pb2.ON_BAD_FILE_REFUSE


def _as_uri(text: str) -> str:
    if "://" in text:
        return text
    path = Path(text).expanduser().resolve()
    if not path.exists():
        raise bad_usage(f"{text} does not exist. Give a path or a URI such as s3://bucket/folder.")
    return path.as_uri()


def show_dataset(out: Output, dataset: Any) -> None:
    from services.cli.rows import row

    fields = row(dataset)
    if out.as_json:
        out.row(fields)
    else:
        out.fields(_facts(fields))


def _say_if_known(out: Output, dataset: Any) -> None:
    if dataset.same_as:
        out.note(
            f"{dataset.same_as[0]} held the same data before. To remove this one again: "
            f"braintumor datasets delete {dataset.name.removeprefix('datasets/')}"
        )


def _facts(row: Row) -> list[tuple[str, str]]:
    facts = [
        ("name", row["name"]),
        ("created", row["create_time"] or ""),
        ("source", row["source"] or ""),
        ("scans", f"{row['item_count']} ({row['size_bytes'] / 1e6:.1f} MB)"),
        ("classes", counted(row["class_counts"])),
        ("groups", str(row["group_count"] or "none named")),
        ("own test split", "yes" if row["has_given_split"] else "no"),
        ("duplicates", str(row["duplicate_count"])),
        ("masks", str(row["mask_count"])),
        ("digest", row["digest"]),
    ]
    left_out = [("left out", f"{r['path']}: {r['problem']}") for r in row["rejected_files"]]
    others = row["rejected_count"] - len(left_out)
    if others > 0:
        left_out.append(("left out", f"and {others} more"))
    if row["same_as"]:
        facts.append(("same data as", ", ".join(row["same_as"])))
    return facts + left_out + audit_facts(row["audit"]) + _page_of(row)


def _page_of(row: Row) -> list[tuple[str, str]]:
    """Where to look at what the warnings are about."""
    if not row["audit"] or not row["audit"]["warnings"]:
        return []
    short = row["name"].removeprefix("datasets/")
    return [("pictures of these", f"braintumor datasets audit {short} --output page.html")]


def counted(counts: dict[str, int]) -> str:
    """``glioma 3, pituitary 4``."""
    return ", ".join(f"{label} {count}" for label, count in counts.items())
