import asyncio
import threading
from collections.abc import Iterator

import pytest

from services.long_work import LongWork


@pytest.fixture
def long_work() -> Iterator[LongWork]:
    work = LongWork(threads=1)
    yield work
    work.close()


async def test_it_gives_the_result_or_the_error(long_work: LongWork) -> None:
    assert await long_work.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await long_work.run_to_end(divmod, 7, 0)


async def test_a_cancelled_caller_waits_for_the_end_where_it_asked_to(long_work: LongWork) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(10)
        ended.set()

    task = asyncio.create_task(long_work.run_to_end(work))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
