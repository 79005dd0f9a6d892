"""How fast an epoch went, and where its time went."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypedDict, TypeVar

T = TypeVar("T")


class Figures(TypedDict):
    """What :class:`core.training.EpochProgress` keeps of it."""

    images_per_second: float
    input_share: float
    validation_share: float
    busy_share: float


@dataclass(frozen=True)
class _Moment:
    """Seconds of the wall clock, and of the process on all cores together."""

    wall: float
    processor: float


class Pace:
    """Follows one epoch: learning first, then validation.

    ``cores`` is how many the process may use.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        processor_clock: Callable[[], float] = time.process_time,
        cores: int | None = None,
    ) -> None:
        self._clock = clock
        self._processor_clock = processor_clock
        self._cores = cores or usable_cores()
        self._waited = 0.0
        self._slices = 0
        self._begin = self._learned = self._now()

    def waiting_for(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches; the time until each is there counts as waiting for input."""
        source = iter(batches)
        while True:
            begin = self._clock()
            try:
                batch = next(source)
            except StopIteration:
                return
            finally:
                self._waited += self._clock() - begin
            yield batch

    def learned_from(self, slices: int) -> None:
        """The learning is over; what follows is validation."""
        self._slices = slices
        self._learned = self._now()

    @property
    def seconds(self) -> float:
        """Since the epoch began."""
        return self._clock() - self._begin.wall

    def figures(self) -> Figures:
        """Of the epoch up to now. Shares of time are of all of it; ``busy_share`` is how much of
        the cores the process took while it learned."""
        whole = max(self.seconds, 1e-9)
        learning = max(self._learned.wall - self._begin.wall, 1e-9)
        processor = self._learned.processor - self._begin.processor
        return Figures(
            images_per_second=self._slices / learning,
            input_share=min(self._waited / whole, 1.0),
            validation_share=max(1.0 - learning / whole, 0.0),
            busy_share=min(processor / (learning * self._cores), 1.0),
        )

    def _now(self) -> _Moment:
        return _Moment(wall=self._clock(), processor=self._processor_clock())


def usable_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
