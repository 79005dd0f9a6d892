"""What many callers ask, done in few rounds on a thread."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Told = TypeVar("Told")


class Rounds(Generic[Asked, Told]):
    """Has questions answered together: what is asked during a round shares the next one.

    So a single caller waits for nobody, and under load there are as many rounds as the thread can
    do, not as many as there are callers. ``work`` runs on a thread of its own, with at most
    ``most`` questions. It returns what to tell for each, in their order; an exception among these
    is raised where that was asked, one that it raises itself wherever any of them was. What nobody
    waits for any more is asked all the same, unless it ``spares_the_gone``.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Asked]], Sequence[Told | Exception]],
        *,
        name: str,
        most: int,
        spares_the_gone: bool = False,
    ) -> None:
        self._work = work
        self._spares_the_gone = spares_the_gone
        self._most = most
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._waiting: deque[tuple[Asked, asyncio.Future[Told]]] = deque()
        self._round: asyncio.Future[Sequence[Told | Exception]] | None = None
        self._wanted = False
        self._soon: asyncio.Handle | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def ask(self, asked: Asked, *, patience: float = 0.0) -> asyncio.Future[Told]:
        """What to await.

        With ``patience`` it waits so many seconds for a round that others want, before it wants
        one of its own.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Told] = loop.create_future()
        self._waiting.append((asked, answer))
        if not patience:
            self._begin()
        elif self._alarm is None:
            self._alarm = loop.call_later(patience, self._begin)
        return answer

    async def close(self) -> None:
        """Do what still waits, and what comes meanwhile; then stop."""
        while self._waiting or self._round is not None:
            self._begin()
            await asyncio.sleep(0)
            if self._round is not None:
                await asyncio.wait((self._round,))
        self._thread.shutdown()

    def _begin(self) -> None:
        """Have everything that waits done, in a moment or after the round that is on."""
        self._silence()
        self._wanted = bool(self._waiting)
        if self._round is None and self._soon is None:
            # Not at once: callers who were told something together ask together.
            self._soon = asyncio.get_running_loop().call_soon(self._next_round)

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _next_round(self) -> None:
        self._soon = None
        if not (self._wanted and self._waiting):
            return
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
        self._wanted = bool(self._waiting)  # who has not found room waits no second time
        if not self._waiting:
            self._silence()
        if self._spares_the_gone:
            group = [(asked, answer) for asked, answer in group if not answer.done()]
        answers = [answer for _, answer in group]
        loop = asyncio.get_running_loop()
        try:
            self._round = loop.run_in_executor(self._thread, self._done, [a for a, _ in group])
        except RuntimeError as error:  # no thread can be started, or none any more
            _tell(answers, [error] * len(answers))
            if self._wanted:
                self._begin()
            return
        self._round.add_done_callback(partial(self._ended, answers))

    def _done(self, questions: Sequence[Asked]) -> Sequence[Told | Exception]:
        told = self._work(questions) if questions else ()
        if len(told) != len(questions):
            raise ValueError(f"{len(told)} answers to {len(questions)} questions")
        return told

    def _ended(
        self,
        answers: Sequence[asyncio.Future[Told]],
        ended: asyncio.Future[Sequence[Told | Exception]],
    ) -> None:
        self._round = None
        error = ended.exception()
        _tell(answers, ended.result() if error is None else [error] * len(answers))
        self._next_round()


def _tell(answers: Sequence[asyncio.Future[Told]], results: Sequence[Told | BaseException]) -> None:
    for answer, result in zip(answers, results, strict=True):
        if answer.done():  # whoever asked went away
            continue
        if isinstance(result, BaseException):
            answer.set_exception(result)
        else:
            answer.set_result(result)
