"""Loads on functions that stand in for a server. Nothing here says how long anything takes."""

import asyncio
import threading
from collections import Counter

import pytest

from benchmarks.load import threads, window
from benchmarks.load.loads import ClosedLoop, Load, OpenLoop, Study
from benchmarks.load.measurement import Tally
from benchmarks.load.processes import Meter, this_process

SECONDS = 0.2


async def test_a_closed_loop_keeps_its_callers_busy_and_no_more() -> None:
    now, most = 0, 0

    async def send() -> str | None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return None

    await window.warm_up(ClosedLoop(3), send, SECONDS)
    assert (now, most) == (0, 3)


async def test_an_open_loop_sends_all_however_slow_the_answers_are() -> None:
    answer = asyncio.Event()
    sent = 0

    async def send() -> str | None:
        nonlocal sent
        sent += 1
        if sent == 20:
            answer.set()
        await answer.wait()
        return None

    await window.warm_up(OpenLoop(100.0), send, SECONDS)
    assert sent == 20


async def test_a_study_is_sent_at_once_and_ends_with_its_last_answer() -> None:
    all_sent = asyncio.Event()
    sent = 0

    async def send() -> str | None:
        nonlocal sent
        sent += 1
        if sent == 30:
            all_sent.set()
        await all_sent.wait()
        return None

    meter = Meter([this_process("client")])
    found = await window.measure(Study(30), send, SECONDS, meter, {"client"})
    assert (sent, found.completed, found.latencies.count) == (30, 30, 30)
    assert 0 < found.seconds < float("inf")


async def test_answers_and_errors_are_told_apart_and_the_process_is_measured() -> None:
    statuses = iter([None, "UNAVAILABLE"] * 5)

    async def send() -> str | None:
        return next(statuses)

    meter = Meter([this_process("client")])
    found = await window.measure(OpenLoop(50.0), send, SECONDS, meter, {"client"})
    assert found.errors == {"UNAVAILABLE": 5}
    assert found.latencies.count == 5
    assert found.processes["client"].peak_bytes > 0
    assert found.cpu_seconds == found.processes["client"].cpu_seconds >= 0


@pytest.mark.parametrize(
    ("load", "most_threads", "expected"),
    [(ClosedLoop(1), 2, 1), (ClosedLoop(16), 2, 2), (OpenLoop(50.0), 2, 2)],
)
def test_threads_are_as_many_as_there_are_callers_or_streams(
    load: Load, most_threads: int, expected: int
) -> None:
    workers: Counter[int] = Counter()
    all_here = threading.Barrier(expected)

    def work() -> None:
        if workers[threading.get_ident()] == 0:
            workers[threading.get_ident()] += 1
            all_here.wait(60)

    threads.apply(load, work, Tally(threads.clock(), SECONDS), most_threads)
    assert len(workers) == expected


def test_every_request_of_an_open_loop_is_worked_on_once() -> None:
    done: list[None] = []
    tally = Tally(threads.clock(), SECONDS)
    threads.apply(OpenLoop(100.0), lambda: done.append(None), tally, 2)
    assert len(done) == 20
    assert tally.measurement({}, ()).latencies.count == 20


def test_every_slice_of_a_study_is_worked_on_once() -> None:
    done: list[None] = []
    tally = Tally(threads.clock(), float("inf"))
    threads.apply(Study(30), lambda: done.append(None), tally, 2)
    found = tally.measurement({}, ())
    assert len(done) == found.completed == 30


def test_work_that_fails_ends_the_load() -> None:
    def work() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        threads.apply(ClosedLoop(1), work, Tally(threads.clock(), SECONDS), 1)
