from typing import Any
from uuid import uuid4

import pytest

from core.datasets import Dataset, OnBadFile
from core.errors import (
    AlreadyExists,
    DatasetRefused,
    InUse,
    InvalidArgument,
    NotFound,
    RequestIdReused,
    StoreUnavailable,
)
from core.messages import IngestRequest, IngestSource
from core.paging import PageRequest
from core.training import JobState
from services.usecases.datasets import MAX_URI, DatasetUseCases, id_from_uri
from tests.fakes.records import a_dataset, a_job
from tests.fakes.store import FakeArtefactStore, FakeUnitOfWorkFactory
from tests.fakes.workers import FakeIngestor

URI = "file:///scans/brains.zip"
REQUEST_ID = str(uuid4())


class World:
    """Use cases over fakes, without data sets."""

    def __init__(self) -> None:
        self.store = FakeUnitOfWorkFactory()
        artefacts = FakeArtefactStore()
        self.ingestor = FakeIngestor(self.store, artefacts)
        self.use_cases = DatasetUseCases(
            uow_factory=self.store,
            artefacts=artefacts,
            ingestor=self.ingestor,
            ingest_timeout=60.0,
        )

    def add(self, dataset_id: str = "brains", **changes: Any) -> Dataset:
        dataset = a_dataset(dataset_id, **changes)
        with self.store(write=True) as uow:
            uow.datasets.add(dataset)
            uow.commit()
        return dataset

    def add_job(self, state: JobState) -> None:
        with self.store(write=True) as uow:
            uow.jobs.add(a_job(dataset="brains", state=state))
            uow.commit()

    def request(self, uri: str = URI, **changes: Any) -> Dataset | IngestRequest:
        values: dict[str, Any] = {
            "dataset_id": "",
            "on_bad_file": OnBadFile.REFUSE,
            "caller": "ann",
            "request_id": "",
        }
        return self.use_cases.import_request(uri, **values | changes)

    def new_request(self, uri: str = URI, **changes: Any) -> IngestRequest:
        request = self.request(uri, **changes)
        assert isinstance(request, IngestRequest)
        return request

    def refused_field(self, uri: str = URI, **changes: Any) -> str:
        with pytest.raises(InvalidArgument) as caught:
            self.request(uri, **changes)
        return caught.value.violations[0].field


@pytest.fixture
def world() -> World:
    return World()


# --- importing ----------------------------------------------------------------------------------


def test_an_import_becomes_work_for_a_worker(world: World) -> None:
    request = world.new_request(
        dataset_id="mine", on_bad_file=OnBadFile.SKIP, request_id=REQUEST_ID.upper()
    )
    assert request == IngestRequest(
        id=request.id,
        reply_to="",
        dataset_id="mine",
        source=IngestSource.URI,
        location=URI,
        origin=URI,
        on_bad_file=OnBadFile.SKIP,
        request_id=REQUEST_ID,
        caller="ann",
    )
    assert request.id != world.new_request().id


async def test_a_worker_stores_what_is_imported(world: World) -> None:
    request = world.new_request(dataset_id="mine")
    assert await world.use_cases.ingest(request) == "mine"
    assert world.ingestor.requests == [request]
    assert world.use_cases.get("mine").source == URI


async def test_what_the_worker_refuses_is_told(world: World) -> None:
    world.ingestor.error = DatasetRefused("It has only one class")
    with pytest.raises(DatasetRefused, match="only one class"):
        await world.use_cases.ingest(world.new_request())


@pytest.mark.parametrize(
    ("uri", "dataset_id"),
    [
        ("file:///scans/brains", "brains"),
        ("file:///scans/brains/", "brains"),
        ("file:///scans/brains.zip", "brains"),
        ("file:///scans/brains.v2.TAR.GZ", "brains.v2"),
        ("https://host/brains.tgz?signature=1#top", "brains"),
        ("file:///scans/MRI%20set%20(2024).zip", "MRI-set-2024"),
        ("file:///scans/.hidden", "hidden"),
        ("file:///scans/Gehirn\N{BRAIN}", "Gehirn"),
        ("s3://bucket", "bucket"),
        ("file:///" + "x" * 80, "x" * 63),
    ],
)
def test_the_uris_last_part_names_the_data_set(uri: str, dataset_id: str) -> None:
    assert id_from_uri(uri) == dataset_id


@pytest.mark.parametrize("uri", ["file:///", "file:///...", "file:///scans/..", "file:///ä.zip"])
def test_a_uri_without_a_name_needs_an_id(world: World, uri: str) -> None:
    assert world.refused_field(uri) == "dataset_id"
    assert world.new_request(uri, dataset_id="mine").dataset_id == "mine"


@pytest.mark.parametrize(
    "uri",
    ["", "/scans", "scans", "file:///a\nb", "file:///\0", "http://[::1", "f:" + "x" * MAX_URI],
    ids=repr,
)
def test_what_is_no_uri_is_refused(world: World, uri: str) -> None:
    assert world.refused_field(uri, dataset_id="mine") == "uri"


@pytest.mark.parametrize(
    ("field", "value"), [("dataset_id", "a/b"), ("dataset_id", "-x"), ("request_id", "first")]
)
def test_odd_ids_are_refused(world: World, field: str, value: str) -> None:
    assert world.refused_field(**{field: value}) == field


def test_secrets_in_a_uri_are_not_shown(world: World) -> None:
    uri = "https://ann:secret@host:8443/set/brains.zip?signature=secret#secret"
    request = world.new_request(uri)
    assert request.origin == "https://host:8443/set/brains.zip"
    assert request.location == uri


def test_a_name_that_is_taken_is_refused(world: World) -> None:
    world.add("brains")
    with pytest.raises(AlreadyExists):
        world.request()
    with pytest.raises(AlreadyExists):
        world.request(request_id=REQUEST_ID)


def test_a_repeated_request_gives_the_first_data_set(world: World) -> None:
    first = world.add("brains", request_id=REQUEST_ID, source=URI)
    assert world.request(request_id=REQUEST_ID.upper()) == first


def test_a_uri_that_was_signed_anew_is_the_same_source(world: World) -> None:
    uri = "https://host/brains.zip?signature="
    first = world.add("brains", request_id=REQUEST_ID, source=world.new_request(uri + "1").origin)
    assert world.request(uri + "2", request_id=REQUEST_ID) == first


@pytest.mark.parametrize("source", ["file:///old/brains.zip", "upload"])
def test_a_request_id_serves_one_source(world: World, source: str) -> None:
    world.add("brains", request_id=REQUEST_ID, source=source)
    with pytest.raises(RequestIdReused):
        world.request(request_id=REQUEST_ID)


def test_a_request_id_serves_one_data_set_of_its_caller(world: World) -> None:
    world.add("brains", request_id=REQUEST_ID, source=URI)
    with pytest.raises(RequestIdReused):
        world.request(dataset_id="other", request_id=REQUEST_ID)
    assert world.new_request(dataset_id="other", request_id=REQUEST_ID, caller="bob")
    with pytest.raises(AlreadyExists):
        world.request(request_id=REQUEST_ID, caller="bob")


# --- listing and deleting -----------------------------------------------------------------------


def test_data_sets_are_listed_and_shown(world: World) -> None:
    datasets = [world.add(dataset_id) for dataset_id in "abc"]
    page = world.use_cases.list(PageRequest(size=2))
    assert page.items == (datasets[2], datasets[1])
    assert world.use_cases.list(PageRequest(size=2, after=page.next)).items == (datasets[0],)
    assert world.use_cases.get("a") == datasets[0]


def test_a_deleted_data_set_is_gone_and_its_name_free(world: World) -> None:
    world.add("brains")
    world.use_cases.delete("brains")
    with pytest.raises(NotFound):
        world.use_cases.get("brains")
    assert world.new_request(dataset_id="brains")


def test_an_unknown_data_set_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        world.use_cases.get("z")
    with pytest.raises(NotFound):
        world.use_cases.delete("z")


@pytest.mark.parametrize("state", [s for s in JobState if not s.finished], ids=str)
def test_a_data_set_that_a_job_needs_stays(world: World, state: JobState) -> None:
    dataset = world.add("brains")
    world.add_job(state)
    with pytest.raises(InUse) as caught:
        world.use_cases.delete("brains")
    assert caught.value.user == "trainingJobs/job1"
    assert world.use_cases.get("brains") == dataset


@pytest.mark.parametrize("state", [s for s in JobState if s.finished], ids=str)
def test_a_job_that_has_ended_needs_its_data_set_no_more(world: World, state: JobState) -> None:
    world.add("brains")
    world.add("other")
    world.add_job(state)
    world.use_cases.delete("brains")
    assert list(world.store.state.datasets) == ["other"]


def test_a_store_that_is_away_is_told(world: World) -> None:
    world.store.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        world.request()
    with pytest.raises(StoreUnavailable):
        world.use_cases.list(PageRequest())
