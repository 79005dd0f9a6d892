"""A system that answers over gRPC, whatever its messages are."""

import asyncio
import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio

from benchmarks.load import window
from benchmarks.load.loads import Load, Study
from benchmarks.load.measurement import Measurement
from benchmarks.load.processes import CLIENT, Meter, Roles, processes_of, this_process
from benchmarks.load.system import StartFailed, Timing

DEADLINE_SECONDS: Final = 20.0
STUDY_SECONDS: Final = 600.0
"""Of a study everything is asked at once."""


_ENDED: Final = "STREAM_ENDED"


@dataclass(frozen=True, kw_only=True)
class StreamDialect:
    """How many are asked about in one stream, which answers in order.

    ``request_for`` makes a message of the request for one scan; ``status_of`` reads of an answer
    whether it is an error: its gRPC status, or None.
    """

    method: str
    request_for: Callable[[bytes], bytes]
    status_of: Callable[[bytes], str | None]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one scan is asked about: the method, what is sent and what comes back.

    Requests are made before they are timed, and answers are only read by ``label_of``.
    """

    method: str
    request_for: Callable[[bytes], bytes]
    label_of: Callable[[bytes], str]
    stream: StreamDialect | None = None


@dataclass(frozen=True, kw_only=True)
class GrpcSystem:
    """A server that was started, process ``pid``; the CPU time of the roles ``serving`` counts."""

    address: str
    dialect: Dialect
    requests: Sequence[bytes]
    pid: int
    roles: Roles
    serving: Collection[str]

    def labels(self) -> Sequence[str]:
        """Raises ``StartFailed`` if there is a scan that it does not classify."""
        return asyncio.run(self._labels())

    def measure(self, load: Load, timing: Timing) -> Measurement:
        return asyncio.run(self._measure(load, timing))

    def answers(self) -> bool:
        """Whether a first scan is answered."""
        return asyncio.run(self._answers())

    async def _labels(self) -> list[str]:
        async with self._channel() as channel:
            call = self._call(channel)
            return [await self._label(call, request) for request in self.requests]

    async def _label(self, call: Any, request: bytes) -> str:
        try:
            return self.dialect.label_of(await call(request, timeout=DEADLINE_SECONDS))
        except grpc.aio.AioRpcError as error:
            status = error.code().name
            raise StartFailed(f"a scan is not classified: {status}: {error.details()}") from error

    async def _answers(self) -> bool:
        async with self._channel() as channel:
            return await self._by_call(channel)() is None

    async def _measure(self, load: Load, timing: Timing) -> Measurement:
        meter = Meter([*processes_of(self.pid, self.roles), this_process(CLIENT)])
        async with self._channel() as channel:
            await window.warm_up(load, self._sender(channel, load), timing.warm_up)
            send = self._sender(channel, load)
            return await window.measure(load, send, timing.measured, meter, self.serving)

    def _channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.address)

    def _call(self, channel: grpc.aio.Channel) -> Any:
        """Without serialisers: bytes in, bytes out."""
        return channel.unary_unary(self.dialect.method)

    def _sender(self, channel: grpc.aio.Channel, load: Load) -> window.Send:
        if isinstance(load, Study) and self.dialect.stream is not None:
            return self._by_stream(channel, self.dialect.stream, load.slices)
        return self._by_call(
            channel, STUDY_SECONDS if isinstance(load, Study) else DEADLINE_SECONDS
        )

    def _by_call(self, channel: grpc.aio.Channel, timeout: float = DEADLINE_SECONDS) -> window.Send:
        call = self._call(channel)
        requests = itertools.cycle(self.requests)

        async def send() -> str | None:
            try:
                await call(next(requests), timeout=timeout)
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
            return None

        return send

    def _by_stream(
        self, channel: grpc.aio.Channel, dialect: StreamDialect, count: int
    ) -> window.Send:
        """Of one stream of ``count`` requests."""
        stream: Any = channel.stream_stream(dialect.method)(timeout=STUDY_SECONDS)
        requests = itertools.cycle([dialect.request_for(request) for request in self.requests])
        writing, reading = asyncio.Lock(), asyncio.Lock()
        left = count

        async def send() -> str | None:
            nonlocal left
            # Locks are fair: who wrote first reads first.
            try:
                async with writing:
                    await stream.write(next(requests))
                    left -= 1
                    if left == 0:
                        await stream.done_writing()
                async with reading:
                    answer = await stream.read()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return str((await stream.code()).name)
            return _ENDED if answer is grpc.aio.EOF else dialect.status_of(answer)

        return send
