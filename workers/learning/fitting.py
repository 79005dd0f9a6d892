"""One model on one split: from first weights to the best epoch's weights."""

from dataclasses import dataclass

import keras

from core.settings import Settings
from core.training import Precision, TrainingSpec
from workers.learning.backbones import activation_bytes, set_backbone_weights, set_variables
from workers.learning.checkpoints import Checkpoint, Checkpoints, TrainingState
from workers.learning.classifier import backbone_of, build_classifier
from workers.learning.hardware import find_hardware
from workers.learning.input_pipeline import Slices
from workers.learning.memory import available_memory, check_training_memory
from workers.learning.runtime import seed_everything
from workers.learning.trainer import Inference, Trainer, stop_if_told
from workers.learning.weights import StartWeights, start_weights
from workers.training_hooks import TrainingHooks


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A trained model, its answers, and how training went.

    The model is float32 and on one device, whatever it was trained on.
    """

    model: keras.Model
    inference: Inference
    state: TrainingState


def fit(
    spec: TrainingSpec,
    train: Slices,
    validation: Slices,
    *,
    checkpoints: Checkpoints,
    settings: Settings,
    hooks: TrainingHooks,
) -> Fitted:
    """Train by the recipe, from the newest checkpoint where there is one.

    Raises ``TrainingCancelled``, ``TrainingFailed``, ``PretrainedWeightsUnavailable``.
    """
    hardware = find_hardware(spec)
    hooks.on_message(str(hardware))
    seed_everything(spec.seed)
    first, checkpoint = _first_weights(spec, checkpoints, settings, hooks)
    with hardware.scope():
        model = _build(spec, first, hardware.precision)
    inference = Inference(model, spec.batch_size, hooks)
    trainer = Trainer(model, spec, inference, checkpoints, hooks, hardware)
    state = trainer.fit(train, validation, checkpoint or trainer.beginning(first.source))
    if not hardware.is_plain:
        model = _plain(model, spec, first)
        inference = Inference(model, spec.batch_size, hooks)
    return Fitted(model=model, inference=inference, state=state)


def _first_weights(
    spec: TrainingSpec, checkpoints: Checkpoints, settings: Settings, hooks: TrainingHooks
) -> tuple[StartWeights, Checkpoint | None]:
    """What the model starts from, and the checkpoint to go on behind where there is one.

    A job that goes on needs no download again, only to be built as it was the first time.
    """
    checkpoint = checkpoints.load()
    if checkpoint is not None:
        hooks.on_message(f"going on behind epoch {checkpoint.state.epoch}")
        return StartWeights(source=checkpoint.state.weights_source, values=None), checkpoint
    stop_if_told(hooks)
    hooks.on_progress(0.0, "finding weights to start from")
    first = start_weights(spec, settings)
    hooks.on_message(f"starting from weights: {first.source}")
    return first, None


def _build(spec: TrainingSpec, first: StartWeights, precision: Precision) -> keras.Model:
    model = build_classifier(spec, pretrained=first.pretrained, precision=precision)
    check_training_memory(spec, activation_bytes(spec), available_memory())
    if first.values is not None:
        set_backbone_weights(backbone_of(model), first.values)
    return model


def _plain(trained: keras.Model, spec: TrainingSpec, first: StartWeights) -> keras.Model:
    """The same weights in an ordinary model: as it will serve it is judged and exported."""
    model = build_classifier(spec, pretrained=first.pretrained)
    set_variables(model, model.weights, trained.get_weights())
    return model
