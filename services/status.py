"""Which gRPC status each error becomes, and the details that travel with it.

Details travel in trailing metadata, and a client gives up on more than 8 KiB of that. So texts
are shortened and violations left out until the status fits, whatever a request put into them.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from core import errors
from core.errors import BrainTumorError, FieldViolation

DOMAIN: Final = "braintumor.dev"
MAX_VIOLATIONS: Final = 50
RETRY_SECONDS: Final = 1.0
"""When to come back after something was away."""

_MESSAGE_BYTES: Final = 600
"""UTF-8; it travels a second time as ``grpc-message``, where a byte may take three."""
_TEXT_BYTES: Final = 300
_VIOLATION_BYTES: Final = 2500
_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"

STATUS: Final[Mapping[type[BrainTumorError], grpc.StatusCode]] = {
    errors.BrainTumorError: grpc.StatusCode.INTERNAL,
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ImageRefused: grpc.StatusCode.INVALID_ARGUMENT,
    errors.DatasetRefused: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.RequestIdReused: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NoProductionModel: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SegmenterNotRegistered: grpc.StatusCode.FAILED_PRECONDITION,
    errors.WrongTask: grpc.StatusCode.FAILED_PRECONDITION,
    errors.IllegalTransition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.InUse: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NothingToRollBackTo: grpc.StatusCode.FAILED_PRECONDITION,
    errors.AliasMoved: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotFitToServe: grpc.StatusCode.FAILED_PRECONDITION,
    errors.WorseThanProduction: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ExportDiffers: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlinePassed: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.BrokerUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.WorkerLost: grpc.StatusCode.UNAVAILABLE,
    errors.NoWorker: grpc.StatusCode.UNAVAILABLE,
    errors.NotSupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.ArtefactCorrupt: grpc.StatusCode.DATA_LOSS,
    errors.SegmenterCorrupt: grpc.StatusCode.DATA_LOSS,
    errors.TrainingFailed: grpc.StatusCode.INTERNAL,
    errors.PretrainedWeightsUnavailable: grpc.StatusCode.INTERNAL,
    errors.TrainingCancelled: grpc.StatusCode.CANCELLED,
    errors.InternalError: grpc.StatusCode.INTERNAL,
    errors.SegmentationFailed: grpc.StatusCode.INTERNAL,
    errors.AnsweredWithoutRegions: grpc.StatusCode.INTERNAL,
}


def status_of(error: BrainTumorError) -> grpc.StatusCode:
    """The gRPC status of an error."""
    return STATUS[type(error)]


def rich_status(error: BrainTumorError, request_id: str) -> status_pb2.Status:
    """The error as ``google.rpc.Status``: code, message, ErrorInfo and what else applies."""
    code = status_of(error)
    metadata = {name: _cut(value, _TEXT_BYTES) for name, value in error.metadata.items()}
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata),
        error_details_pb2.RequestInfo(request_id=request_id),
    ]
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        more = error.more if isinstance(error, errors.DatasetRefused) else 0
        details.append(_bad_request(_violations(error), more))
    if isinstance(error, errors.Overloaded):
        details.append(_retry_info(error.retry_after))
    elif isinstance(error, errors.Unavailable):
        details.append(_retry_info(RETRY_SECONDS))
    return status_pb2.Status(
        code=code.value[0],
        message=_cut(error.message, _MESSAGE_BYTES),
        details=[_packed(detail) for detail in details],
    )


def _violations(error: BrainTumorError) -> tuple[FieldViolation, ...]:
    if isinstance(error, errors.InvalidArgument | errors.ImageRefused | errors.DatasetRefused):
        return error.violations
    return ()


def _bad_request(violations: tuple[FieldViolation, ...], more: int) -> Message:
    bad_request: Message = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in _fitting(violations, more)
        ]
    )
    return bad_request


def _fitting(violations: tuple[FieldViolation, ...], more: int) -> Iterator[FieldViolation]:
    """As many as there is room for, and at the end how many were left out.

    ``more`` were left out already by whoever found them.
    """
    room = _VIOLATION_BYTES
    for count, violation in enumerate(violations):
        shown = FieldViolation(
            _cut(violation.field, _TEXT_BYTES), _cut(violation.description, _TEXT_BYTES)
        )
        room -= len(shown.field.encode()) + len(shown.description.encode())
        if count == MAX_VIOLATIONS or room < 0:
            yield FieldViolation(shown.field, f"and {len(violations) - count + more} more")
            return
        yield shown
    if more:
        yield FieldViolation(shown.field, f"and {more} more")


def _cut(text: str, size: int) -> str:
    """The text, shortened to ``size`` bytes of UTF-8 if it has more."""
    data = text.encode(errors="replace")
    if len(data) <= size:
        return data.decode()
    return data[: size - len(_ELLIPSIS.encode())].decode(errors="ignore") + _ELLIPSIS


def _retry_info(seconds: float) -> Message:
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(round(seconds * 1000))
    retry_info: Message = error_details_pb2.RetryInfo(retry_delay=delay)
    return retry_info


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
