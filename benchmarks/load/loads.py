"""How requests arrive."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ClosedLoop:
    """``concurrency`` callers; each sends its next request once its last one is answered."""

    concurrency: int

    def __str__(self) -> str:
        return f"closed loop, {self.concurrency} at once"


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


Load = ClosedLoop | OpenLoop
