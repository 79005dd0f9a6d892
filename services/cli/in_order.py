"""Work done side by side, with the results in the order of the work."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def in_order(
    function: Callable[[S], T], items: Iterable[S], *, workers: int = 8, ahead: int = 32
) -> Iterator[T]:
    """``function`` of each item, ``workers`` at a time, at most ``ahead`` results held back.

    An exception of ``function`` comes out in its turn; what has not begun by then never does.
    """
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[T]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
