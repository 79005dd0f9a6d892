"""Data sets from a client or a URI to the store: a real Valkey, channel, worker and SQLite."""

import asyncio
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from core.datasets import Dataset, OnBadFile
from core.errors import DatasetRefused, InvalidArgument, NotFound, NoWorker
from core.labels import LABELS
from core.messages import IngestRequest
from core.settings import Settings
from db.artefacts import FsspecArtefactStore
from db.engine import create_store_engine
from db.unit_of_work import SqlUnitOfWorkFactory
from services.adapters.broker import CeleryDatasetIngestor, WorkChannel
from services.bootstrap import SystemClock
from services.cli.synthetic import write_dataset
from services.long_work import LongWork
from services.usecases.datasets import DatasetUseCases
from services.usecases.staging import Staging
from services.usecases.upload import FileStart, Header, Part, UploadUseCase
from tests.integration.conftest import Workers
from workers.curation.blobs import read_blob, read_items

PER_CLASS = 3
BROKEN = "glioma/broken.jpg"


class Gateway:
    """What the gateway does for data sets, over a real channel."""

    def __init__(self, settings: Settings, *, pickup: float = 30.0) -> None:
        self.channel = WorkChannel(settings)
        self.artefacts = FsspecArtefactStore(settings.artefact_url)
        self._engine = create_store_engine(settings.database_url)
        self._long_work = LongWork()
        uows = SqlUnitOfWorkFactory(self._engine)
        ingestor = CeleryDatasetIngestor(self.channel, pickup_timeout=pickup)
        self.datasets = DatasetUseCases(
            uow_factory=uows, artefacts=self.artefacts, ingestor=ingestor, ingest_timeout=60
        )
        self._uploads = UploadUseCase(
            uow_factory=uows,
            staging=Staging(artefacts=self.artefacts, clock=SystemClock()),
            ingestor=ingestor,
            long_work=self._long_work,
            max_bytes=settings.max_dataset_bytes,
            max_file_bytes=settings.max_image_bytes,
            ingest_timeout=60,
        )

    async def close(self) -> None:
        await self.channel.close()
        self._long_work.close()
        self._engine.dispose()

    async def upload(self, files: Mapping[str, bytes], header: Header) -> Dataset:
        return self.datasets.get(await self._uploads.upload(_parts(files, header), "ann"))

    async def import_uri(self, uri: str, dataset_id: str = "") -> Dataset:
        request = self.datasets.import_request(
            uri, dataset_id=dataset_id, on_bad_file=OnBadFile.REFUSE, caller="ann", request_id=""
        )
        assert isinstance(request, IngestRequest)
        return self.datasets.get(await self.datasets.ingest(request))


async def _parts(files: Mapping[str, bytes], header: Header) -> AsyncIterator[Part]:
    yield header
    for path, data in files.items():
        yield FileStart(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        yield data


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, import_roots=str(settings.data_dir / "imports"))


@pytest.fixture
async def gateway(settings: Settings) -> AsyncIterator[Gateway]:
    gateway = Gateway(settings)
    await gateway.channel.start()
    yield gateway
    await gateway.close()


@pytest.fixture
async def worker(workers: Workers) -> None:
    await asyncio.to_thread(workers.start, "curation")


@pytest.fixture
def folder(settings: Settings) -> Path:
    """A data set where the server may import from."""
    folder = settings.data_dir / "imports" / "brains"
    write_dataset(folder, per_class=PER_CLASS, size=40)
    return folder


@pytest.fixture
def files(folder: Path) -> dict[str, bytes]:
    """The same data set as a client sends it."""
    pictures = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in pictures}


def assert_stored(gateway: Gateway, dataset: Dataset, files: Mapping[str, bytes]) -> None:
    """Every picture is in the store as it was sent, and the record counts them."""
    items = read_items(gateway.artefacts, dataset.digest)
    assert {item.path: read_blob(gateway.artefacts, item.sha256) for item in items} == files
    assert dataset.class_counts == dict.fromkeys(LABELS, PER_CLASS)
    assert dataset.size_bytes == sum(len(data) for data in files.values())
    assert dataset.caller == "ann"


@pytest.mark.usefixtures("worker")
async def test_an_upload_is_stored(gateway: Gateway, files: dict[str, bytes]) -> None:
    dataset = await gateway.upload(files, Header(dataset_id="brains"))

    assert (dataset.id, dataset.source) == ("brains", "upload")
    assert_stored(gateway, dataset, files)
    assert not gateway.artefacts.list("staging")


@pytest.mark.usefixtures("worker")
async def test_an_archive_is_unpacked(gateway: Gateway, files: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in files.items():
            archive.writestr(f"brains/{path}", data)

    dataset = await gateway.upload({"brains.zip": buffer.getvalue()}, Header(dataset_id="brains"))

    assert_stored(gateway, dataset, files)


@pytest.mark.usefixtures("worker")
async def test_a_folder_is_imported(
    gateway: Gateway, folder: Path, files: dict[str, bytes]
) -> None:
    dataset = await gateway.import_uri(folder.as_uri())

    assert (dataset.id, dataset.source) == ("brains", folder.as_uri())
    assert_stored(gateway, dataset, files)


@pytest.mark.usefixtures("worker")
async def test_the_same_request_again_is_the_same_data_set(
    gateway: Gateway, files: dict[str, bytes]
) -> None:
    header = Header(dataset_id="brains", request_id=str(uuid4()))

    first = await gateway.upload(files, header)

    assert await gateway.upload(files, header) == first


@pytest.mark.usefixtures("worker")
async def test_a_bad_file_is_named_and_nothing_is_left(
    gateway: Gateway, files: dict[str, bytes]
) -> None:
    with pytest.raises(DatasetRefused) as refusal:
        await gateway.upload(files | {BROKEN: b"\xff\xd8\xff"}, Header(dataset_id="brains"))

    assert [rejected.path for rejected in refusal.value.rejected] == [BROKEN]
    with pytest.raises(NotFound):
        gateway.datasets.get("brains")
    assert not gateway.artefacts.list("staging")


@pytest.mark.usefixtures("worker")
async def test_a_bad_file_is_skipped_when_asked(gateway: Gateway, files: dict[str, bytes]) -> None:
    header = Header(dataset_id="brains", on_bad_file=OnBadFile.SKIP)

    dataset = await gateway.upload(files | {BROKEN: b"\xff\xd8\xff"}, header)

    assert [rejected.path for rejected in dataset.rejected] == [BROKEN]
    assert_stored(gateway, dataset, files)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("uri", ["file:///etc/hosts", "s3://bucket/brains"])
async def test_a_place_that_is_not_allowed_is_not_read(gateway: Gateway, uri: str) -> None:
    with pytest.raises(InvalidArgument, match="BRAINTUMOR_IMPORT"):
        await gateway.import_uri(uri)


async def test_without_a_worker_nothing_is_left(
    settings: Settings, files: dict[str, bytes]
) -> None:
    gateway = Gateway(settings, pickup=0.5)
    await gateway.channel.start()

    with pytest.raises(NoWorker):
        await gateway.upload(files, Header(dataset_id="brains"))

    assert not gateway.artefacts.list("staging")
    await gateway.close()
