import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from core.datasets import OnBadFile
from core.errors import (
    AlreadyExists,
    BrainTumorError,
    DatasetRefused,
    InvalidArgument,
    RequestIdReused,
    StoreUnavailable,
    WorkerLost,
)
from core.messages import IngestRequest, IngestSource
from services.long_work import LongWork
from services.usecases import upload
from services.usecases.staging import Staging
from services.usecases.upload import MAX_PATH, FileStart, Header, Part, UploadUseCase
from tests.fakes.records import a_dataset
from tests.fakes.store import FakeArtefactStore, FakeClock, FakeUnitOfWorkFactory
from tests.fakes.workers import FakeIngestor

HEADER = Header(dataset_id="brains")
MAX_BYTES = 1000
MAX_FILE_BYTES = 600
REQUEST_ID = str(uuid4())


def a_start(path: str = "glioma/1.png", data: bytes = b"pixels", **changes: Any) -> FileStart:
    values: dict[str, Any] = {
        "path": path,
        "size_bytes": len(data),
        "sha256": sha256(data).hexdigest(),
    }
    return FileStart(**values | changes)


def a_file(path: str = "glioma/1.png", data: bytes = b"pixels", **changes: Any) -> list[Part]:
    """The parts of a file, which comes in chunks of four bytes."""
    chunks = [data[place : place + 4] for place in range(0, len(data), 4)]
    return [a_start(path, data, **changes), *chunks]


class World:
    """The use case over fakes; only its threads and its temporary file are real."""

    def __init__(self, long_work: LongWork) -> None:
        self.store = FakeUnitOfWorkFactory()
        self.artefacts = FakeArtefactStore()
        self.ingestor = FakeIngestor(self.store, self.artefacts)
        self.taken = 0
        self.use_case = UploadUseCase(
            uow_factory=self.store,
            staging=Staging(artefacts=self.artefacts, clock=FakeClock()),
            ingestor=self.ingestor,
            long_work=long_work,
            max_bytes=MAX_BYTES,
            max_file_bytes=MAX_FILE_BYTES,
            ingest_timeout=60.0,
        )

    async def upload(self, *parts: Part, caller: str = "ann") -> str:
        return await self.use_case.upload(self._stream(parts), caller)

    async def refused_field(self, *parts: Part) -> str:
        """The field that is refused, once nothing of the upload is left."""
        with pytest.raises(InvalidArgument) as caught:
            await self.upload(*parts)
        self.check_nothing_is_left()
        assert self.ingestor.requests == []
        return caught.value.violations[0].field

    def check_nothing_is_left(self) -> None:
        assert self.artefacts.files == {}
        assert self.store.state.datasets == {}

    async def _stream(self, parts: Sequence[Part]) -> AsyncIterator[Part]:
        for part in parts:
            self.taken += 1
            yield part


@pytest.fixture
def world() -> Iterator[World]:
    long_work = LongWork(threads=1)
    yield World(long_work)
    long_work.close()


# --- what reaches the worker --------------------------------------------------------------------


async def test_the_worker_gets_every_file_byte_for_byte(world: World) -> None:
    files = {
        "glioma/1.png": b"one",
        "no_tumor/2.png": bytes(range(256)),
        "Gehirn \N{BRAIN}.png": b"three",
        "empty.txt": b"",
    }
    parts = [part for path, data in files.items() for part in a_file(path, data)]
    assert await world.upload(HEADER, *parts) == "brains"
    assert world.ingestor.received == files


async def test_the_worker_is_told_what_to_do(world: World) -> None:
    header = Header(dataset_id="mine", request_id=REQUEST_ID.upper(), on_bad_file=OnBadFile.SKIP)
    await world.upload(header, *a_file())
    (request,) = world.ingestor.requests
    assert request == IngestRequest(
        id=request.id,
        reply_to="",
        dataset_id="mine",
        source=IngestSource.STAGED,
        location=request.location,
        origin="upload",
        on_bad_file=OnBadFile.SKIP,
        request_id=REQUEST_ID,
        caller="ann",
    )


async def test_a_hash_may_be_in_capitals_and_chunks_empty(world: World) -> None:
    start = a_start(sha256=sha256(b"pixels").hexdigest().upper())
    await world.upload(HEADER, start, b"", b"pix", b"", b"els", b"")
    assert world.ingestor.received == {"glioma/1.png": b"pixels"}


async def test_a_short_file_after_a_long_one_is_itself(world: World) -> None:
    await world.upload(HEADER, *a_file("1.png", b"long" * 50), *a_file("2.png", b"short"))
    assert world.ingestor.received["2.png"] == b"short"


# --- streams that do not keep to the protocol ---------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ([], "header"),
        (a_file(), "header"),
        ([b"pixels"], "header"),
        ([HEADER, *a_file(), HEADER], "header"),
        ([HEADER], "file"),
        ([HEADER, b"pixels"], "chunk"),
        ([Header(dataset_id="a/b"), *a_file()], "dataset_id"),
        ([Header(dataset_id=""), *a_file()], "dataset_id"),
        ([Header(dataset_id="brains", request_id="first"), *a_file()], "request_id"),
        ([HEADER, *a_file(), *a_file()], "files[glioma/1.png]"),
    ],
    ids=[
        "nothing",
        "no header",
        "chunk first",
        "two headers",
        "no file",
        "chunk without file",
        "bad id",
        "no id",
        "bad request id",
        "twice the same path",
    ],
)
async def test_a_stream_that_breaks_the_protocol_leaves_nothing(
    world: World, parts: list[Part], field: str
) -> None:
    assert await world.refused_field(*parts) == field


@pytest.mark.parametrize(
    "parts",
    [
        [a_start(), b"pixel"],
        [a_start(), b"pixel", *a_file("2.png")],
        [a_start()],
        [a_start(), b"pixels", b"!"],
        [a_start(), b"pixelz"],
        [a_start(sha256="0" * 64), b"pixels"],
        [a_start(data=b"", sha256="0" * 64)],
    ],
    ids=["short", "short, then another", "no chunk", "long", "changed", "other hash", "empty"],
)
async def test_a_file_that_is_damaged_on_the_way_is_named(world: World, parts: list[Part]) -> None:
    sound = a_file("sound.png", b"sound")
    assert await world.refused_field(HEADER, *sound, *parts) == "files[glioma/1.png]"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../1.png",
        "glioma/../../1.png",
        "glioma/./1.png",
        "glioma//1.png",
        "glioma/",
        "glioma\\1.png",
        "glioma/\0.png",
        "glioma/\n.png",
        "x" * (MAX_PATH + 1),
    ],
    ids=repr,
)
async def test_odd_paths_are_refused(world: World, path: str) -> None:
    assert await world.refused_field(HEADER, *a_file(path)) == "file.path"


@pytest.mark.parametrize("digest", ["", "a" * 63, "a" * 65, "g" * 64, " " + "a" * 63])
async def test_what_is_no_sha256_is_refused(world: World, digest: str) -> None:
    assert await world.refused_field(HEADER, a_start(sha256=digest)) == "file.sha256"


async def test_everything_wrong_with_a_file_is_told_at_once(world: World) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await world.upload(HEADER, a_start("..", size_bytes=-1, sha256=""))
    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["file.path", "file.size_bytes", "file.sha256"]


# --- limits -------------------------------------------------------------------------------------


async def test_all_files_together_may_have_so_many_bytes(world: World) -> None:
    half = bytes(MAX_BYTES // 2)
    await world.upload(HEADER, *a_file("1.png", half), *a_file("2.png", half))
    assert len(world.ingestor.received) == 2


async def test_more_bytes_are_refused_before_they_are_sent(world: World) -> None:
    parts = [HEADER, *a_file(), a_start("2.zip", size_bytes=MAX_BYTES), b"never read"]
    assert await world.refused_field(*parts) == "file.size_bytes"
    assert world.taken == len(parts) - 1


async def test_a_picture_that_is_too_large_is_refused_before_it_is_sent(world: World) -> None:
    parts: list[Part] = [HEADER, a_start("1.png", size_bytes=MAX_FILE_BYTES + 1), b"never read"]
    assert await world.refused_field(*parts) == "files[1.png]"
    assert world.taken == len(parts) - 1


async def test_an_archive_may_be_larger_than_a_picture(world: World) -> None:
    await world.upload(HEADER, *a_file("set.TGZ", bytes(MAX_FILE_BYTES + 1)))
    assert list(world.ingestor.received) == ["set.TGZ"]


async def test_too_many_files_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "MAX_FILES", 2)
    files = [a_file(f"{number}.png") for number in range(3)]
    assert await world.refused_field(HEADER, *files[0], *files[1], *files[2]) == "file"
    assert await world.upload(HEADER, *files[0], *files[1])


# --- names and repeated requests ----------------------------------------------------------------


async def test_a_name_that_is_taken_is_refused_without_the_bytes(world: World) -> None:
    await world.upload(HEADER, *a_file())
    world.taken = 0
    with pytest.raises(AlreadyExists):
        await world.upload(HEADER, *a_file())
    assert world.taken == 1


async def test_a_repeated_request_gets_its_answer_without_the_bytes(world: World) -> None:
    header = Header(dataset_id="brains", request_id=REQUEST_ID)
    await world.upload(header, *a_file())
    world.taken = 0
    assert await world.upload(header, *a_file()) == "brains"
    assert (world.taken, len(world.ingestor.requests)) == (1, 1)


async def test_a_request_id_serves_one_data_set_of_its_caller(world: World) -> None:
    await world.upload(Header(dataset_id="brains", request_id=REQUEST_ID), *a_file())
    other = Header(dataset_id="other", request_id=REQUEST_ID)
    with pytest.raises(RequestIdReused):
        await world.upload(other, *a_file())
    assert await world.upload(other, *a_file(), caller="bob") == "other"


async def test_a_request_id_of_an_import_is_of_no_use_to_an_upload(world: World) -> None:
    imported = a_dataset("brains", request_id=REQUEST_ID, source="file:///scans/brains")
    with world.store(write=True) as uow:
        uow.datasets.add(imported)
        uow.commit()
    with pytest.raises(RequestIdReused):
        await world.upload(Header(dataset_id="brains", request_id=REQUEST_ID), *a_file())


# --- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [DatasetRefused("one class only"), WorkerLost()], ids=repr)
async def test_what_the_worker_raises_is_told_and_nothing_is_left(
    world: World, error: BrainTumorError
) -> None:
    world.ingestor.error = error
    with pytest.raises(type(error)):
        await world.upload(HEADER, *a_file())
    world.check_nothing_is_left()


async def test_a_store_that_is_away_is_told_before_the_bytes(world: World) -> None:
    world.store.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await world.upload(HEADER, *a_file())
    assert world.taken == 1


async def test_a_full_artefact_store_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(key: str, source: Path) -> None:
        raise StoreUnavailable("artefact store")

    monkeypatch.setattr(world.artefacts, "put_file", fail)
    with pytest.raises(StoreUnavailable, match="artefact store"):
        await world.upload(HEADER, *a_file())
    world.check_nothing_is_left()


async def test_the_first_error_is_told_even_if_clearing_up_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(prefix: str) -> None:
        raise StoreUnavailable("artefact store")

    monkeypatch.setattr(world.artefacts, "delete", fail)
    with pytest.raises(InvalidArgument):
        await world.upload(HEADER, *a_file(), HEADER)


async def test_a_temporary_folder_that_cannot_be_used_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StoreUnavailable, match="temporary folder"):
        await world.upload(HEADER, *a_file())


async def test_the_temporary_file_goes_with_the_upload(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert await world.refused_field(HEADER, *a_file(), HEADER) == "header"
    await world.upload(HEADER, *a_file())
    assert list(tmp_path.iterdir()) == []


async def test_an_upload_whose_caller_leaves_is_dropped(world: World) -> None:
    begun = asyncio.Event()

    async def stream() -> AsyncIterator[Part]:
        for part in [HEADER, *a_file("1.png"), a_start("2.png"), b"pix"]:
            yield part
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(world.use_case.upload(stream(), "ann"))
    await begun.wait()
    assert len(world.artefacts.files) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.check_nothing_is_left()
    assert world.ingestor.requests == []
