"""Applies a load to a plain function, in threads and without any server."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from queue import SimpleQueue
from typing import Protocol

from benchmarks.load.loads import ClosedLoop, Load, OpenLoop, Study
from benchmarks.load.measurement import Tally

clock = time.perf_counter


class Arrivals(Protocol):
    """Where threads get their requests from."""

    def take(self) -> float | None:
        """When the next request was to be sent, once that has come; None when there is no more."""
        ...

    def answered(self, at: float) -> None:
        """A request that was taken has its answer."""
        ...


class ClosedArrivals:
    """Of callers who send again as soon as they are answered, first come first served.

    There must be at least as many callers as threads.
    """

    def __init__(self, load: ClosedLoop, start: float, end: float) -> None:
        self._end = end
        self._sent: SimpleQueue[float] = SimpleQueue()
        for _ in range(load.concurrency):
            self._sent.put(start)

    def take(self) -> float | None:
        sent = self._sent.get_nowait()
        return sent if clock() < self._end else None

    def answered(self, at: float) -> None:
        self._sent.put(at)


class OpenArrivals:
    """At fixed times."""

    def __init__(self, load: OpenLoop, start: float, seconds: float) -> None:
        self._times: Iterator[float] = load.intended_times(start, seconds)
        self._lock = threading.Lock()

    def take(self) -> float | None:
        with self._lock:
            intended = next(self._times, None)
        if intended is not None:
            time.sleep(max(intended - clock(), 0.0))
        return intended

    def answered(self, at: float) -> None:
        """Changes nothing: nobody waits for an answer."""


class StudyArrivals:
    """So many, all at once."""

    def __init__(self, load: Study, start: float) -> None:
        self._times: Iterator[float] = repeat(start, load.slices)
        self._lock = threading.Lock()

    def take(self) -> float | None:
        with self._lock:
            return next(self._times, None)

    def answered(self, at: float) -> None:
        """Changes nothing: nobody waits for an answer."""


def apply(load: Load, work: Callable[[], object], tally: Tally, most_threads: int) -> None:
    """Does ``work`` for each request of the load, in at most so many threads."""
    threads = most_threads
    arrivals: Arrivals
    match load:
        case ClosedLoop():
            threads = min(load.concurrency, most_threads)
            arrivals = ClosedArrivals(load, tally.start, tally.end)
        case OpenLoop():
            arrivals = OpenArrivals(load, tally.start, tally.seconds)
        case Study():
            arrivals = StudyArrivals(load, tally.start)
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(_serve, arrivals, work, tally) for _ in range(threads)]:
            done.result()


def _serve(arrivals: Arrivals, work: Callable[[], object], tally: Tally) -> None:
    while (intended := arrivals.take()) is not None:
        work()
        done = clock()
        tally.answered(intended, done)
        arrivals.answered(done)
