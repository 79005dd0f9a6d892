"""Trials on the tiny network: what they learn from, and how a lost worker's trial goes on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.datasets import Dataset, DatasetItem
from core.errors import NotSupported, TrainingCancelled, TrainingFailed
from core.labels import TumourLabel
from core.registry import ModelVersion
from core.search import Choice, Range, SearchSpec, SearchTrial, TrialState
from core.settings import Settings
from core.training import EpochProgress, JobState, Task, TrainingJob, TrainingSpec
from tests.fakes.learning import SPEC, use_halving_network, use_tiny_network
from tests.fakes.records import a_job
from tests.fakes.store import FakeArtefactStore, FakeClock, FakeUnitOfWorkFactory
from tests.unit.workers.learning.test_learn import Job
from tests.unit.workers.learning.test_learn_segmenter import SPEC as SEGMENTER_SPEC
from tests.unit.workers.learning.test_learn_segmenter import Job as SegmenterJob
from workers.curation.blobs import read_items
from workers.learning import trials as learning
from workers.learning.learn import split_plans
from workers.learning.learn_segmenter import outlined_plan
from workers.learning.reading import read_slices
from workers.training_hooks import TrainingHooks
from workers.training_job import (
    TrainingDeps,
    learn_with_tensorflow,
    run_training_job,
    search_with_tensorflow,
)

SEGMENTER = replace(SEGMENTER_SPEC, epochs=2)
RATES = SearchSpec(
    trials=2, space={"learning_rate": Choice(values=(1e-7, SEGMENTER_SPEC.learning_rate))}
)
SEARCH = SearchSpec(trials=2, space={"dropout": Choice(values=(0.2, 0.4))})


class Search:
    """A search on a stored data set; cancelled after some epochs."""

    def __init__(self, settings: Settings, data: Job | SegmenterJob | None = None) -> None:
        self.settings = settings
        self.stored: list[SearchTrial] = []
        self.epochs: list[EpochProgress] = []
        self.messages: list[str] = []
        self.cancel_after = 10_000
        self.futile_attempts = 1
        data = data or Job(settings)
        self.store: FakeArtefactStore = data.store
        self.dataset: Dataset = data.dataset(8)

    def run(self, **changes: Any) -> SearchTrial:
        values: dict[str, Any] = {"spec": SPEC, "search": SEARCH}
        job = a_job(**(values | changes))
        return learning.search_recipe(
            job, self.dataset, self.hooks, self, store=self.store, settings=self.settings
        )

    def tried(self) -> tuple[SearchTrial, ...]:
        return tuple(self.stored)

    def record(self, trial: SearchTrial) -> None:
        self.stored.append(trial)

    @property
    def hooks(self) -> TrainingHooks:
        return TrainingHooks(
            on_epoch=self.epochs.append,
            on_progress=lambda *_: None,
            on_message=self.messages.append,
            should_stop=lambda: len(self.epochs) >= self.cancel_after,
        )


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    use_tiny_network(monkeypatch)
    return Search(Settings.from_environment({}, data_dir=tmp_path))


def test_trials_are_trained_and_leave_no_checkpoints(search: Search) -> None:
    best = search.run()

    assert [trial.state for trial in search.stored] == [TrialState.COMPLETE] * 2
    assert sorted(trial.recipe["dropout"] for trial in search.stored) == [0.2, 0.4]
    assert best in search.stored
    for trial in search.stored:
        assert len(trial.scores) == SPEC.epochs
        assert all(0 <= score <= 1 for score in trial.scores)
        assert trial.seconds > 0
    assert not search.store.list("jobs/job1")


def test_test_slices_are_not_read(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def spy(items: Sequence[DatasetItem], *arguments: Any) -> Any:
        read.extend(item.path for item in items)
        return read_slices(items, *arguments)

    monkeypatch.setattr(learning, "read_slices", spy)
    search.run()

    plan, _ = split_plans(read_items(search.store, search.dataset.digest), SPEC)
    assert sorted(read) == sorted(item.path for item in [*plan.train, *plan.validation])
    assert not {item.path for item in plan.test} & set(read)


def test_a_lost_workers_trial_goes_on_behind_its_last_epoch(search: Search) -> None:
    whole = Search(search.settings)
    whole.run()
    search.cancel_after = SPEC.epochs + 1
    with pytest.raises(TrainingCancelled):
        search.run()
    search.cancel_after = 10_000

    search.run()

    assert "trial 2: going on behind epoch 1" in search.messages
    assert len(search.epochs) == 2 * SPEC.epochs
    for ours, theirs in zip(search.stored, whole.stored, strict=True):
        assert (ours.number, ours.recipe, ours.state) == (
            theirs.number,
            theirs.recipe,
            theirs.state,
        )
        assert ours.scores == pytest.approx(theirs.scores, abs=1e-3)


def test_a_job_without_a_search_is_refused(search: Search) -> None:
    with pytest.raises(NotSupported):
        search.run(search=None)


def searched_and_trained(
    search: Search, spec: TrainingSpec, space: SearchSpec
) -> tuple[TrainingJob, ModelVersion]:
    """The job that follows a search with two trials, and its version."""
    uows = FakeUnitOfWorkFactory()
    with uows(write=True) as uow:
        uow.datasets.add(search.dataset)
        uow.jobs.add(a_job(spec=spec, search=space))
        uow.commit()
    deps = TrainingDeps(
        uow_factory=uows,
        store=search.store,
        clock=FakeClock(),
        settings=search.settings,
        worker="w1",
        learn=learn_with_tensorflow(search.store, search.settings),
        search=search_with_tensorflow(search.store, search.settings),
    )

    run_training_job("job1", deps)

    with uows() as uow:
        ended = uow.jobs.get("job1")
        assert (ended.state, ended.error_message) == (JobState.SUCCEEDED, None)
        assert len(uow.jobs.trials("job1")) == 2
    assert ended.result_job is not None
    run_training_job(ended.result_job, deps)
    with uows() as uow:
        follower = uow.jobs.get(ended.result_job)
        assert (follower.state, follower.error_message) == (JobState.SUCCEEDED, None)
        assert follower.model_version is not None
        return follower, uow.models.get(follower.model_version)


def test_a_search_and_the_job_that_follows_it(search: Search) -> None:
    follower, version = searched_and_trained(search, SPEC, SEARCH)

    assert version.spec["dropout"] == follower.spec.dropout


@pytest.fixture
def outlines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """On slices with masks."""
    use_halving_network(monkeypatch)
    settings = Settings.from_environment({}, data_dir=tmp_path)
    return Search(settings, SegmenterJob(settings))


def test_segmenters_are_ranked_by_the_dice_coefficient_on_validation_slices(
    outlines: Search,
) -> None:
    best = outlines.run(spec=SEGMENTER, search=RATES)

    epochs = SEGMENTER.epochs
    assert [trial.state for trial in outlines.stored] == [TrialState.COMPLETE] * 2
    for number, trial in enumerate(outlines.stored):
        told = outlines.epochs[number * epochs : (number + 1) * epochs]
        assert trial.scores == tuple(epoch.val_accuracy for epoch in told)
        assert f"complete; validation Dice {trial.score:.4f}" in " ".join(outlines.messages)
    # One learns next to nothing.
    assert best.recipe["learning_rate"] == SEGMENTER.learning_rate
    assert not outlines.store.list("jobs/job1")


def test_a_search_for_a_segmenter_reads_no_test_slices_and_those_with_masks_only(
    outlines: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[DatasetItem] = []

    def spy(items: Sequence[DatasetItem], *arguments: Any) -> Any:
        read.extend(items)
        return read_slices(items, *arguments)

    monkeypatch.setattr(learning, "read_slices", spy)
    outlines.dataset = SegmenterJob(outlines.settings, outlines.store).dataset(masked=6)
    outlines.run(spec=replace(SEGMENTER, epochs=1), search=RATES)

    found = read_items(outlines.store, outlines.dataset.digest)
    plan = outlined_plan(found, SEGMENTER, outlines.hooks)
    assert {item.path for item in read} == {i.path for i in (*plan.train, *plan.validation)}
    assert all(item.mask_sha256 or item.label is TumourLabel.NO_TUMOR for item in read)


def test_a_search_for_a_segmenter_needs_masks(outlines: Search) -> None:
    outlines.dataset = SegmenterJob(outlines.settings, outlines.store).dataset(masked=0)
    with pytest.raises(TrainingFailed, match="tumour mask"):
        outlines.run(spec=SEGMENTER, search=RATES)
    assert not outlines.stored


def test_a_segmenter_by_the_best_recipe_follows(outlines: Search) -> None:
    spec = replace(SEGMENTER, epochs=1)
    follower, version = searched_and_trained(outlines, spec, RATES)

    assert follower.spec.task is Task.SEGMENTATION
    assert version.task is Task.SEGMENTATION
    assert version.spec["learning_rate"] == follower.spec.learning_rate


@pytest.mark.parametrize(
    ("space", "field", "most"),
    [
        ({"dropout": Choice(values=(0.1, 0.2))}, "guidance", SPEC.guidance),
        ({"guidance": Choice(values=(0.5, 0.0))}, "guidance", 0.5),
        ({"guidance": Range(low=0.0, high=0.3)}, "guidance", 0.3),
        ({"counterfactuals": Range(low=0.0, high=0.2)}, "counterfactuals", 0.2),
        ({"augmentation": Choice(values=(False, True))}, "augmentation", True),
        ({"augmentation": Choice(values=(False,))}, "augmentation", False),
    ],
)
def test_masks_are_read_if_any_trial_learns_from_them(
    space: dict[str, Choice | Range], field: str, most: float
) -> None:
    assert learning.most(SPEC, replace(SEARCH, space=space), field) == most
