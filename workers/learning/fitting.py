"""One model on one split: from first weights to the best epoch's weights."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from core.labels import LABELS
from core.settings import Settings
from core.training import Precision, TrainingSpec
from workers.learning.ancestor import Ancestor
from workers.learning.backbones import activation_bytes, set_backbone_weights, set_variables
from workers.learning.checkpoints import Checkpoint, Checkpoints, TrainingState
from workers.learning.classifier import backbone_of, build_classifier
from workers.learning.hardware import find_hardware
from workers.learning.inference import Inference, MaskInference, stop_if_told
from workers.learning.input_pipeline import Slices
from workers.learning.memory import available_memory, check_training_memory
from workers.learning.objective import (
    NamesTumours,
    Objective,
    OutlinesTumours,
    PointsAtTumours,
    class_weights,
)
from workers.learning.reading import wants_masks
from workers.learning.runtime import seed_everything
from workers.learning.trainer import Trainer
from workers.learning.unet import build_segmenter, segmenter_bytes, set_encoder_weights
from workers.learning.weights import StartWeights, start_weights
from workers.training_hooks import TrainingHooks

Build = Callable[[StartWeights, Precision], keras.Model]
"""A model with its first weights, to compute in a precision."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A trained classifier, its answers, and how training went.

    The model is float32 and on one device, whatever it was trained on.
    """

    model: keras.Model
    inference: Inference
    state: TrainingState


@dataclass(frozen=True, kw_only=True)
class FittedSegmenter:
    """As :class:`Fitted`, of a segmenter."""

    model: keras.Model
    inference: MaskInference
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
    """Train a classifier by the recipe, from the newest checkpoint where there is one.

    Raises ``TrainingCancelled``, ``TrainingFailed``, ``PretrainedWeightsUnavailable``.
    """

    def build(first: StartWeights, precision: Precision) -> keras.Model:
        model = build_classifier(spec, pretrained=first.pretrained, precision=precision)
        check_training_memory(spec, activation_bytes(spec), available_memory())
        if first.values is not None:
            set_backbone_weights(backbone_of(model), first.values)
        if first.whole is not None:
            set_variables(model, model.weights, first.whole)
        return model

    def objective_of(model: keras.Model) -> Objective:
        weights = class_weights(train.labels) if spec.class_weights else [1.0] * len(LABELS)
        has_use = wants_masks(spec) and train.masks is not None
        learned = PointsAtTumours if has_use else NamesTumours
        return learned(spec, Inference(model, spec.batch_size, hooks), weights)

    model, state = _trained(
        spec, train, validation, build, objective_of, checkpoints, settings, hooks
    )
    inference = Inference(model, spec.batch_size, hooks)
    return Fitted(model=model, inference=inference, state=state)


def fit_segmenter(
    spec: TrainingSpec,
    train: Slices,
    validation: Slices,
    *,
    checkpoints: Checkpoints,
    settings: Settings,
    hooks: TrainingHooks,
) -> FittedSegmenter:
    """As :func:`fit`, a segmenter from slices with masks. Raises the same."""

    def build(first: StartWeights, precision: Precision) -> keras.Model:
        model = build_segmenter(spec, pretrained=first.pretrained, precision=precision)
        check_training_memory(spec, segmenter_bytes(spec), available_memory())
        if first.values is not None:
            set_encoder_weights(model, first.values)
        if first.whole is not None:
            set_variables(model, model.weights, first.whole)
        return model

    def objective_of(model: keras.Model) -> Objective:
        return OutlinesTumours(spec, MaskInference(model, spec.batch_size, hooks))

    model, state = _trained(
        spec, train, validation, build, objective_of, checkpoints, settings, hooks
    )
    inference = MaskInference(model, spec.batch_size, hooks)
    return FittedSegmenter(model=model, inference=inference, state=state)


def _trained(
    spec: TrainingSpec,
    train: Slices,
    validation: Slices,
    build: Build,
    objective_of: Callable[[keras.Model], Objective],
    checkpoints: Checkpoints,
    settings: Settings,
    hooks: TrainingHooks,
) -> tuple[keras.Model, TrainingState]:
    """The model with the weights of its best epoch, in float32 and on one device."""
    hardware = find_hardware(spec)
    hooks.on_message(str(hardware))
    seed_everything(spec.seed)
    first, checkpoint = _first_weights(spec, checkpoints, settings, hooks)
    with hardware.scope():
        model = build(first, hardware.precision)
    trainer = Trainer(model, spec, objective_of(model), checkpoints, hooks, hardware)
    state = trainer.fit(train, validation, checkpoint or trainer.beginning(first.source))
    if not hardware.is_plain:
        trained, model = model, build(first, Precision.FLOAT32)
        set_variables(model, model.weights, trained.get_weights())
    return model, state


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
    ancestor = Ancestor.of(spec, checkpoints.store)
    first = ancestor.start_weights(spec.task) if ancestor else start_weights(spec, settings)
    hooks.on_message(f"starting from weights: {first.source}")
    return first, None
