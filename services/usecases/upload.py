"""Uploads: a stream of files in, each checked, then handed to a worker as a whole."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final
from uuid import uuid4

import structlog

from core.datasets import OnBadFile, check_dataset_id
from core.errors import BrainTumorError, FieldViolation, InvalidArgument
from core.messages import IngestRequest, IngestSource
from core.ports import DatasetIngestor, UnitOfWorkFactory
from core.source_names import is_archive
from services.long_work import LongWork
from services.usecases.datasets import made_before
from services.usecases.request_ids import check_request_id
from services.usecases.spool import spool, spool_errors
from services.usecases.staging import StagedFile, Staging

log = structlog.stdlib.get_logger(__name__)

MAX_FILES: Final = 200_000
MAX_PATH: Final = 1024
ORIGIN: Final = "upload"

_HEX: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, kw_only=True)
class Header:
    """Begins an upload. ``request_id`` is empty or the caller's UUID."""

    dataset_id: str
    request_id: str = ""
    on_bad_file: OnBadFile = OnBadFile.REFUSE


@dataclass(frozen=True, kw_only=True)
class FileStart:
    """Begins a file; ``sha256`` is the hex hash that its bytes must have."""

    path: str
    size_bytes: int
    sha256: str


Part = Header | FileStart | bytes


class UploadUseCase:
    """Takes uploads in. Nothing of one is visible before all of it has been accepted."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        staging: Staging,
        ingestor: DatasetIngestor,
        long_work: LongWork,
        max_bytes: int,
        max_file_bytes: int,
        ingest_timeout: float,
    ) -> None:
        self._uow_factory = uow_factory
        self._staging = staging
        self._ingestor = ingestor
        self._long_work = long_work
        self._limits = _Limits(max_bytes, max_file_bytes)
        self._ingest_timeout = ingest_timeout

    async def upload(self, parts: AsyncIterator[Part], caller: str) -> str:
        """The id of the accepted data set.

        A request id that was answered before gives that answer at once, without the bytes.
        Raises ``InvalidArgument`` for a stream that does not keep to the protocol,
        ``AlreadyExists``, ``RequestIdReused``, and what the worker raises.
        """
        header = await _header(parts)
        request_id = check_request_id(header.request_id)
        check_dataset_id(header.dataset_id)
        earlier = await asyncio.to_thread(
            made_before, self._uow_factory, header.dataset_id, ORIGIN, caller, request_id
        )
        if earlier is not None:
            return earlier.id
        location = self._staging.new_location()
        try:
            await self._stage(parts, location)
            return await self._ingest(header, request_id, caller, location)
        except BaseException:  # the caller's going away included
            await self._remove(location)
            raise

    async def _stage(self, parts: AsyncIterator[Part], location: str) -> None:
        with spool() as file:
            reception = _Reception(file, self._staging, location, self._limits)
            async for part in parts:
                await self._long_work.run_to_end(reception.take, part)
            await self._long_work.run_to_end(reception.finish)

    async def _ingest(
        self, header: Header, request_id: str | None, caller: str, location: str
    ) -> str:
        request = IngestRequest(
            id=uuid4().hex,
            reply_to="",  # the ingestor knows its own
            dataset_id=header.dataset_id,
            source=IngestSource.STAGED,
            location=location,
            origin=ORIGIN,
            on_bad_file=header.on_bad_file,
            request_id=request_id,
            caller=caller,
        )
        return await self._ingestor.ingest(request, self._ingest_timeout)

    async def _remove(self, location: str) -> None:
        try:
            await self._long_work.run(self._staging.remove, location)
        except BrainTumorError as error:  # swept up later; the first error is the one to tell
            log.warning("staging_left", location=location, reason=error.reason)


async def _header(parts: AsyncIterator[Part]) -> Header:
    first = await anext(parts, None)
    if not isinstance(first, Header):
        raise InvalidArgument.of("header", "must come first, before any file")
    return first


@dataclass(frozen=True)
class _Limits:
    """Most bytes of an upload, and of a file of it that is no archive."""

    bytes: int
    file_bytes: int


@dataclass
class _Incoming:
    """The file that is being received."""

    start: FileStart
    received: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)


class _Reception:
    """Checks the parts of one upload as they come, and stages each file when it is whole."""

    def __init__(self, spool: IO[bytes], staging: Staging, location: str, limits: _Limits) -> None:
        self._spool = spool
        self._staging = staging
        self._location = location
        self._limits = limits
        self._staged: list[StagedFile] = []
        self._paths: set[str] = set()
        self._declared = 0
        self._incoming: _Incoming | None = None

    def take(self, part: Part) -> None:
        """Raises ``InvalidArgument``, ``StoreUnavailable``."""
        match part:
            case Header():
                raise InvalidArgument.of("header", "must come once, at the beginning")
            case FileStart():
                self._finish_file()
                self._begin_file(part)
            case _:
                self._add_chunk(part)

    def finish(self) -> None:
        """The stream has ended well. Raises ``InvalidArgument``, ``StoreUnavailable``."""
        self._finish_file()
        if not self._staged:
            raise InvalidArgument.of("file", "there was none; send at least one")
        self._staging.put_index(self._location, self._staged)

    def _begin_file(self, start: FileStart) -> None:
        _check_start(start)
        if start.size_bytes > self._limits.file_bytes and not is_archive(start.path):
            raise InvalidArgument.of(
                f"files[{start.path}]",
                f"has more than {self._limits.file_bytes:,} bytes, the most for a picture",
            )
        if start.path in self._paths:
            raise InvalidArgument.of(f"files[{start.path}]", "was sent before")
        if len(self._staged) == MAX_FILES:
            raise InvalidArgument.of("file", f"at most {MAX_FILES:,} are accepted; send an archive")
        self._declared += start.size_bytes
        if self._declared > self._limits.bytes:
            raise InvalidArgument.of(
                "file.size_bytes", f"together at most {self._limits.bytes:,} bytes are accepted"
            )
        self._paths.add(start.path)
        self._incoming = _Incoming(start)
        with spool_errors():
            self._spool.seek(0)
            self._spool.truncate()

    def _add_chunk(self, chunk: bytes) -> None:
        incoming = self._incoming
        if incoming is None:
            raise InvalidArgument.of("chunk", "came before any file")
        incoming.received += len(chunk)
        if incoming.received > incoming.start.size_bytes:
            raise _damaged(incoming.start, "has more bytes than its size_bytes")
        incoming.digest.update(chunk)
        with spool_errors():
            self._spool.write(chunk)

    def _finish_file(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            return
        start = incoming.start
        if incoming.received != start.size_bytes:
            raise _damaged(start, f"ended after {incoming.received} of {start.size_bytes} bytes")
        if incoming.digest.hexdigest() != start.sha256.lower():
            raise _damaged(start, "does not have its sha256; it was damaged on the way")
        with spool_errors():
            self._spool.flush()
        key = self._staging.put(self._location, len(self._staged), Path(self._spool.name))
        self._staged.append(
            StagedFile(
                path=start.path,
                key=key,
                sha256=incoming.digest.hexdigest(),
                size_bytes=start.size_bytes,
            )
        )


def _damaged(start: FileStart, problem: str) -> InvalidArgument:
    return InvalidArgument.of(f"files[{start.path}]", problem)


def _check_start(start: FileStart) -> None:
    violations = []
    if not _safe(start.path):
        violations.append(
            FieldViolation(
                "file.path", f"must be relative, with '/' and without '..': {start.path!r}"
            )
        )
    if start.size_bytes < 0:
        violations.append(FieldViolation("file.size_bytes", "must not be negative"))
    if len(start.sha256) != 64 or not _HEX.issuperset(start.sha256.lower()):
        violations.append(FieldViolation("file.sha256", "must be 64 hexadecimal digits"))
    if violations:
        raise InvalidArgument(tuple(violations))


def _safe(path: str) -> bool:
    parts = path.split("/")
    plain = all(part not in {"", ".", ".."} for part in parts)
    return plain and len(path) <= MAX_PATH and path.isprintable() and "\\" not in path
