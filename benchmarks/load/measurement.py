"""What one system did under one load."""

import math
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hdrh.histogram import HdrHistogram

_SHORTEST_US: Final = 1
_LONGEST_US: Final = 120_000_000
_SIGNIFICANT_DIGITS: Final = 3
_US: Final = 1e6
_MS_OF_US: Final = 1e-3


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Of the answered requests, in milliseconds; all 0 where none was answered.

    ``histogram`` is the whole distribution, in microseconds, as HdrHistogram encodes it.
    """

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    histogram: str


@dataclass(frozen=True, kw_only=True)
class ProcessUse:
    """What the processes of one role took: CPU time, and their largest resident set together."""

    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A load of ``seconds``.

    ``completed`` were answered within them. ``latencies`` and ``errors`` (by gRPC status) are of
    all that were sent within them. ``cpu_seconds`` is the sum over the processes that serve.
    """

    seconds: float
    completed: int
    latencies: Latencies
    errors: Mapping[str, int]
    processes: Mapping[str, ProcessUse]
    cpu_seconds: float

    @property
    def requests_per_second(self) -> float:
        """0 where nothing was answered."""
        return self.completed / self.seconds if self.completed else 0.0

    @property
    def cpu_ms_per_request(self) -> float:
        """0 where nothing was answered."""
        return 1e3 * self.cpu_seconds / self.completed if self.completed else 0.0


class Tally:
    """Counts what becomes of requests sent from ``start`` for ``seconds``.

    Times are seconds of one clock; any thread may tell it. ``seconds`` is infinite of a load that
    ends with its last answer.
    """

    def __init__(self, start: float, seconds: float) -> None:
        self.start: Final = start
        self.seconds: Final = seconds
        self.end: Final = start + seconds
        self._last = start
        self._completed = 0
        self._errors: Counter[str] = Counter()
        self._histogram: Any = HdrHistogram(_SHORTEST_US, _LONGEST_US, _SIGNIFICANT_DIGITS)
        self._lock = threading.Lock()

    def answered(self, intended: float, done: float) -> None:
        """A request that should have been sent at ``intended`` was answered at ``done``."""
        latency_us = min(max(round((done - intended) * _US), _SHORTEST_US), _LONGEST_US)
        with self._lock:
            self._histogram.record_value(latency_us)
            self._completed += done <= self.end
            self._last = max(self._last, done)

    def failed(self, status: str) -> None:
        with self._lock:
            self._errors[status] += 1

    def measurement(
        self, processes: Mapping[str, ProcessUse], serving: Collection[str]
    ) -> Measurement:
        """All that was counted, with what the processes took; those named ``serving`` count."""
        return Measurement(
            seconds=self.seconds if math.isfinite(self.seconds) else self._last - self.start,
            completed=self._completed,
            latencies=_summary(self._histogram),
            errors=dict(sorted(self._errors.items())),
            processes=processes,
            cpu_seconds=sum(use.cpu_seconds for role, use in processes.items() if role in serving),
        )


def _summary(histogram: Any) -> Latencies:
    def at(percentile: float) -> float:
        return float(histogram.get_value_at_percentile(percentile) * _MS_OF_US)

    return Latencies(
        count=histogram.get_total_count(),
        mean_ms=histogram.get_mean_value() * _MS_OF_US,
        p50_ms=at(50),
        p90_ms=at(90),
        p99_ms=at(99),
        p999_ms=at(99.9),
        max_ms=at(100),
        histogram=histogram.encode().decode("ascii"),
    )
