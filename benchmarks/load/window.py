"""Applies a load over asyncio and measures it."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection

from benchmarks.load.loads import ClosedLoop, Load, OpenLoop, Study, measured_seconds
from benchmarks.load.measurement import Measurement, Tally
from benchmarks.load.processes import Meter

Send = Callable[[], Awaitable[str | None]]
"""Sends a request and waits for its answer: None, or the status that it failed with."""

clock = time.perf_counter


async def measure(
    load: Load, send: Send, seconds: float, meter: Meter, serving: Collection[str]
) -> Measurement:
    """The load for ``seconds``, or until its last answer, and what the processes took in them.

    Requests that are on their way at the end are waited for; their latencies count.
    """
    await asyncio.to_thread(meter.start)
    tally = Tally(clock(), measured_seconds(load, seconds))
    traffic = asyncio.create_task(_apply(load, send, tally))
    if math.isfinite(tally.end):
        await asyncio.sleep(tally.end - clock())
    else:
        await traffic
    use = await asyncio.to_thread(meter.stop)
    await traffic
    return tally.measurement(use, serving)


async def warm_up(load: Load, send: Send, seconds: float) -> None:
    """The load for ``seconds``, or until its last answer, not measured."""
    await _apply(load, send, Tally(clock(), seconds))


async def _apply(load: Load, send: Send, tally: Tally) -> None:
    match load:
        case ClosedLoop():
            await _closed_loop(load, send, tally)
        case OpenLoop():
            await _open_loop(load, send, tally)
        case Study():
            await asyncio.gather(*(_request(send, tally, clock()) for _ in range(load.slices)))


async def _closed_loop(load: ClosedLoop, send: Send, tally: Tally) -> None:
    async def caller() -> None:
        while (now := clock()) < tally.end:
            await _request(send, tally, now)

    async with asyncio.TaskGroup() as callers:
        for _ in range(load.concurrency):
            callers.create_task(caller())


async def _open_loop(load: OpenLoop, send: Send, tally: Tally) -> None:
    async with asyncio.TaskGroup() as requests:
        for intended in load.intended_times(tally.start, tally.seconds):
            await asyncio.sleep(intended - clock())
            requests.create_task(_request(send, tally, intended))


async def _request(send: Send, tally: Tally, intended: float) -> None:
    status = await send()
    if status is None:
        tally.answered(intended, clock())
    else:
        tally.failed(status)
