"""What ``braintumor quickstart`` does: the stack of ``up``, and a tour of it."""

import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Final

from core.errors import BrainTumorError, FailedPrecondition
from core.settings import Settings
from services.cli.client import Client
from services.cli.output import Output
from services.cli.refusals import ServerRefused
from services.cli.session import Session
from services.cli.tour import Tour
from services.cli.up_run import FAILED, STOPPED, ready_line, started, unfit
from services.supervisor.address import bind_endpoint
from services.supervisor.stack import local_settings
from services.supervisor.stop_signals import StopSignals

_FAREWELL_SECONDS: Final = 2.0


class Guide:
    """Takes the tour in a thread of its own, while the main thread looks after the processes.

    When the tour is over, the stack is told to stop unless it shall ``stay``.
    """

    def __init__(self, tour: Callable[[], None], stop: StopSignals, *, stay: bool) -> None:
        self._tour = tour
        self._stop = stop
        self._stay = stay
        self._thread = Thread(target=self._walk, name="tour", daemon=True)
        self.complete = False
        self.failure: str | None = None

    def begin(self) -> None:
        self._thread.start()

    def farewell(self) -> None:
        """Give the thread a moment to notice that all is over."""
        self._thread.join(_FAREWELL_SECONDS)

    def _walk(self) -> None:
        try:
            self._tour()
            self.complete = True
        except (ServerRefused, BrainTumorError, OSError) as error:
            if not self._stop.requested.is_set():  # else it is the end of the server that we see
                self.failure = str(error)
        finally:
            if not (self.complete and self._stay):
                self._stop.requested.set()


def run_quickstart(data_dir: Path, address: str | None) -> int:
    """Start the stack, show everything, and stay until Ctrl-C if there is a terminal.

    The exit status: 0 if everything was shown, else 1.
    """
    out = Output(as_json=False)
    try:
        with StopSignals() as stop:
            _show(local_settings(data_dir, address), stop, out)
    except BrainTumorError as error:
        out.problem(error.message)
        return FAILED
    except OSError as error:
        out.problem(unfit(error))
        return FAILED
    out.line("Stopped.")
    return STOPPED


def _show(settings: Settings, stop: StopSignals, out: Output) -> None:
    with started(settings, stop, out) as stack:
        if stack is None:
            raise FailedPrecondition("Stopped before everything was shown.")
        out.line(ready_line(settings))
        with Client(bind_endpoint(settings.address).local_address) as client:
            stay = sys.stdin.isatty() and sys.stdout.isatty()
            tour = Tour(Session(client, out), settings)
            guide = Guide(tour.walk, stop, stay=stay)
            guide.begin()
            stack.run()
        guide.farewell()
        out.line("Stopping.")
    if not guide.complete:
        raise FailedPrecondition(guide.failure or "Stopped before everything was shown.")
