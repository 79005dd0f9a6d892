"""The gateway over the wire: a real gRPC server and a real SQLite store, fakes for the workers."""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from braintumor.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    classifier_pb2,
    classifier_pb2_grpc,
    datasets_pb2,
    datasets_pb2_grpc,
    labels_pb2,
    models_pb2,
    models_pb2_grpc,
    training_pb2,
    training_pb2_grpc,
)
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sqlalchemy.exc import OperationalError

from core.datasets import audit_page_key
from core.errors import (
    ArtefactCorrupt,
    BrainTumorError,
    DatasetRefused,
    InternalError,
    Overloaded,
    RejectedFile,
    WorkerLost,
)
from core.held_out import HeldOutPredictions
from core.paging import PageRequest
from core.ports import UnitOfWorkFactory
from core.prediction import MaskFormat, RegionMask
from core.search import TrialState
from core.settings import MIB, Settings
from core.training import Task
from db.artefacts import FsspecArtefactStore
from db.engine import create_store_engine
from db.repositories import SqlModels
from db.unit_of_work import SqlUnitOfWorkFactory
from services import server
from services.adapters.audit_writer import GroupCommitAuditWriter
from services.bootstrap import Deps, SystemClock
from services.drain import Drain
from services.long_work import LongWork
from services.server import SERVICES, GatewayServer, build_server
from services.usecases.classify import ClassifyUseCase
from services.usecases.staging import Staging
from tests.fakes.gateway import FakePredictor, a_prediction
from tests.fakes.held_out import held_out, store_version
from tests.fakes.records import a_dataset, a_region, a_trial, an_audit
from tests.fakes.registry import a_model_version
from tests.fakes.workers import FakeIngestor, FakeJobQueue, FakePreloader

JPEG = b"\xff\xd8\xff\xe0 a picture"
CALLER = (("x-braintumor-caller", "clinic@example.org"),)
MAX_IMAGE = 2 * MIB


class Gateway:
    """A running server, its fakes, and a stub for each service."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.settings = Settings.from_environment(
            {},
            data_dir=folder,
            database_url=database_url,
            max_image_bytes=MAX_IMAGE,
            max_dataset_bytes=8 * MIB,
        )
        self.engine = create_store_engine(database_url)
        self.store: UnitOfWorkFactory = SqlUnitOfWorkFactory(self.engine)
        self.artefacts = FsspecArtefactStore(self.settings.artefact_url)
        self.predictor = FakePredictor()
        self.queue = FakeJobQueue()
        self.ingestor = FakeIngestor(self.store, self.artefacts)
        self.audit_writer = GroupCommitAuditWriter(self.store)
        self.long_work = LongWork()
        clock = SystemClock()
        self.deps = Deps(
            settings=self.settings,
            clock=clock,
            uow_factory=self.store,
            artefacts=self.artefacts,
            queue=self.queue,
            preloader=FakePreloader(),
            ingestor=self.ingestor,
            classify=ClassifyUseCase(
                predictor=self.predictor,
                audit=self.audit_writer,
                uow_factory=self.store,
                clock=clock,
                software_version="1.2.3",
                max_image_bytes=MAX_IMAGE,
                max_in_flight=64,
                max_bytes_in_flight=64 * MIB,
                timeout_seconds=30,
            ),
            staging=Staging(artefacts=self.artefacts, clock=clock),
            drain=Drain(),
            long_work=self.long_work,
        )

    async def start(self) -> None:
        self.server: GatewayServer
        self.server, self.port = build_server(self.deps, "127.0.0.1:0")
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{self.port}",
            options=[("grpc.max_send_message_length", -1)],
        )
        self.classifier = classifier_pb2_grpc.ClassifierStub(self.channel)
        self.datasets = datasets_pb2_grpc.DatasetsStub(self.channel)
        self.training = training_pb2_grpc.TrainingStub(self.channel)
        self.models = models_pb2_grpc.ModelsStub(self.channel)
        self.audit = audit_pb2_grpc.AuditStub(self.channel)
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)

    async def stop(self) -> None:
        self.predictor.gate.set()
        await self.server.stop(5)
        await self.channel.close()
        await self.deps.classify.close()
        await self.audit_writer.close()
        self.long_work.close()
        self.engine.dispose()

    def add_version(
        self, version_id: str, predictions: HeldOutPredictions | None = None, **changes: Any
    ) -> None:
        """Register a version whose artefacts are in the store."""
        files = {
            "report.html": f"<h1>{version_id}</h1>".encode(),
            "model_card.md": f"# {version_id}".encode(),
            "model.onnx": b"graph",
        }
        digest = store_version(self.artefacts, files, predictions)
        with self.store(write=True) as uow:
            uow.models.add(a_model_version(version_id, **{"digest": digest} | changes))
            uow.commit()

    def add_dataset(self, dataset_id: str, **changes: Any) -> None:
        with self.store(write=True) as uow:
            uow.datasets.add(a_dataset(dataset_id, **changes))
            uow.commit()

    async def promote(
        self, version_id: str, predictions: HeldOutPredictions | None = None
    ) -> models_pb2.PromoteModelVersionResponse:
        self.add_version(version_id, predictions)
        name = f"modelVersions/{version_id}"
        request = models_pb2.PromoteModelVersionRequest(name=name)
        answer = await self.models.PromoteModelVersion(request)
        assert isinstance(answer, models_pb2.PromoteModelVersionResponse)
        return answer

    async def classify(self, image: bytes = JPEG, **fields: Any) -> Any:
        request = classifier_pb2.ClassifyRequest(image=image, **fields)
        return await self.classifier.Classify(request, metadata=CALLER)

    async def log(self, where: str = "") -> list[audit_pb2.Prediction]:
        request = audit_pb2.ListPredictionsRequest(filter=where)
        return list((await self.audit.ListPredictions(request)).predictions)


@pytest.fixture
async def gateway(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Gateway]:
    running = Gateway(tmp_path, sqlite_url)
    await running.start()
    yield running
    await running.stop()


class Refusal:
    """A failed call: its status and each kind of detail."""

    def __init__(self, status: status_pb2.Status, code: str) -> None:
        self.status = status
        self.code = code

    def detail(self, kind: Any) -> Any:
        for packed in self.status.details:
            found = kind()
            if packed.Unpack(found):
                return found
        raise AssertionError(f"no {kind.__name__} in {self.status}")

    @property
    def reason(self) -> str:
        info = self.detail(error_details_pb2.ErrorInfo)
        assert info.domain == "braintumor.dev"
        return str(info.reason)

    @property
    def fields(self) -> list[str]:
        violations = self.detail(error_details_pb2.BadRequest).field_violations
        assert all(violation.description for violation in violations)
        return [violation.field for violation in violations]


async def refused(call: Any) -> Refusal:
    """The refusal of a unary call, or of a stream that is read to its end."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    error = caught.value
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    status = status_pb2.Status.FromString(details)
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    refusal = Refusal(status, error.code().name)
    assert refusal.detail(error_details_pb2.RequestInfo).request_id
    assert refusal.reason
    if refusal.code == "INVALID_ARGUMENT":
        assert refusal.fields
    return refusal


# --- classifier -------------------------------------------------------------------------------


async def test_a_classification_is_answered_and_in_the_log(gateway: Gateway) -> None:
    await gateway.promote("m1")
    answer = await gateway.classify()
    (record,) = await gateway.log()
    assert answer.prediction == record.name
    assert answer.model_version == record.model_version == "modelVersions/m1"
    assert answer.label == record.label == labels_pb2.TUMOR_LABEL_GLIOMA
    assert answer.decision == record.decision == labels_pb2.DECISION_ACCEPTED
    assert list(answer.probabilities) == list(record.probabilities)
    assert sum(p.probability for p in answer.probabilities) == pytest.approx(1)
    assert record.caller == "clinic@example.org"
    assert record.image_sha256 == hashlib.sha256(JPEG).hexdigest()
    assert record.outcome == audit_pb2.OUTCOME_ANSWERED


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"image": b""}, "INVALID_ARGUMENT", "IMAGE_EMPTY"),
        ({"image": b"hello"}, "INVALID_ARGUMENT", "IMAGE_NOT_AN_IMAGE"),
        ({"image": JPEG + bytes(MAX_IMAGE)}, "INVALID_ARGUMENT", "IMAGE_TOO_MANY_BYTES"),
        ({"request_id": "seven"}, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ({"model_version": "modelVersions/x"}, "NOT_FOUND", "MODEL_VERSION_NOT_FOUND"),
        ({"model_version": "what/is/this"}, "NOT_FOUND", "MODEL_VERSION_NOT_FOUND"),
        ({"mask_format": 1}, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ({"mask_format": 7, "include_regions": True}, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ({"pixel_spacing": {"x_mm": 0.5}}, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ({"include_regions": True}, "FAILED_PRECONDITION", "NO_PRODUCTION_MODEL"),
        ({}, "FAILED_PRECONDITION", "NO_PRODUCTION_MODEL"),
    ],
)
async def test_a_refusal_is_precise_and_in_the_log_and_the_next_request_works(
    gateway: Gateway, fields: dict[str, Any], code: str, reason: str
) -> None:
    refusal = await refused(gateway.classify(**fields))
    assert (refusal.code, refusal.reason) == (code, reason)
    (record,) = await gateway.log()
    assert (record.status, record.error_reason) == (code, reason)
    assert record.outcome == audit_pb2.OUTCOME_REFUSED
    await gateway.promote("m1")
    await gateway.classify()


async def test_more_calls_than_it_can_hold_are_refused(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "OTHER_CALLS", 1)
    crowded = Gateway(tmp_path, sqlite_url)
    crowded.deps = replace(
        crowded.deps, settings=replace(crowded.settings, max_requests_in_flight=1)
    )
    await crowded.start()
    await crowded.promote("m1")
    crowded.predictor.gate.clear()
    held = [asyncio.create_task(crowded.classify()) for _ in range(2)]
    while len(crowded.predictor.calls) < 2:
        await asyncio.sleep(0.001)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await crowded.classify()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    crowded.predictor.gate.set()
    assert len(await asyncio.gather(*held)) == 2
    await crowded.stop()


@pytest.mark.parametrize(
    ("error", "code"), [(WorkerLost(), "UNAVAILABLE"), (Overloaded(2.5), "RESOURCE_EXHAUSTED")]
)
async def test_what_may_be_tried_again_says_when(
    gateway: Gateway, error: BrainTumorError, code: str
) -> None:
    await gateway.promote("m1")
    gateway.predictor.result = error
    refusal = await refused(gateway.classify())
    assert refusal.code == code
    delay = refusal.detail(error_details_pb2.RetryInfo).retry_delay.ToTimedelta()
    assert delay.total_seconds() == getattr(error, "retry_after", 1.0)


async def test_a_defect_shows_its_caller_nothing_but_the_request_id(gateway: Gateway) -> None:
    await gateway.promote("m1")
    gateway.predictor.result = RuntimeError("the secret of the house")
    call = gateway.classifier.Classify(
        classifier_pb2.ClassifyRequest(image=JPEG), metadata=(("x-request-id", "r-17"),)
    )
    refusal = await refused(call)
    assert (refusal.code, refusal.reason) == ("INTERNAL", "INTERNAL")
    assert "secret" not in str(refusal.status)
    assert "r-17" in refusal.status.message
    assert refusal.detail(error_details_pb2.RequestInfo).request_id == "r-17"


async def test_a_repeated_request_id_gets_the_first_answer(gateway: Gateway) -> None:
    await gateway.promote("m1")
    request_id = str(uuid4())
    first = await gateway.classify(request_id=request_id)
    assert await gateway.classify(request_id=request_id) == first
    refusal = await refused(gateway.classify(JPEG + b"!", request_id=request_id))
    assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


async def test_regions_are_answered_and_kept_in_the_log(gateway: Gateway) -> None:
    await gateway.promote("m1")
    gateway.add_version("s1", task=Task.SEGMENTATION)
    promotion = models_pb2.PromoteModelVersionRequest(name="modelVersions/s1")
    move = (await gateway.models.PromoteModelVersion(promotion)).move
    assert (move.alias, move.to_version) == ("segmentation", "modelVersions/s1")
    mask = RegionMask(format=MaskFormat.COCO_RLE, width=64, height=48, data=b"05O")
    region = a_region(area_px=800, area_mm2=None, mask=mask)
    gateway.predictor.result = replace(a_prediction("m1"), regions=(region,))
    request_id = str(uuid4())
    wanted: dict[str, Any] = {
        "include_regions": True,
        "mask_format": classifier_pb2.MASK_FORMAT_COCO_RLE,
        "pixel_spacing": classifier_pb2.PixelSpacing(x_mm=0.5, y_mm=0.5),
        "request_id": request_id,
    }
    answer = await gateway.classify(**wanted)
    (found,) = answer.regions
    assert (found.area_px, found.area_mm2, found.score) == (800, 200.0, region.score)
    assert (list(found.mask_coco_rle.size), found.mask_coco_rle.counts) == ([48, 64], "05O")
    assert answer.segmenter_version == "modelVersions/s1"

    found.ClearField("mask")
    (record,) = await gateway.log()
    assert list(record.regions) == [found]
    assert (record.outlined, record.segmenter_version) == (True, "modelVersions/s1")
    got = await gateway.audit.GetPrediction(audit_pb2.GetPredictionRequest(name=record.name))
    assert list(got.prediction.regions) == [found]
    exported = [
        row async for row in gateway.audit.ExportPredictions(audit_pb2.ExportPredictionsRequest())
    ]
    assert list(exported[0].prediction.regions) == [found]
    assert list((await gateway.classify(**wanted)).regions) == [found]
    assert (await gateway.audit.VerifyAuditLog(audit_pb2.VerifyAuditLogRequest())).intact


@pytest.mark.parametrize(
    ("failure", "code", "reason"),
    [
        (None, "FAILED_PRECONDITION", "SEGMENTER_NOT_REGISTERED"),
        (ArtefactCorrupt("models/s1"), "DATA_LOSS", "SEGMENTER_CORRUPT"),
        (InternalError("b1"), "INTERNAL", "SEGMENTATION_FAILED"),
    ],
)
async def test_an_answer_that_could_not_be_outlined_is_named_and_kept(
    gateway: Gateway, failure: BrainTumorError | None, code: str, reason: str
) -> None:
    await gateway.promote("m1")
    if failure is not None:
        gateway.add_version("s1", task=Task.SEGMENTATION)
        promotion = models_pb2.PromoteModelVersionRequest(name="modelVersions/s1")
        await gateway.models.PromoteModelVersion(promotion)
        gateway.predictor.result = replace(a_prediction("m1"), regions_error=failure)
    request_id = str(uuid4())
    refusal = await refused(gateway.classify(include_regions=True, request_id=request_id))
    assert (refusal.code, refusal.reason) == (code, reason)
    (record,) = await gateway.log()
    assert refusal.detail(error_details_pb2.ErrorInfo).metadata["prediction"] == record.name
    assert record.name in refusal.status.message
    assert (record.outcome, record.status) == (audit_pb2.OUTCOME_ANSWERED, "OK")
    assert (record.error_reason, record.outlined) == (reason, False)
    again = await gateway.classify(request_id=request_id)
    assert (again.prediction, again.label) == (record.name, record.label)
    study = [
        classifier_pb2.ClassifyStreamRequest(
            tag="a", request=classifier_pb2.ClassifyRequest(image=JPEG, include_regions=True)
        )
    ]
    (answer,) = [a async for a in gateway.classifier.ClassifyStream(iter(study), metadata=CALLER)]
    assert Refusal(answer.error, "").reason == reason


async def test_a_version_is_promoted_only_to_what_it_does(gateway: Gateway) -> None:
    gateway.add_version("s1", task=Task.SEGMENTATION)
    request = models_pb2.PromoteModelVersionRequest(name="modelVersions/s1", alias="production")
    refusal = await refused(gateway.models.PromoteModelVersion(request))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "WRONG_TASK")


async def test_the_callers_deadline_reaches_the_worker(gateway: Gateway) -> None:
    await gateway.promote("m1")
    gateway.predictor.gate.clear()
    request = classifier_pb2.ClassifyRequest(image=JPEG)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.classifier.Classify(request, timeout=0.4)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert gateway.predictor.calls[0]["deadline"] > 0
    while not (records := await gateway.log()):
        await asyncio.sleep(0.01)
    (record,) = records
    assert record.outcome == audit_pb2.OUTCOME_FAILED


async def test_a_study_is_answered_in_order_and_survives_bad_slices(gateway: Gateway) -> None:
    await gateway.promote("m1")

    def requests() -> Iterator[classifier_pb2.ClassifyStreamRequest]:
        for number in range(40):
            image = b"nonsense" if number % 10 == 3 else JPEG + bytes([number])
            request = classifier_pb2.ClassifyRequest(image=image)
            yield classifier_pb2.ClassifyStreamRequest(tag=str(number), request=request)
        yield classifier_pb2.ClassifyStreamRequest(tag="without a request")

    answers = [a async for a in gateway.classifier.ClassifyStream(requests(), metadata=CALLER)]
    assert [a.tag for a in answers] == [*map(str, range(40)), "without a request"]
    errors = [a for a in answers if a.WhichOneof("result") == "error"]
    assert [a.tag for a in errors] == ["3", "13", "23", "33", "without a request"]
    refusal = Refusal(errors[0].error, "")
    assert errors[0].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert (refusal.reason, refusal.fields) == ("IMAGE_NOT_AN_IMAGE", ["image"])
    assert len(await gateway.log('outcome = "REFUSED"')) == 5
    assert len(await gateway.log("outcome = ANSWERED")) == 36


async def test_a_study_is_taken_no_faster_than_it_is_answered(gateway: Gateway) -> None:
    await gateway.promote("m1")
    gateway.predictor.gate.clear()
    request = classifier_pb2.ClassifyStreamRequest(
        request=classifier_pb2.ClassifyRequest(image=JPEG)
    )
    call = gateway.classifier.ClassifyStream(iter([request] * 40))
    while len(gateway.predictor.calls) < 16:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert len(gateway.predictor.calls) == 16
    gateway.predictor.gate.set()
    assert len([answer async for answer in call]) == 40


# --- data sets --------------------------------------------------------------------------------


def header(dataset_id: str = "brains", **fields: Any) -> datasets_pb2.UploadDatasetRequest:
    return datasets_pb2.UploadDatasetRequest(
        header=datasets_pb2.UploadHeader(dataset_id=dataset_id, **fields)
    )


def parts(path: str, data: bytes, **changes: Any) -> list[datasets_pb2.UploadDatasetRequest]:
    fields: dict[str, Any] = {"path": path, "size_bytes": len(data)}
    fields["sha256"] = hashlib.sha256(data).hexdigest()
    start = datasets_pb2.UploadFile(**fields | changes)
    chunks = [data[i : i + MIB] for i in range(0, len(data), MIB)]
    return [
        datasets_pb2.UploadDatasetRequest(file=start),
        *(datasets_pb2.UploadDatasetRequest(chunk=chunk) for chunk in chunks),
    ]


async def test_an_upload_reaches_the_worker_byte_for_byte(gateway: Gateway) -> None:
    files = {"glioma/1.png": b"one", "no_tumor/2.png": bytes(range(256)) * 8_000, "empty": b""}
    stream = [header(), *(part for path, data in files.items() for part in parts(path, data))]
    answer = await gateway.datasets.UploadDataset(iter(stream), metadata=CALLER)
    assert answer.dataset.name == "datasets/brains"
    assert gateway.ingestor.received == files
    (request,) = gateway.ingestor.requests
    assert (request.dataset_id, request.caller) == ("brains", "clinic@example.org")


@pytest.mark.parametrize(
    ("stream", "field"),
    [
        ([], "header"),
        (parts("a.png", b"x"), "header"),
        ([header("no/slash"), *parts("a.png", b"x")], "dataset_id"),
        ([header(request_id="7"), *parts("a.png", b"x")], "request_id"),
        ([header(on_bad_file=9), *parts("a.png", b"x")], "header.on_bad_file"),
        ([header()], "file"),
        ([header(), header(), *parts("a.png", b"x")], "header"),
        ([header(), datasets_pb2.UploadDatasetRequest(chunk=b"x")], "chunk"),
        ([header(), datasets_pb2.UploadDatasetRequest()], "part"),
        ([header(), *parts("../a.png", b"x")], "file.path"),
        ([header(), *parts("/etc/passwd", b"x")], "file.path"),
        ([header(), *parts("a\\b.png", b"x")], "file.path"),
        ([header(), *parts("a.png", b"x", size_bytes=-1)], "file.size_bytes"),
        ([header(), *parts("a.zip", b"x", size_bytes=9 * MIB)], "file.size_bytes"),
        ([header(), *parts("a.png", b"x", size_bytes=MAX_IMAGE + 1)], "files[a.png]"),
        ([header(), *parts("a.png", b"x", sha256="7")], "file.sha256"),
        ([header(), *parts("a.png", b"x", sha256="0" * 64)], "files[a.png]"),
        ([header(), *parts("a.png", b"x", size_bytes=2)], "files[a.png]"),
        ([header(), *parts("a.png", b"xyz", size_bytes=2)], "files[a.png]"),
        ([header(), *parts("a.png", b"x"), *parts("a.png", b"x")], "files[a.png]"),
    ],
)
async def test_an_upload_that_breaks_the_protocol_leaves_nothing_behind(
    gateway: Gateway, stream: list[datasets_pb2.UploadDatasetRequest], field: str
) -> None:
    refusal = await refused(gateway.datasets.UploadDataset(iter(stream)))
    assert refusal.code == "INVALID_ARGUMENT"
    assert refusal.fields == [field]
    assert gateway.ingestor.requests == []
    assert gateway.artefacts.list("staging") == ()


async def test_a_refused_data_set_names_its_files_and_leaves_nothing_behind(
    gateway: Gateway,
) -> None:
    rejected = tuple(RejectedFile(f"glioma/{n:03}.png", "ends too early") for n in range(90))
    gateway.ingestor.error = DatasetRefused("90 of its files cannot be used", rejected)
    refusal = await refused(gateway.datasets.UploadDataset(iter([header(), *parts("a.png", b"x")])))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "DATASET_REFUSED")
    assert refusal.fields[0] == "files[glioma/000.png]"
    assert gateway.artefacts.list("staging") == ()


async def test_an_upload_whose_caller_leaves_is_dropped(gateway: Gateway) -> None:
    sent = asyncio.Event()

    async def stream() -> AsyncIterator[datasets_pb2.UploadDatasetRequest]:
        yield header()
        for part in parts("a.png", b"x") + parts("b.png", b"y"):
            yield part
        sent.set()
        await asyncio.sleep(60)

    call = gateway.datasets.UploadDataset(stream())
    await sent.wait()
    while not gateway.artefacts.list("staging"):
        await asyncio.sleep(0.01)
    call.cancel()
    while gateway.artefacts.list("staging"):
        await asyncio.sleep(0.01)
    assert gateway.ingestor.requests == []
    assert (await gateway.datasets.ListDatasets(datasets_pb2.ListDatasetsRequest())).datasets == []


async def test_a_repeated_upload_gets_the_first_data_set_without_the_bytes(
    gateway: Gateway,
) -> None:
    request_id = str(uuid4())
    stream = [header(request_id=request_id), *parts("a.zip", bytes(4 * MIB))]
    first = await gateway.datasets.UploadDataset(iter(stream))
    again = await gateway.datasets.UploadDataset(iter(stream))
    assert again == first
    assert len(gateway.ingestor.requests) == 1
    other = [header("other", request_id=request_id), *parts("a.png", b"x")]
    refusal = await refused(gateway.datasets.UploadDataset(iter(other)))
    assert refusal.reason == "REQUEST_ID_REUSED"
    taken = [header(request_id=str(uuid4())), *parts("a.png", b"x")]
    refusal = await refused(gateway.datasets.UploadDataset(iter(taken)))
    assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "ALREADY_EXISTS")


async def test_an_import_takes_its_id_from_the_uri(gateway: Gateway) -> None:
    uri = "https://ann:pass@example.org/data/Brain MRI.tar.gz?signature=abc"
    request = datasets_pb2.ImportDatasetRequest(uri=uri, on_bad_file=datasets_pb2.ON_BAD_FILE_SKIP)
    answer = await gateway.datasets.ImportDataset(request)
    assert answer.dataset.name == "datasets/Brain-MRI"
    (sent,) = gateway.ingestor.requests
    assert (sent.location, sent.on_bad_file) == (uri, "skip")
    assert sent.origin == "https://example.org/data/Brain MRI.tar.gz"
    for bad in ("", "just words", "file:///"):
        refusal = await refused(
            gateway.datasets.ImportDataset(datasets_pb2.ImportDatasetRequest(uri=bad))
        )
        assert refusal.code == "INVALID_ARGUMENT"


async def test_data_sets_are_paged_shown_and_deleted(gateway: Gateway) -> None:
    for number in range(5):
        gateway.add_dataset(f"d{number}")
    names: list[str] = []
    token = ""
    for expected in (2, 2, 1):
        request = datasets_pb2.ListDatasetsRequest(page_size=2, page_token=token)
        page = await gateway.datasets.ListDatasets(request)
        assert len(page.datasets) == expected
        names += [dataset.name for dataset in page.datasets]
        token = page.next_page_token
    assert token == ""
    assert names == [f"datasets/d{number}" for number in (4, 3, 2, 1, 0)]
    shown = await gateway.datasets.GetDataset(datasets_pb2.GetDatasetRequest(name="datasets/d3"))
    assert shown.dataset.rejected_files[0].path == "glioma/broken.png"
    await gateway.datasets.DeleteDataset(datasets_pb2.DeleteDatasetRequest(name="datasets/d3"))
    refusal = await refused(
        gateway.datasets.GetDataset(datasets_pb2.GetDatasetRequest(name="datasets/d3"))
    )
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "DATASET_NOT_FOUND")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_token": "nonsense"}, "page_token"),
        ({"page_token": "foreign"}, "page_token"),
    ],
)
async def test_bad_pages_are_refused(gateway: Gateway, fields: dict[str, Any], field: str) -> None:
    for number in range(2):
        gateway.add_version(f"m{number}", create_time=a_dataset().create_time)
    if fields.get("page_token") == "foreign":
        listed = models_pb2.ListModelVersionsRequest(page_size=1)
        fields = {"page_token": (await gateway.models.ListModelVersions(listed)).next_page_token}
    refusal = await refused(
        gateway.datasets.ListDatasets(datasets_pb2.ListDatasetsRequest(**fields))
    )
    assert refusal.fields == [field]


async def test_an_audit_is_shown_and_read_as_a_page(gateway: Gateway) -> None:
    page = b"<h1>audit</h1>"
    page_sha256 = hashlib.sha256(page).hexdigest()
    gateway.add_dataset("brains", audit=an_audit(page_sha256=page_sha256))
    gateway.artefacts.put(audit_page_key("d" * 64, page_sha256), page)
    name = "datasets/brains"
    shown = await gateway.datasets.GetDataset(datasets_pb2.GetDatasetRequest(name=name))
    audit = shown.dataset.audit
    assert audit.near_duplicate_pair_count == 3_000_000_000
    assert [(leak.test_count, leak.leaked_count) for leak in audit.leakage] == [(3, 1)]
    assert audit.shortcut_control.telling == ["width"]
    assert audit.label_errors.suspects[0].path == "glioma/2.png"
    listed = await gateway.datasets.ListDatasets(datasets_pb2.ListDatasetsRequest())
    assert not listed.datasets[0].HasField("audit")
    request = datasets_pb2.GetDatasetAuditReportRequest(name=name)
    report = await gateway.datasets.GetDatasetAuditReport(request)
    assert (report.content_type.split(";")[0], report.content) == ("text/html", page)
    gateway.artefacts.put(audit_page_key("d" * 64, page_sha256), b"<h1>fine</h1>")
    refusal = await refused(gateway.datasets.GetDatasetAuditReport(request))
    assert (refusal.code, refusal.reason) == ("DATA_LOSS", "ARTEFACT_CORRUPT")


async def test_a_data_set_that_was_there_already_says_so(gateway: Gateway) -> None:
    for name in ("brains", "again"):
        gateway.add_dataset(name)
    shown = await gateway.datasets.GetDataset(datasets_pb2.GetDatasetRequest(name="datasets/again"))
    assert shown.dataset.same_as == ["datasets/brains"]
    listed = await gateway.datasets.ListDatasets(datasets_pb2.ListDatasetsRequest())
    assert not any(dataset.same_as for dataset in listed.datasets)


async def test_a_data_set_from_before_audits_has_no_page(gateway: Gateway) -> None:
    gateway.add_dataset("old", audit=None)
    shown = await gateway.datasets.GetDataset(datasets_pb2.GetDatasetRequest(name="datasets/old"))
    assert not shown.dataset.HasField("audit")
    for name, code in (("datasets/old", "FAILED_PRECONDITION"), ("datasets/none", "NOT_FOUND")):
        request = datasets_pb2.GetDatasetAuditReportRequest(name=name)
        refusal = await refused(gateway.datasets.GetDatasetAuditReport(request))
        assert refusal.code == code


@pytest.mark.parametrize("name", ["", "datasets/", "brains", "modelVersions/x", "datasets/a/b"])
async def test_bad_names_are_refused(gateway: Gateway, name: str) -> None:
    refusal = await refused(gateway.datasets.GetDataset(datasets_pb2.GetDatasetRequest(name=name)))
    assert refusal.fields == ["name"]


# --- training ---------------------------------------------------------------------------------


def job_request(request_id: str = "", **spec: Any) -> training_pb2.CreateTrainingJobRequest:
    job = training_pb2.TrainingJob(
        dataset="datasets/brains", spec=training_pb2.TrainingSpec(**spec)
    )
    return training_pb2.CreateTrainingJobRequest(training_job=job, request_id=request_id)


async def test_a_job_is_stored_with_its_defaults_and_sent(gateway: Gateway) -> None:
    gateway.add_dataset("brains")
    answer = await gateway.training.CreateTrainingJob(
        job_request(epochs=2, backbone=training_pb2.BACKBONE_VGG19, dropout=0.0), metadata=CALLER
    )
    job = answer.training_job
    assert job.state == training_pb2.JOB_STATE_QUEUED
    assert (job.spec.epochs, job.spec.dropout, job.spec.batch_size) == (2, 0.0, 16)
    assert job.spec.backbone == training_pb2.BACKBONE_VGG19
    assert job.spec.optimizer == training_pb2.OPTIMIZER_ADAMW
    assert [f"trainingJobs/{sent}" for sent in gateway.queue.sent] == [job.name]
    shown = await gateway.training.GetTrainingJob(training_pb2.GetTrainingJobRequest(name=job.name))
    assert shown.training_job == job
    listed = await gateway.training.ListTrainingJobs(training_pb2.ListTrainingJobsRequest())
    assert list(listed.training_jobs) == [job]
    refusal = await refused(
        gateway.datasets.DeleteDataset(datasets_pb2.DeleteDatasetRequest(name="datasets/brains"))
    )
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "IN_USE")


def search_request(**spec: Any) -> training_pb2.CreateTrainingJobRequest:
    request = job_request(**spec)
    search = request.training_job.search
    search.trials = 5
    search.time_limit.FromSeconds(600)
    rates = training_pb2.SearchRange(low=1e-4, high=1e-3, log=True)
    search.space.add(field="learning_rate", range=rates)
    search.space.add(field="optimizer").choice.values.extend(["adamw", "sgd"])
    return request


async def test_a_search_is_stored_and_shows_its_trials(gateway: Gateway) -> None:
    gateway.add_dataset("brains")
    request = search_request(epochs=2)
    job = (await gateway.training.CreateTrainingJob(request)).training_job
    assert job.search == request.training_job.search
    assert [f"trainingJobs/{sent}" for sent in gateway.queue.sent] == [job.name]
    job_id = job.name.removeprefix("trainingJobs/")
    with gateway.store(write=True) as uow:
        uow.jobs.add_trial(job_id, a_trial(1))
        uow.jobs.add_trial(job_id, a_trial(2, state=TrialState.PRUNED))
        uow.commit()
    request_shown = training_pb2.GetTrainingJobRequest(name=job.name)
    shown = (await gateway.training.GetTrainingJob(request_shown)).training_job
    assert [(trial.number, trial.state) for trial in shown.trials] == [
        (1, training_pb2.TRIAL_STATE_COMPLETE),
        (2, training_pb2.TRIAL_STATE_PRUNED),
    ]
    assert shown.trials[0].recipe.optimizer == training_pb2.OPTIMIZER_SGD
    listed = await gateway.training.ListTrainingJobs(training_pb2.ListTrainingJobsRequest())
    assert list(listed.training_jobs) == [job], "lists are short"


async def test_a_bad_search_is_refused(gateway: Gateway) -> None:
    gateway.add_dataset("brains")
    request = search_request()
    request.training_job.search.space.add(field="seed").choice.values.extend(["1", "2"])
    request.training_job.search.trials = 501
    refusal = await refused(gateway.training.CreateTrainingJob(request))
    path = "training_job.search"
    assert sorted(refusal.fields) == [f"{path}.space.seed", f"{path}.trials"]
    refusal = await refused(gateway.training.CreateTrainingJob(search_request(folds=5)))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["training_job.spec.folds"])
    assert gateway.queue.sent == []


async def test_a_broker_that_is_away_does_not_lose_the_job(gateway: Gateway) -> None:
    gateway.add_dataset("brains")
    gateway.queue.away = True
    answer = await gateway.training.CreateTrainingJob(job_request())
    assert answer.training_job.state == training_pb2.JOB_STATE_QUEUED
    with gateway.store() as uow:
        assert [job.name for job in uow.jobs.list(PageRequest()).items] == [
            answer.training_job.name
        ]


async def test_bad_jobs_are_refused(gateway: Gateway) -> None:
    refusal = await refused(gateway.training.CreateTrainingJob(job_request()))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "DATASET_NOT_FOUND")
    gateway.add_dataset("brains")
    refusal = await refused(
        gateway.training.CreateTrainingJob(job_request(epochs=0, learning_rate=-1.0))
    )
    assert sorted(refusal.fields) == ["training_job.spec.epochs", "training_job.spec.learning_rate"]
    refusal = await refused(gateway.training.CreateTrainingJob(job_request(backbone=77)))
    assert refusal.fields == ["training_job.spec.backbone"]
    refusal = await refused(
        gateway.training.CreateTrainingJob(training_pb2.CreateTrainingJobRequest())
    )
    assert refusal.fields == ["training_job.dataset"]
    gateway.add_dataset("unmasked", mask_count=0)
    segmentation = job_request(task=training_pb2.TASK_SEGMENTATION)
    segmentation.training_job.dataset = "datasets/unmasked"
    refusal = await refused(gateway.training.CreateTrainingJob(segmentation))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["training_job.dataset"])
    assert gateway.queue.sent == []


async def test_a_repeated_job_request_gets_the_first_job(gateway: Gateway) -> None:
    gateway.add_dataset("brains")
    request_id = str(uuid4())
    first = await gateway.training.CreateTrainingJob(job_request(request_id, epochs=3))
    again = await gateway.training.CreateTrainingJob(job_request(request_id.upper(), epochs=3))
    assert again == first
    assert len(gateway.queue.sent) == 1
    refusal = await refused(gateway.training.CreateTrainingJob(job_request(request_id, epochs=4)))
    assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


def watched(gateway: Gateway, name: str, **fields: Any) -> AsyncIterator[Any]:
    request = training_pb2.WatchTrainingJobRequest(name=name, **fields)
    return aiter(gateway.training.WatchTrainingJob(request))


async def test_a_job_is_watched_and_cancelled(gateway: Gateway) -> None:
    gateway.add_dataset("brains")
    job = (await gateway.training.CreateTrainingJob(job_request())).training_job
    watch = watched(gateway, job.name)
    first = await anext(watch)
    assert first.event.sequence == 1
    assert first.training_job.state == training_pb2.JOB_STATE_QUEUED
    cancel = training_pb2.CancelTrainingJobRequest(name=job.name)
    cancelled = (await gateway.training.CancelTrainingJob(cancel, metadata=CALLER)).training_job
    assert cancelled.state == training_pb2.JOB_STATE_CANCELLED
    rest = [update async for update in watch]
    assert [u.event.sequence for u in rest] == [2]
    assert rest[0].event.message == "cancelled by clinic@example.org"
    refusal = await refused(gateway.training.CancelTrainingJob(cancel))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "ILLEGAL_TRANSITION")
    assert "has ended already, as CANCELLED" in refusal.status.message
    assert [u.event.sequence async for u in watched(gateway, job.name, after_sequence=1)] == [2]


async def test_a_running_job_is_told_to_stop(gateway: Gateway) -> None:
    gateway.add_dataset("brains")
    job = (await gateway.training.CreateTrainingJob(job_request())).training_job
    with gateway.store(write=True) as uow:
        assert uow.jobs.claim(job.name.split("/")[1], "worker", SystemClock().now())
        uow.commit()
    cancel = training_pb2.CancelTrainingJobRequest(name=job.name)
    for _ in range(2):
        answer = await gateway.training.CancelTrainingJob(cancel)
        assert answer.training_job.state == training_pb2.JOB_STATE_CANCELLING


async def test_watching_nothing_is_refused(gateway: Gateway) -> None:
    for name, after, code in (
        ("trainingJobs/x", 0, "NOT_FOUND"),
        ("trainingJobs/x", -1, "INVALID_ARGUMENT"),
        ("x", 0, "INVALID_ARGUMENT"),
    ):
        request = training_pb2.WatchTrainingJobRequest(name=name, after_sequence=after)
        assert (await refused(gateway.training.WatchTrainingJob(request))).code == code


# --- models -----------------------------------------------------------------------------------


async def test_promotion_serves_the_next_request_and_rollback_takes_it_back(
    gateway: Gateway,
) -> None:
    for version in ("m1", "m2"):
        await gateway.promote(version)
        assert (await gateway.classify()).model_version == f"modelVersions/{version}"
    rollback = models_pb2.RollbackModelAliasRequest(reason="worse on coronal slices")
    move = (await gateway.models.RollbackModelAlias(rollback, metadata=CALLER)).move
    assert (move.from_version, move.to_version) == ("modelVersions/m2", "modelVersions/m1")
    assert (move.alias, move.caller) == ("production", "clinic@example.org")
    assert (await gateway.classify()).model_version == "modelVersions/m1"
    refusal = await refused(gateway.models.RollbackModelAlias(rollback))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "NOTHING_TO_ROLL_BACK_TO")
    rollback.from_version = "modelVersions/m2"
    assert (await gateway.models.RollbackModelAlias(rollback)).move == move
    rollback.from_version = "modelVersions/m3"
    refusal = await refused(gateway.models.RollbackModelAlias(rollback))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "ALIAS_MOVED")
    rollback.from_version = "m2"
    assert (await refused(gateway.models.RollbackModelAlias(rollback))).fields == ["from_version"]


async def test_the_history_of_an_alias_is_listed_by_pages(gateway: Gateway) -> None:
    for version in ("m1", "m2", "m3"):
        await gateway.promote(version)
    request = models_pb2.ListAliasMovesRequest(page_size=2)
    page = await gateway.models.ListAliasMoves(request)
    found = [(move.from_version, move.to_version) for move in page.alias_moves]
    m1, m2, m3 = (f"modelVersions/{version}" for version in ("m1", "m2", "m3"))
    assert found == [(m2, m3), (m1, m2)]
    request.page_token = page.next_page_token
    last = await gateway.models.ListAliasMoves(request)
    assert [(move.from_version, move.to_version) for move in last.alias_moves] == [("", m1)]
    assert last.next_page_token == ""
    request.alias = "candidate"
    assert (await refused(gateway.models.ListAliasMoves(request))).code == "INVALID_ARGUMENT"


async def test_a_version_whose_files_were_changed_is_not_promoted(gateway: Gateway) -> None:
    gateway.add_version("m1")
    with gateway.store() as uow:
        digest = uow.models.digest_of("m1")
    gateway.artefacts.put(f"models/{digest}/model.onnx", b"another graph")
    request = models_pb2.PromoteModelVersionRequest(name="modelVersions/m1")
    refusal = await refused(gateway.models.PromoteModelVersion(request))
    assert (refusal.code, refusal.reason) == ("DATA_LOSS", "ARTEFACT_CORRUPT")
    request.force = True
    assert (await refused(gateway.models.PromoteModelVersion(request))).fields == ["reason"]
    request.reason = "the store is being restored"
    move = (await gateway.models.PromoteModelVersion(request)).move
    assert (move.to_version, move.reason) == (
        "modelVersions/m1",
        "forced: the store is being restored",
    )


async def test_a_worse_version_is_not_promoted_unless_somebody_says_why(gateway: Gateway) -> None:
    first = await gateway.promote("good", held_out(wrong_every=20))
    assert first.note == "Nothing served before, so there was nothing to compare it with."
    refusal = await refused(gateway.promote("poor", held_out(wrong_every=4)))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "WORSE_THAN_PRODUCTION")
    data = dict(refusal.detail(error_details_pb2.ErrorInfo).metadata)
    assert (data["candidate"], data["production"]) == ("modelVersions/poor", "modelVersions/good")
    assert float(data["low"]) < float(data["high"]) < 0
    request = models_pb2.PromoteModelVersionRequest(
        name="modelVersions/poor", force=True, reason="the good one has seen these"
    )
    answer = await gateway.models.PromoteModelVersion(request)
    assert answer.move.reason == "forced: the good one has seen these"
    assert (await gateway.classify()).model_version == "modelVersions/poor"
    better = await gateway.promote("better", held_out(wrong_every=25))
    assert "on 400 slices held out from both" in better.note.lower()
    names = ["modelVersions/poor", "modelVersions/better"]
    compared = await gateway.models.CompareModelVersions(
        models_pb2.CompareModelVersionsRequest(names=names)
    )
    (pair,) = compared.pairs
    assert ([pair.first, pair.second], pair.slice_count) == (names, 400)
    assert 0 < pair.macro_f1.low < pair.macro_f1.difference < pair.macro_f1.high
    assert pair.macro_f1.probability_better > 0.99
    assert compared.recommended == "modelVersions/better"


async def test_a_version_with_slices_of_its_own_is_let_through(gateway: Gateway) -> None:
    await gateway.promote("shipped", held_out())
    answer = await gateway.promote("own", held_out(first=9000))
    assert "not compared" in answer.note
    assert answer.move.to_version == "modelVersions/own"


async def test_versions_are_shown_compared_and_reported(gateway: Gateway) -> None:
    gateway.add_version("m1")
    gateway.add_version("m2", latency_ms=1.0)
    name = "modelVersions/m2"
    shown = await gateway.models.GetModelVersion(models_pb2.GetModelVersionRequest(name=name))
    version = shown.model_version
    assert version.name == name
    assert version.evaluation.confusion[1].counts == [0, 25, 0, 0]
    assert version.spec.epochs == 3
    assert not version.spec.HasField("seed")
    listed = await gateway.models.ListModelVersions(models_pb2.ListModelVersionsRequest())
    assert {v.name for v in listed.model_versions} == {name, "modelVersions/m1"}
    names = ["modelVersions/m1", name]
    compared = await gateway.models.CompareModelVersions(
        models_pb2.CompareModelVersionsRequest(names=names)
    )
    assert [v.name for v in compared.model_versions] == names
    assert (compared.recommended, bool(compared.recommendation_reason)) == (name, True)
    report = await gateway.models.GetEvaluationReport(
        models_pb2.GetEvaluationReportRequest(name=name)
    )
    assert (report.content_type.split(";")[0], report.content) == ("text/html", b"<h1>m2</h1>")
    card = await gateway.models.GetEvaluationReport(
        models_pb2.GetEvaluationReportRequest(name=name, format=models_pb2.REPORT_FORMAT_MARKDOWN)
    )
    assert (card.content_type.split(";")[0], card.content) == ("text/markdown", b"# m2")
    unknown = models_pb2.GetEvaluationReportRequest(name=name, format=99)  # type: ignore[arg-type]
    assert (await refused(gateway.models.GetEvaluationReport(unknown))).fields == ["format"]
    for bad in ([name], [name, name], []):
        request = models_pb2.CompareModelVersionsRequest(names=bad)
        assert (await refused(gateway.models.CompareModelVersions(request))).fields == ["names"]


# --- audit ------------------------------------------------------------------------------------


async def test_the_log_is_filtered_ordered_and_paged(gateway: Gateway) -> None:
    await gateway.promote("m1")
    for number in range(5):
        await gateway.classify(JPEG + bytes([number]))
    await refused(gateway.classify(b""))
    where = 'label = "glioma" AND model_version = "modelVersions/m1" AND outcome = ANSWERED'
    seen: list[int] = []
    token = ""
    while True:
        request = audit_pb2.ListPredictionsRequest(
            page_size=2, page_token=token, filter=where, order_by="create_time"
        )
        page = await gateway.audit.ListPredictions(request)
        seen += [prediction.sequence for prediction in page.predictions]
        token = page.next_page_token
        if not token:
            break
        request.page_token = token
        request.filter = ""
        refusal = await refused(gateway.audit.ListPredictions(request))
        assert refusal.fields == ["page_token"]
    assert seen == [1, 2, 3, 4, 5]
    assert [p.sequence for p in await gateway.log()] == [6, 5, 4, 3, 2, 1]
    bad_requests: list[tuple[dict[str, Any], str]] = [
        ({"filter": "label ="}, "filter"),
        ({"filter": "colour = red"}, "filter"),
        ({"order_by": "label"}, "order_by"),
    ]
    for fields, field in bad_requests:
        request = audit_pb2.ListPredictionsRequest(**fields)
        assert (await refused(gateway.audit.ListPredictions(request))).fields == [field]


async def test_a_review_stands_beside_its_prediction(gateway: Gateway) -> None:
    await gateway.promote("m1")
    name = (await gateway.classify()).prediction
    review = audit_pb2.Review(
        agrees=False, label=labels_pb2.TUMOR_LABEL_PITUITARY, comment="see the sella"
    )
    request = audit_pb2.RecordReviewRequest(name=name, review=review)
    recorded = (await gateway.audit.RecordReview(request, metadata=CALLER)).review
    assert recorded.reviewer == recorded.caller == "clinic@example.org"
    shown = await gateway.audit.GetPrediction(audit_pb2.GetPredictionRequest(name=name))
    assert list(shown.prediction.reviews) == [recorded]
    export = gateway.audit.ExportPredictions(audit_pb2.ExportPredictionsRequest())
    assert [answer.prediction async for answer in export] == [shown.prediction]
    request.request_id = "6f1c1b0e-8a55-4d1f-9b7e-0d1f2a3b4c5d"
    once = (await gateway.audit.RecordReview(request, metadata=CALLER)).review
    assert (await gateway.audit.RecordReview(request, metadata=CALLER)).review == once
    request.review.ClearField("agrees")  # the label says it
    assert (await gateway.audit.RecordReview(request, metadata=CALLER)).review == once
    request.review.ClearField("label")
    assert (await refused(gateway.audit.RecordReview(request))).fields == ["review.agrees"]
    request.review.agrees = True
    refusal = await refused(gateway.audit.RecordReview(request, metadata=CALLER))
    assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    contradiction = audit_pb2.Review(agrees=True, label=labels_pb2.TUMOR_LABEL_PITUITARY)
    request = audit_pb2.RecordReviewRequest(name=name, review=contradiction)
    assert (await refused(gateway.audit.RecordReview(request))).fields == ["review.label"]
    request = audit_pb2.RecordReviewRequest(name=name)
    assert (await refused(gateway.audit.RecordReview(request))).fields == ["review"]
    request = audit_pb2.RecordReviewRequest(name="predictions/none", review=review)
    assert (await refused(gateway.audit.RecordReview(request))).code == "NOT_FOUND"


async def test_the_chain_is_verified_and_names_a_row_that_was_altered(gateway: Gateway) -> None:
    await gateway.promote("m1")
    for _ in range(3):
        await gateway.classify()
    whole = await gateway.audit.VerifyAuditLog(audit_pb2.VerifyAuditLogRequest())
    assert (whole.intact, whole.rows_checked) == (True, 3)
    with gateway.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE predictions SET label = 'no_tumor' WHERE sequence = 2")
    broken = await gateway.audit.VerifyAuditLog(audit_pb2.VerifyAuditLogRequest())
    assert (broken.intact, broken.broken_at) == (False, 2)
    assert "altered" in broken.problem


async def test_the_log_is_exported_oldest_first(gateway: Gateway) -> None:
    await gateway.promote("m1")
    for number in range(3):
        await gateway.classify(JPEG + bytes([number]))
    await refused(gateway.classify(b""))
    export = gateway.audit.ExportPredictions(
        audit_pb2.ExportPredictionsRequest(filter="NOT outcome = REFUSED")
    )
    assert [answer.prediction.sequence async for answer in export] == [1, 2, 3]
    refusal = await refused(
        gateway.audit.ExportPredictions(audit_pb2.ExportPredictionsRequest(filter="("))
    )
    assert refusal.fields == ["filter"]


# --- the server itself ------------------------------------------------------------------------


async def test_health_and_reflection(gateway: Gateway) -> None:
    for service in ("", *SERVICES):
        reply = await gateway.health.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    channel: Any = gateway.channel  # the stub's type knows no asyncio
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in reflection.ServerReflectionInfo(iter([question])):
        names = {service.name for service in answer.list_services_response.service}
    assert names >= {*SERVICES, "grpc.health.v1.Health"}


async def test_an_unknown_method_is_unimplemented(gateway: Gateway) -> None:
    call: Any = gateway.channel.unary_unary("/braintumor.v1.Classifier/Guess")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_every_call_tells_its_request_id(gateway: Gateway) -> None:
    request = datasets_pb2.ListDatasetsRequest()
    call = gateway.datasets.ListDatasets(request, metadata=(("x-request-id", "mine"),))
    await call
    assert dict(await call.trailing_metadata())["x-request-id"] == "mine"
    call = gateway.datasets.ListDatasets(request, metadata=(("x-request-id", "a b"),))
    await call
    assert dict(await call.trailing_metadata())["x-request-id"] not in {"", "a b"}


async def test_a_caller_of_odd_name_is_anonymous(gateway: Gateway) -> None:
    await gateway.promote("m1")
    request = classifier_pb2.ClassifyRequest(image=JPEG)
    await gateway.classifier.Classify(request, metadata=(("x-braintumor-caller", "a b; c"),))
    await gateway.classifier.Classify(request)
    assert [p.caller for p in await gateway.log()] == ["anonymous", "anonymous"]


async def test_a_drain_lets_work_in_flight_end_and_ends_the_watches(gateway: Gateway) -> None:
    await gateway.promote("m1")
    gateway.add_dataset("brains")
    job = (await gateway.training.CreateTrainingJob(job_request())).training_job
    watch = watched(gateway, job.name)
    assert await anext(watch)
    health = aiter(gateway.health.Watch(health_pb2.HealthCheckRequest()))
    assert (await anext(health)).status == health_pb2.HealthCheckResponse.SERVING
    gateway.predictor.gate.clear()
    working = asyncio.ensure_future(gateway.classify())
    while not gateway.predictor.calls:
        await asyncio.sleep(0.01)
    stopping = asyncio.create_task(gateway.server.stop(60))
    assert (await anext(health)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    refusal = await refused(watch)
    assert refusal.code == "UNAVAILABLE"
    assert [state async for state in health] == []
    assert not stopping.done()
    gateway.predictor.gate.set()
    assert (await working).prediction
    await stopping


async def test_a_drain_that_takes_too_long_cuts_off_and_records(gateway: Gateway) -> None:
    await gateway.promote("m1")
    gateway.predictor.gate.clear()
    working = asyncio.ensure_future(gateway.classify())
    while not gateway.predictor.calls:
        await asyncio.sleep(0.01)
    await gateway.server.stop(0.05)
    with pytest.raises(grpc.aio.AioRpcError):
        await working
    await asyncio.sleep(0.05)
    await gateway.deps.classify.close()
    with gateway.store() as uow:
        (record,) = uow.audit.iterate()
    assert (record.outcome, record.reason) == ("FAILED", "CALLER_WENT_AWAY")


async def test_two_servers_never_share_a_port(gateway: Gateway) -> None:
    with pytest.raises(BrainTumorError, match="in use"):
        build_server(gateway.deps, f"127.0.0.1:{gateway.port}")


async def test_no_task_awaits_the_next_call_of_one_method(gateway: Gateway) -> None:
    """As gRPC has it for methods that are registered: each of them costs every call."""
    assert await gateway.log() == []
    tasks = [repr(task) for task in asyncio.all_tasks()]
    assert [task for task in tasks if "registered" in task] == []


async def test_a_database_that_fails_while_it_is_read_is_away_for_all_of_the_round(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = sqlite3.OperationalError("disk I/O error")
    broken.sqlite_errorcode = sqlite3.SQLITE_IOERR

    def fail(*_: object) -> None:
        raise OperationalError("SELECT", {}, broken)

    monkeypatch.setattr(SqlModels, "aliased", fail)
    refusals = await asyncio.gather(*(refused(gateway.classify()) for _ in range(3)))
    assert [refusal.reason for refusal in refusals] == ["STORE_UNAVAILABLE"] * 3


async def test_a_version_with_no_name_costs_nobody_else_anything(gateway: Gateway) -> None:
    refusal = await refused(gateway.classify(model_version="modelVersions/a\0b"))
    assert refusal.code in {"INVALID_ARGUMENT", "NOT_FOUND"}
