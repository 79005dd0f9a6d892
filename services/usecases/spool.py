"""A file on this machine for the one of an upload that is being received."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Final

from core.errors import StoreUnavailable
from core.old_files import remove_old_files

_PREFIX: Final = "braintumor-upload-"


@contextmanager
def spool() -> Iterator[IO[bytes]]:
    """An empty file, which goes with the block."""
    with spool_errors():
        file = tempfile.NamedTemporaryFile(prefix=_PREFIX)  # noqa: SIM115
    try:
        yield file
    finally:
        with suppress(OSError):  # on a full disk even closing fails, and the error was told
            file.close()


@contextmanager
def spool_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StoreUnavailable("temporary folder") from exc


def remove_forgotten_spools(folder: Path, untouched_since: datetime) -> int:
    """Remove those that gateways which were killed have left; how many there were."""
    return remove_old_files(folder, f"{_PREFIX}*", untouched_since)
