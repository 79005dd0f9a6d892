"""Calls and streams to a server that counts."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc.aio
import pytest

from benchmarks.load.grpc_system import Dialect, GrpcSystem, StreamDialect
from benchmarks.load.loads import Study
from benchmarks.load.processes import Roles
from benchmarks.load.system import Timing

TIMING = Timing(warm_up=0.1, measured=0.1)


class Server:
    """Answers each request by itself, in streams too; breaks a stream at ``broken``."""

    def __init__(self) -> None:
        self.calls = 0
        self.streams: list[list[bytes]] = []

    async def call(self, request: bytes, context: Any) -> bytes:
        self.calls += 1
        return request

    async def stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        self.streams.append([])
        async for request in requests:
            self.streams[-1].append(request)
            if request == b"m:break":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
            yield request


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    behind = Server()
    handlers: dict[str, Any] = {
        "Call": grpc.unary_unary_rpc_method_handler(behind.call),
        "Stream": grpc.stream_stream_rpc_method_handler(behind.stream),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield behind, f"127.0.0.1:{port}"
    await server.stop(None)


DIALECT = Dialect(
    method="/test/Call", request_for=lambda scan: scan, label_of=lambda reply: reply.decode()
)
STREAM = StreamDialect(
    method="/test/Stream",
    request_for=lambda request: b"m:" + request,
    status_of=lambda reply: "REFUSED" if reply == b"m:bad" else None,
)


def a_system(address: str, dialect: Dialect, *requests: bytes) -> GrpcSystem:
    return GrpcSystem(
        address=address,
        dialect=dialect,
        requests=requests,
        pid=os.getpid(),
        roles=Roles(root="server", markers={}),
        serving={"server"},
    )


async def test_a_study_is_one_stream(server: tuple[Server, str]) -> None:
    behind, address = server
    system = a_system(address, replace(DIALECT, stream=STREAM), b"a", b"bad")
    found = await system._measure(Study(10), TIMING)
    assert behind.calls == 0
    assert behind.streams == [[b"m:a", b"m:bad"] * 5] * 2
    assert found.completed == 5
    assert found.errors == {"REFUSED": 5}


async def test_without_streams_a_study_is_calls(server: tuple[Server, str]) -> None:
    behind, address = server
    found = await a_system(address, DIALECT, b"a")._measure(Study(10), TIMING)
    assert (behind.calls, behind.streams) == (20, [])
    assert found.completed == 10


async def test_a_stream_that_breaks_is_told_and_ends_nothing(server: tuple[Server, str]) -> None:
    _, address = server
    system = a_system(address, replace(DIALECT, stream=STREAM), b"a", b"break", b"a")
    found = await system._measure(Study(3), TIMING)
    assert found.errors
    assert found.completed + sum(found.errors.values()) == 3
