"""One running stack per data folder."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from core.errors import FailedPrecondition

LOCK_NAME: Final = "up.lock"


class DataFolderLock:
    """An exclusive lock on a data folder, held until it is closed or its process ends.

    The file holds the owner's process id, for the message to the second one. It stays where it
    is: removing it would let two processes lock two different files of the same name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None

    def __enter__(self) -> Self:
        """Raises ``FailedPrecondition`` that names the process which has the folder."""
        path = self._folder / LOCK_NAME
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            owner = os.read(file, 32).decode(errors="replace").strip()
            os.close(file)
            raise FailedPrecondition(_taken(self._folder, owner)) from exc
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _taken(folder: Path, owner: str) -> str:
    who = f"process {owner}" if owner else "another process"
    return (
        f"braintumor is already running on {folder} ({who}). "
        "Stop it with Ctrl-C there, or give --data-dir another folder."
    )
