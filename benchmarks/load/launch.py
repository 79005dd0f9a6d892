"""Starts a server as a user would, and stops it."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.load.system import StartFailed

START_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_TAIL: Final = 2000


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run, in which folder and environment; what it prints goes to ``log``."""

    words: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path


class Server:
    """A process that was started."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def said(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Raises ``StartFailed`` if it ends before, or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self._process.poll() is not None:
                raise StartFailed(f"it ended before it was ready: {self.said()[-_TAIL:]}")
            if time.monotonic() > deadline:
                raise StartFailed(f"not ready in {START_SECONDS:g} s: {self.said()[-_TAIL:]}")
            time.sleep(_POLL_SECONDS)


@contextmanager
def launched(command: Command) -> Iterator[Server]:
    """The command running in a session of its own; stopped by Ctrl-C's signal in the end."""
    with command.log.open("wb") as log:
        process = subprocess.Popen(
            command.words,
            env=dict(command.environment),
            cwd=command.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Server(process, command.log)
    finally:
        _stop(process)


def stop_children_when_killed() -> None:
    """Have a plain ``kill`` end this program as Ctrl-C does: what it launched is stopped first."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
