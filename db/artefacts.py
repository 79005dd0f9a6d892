"""The artefact store over fsspec: a folder, or a bucket."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, cast
from uuid import uuid4

import fsspec

from core.errors import BrainTumorError, InvalidArgument, NotFound, StoreUnavailable
from core.old_files import remove_old_files

_CHUNK: Final = 1 << 20
_INCOMING: Final = ".incoming"
"""Folder for files that are not whole yet; on the same file system, so that a rename is atomic."""
_GLOB: Final = re.compile(r"[*?\[]")


def check_key(key: str) -> str:
    """The key itself. Raises ``InvalidArgument`` unless it is a relative POSIX path that stays
    inside the store."""
    parts = key.split("/")
    leaves = any(part in {"", ".", ".."} or "\\" in part or "\0" in part for part in parts)
    if leaves or parts[0] == _INCOMING:
        raise InvalidArgument.of("key", f"{key!r} is not a relative path inside the store")
    return key


class FsspecArtefactStore:
    """:class:`core.ports.ArtefactStore` below ``url`` (``file:///...``, ``s3://bucket/prefix``).

    A key appears whole or not at all: local files are written elsewhere, flushed to the disk and
    renamed into place; object stores do as much by themselves. A store that is away, full or
    forbidden raises ``StoreUnavailable``, a bad key or URL ``InvalidArgument``.
    """

    def __init__(self, url: str) -> None:
        try:
            # Another machine's files must be seen at once, so listings are not cached.
            self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ValueError, ImportError) as exc:  # an unknown protocol, or its package is missing
            raise InvalidArgument.of("artefact_url", str(exc)) from exc
        self._root = root.rstrip("/")
        self._local = "file" in _protocols(self._files)

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with _store_errors(key):
            if self._local:
                with self._writing(Path(path)) as target:
                    target.write(data)
            else:
                self._files.pipe_file(path, data)

    def put_file(self, key: str, source: Path) -> None:
        path = self._path(key)
        with _store_errors(key):
            if self._local:
                with source.open("rb") as stream, self._writing(Path(path)) as target:
                    shutil.copyfileobj(stream, target, _CHUNK)
            else:
                self._files.put_file(str(source), path)

    def get(self, key: str) -> bytes:
        path = self._path(key)
        with _read_errors(key):
            return cast(bytes, self._files.cat_file(path))

    def open(self, key: str) -> BinaryIO:
        path = self._path(key)
        with _read_errors(key):
            return cast(BinaryIO, self._files.open(path, "rb"))

    def exists(self, key: str) -> bool:
        path = self._path(key)
        with _read_errors(key):
            return bool(self._files.isfile(path))

    def list(self, prefix: str) -> tuple[str, ...]:
        paths = self._paths_below(prefix)
        return tuple(sorted(path[len(self._root) + 1 :] for path in paths))

    def delete(self, prefix: str) -> None:
        paths = self._paths_below(prefix)
        # What somebody else removed at the same moment is gone, as it should be.
        with suppress(NotFound), _store_errors(prefix):
            if self._local:
                _remove_local(Path(self._path(prefix)))
            else:
                self._remove_remote(paths)

    def remove_unfinished(self, untouched_since: datetime) -> int:
        if not self._local:  # there, what is not whole is nowhere to be seen
            return 0
        with _store_errors(_INCOMING):
            return remove_old_files(Path(self._root) / _INCOMING, "*", untouched_since)

    def _remove_remote(self, paths: Sequence[str]) -> None:
        # Many in one request where there can be; but there a '*' would be taken for a pattern.
        plain = [path for path in paths if not _GLOB.search(path)]
        if plain:
            self._files.rm(plain)
        for path in set(paths).difference(plain):
            self._files.rm_file(path)

    def _paths_below(self, prefix: str) -> Sequence[str]:
        path = self._path(prefix)
        with _store_errors(prefix):
            return cast(Sequence[str], self._files.find(path))

    @contextmanager
    def _writing(self, path: Path) -> Iterator[BinaryIO]:
        """A local file to write to, which takes its place when the block ends well."""
        temporary = Path(self._root) / _INCOMING / uuid4().hex
        temporary.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as target:
                yield target
                target.flush()
                os.fsync(target.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def _path(self, key: str) -> str:
        return f"{self._root}/{PurePosixPath(check_key(key))}"


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _remove_local(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, onerror=_unless_gone)
    else:
        path.unlink(missing_ok=True)


def _unless_gone(_function: object, _path: str, error: Any) -> None:
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]


def _sync_folder(folder: Path) -> None:
    """Make a rename inside the folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _read_errors(key: str) -> Iterator[None]:
    try:
        with _store_errors(key):
            yield
    except StoreUnavailable as exc:
        # The key names a folder, or goes on where another key is a file.
        if isinstance(exc.__cause__, IsADirectoryError | NotADirectoryError | FileExistsError):
            raise NotFound(key) from exc.__cause__
        raise


@contextmanager
def _store_errors(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise NotFound(key) from exc
    except BrainTumorError:
        raise
    except Exception as exc:  # clients of object stores raise families of their own
        raise StoreUnavailable("artefact store") from exc
