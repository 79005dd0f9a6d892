import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from core import errors
from core.errors import (
    BrainTumorError,
    DatasetRefused,
    FieldViolation,
    ImageProblem,
    ImageRefused,
    InvalidArgument,
    NotFound,
    Overloaded,
    RejectedFile,
    all_errors,
)
from services.status import STATUS, rich_status, status_of

EXPECTED = {
    "InvalidArgument": "INVALID_ARGUMENT",
    "ImageRefused": "INVALID_ARGUMENT",
    "DatasetRefused": "INVALID_ARGUMENT",
    "NotFound": "NOT_FOUND",
    "AlreadyExists": "ALREADY_EXISTS",
    "RequestIdReused": "ALREADY_EXISTS",
    "FailedPrecondition": "FAILED_PRECONDITION",
    "NoProductionModel": "FAILED_PRECONDITION",
    "SegmenterNotRegistered": "FAILED_PRECONDITION",
    "WrongTask": "FAILED_PRECONDITION",
    "IllegalTransition": "FAILED_PRECONDITION",
    "InUse": "FAILED_PRECONDITION",
    "NothingToRollBackTo": "FAILED_PRECONDITION",
    "AliasMoved": "FAILED_PRECONDITION",
    "NotFitToServe": "FAILED_PRECONDITION",
    "WorseThanProduction": "FAILED_PRECONDITION",
    "ExportDiffers": "FAILED_PRECONDITION",
    "Overloaded": "RESOURCE_EXHAUSTED",
    "DeadlinePassed": "DEADLINE_EXCEEDED",
    "Unavailable": "UNAVAILABLE",
    "BrokerUnavailable": "UNAVAILABLE",
    "StoreUnavailable": "UNAVAILABLE",
    "WorkerLost": "UNAVAILABLE",
    "NoWorker": "UNAVAILABLE",
    "NotSupported": "UNIMPLEMENTED",
    "ArtefactCorrupt": "DATA_LOSS",
    "SegmenterCorrupt": "DATA_LOSS",
    "TrainingCancelled": "CANCELLED",
}
SAMPLES: dict[str, Any] = {
    "violations": (FieldViolation("a.b", "is wrong"),),
    "problem": errors.ImageProblem.EMPTY,
    "low": -0.04,
    "high": -0.01,
    "slices": 400,
    "difference": 0.02,
    "allowed": 0.001,
}


def sample(kind: type[BrainTumorError]) -> BrainTumorError:
    required = [
        name
        for name, field in kind.__dataclass_fields__.items()
        if field.default is field.default_factory
    ]
    return kind(*(SAMPLES.get(name, f"datasets/{name}") for name in required))


def details(status: status_pb2.Status, kind: Any) -> list[Any]:
    found = []
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_has_its_status_and_its_details(kind: type[BrainTumorError]) -> None:
    assert kind in STATUS
    error = sample(kind)
    code = status_of(error)
    assert code.name == EXPECTED.get(kind.__name__, "INTERNAL")
    status = rich_status(error, "r1")
    assert (status.code, status.message) == (code.value[0], error.message)
    (info,) = details(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (error.reason, "braintumor.dev")
    assert dict(info.metadata) == error.metadata
    (request_info,) = details(status, error_details_pb2.RequestInfo)
    assert request_info.request_id == "r1"
    bad_requests = details(status, error_details_pb2.BadRequest)
    assert bool(bad_requests) == (code is grpc.StatusCode.INVALID_ARGUMENT)
    assert all(bad_request.field_violations for bad_request in bad_requests)
    may_retry = code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert bool(details(status, error_details_pb2.RetryInfo)) == may_retry


def reasons_in_the_page() -> set[tuple[str, str]]:
    """Status and reason, from the table of docs/errors.md."""
    page = (Path(__file__).parents[3] / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| (`[^|]+`) \|", page, re.MULTILINE)
    return {(status, reason) for status, cell in rows for reason in re.findall(r"`(\w+)`", cell)}


def test_the_page_of_errors_names_every_reason() -> None:
    found = {(status_of(error).name, error.reason) for error in map(sample, all_errors())}
    found |= {("INVALID_ARGUMENT", ImageRefused(p, "").reason) for p in ImageProblem}
    names = ("datasets/d", "trainingJobs/j", "modelVersions/m", "predictions/p")
    found |= {("NOT_FOUND", NotFound(name).reason) for name in (*names, "other")}
    assert reasons_in_the_page() == found


def test_overload_says_when_to_come_back() -> None:
    (retry,) = details(rich_status(Overloaded(2.5), ""), error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 2.5


def test_many_violations_are_counted() -> None:
    rejected = tuple(RejectedFile(f"{n}", "bad") for n in range(200))
    (bad,) = details(rich_status(DatasetRefused("bad", rejected), ""), error_details_pb2.BadRequest)
    assert len(bad.field_violations) == 51
    assert bad.field_violations[0].field == "files[0]"
    assert bad.field_violations[50].description == "and 150 more"


@pytest.mark.parametrize(("named", "told"), [(100, 50), (3, 3)])
def test_files_that_the_error_does_not_name_are_counted_too(named: int, told: int) -> None:
    rejected = tuple(RejectedFile(f"{n}", "bad") for n in range(named))
    error = DatasetRefused("250 are bad", rejected, more=250 - named)
    (bad,) = details(rich_status(error, ""), error_details_pb2.BadRequest)
    *shown, last = bad.field_violations
    assert len(shown) == told
    assert last.description == f"and {250 - told} more"


@pytest.mark.parametrize(
    "error",
    [
        DatasetRefused(
            "bad", tuple(RejectedFile("Bär/" * 250 + str(n), "ü" * 400) for n in range(200))
        ),
        InvalidArgument.of("filter", "\N{BRAIN}" * 100_000),
        NotFound("modelVersions/" + "x" * 1_000_000),
        NotFound("modelVersions/\ud800" * 1000),
    ],
)
def test_the_status_fits_into_metadata_whatever_the_request_held(error: BrainTumorError) -> None:
    status = rich_status(error, "r" * 128)
    assert len(status.SerializeToString()) < 4500
    assert len(status.message.encode()) <= 600
