"""The model that the systems serve."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from benchmarks.load import service
from benchmarks.load.model import shipped_model
from core.registry import SERVING
from core.training import Task
from db.artefacts import FsspecArtefactStore
from db.engine import create_store_engine
from db.unit_of_work import SqlUnitOfWorkFactory
from workers.model_artefact import LOGITS_NAME, load_manifest
from workers.starter import read_starter


@pytest.mark.parametrize("image_size", [None, 96])
def test_the_graph_takes_pictures_of_the_size(tmp_path: Path, image_size: int | None) -> None:
    model = shipped_model(tmp_path, image_size)
    assert model.image_size == (image_size or read_starter().manifest.image_size)
    session = onnxruntime.InferenceSession(model.graph.read_bytes())
    pixels = np.zeros((2, model.image_size, model.image_size, 1), np.float32)
    (logits,) = session.run([LOGITS_NAME], {"image": pixels})
    assert logits.shape == (2, 4)


def test_the_service_is_given_the_same_model(tmp_path: Path) -> None:
    model = shipped_model(tmp_path, 96)
    settings = service.settings(tmp_path / "data")
    service.install(model, settings)
    factory = SqlUnitOfWorkFactory(create_store_engine(settings.database_url))
    with factory() as uow:
        serving = uow.models.aliased(SERVING[Task.CLASSIFICATION])
    factory.close()
    assert serving is not None
    version_id, digest = serving
    assert model.name == f"modelVersions/{version_id}"
    manifest = load_manifest(FsspecArtefactStore(settings.artefact_url), digest)
    assert manifest.image_size == 96
