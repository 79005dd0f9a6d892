"""Where a data set's files come from: an upload, a folder, an archive, a bucket."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

import fsspec

from core.errors import BrainTumorError, DatasetRefused, InvalidArgument
from core.messages import IngestRequest, IngestSource
from core.ports import ArtefactStore
from core.settings import Settings
from workers.curation.archives import is_archive, read_archive
from workers.curation.manifest import is_of_interest

MAX_FILES: Final = 200_000
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
        files_iter = iter(_within_limit(files))
    return (file for file in files_iter if not _ignored(file.path))


@dataclass(frozen=True)
class _Located(SourceFile):
    """A file that can also be opened as a stream, for archives."""

    open: Callable[[], BinaryIO]


def _staged(store: ArtefactStore, location: str) -> list[_Located]:
    index = json.loads(store.get(f"{location}/index.json"))
    return [
        _Located(
            entry["path"],
            partial(store.get, entry["key"]),
            partial(store.open, entry["key"]),
        )
        for entry in index
    ]


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
            "the server may not read there; add the folder to BRAINTUMOR_IMPORT_ROOTS on the "
            "server, or upload the data set",
        )
    if not exists:
        raise InvalidArgument.of("uri", f"{path} does not exist on the server")
    return path


def _local_files(path: Path) -> list[_Located]:
    if path.is_file():
        return [_local(path, path.name)]
    # Links may lead out of the folder that was allowed, so they are not followed.
    found = sorted(p for p in path.rglob("*") if p.is_file() and not _has_link(p, path))
    return [_local(p, p.relative_to(path).as_posix()) for p in found]


def _has_link(path: Path, top: Path) -> bool:
    return any(p.is_symlink() for p in (path, *path.parents) if p.is_relative_to(top) and p != top)


def _local(path: Path, name: str) -> _Located:
    def opened() -> BinaryIO:
        try:
            return path.open("rb")
        except OSError as exc:
            problem = exc.strerror or type(exc).__name__
            raise InvalidArgument.of("uri", f"{path} cannot be read: {problem}") from exc

    def read() -> bytes:
        with opened() as file:
            return file.read()

    return _Located(name, read, opened)


def _remote_files(uri: str) -> list[_Located]:
    try:
        files, root = fsspec.core.url_to_fs(uri)
        found = [root] if files.isfile(root) else sorted(files.find(root))
    except BrainTumorError:
        raise
    except Exception as exc:  # each protocol has its own errors, and missing packages raise too
        raise InvalidArgument.of("uri", f"cannot be read: {type(exc).__name__}") from exc
    if not found:
        raise InvalidArgument.of("uri", "there is nothing there")
    top = PurePosixPath(root)
    return [
        _Located(
            PurePosixPath(p).name if p == root else str(PurePosixPath(p).relative_to(top)),
            partial(files.cat_file, p),
            partial(files.open, p, "rb"),
        )
        for p in found
    ]


def read_remote(uri: str, settings: Settings) -> bytes:
    """The one file that the URI names. Raises ``InvalidArgument`` if it may not or cannot be read,
    or is larger than a data set may be."""
    files = _from_uri(uri, settings)
    if len(files) != 1:
        raise InvalidArgument.of("uri", "must name one file")
    try:
        with files[0].open() as stream:
            data = stream.read(settings.max_dataset_bytes + 1)
    except BrainTumorError:
        raise
    except Exception as exc:  # each protocol has its own errors
        raise InvalidArgument.of("uri", f"cannot be read: {type(exc).__name__}") from exc
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
