"""Where a data set's files come from: an upload, a folder, an archive, a bucket."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final
from urllib.parse import unquote, urlsplit

import fsspec

from core.errors import BrainTumorError, DatasetRefused, InvalidArgument, StoreUnavailable
from core.messages import IngestRequest, IngestSource
from core.ports import ArtefactStore
from core.settings import Settings
from core.source_names import is_archive
from workers.curation.archives import check_encodable, read_archive
from workers.curation.manifest import is_of_interest

MAX_FILES: Final = 200_000
_CHUNK: Final = 1 << 20
_REMOTE_SCHEMES: Final = frozenset(
    {
        *("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss"),
        *("http", "https", "ftp", "sftp", "ssh", "hdfs", "webhdfs", "hf", "memory"),
    }
)
"""Of fsspec's schemes those that cannot reach this machine's files."""
_IGNORED_NAMES: Final = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class SourceFile:
    """One file of a data set: its path in the set, and how to get at its bytes."""

    path: str
    read: Callable[[], bytes]


def open_source(
    request: IngestRequest, store: ArtefactStore, settings: Settings
) -> Iterator[SourceFile]:
    """The data set's files, archives unpacked, system files left out.

    Raises ``InvalidArgument`` for a URI that may not or cannot be read, ``DatasetRefused`` for
    an archive that cannot be.
    """
    if request.source is IngestSource.STAGED:
        files = _staged(store, request.location)
    else:
        files = _from_uri(request.location, settings)
    if len(files) == 1 and is_archive(files[0].path):
        files_iter = _unpacked(files[0], settings)
    else:
        files_iter = (f.picture(settings.max_image_bytes) for f in _within_limit(files))
    return (file for file in files_iter if not _ignored(file.path))


Opener = Callable[[], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True)
class _Located:
    """A file that lies somewhere, whole or as an archive. Paths are checked to be UTF-8."""

    path: str
    open: Opener

    def __post_init__(self) -> None:
        check_encodable(self.path)

    def picture(self, max_bytes: int) -> SourceFile:
        """The file as it is; see :func:`_read_at_most`."""
        return SourceFile(self.path, partial(_read_at_most, self.open, max_bytes))


def _read_at_most(open_file: Opener, max_bytes: int) -> bytes:
    """The file's bytes; of a larger one a single byte more, enough to refuse it by name."""
    buffer = io.BytesIO()
    with open_file() as stream:
        while chunk := stream.read(min(_CHUNK, max_bytes + 1 - buffer.tell())):
            buffer.write(chunk)
    return buffer.getvalue()


def _staged(store: ArtefactStore, location: str) -> list[_Located]:
    index = json.loads(store.get(f"{location}/index.json"))
    return [_Located(entry["path"], partial(_staged_file, store, entry["key"])) for entry in index]


@contextmanager
def _staged_file(store: ArtefactStore, key: str) -> Iterator[BinaryIO]:
    try:
        with store.open(key) as stream:
            yield stream
    except BrainTumorError:
        raise
    except Exception as exc:  # the store translates what opening raises, not what reading does
        raise StoreUnavailable("artefact store") from exc


def _from_uri(uri: str, settings: Settings) -> list[_Located]:
    scheme = urlsplit(uri).scheme
    if scheme == "file":
        return _local_files(_allowed_path(uri, settings))
    if not settings.import_remote:
        raise InvalidArgument.of(
            "uri",
            "only file:// is imported here; set BRAINTUMOR_IMPORT_REMOTE=1 on the server to "
            "allow others",
        )
    if scheme not in _REMOTE_SCHEMES or "::" in uri:
        raise InvalidArgument.of("uri", f"{scheme}:// is not a kind of URI that is imported")
    return _remote_files(uri)


def _allowed_path(uri: str, settings: Settings) -> Path:
    parts = urlsplit(uri)
    if parts.netloc not in {"", "localhost"}:
        raise InvalidArgument.of("uri", "file:// URIs have three slashes: file:///folder")
    try:
        path = Path(unquote(parts.path)).resolve()
        exists = path.exists()
    except (ValueError, OSError) as exc:  # a null byte, a name that is too long
        raise InvalidArgument.of("uri", "is not the path of a file or folder") from exc
    roots = [Path(root).resolve() for root in settings.import_roots.split(":") if root]
    # Existence is not told before permission: a refusal must tell nothing.
    if not any(path.is_relative_to(root) for root in roots):
        raise InvalidArgument.of(
            "uri",
            "the server may not read there, it is in none of its BRAINTUMOR_IMPORT_ROOTS; have "
            "the folder added, or upload the data set",
        )
    if not exists:
        raise InvalidArgument.of("uri", f"{path} does not exist on the server")
    return path


def _local_files(path: Path) -> list[_Located]:
    if path.is_file():
        return [_Located(path.name, partial(_local, path))]
    # Links may lead out of the folder that was allowed, so they are not followed.
    found = sorted(p for p in path.rglob("*") if p.is_file() and not _has_link(p, path))
    return [_Located(p.relative_to(path).as_posix(), partial(_local, p)) for p in found]


def _has_link(path: Path, top: Path) -> bool:
    return any(p.is_symlink() for p in (path, *path.parents) if p.is_relative_to(top) and p != top)


@contextmanager
def _local(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as exc:
        problem = exc.strerror or type(exc).__name__
        raise InvalidArgument.of("uri", f"{path} cannot be read: {problem}") from exc


def _remote_files(uri: str) -> list[_Located]:
    try:
        files, root = fsspec.core.url_to_fs(uri)
        found = [root] if files.isfile(root) else sorted(files.find(root))
    except BrainTumorError:
        raise
    except Exception as exc:  # each protocol has its own errors, and missing packages raise too
        raise _unreadable(exc) from exc
    if not found:
        raise InvalidArgument.of("uri", "there is nothing there")
    top = PurePosixPath(root)
    return [
        _Located(
            PurePosixPath(p).name if p == root else str(PurePosixPath(p).relative_to(top)),
            partial(_remote, files, p),
        )
        for p in found
    ]


@contextmanager
def _remote(files: Any, path: str) -> Iterator[BinaryIO]:
    try:
        with files.open(path, "rb") as stream:
            yield stream
    except BrainTumorError:
        raise
    except Exception as exc:  # as above, and a connection may break at any byte
        raise _unreadable(exc) from exc


def _unreadable(exc: Exception) -> InvalidArgument:
    return InvalidArgument.of("uri", f"cannot be read: {type(exc).__name__}")


def read_remote(uri: str, settings: Settings) -> bytes:
    """The one file that the URI names. Raises ``InvalidArgument`` if it may not or cannot be read,
    or is larger than a data set may be."""
    files = _from_uri(uri, settings)
    if len(files) != 1:
        raise InvalidArgument.of("uri", "must name one file")
    data = files[0].picture(settings.max_dataset_bytes).read()
    if len(data) > settings.max_dataset_bytes:
        raise InvalidArgument.of("uri", "is too large")
    return data


def _within_limit(files: list[_Located]) -> list[_Located]:
    if len(files) > MAX_FILES:
        raise DatasetRefused(f"The data set has more than {MAX_FILES:,} files.")
    return files


def _unpacked(archive: _Located, settings: Settings) -> Iterator[SourceFile]:
    with archive.open() as stream:
        unpacked = read_archive(
            stream,
            archive.path,
            max_bytes=settings.max_dataset_bytes,
            max_file_bytes=settings.max_image_bytes,
            wanted=is_of_interest,
        )
        for path, data in unpacked:
            yield SourceFile(path, partial(bytes, data))


def _ignored(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return any(part.startswith(".") or part in _IGNORED_NAMES for part in parts)
