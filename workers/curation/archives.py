"""Zip and tar files, read without trusting a word of what they say about themselves."""

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final

from core.errors import DatasetRefused

MAX_ENTRIES: Final = 200_000
MAX_HEADER_BYTES: Final = 1 << 20
"""Of what a tar file says about one entry: its long names and attributes."""

_DAMAGED: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    TypeError,  # of tarfile, for a gzip header that ends too early
    IndexError,  # of zipfile, for an entry without a name
)


def read_archive(
    stream: BinaryIO,
    name: str,
    *,
    max_bytes: int,
    max_file_bytes: int,
    wanted: Callable[[str], bool],
) -> Iterator[tuple[str, bytes]]:
    """The path and the bytes of each regular file whose path is ``wanted``.

    Of a file above ``max_file_bytes`` one byte more than that is read, enough to refuse it by
    name. Raises ``DatasetRefused`` for a damaged or encrypted archive, a path that leads outside,
    or more than ``max_bytes`` when unpacked.
    """
    budget = _Budget(max_bytes, max_file_bytes + 1)
    reader = _read_zip if name.lower().endswith(".zip") else _read_tar
    try:
        for path, entry, size in reader(stream):
            budget.announce(size)
            if entry is not None and wanted(checked := _checked_path(path)):
                yield checked, budget.read(entry)
    except _DAMAGED as exc:
        raise DatasetRefused(f"The archive {name} is damaged and cannot be unpacked.") from exc
    except (NotImplementedError, RuntimeError) as exc:
        raise DatasetRefused(
            f"The archive {name} is encrypted or uses an unknown compression. Send it plain."
        ) from exc


class _Budget:
    """Counts what was really unpacked; an archive's own sizes may lie."""

    def __init__(self, max_bytes: int, max_file_bytes: int) -> None:
        self._left = max_bytes
        self._max_file_bytes = max_file_bytes
        self._entries = 0

    def announce(self, size: int) -> None:
        self._entries += 1
        if size > self._left:
            raise DatasetRefused("The archive unpacks to more than the server accepts.")
        if self._entries > MAX_ENTRIES:
            raise DatasetRefused(f"The archive has more than {MAX_ENTRIES:,} files.")

    def read(self, entry: BinaryIO) -> bytes:
        buffer = io.BytesIO()
        while chunk := entry.read(min(1 << 20, self._max_file_bytes - buffer.tell())):
            self._left -= len(chunk)
            if self._left < 0:
                raise DatasetRefused("The archive unpacks to more than the server accepts.")
            buffer.write(chunk)
        return buffer.getvalue()


Entry = tuple[str, BinaryIO | None, int]
"""A path, the file's stream (None for what is no file), and the size that it claims."""


def _read_zip(stream: BinaryIO) -> Iterator[Entry]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            if info.is_dir() or _is_zip_link(info):
                yield info.filename, None, 0
                continue
            with archive.open(info) as entry:
                yield info.filename, entry, info.file_size  # type: ignore[misc]


def _is_zip_link(info: zipfile.ZipInfo) -> bool:
    return (info.external_attr >> 16) & 0o170000 == 0o120000


class _TarInfo(tarfile.TarInfo):
    """Refuses to read a huge header, which tarfile would take into memory whole."""

    _HEADERS: Final = (
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    )

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in self._HEADERS and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header is too large")
        return super()._proc_member(archive)  # type: ignore[misc]


def _read_tar(stream: BinaryIO) -> Iterator[Entry]:
    with tarfile.open(fileobj=stream, mode="r|*", tarinfo=_TarInfo) as archive:
        for member in archive:
            entry = archive.extractfile(member) if member.isreg() else None
            yield member.name, entry, member.size if member.isreg() else 0  # type: ignore[misc]


def check_encodable(path: str) -> None:
    """Raises ``DatasetRefused`` for a name that is not UTF-8: no record could hold it."""
    try:
        path.encode()
    except UnicodeEncodeError as exc:
        shown = path.encode("utf-8", "backslashreplace").decode()
        raise DatasetRefused(f"The name of the file {shown} is not UTF-8. Rename it.") from exc


def _checked_path(path: str) -> str:
    check_encodable(path)
    plain = PurePosixPath(path.replace("\\", "/"))
    if not plain.parts:
        raise DatasetRefused("The archive has a file without a name.")
    if plain.is_absolute() or ".." in plain.parts or ":" in plain.parts[0]:
        raise DatasetRefused(f"The archive has a path that leads outside of it: {path!r}.")
    return str(plain)
