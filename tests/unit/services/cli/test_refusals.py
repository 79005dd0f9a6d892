"""What a failed call means, read back from what the server's own code sends."""

from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from core.errors import (
    FieldViolation,
    InvalidArgument,
    NotFound,
    Overloaded,
    SegmentationFailed,
    WorkerLost,
)
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
