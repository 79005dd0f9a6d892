"""Zip and tar files, read without trusting a word of what they say about themselves."""

import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, Final

from core.errors import DatasetRefused

ARCHIVE_SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_ENTRIES: Final = 200_000


def is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def read_archive(stream: BinaryIO, name: str, max_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Each regular file's path and bytes.

    Raises ``DatasetRefused`` for a damaged or encrypted archive, a path that leads outside, or
    more than ``max_bytes`` when unpacked.
    """
    budget = _Budget(max_bytes)
    reader = _read_zip if name.lower().endswith(".zip") else _read_tar
    try:
        for path, entry, size in reader(stream):
            budget.announce(size)
            yield _checked_path(path), budget.read(entry)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, ValueError) as exc:
        raise DatasetRefused(f"The archive {name} is damaged and cannot be unpacked.") from exc
    except (NotImplementedError, RuntimeError) as exc:
        raise DatasetRefused(
            f"The archive {name} is encrypted or uses an unknown compression. Send it plain."
        ) from exc


class _Budget:
    """Counts what was really unpacked; an archive's own sizes may lie."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._entries = 0

    def announce(self, size: int) -> None:
        self._entries += 1
        if size > self._left:
            raise DatasetRefused("The archive unpacks to more than the server accepts.")
        if self._entries > MAX_ENTRIES:
            raise DatasetRefused(f"The archive has more than {MAX_ENTRIES:,} files.")

    def read(self, entry: BinaryIO) -> bytes:
        buffer = io.BytesIO()
        while chunk := entry.read(1 << 20):
            self._left -= len(chunk)
            if self._left < 0:
                raise DatasetRefused("The archive unpacks to more than the server accepts.")
            buffer.write(chunk)
        return buffer.getvalue()


def _read_zip(stream: BinaryIO) -> Iterator[tuple[str, BinaryIO, int]]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            if info.is_dir() or _is_zip_link(info):
                continue
            with archive.open(info) as entry:
                yield info.filename, entry, info.file_size  # type: ignore[misc]


def _is_zip_link(info: zipfile.ZipInfo) -> bool:
    return (info.external_attr >> 16) & 0o170000 == 0o120000


def _read_tar(stream: BinaryIO) -> Iterator[tuple[str, BinaryIO, int]]:
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            entry = archive.extractfile(member) if member.isreg() else None
            if entry is not None:
                yield member.name, entry, member.size  # type: ignore[misc]


def _checked_path(path: str) -> str:
    plain = PurePosixPath(path.replace("\\", "/"))
    if plain.is_absolute() or ".." in plain.parts or ":" in plain.parts[0]:
        raise DatasetRefused(f"The archive has a path that leads outside of it: {path!r}.")
    return str(plain)
