"""Threads for work that takes long, so that none of it delays a scan."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_THREADS: Final = 4


class LongWork:
    """Runs what reads or writes much: uploads, and walks over the whole audit log.

    Short calls use :func:`asyncio.to_thread`, whose few threads a handful of long ones would
    fill.
    """

    def __init__(self, threads: int = _THREADS) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="long-work")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result. It runs to its end even if the caller stops waiting."""
        return await self._submitted(partial(function, *args, **kwargs))

    async def run_to_end(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As :meth:`run`, but a caller that is cancelled waits for the end all the same.

        So nothing is written any more while the caller clears up.
        """
        work = self._submitted(partial(function, *args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            raise

    def close(self) -> None:
        """Wait for what has begun."""
        self._threads.shutdown()

    def _submitted(self, function: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, function)
