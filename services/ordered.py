"""Many items at a time, answered in the order in which they came."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def in_order(
    items: AsyncIterator[T], work: Callable[[T], Awaitable[R]], *, limit: int
) -> AsyncIterator[R]:
    """The result for each item, in order, with at most ``limit`` items taken and not answered.

    The next item is taken only when there is room, so a slow reader of the results slows down
    whoever sends the items. What is in work when the caller leaves is cancelled.
    """
    room = asyncio.Semaphore(limit)
    taken: asyncio.Queue[asyncio.Task[R] | None] = asyncio.Queue()
    held: set[asyncio.Task[R]] = set()

    async def answer(item: T) -> R:
        result = work(item)
        del item  # from now on it is for the work to hold, or to let go
        return await result

    async def take() -> None:
        try:
            await room.acquire()
            async for item in items:
                task = asyncio.create_task(answer(item))
                del item  # while there is no room, which may take a while
                held.add(task)
                taken.put_nowait(task)
                await room.acquire()
        finally:
            taken.put_nowait(None)

    taker = asyncio.create_task(take())
    try:
        while (task := await taken.get()) is not None:
            yield await task
            held.discard(task)
            room.release()
        await taker
    finally:
        for open_task in (taker, *held):
            open_task.cancel()
        await asyncio.gather(taker, *held, return_exceptions=True)
