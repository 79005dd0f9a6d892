import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from services.ordered import in_order


async def numbers(count: int, taken: list[int] | None = None) -> AsyncIterator[int]:
    for number in range(count):
        if taken is not None:
            taken.append(number)
        yield number


async def test_answers_come_in_the_order_of_the_questions() -> None:
    async def slower_first(number: int) -> int:
        await asyncio.sleep((10 - number) / 1000)
        return number * number

    answers = [a async for a in in_order(numbers(10), slower_first, limit=4)]
    assert answers == [n * n for n in range(10)]


async def test_no_more_than_the_limit_is_taken() -> None:
    taken: list[int] = []

    async def work(number: int) -> int:
        return number

    async with aclosing(in_order(numbers(20, taken), work, limit=3)) as answers:  # type: ignore[type-var]
        for answered in range(10):
            assert await anext(answers) == answered
            for _ in range(20):
                await asyncio.sleep(0)
            # The item whose answer is being looked at still counts.
            assert len(taken) == answered + 3


async def test_no_items_no_answers() -> None:
    async def work(number: int) -> int:
        raise AssertionError

    assert [a async for a in in_order(numbers(0), work, limit=2)] == []


async def test_a_failing_source_fails_behind_the_answers_before_it() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError

    async def work(number: int) -> int:
        await asyncio.sleep(0.001)
        return number

    got: list[int] = []
    with pytest.raises(ConnectionError):
        async for answer in in_order(broken(), work, limit=4):
            got.append(answer)  # noqa: PERF401
    assert got == [1]


async def test_work_is_cancelled_when_the_caller_leaves() -> None:
    cancelled: list[int] = []

    async def work(number: int) -> int:
        if number == 0:
            return 0
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    answers: Any = in_order(numbers(9), work, limit=3)
    assert await anext(answers) == 0
    await asyncio.sleep(0.01)
    await answers.aclose()
    assert sorted(cancelled) == [1, 2]
