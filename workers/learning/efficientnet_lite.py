"""EfficientNet-Lite0: EfficientNetB0 without squeeze-and-excitation, and with ReLU6.

Source: Google's EfficientNet-Lite (tensorflow/tpu, ``efficientnet/lite``), after Tan and Le, ICML
2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks". Layers have the
names of those of Keras' EfficientNetB0, and their weights the same shapes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
from keras import KerasTensor, layers
from numpy.typing import NDArray

_EPSILON: Final = 1e-3
_MOMENTUM: Final = 0.99
_STEM: Final = 32
_TOP: Final = 1280


@dataclass(frozen=True)
class Stage:
    """A run of blocks. The first one has the stride, and changes the channels."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES: Final = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def efficientnet_lite0(
    *, include_top: bool, weights: str | None, input_shape: tuple[int | None, ...]
) -> keras.Model:
    """The network without its top, with the call of ``keras.applications``.

    It takes pixels of -1..1, (value - 127) / 128, and gives (n, h / 32, w / 32, 1280).
    """
    if include_top or weights is not None:
        raise ValueError("this network has no top, and its weights come from a package")
    pixels = layers.Input(input_shape)
    features = _convolved(pixels, "stem", _STEM, kernel=3, stride=2)
    for number, stage in enumerate(STAGES, start=1):
        for repeat in range(stage.repeats):
            name = f"block{number}{chr(ord('a') + repeat)}"
            features = _block(features, name, stage, stage.stride if repeat == 0 else 1)
    features = _convolved(features, "top", _TOP, kernel=1, stride=1)
    return keras.Model(pixels, features, name="efficientnet_lite0")


def block_names() -> list[str]:
    """Names of all blocks, from the input on."""
    return [
        f"block{number}{chr(ord('a') + repeat)}"
        for number, stage in enumerate(STAGES, start=1)
        for repeat in range(stage.repeats)
    ]


def _convolved(
    x: KerasTensor, name: str, channels: int, *, kernel: int, stride: int
) -> KerasTensor:
    x = layers.Conv2D(
        channels, kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    return _activated(x, f"{name}_bn", f"{name}_activation")


def _block(x: KerasTensor, name: str, stage: Stage, stride: int) -> KerasTensor:
    """Inverted bottleneck: expand, filter by channel, project, add what came in."""
    channels = x.shape[-1]
    y = x
    if stage.expand != 1:
        y = layers.Conv2D(channels * stage.expand, 1, use_bias=False, name=f"{name}_expand_conv")(y)
        y = _activated(y, f"{name}_expand_bn", f"{name}_expand_activation")
    y = layers.DepthwiseConv2D(
        stage.kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_dwconv"
    )(y)
    y = _activated(y, f"{name}_bn", f"{name}_activation")
    y = layers.Conv2D(stage.channels, 1, use_bias=False, name=f"{name}_project_conv")(y)
    y = _normalised(y, f"{name}_project_bn")
    if stride == 1 and channels == stage.channels:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y


def _normalised(x: KerasTensor, name: str) -> KerasTensor:
    return layers.BatchNormalization(epsilon=_EPSILON, momentum=_MOMENTUM, name=name)(x)


def _activated(x: KerasTensor, norm: str, activation: str) -> KerasTensor:
    return layers.ReLU(6.0, name=activation)(_normalised(x, norm))


# --- weights of the PyTorch package -----------------------------------------------------------


def layer_weights(state: Mapping[str, NDArray[Any]]) -> dict[str, list[NDArray[Any]]]:
    """Weights by Keras' layer name, from the state of the network's PyTorch port.

    Raises ``KeyError`` if the state is of another network.
    """
    found: dict[str, list[NDArray[Any]]] = {}
    for ours, theirs in _layers_of_port():
        if ours.endswith("_bn"):
            parts = ("weight", "bias", "running_mean", "running_var")
            found[ours] = [state[f"{theirs}.{part}"] for part in parts]
        else:
            kernel = state[f"{theirs}.weight"]
            by_channel = ours.endswith("_dwconv")
            found[ours] = [kernel.transpose((2, 3, 0, 1) if by_channel else (2, 3, 1, 0))]
    return found


def _layers_of_port() -> list[tuple[str, str]]:
    """Our layer names and the port's, in the network's order."""
    pairs = [("stem_conv", "_conv_stem"), ("stem_bn", "_bn0")]
    for number, name in enumerate(block_names()):
        theirs = f"_blocks.{number}"
        if name != "block1a":  # the one block that expands nothing
            pairs.append((f"{name}_expand_conv", f"{theirs}._expand_conv"))
            pairs.append((f"{name}_expand_bn", f"{theirs}._bn0"))
        pairs.append((f"{name}_dwconv", f"{theirs}._depthwise_conv"))
        pairs.append((f"{name}_bn", f"{theirs}._bn1"))
        pairs.append((f"{name}_project_conv", f"{theirs}._project_conv"))
        pairs.append((f"{name}_project_bn", f"{theirs}._bn2"))
    return [*pairs, ("top_conv", "_conv_head"), ("top_bn", "_bn1")]


def set_layer_weights(network: keras.Model, values: Mapping[str, list[NDArray[Any]]]) -> None:
    """Put weights into the layers of these names. Raises ``ValueError`` if a shape differs."""
    for name, arrays in values.items():
        network.get_layer(name).set_weights([np.asarray(array) for array in arrays])
