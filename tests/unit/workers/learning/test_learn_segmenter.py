"""A segmentation job from masks to a checked model."""

import io
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image

from core.datasets import Dataset, DatasetItem
from core.errors import NotSupported, TrainingCancelled, TrainingFailed
from core.held_out_outlines import HeldOutOutlines
from core.labels import LABELS, TumourLabel
from core.registry import SegmentationEvaluation
from core.settings import Settings
from core.training import EpochProgress, Task, TrainingSpec
from tests.fakes.learning import use_halving_network
from tests.fakes.records import a_dataset, a_job
from tests.fakes.store import FakeArtefactStore
from workers.curation.blobs import read_items, write_blob, write_items
from workers.curation.splits import SplitPlan
from workers.learning import learn_segmenter as learning
from workers.learning.learn import learn
from workers.learning.learn_segmenter import outlined_plan
from workers.model_artefact import (
    GRAPH,
    HELD_OUT_OUTLINES,
    INPUT_NAME,
    LINEAGE,
    MASK_NAME,
    MODEL_CARD,
    REPORT,
    SPLIT,
    WEIGHTS,
    ModelManifest,
)
from workers.training_hooks import LearnedModel, TrainingHooks

SIZE = 64
PER_CLASS = 10
SPEC = TrainingSpec(
    task=Task.SEGMENTATION,
    weights="none",
    epochs=4,
    batch_size=8,
    image_size=SIZE,
    first_image_size=0,
    learning_rate=0.01,
    dropout=0.0,
    augmentation=False,
    ema_decay=0.0,
)


def slice_with(label: TumourLabel, number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A grey square with, unless it is healthy, a bright disc; and the disc."""
    rng = np.random.default_rng((LABELS.index(label), number))
    rows, columns = np.ogrid[:SIZE, :SIZE]
    top, left = rng.integers(16, SIZE - 16, 2)
    disc = (rows - top) ** 2 + (columns - left) ** 2 <= rng.integers(6, 11) ** 2
    if label is TumourLabel.NO_TUMOR:
        disc = np.zeros((SIZE, SIZE), bool)
    grey = rng.integers(60, 100, (SIZE, SIZE))
    return (grey + 120 * disc).astype(np.uint8), np.asarray(disc)


def png(pixels: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Job:
    """A stored data set with masks, and what the job's hooks heard."""

    settings: Settings
    store: FakeArtefactStore = field(default_factory=FakeArtefactStore)
    epochs: list[EpochProgress] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    cancel_after: int = 1000

    def run(
        self, spec: TrainingSpec = SPEC, *, masked: int = 10, per_class: int = 10
    ) -> LearnedModel:
        dataset = self.dataset(masked, per_class)
        return learn(
            a_job(spec=spec), dataset, self.hooks, store=self.store, settings=self.settings
        )

    @property
    def hooks(self) -> TrainingHooks:
        return TrainingHooks(
            on_epoch=self.epochs.append,
            on_progress=lambda _share, _stage: None,
            on_message=self.messages.append,
            should_stop=lambda: len(self.epochs) >= self.cancel_after,
        )

    def dataset(self, masked: int = 10, per_class: int = 10) -> Dataset:
        """Stored; of each class so many have a mask, of healthy slices none."""
        items = [
            self._item(label, n, masked=n < masked) for label in LABELS for n in range(per_class)
        ]
        return a_dataset(digest=write_items(self.store, items))

    def _item(self, label: TumourLabel, number: int, *, masked: bool) -> DatasetItem:
        grey, mask = slice_with(label, number)
        data = png(grey)
        has_mask = masked and label is not TumourLabel.NO_TUMOR
        return DatasetItem(
            path=f"{label}/{number:02d}.png",
            sha256=write_blob(self.store, data),
            size_bytes=len(data),
            label=label,
            width=SIZE,
            height=SIZE,
            mask_sha256=write_blob(self.store, png(mask)) if has_mask else None,
        )


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    use_halving_network(monkeypatch)
    return Job(Settings.from_environment({}, data_dir=tmp_path))


def numbers(learned: LearnedModel) -> SegmentationEvaluation:
    assert isinstance(learned.evaluation, SegmentationEvaluation)
    return learned.evaluation


def test_a_segmenter_comes_with_all_that_belongs_to_it(job: Job) -> None:
    learned = job.run()
    manifest = learned.manifest
    assert set(learned.files) == {
        GRAPH,
        WEIGHTS,
        REPORT,
        MODEL_CARD,
        HELD_OUT_OUTLINES,
        LINEAGE,
        SPLIT,
    }
    assert manifest.task == "segmentation"
    assert manifest.regions is not None
    assert ModelManifest.from_json(manifest.to_json()).to_json() == manifest.to_json()
    found = numbers(learned)
    assert found.train_size + found.validation_size + found.test_size + found.healthy_size == 40
    assert found.healthy_size > 0
    kept = HeldOutOutlines.from_json(learned.files[HELD_OUT_OUTLINES]).slices
    assert sum(s.dice for s in kept) / len(kept) == pytest.approx(found.dice, abs=1e-5)
    assert b"Best, median and worst" in learned.files[REPORT]
    assert b"Dice" in learned.files[MODEL_CARD]


def test_it_learns_to_outline(job: Job) -> None:
    learned = job.run(replace(SPEC, epochs=12))
    assert numbers(learned).dice > 0.6
    assert job.epochs[-1].loss < job.epochs[0].loss
    grey, disc = slice_with(TumourLabel.GLIOMA, 77)
    session = ort.InferenceSession(learned.files[GRAPH], providers=["CPUExecutionProvider"])
    image = grey[None, :, :, None].astype(np.float32)
    (mask,) = session.run([MASK_NAME], {INPUT_NAME: image})
    assert mask.shape == (1, SIZE, SIZE, 1)
    assert mask[0, disc].mean() > mask[0, ~disc].mean() + 0.3


def test_slices_without_a_mask_are_left_out_and_told(job: Job) -> None:
    job.run(replace(SPEC, epochs=1), masked=6)
    assert "12 slices with a tumour but no mask are left out; 28 are used" in job.messages


def test_a_data_set_without_masks_is_refused_at_once(job: Job) -> None:
    with pytest.raises(TrainingFailed, match="0 slices with a tumour mask"):
        job.run(masked=0)
    assert not job.epochs


def test_black_masks_of_healthy_slices_are_no_tumour_masks(job: Job) -> None:
    items = read_items(job.store, job.dataset().digest)
    healthy = [i for i in items if i.label is TumourLabel.NO_TUMOR]
    black = tuple(replace(i, mask_sha256="b" * 64) for i in healthy)
    tumours = tuple(i for i in items if i.label is not TumourLabel.NO_TUMOR)
    few = (*black, *(replace(i, mask_sha256=None) for i in tumours[7:]), *tumours[:7])

    with pytest.raises(TrainingFailed, match="data set has 7 slices with a tumour mask"):
        outlined_plan(few, SPEC, job.hooks)


def test_a_part_without_a_tumour_mask_is_refused_before_anything_is_learned(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = read_items(job.store, job.dataset().digest)
    healthy = [i for i in items if i.label is TumourLabel.NO_TUMOR]
    black = tuple(replace(i, mask_sha256="b" * 64) for i in healthy)
    tumours = tuple(i for i in items if i.label is not TumourLabel.NO_TUMOR)
    plan = SplitPlan(train=tumours, validation=black[:5], test=black[5:], protocol="by hand")
    monkeypatch.setattr(learning, "split_dataset", lambda *_, **__: plan)

    with pytest.raises(TrainingFailed, match="part of a split has 0 slices with a tumour mask"):
        outlined_plan((*tumours, *black), SPEC, job.hooks)


def test_folds_are_refused(job: Job) -> None:
    with pytest.raises(NotSupported, match="folds=0"):
        job.run(replace(SPEC, folds=3))


def test_a_side_that_does_not_halve_is_refused(job: Job) -> None:
    with pytest.raises(TrainingFailed, match="multiples of 32"):
        job.run(replace(SPEC, image_size=80))


def test_what_was_cancelled_goes_on_behind_its_last_epoch(job: Job) -> None:
    whole = job.run()
    job.cancel_after, job.epochs = 2, []
    job.store = FakeArtefactStore()
    with pytest.raises(TrainingCancelled):
        job.run()
    job.cancel_after = 1000
    resumed = job.run()
    assert [epoch.epoch for epoch in job.epochs] == [1, 2, 3, 4]
    assert numbers(resumed).dice == pytest.approx(numbers(whole).dice, abs=1e-6)
