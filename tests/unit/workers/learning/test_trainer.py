"""The loop learns, stops, and goes on where it was."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from core.errors import StoreUnavailable, TrainingCancelled, TrainingFailed
from core.labels import LABELS
from core.training import Backbone, EpochProgress, Optimizer, TrainingSpec
from tests.fakes.learning import SPEC, some_slices, use_tiny_network
from tests.fakes.store import FakeArtefactStore
from workers.learning.checkpoints import Checkpoints, TrainingState
from workers.learning.classifier import build_classifier
from workers.learning.inference import Inference
from workers.learning.objective import NamesTumours, class_weights
from workers.learning.runtime import seed_everything
from workers.learning.trainer import Trainer
from workers.training_hooks import TrainingHooks

pytestmark = pytest.mark.usefixtures("tiny")

TRAIN, VALIDATION = some_slices(12, seed=1), some_slices(4, seed=2)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_network(monkeypatch)


@dataclass
class Watcher:
    """Hooks that remember, and stop the run when ``stop_when`` says so."""

    stop_when: Callable[["Watcher"], bool] = lambda _: False
    epochs: list[EpochProgress] = field(default_factory=list)
    progress: list[tuple[float, str]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)

    @property
    def hooks(self) -> TrainingHooks:
        return TrainingHooks(
            on_epoch=self.epochs.append,
            on_progress=lambda share, stage: self.progress.append((share, stage)),
            on_message=self.messages.append,
            should_stop=lambda: self.stop_when(self),
            on_saved=lambda: self.saved.append(len(self.epochs) + 1),
        )


def run(
    spec: TrainingSpec, store: FakeArtefactStore, watcher: Watcher
) -> tuple[keras.Model, TrainingState]:
    """As a worker would: from the checkpoint if there is one."""
    seed_everything(spec.seed)
    model = build_classifier(spec, pretrained=False)
    checkpoints = Checkpoints(store, "job1")
    inference = Inference(model, spec.batch_size, watcher.hooks)
    weights = class_weights(TRAIN.labels) if spec.class_weights else [1.0] * len(LABELS)
    objective = NamesTumours(spec, inference, weights)
    trainer = Trainer(model, spec, objective, checkpoints, watcher.hooks)
    start = checkpoints.load() or trainer.beginning("none")
    return model, trainer.fit(TRAIN, VALIDATION, start)


@pytest.fixture
def store() -> FakeArtefactStore:
    return FakeArtefactStore()


def test_it_learns_and_tells(store: FakeArtefactStore) -> None:
    watcher = Watcher()

    _, state = run(replace(SPEC, epochs=10, augmentation=False), store, watcher)

    assert state.history == tuple(watcher.epochs)
    assert [epoch.epoch for epoch in watcher.epochs] == list(range(1, 11))
    assert watcher.epochs[-1].loss < watcher.epochs[0].loss
    assert max(epoch.val_accuracy for epoch in watcher.epochs) > 0.9
    assert watcher.epochs[-1].seconds_left == 0
    assert watcher.epochs[0].seconds_left > watcher.epochs[0].seconds
    assert all((epoch.images_per_second or 0) > 0 for epoch in watcher.epochs)
    assert all(0 < (epoch.busy_share or 0) <= 1 for epoch in watcher.epochs)
    assert all(0 < (epoch.validation_share or 0) < 1 for epoch in watcher.epochs)
    shares = [share for share, _ in watcher.progress]
    assert shares == sorted(shares)
    share, stage = watcher.progress[6]
    assert share == pytest.approx(0.1)
    assert stage == "epoch 2 of 10"


def test_the_model_is_left_with_its_best_epochs_weights(store: FakeArtefactStore) -> None:
    # At this rate late epochs are often worse than early ones.
    model, state = run(replace(SPEC, epochs=5, learning_rate=0.3), store, Watcher())

    logits = Inference(model, 8, Watcher().hooks).logits(VALIDATION)
    accuracy = float((logits.argmax(axis=1) == VALIDATION.labels).mean())
    assert accuracy == state.history[state.best_epoch - 1].val_accuracy


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(store: FakeArtefactStore) -> None:
    straight_model, straight = run(SPEC, FakeArtefactStore(), Watcher())

    first = Watcher(stop_when=lambda w: len(w.epochs) == 2 and w.progress[-1][0] > 0.8)
    with pytest.raises(TrainingCancelled):
        run(SPEC, store, first)
    second = Watcher()
    model, resumed = run(SPEC, store, second)

    assert len(first.epochs) == 2
    assert (first.saved, second.saved) == ([1, 2], [1])
    assert [epoch.epoch for epoch in second.epochs] == [3]
    assert resumed.history[:2] == tuple(first.epochs)
    assert resumed.best_epoch == straight.best_epoch
    assert numbers(resumed) == pytest.approx(numbers(straight), rel=1e-4)
    for ours, theirs in zip(model.get_weights(), straight_model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def numbers(state: TrainingState) -> list[float]:
    return [n for e in state.history for n in (e.loss, e.accuracy, e.val_loss, e.val_accuracy)]


def test_a_run_that_was_whole_is_not_trained_again(store: FakeArtefactStore) -> None:
    model, state = run(SPEC, store, Watcher())
    again = Watcher()

    model_again, state_again = run(SPEC, store, again)

    assert again.epochs == []
    assert state_again == state
    for ours, theirs in zip(model.get_weights(), model_again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_checkpoint_of_another_model_is_refused(
    store: FakeArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(replace(SPEC, epochs=1), store, Watcher())
    monkeypatch.undo()

    with pytest.raises(TrainingFailed, match="another recipe"):
        run(replace(SPEC, backbone=Backbone.VGG19, image_size=32), store, Watcher())


def test_it_stops_at_the_next_batch(store: FakeArtefactStore) -> None:
    watcher = Watcher(stop_when=lambda w: len(w.progress) == 3)

    with pytest.raises(TrainingCancelled):
        run(SPEC, store, watcher)

    assert len(watcher.progress) == 3
    assert watcher.epochs == []


def test_a_loss_that_is_no_number_fails_with_advice(store: FakeArtefactStore) -> None:
    with pytest.raises(TrainingFailed, match="Lower learning_rate"):
        run(replace(SPEC, optimizer=Optimizer.SGD, learning_rate=1e30), store, Watcher())


def test_memory_that_runs_out_on_the_way_says_what_to_do(
    store: FakeArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*_: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(Inference, "logits", too_much)

    with pytest.raises(TrainingFailed, match=r"does not hold a training step. Lower batch_size"):
        run(replace(SPEC, epochs=1), store, Watcher())


def test_answers_that_the_last_step_made_no_numbers_fail_with_advice(
    store: FakeArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The loss of the last step is that of the weights before it.
    monkeypatch.setattr(
        Inference, "logits", lambda _, slices: np.full((len(slices), len(LABELS)), np.nan)
    )
    spec = replace(SPEC, epochs=1)

    with pytest.raises(TrainingFailed, match=r"answers are no longer numbers. Lower learning_rate"):
        run(spec, store, Watcher())

    assert not store.list("jobs")


def test_a_checkpoint_that_cannot_be_written_stops_nothing(
    store: FakeArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(key: str, data: bytes) -> None:
        raise StoreUnavailable("artefact store")

    monkeypatch.setattr(store, "put", full)
    watcher = Watcher()

    _, state = run(replace(SPEC, epochs=1), store, watcher)

    assert state.epoch == 1
    assert watcher.messages == ["the checkpoint of epoch 1 could not be written"]
    assert watcher.saved == []


def test_classes_count_alike() -> None:
    weights = class_weights(np.array([0, 0, 0, 1]))

    assert weights == pytest.approx([4 / 6, 2.0, 0.0, 0.0])
    assert (weights[0] * 3 + weights[1]) / 4 == pytest.approx(1)
