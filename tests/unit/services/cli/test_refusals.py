"""What a failed call means, read back from what the server's own code sends."""

from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from core.errors import (
    DatasetRefused,
    FieldViolation,
    ImageProblem,
    ImageRefused,
    InvalidArgument,
    NotFound,
    Overloaded,
    RejectedFile,
    SegmentationFailed,
    WorkerLost,
)
from services.cli.refusal_words import refusal_lines
from services.cli.refusals import Refusal, refusal_from_status, refusal_of
from services.status import rich_status


def test_fields_at_fault_are_listed() -> None:
    error = InvalidArgument((FieldViolation("spec.epochs", "must be more"),))
    refusal = refusal_from_status(rich_status(error, "r1"))
    assert refusal.status == "INVALID_ARGUMENT"
    assert refusal.reason == "INVALID_ARGUMENT"
    assert refusal.violations == (("spec.epochs", "must be more"),)
    assert not refusal.retryable


def test_a_scan_that_was_only_not_outlined_was_answered() -> None:
    error = SegmentationFailed("predictions/p")
    refusal = refusal_from_status(rich_status(error, "r1"))
    assert refusal.answered
    assert refusal.metadata == {"prediction": "predictions/p"}
    assert not refusal_from_status(rich_status(NotFound("modelVersions/m"), "r1")).answered


@pytest.mark.parametrize(("error", "seconds"), [(Overloaded(2.5), 2.5), (WorkerLost(), 1.0)])
def test_the_server_says_when_to_come_back(error: Any, seconds: float) -> None:
    refusal = refusal_from_status(rich_status(error, "r1"))
    assert refusal.retry_after == seconds
    assert refusal.retryable
    assert not refusal.unreachable


def test_a_missing_thing_is_neither_retried_nor_unreachable() -> None:
    refusal = refusal_from_status(rich_status(NotFound("datasets/x"), "r1"))
    assert (refusal.status, refusal.reason) == ("NOT_FOUND", "DATASET_NOT_FOUND")
    assert not refusal.retryable
    assert refusal.retry_after is None


def test_unavailable_without_a_word_from_the_server_is_unreachable() -> None:
    assert Refusal(status="UNAVAILABLE", message="connection refused").unreachable


def test_an_unknown_code_is_unknown() -> None:
    assert refusal_from_status(status_pb2.Status(code=99)).status == "UNKNOWN"


class _Failed(grpc.RpcError):
    def __init__(self, details: bytes | None) -> None:
        self._details = details

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.INTERNAL

    def details(self) -> str:
        return "plain words"

    def trailing_metadata(self) -> Any:
        return (("grpc-status-details-bin", self._details),) if self._details else ()


@pytest.mark.parametrize("details", [None, b"\xff\xff\xff"])
def test_without_readable_details_status_and_words_remain(details: bytes | None) -> None:
    assert refusal_of(_Failed(details)) == Refusal(status="INTERNAL", message="plain words")


def told(error: Any) -> list[str]:
    return refusal_lines(refusal_from_status(rich_status(error, "r1")))


def files(count: int, named: int = 100) -> DatasetRefused:
    """In the words of the worker that takes data sets in, which names some at most."""
    return DatasetRefused(
        f"{count} of its files cannot be used. Mend or remove them, or ask for bad files to be "
        "skipped",
        tuple(RejectedFile(f"glioma/{n:03}.jpg", "is not a picture") for n in range(count)[:named]),
        more=max(count - named, 0),
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NotFound("datasets/x"), "NOT_FOUND: datasets/x does not exist."),
        (InvalidArgument.of("filter", "is too long"), "INVALID_ARGUMENT: filter: is too long"),
        (
            ImageRefused(ImageProblem.EMPTY, "The picture is empty."),
            "INVALID_ARGUMENT: The picture is empty.",
        ),
        (DatasetRefused("has no pictures"), "INVALID_ARGUMENT: has no pictures"),
        (
            files(1),
            "INVALID_ARGUMENT: 1 of its files cannot be used. Mend or remove them, or leave them "
            "out with --skip-bad: glioma/000.jpg: is not a picture",
        ),
    ],
)
def test_a_single_fault_is_told_in_one_line(error: Any, line: str) -> None:
    assert told(error) == [line]


def test_a_single_fault_that_is_cut_is_told_in_one_line() -> None:
    (line,) = told(InvalidArgument.of("filter", "is too long: " + "x" * 900))
    assert line.startswith("INVALID_ARGUMENT: filter: is too long: xxx")


def test_several_fields_have_a_line_each() -> None:
    violations = (FieldViolation("spec.epochs", "more"), FieldViolation("spec.dropout", "less"))
    assert told(InvalidArgument(violations)) == [
        "INVALID_ARGUMENT: several fields are wrong:",
        "  spec.epochs: more",
        "  spec.dropout: less",
    ]


@pytest.mark.parametrize("count", [100, 12_345])
def test_each_bad_file_is_named_once_and_what_was_left_out_stands_alone(count: int) -> None:
    first, *named, last = told(files(count))
    assert first.endswith("leave them out with --skip-bad:")
    assert named == [f"  glioma/{n:03}.jpg: is not a picture" for n in range(len(named))]
    assert last == f"  and {count - len(named)} more"


def test_a_program_is_told_what_is_not_given_as_null() -> None:
    refusal = Refusal(
        status="UNKNOWN", message="odd", violations=(("a", "bad"), ("", "and 2 more"))
    )
    assert refusal.as_error() == {
        "status": "UNKNOWN",
        "reason": None,
        "message": "odd",
        "violations": [
            {"field": "a", "description": "bad"},
            {"field": None, "description": "and 2 more"},
        ],
    }


def test_a_message_that_names_no_field_is_told_whole() -> None:
    refusal = Refusal(
        status="INVALID_ARGUMENT", message="Mend it.", violations=(("a", "odd"), ("b", "even"))
    )
    assert refusal_lines(refusal) == ["INVALID_ARGUMENT: Mend it:", "  a: odd", "  b: even"]
