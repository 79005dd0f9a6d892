"""Many who ask, few rounds. How rounds gather and close is told by the audit writer's tests."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from services.rounds import Rounds


class Counted:
    """Doubles numbers; refuses negative ones, and everybody if there is a zero."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.rounds.append(list(numbers))
        assert self.gate.wait(10)
        if 0 in numbers:
            raise ZeroDivisionError
        return [2 * n if n > 0 else ValueError(n) for n in numbers]


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
async def doubled(counted: Counted) -> AsyncIterator[Rounds[int, int]]:
    rounds: Rounds[int, int] = Rounds(counted, name="double", most=4)
    yield rounds
    counted.gate.set()
    await rounds.close()


async def test_those_who_ask_in_one_moment_share_a_round(
    doubled: Rounds[int, int], counted: Counted
) -> None:
    assert await asyncio.gather(*(doubled.ask(n) for n in (1, 2, 3))) == [2, 4, 6]
    assert counted.rounds == [[1, 2, 3]]


async def test_a_round_has_a_largest_size(doubled: Rounds[int, int], counted: Counted) -> None:
    await asyncio.gather(*(doubled.ask(n) for n in range(1, 7)))
    assert counted.rounds == [[1, 2, 3, 4], [5, 6]]


async def test_an_error_of_one_is_told_to_that_one(doubled: Rounds[int, int]) -> None:
    first, second, third = (doubled.ask(n) for n in (1, -1, 3))
    with pytest.raises(ValueError, match="-1"):
        await second
    assert (await first, await third) == (2, 6)


async def test_an_error_of_a_round_is_told_to_all_of_it_and_to_nobody_else(
    doubled: Rounds[int, int],
) -> None:
    answers = [doubled.ask(n) for n in (0, 1, 2, 3, 4)]
    told = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(one) for one in told] == [ZeroDivisionError] * 4 + [int]


async def test_whoever_stops_waiting_holds_up_nobody(
    doubled: Rounds[int, int], counted: Counted
) -> None:
    counted.gate.clear()
    gone, stays = doubled.ask(1), doubled.ask(2)
    await asyncio.sleep(0.01)
    gone.cancel()
    late = doubled.ask(3)
    counted.gate.set()
    assert (await stays, await late) == (4, 6)
    assert counted.rounds == [[1, 2], [3]]


async def test_those_who_left_can_be_spared(counted: Counted) -> None:
    rounds: Rounds[int, int] = Rounds(counted, name="spare", most=4, spares_the_gone=True)
    counted.gate.clear()
    first = rounds.ask(1)
    await asyncio.sleep(0.01)
    gone, stays = rounds.ask(2), rounds.ask(3)
    gone.cancel()
    counted.gate.set()
    assert (await first, await stays) == (2, 6)
    assert counted.rounds == [[1], [3]]
    await rounds.close()


async def test_a_round_that_cannot_begin_is_told_to_those_who_asked(
    doubled: Rounds[int, int],
) -> None:
    await doubled.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        await doubled.ask(1)


async def test_a_wrong_number_of_answers_leaves_nobody_waiting() -> None:
    rounds: Rounds[int, int] = Rounds(lambda _: [1], name="wrong", most=4)
    told = await asyncio.gather(rounds.ask(1), rounds.ask(2), return_exceptions=True)
    assert [type(one) for one in told] == [ValueError, ValueError]
    assert await rounds.ask(3) == 1
    await rounds.close()
