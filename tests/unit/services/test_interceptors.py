"""The wrapping itself; what it does on the wire is in tests/integration/test_gateway.py."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from structlog.testing import capture_logs

from core.errors import InternalError, NotFound
from services.call import current_call
from services.interceptors import CallInterceptor


class FakeContext:
    """Keeps what a handler tells gRPC."""

    def __init__(self) -> None:
        self.trailing: dict[str, Any] = {}
        self.code: grpc.StatusCode | None = None
        self.message = ""
        self.written: list[Any] = []

    def set_trailing_metadata(self, metadata: Any) -> None:
        self.trailing = dict(metadata)

    async def abort(self, code: grpc.StatusCode, details: str, metadata: Any) -> None:
        self.code, self.message, self.trailing = code, details, dict(metadata)
        raise grpc.aio.AbortError

    async def write(self, message: Any) -> None:
        self.written.append(message)

    @property
    def status(self) -> status_pb2.Status:
        return status_pb2.Status.FromString(self.trailing["grpc-status-details-bin"])


async def intercepted(handler: Any, method: str = "/braintumor.v1.X/Y", **metadata: str) -> Any:
    async def continuation(_: Any) -> Any:
        return handler

    pairs = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
    details: Any = SimpleNamespace(method=method, invocation_metadata=pairs)
    return await CallInterceptor().intercept_service(continuation, details)


def unary(behaviour: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(behaviour)


async def test_the_handler_knows_its_call() -> None:
    async def behaviour(request: str, _: Any) -> tuple[str, str, str]:
        return request, current_call().caller, current_call().request_id

    context = FakeContext()
    handler = await intercepted(unary(behaviour), x_braintumor_caller="ann", x_request_id="r1")
    assert await handler.unary_unary("hello", context) == ("hello", "ann", "r1")
    assert context.trailing == {"x-request-id": "r1"}


async def test_an_unknown_method_stays_unknown() -> None:
    assert await intercepted(None) is None


async def test_a_known_error_becomes_its_status() -> None:
    async def behaviour(_: Any, __: Any) -> None:
        raise NotFound("datasets/x")

    context = FakeContext()
    handler = await intercepted(unary(behaviour), x_request_id="r1")
    with pytest.raises(grpc.aio.AbortError), capture_logs() as logs:
        await handler.unary_unary(None, context)
    assert (context.code, context.message) == (
        grpc.StatusCode.NOT_FOUND,
        "datasets/x does not exist.",
    )
    assert context.trailing["x-request-id"] == "r1"
    assert context.status.message == context.message
    (line,) = logs
    assert (line["status"], line["reason"]) == ("NOT_FOUND", "DATASET_NOT_FOUND")
    assert "datasets/x" not in str(line)


@pytest.mark.parametrize("error", [ValueError("secret"), InternalError()])
async def test_an_unforeseen_error_stays_in_the_log(error: Exception) -> None:
    async def behaviour(_: Any, __: Any) -> None:
        raise error

    context = FakeContext()
    handler = await intercepted(unary(behaviour), x_request_id="r1")
    with pytest.raises(grpc.aio.AbortError), capture_logs() as logs:
        await handler.unary_unary(None, context)
    assert context.code is grpc.StatusCode.INTERNAL
    assert context.message == "Internal error. Ask the operator to look for r1 in the log."
    assert "secret" not in str(context.trailing)
    assert logs[0]["log_level"] == "error"
    assert isinstance(error, InternalError) or logs[0]["exc_info"] is error


async def test_the_log_leads_from_the_request_to_the_workers_trace() -> None:
    async def behaviour(_: Any, __: Any) -> None:
        raise InternalError("b7")

    handler = await intercepted(unary(behaviour), x_request_id="r1")
    with pytest.raises(grpc.aio.AbortError), capture_logs() as logs:
        await handler.unary_unary(None, FakeContext())
    assert (logs[0]["request_id"], logs[0]["trace"]) == ("r1", "b7")


async def test_an_abort_of_the_handlers_own_passes() -> None:
    async def behaviour(_: Any, __: Any) -> None:
        raise grpc.aio.AbortError

    handler = await intercepted(unary(behaviour))
    with pytest.raises(grpc.aio.AbortError), capture_logs() as logs:
        await handler.unary_unary(None, FakeContext())
    assert [line["status"] for line in logs] == ["ABORTED"]


async def test_a_cancelled_call_is_logged_and_stays_cancelled() -> None:
    async def behaviour(_: Any, __: Any) -> None:
        await asyncio.sleep(60)

    handler = await intercepted(unary(behaviour))
    with capture_logs() as logs:
        task = asyncio.create_task(handler.unary_unary(None, FakeContext()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [line["status"] for line in logs] == ["CANCELLED"]


async def test_streams_are_wrapped_whichever_way_they_answer() -> None:
    async def yielding(request: int, _: Any) -> AsyncIterator[int]:
        for number in range(request):
            yield number
        raise NotFound("datasets/x")

    async def writing(request: int, context: FakeContext) -> None:
        for number in range(request):
            await context.write(number)

    context = FakeContext()
    handler = await intercepted(grpc.unary_stream_rpc_method_handler(yielding))
    with pytest.raises(grpc.aio.AbortError):
        await handler.unary_stream(3, context)
    assert context.written == [0, 1, 2]
    assert context.code is grpc.StatusCode.NOT_FOUND
    context = FakeContext()
    handler = await intercepted(grpc.stream_stream_rpc_method_handler(writing))
    await handler.stream_stream(2, context)
    assert context.written == [0, 1]


async def test_a_stream_whose_caller_leaves_is_closed() -> None:
    closed = asyncio.Event()

    async def yielding(_: Any, __: Any) -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    class LeavingContext(FakeContext):
        async def write(self, message: Any) -> None:
            raise asyncio.CancelledError

    handler = await intercepted(grpc.unary_stream_rpc_method_handler(yielding))
    with pytest.raises(asyncio.CancelledError):
        await handler.unary_stream(None, LeavingContext())
    assert closed.is_set()


async def test_streamed_requests_reach_the_handler() -> None:
    async def behaviour(requests: AsyncIterator[int], _: Any) -> int:
        return sum([number async for number in requests])

    async def numbers() -> AsyncIterator[int]:
        for number in range(4):
            yield number

    handler = await intercepted(grpc.stream_unary_rpc_method_handler(behaviour))
    assert await handler.stream_unary(numbers(), FakeContext()) == 6


async def test_probes_are_not_worth_a_line() -> None:
    async def behaviour(_: Any, __: Any) -> str:
        return "SERVING"

    with capture_logs() as logs:
        for method in ("/grpc.health.v1.Health/Check", "/braintumor.v1.Datasets/GetDataset"):
            handler = await intercepted(unary(behaviour), method)
            await handler.unary_unary(None, FakeContext())
    assert [line["log_level"] for line in logs] == ["debug", "info"]
