"""Makes sure that nothing outlives a supervisor that was killed and could not clean up.

A tiny process of its own holds the reading end of a pipe. The supervisor tells it which process
groups live; when the pipe closes with groups still listed, the supervisor is dead, and the
reaper ends them. Unlike ``PR_SET_PDEATHSIG`` this reaches the children's children (Celery's pool)
and works on every Unix.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

_SCRIPT: Final = Path(__file__).with_name("reaper_process.py")


class Reaper:
    """The supervisor's end of the pipe. A reaper that was itself killed is started again."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._begin()

    @property
    def pid(self) -> int:
        return self._process.pid

    def add(self, group: int) -> None:
        self._groups.add(group)
        self._tell(f"+{group}")

    def discard(self, group: int) -> None:
        self._groups.discard(group)
        self._tell(f"-{group}")

    def close(self) -> None:
        """Close the pipe; groups that are still listed are ended."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._process.wait()

    def _begin(self) -> None:
        # Isolated and without site-packages: it starts at once, stays small, imports no more.
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as end:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SCRIPT)],
                stdin=end,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._pipe = os.fdopen(writing, "wb", buffering=0)

    def _tell(self, line: str) -> None:
        try:
            self._pipe.write(f"{line}\n".encode())
        except BrokenPipeError:
            self.close()
            self._begin()
            for group in self._groups:
                self._pipe.write(f"+{group}\n".encode())
