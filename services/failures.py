"""What a caller may see of an error, and what stays in the log."""

import structlog

from core.errors import BrainTumorError, InternalError

log = structlog.stdlib.get_logger(__name__)


def presentable(error: Exception, request_id: str) -> BrainTumorError:
    """The error as its caller may see it.

    One that nobody foresaw becomes ``InternalError``, which names the request and nothing else;
    its trace goes to the log.
    """
    if isinstance(error, InternalError):  # a worker's: the trace is in its log, under its own id
        log.error("worker_failed", request_id=request_id, trace=error.request_id)
        return InternalError(request_id)
    if isinstance(error, BrainTumorError):
        return error
    log.error("internal_error", request_id=request_id, exc_info=error)
    return InternalError(request_id)
