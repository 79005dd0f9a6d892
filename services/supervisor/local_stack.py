"""The running system: checks, lock, migrations, processes, and the end of it all."""

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from core.errors import FailedPrecondition, StoreUnavailable
from core.settings import Settings
from services.supervisor import preflight
from services.supervisor.lock import DataFolderLock
from services.supervisor.processes import Child, ProcessSpec, rotate_log
from services.supervisor.readiness import Readiness, stack_readiness
from services.supervisor.reaper import Reaper
from services.supervisor.stack import (
    child_environment,
    curation_spec,
    gateway_spec,
    given_broker,
    inference_spec,
    log_path,
    training_spec,
)
from services.supervisor.stop_signals import StopSignals
from services.supervisor.supervisor import Supervisor
from services.supervisor.valkey import broker_url, private_folder, valkey_spec

READY_SECONDS: Final = 120.0
_TICK_SECONDS: Final = 0.1


class LocalStack:
    """Starts on entry, stops on exit. Use it from the main thread, under ``StopSignals``.

    ``say`` gets each line that is meant for the person at the terminal.
    """

    def __init__(
        self, settings: Settings, stop: StopSignals, *, say: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self._stop = stop
        self._say = say
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        """Raises ``FailedPrecondition`` that says what is in the way."""
        with ExitStack() as undo:
            self._prepare(undo)
            self._launch(undo)
            self._exit = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    def wait_until_ready(self, waiting_for: Callable[[tuple[str, ...]], None]) -> bool:
        """True once the stack answers, False if it was told to stop before.

        ``waiting_for`` is told which parts are missing each time that changes. Raises
        ``FailedPrecondition`` when a part keeps dying or takes too long.
        """
        readiness = stack_readiness(self.settings)
        deadline = time.monotonic() + READY_SECONDS
        before: tuple[str, ...] | None = None
        while not self._stop.requested.is_set():
            missing = self._still_missing(readiness)
            if not missing:
                return True
            if missing != before:
                waiting_for(missing)
                before = missing
            if time.monotonic() > deadline:
                raise FailedPrecondition(self._too_slow(missing))
            self._stop.requested.wait(_TICK_SECONDS)
        return False

    def run(self) -> None:
        """Keep the stack running until it is told to stop.

        Raises ``FailedPrecondition`` when a part keeps dying.
        """
        while not self._stop.requested.is_set():
            self._supervisor.tick()
            self._stop.requested.wait(_TICK_SECONDS)

    def _still_missing(self, readiness: Readiness) -> tuple[str, ...]:
        self._supervisor.tick()
        return readiness.missing()

    def _too_slow(self, missing: tuple[str, ...]) -> str:
        return (
            f"Not ready after {READY_SECONDS:g} s: {' and '.join(missing)}. "
            f"Look into the logs in {log_path(self.settings, 'gateway').parent}."
        )

    def _prepare(self, undo: ExitStack) -> None:
        preflight.check_platform()
        embedded = given_broker() is None
        preflight.check_packages(self.settings, embedded_broker=embedded)
        preflight.prepare_folder(self.settings.data_dir)
        undo.enter_context(DataFolderLock(self.settings.data_dir))
        preflight.check_free_space(self.settings.data_dir)
        preflight.check_port(self.settings.address)
        if not embedded:
            preflight.check_broker(self.settings.broker_url)
        _migrate(self.settings.database_url)

    def _launch(self, undo: ExitStack) -> None:
        specs = self._specs(undo)
        for spec in specs:
            spec.log.parent.mkdir(exist_ok=True)
            rotate_log(spec.log)
        reaper = Reaper()
        undo.callback(reaper.close)
        self._supervisor = Supervisor([Child(spec, reaper) for spec in specs], say=self._say)
        undo.callback(self._supervisor.stop, hurry=self._stop.insistent.is_set)
        self._supervisor.start()

    def _specs(self, undo: ExitStack) -> list[ProcessSpec]:
        broker: list[ProcessSpec] = []
        if given_broker() is None:
            folder = private_folder()
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            self.settings = replace(self.settings, broker_url=broker_url(folder))
            broker = [self._broker_spec(folder)]
        environment = child_environment(self.settings)
        makers = (gateway_spec, inference_spec, curation_spec, training_spec)
        return broker + [make(self.settings, environment) for make in makers]

    def _broker_spec(self, folder: Path) -> ProcessSpec:
        log = log_path(self.settings, "broker")
        return valkey_spec(folder, self.settings.data_dir, log, child_environment(self.settings))


def _migrate(url: str) -> None:
    from db.migrate import upgrade

    try:
        upgrade(url)
    except StoreUnavailable as exc:
        cause = str(exc.__cause__ or exc).splitlines()[0]
        raise FailedPrecondition(
            f"The database cannot be opened or brought up to date: {cause}. "
            "Check DATABASE_URL and the data folder."
        ) from exc
