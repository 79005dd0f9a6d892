"""A whole job on the tiny network: from stored slices to a model with all that belongs to it."""

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.datasets import Dataset, DatasetItem
from core.errors import TrainingCancelled, TrainingFailed
from core.labels import LABELS
from core.settings import Settings
from core.training import EpochProgress, Optimizer, Precision, Task, TrainingSpec
from tests.fakes.learning import SIZE, SPEC, slice_of, use_tiny_network
from tests.fakes.records import a_dataset, a_job
from tests.fakes.registry import classifying
from tests.fakes.store import FakeArtefactStore
from workers.curation.blobs import read_items, write_blob, write_items
from workers.evaluation.examples import PER_KIND, Kind
from workers.evaluation.selective import LOWEST, NEVER
from workers.learning.learn import learn
from workers.learning.versions import library_versions
from workers.model_artefact import (
    GRAPH,
    HELD_OUT,
    LINEAGE,
    MODEL_CARD,
    OOD,
    REPORT,
    SPLIT,
    WEIGHTS,
    ModelManifest,
    sha256_hex,
)
from workers.training_hooks import LearnedModel, TrainingHooks


@dataclass
class Job:
    """A stored data set, the job's hooks and what they heard; cancelled after some epochs."""

    settings: Settings
    store: FakeArtefactStore = field(default_factory=FakeArtefactStore)
    cancel_after: int = 1000
    epochs: list[EpochProgress] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def dataset(self, per_class: int) -> Dataset:
        items = [self._item(label, n) for label in range(len(LABELS)) for n in range(per_class)]
        return a_dataset(digest=write_items(self.store, items))

    def run(
        self,
        spec: TrainingSpec = SPEC,
        *,
        per_class: int = 8,
        show_examples: bool = True,
        **changes: Any,
    ) -> LearnedModel:
        return learn(
            a_job(spec=replace(spec, **changes)),
            self.dataset(per_class),
            self._hooks,
            store=self.store,
            settings=self.settings,
            show_examples=show_examples,
        )

    @property
    def _hooks(self) -> TrainingHooks:
        return TrainingHooks(
            on_epoch=self.epochs.append,
            on_progress=lambda share, _: self.shares.append(share),
            on_message=self.messages.append,
            should_stop=lambda: len(self.epochs) >= self.cancel_after,
        )

    def _item(self, label: int, number: int) -> DatasetItem:
        buffer = io.BytesIO()
        grey = slice_of(label, SIZE, np.random.default_rng((label, number)))
        Image.fromarray(grey).save(buffer, "PNG")
        return DatasetItem(
            path=f"{LABELS[label]}/{number:02d}.png",
            sha256=write_blob(self.store, buffer.getvalue()),
            size_bytes=len(buffer.getvalue()),
            label=LABELS[label],
            width=SIZE,
            height=SIZE,
        )


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    use_tiny_network(monkeypatch)
    return Job(Settings.from_environment({}, data_dir=tmp_path))


Done = tuple[Job, LearnedModel]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A job of the plain recipe. Only to be looked at: many tests do."""
    return ran(tmp_path_factory.mktemp("done"))


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """As ``done``, with a cross-validation."""
    return ran(tmp_path_factory.mktemp("validated"), folds=2, epochs=1)


def ran(folder: Path, **changes: Any) -> Done:
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_network(patch)
        job = Job(Settings.from_environment({}, data_dir=folder))
        return job, job.run(**changes)


def test_a_model_comes_with_all_that_belongs_to_it(done: Done) -> None:
    job, learned = done

    manifest = learned.manifest
    assert set(learned.files) == {GRAPH, WEIGHTS, OOD, REPORT, MODEL_CARD, HELD_OUT, LINEAGE, SPLIT}
    assert manifest.files == {name: sha256_hex(data) for name, data in learned.files.items()}
    assert (manifest.backbone, manifest.image_size) == ("efficientnet_b0", SIZE)
    assert (manifest.labels, manifest.weights_source) == (LABELS, "none")
    assert manifest.dataset_digest == job.dataset(8).digest
    assert manifest.spec["epochs"] == SPEC.epochs
    assert manifest.library_versions == library_versions()
    assert ModelManifest.from_json(manifest.to_json()).to_json() == manifest.to_json()
    assert learned.parameters > 0
    assert learned.latency_ms > 0
    assert learned.train_seconds == pytest.approx(sum(e.seconds for e in job.epochs))


def test_every_slice_is_in_one_part_and_only_test_slices_judge(done: Done) -> None:
    evaluation = classifying(done[1].evaluation)

    sizes = (evaluation.train_size, evaluation.validation_size, evaluation.test_size)
    assert sum(sizes) == 8 * len(LABELS)
    assert min(sizes) >= len(LABELS)
    assert sum(sum(row) for row in evaluation.confusion) == evaluation.test_size
    assert 0 <= evaluation.accuracy <= 1
    assert "held out at random, stratified by class" in evaluation.protocol


def test_the_answer_is_calibrated(done: Done) -> None:
    _, learned = done

    assert learned.manifest.calibration.temperature > 0
    assert LOWEST <= learned.manifest.calibration.abstain_below <= NEVER
    evaluation = classifying(learned.evaluation)
    assert evaluation.ece is not None
    assert 0 <= evaluation.ece <= 1
    assert evaluation.coverage is not None
    assert 0 <= evaluation.coverage <= 1


def test_metrics_and_report_tell_how_training_went(done: Done) -> None:
    job, learned = done

    metrics = learned.manifest.metrics
    assert metrics["test"]["accuracy"] == classifying(learned.evaluation).accuracy
    assert [epoch["loss"] for epoch in metrics["history"]] == [e.loss for e in job.epochs]
    assert 1 <= metrics["best_epoch"] <= SPEC.epochs
    page = learned.files[REPORT].decode()
    assert "datasets/brains" in page
    assert "not a medical device" in page


def test_the_job_hears_how_far_it_is(done: Done) -> None:
    job, _ = done

    assert job.messages == ["precision float32 on the CPU", "starting from weights: none"]
    assert [epoch.epoch for epoch in job.epochs] == list(range(1, SPEC.epochs + 1))
    assert job.shares == sorted(job.shares)
    assert job.shares[-1] == pytest.approx(0.99)


def test_an_easy_task_is_learned(job: Job) -> None:
    learned = job.run(epochs=12, augmentation=False)

    assert classifying(learned.evaluation).accuracy > 0.7


@pytest.mark.parametrize("precision", [Precision.MIXED_BFLOAT16, Precision.MIXED_FLOAT16])
def test_what_was_trained_in_fewer_bits_serves_in_float32(job: Job, precision: Precision) -> None:
    learned = job.run(precision=precision)

    assert job.messages[0] == f"precision {precision} on the CPU"
    assert learned.manifest.metrics["export_difference"] < 1e-4
    assert learned.manifest.spec["precision"] == str(precision)


def test_a_cancelled_job_goes_on_where_it_was_as_if_nothing_had_happened(
    job: Job, done: Done
) -> None:
    _, whole = done
    job.cancel_after = 1
    with pytest.raises(TrainingCancelled):
        job.run()
    job.cancel_after = 1000

    resumed = job.run()

    assert job.messages[-1] == "going on behind epoch 1"
    assert [epoch.epoch for epoch in job.epochs] == list(range(1, SPEC.epochs + 1))
    ours, theirs = (m.manifest.metrics["history"][-1]["loss"] for m in (resumed, whole))
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_nothing_is_trained_on_too_few_slices(job: Job) -> None:
    with pytest.raises(TrainingFailed, match="too small to split"):
        job.run(per_class=2)

    assert not job.epochs


def test_a_model_that_training_killed_is_not_kept(job: Job) -> None:
    # The only step is so large that what the slices show is lost in what it left.
    with pytest.raises(TrainingFailed, match=r"no difference between slices.*Lower learning_rate"):
        job.run(epochs=1, batch_size=64, optimizer=Optimizer.SGD, learning_rate=1e30, ema_decay=0)


def test_a_recipe_that_cannot_fit_in_memory_is_not_tried(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.learning.fitting.available_memory", lambda: 1000)

    with pytest.raises(TrainingFailed, match=r"0\.0 GiB are free\. Lower batch_size or image_size"):
        job.run()

    assert not job.epochs


def test_a_cross_validation_answers_every_slice_once(validated: Done) -> None:
    job, learned = validated
    answers = learned.out_of_fold
    assert "standard deviation over folds: accuracy 0." in classifying(learned.evaluation).protocol

    assert answers is not None
    stored = read_items(job.store, job.dataset(8).digest)
    assert sorted(answers.items, key=lambda item: item.path) == sorted(
        stored, key=lambda item: item.path
    )
    assert answers.probabilities.shape == (len(stored), len(LABELS))
    assert answers.probabilities.sum(axis=1) == pytest.approx(1)


def test_a_cross_validations_report_shows_slices_that_its_folds_answered(validated: Done) -> None:
    _, learned = validated

    page = learned.files[REPORT].decode()
    assert "<h2>Examples</h2>" in page
    for label in LABELS:
        _, _, shown = page.partition(f"<h3>True class: {label}</h3>")
        shown = shown.partition("<h3>")[0]
        assert 1 <= shown.count("data:image/jpeg") <= 12
        assert all(shown.count(f'alt="{label}, {kind}"') <= PER_KIND for kind in Kind)
    assert "of the held-out ones" in page


def test_a_cross_validations_report_tells_the_folds_slices_from_the_versions(
    validated: Done,
) -> None:
    _, learned = validated
    parts = json.loads(learned.files[SPLIT])["final"]

    train, validation = len(parts["train"]), len(parts["validation"])
    own = f"The version itself had {train} slices to learn from and {validation} to choose"
    assert own in learned.files[REPORT].decode()
    assert own in learned.files[MODEL_CARD].decode()
    assert train > classifying(learned.evaluation).train_size


def test_a_report_without_examples_has_none_from_folds_either(job: Job) -> None:
    learned = job.run(folds=2, epochs=1, show_examples=False)

    assert b"data:image" not in learned.files[REPORT]


def test_without_folds_nothing_is_answered_out_of_fold(done: Done) -> None:
    _, learned = done
    assert learned.out_of_fold is None
    assert b"The version itself" not in learned.files[REPORT]


def test_a_segmenter_needs_masks(job: Job) -> None:
    with pytest.raises(TrainingFailed, match="tumour mask"):
        job.run(task=Task.SEGMENTATION)
