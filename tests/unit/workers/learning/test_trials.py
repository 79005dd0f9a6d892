"""Trials on the tiny network: what they learn from, and how a lost worker's trial goes on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.datasets import Dataset, DatasetItem
from core.errors import NotSupported, TrainingCancelled
from core.search import Choice, Range, SearchSpec, SearchTrial, TrialState
from core.settings import Settings
from core.training import EpochProgress, JobState
from tests.fakes.learning import SPEC, use_tiny_network
from tests.fakes.records import a_job
from tests.fakes.store import FakeArtefactStore, FakeClock, FakeUnitOfWorkFactory
from tests.unit.workers.learning.test_learn import Job
from workers.curation.blobs import read_items
from workers.learning import trials as learning
from workers.learning.learn import split_plans
from workers.learning.reading import read_slices
from workers.training_hooks import TrainingHooks
from workers.training_job import (
    TrainingDeps,
    learn_with_tensorflow,
    run_training_job,
    search_with_tensorflow,
)

SEARCH = SearchSpec(trials=2, space={"dropout": Choice(values=(0.2, 0.4))})


class Search:
    """A search on a stored data set; cancelled after some epochs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stored: list[SearchTrial] = []
        self.epochs: list[EpochProgress] = []
        self.messages: list[str] = []
        self.cancel_after = 10_000
        data = Job(settings)
        self.store: FakeArtefactStore = data.store
        self.dataset: Dataset = data.dataset(8)

    def run(self, **changes: Any) -> SearchTrial:
        values: dict[str, Any] = {"spec": SPEC, "search": SEARCH}
        job = a_job(**(values | changes))
        return learning.search_recipe(
            job, self.dataset, self._hooks, self, store=self.store, settings=self.settings
        )

    def tried(self) -> tuple[SearchTrial, ...]:
        return tuple(self.stored)

    def record(self, trial: SearchTrial) -> None:
        self.stored.append(trial)

    @property
    def _hooks(self) -> TrainingHooks:
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


def test_a_search_and_the_job_that_follows_it(search: Search) -> None:
    uows = FakeUnitOfWorkFactory()
    with uows(write=True) as uow:
        uow.datasets.add(search.dataset)
        uow.jobs.add(a_job(spec=SPEC, search=SEARCH))
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
        assert uow.models.get(follower.model_version).spec["dropout"] == follower.spec.dropout


@pytest.mark.parametrize(
    ("space", "most"),
    [
        ({"dropout": Choice(values=(0.1, 0.2))}, SPEC.guidance),
        ({"guidance": Choice(values=(0.5, 0.0))}, 0.5),
        ({"guidance": Range(low=0.0, high=0.3)}, 0.3),
    ],
)
def test_masks_are_read_if_any_trial_is_guided(
    space: dict[str, Choice | Range], most: float
) -> None:
    assert learning.most_guidance(SPEC, replace(SEARCH, space=space)) == most
