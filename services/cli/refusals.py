"""What a failed call means: gRPC errors as plain data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

RETRYABLE: Final = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED"})
"""Statuses after which the same request may be sent again, with the same request id."""

_MORE: Final = re.compile(r"and \d+ more")
_FILE_STATUS: Final = {FileNotFoundError: "NOT_FOUND", PermissionError: "PERMISSION_DENIED"}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why there is no answer.

    ``reason`` is the stable name from ErrorInfo, ``metadata`` its particulars; both are empty if
    the error did not come from the server's own code but from the way there. ``violations`` are
    fields and what is wrong with them; the last may have no field and say how many were left out.
    ``retry_after`` is in seconds.
    """

    status: str
    message: str
    reason: str = ""
    violations: tuple[tuple[str, str], ...] = ()
    retry_after: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        """Whether the scan was classified all the same, and only its tumour not outlined."""
        return "prediction" in self.metadata

    @property
    def retryable(self) -> bool:
        return self.status in RETRYABLE

    @property
    def unreachable(self) -> bool:
        """Whether the request never got to a server that could refuse it."""
        return self.status == "UNAVAILABLE" and not self.reason

    def as_row(self) -> dict[str, str | None]:
        """What the row of a scan says of it."""
        return {
            "status": self.status,
            "reason": self.reason or None,
            "message": self.message,
        }

    def as_error(self) -> dict[str, Any]:
        """All that a program may want to know; what is not given is null."""
        violations = [
            {"field": field or None, "description": text} for field, text in self.violations
        ]
        return {**self.as_row(), "violations": violations}


class ServerRefused(Exception):
    """A call failed."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.status}: {refusal.message}")
        self.refusal: Final = refusal


def refusal_of(error: grpc.RpcError) -> Refusal:
    """The refusal that a failed call carries."""
    status = _rich_status(error)
    if status is not None:
        return refusal_from_status(status)
    return Refusal(status=error.code().name, message=error.details() or "no further explanation")


def refusal_from_status(status: status_pb2.Status) -> Refusal:
    """The refusal that a ``google.rpc.Status`` describes."""
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    _unpack(status, info)
    _unpack(status, bad_request)
    waits = _unpack(status, retry)
    return Refusal(
        status=_code_name(status.code),
        message=status.message,
        reason=info.reason,
        metadata=dict(info.metadata),
        violations=tuple(_violation(v) for v in bad_request.field_violations),
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if waits else None,
    )


def file_status(error: OSError) -> str:
    """The status for a file on this side that cannot be used."""
    return _FILE_STATUS.get(type(error), "UNKNOWN")


def _violation(found: error_details_pb2.BadRequest.FieldViolation) -> tuple[str, str]:
    """Field and description; how many were left out stands under a field that it is not about."""
    return ("" if _MORE.fullmatch(found.description) else found.field), found.description


def _rich_status(error: Any) -> status_pb2.Status | None:
    try:
        return rpc_status.from_call(error)
    except (ValueError, DecodeError):  # the details are of another status, or garbled
        return None


def _unpack(status: status_pb2.Status, into: Message) -> bool:
    return any(detail.Unpack(into) for detail in status.details if detail.Is(into.DESCRIPTOR))


def _code_name(number: int) -> str:
    known = {code.value[0]: code.name for code in grpc.StatusCode}
    return known.get(number, "UNKNOWN")
