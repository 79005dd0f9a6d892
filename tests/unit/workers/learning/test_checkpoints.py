"""A checkpoint is whole or not there."""

import numpy as np
import pytest

from core.errors import StoreUnavailable
from core.training import EpochProgress
from tests.fakes.store import FakeArtefactStore
from workers.learning.checkpoints import Checkpoint, Checkpoints, TrainingState


def an_epoch(number: int) -> EpochProgress:
    return EpochProgress(
        epoch=number,
        epochs=5,
        loss=0.1 + 0.2,
        accuracy=0.5,
        val_loss=1 / 3,
        val_accuracy=0.25,
        seconds=1.5,
        seconds_left=3.0,
    )


def a_checkpoint(epochs: int, best: int = 1) -> Checkpoint:
    state = TrainingState(
        weights_source="imagenet",
        history=tuple(an_epoch(n + 1) for n in range(epochs)),
        best_epoch=best,
        best_score=(0.75, -1 / 3),
    )
    rng = np.random.default_rng(epochs)
    last = [rng.normal(size=(3, 2)).astype(np.float32), np.int64(7), np.array([2, 3], np.uint32)]
    return Checkpoint(state=state, last=last, best=[rng.normal(size=(3, 2)) for _ in range(12)])


@pytest.fixture
def store() -> FakeArtefactStore:
    return FakeArtefactStore()


def assert_same(left: Checkpoint, right: Checkpoint | None) -> None:
    assert right is not None
    assert left.state == right.state
    for ours, theirs in ((left.last, right.last), (left.best, right.best)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.asarray(a).dtype == b.dtype


def test_there_is_none_at_first(store: FakeArtefactStore) -> None:
    assert Checkpoints(store, "job1").load() is None


def test_it_comes_back_as_it_was(store: FakeArtefactStore) -> None:
    saved = a_checkpoint(2)
    Checkpoints(store, "job1").save(saved)

    assert_same(saved, Checkpoints(store, "job1").load())
    assert Checkpoints(store, "job2").load() is None


def test_the_start_has_no_best_yet_and_comes_back_too(store: FakeArtefactStore) -> None:
    state = TrainingState(weights_source="none")
    Checkpoints(store, "job1").save(Checkpoint(state=state, last=[], best=[]))

    found = Checkpoints(store, "job1").load()

    assert found is not None
    assert found.state == state


def test_the_newest_replaces_those_before(store: FakeArtefactStore) -> None:
    checkpoints = Checkpoints(store, "job1")
    checkpoints.save(a_checkpoint(1))
    second = a_checkpoint(2, best=2)
    checkpoints.save(second)

    assert_same(second, Checkpoints(store, "job1").load())
    names = {key.rsplit("/", 1)[-1] for key in store.files}
    assert names == {"state.json", "last-2.npz", "best-2.npz"}


def test_the_best_weights_are_written_once(
    store: FakeArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    put = store.put

    def noted(key: str, data: bytes) -> None:
        written.append(key.rsplit("/", 1)[-1])
        put(key, data)

    monkeypatch.setattr(store, "put", noted)
    checkpoints = Checkpoints(store, "job1")
    checkpoints.save(a_checkpoint(1, best=1))
    checkpoints.save(a_checkpoint(2, best=1))

    assert written.count("best-1.npz") == 1
    found = Checkpoints(store, "job1").load()
    assert found is not None
    assert found.state.epoch == 2


def test_a_write_that_is_cut_short_leaves_the_one_before(
    store: FakeArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = a_checkpoint(1)
    checkpoints = Checkpoints(store, "job1")
    checkpoints.save(first)
    put = store.put

    def cut(key: str, data: bytes) -> None:
        if key.endswith("state.json"):
            raise StoreUnavailable("artefact store")
        put(key, data)

    monkeypatch.setattr(store, "put", cut)
    with pytest.raises(StoreUnavailable):
        checkpoints.save(a_checkpoint(2, best=2))

    assert_same(first, Checkpoints(store, "job1").load())


@pytest.mark.parametrize("name", ["last-1.npz", "best-1.npz"])
def test_a_changed_or_missing_file_means_to_start_again(
    store: FakeArtefactStore, name: str
) -> None:
    Checkpoints(store, "job1").save(a_checkpoint(1))
    key = f"jobs/job1/checkpoint/model/{name}"
    store.put(key, store.get(key)[:-1])
    assert Checkpoints(store, "job1").load() is None

    store.delete(key)
    assert Checkpoints(store, "job1").load() is None


def test_the_best_epoch_is_the_first_with_the_highest_score() -> None:
    state = TrainingState(weights_source="none")
    scores = [(0.5, -1.0), (0.7, -0.9), (0.7, -0.8), (0.7, -0.8), (0.6, -0.1)]
    best = []
    for number, score in enumerate(scores, start=1):
        state = state.followed_by(an_epoch(number), score)
        best.append(state.best_epoch)

    assert best == [1, 2, 3, 3, 3]
    assert state.epoch == 5


def test_a_score_that_is_no_number_is_never_best() -> None:
    state = TrainingState(weights_source="none")

    assert state.followed_by(an_epoch(1), (float("nan"), float("nan"))).best_epoch == 0


def test_a_mark_of_a_beginning_stays_until_an_epoch_is_saved(store: FakeArtefactStore) -> None:
    checkpoints = Checkpoints(store, "job", "trial-1")
    assert not checkpoints.mark_begun()
    assert Checkpoints(store, "job", "trial-1").mark_begun()
    checkpoints.save(a_checkpoint(1))
    assert not Checkpoints(store, "job", "trial-1").mark_begun()
    checkpoints.forget()
    assert not store.list("jobs")
