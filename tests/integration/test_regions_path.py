"""Regions the whole way: gRPC, gateway, a real Valkey, a real worker with two graphs, SQLite."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pytest
from braintumor.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    classifier_pb2,
    classifier_pb2_grpc,
    labels_pb2,
    models_pb2,
    models_pb2_grpc,
)
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image
from pycocotools import mask as coco

from core.labels import LABELS, TumourLabel
from core.settings import Settings
from core.training import Task
from services.bootstrap import connect
from services.server import build_server
from tests.fakes.graphs import store_brightness_model, store_brightness_segmenter
from tests.fakes.registry import a_model_version
from tests.integration.conftest import Workers

LESION = (60, 50, 100, 90)
HEALTHY = tuple(9.0 if label is TumourLabel.NO_TUMOR else 0.0 for label in LABELS)


def scan(**options: Any) -> bytes:
    """A grey head of 200 by 160 pixels with a white lesion."""
    grey = np.zeros((160, 200), np.uint8)
    grey[20:140, 30:170] = 90
    x0, y0, x1, y1 = LESION
    grey[y0:y1, x0:x1] = 255
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG", **options)
    return buffer.getvalue()


class System:
    """A gateway as it is run, with stubs; classifiers ``glioma`` and ``healthy`` in the store."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def start(self) -> None:
        self.deps = await connect(self._settings)
        self.server, port = build_server(self.deps, "127.0.0.1:0")
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.classifier = classifier_pb2_grpc.ClassifierStub(self.channel)
        self.models = models_pb2_grpc.ModelsStub(self.channel)
        self.audit = audit_pb2_grpc.AuditStub(self.channel)
        store = self.deps.artefacts
        self.register("glioma", store_brightness_model(store))
        self.register("healthy", store_brightness_model(store, HEALTHY))
        await self.promote("glioma")

    async def stop(self) -> None:
        await self.channel.close()
        await self.server.stop(5)
        await self.deps.close()

    def register(self, version_id: str, digest: str, task: Task = Task.CLASSIFICATION) -> None:
        with self.deps.uow_factory(write=True) as uow:
            uow.models.add(a_model_version(version_id, digest=digest, task=task))
            uow.commit()

    async def promote(self, version_id: str, *, force: bool = False) -> str:
        request = models_pb2.PromoteModelVersionRequest(
            name=f"modelVersions/{version_id}", force=force, reason="a test"
        )
        answer = await self.models.PromoteModelVersion(request)
        return str(answer.move.alias)

    async def add_segmenter(self, version_id: str = "bright") -> str:
        """Its digest, once it serves."""
        digest = self.register_segmenter(version_id)
        assert await self.promote(version_id) == "segmentation"
        return digest

    def register_segmenter(self, version_id: str = "bright") -> str:
        """Its digest."""
        digest = store_brightness_segmenter(self.deps.artefacts)
        self.register(version_id, digest, Task.SEGMENTATION)
        return digest

    async def classify(self, **fields: Any) -> Any:
        wanted: dict[str, Any] = {"image": scan(), "include_regions": True} | fields
        request = classifier_pb2.ClassifyRequest(**wanted)
        return await self.classifier.Classify(request, timeout=60)

    async def refused(self, **fields: Any) -> tuple[str, error_details_pb2.ErrorInfo]:
        """Status and ErrorInfo of a classification that fails."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.classify(**fields)
        status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
        info = error_details_pb2.ErrorInfo()
        assert status is not None
        assert any(detail.Unpack(info) for detail in status.details)
        return caught.value.code().name, info

    async def recorded(self, name: str) -> audit_pb2.Prediction:
        answer = await self.audit.GetPrediction(audit_pb2.GetPredictionRequest(name=name))
        return answer.prediction

    async def verified(self) -> bool:
        answer = await self.audit.VerifyAuditLog(audit_pb2.VerifyAuditLogRequest())
        return bool(answer.intact)


@pytest.fixture
async def system(settings: Settings, workers: Workers) -> AsyncIterator[System]:
    running = System(settings)
    await running.start()
    await asyncio.to_thread(workers.start)
    yield running
    await running.stop()


def box_of(region: classifier_pb2.Region) -> tuple[int, int, int, int]:
    return region.box.x0, region.box.y0, region.box.x1, region.box.y1


async def test_a_tumour_is_outlined_recorded_and_given_again(system: System) -> None:
    await system.add_segmenter()
    request_id = str(uuid4())
    answer = await system.classify(
        request_id=request_id,
        mask_format=classifier_pb2.MASK_FORMAT_PNG,
        pixel_spacing=classifier_pb2.PixelSpacing(x_mm=0.5, y_mm=0.5),
        include_explanation=True,
    )
    assert answer.label == labels_pb2.TUMOR_LABEL_GLIOMA
    assert answer.segmenter_version == "modelVersions/bright"
    assert answer.explanation.activation_map_png
    (region,) = answer.regions
    assert np.abs(np.subtract(box_of(region), LESION)).max() <= 3
    assert region.area_mm2 == region.area_px / 4
    with Image.open(io.BytesIO(region.mask_png)) as mask:
        assert (mask.mode, mask.size) == ("1", (200, 160))
        assert mask.getbbox() == box_of(region)
        assert mask.histogram()[255] == region.area_px

    record = await system.recorded(answer.prediction)
    region.ClearField("mask")
    assert (record.outlined, list(record.regions)) == (True, [region])
    repeated = await system.classify(request_id=request_id)
    assert (repeated.prediction, list(repeated.regions)) == (answer.prediction, [region])
    assert await system.verified()


async def test_run_lengths_are_what_other_programs_read(system: System) -> None:
    await system.add_segmenter()
    answer = await system.classify(mask_format=classifier_pb2.MASK_FORMAT_COCO_RLE)
    (region,) = answer.regions
    runs = region.mask_coco_rle
    mask = coco.decode({"size": list(runs.size), "counts": runs.counts})
    assert mask.shape == (160, 200)
    assert mask.sum() == region.area_px


async def test_a_study_with_and_without_tumours(system: System) -> None:
    await system.add_segmenter()
    requests = [
        classifier_pb2.ClassifyStreamRequest(
            tag=name,
            request=classifier_pb2.ClassifyRequest(
                image=scan(), model_version=f"modelVersions/{name}", include_regions=True
            ),
        )
        for name in ("glioma", "healthy") * 4
    ]
    answers = [a async for a in system.classifier.ClassifyStream(iter(requests), timeout=60)]
    assert [len(a.response.regions) for a in answers] == [1, 0] * 4
    healthy = await system.recorded(answers[1].response.prediction)
    assert healthy.label == labels_pb2.TUMOR_LABEL_NO_TUMOR
    assert (healthy.outlined, healthy.segmenter_version) == (True, "")


async def test_without_a_segmenter_only_tumours_are_refused_and_none_is_lost(
    system: System,
) -> None:
    assert not (await system.classify(model_version="modelVersions/healthy")).regions
    request_id = str(uuid4())
    code, info = await system.refused(request_id=request_id)
    assert (code, info.reason) == ("FAILED_PRECONDITION", "SEGMENTER_NOT_REGISTERED")
    record = await system.recorded(info.metadata["prediction"])
    assert record.label == labels_pb2.TUMOR_LABEL_GLIOMA
    answer = await system.classify(request_id=request_id, include_regions=False)
    assert answer.prediction == record.name


async def test_a_segmenter_whose_files_were_changed_costs_the_regions_alone(
    system: System,
) -> None:
    # Before a worker loads it, as it does when it is about to serve.
    digest = system.register_segmenter()
    store = system.deps.artefacts
    store.put(f"models/{digest}/model.onnx", b"something else")
    await system.promote("bright", force=True)
    code, info = await system.refused()
    assert (code, info.reason) == ("DATA_LOSS", "SEGMENTER_CORRUPT")
    record = await system.recorded(info.metadata["prediction"])
    assert (record.outcome, record.outlined) == (audit_pb2.OUTCOME_ANSWERED, False)
    assert record.segmenter_version == "modelVersions/bright"
    assert "its bytes do not match" in record.error_message
    assert (await system.classify(include_regions=False)).prediction
    assert await system.verified()


async def test_a_segmenter_does_not_classify(system: System) -> None:
    await system.add_segmenter()
    code, info = await system.refused(model_version="modelVersions/bright")
    assert (code, info.reason) == ("FAILED_PRECONDITION", "WRONG_TASK")
