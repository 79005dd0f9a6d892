"""Training on two devices that the one CPU pretends to be; a program, run by ``test_mirrored``.

How many devices there are must be said before TensorFlow's runtime starts, so it is a process of
its own. It prints what it found as JSON.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from core.labels import LABELS
from core.settings import Settings
from core.training import Backbone, Optimizer, Precision, TrainingSpec
from tests.fakes.learning import SIZE, SPEC, some_slices, use_tiny_network
from tests.fakes.store import FakeArtefactStore
from workers.learning import fitting
from workers.learning.backbones import BACKBONES
from workers.learning.checkpoints import Checkpoints
from workers.learning.classifier import build_classifier
from workers.learning.export import check_parity, export_graph
from workers.learning.hardware import PLAIN, Hardware
from workers.learning.recipe import build_optimizer, with_loss_scale
from workers.learning.runtime import seed_everything
from workers.learning.steps import MirroredStep, training_step
from workers.training_hooks import TrainingHooks

WEIGHTS: Final = (0.5, 1.0, 1.5, 2.0)
BATCHES: Final = (6, 5, 1, 6)
"""Even shares, uneven ones, and one device without a slice of its own."""
EXACT: Final = replace(SPEC, dropout=0.0, weight_decay=0.01)


def make_two_devices() -> tf.distribute.Strategy:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def without_batch_norm(
    *, include_top: bool, weights: Any, input_shape: tuple[int | None, ...]
) -> keras.Model:
    """Batch norms see their share alone; without them two devices compute what one does."""
    pixels = layers.Input(input_shape)
    scaled = layers.Rescaling(1 / 255)(pixels)
    features = layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")(scaled)
    return keras.Model(pixels, features, name="tiny")


def batches() -> list[tuple[tf.Tensor, tf.Tensor]]:
    slices = some_slices(5)
    ends = np.cumsum(BATCHES)
    return [
        (
            tf.constant(slices.pixels[end - count : end], tf.float32),
            tf.one_hot(slices.labels[end - count : end], len(LABELS)),
        )
        for count, end in zip(BATCHES, ends, strict=True)
    ]


class Run:
    """A model and its step on some hardware."""

    def __init__(self, spec: TrainingSpec, hardware: Hardware) -> None:
        seed_everything(0)
        with hardware.scope():
            self.model = build_classifier(spec, pretrained=False, precision=hardware.precision)
            self.optimizer = with_loss_scale(build_optimizer(spec), hardware.precision)
            self.optimizer.build(self.model.trainable_variables)
        self.step = training_step(self.model, self.optimizer, WEIGHTS, hardware.strategy)

    def learn(self) -> list[tuple[float, int]]:
        return [self.step(images, targets, 0.05) for images, targets in batches()]

    @property
    def devices_agree(self) -> bool:
        """Whether each variable has the same value on both devices."""
        copies = [variable.value.values for variable in self.model.variables]
        return all(np.array_equal(one.numpy(), two.numpy()) for one, two in copies)


def compare(optimizer: Optimizer, two: Hardware) -> dict[str, Any]:
    """The same steps on one device and on two."""
    spec = replace(EXACT, optimizer=optimizer)
    one_run, two_run = Run(spec, Hardware(precision=two.precision)), Run(spec, two)
    one, both = one_run.learn(), two_run.learn()
    weights = zip(one_run.model.get_weights(), two_run.model.get_weights(), strict=True)
    return {
        "mirrored": type(two_run.step) is MirroredStep,
        "losses": [[loss for loss, _ in learned] for learned in (one, both)],
        "right": [[right for _, right in learned] for learned in (one, both)],
        "largest_difference": max(float(np.abs(a - b).max()) for a, b in weights),
        "devices_agree": two_run.devices_agree,
    }


def overflow(two: Hardware) -> dict[str, Any]:
    """Only the second device's gradients overflow."""
    run = Run(EXACT, two)
    before = [variable.numpy() for variable in run.model.trainable_variables]
    images, targets = batches()[0]
    broken = tf.concat([images[:-1], tf.fill(images[-1:].shape, float("inf"))], axis=0)
    run.step(broken, targets, 0.05)
    after = [variable.numpy() for variable in run.model.trainable_variables]
    return {
        "changed": any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)),
        "scale": float(run.optimizer.dynamic_scale.numpy()),
        "initial_scale": run.optimizer.initial_scale,
    }


def whole_training(two: Hardware, patch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    """Two epochs on two devices, and a third on one, from the checkpoint of the second."""
    store, messages = FakeArtefactStore(), list[str]()
    said = TrainingHooks(
        on_epoch=lambda _: None,
        on_progress=lambda _share, _stage: None,
        on_message=messages.append,
        should_stop=lambda: False,
    )

    def fit(epochs: int, hardware: Hardware) -> fitting.Fitted:
        patch.setattr(fitting, "find_hardware", lambda _: hardware)
        return fitting.fit(
            replace(SPEC, epochs=epochs, batch_size=7),
            some_slices(9, seed=1),
            some_slices(4, seed=2),
            checkpoints=Checkpoints(store, "job1"),
            settings=Settings.from_environment({}, data_dir=folder),
            hooks=said,
        )

    fitted, longer = fit(2, two), fit(3, PLAIN)
    graph = export_graph(fitted.model, SIZE)
    kinds = {type(v.value).__name__ for v in fitted.model.variables}
    return {
        "losses": [epoch.loss for epoch in longer.state.history],
        "went_on": longer.state.history[:2] == fitted.state.history,
        "mirrored_variables": any("Mirrored" in kind for kind in kinds),
        "types": sorted({layer.compute_dtype for layer in fitted.model._flatten_layers()}),
        "export_difference": check_parity(graph, fitted.model, some_slices(1).pixels),
        "messages": messages,
    }


def main() -> None:
    strategy = make_two_devices()
    patch = pytest.MonkeyPatch()
    use_tiny_network(patch)
    found = {
        "whole": whole_training(
            Hardware(precision=Precision.MIXED_FLOAT16, gpus=2, strategy=strategy),
            patch,
            Path(tempfile.mkdtemp()),
        )
    }
    tiny = BACKBONES[Backbone.EFFICIENTNET_B0]
    patch.setitem(
        BACKBONES,
        Backbone.EFFICIENTNET_B0,
        replace(tiny, build=without_batch_norm),
    )
    exact = Hardware(gpus=2, strategy=strategy)
    scaled = replace(exact, precision=Precision.MIXED_FLOAT16)
    found |= {str(optimizer): compare(optimizer, exact) for optimizer in Optimizer}
    found |= {"float16": compare(Optimizer.SGD, scaled), "overflow": overflow(scaled)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
