"""How requests arrive."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class ClosedLoop:
    """``concurrency`` callers; each sends its next request once its last one is answered."""

    NAME: ClassVar = "closed loop"

    concurrency: int

    def __str__(self) -> str:
        return f"{self.NAME}, {self.concurrency} at once"


@dataclass(frozen=True)
class OpenLoop:
    """``rate`` requests a second at equal distances, whatever became of those before."""

    rate: float

    def __str__(self) -> str:
        return f"open loop, {self.rate:g}/s"

    def intended_times(self, start: float, seconds: float) -> Iterator[float]:
        """When to send each request that falls into the ``seconds`` from ``start``.

        Latency counts from these, so that a sender that is late hides nothing ("coordinated
        omission", Tene, "How NOT to Measure Latency", 2013).
        """
        number = 0
        while number / self.rate < seconds:
            yield start + number / self.rate
            number += 1


@dataclass(frozen=True)
class Study:
    """``slices`` requests by one caller, all at once; in one stream where there is such a call.

    It ends with its last answer, however long that takes.
    """

    slices: int

    def __str__(self) -> str:
        return f"study of {self.slices} slices"


Load = ClosedLoop | OpenLoop | Study


def measured_seconds(load: Load, seconds: float) -> float:
    """For how long requests of the load count, where a load without an end gets ``seconds``."""
    return math.inf if isinstance(load, Study) else seconds


@dataclass(frozen=True)
class Overload:
    """``factor`` times as many requests a second as a system answered at most in its turn."""

    NAME: ClassVar = "times the peak"

    factor: float

    def __str__(self) -> str:
        return f"open loop, {self.factor:g} {self.NAME}"

    def beyond(self, peak: float) -> OpenLoop:
        return OpenLoop(self.factor * peak)
