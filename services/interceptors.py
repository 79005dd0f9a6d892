"""Around every call: its identity, one line in the log, and its errors as gRPC statuses."""

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final

import grpc
import structlog
from google.rpc import status_pb2

from core.errors import BrainTumorError
from services.call import REQUEST_ID, Call, call_from_metadata, serving
from services.failures import presentable
from services.status import rich_status, status_of

log = structlog.stdlib.get_logger(__name__)

_DETAILS: Final = "grpc-status-details-bin"
_PROBES: Final = ("/grpc.health.", "/grpc.reflection.")
"""Asked every few seconds by machines; not worth a line each."""

Around = Callable[[grpc.aio.ServicerContext[Any, Any]], AbstractAsyncContextManager[None]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps each handler once. Its handlers must be coroutines or asynchronous generators."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:  # gRPC answers UNIMPLEMENTED by itself
            return None
        details = handler_call_details
        call = call_from_metadata(details.method, details.invocation_metadata or ())
        return _wrapped(handler, partial(_served, call))


@asynccontextmanager
async def _served(call: Call, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
    started = time.monotonic()
    status, reason = "CANCELLED", ""  # unless the block ends by itself
    with serving(call), structlog.contextvars.bound_contextvars(request_id=call.request_id):
        try:
            yield
            status = "OK"
        except grpc.aio.AbortError:  # gRPC's own services abort by themselves
            status = "ABORTED"
            raise
        except Exception as raised:
            error = presentable(raised, call.request_id)
            status, reason = status_of(error).name, error.reason
            await _abort(error, call.request_id, context)
        finally:
            _log_call(call, status, reason, time.monotonic() - started)


async def _abort(
    error: BrainTumorError, request_id: str, context: grpc.aio.ServicerContext[Any, Any]
) -> None:
    rich: status_pb2.Status = rich_status(error, request_id)
    metadata = ((_DETAILS, rich.SerializeToString()), (REQUEST_ID, request_id))
    await context.abort(status_of(error), rich.message, metadata)


def _log_call(call: Call, status: str, reason: str, seconds: float) -> None:
    # Neither messages nor requests: they may hold file names.
    write = log.debug if call.method.startswith(_PROBES) else log.info
    fields = {"reason": reason} if reason else {}
    write(
        "call",
        method=call.method,
        caller=call.caller,
        status=status,
        ms=round(seconds * 1000, 1),
        **fields,
    )


def _wrapped(handler: Any, around: Around) -> Any:
    codecs = {
        "request_deserializer": handler.request_deserializer,
        "response_serializer": handler.response_serializer,
    }
    if handler.response_streaming:
        if handler.request_streaming:
            behaviour = _streaming(handler.stream_stream, around)
            return grpc.stream_stream_rpc_method_handler(behaviour, **codecs)
        behaviour = _streaming(handler.unary_stream, around)
        return grpc.unary_stream_rpc_method_handler(behaviour, **codecs)
    if handler.request_streaming:
        behaviour = _answering(handler.stream_unary, around)
        return grpc.stream_unary_rpc_method_handler(behaviour, **codecs)
    behaviour = _answering(handler.unary_unary, around)
    return grpc.unary_unary_rpc_method_handler(behaviour, **codecs)


def _answering(inner: Callable[..., Awaitable[Any]], around: Around) -> Callable[..., Any]:
    async def behaviour(request: Any, context: Any) -> Any:
        async with around(context):
            return await inner(request, context)

    return behaviour


def _streaming(inner: Callable[..., Any], around: Around) -> Callable[..., Any]:
    async def behaviour(request: Any, context: Any) -> None:
        async with around(context):
            answers = inner(request, context)
            if inspect.isawaitable(answers):  # it writes by itself
                await answers
                return
            async with aclosing(answers):
                async for answer in answers:
                    await context.write(answer)

    return behaviour
