"""Ctrl-C, SIGTERM and SIGHUP as something the supervisor looks at between its steps."""

import signal
from threading import Event
from types import FrameType, TracebackType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """While entered (main thread only), the first signal asks to stop, a further one to hurry."""

    def __init__(self) -> None:
        self.requested: Final = Event()
        self.insistent: Final = Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._take) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested.is_set():
            self.insistent.set()
        self.requested.set()
