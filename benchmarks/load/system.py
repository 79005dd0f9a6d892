"""What is compared: systems that can be started, put under load and stopped."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from benchmarks.load.loads import Load
from benchmarks.load.measurement import Measurement


@dataclass(frozen=True)
class Timing:
    """For how long a load is applied before it is measured, and while it is. In seconds."""

    warm_up: float
    measured: float


class Running(Protocol):
    """A system that answers."""

    def labels(self) -> Sequence[str]:
        """What it says each of the scans shows, in their order. Raises ``StartFailed``."""
        ...

    def measure(self, load: Load, timing: Timing) -> Measurement:
        """Apply the load twice: to warm up, and to measure."""
        ...


@dataclass(frozen=True)
class System:
    """``start`` gives it running, once it answers, and stops it in the end.

    ``start`` raises ``StartFailed``. ``bounded``: past some load it refuses at once.
    """

    name: str
    start: Callable[[], AbstractContextManager[Running]]
    bounded: bool = False


class StartFailed(Exception):
    """A system did not come up; the message says why."""
