"""A folder or archive as the stream of messages that ``UploadDataset`` takes."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from braintumor.v1 import datasets_pb2

from core.errors import DatasetRefused
from core.manifest import is_manifest, manifest_rows, manifest_top, unnamed
from core.settings import MIB
from services.cli.pictures import files_below, is_picture

CHUNK_BYTES: Final = MIB


@dataclass(frozen=True, kw_only=True)
class UploadPlan:
    """The files to send, by their path in the data set, and the paths of those left behind.

    ``unnamed`` are pictures that will not be used, since the folder's manifest passes over them.
    They are sent all the same: the server's audit counts them.
    """

    files: Sequence[tuple[str, Path]]
    left_out: Sequence[str] = ()
    unnamed: Sequence[str] = ()

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for _, path in self.files)


def plan_upload(source: Path) -> UploadPlan:
    """The pictures and the manifest of a folder, or the one archive. Raises ``OSError``."""
    if not source.is_dir():
        return UploadPlan(files=((source.name, source),))
    everything = list(files_below(source))
    wanted = [path for path in everything if is_picture(path) or _is_manifest(path, source)]
    sent = set(wanted)
    names = {path: path.relative_to(source).as_posix() for path in everything}
    return UploadPlan(
        files=tuple((names[path], path) for path in wanted),
        left_out=tuple(names[path] for path in everything if path not in sent),
        unnamed=_unnamed({names[path]: path for path in wanted}),
    )


def upload_messages(
    plan: UploadPlan,
    header: datasets_pb2.UploadHeader,
    sent: Callable[[int], None] = lambda _count: None,
) -> Iterator[datasets_pb2.UploadDatasetRequest]:
    """The header, then each file's description and bytes. ``sent`` is told each chunk's size.

    Every file is read twice: its hash goes ahead of it. Raises ``OSError``.
    """
    yield datasets_pb2.UploadDatasetRequest(header=header)
    for name, path in plan.files:
        digest = sha256_of(path)
        description = datasets_pb2.UploadFile(
            path=name, size_bytes=path.stat().st_size, sha256=digest
        )
        yield datasets_pb2.UploadDatasetRequest(file=description)
        for chunk in _chunks(path):
            yield datasets_pb2.UploadDatasetRequest(chunk=chunk)
            sent(len(chunk))


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_manifest(path: Path, folder: Path) -> bool:
    return is_manifest(path.name) and len(path.relative_to(folder).parts) <= 2


def _unnamed(files: Mapping[str, Path]) -> tuple[str, ...]:
    """Pictures that the one manifest among the files does not name.

    What is wrong with a manifest is for the server to say.
    """
    manifests = [name for name in files if is_manifest(name)]
    if len(manifests) != 1:
        return ()
    (manifest,) = manifests
    try:
        rows = manifest_rows(files[manifest].read_bytes())
    except DatasetRefused:
        return ()
    top = manifest_top(manifest)
    pictures = [name for name, path in files.items() if is_picture(path)]
    passed_over = unnamed((p.removeprefix(top) for p in pictures if p.startswith(top)), rows)
    outside = [name for name in pictures if not name.startswith(top)]
    return (*(top + name for name in passed_over), *outside)


def _chunks(path: Path) -> Iterator[bytes]:
    # The stream may be dropped at any message, so no file stays open between two of them.
    for offset in count(step=CHUNK_BYTES):
        with path.open("rb") as file:
            file.seek(offset)
            chunk = file.read(CHUNK_BYTES)
        if not chunk:
            return
        yield chunk
