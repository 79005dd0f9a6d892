"""One supervised child process: how it is started, watched and ended."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

LOGS_KEPT: Final = 5
_TAIL_BYTES: Final = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """How to run one process.

    Processes of a lower ``stop_phase`` are stopped first; one that has not ended
    ``grace_seconds`` after SIGTERM is killed.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    stop_phase: int = 0
    grace_seconds: float = 10.0


class GroupWatch(Protocol):
    """Is told which process groups live, so that it can end them if the supervisor cannot."""

    def add(self, group: int) -> None: ...

    def discard(self, group: int) -> None: ...


class Child:
    """A process in a session and group of its own, so that Ctrl-C reaches the supervisor alone."""

    def __init__(self, spec: ProcessSpec, watch: GroupWatch) -> None:
        self.spec: Final = spec
        self._watch = watch
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process; its output goes to the end of its log. Raises ``OSError``."""
        with self.spec.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.spec.command,
                env=dict(self.spec.environment),
                cwd=self.spec.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watch.add(self._process.pid)

    def poll(self) -> int | None:
        """The exit status if the process has ended (negative: the signal's number), else None."""
        if self._process is None:
            return None
        status = self._process.poll()
        if status is not None:
            self._forget(self._process.pid)
        return status

    def terminate(self) -> None:
        """Ask the process, not its own children, to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End the process and everything it has started."""
        if self._process is not None:
            _kill_group(self._process.pid)
            self._process.wait()
            self._forget(self._process.pid)

    def last_lines(self, count: int = 15) -> tuple[str, ...]:
        """The end of its log."""
        try:
            with self.spec.log.open("rb") as log:
                log.seek(max(0, self.spec.log.stat().st_size - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return ()
        return tuple(text.splitlines()[-count:])

    def _forget(self, group: int) -> None:
        # A worker that was killed leaves the children of its pool behind.
        _kill_group(group)
        self._watch.discard(group)
        self._process = None


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def rotate_log(log: Path, kept: int = LOGS_KEPT) -> None:
    """Move ``x.log`` to ``x.log.1``, that to ``x.log.2`` and so on; the oldest goes."""
    for number in range(kept - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
