import asyncio

from services.drain import Drain


async def test_waiting_ends_when_the_drain_begins() -> None:
    drain = Drain()
    assert not await drain.begins_within(0.001)
    waiting = asyncio.create_task(drain.begins_within(60))
    forever = asyncio.create_task(drain.begins())
    await asyncio.sleep(0)
    drain.begin()
    assert await waiting
    await forever
    assert await drain.begins_within(0)
