"""Keeps a set of children running: restarts what dies, gives up on what keeps dying."""

import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Protocol

from core.errors import FailedPrecondition
from services.supervisor.processes import ProcessSpec

_POLL_SECONDS: Final = 0.05


class SupervisedChild(Protocol):
    """What the supervisor needs of a child."""

    @property
    def spec(self) -> ProcessSpec: ...

    @property
    def pid(self) -> int | None:
        """None before it is started, and once its death has been noticed."""
        ...

    def start(self) -> None: ...

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def last_lines(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Restart:
    """Start it again in ``delay`` seconds."""

    delay: float


@dataclass(frozen=True)
class GiveUp:
    """It died ``deaths`` times within the window."""

    deaths: int


@dataclass(kw_only=True)
class RestartPolicy:
    """What to do about a death: pure, times in seconds of any one clock.

    The first restart comes after ``first_delay``, each further one within the window after twice
    the delay before; the ``max_deaths``-th death within ``window`` is one too many.
    """

    max_deaths: int = 4
    window: float = 60.0
    first_delay: float = 0.5

    def __post_init__(self) -> None:
        self._deaths: deque[float] = deque()

    def died(self, at: float) -> Restart | GiveUp:
        self._deaths.append(at)
        while self._deaths[0] <= at - self.window:
            self._deaths.popleft()
        if len(self._deaths) >= self.max_deaths:
            return GiveUp(len(self._deaths))
        return Restart(self.first_delay * 2 ** (len(self._deaths) - 1))


@dataclass(eq=False)
class _Watched:
    child: SupervisedChild
    policy: RestartPolicy
    start_at: float | None = None
    """When a dead child is to be started again; None while it lives."""


class Supervisor:
    """Runs ``children``. Not thread-safe: one thread starts, ticks and stops it."""

    def __init__(
        self,
        children: Sequence[SupervisedChild],
        *,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        policy: Callable[[], RestartPolicy] = RestartPolicy,
    ) -> None:
        self._watched = [_Watched(child, policy()) for child in children]
        self._say = say
        self._clock = clock
        self._sleep = sleep

    def start(self) -> None:
        """Start every child without waiting for any."""
        for watched in self._watched:
            watched.child.start()

    def tick(self) -> None:
        """Notice deaths and start again what is due.

        Raises ``FailedPrecondition`` with the end of its log when a child keeps dying.
        """
        for watched in self._watched:
            if watched.start_at is None:
                self._look_after(watched)
            elif self._clock() >= watched.start_at:
                watched.start_at = None
                watched.child.start()

    def _look_after(self, watched: _Watched) -> None:
        status = watched.child.poll()
        if status is None:
            return
        now = self._clock()
        verdict = watched.policy.died(now)
        spec = watched.child.spec
        if isinstance(verdict, GiveUp):
            raise FailedPrecondition(_gave_up(watched.child, verdict, status))
        watched.start_at = now + verdict.delay
        self._say(
            f"The {spec.name} {describe_exit(status)}; it starts again in {verdict.delay:g} s. "
            f"Log: {spec.log}"
        )

    def stop(self, *, hurry: Callable[[], bool] = lambda: False) -> None:
        """End every child, phase by phase; ``hurry`` cuts the waiting short."""
        in_order = sorted(self._watched, key=_phase)
        for _, phase in groupby(in_order, key=_phase):
            self._stop_together([watched.child for watched in phase], hurry)

    def _stop_together(
        self, children: Sequence[SupervisedChild], hurry: Callable[[], bool]
    ) -> None:
        begin = self._clock()
        for child in children:
            child.terminate()
        for child in children:
            patience = begin + child.spec.grace_seconds
            while _lives(child) and self._clock() < patience and not hurry():
                self._sleep(_POLL_SECONDS)
            child.kill()


def _lives(child: SupervisedChild) -> bool:
    return child.pid is not None and child.poll() is None


def _phase(watched: _Watched) -> int:
    return watched.child.spec.stop_phase


def _gave_up(child: SupervisedChild, verdict: GiveUp, status: int) -> str:
    lines = "".join(f"\n  {line}" for line in child.last_lines())
    return (
        f"The {child.spec.name} died {verdict.deaths} times within a minute and is given up; "
        f"last it {describe_exit(status)}. The end of its log ({child.spec.log}):{lines}"
    )


def describe_exit(status: int) -> str:
    """An exit status of ``subprocess`` in words."""
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
