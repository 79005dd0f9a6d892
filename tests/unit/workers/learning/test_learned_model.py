"""A whole training job on a network that learns in a second: what comes out fits together."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.datasets import Dataset, DatasetItem
from core.held_out import FILE_NAME, HeldOutPredictions
from core.labels import LABELS
from core.settings import Settings
from core.training import TrainingJob
from services.usecases.promotion_gate import check_export
from tests.fakes.learning import SIZE, SPEC, slice_of, use_tiny_network
from tests.fakes.records import a_dataset, a_job
from tests.fakes.registry import a_model_version, classifying
from tests.fakes.store import FakeArtefactStore
from workers.curation.blobs import write_blob, write_items
from workers.learning.learn import learn
from workers.model_artefact import (
    GRAPH,
    HELD_OUT,
    LINEAGE,
    MODEL_CARD,
    OOD,
    REPORT,
    SPLIT,
    WEIGHTS,
    load_file,
    load_manifest,
    store_model,
)
from workers.training_hooks import LearnedModel, TrainingHooks

PER_CLASS = 24


def a_stored_dataset(store: FakeArtefactStore) -> Dataset:
    """Slices of each class, two of each patient."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(PER_CLASS * len(LABELS)):
        label = number % len(LABELS)
        buffer = io.BytesIO()
        Image.fromarray(slice_of(label, 2 * SIZE, rng)).save(buffer, "PNG")
        data = buffer.getvalue()
        items.append(
            DatasetItem(
                path=f"{LABELS[label]}/{number:03}.png",
                sha256=write_blob(store, data),
                size_bytes=len(data),
                label=LABELS[label],
                width=2 * SIZE,
                height=2 * SIZE,
                group=f"p{number // 8}-{label}",
            )
        )
    return a_dataset(digest=write_items(store, items), has_given_split=False)


@pytest.fixture(scope="module")
def store() -> FakeArtefactStore:
    return FakeArtefactStore()


@pytest.fixture(scope="module")
def learned(store: FakeArtefactStore, tmp_path_factory: pytest.TempPathFactory) -> LearnedModel:
    folder: Path = tmp_path_factory.mktemp("learn")
    job: TrainingJob = a_job(spec=SPEC)
    hooks = TrainingHooks(
        on_epoch=lambda _: None,
        on_progress=lambda share, stage: None,
        on_message=lambda _: None,
        should_stop=lambda: False,
    )
    settings = Settings.from_environment({}, data_dir=folder)
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_network(patch)
        return learn(job, a_stored_dataset(store), hooks, store=store, settings=settings)


def test_every_file_is_there_and_described(store: FakeArtefactStore, learned: LearnedModel) -> None:
    assert set(learned.files) == {GRAPH, WEIGHTS, REPORT, MODEL_CARD, HELD_OUT, OOD, LINEAGE, SPLIT}
    digest = store_model(store, learned.manifest, learned.files)
    manifest = load_manifest(store, digest)
    assert load_file(store, digest, manifest, MODEL_CARD).startswith(b"# efficientnet")
    assert b"<h2>Results on held-out slices</h2>" in load_file(store, digest, manifest, REPORT)


def test_the_numbers_are_those_of_the_held_out_slices(learned: LearnedModel) -> None:
    evaluation = classifying(learned.evaluation)
    predictions = HeldOutPredictions.from_json(learned.files[FILE_NAME])

    assert len(predictions.slices) == evaluation.test_size
    right = [LABELS[s.predicted] is s.label for s in predictions.slices]
    assert evaluation.accuracy == pytest.approx(np.mean(right))
    assert all(s.group.startswith("p") for s in predictions.slices)
    assert evaluation.intervals["accuracy"].low <= evaluation.accuracy
    assert evaluation.roc_auc is not None
    assert learned.manifest.metrics["split_digest"] == predictions.digest


def test_it_is_kept_which_slice_had_which_part(learned: LearnedModel) -> None:
    split = json.loads(learned.files[SPLIT])["final"]
    evaluation = classifying(learned.evaluation)
    assert len(split["train"]) == evaluation.train_size
    assert len(split["validation"]) == evaluation.validation_size
    assert len(split["test"]) == evaluation.test_size


def test_decisions_are_those_that_the_calibration_makes(learned: LearnedModel) -> None:
    calibration = learned.manifest.calibration
    assert calibration.target_risk == 0.05
    assert "validation slices" in calibration.note
    predictions = HeldOutPredictions.from_json(learned.files[FILE_NAME])
    for item in predictions.slices:
        sure = max(item.probabilities) >= calibration.abstain_below
        assert (item.decision == "ACCEPTED") is sure


def test_the_gate_finds_what_it_looks_for(store: FakeArtefactStore, learned: LearnedModel) -> None:
    assert 0 <= learned.manifest.metrics["export_difference"] < 1e-3
    digest = store_model(store, learned.manifest, learned.files)
    check_export(store, a_model_version(digest=digest))
