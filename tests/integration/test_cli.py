"""The command line against a real gRPC server with small fake services behind it."""

# ruff: noqa: N802 - gRPC names the methods of a service

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import UUID

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
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_status import rpc_status
from PIL import Image
from typer.testing import CliRunner, Result

from core.errors import (
    AlreadyExists,
    BrainTumorError,
    DatasetRefused,
    FieldViolation,
    ImageProblem,
    ImageRefused,
    InvalidArgument,
    NotFound,
    NothingToRollBackTo,
    Overloaded,
    RejectedFile,
    SegmenterNotRegistered,
    StoreUnavailable,
)
from core.training import Task, TrainingSpec
from services import converters
from services.cli import client as client_module
from services.cli.main import app
from services.cli.synthetic import write_dataset
from services.converters import dataset_message
from services.status import rich_status
from services.usecases.training import check_fits
from tests.fakes.records import a_dataset

NOW = Timestamp(seconds=1_800_000_000)


def fail(context: grpc.ServicerContext, error: BrainTumorError) -> None:
    context.abort_with_status(rpc_status.to_status(rich_status(error, "r1")))


def probabilities() -> list[labels_pb2.LabelProbability]:
    values = (0.8, 0.1, 0.06, 0.04)
    return [
        labels_pb2.LabelProbability(label=label, probability=value)  # type: ignore[arg-type]
        for label, value in enumerate(values, start=1)
    ]


class FakeClassifier(classifier_pb2_grpc.ClassifierServicer):
    """Refuses what is no picture; is busy with each request once when ``busy``.

    With a ``segmenter`` it outlines the left half of each scan; ``forgetful`` answers the first
    time as if from the audit log, without masks.
    """

    def __init__(self) -> None:
        self.requests: list[classifier_pb2.ClassifyRequest] = []
        self.callers: set[Any] = set()
        self.busy = False
        self.segmenter = False
        self.forgetful = False
        self._seen: Counter[str] = Counter()
        self._lock = Lock()

    def Classify(self, request: Any, context: Any) -> Any:
        with self._lock:
            self.requests.append(request)
            self.callers.add(dict(context.invocation_metadata()).get("x-braintumor-caller"))
            self._seen[request.request_id] += 1
        if self.busy and self._seen[request.request_id] == 1:
            fail(context, Overloaded(0.01))
        if request.model_version == "modelVersions/unknown":
            fail(context, NotFound("modelVersions/unknown"))
        if request.include_regions and not self.segmenter:
            fail(context, SegmenterNotRegistered("predictions/kept"))
        try:
            with Image.open(BytesIO(request.image)) as picture:
                size = picture.size
        except OSError:
            fail(context, ImageRefused(ImageProblem.NOT_AN_IMAGE, "This is not a picture."))
        return self._answer(request, size)

    def ClassifyStream(self, request_iterator: Any, context: Any) -> Any:
        raise NotImplementedError

    def _answer(self, request: Any, size: tuple[int, int]) -> Any:
        decision = labels_pb2.DECISION_ACCEPTED
        if size[0] < 60:
            decision = labels_pb2.DECISION_ABSTAINED
        answer = classifier_pb2.ClassifyResponse(
            prediction=f"predictions/{hashlib.sha256(request.image).hexdigest()[:8]}",
            label=labels_pb2.TUMOR_LABEL_GLIOMA,
            probabilities=probabilities(),
            decision=decision,
            model_version=request.model_version or "modelVersions/m1",
            latency=Duration(nanos=12_000_000),
            cached=size[0] < 60,
        )
        if request.include_explanation:
            heat = BytesIO()
            Image.linear_gradient("L").resize(size).save(heat, "PNG")
            answer.explanation.activation_map_png = heat.getvalue()
        if request.include_regions:
            answer.segmenter_version = "modelVersions/s1"
            answer.regions.append(self._region(request, size))
        return answer

    def _region(self, request: Any, size: tuple[int, int]) -> classifier_pb2.Region:
        width, height = size[0] // 2, size[1]
        box = classifier_pb2.BoundingBox(x0=0, y0=0, x1=width, y1=height)
        region = classifier_pb2.Region(box=box, score=0.9, area_px=width * height)
        if request.HasField("pixel_spacing"):
            region.area_mm2 = (
                region.area_px * request.pixel_spacing.x_mm * request.pixel_spacing.y_mm
            )
        with self._lock:
            forgets, self.forgetful = self.forgetful, False
        if request.mask_format == classifier_pb2.MASK_FORMAT_PNG and not forgets:
            mask, png = Image.new("1", size), BytesIO()
            mask.paste(1, (0, 0, width, height))
            mask.save(png, "PNG")
            region.mask_png = png.getvalue()
        return region


class FakeDatasets(datasets_pb2_grpc.DatasetsServicer):
    """Checks the upload protocol and keeps what it got."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.headers: list[datasets_pb2.UploadHeader] = []
        self.uris: list[str] = []
        self.known = {f"datasets/d{n}": self._dataset(f"d{n}") for n in range(7)}

    def _dataset(self, dataset_id: str) -> datasets_pb2.Dataset:
        counts = [datasets_pb2.LabelCount(label=labels_pb2.TUMOR_LABEL_GLIOMA, count=3)]
        return datasets_pb2.Dataset(
            name=f"datasets/{dataset_id}",
            create_time=NOW,
            item_count=3,
            class_counts=counts,
            audit=dataset_message(a_dataset()).audit if dataset_id == "d0" else None,
            same_as=["datasets/d0"] if dataset_id == "d2" else [],
            rejected_files=[datasets_pb2.RejectedFile(path="x.jpg", problem="is empty")],
            rejected_count=9,
        )

    def UploadDataset(self, request_iterator: Any, context: Any) -> Any:
        header = next(request_iterator).header
        self.headers.append(header)
        described, data = None, b""
        for message in request_iterator:
            if message.WhichOneof("part") == "file":
                self._keep(described, data)
                described, data = message.file, b""
            else:
                data += message.chunk
        self._keep(described, data)
        if header.dataset_id == "taken":
            fail(context, AlreadyExists("datasets/taken"))
        if any(b"broken" in content for content in self.files.values()):
            bad = (RejectedFile("glioma/b.jpg", "is not a picture"),)
            fail(context, DatasetRefused("1 file cannot be used", bad))
        return datasets_pb2.UploadDatasetResponse(dataset=self._dataset(header.dataset_id))

    def _keep(self, described: datasets_pb2.UploadFile | None, data: bytes) -> None:
        if described is not None:
            assert described.sha256 == hashlib.sha256(data).hexdigest()
            assert described.size_bytes == len(data)
            self.files[described.path] = data

    def ImportDataset(self, request: Any, context: Any) -> Any:
        self.uris.append(request.uri)
        return datasets_pb2.ImportDatasetResponse(dataset=self._dataset(request.dataset_id or "x"))

    def GetDataset(self, request: Any, context: Any) -> Any:
        if request.name not in self.known:
            fail(context, NotFound(request.name))
        return datasets_pb2.GetDatasetResponse(dataset=self.known[request.name])

    def ListDatasets(self, request: Any, context: Any) -> Any:
        start = int(request.page_token or 0)
        end = start + min(request.page_size, 3)
        found = list(self.known.values())[start:end]
        token = str(end) if end < len(self.known) else ""
        return datasets_pb2.ListDatasetsResponse(datasets=found, next_page_token=token)

    def DeleteDataset(self, request: Any, context: Any) -> Any:
        self.known.pop(request.name)
        return datasets_pb2.DeleteDatasetResponse()

    def GetDatasetAuditReport(self, request: Any, context: Any) -> Any:
        page = b"<!doctype html><p>audit</p>"
        return datasets_pb2.GetDatasetAuditReportResponse(content_type="text/html", content=page)


def _no_masks() -> InvalidArgument:
    """What the server says when outlines are to be learned where there are none."""
    with pytest.raises(InvalidArgument) as caught:
        check_fits(a_dataset(mask_count=0), TrainingSpec(task=Task.SEGMENTATION))
    return caught.value


class FakeTraining(training_pb2_grpc.TrainingServicer):
    """One job, whose end is set by the test. ``datasets/maskless`` has no masks."""

    def __init__(self) -> None:
        self.created: list[training_pb2.CreateTrainingJobRequest] = []
        self.ends: Any = training_pb2.JOB_STATE_SUCCEEDED
        self.error = "Use less."

    def _job(self, state: Any) -> training_pb2.TrainingJob:
        job = training_pb2.TrainingJob(
            name="trainingJobs/j1", dataset="datasets/d", state=state, create_time=NOW
        )
        if state == training_pb2.JOB_STATE_SUCCEEDED:
            job.model_version = "modelVersions/m1"
        if state == training_pb2.JOB_STATE_FAILED:
            job.error.CopyFrom(training_pb2.JobError(reason="NO_MEMORY", message=self.error))
        return job

    def CreateTrainingJob(self, request: Any, context: Any) -> Any:
        self.created.append(request)
        task = converters.training_spec(request.training_job.spec).task
        if task is Task.SEGMENTATION and request.training_job.dataset == "datasets/maskless":
            fail(context, _no_masks())
        if request.training_job.dataset == "datasets/missing":
            fail(context, NotFound("datasets/missing"))
        job = self._job(training_pb2.JOB_STATE_QUEUED)
        return training_pb2.CreateTrainingJobResponse(training_job=job)

    def GetTrainingJob(self, request: Any, context: Any) -> Any:
        return training_pb2.GetTrainingJobResponse(training_job=self._job(self.ends))

    def ListTrainingJobs(self, request: Any, context: Any) -> Any:
        return training_pb2.ListTrainingJobsResponse(training_jobs=[self._job(self.ends)])

    def WatchTrainingJob(self, request: Any, context: Any) -> Any:
        running = self._job(training_pb2.JOB_STATE_RUNNING)
        for number in (1, 2):
            epoch = training_pb2.EpochProgress(epoch=number, epochs=2, loss=1 / number)
            event = training_pb2.JobEvent(
                sequence=number,
                create_time=NOW,
                state=running.state,
                message="epoch",
                epoch=epoch,
            )
            yield training_pb2.WatchTrainingJobResponse(training_job=running, event=event)
            yield training_pb2.WatchTrainingJobResponse(training_job=running)
        event = training_pb2.JobEvent(sequence=3, create_time=NOW, state=self.ends)
        yield training_pb2.WatchTrainingJobResponse(training_job=self._job(self.ends), event=event)

    def CancelTrainingJob(self, request: Any, context: Any) -> Any:
        job = self._job(training_pb2.JOB_STATE_CANCELLING)
        return training_pb2.CancelTrainingJobResponse(training_job=job)


_SEGMENTERS = ("s1", "s2")
_ANSWERS = ["accuracy", "macro_f1"]


class FakeModels(models_pb2_grpc.ModelsServicer):
    """Versions of any name, all alike."""

    def __init__(self) -> None:
        self.promotions: list[models_pb2.PromoteModelVersionRequest] = []
        self.rollbacks: list[models_pb2.RollbackModelAliasRequest] = []
        self.aliases = ["production"]
        self.pointing = {"production", "trial"}
        self.listings = 0
        self.late = False
        self.allowed: list[float] = []

    def _take_time(self, context: Any) -> None:
        """Keeps what the caller allows for, which is too little when ``late``."""
        self.allowed.append(context.time_remaining())
        if self.late:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _version(self, name: str) -> models_pb2.ModelVersion:
        metrics = [
            models_pb2.ClassMetrics(label=label, precision=0.9, recall=0.8, f1=0.85, support=5)  # type: ignore[arg-type]
            for label in range(1, 4)
        ]
        metrics.append(models_pb2.ClassMetrics(label=4, support=0))  # type: ignore[arg-type]
        confusion = [
            models_pb2.ConfusionRow(label=label, counts=[4, 1, 0, 0])  # type: ignore[arg-type]
            for label in range(1, 5)
        ]
        evaluation = models_pb2.Evaluation(
            accuracy=0.875,
            macro_f1=0.85,
            ece=0.031,
            per_class=metrics,
            confusion=confusion,
            test_size=20,
            intervals=[models_pb2.MetricInterval(metric="ece", low=0.02, high=0.04)],
        )
        if name.endswith(_SEGMENTERS):
            return self._segmenter(name)
        return models_pb2.ModelVersion(
            name=name,
            create_time=NOW,
            backbone=training_pb2.BACKBONE_VGG19,
            spec=training_pb2.TrainingSpec(image_size=192),
            evaluation=evaluation,
            aliases=self.aliases,
            latency=Duration(nanos=9_500_000),
            flops=390_000_000,
        )

    def _segmenter(self, name: str) -> models_pb2.ModelVersion:
        glioma = models_pb2.OutlineMetrics(label=1, dice=0.81, iou=0.7, support=9)  # type: ignore[arg-type]
        small = models_pb2.SizeMetrics(up_to_px=321, dice=0.6, iou=0.5, support=3)
        segmentation = models_pb2.SegmentationEvaluation(
            dice=0.852, box_map_50=0.93, per_class=[glioma], per_size=[small], test_size=9
        )
        return models_pb2.ModelVersion(
            name=name,
            create_time=NOW,
            task=training_pb2.TASK_SEGMENTATION,
            backbone=training_pb2.BACKBONE_EFFICIENTNET_B0,
            segmentation=segmentation,
        )

    def GetModelVersion(self, request: Any, context: Any) -> Any:
        return models_pb2.GetModelVersionResponse(model_version=self._version(request.name))

    def ListModelVersions(self, request: Any, context: Any) -> Any:
        self.listings += 1
        versions = [self._version("modelVersions/m2"), self._version("modelVersions/m1")]
        return models_pb2.ListModelVersionsResponse(model_versions=versions)

    def CompareModelVersions(self, request: Any, context: Any) -> Any:
        self._take_time(context)
        return models_pb2.CompareModelVersionsResponse(
            model_versions=[self._version(name) for name in request.names],
            recommended=request.names[0],
            recommendation_reason="it is the faster one",
            pairs=[self._pair(*request.names[:2])],
            notes=["modelVersions/m3 keeps no held-out predictions"],
        )

    def _pair(self, first: str, second: str) -> models_pb2.PairedComparison:
        found = models_pb2.PairedDifference(
            difference=0.02, low=-0.01, high=0.05, probability_better=0.912
        )
        return models_pb2.PairedComparison(
            first=first,
            second=second,
            slice_count=400,
            group_count=90,
            **dict.fromkeys(["dice"] if first.endswith(_SEGMENTERS) else _ANSWERS, found),
        )

    def PromoteModelVersion(self, request: Any, context: Any) -> Any:
        self._take_time(context)
        self.promotions.append(request)
        move = models_pb2.AliasMove(
            alias=request.alias or "production", to_version=request.name, create_time=NOW
        )
        note = "" if move.alias in self.aliases else "Nothing served before."
        return models_pb2.PromoteModelVersionResponse(move=move, note=note)

    def RollbackModelAlias(self, request: Any, context: Any) -> Any:
        self._take_time(context)
        self.rollbacks.append(request)
        if not self.pointing:
            fail(context, NothingToRollBackTo("production"))
        move = models_pb2.AliasMove(
            alias="production", from_version="modelVersions/m2", to_version="modelVersions/m1"
        )
        return models_pb2.RollbackModelAliasResponse(move=move)

    def ListAliasMoves(self, request: Any, context: Any) -> Any:
        alias = request.alias or "production"
        moves = [self._move(alias)] if alias in self.pointing else []
        return models_pb2.ListAliasMovesResponse(alias_moves=moves)

    def _move(self, alias: str) -> models_pb2.AliasMove:
        return models_pb2.AliasMove(
            alias=alias,
            create_time=NOW,
            caller="ann",
            to_version="modelVersions/m2",
            reason="better on coronal slices",
        )

    def GetEvaluationReport(self, request: Any, context: Any) -> Any:
        kind, page = "text/html", "<!doctype html><p>report</p>"
        if request.format == models_pb2.REPORT_FORMAT_MARKDOWN:
            kind, page = "text/markdown", "# Brain \N{BRAIN}\n"
        return models_pb2.GetEvaluationReportResponse(content_type=kind, content=page.encode())


class FakeAudit(audit_pb2_grpc.AuditServicer):
    """Twelve rows; the chain is broken when the test says so."""

    def __init__(self) -> None:
        self.broken = False
        self.away = False
        self.filters: list[str] = []
        self.reviews: list[audit_pb2.RecordReviewRequest] = []

    def _row(self, sequence: int) -> audit_pb2.Prediction:
        return audit_pb2.Prediction(
            name=f"predictions/p{sequence}",
            sequence=sequence,
            create_time=NOW,
            caller="me",
            label=labels_pb2.TUMOR_LABEL_GLIOMA,
            probabilities=probabilities(),
            decision=labels_pb2.DECISION_ACCEPTED,
            outcome=audit_pb2.OUTCOME_ANSWERED,
            status="OK",
            latency=Duration(nanos=7_000_000),
        )

    def ListPredictions(self, request: Any, context: Any) -> Any:
        self.filters.append(request.filter)
        if request.filter == "nonsense":
            violation = FieldViolation("filter", "unknown field 'nonsense'")
            fail(context, InvalidArgument((violation,)))
        newest = int(request.page_token or 12)
        oldest = max(newest - min(request.page_size, 5), 0)
        rows = [self._row(number) for number in range(newest, oldest, -1)]
        token = str(oldest) if oldest else ""
        return audit_pb2.ListPredictionsResponse(predictions=rows, next_page_token=token)

    def GetPrediction(self, request: Any, context: Any) -> Any:
        found = self._row(3)
        found.segmenter_version = "modelVersions/s1"
        found.outlined = True
        box = classifier_pb2.BoundingBox(x0=1, y0=2, x1=30, y1=40)
        found.regions.append(classifier_pb2.Region(box=box, score=0.5, area_px=99, area_mm2=24.75))
        found.reviews.append(audit_pb2.Review(create_time=NOW, reviewer="dr", agrees=True))
        return audit_pb2.GetPredictionResponse(prediction=found)

    def RecordReview(self, request: Any, context: Any) -> Any:
        self.reviews.append(request)
        return audit_pb2.RecordReviewResponse(review=request.review)

    def VerifyAuditLog(self, request: Any, context: Any) -> Any:
        if self.away:
            fail(context, StoreUnavailable())
        if self.broken:
            return audit_pb2.VerifyAuditLogResponse(
                intact=False,
                rows_checked=4,
                broken_at=5,
                broken_prediction="predictions/p5",
                problem="row 5 was altered",
            )
        return audit_pb2.VerifyAuditLogResponse(intact=True, rows_checked=12)

    def ExportPredictions(self, request: Any, context: Any) -> Any:
        for sequence in range(1, 13):
            found = self._row(sequence)
            if sequence == 3:
                found.reviews.append(
                    audit_pb2.Review(create_time=NOW, reviewer="dr", agrees=True, caller="ward-3")
                )
            yield audit_pb2.ExportPredictionsResponse(prediction=found)


class World:
    """The fake services, and the command that talks to them."""

    def __init__(self) -> None:
        self.classifier = FakeClassifier()
        self.datasets = FakeDatasets()
        self.training = FakeTraining()
        self.models = FakeModels()
        self.audit = FakeAudit()
        self._server = grpc.server(ThreadPoolExecutor(8))
        classifier_pb2_grpc.add_ClassifierServicer_to_server(self.classifier, self._server)
        datasets_pb2_grpc.add_DatasetsServicer_to_server(self.datasets, self._server)
        training_pb2_grpc.add_TrainingServicer_to_server(self.training, self._server)
        models_pb2_grpc.add_ModelsServicer_to_server(self.models, self._server)
        audit_pb2_grpc.add_AuditServicer_to_server(self.audit, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def run(self, *arguments: str, expect: int = 0) -> Result:
        environment = {"BRAINTUMOR_ADDRESS": self.address}
        done = CliRunner().invoke(app, arguments, env=environment)
        assert done.exit_code == expect, (done.output, done.exception)
        return done

    def rows(self, *arguments: str, expect: int = 0) -> list[dict[str, Any]]:
        done = self.run(*arguments, "--json", expect=expect)
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def world() -> Iterator[World]:
    running = World()
    yield running
    running.stop()


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    folder = tmp_path / "slices"
    write_dataset(folder, per_class=3, size=64, seed=0)
    return folder


def test_classify_answers_each_scan_in_the_order_of_the_input(world: World, slices: Path) -> None:
    rows = world.rows("classify", str(slices / "pituitary"), str(slices / "glioma"))
    names = [Path(row["path"]).parent.name for row in rows]
    assert names == ["pituitary"] * 3 + ["glioma"] * 3
    for row in rows:
        sha = hashlib.sha256(Path(row["path"]).read_bytes()).hexdigest()
        assert row["prediction"] == f"predictions/{sha[:8]}"
        assert row["label"] == "glioma"
        assert row["probabilities"]["glioma"] == 0.8
        assert row["latency_ms"] == 12.0
        assert row["error"] is None
    assert len({request.request_id for request in world.classifier.requests}) == 6


def test_a_refused_scan_does_not_stop_the_others(
    world: World, slices: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "notes.txt"
    broken.write_text("no picture")
    rows = world.rows("classify", str(broken), str(slices / "glioma"), expect=1)
    assert rows[0]["error"] == {
        "status": "INVALID_ARGUMENT",
        "reason": "IMAGE_NOT_AN_IMAGE",
        "message": "This is not a picture.",
    }
    assert rows[0]["label"] is None
    assert all(row["error"] is None for row in rows[1:])


def test_a_busy_server_is_asked_again_with_the_same_request_id(world: World, slices: Path) -> None:
    world.classifier.busy = True
    rows = world.rows("classify", str(slices / "glioma"))
    assert all(row["error"] is None for row in rows)
    ids = Counter(request.request_id for request in world.classifier.requests)
    assert set(ids.values()) == {2}


def test_a_person_sees_a_table_a_summary_and_the_caution(world: World, tmp_path: Path) -> None:
    write_dataset(tmp_path / "small", per_class=1, size=48, seed=0)
    done = world.run("classify", str(tmp_path / "small"))
    assert "? ABSTAINED" in done.stdout
    assert "80.0%" in done.stdout
    assert "4 scans" in done.stdout
    assert "4 abstained" in done.stdout
    assert "4 from the result cache" in done.stdout
    assert done.stdout.count("not a medical device") == 1


def test_the_model_may_be_named_and_an_unknown_one_is_refused(world: World, slices: Path) -> None:
    (row,) = world.rows("classify", str(next((slices / "glioma").iterdir())), "--model", "m9")
    assert row["model_version"] == "modelVersions/m9"
    rows = world.rows("classify", str(slices / "glioma"), "--model", "unknown", expect=1)
    assert {row["error"]["status"] for row in rows} == {"NOT_FOUND"}


def test_overlays_are_written_by_stem(world: World, slices: Path, tmp_path: Path) -> None:
    overlays = tmp_path / "deep" / "overlays"
    world.rows("classify", str(slices / "glioma"), "--overlay-dir", str(overlays))
    stems = {path.stem for path in (slices / "glioma").iterdir()}
    assert {path.name for path in overlays.iterdir()} == {f"{stem}.png" for stem in stems}
    with Image.open(next(overlays.iterdir())) as picture:
        assert picture.width == 224
        assert picture.height > 224


@pytest.mark.parametrize("wish", [["--mask-dir", "masks"], ["--regions"]])
def test_without_a_segmenter_the_classification_is_not_lost(
    world: World, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = world.rows("classify", str(slices / "glioma"), *wish, expect=1)
    for row in rows:
        assert row["error"]["status"] == "FAILED_PRECONDITION"
        assert row["error"]["reason"] == "SEGMENTER_NOT_REGISTERED"
        assert "predictions/kept" in row["error"]["message"]
        assert (row["label"], row["decision"], row["regions"]) == ("glioma", "ACCEPTED", [])
    assert list(tmp_path.glob("masks/*")) == []
    ids = Counter(request.request_id for request in world.classifier.requests)
    assert set(ids.values()) == {2}, "asked again for the recorded answer"


def test_regions_are_asked_for_where_the_server_has_a_segmenter(world: World, slices: Path) -> None:
    scans = str(slices / "glioma")
    assert {len(row["regions"]) for row in world.rows("classify", scans)} == {0}
    world.classifier.segmenter = True
    world.models.pointing.add("segmentation")
    for row in world.rows("classify", scans):
        assert row["segmenter_version"] == "modelVersions/s1"
        region = {"box": [0, 0, 32, 64], "score": 0.9, "area_px": 2048, "area_mm2": None}
        assert row["regions"] == [region]
    assert {request.mask_format for request in world.classifier.requests} == {0}
    assert "1 region, 2048 px" in world.run("classify", scans).stdout
    assert {len(row["regions"]) for row in world.rows("classify", scans, "--no-regions")} == {0}
    assert world.models.listings == 0, "there may be very many versions"


def test_masks_are_written_by_stem_and_of_the_scans_size(
    world: World, slices: Path, tmp_path: Path
) -> None:
    world.classifier.segmenter = True
    masks = tmp_path / "deep" / "masks"
    done = world.run("classify", str(slices / "glioma"), "--mask-dir", str(masks))
    assert f"Masks are in {masks}." in done.stdout
    stems = {path.stem for path in (slices / "glioma").iterdir()}
    assert {path.name for path in masks.iterdir()} == {f"{stem}.png" for stem in stems}
    with Image.open(next(masks.iterdir())) as mask:
        assert (mask.mode, mask.size) == ("1", (64, 64))
        assert mask.getbbox() == (0, 0, 32, 64)


def test_masks_that_a_repeated_answer_lacks_are_asked_for_anew(
    world: World, slices: Path, tmp_path: Path
) -> None:
    world.classifier.segmenter = world.classifier.forgetful = True
    rows = world.rows("classify", str(slices / "glioma"), "--mask-dir", str(tmp_path / "masks"))
    assert all(row["error"] is None for row in rows)
    assert len(list((tmp_path / "masks").iterdir())) == 3
    assert len({request.request_id for request in world.classifier.requests}) == 4


def test_overlays_show_what_was_outlined(world: World, slices: Path, tmp_path: Path) -> None:
    world.classifier.segmenter = True
    overlays = tmp_path / "overlays"
    scans = str(slices / "glioma")
    world.rows("classify", scans, "--regions", "--overlay-dir", str(overlays))
    with Image.open(next(overlays.iterdir())) as picture:
        colours = {colour for _, colour in picture.getcolors(1 << 24) or ()}
    assert {(240, 228, 66), (86, 180, 233)} <= colours


@pytest.mark.parametrize(("spacing", "area"), [("0.5", 512.0), ("0.5,0.25", 256.0)])
def test_areas_are_in_mm2_where_the_spacing_is_given(
    world: World, slices: Path, spacing: str, area: float
) -> None:
    world.classifier.segmenter = True
    scans = str(slices / "glioma")
    rows = world.rows("classify", scans, "--regions", "--pixel-spacing", spacing)
    assert {row["regions"][0]["area_mm2"] for row in rows} == {area}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--pixel-spacing", "wide"],
        ["--pixel-spacing", "0"],
        ["--pixel-spacing", "nan"],
        ["--pixel-spacing", "1,2,3"],
        ["--pixel-spacing", "500"],
        ["--mask-dir", "out", "--no-regions"],
        ["--mask-dir", "out", "--overlay-dir", "./out"],
    ],
)
def test_wishes_that_make_no_sense_are_bad_usage(
    world: World,
    slices: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    world.run("classify", str(slices), *arguments, expect=2)
    assert world.classifier.requests == []


def test_a_folder_without_pictures_is_bad_usage(world: World, tmp_path: Path) -> None:
    world.run("classify", str(tmp_path), expect=2)


def test_the_server_learns_who_asks(
    world: World, slices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "dr who")
    world.rows("classify", str(slices / "glioma"))
    assert world.classifier.callers == {"dr_who"}


def test_without_a_server_every_command_exits_3(slices: Path) -> None:
    for arguments in (
        ["classify", str(slices)],
        ["datasets", "list"],
        ["datasets", "upload", str(slices)],
        ["train", "--dataset", "d", "--watch"],
        ["jobs", "watch", "j"],
        ["models", "list"],
        ["audit", "verify"],
    ):
        done = CliRunner().invoke(app, [*arguments, "--address", "127.0.0.1:1"])
        assert done.exit_code == 3, done.output
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) <= 2
        assert "braintumor up" in done.stderr


def test_a_server_that_goes_away_midway_is_status_3(
    world: World, slices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module.Client, "check_reachable", lambda _self: None)
    monkeypatch.setattr(client_module, "_FIRST_PAUSE", 0.001)
    world.stop()
    rows = world.rows("classify", str(slices / "glioma"), expect=3)
    assert {row["error"]["status"] for row in rows} == {"UNAVAILABLE"}
    assert len(rows) == 3


def test_upload_sends_every_picture_of_a_folder(world: World, slices: Path) -> None:
    (slices / "README.md").write_text("words")
    (row,) = world.rows("datasets", "upload", str(slices), "--name", "datasets/brains")
    assert row["name"] == "datasets/brains"
    assert row["class_counts"] == {"glioma": 3}
    sent = {path.relative_to(slices).as_posix() for path in slices.rglob("*.jpg")}
    assert set(world.datasets.files) == sent
    (header,) = world.datasets.headers
    assert header.dataset_id == "brains"
    assert header.on_bad_file == datasets_pb2.ON_BAD_FILE_REFUSE
    assert header.request_id


def test_upload_says_which_pictures_the_manifest_passes_over(world: World, slices: Path) -> None:
    first, *others = sorted(path.relative_to(slices).as_posix() for path in slices.rglob("*.jpg"))
    (slices / "manifest.csv").write_text(f"path,label\n{first},glioma\n")
    done = world.run("datasets", "upload", str(slices), "--name", "brains")
    assert f"does not name {len(others)} pictures" in done.stderr
    assert others[0] in done.stderr
    assert set(others) < world.datasets.files.keys()


def test_upload_sends_an_archive_in_one_piece(world: World, tmp_path: Path) -> None:
    archive = tmp_path / "brains.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("glioma/a.jpg", b"x" * 3_000_000)
    (row,) = world.rows("datasets", "upload", str(archive), "--skip-bad")
    assert row["name"] == "datasets/brains"
    assert world.datasets.files == {"brains.zip": archive.read_bytes()}
    assert world.datasets.headers[0].on_bad_file == datasets_pb2.ON_BAD_FILE_SKIP


def test_a_refused_upload_names_the_files(world: World, slices: Path) -> None:
    (slices / "glioma" / "b.jpg").write_bytes(b"broken")
    done = world.run("datasets", "upload", str(slices), expect=1)
    assert "INVALID_ARGUMENT" in done.stderr
    assert done.stderr.count("glioma/b.jpg: is not a picture") == 1
    assert done.stdout == ""


def test_a_taken_name_is_refused(world: World, slices: Path) -> None:
    done = world.run("datasets", "upload", str(slices), "--name", "taken", expect=1)
    assert done.stderr.startswith("ALREADY_EXISTS: datasets/taken exists already.")


def test_what_cannot_be_uploaded_is_bad_usage(world: World, tmp_path: Path) -> None:
    (tmp_path / "scan.jpg").write_bytes(b"x")
    world.run("datasets", "upload", str(tmp_path / "scan.jpg"), expect=2)
    (tmp_path / "empty").mkdir()
    world.run("datasets", "upload", str(tmp_path / "empty"), expect=2)


def test_a_local_path_is_imported_as_a_file_uri(world: World, tmp_path: Path) -> None:
    world.rows("datasets", "import", str(tmp_path))
    world.rows("datasets", "import", "s3://bucket/x", "--name", "x")
    assert world.datasets.uris == [tmp_path.as_uri(), "s3://bucket/x"]


def test_lists_run_over_pages_up_to_the_limit(world: World) -> None:
    assert len(world.rows("datasets", "list")) == 7
    assert len(world.rows("datasets", "list", "--limit", "4")) == 4
    rows = world.rows("audit", "list", "--limit", "0", "--filter", 'label = "glioma"')
    assert [row["sequence"] for row in rows] == list(range(12, 0, -1))
    assert next(iter(rows[0])) == "prediction"
    assert set(world.audit.filters) == {'label = "glioma"'}


def test_data_sets_are_shown_and_deleted_by_either_name(world: World) -> None:
    assert "glioma 3" in world.run("datasets", "show", "d1").stdout
    assert world.rows("datasets", "delete", "datasets/d1") == [
        {"name": "datasets/d1", "deleted": True}
    ]
    done = world.run("datasets", "show", "d1", expect=1)
    assert done.stderr == "NOT_FOUND: datasets/d1 does not exist.\n"


def test_train_submits_what_was_asked_for(world: World) -> None:
    (row,) = world.rows(
        "train", "--dataset", "d", "--set", "epochs=2", "--set", "weights=none",
        "--request-id", "11111111-1111-4111-8111-111111111111",
    )  # fmt: skip
    assert next(iter(row)) == "name"
    assert row["state"] == "QUEUED"
    (request,) = world.training.created
    assert request.training_job.dataset == "datasets/d"
    assert request.training_job.spec.epochs == 2
    assert request.request_id.startswith("1111")


@pytest.mark.parametrize(("named", "version"), [("m7", "m7"), ("production", "m2")])
@pytest.mark.parametrize("command", [("train",), ("search", "--try", "dropout=0.1,0.3")])
def test_a_training_goes_on_from_a_version(
    world: World, command: tuple[str, ...], named: str, version: str
) -> None:
    world.rows(*command, "--dataset", "d", "--from", named, "--set", "epochs=2")
    (request,) = world.training.created
    spec = request.training_job.spec
    assert (spec.weights, spec.epochs) == (f"version:{version}", 2)
    assert (spec.backbone, spec.image_size) == (training_pb2.BACKBONE_VGG19, 192)


def test_what_is_said_of_a_training_wins_over_the_version_it_goes_on_from(world: World) -> None:
    world.rows("train", "--dataset", "d", "--from", "m7", "--set", "image_size=160")
    (request,) = world.training.created
    assert request.training_job.spec.image_size == 160


def test_train_passes_on_what_the_server_says(world: World) -> None:
    done = world.run("train", "--dataset", "missing", expect=1)
    assert done.stderr.startswith("NOT_FOUND")


def test_a_segmenter_is_trained_where_there_are_masks(world: World) -> None:
    segmentation = ("--task", "segmentation")
    (row,) = world.rows("train", "--dataset", "d", *segmentation)
    assert row["state"] == "QUEUED"
    (request,) = world.training.created
    assert request.training_job.spec.task == training_pb2.TASK_SEGMENTATION

    done = world.run("train", "--dataset", "maskless", *segmentation, expect=1)
    assert done.stderr.startswith("INVALID_ARGUMENT")
    assert "no tumour masks" in done.stderr
    assert world.rows("train", "--dataset", "maskless")[0]["state"] == "QUEUED"


def test_a_search_is_for_the_task_that_was_asked_for(world: World) -> None:
    asked = ("search", "--dataset", "d", "--try", "dropout=0.1,0.3", "--trials", "3")
    world.rows(*asked)
    world.rows(*asked, "--task", "segmentation", "--backbone", "vgg19")
    named, outlined = (request.training_job for request in world.training.created)
    assert named.spec.task == training_pb2.TASK_CLASSIFICATION
    assert outlined.spec.task == training_pb2.TASK_SEGMENTATION
    assert outlined.spec.backbone == training_pb2.BACKBONE_VGG19
    assert [job.search.trials for job in (named, outlined)] == [3, 3]


def test_watch_gives_events_and_the_end_decides_the_status(world: World) -> None:
    rows = world.rows("train", "--dataset", "d", "--watch")
    assert [row["event"]["sequence"] for row in rows] == [1, 2, 3]
    assert rows[0]["event"]["epoch"]["loss"] == 1.0
    assert rows[-1]["model_version"] == "modelVersions/m1"
    world.training.ends = training_pb2.JOB_STATE_FAILED
    done = world.run("jobs", "watch", "j1", expect=1)
    assert "epoch 2/2" in done.stdout
    assert "NO_MEMORY: Use less." in done.stderr
    done = world.run("jobs", "watch", "j1", "--json", expect=1)
    told = json.loads(done.stderr)["error"]
    assert told["reason"] == "NO_MEMORY"
    assert "NO_MEMORY: Use less." in told["message"]


def test_jobs_are_listed_shown_and_cancelled(world: World) -> None:
    listed = world.run("jobs", "list").stdout.splitlines()[-1].split()
    assert (listed[0], listed[-1]) == ("j1", "m1")
    assert world.rows("jobs", "show", "j1")[0]["model_version"] == "modelVersions/m1"
    assert world.rows("jobs", "cancel", "j1")[0]["state"] == "CANCELLING"


def test_a_long_error_is_cut_in_the_list_and_whole_with_the_job(world: World) -> None:
    world.training.ends = training_pb2.JOB_STATE_FAILED
    world.training.error = "There is no room left. " * 20 + "Make some."
    listed = world.run("jobs", "list").stdout
    assert "NO_MEMORY: There is no room" in listed
    assert "Make some." not in listed
    assert len(listed.splitlines()) == 3
    assert "Make some." in world.run("jobs", "show", "j1").stdout
    assert world.rows("jobs", "list")[0]["error"]["message"].endswith("Make some.")


def test_tables_name_by_ids_that_commands_take(world: World) -> None:
    tables = (
        ("datasets", "list"),
        ("models", "list"),
        ("models", "compare", "m1", "m2"),
        ("models", "history"),
        ("audit", "list"),
    )
    for command in tables:
        (table, *_) = world.run(*command).stdout.split("\nRecommended")
        table = table.split("Not compared")[0]
        assert not re.search(r"(datasets|modelVersions|predictions)/", table), command
    assert world.rows("models", "history")[0]["to_version"] == "modelVersions/m2"


def test_a_segmenter_is_shown_by_its_outlines(world: World) -> None:
    shown = world.run("models", "show", "s1").stdout
    for words in ("Dice, mean", "0.852", "box mAP at 0.50", "glioma", "0.810", "321 px"):
        assert words in shown
    (row,) = world.rows("models", "show", "s1")
    assert row["evaluation"] is None
    assert row["segmentation"]["per_class"]["glioma"]["support"] == 9


def test_segmenters_are_compared_by_their_outlines(world: World) -> None:
    page = world.run("models", "compare", "s1", "s2").stdout
    assert "Dice (95 %)" in page
    for of_classifiers in ("macro F1", "F1", "accuracy", "aliases"):
        assert of_classifiers not in page
    assert "91.2%" in page
    (compared,) = world.rows("models", "compare", "s1", "s2")
    assert compared["pairs"][0]["macro_f1"] is None


def test_models_are_listed_shown_and_compared(world: World) -> None:
    names = [row["name"] for row in world.rows("models", "list")]
    assert names == ["modelVersions/m2", "modelVersions/m1"]
    assert "production" in world.run("models", "list").stdout
    shown = world.run("models", "show", "m1").stdout
    assert "0.875" in shown
    assert "meningioma" in shown
    (compared,) = world.rows("models", "compare", "m1", "m2")
    assert compared["recommended"] == "modelVersions/m1"
    assert compared["pairs"][0]["macro_f1"]["probability_better"] == 0.912
    page = world.run("models", "compare", "m1", "m2").stdout
    assert "Recommended: modelVersions/m1" in page
    assert "pituitary" in page
    assert "Dice" not in page
    assert max(map(len, page.splitlines())) < 120
    assert "+0.020 (-0.010 to +0.050)" in page
    assert "91.2%" in page
    assert "Not compared slice by slice: modelVersions/m3 keeps" in page


@pytest.mark.parametrize("alias", ["production", "segmentation"])
def test_what_serves_can_be_read_by_its_alias(world: World, alias: str, tmp_path: Path) -> None:
    name = "modelVersions/m2"
    world.models.pointing.add(alias)
    assert world.rows("models", "show", alias)[0]["name"] == name
    (compared,) = world.rows("models", "compare", "m1", alias)
    assert [row["name"] for row in compared["model_versions"]] == ["modelVersions/m1", name]
    assert world.rows("models", "card", alias)[0]["name"] == name
    page = str(tmp_path / "page.html")
    assert world.rows("models", "report", alias, "--output", page)[0]["name"] == name


def test_an_alias_that_points_nowhere_is_a_version_that_is_not_there(world: World) -> None:
    world.models.pointing.clear()
    assert world.rows("models", "show", "production")[0]["name"] == "modelVersions/production"


def test_a_version_is_shown_with_what_was_measured(world: World) -> None:
    shown = world.run("models", "show", "m1").stdout
    assert "0.031 (95 %: 0.020 to 0.040)" in shown
    assert "0.39 billion multiply-accumulates" in shown
    assert "specificity" not in shown
    (absent,) = (line for line in shown.splitlines() if line.split()[-1:] == ["0"] and "-" in line)
    assert absent.split() == ["pituitary", "-", "-", "-", "-", "-", "0"]


def test_promotion_and_rollback(world: World) -> None:
    (move,) = world.rows(
        "models", "promote", "m2", "--alias", "trial", "--force", "--reason", "why not"
    )
    assert (move["alias"], move["to_version"]) == ("trial", "modelVersions/m2")
    assert move["note"] == "Nothing served before."
    (request,) = world.models.promotions
    assert request.force
    assert request.reason == "why not"
    world.models.aliases = []
    done = world.run("models", "promote", "m2")
    assert done.stdout == "production is now modelVersions/m2.\nNothing served before.\n"
    done = world.run("models", "rollback")
    assert done.stdout == "production is now modelVersions/m1 (before: modelVersions/m2).\n"
    (rollback,) = world.models.rollbacks
    assert rollback.from_version == "modelVersions/m2"  # so that it can be repeated
    world.models.pointing = set()
    refused = world.run("models", "rollback", expect=1).stderr
    assert "has no earlier model version to go back to" in refused


def test_a_promotion_that_changes_nothing_says_so(world: World) -> None:
    done = world.run("models", "promote", "m2")
    assert done.stdout == "production is modelVersions/m2 already; nothing changes.\n"
    assert world.run("models", "promote", "m2", "--alias", "trial").stdout.startswith(
        "trial is now modelVersions/m2."
    )
    assert world.rows("models", "promote", "m2")[0]["to_version"] == "modelVersions/m2"


@pytest.mark.parametrize("command", ["promote m2", "rollback", "compare m1 m2"])
def test_what_reads_whole_versions_may_take_its_time(world: World, command: str) -> None:
    world.run("models", *command.split())
    (allowed,) = world.models.allowed
    assert allowed > 500


@pytest.mark.parametrize(
    ("command", "alias"),
    [
        ("promote m2", "production"),
        ("promote s1", "segmentation"),
        ("promote m2 --alias trial", "trial"),
        ("rollback", "production"),
        ("rollback --alias segmentation", "segmentation"),
    ],
)
def test_an_alias_whose_move_nobody_waited_for_may_have_moved(
    world: World, command: str, alias: str
) -> None:
    world.models.late = True
    said = world.run("models", *command.split(), expect=1).stderr
    assert "may have moved all the same" in said
    assert f"braintumor models history --alias {alias}" in said


def test_a_comparison_that_comes_too_late_moves_nothing(world: World) -> None:
    world.models.late = True
    said = world.run("models", "compare", "m1", "m2", expect=1).stderr
    assert said == "DEADLINE_EXCEEDED: Deadline Exceeded\n"


def test_the_history_of_an_alias_tells_who_and_why(world: World) -> None:
    (move,) = world.rows("models", "history", "--alias", "trial")
    assert (move["alias"], move["from_version"]) == ("trial", None)
    shown = world.run("models", "history").stdout
    assert "ann" in shown
    assert "better on coronal slices" in shown


def test_files_that_were_left_out_are_named_or_counted(world: World) -> None:
    lines = world.run("datasets", "show", "d1").stdout.splitlines()
    left_out = [line.split("  ", 1)[1].strip() for line in lines if line.startswith("left out")]
    assert left_out == ["x.jpg: is empty", "and 8 more"]


def test_an_audit_is_shown_in_lines_and_whole_as_json(world: World) -> None:
    lines = world.run("datasets", "show", "d0").stdout.splitlines()
    shown = dict(line.split("  ", 1) for line in lines if "  " in line)
    shown = {name: text.strip() for name, text in shown.items()}
    assert shown["near-duplicates"] == "4 scans in 2 sets (3000000000 pairs)"
    assert shown["contradictions"] == "1 near-duplicate pairs, 3 files left out"
    assert shown["known test scans"] == "glioma 1 of 3"
    assert shown["sizes"] == "512x512 8, 240x256 2"
    assert shown["kinds"] == "JPEG RGB 8, PNG L 2"
    assert "accuracy 0.800, macro F1 0.750" in shown["shortcut control"]
    assert shown["likely mislabelled"] == "1"
    assert shown["suspect"] == "glioma/2.png: glioma, the model says pituitary (33%)"
    assert sum(line.startswith("warning") for line in lines) == 2
    (row,) = world.rows("datasets", "show", "d0")
    assert row["audit"]["leakage"] == {"glioma": {"test_count": 3, "leaked_count": 1}}
    assert row["audit"]["warnings"][0] == "The Testing part leaks."
    assert row["audit"]["contradictory_examples"][0]["second_label"] == "no_tumor"
    assert "same data" not in world.run("datasets", "show", "d1").stdout
    twin = world.run("datasets", "show", "d2").stdout
    assert "same data as" in twin
    assert "delete" not in twin, "nobody knows which of them is to go"
    assert "none: accepted before" in world.run("datasets", "show", "d1").stdout
    assert world.rows("datasets", "show", "d1")[0]["audit"] is None


def test_audits_are_written(world: World, tmp_path: Path) -> None:
    page = tmp_path / "audit.html"
    world.run("datasets", "audit", "d0", "--output", str(page))
    assert page.read_bytes() == b"<!doctype html><p>audit</p>"
    assert world.run("datasets", "audit", "d0", "--output", "-").stdout == page.read_text()
    (row,) = world.rows("datasets", "audit", "datasets/d0", "--output", str(page))
    assert (row["name"], row["size_bytes"]) == ("datasets/d0", len(page.read_bytes()))
    (row,) = world.rows("datasets", "audit", "d0", "--output", "-")
    assert row == {"name": "datasets/d0", "content": page.read_text()}


def test_reports_are_written(world: World, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    world.run("models", "report", "m1", "--output", str(page))
    assert page.read_bytes().startswith(b"<!doctype html>")
    assert world.run("models", "report", "m1", "--output", "-").stdout == page.read_text()
    (row,) = world.rows("models", "report", "m1", "--output", "-")
    assert row == {"name": "modelVersions/m1", "content": page.read_text()}
    done = world.run("models", "report", "m1", "--output", str(tmp_path / "no" / "f"), expect=1)
    assert "No such file or directory" in done.stderr


def test_a_model_card_is_shown_or_written(world: World, tmp_path: Path) -> None:
    text = "# Brain \N{BRAIN}\n"
    assert world.run("models", "card", "m1").stdout == text
    (row,) = world.rows("models", "card", "m1")
    assert row == {"name": "modelVersions/m1", "content": text}
    card = tmp_path / "card.md"
    assert "model card" in world.run("models", "card", "m1", "--output", str(card)).stdout
    assert card.read_bytes() == text.encode()
    (row,) = world.rows("models", "card", "m1", "--output", str(card))
    assert (row["output"], row["size_bytes"]) == (str(card), len(text.encode()))


def test_a_bad_filter_names_the_field(world: World) -> None:
    done = world.run("audit", "list", "--filter", "nonsense", expect=1)
    assert done.stderr == "INVALID_ARGUMENT: filter: unknown field 'nonsense'\n"


def error(done: Result) -> dict[str, Any]:
    """What a program is told of why it has no result."""
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    told: dict[str, Any] = json.loads(line)["error"]
    return told


def test_a_program_is_told_of_errors_as_an_object(world: World, tmp_path: Path) -> None:
    assert error(world.run("audit", "list", "--filter", "nonsense", "--json", expect=1)) == {
        "status": "INVALID_ARGUMENT",
        "reason": "INVALID_ARGUMENT",
        "message": "filter: unknown field 'nonsense'",
        "violations": [{"field": "filter", "description": "unknown field 'nonsense'"}],
    }
    missing = str(tmp_path / "no" / "f")
    told = error(world.run("models", "report", "m1", "--output", missing, "--json", expect=1))
    assert (told["status"], told["reason"]) == ("NOT_FOUND", None)
    assert missing in told["message"]
    world.stop()
    told = error(world.run("models", "list", "--json", expect=3))
    assert (told["status"], told["reason"]) == ("UNAVAILABLE", None)
    assert "braintumor up" in told["message"]


def test_verification_decides_the_status(world: World) -> None:
    assert "intact: 12 rows" in world.run("audit", "verify").stdout
    world.audit.broken = True
    assert "row 5 (predictions/p5)" in world.run("audit", "verify", expect=4).stderr
    (row,) = world.rows("audit", "verify", expect=4)
    assert row["broken_at"] == 5


def test_a_log_that_could_not_be_checked_is_not_called_broken(world: World) -> None:
    world.audit.broken = world.audit.away = True
    assert "database" in world.run("audit", "verify", expect=1).stderr


def test_rows_are_exported_oldest_first(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "log.jsonl"
    world.run("audit", "export", "--output", str(target))
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert rows == [json.loads(line) for line in world.run("audit", "export").stdout.splitlines()]
    assert [row["sequence"] for row in rows] == list(range(1, 13))
    (review,) = [review for row in rows for review in row["reviews"]]
    assert (review["reviewer"], review["agrees"], review["label"]) == ("dr", True, None)
    done = world.run("audit", "export", "--output", "-")
    assert done.stdout == target.read_text()
    assert done.stderr == "12 rows exported.\n"
    assert list(tmp_path.iterdir()) == [target]


def test_reviews_are_recorded_and_shown(world: World) -> None:
    world.run("audit", "review", "p3", "--disagree", "--label", "pituitary", "--comment", "no")
    (request,) = world.audit.reviews
    assert request.name == "predictions/p3"
    assert (request.review.HasField("agrees"), request.review.agrees) == (True, False)
    assert UUID(request.request_id)
    assert request.review.label == labels_pb2.TUMOR_LABEL_PITUITARY
    world.run("audit", "review", "p3", "--label", "glioma")  # which says it
    assert not world.audit.reviews[1].review.HasField("agrees")
    refused = world.run("audit", "review", "p3", "--comment", "hm", expect=2)
    assert "--agree or --disagree" in refused.stderr
    shown = world.run("audit", "show", "p3").stdout
    assert "dr agrees" in shown
    assert "x 1 to 30, y 2 to 40, 99 px (24.8 mm2), score 0.500" in shown
    assert "modelVersions/s1" in shown
    assert re.search(r"cached +no", shown)


def test_of_many_files_that_are_not_sent_a_few_are_named(world: World, slices: Path) -> None:
    for number in range(7):
        (slices / f"notes-{number}.txt").write_text("no picture")
    said = world.run("datasets", "upload", str(slices)).stderr
    named = ", ".join(f"notes-{number}.txt" for number in range(5))
    assert f"Not sent, since they are no pictures: {named} and 2 more." in said


@pytest.mark.parametrize("command", [("models", "list", "--limit", "0"), ("audit", "export")])
def test_a_reader_that_has_enough_ends_the_command_without_a_word(
    world: World, command: tuple[str, ...]
) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "services.cli.main", *command, "--json"],
        env=os.environ | {"BRAINTUMOR_ADDRESS": world.address, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None
    running.stdout.close()
    _, said = running.communicate(timeout=60)
    assert said == b""
