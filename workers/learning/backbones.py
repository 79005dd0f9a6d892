"""The pretrained networks, as data: how each is built, and what pixels it expects.

Each takes grey values 0..255 here; its own convention is part of the graph, so that serving
cannot get it wrong.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
from keras import KerasTensor, layers

from core.errors import TrainingFailed
from core.training import Backbone, Precision, TrainingSpec
from workers.learning.efficientnet_lite import efficientnet_lite0
from workers.learning.fused import fused
from workers.learning.hardware import computing_in

Normalise = Callable[[KerasTensor], KerasTensor]

_MEAN_BGR: Final = (103.939, 116.779, 123.68)
_MEAN_RGB: Final = (0.485, 0.456, 0.406)
_DEVIATION_RGB: Final = (0.229, 0.224, 0.225)
_CLOSE: Final = 1e-3
"""Two statistics that differ by no larger share were the same number once."""


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """``build`` makes the network without its top; ``normalise`` turns grey 0..255, three times,
    into what it was trained on; ``weights_file`` is Keras' name for its ImageNet weights;
    ``block`` matches the names of layers of one block, its first group; ``midway`` is the last
    layer at an eighth of the side, which sees texture but not yet what decides; ``fine`` is the
    last layer at a sixteenth, from which the decision learns where, None where the network's end
    is all there is; ``skips`` are the last layers at a sixteenth, an eighth, a quarter and a half
    of the side before a block widens its channels, which hold what is known there in the fewest of
    them; ``deepest`` is the last layer before the channels are only multiplied for a classifier,
    None where they are not; ``smallest`` is the smallest side it can take, in pixels."""

    build: Callable[..., keras.Model]
    normalise: Normalise
    weights_file: str
    block: str
    midway: str
    skips: tuple[str, str, str, str]
    fine: str | None = None
    deepest: str | None = None
    smallest: int = 32


def _as_it_is(pixels: KerasTensor) -> KerasTensor:
    """EfficientNet rescales inside its own graph."""
    return pixels


def _caffe(pixels: KerasTensor) -> KerasTensor:
    """BGR with ImageNet's means taken off, as ResNet and VGG were trained.

    Grey has the same value three times, so there is nothing to swap.
    """
    return layers.Rescaling(1.0, offset=[-mean for mean in _MEAN_BGR], name="caffe")(pixels)


def _lite(pixels: KerasTensor) -> KerasTensor:
    """-1..1, as EfficientNet-Lite was trained."""
    return layers.Rescaling(1 / 128, offset=-127 / 128, name="lite")(pixels)


def _torch(pixels: KerasTensor) -> KerasTensor:
    """0..1, then ImageNet's mean and standard deviation, as DenseNet was trained."""
    scale = [1 / (255 * deviation) for deviation in _DEVIATION_RGB]
    offset = [-mean / dev for mean, dev in zip(_MEAN_RGB, _DEVIATION_RGB, strict=True)]
    return layers.Rescaling(scale, offset=offset, name="torch")(pixels)


BACKBONES: Final[Mapping[Backbone, BackboneSpec]] = {
    Backbone.EFFICIENTNET_B0: BackboneSpec(
        build=keras.applications.EfficientNetB0,
        normalise=_as_it_is,
        weights_file="efficientnetb0_notop.h5",
        block=r"(block\d[a-z])_",
        midway="block4a_expand_activation",
        skips=("block5c_add", "block3b_add", "block2b_add", "block1a_project_bn"),
        fine="block6a_expand_activation",
        deepest="block7a_project_bn",
    ),
    Backbone.EFFICIENTNET_LITE0: BackboneSpec(
        build=efficientnet_lite0,
        normalise=_lite,
        weights_file="efficientnet_lite0_notop.h5",
        block=r"(block\d[a-z])_",
        midway="block4a_expand_activation",
        skips=("block5c_add", "block3b_add", "block2b_add", "block1a_project_bn"),
        fine="block6a_expand_activation",
        deepest="block7a_project_bn",
    ),
    Backbone.RESNET101: BackboneSpec(
        build=keras.applications.ResNet101,
        normalise=_caffe,
        weights_file="resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
        block=r"(conv\d_block\d+)_",
        midway="conv3_block4_out",
        skips=("conv4_block23_out", "conv3_block4_out", "conv2_block3_out", "conv1_relu"),
        fine="conv4_block23_out",
    ),
    Backbone.DENSENET121: BackboneSpec(
        build=keras.applications.DenseNet121,
        normalise=_torch,
        weights_file="densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
        block=r"(conv\d_block\d+)_",
        midway="pool3_conv",
        skips=("pool4_conv", "pool3_conv", "pool2_conv", "conv1_relu"),
        fine="pool4_conv",
    ),
    Backbone.VGG19: BackboneSpec(
        build=keras.applications.VGG19,
        normalise=_caffe,
        weights_file="vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        block=r"(block\d)_",
        midway="block4_conv4",
        skips=("block5_conv4", "block4_conv4", "block3_conv4", "block2_conv2"),
        fine="block5_conv4",
    ),
}


def build_backbone(
    backbone: Backbone,
    image_size: int | None = None,
    weights: str | None = None,
    precision: Precision = Precision.FLOAT32,
) -> keras.Model:
    """The network without its top, for (n, size, size, 3) inputs in its own convention.

    Without a size it takes pictures of any. Whatever the precision, its weights and what it
    does to pixels before the first convolution are float32. Raises ``TrainingFailed`` if the
    pictures are too small.
    """
    with computing_in(precision):
        network = fused(unfused_backbone(backbone, image_size, weights))
    _take_up_statistics(network)
    if precision is not Precision.FLOAT32:
        _keep_pixels_exact(network)
    return network


def unfused_backbone(
    backbone: Backbone, image_size: int | None = None, weights: str | None = None
) -> keras.Model:
    """As :func:`build_backbone`, of Keras' own layers: for weights and shapes, in half the time."""
    if image_size is not None:
        check_image_size(backbone, image_size)
    shape = (image_size, image_size, 3)
    return BACKBONES[backbone].build(include_top=False, weights=weights, input_shape=shape)


def check_image_size(backbone: Backbone, image_size: int) -> None:
    """Raise ``TrainingFailed`` if pictures of this side are too small for the network."""
    smallest = BACKBONES[backbone].smallest
    if image_size < smallest:
        raise TrainingFailed(
            f"{backbone} needs an image_size of at least {smallest}; it is {image_size}."
        )


def freeze_blocks(network: keras.Model, backbone: Backbone, count: int) -> None:
    """Keep the stem and the first ``count`` blocks as they are; 0 keeps nothing.

    Raises ``TrainingFailed`` if the network has fewer blocks.
    """
    if not count:
        return
    names = [re.match(BACKBONES[backbone].block, layer.name) for layer in network.layers]
    blocks = list(dict.fromkeys(name[1] for name in names if name))
    if count > len(blocks):
        raise TrainingFailed(
            f"{backbone} has {len(blocks)} blocks; frozen_blocks is {count}. Lower it."
        )
    last = max(i for i, name in enumerate(names) if name and name[1] == blocks[count - 1])
    for layer in network.layers[: last + 1]:
        layer.trainable = False


def freeze_statistics(network: keras.Model) -> None:
    """Let every batch norm keep what it came with: statistics, scale and shift.

    To call the network with ``training=False`` would not do: Keras hands the outer model's
    ``training`` down to the models in it.
    """
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def match_pretrained_graph(backbone: keras.Model) -> None:
    """Make a network with weights from Keras compute what Keras' own pretrained one does.

    Keras gives EfficientNet one more division, by the square root of ImageNet's deviation, but
    only when it loads the weights itself (tensorflow#49930). Here it goes into the variance of
    the normalisation before it, so that one graph serves every kind of weights.

    Weights from Keras are known by their statistics: ImageNet's, but with the deviation in place of
    the variance, which is why there is another division. A backbone that this software saved has
    that in its variance already, or was trained on other pixels.
    """
    for layer in _normalisations(backbone):
        if _has_keras_statistics(layer):
            layer.adapt_variance.assign(layer.adapt_variance * list(_DEVIATION_RGB))
            layer.finalize_state()


def _has_keras_statistics(layer: layers.Normalization) -> bool:
    mean = np.ravel(keras.ops.convert_to_numpy(layer.adapt_mean))
    variance = np.ravel(keras.ops.convert_to_numpy(layer.adapt_variance))
    return (
        mean.shape == np.shape(_MEAN_RGB)
        and np.allclose(mean, _MEAN_RGB, rtol=_CLOSE)
        and np.allclose(variance, _DEVIATION_RGB, rtol=_CLOSE)
    )


def set_backbone_weights(backbone: keras.Model, values: Sequence[Any]) -> None:
    """Put weights in, in the network's own order; normalisations take theirs up at once."""
    backbone.set_weights(values)
    _take_up_statistics(backbone)


def set_variables(model: keras.Model, variables: Sequence[Any], values: Sequence[Any]) -> None:
    """Assign values to variables of a classifier, whose normalisations take theirs up at once.

    Raises ``TrainingFailed`` if they belong to another model.
    """
    if [tuple(v.shape) for v in variables] != [np.shape(value) for value in values]:
        raise TrainingFailed("The checkpoint belongs to another recipe. Submit the job again.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    for inner in model.layers:
        if isinstance(inner, keras.Model):
            _take_up_statistics(inner)


def with_layers(network: keras.Model, names: Sequence[str], last: str | None = None) -> keras.Model:
    """The network with the outputs of these layers before its own, or before that of ``last``."""
    outputs = [network.get_layer(name).output for name in names]
    end = network.output if last is None else network.get_layer(last).output
    return keras.Model(network.input, [*outputs, end], name=network.name)


def quicken_statistics(backbone: keras.Model, momentum: float) -> None:
    """Let batch norm's running statistics forget faster; short trainings from nothing need it."""
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = momentum


def activation_bytes(spec: TrainingSpec) -> int:
    """Bytes that one picture's layer outputs take as float32; training keeps all of them."""
    backbone = unfused_backbone(spec.backbone, spec.image_size)
    outputs = (layer.output for layer in backbone.layers)
    return 4 * sum(math.prod(side or 1 for side in output.shape) for output in outputs)


def _keep_pixels_exact(network: keras.Model) -> None:
    # bfloat16 has whole numbers only above 128, and pixels go up to 255.
    for layer in network.layers:
        if isinstance(layer, layers.Rescaling | layers.Normalization):
            layer.dtype_policy = str(Precision.FLOAT32)
    _take_up_statistics(network)


def _take_up_statistics(backbone: keras.Model) -> None:
    # Keras' normalisation computes with copies of its variables.
    for layer in _normalisations(backbone):
        layer.finalize_state()


def _normalisations(backbone: keras.Model) -> list[layers.Normalization]:
    return [layer for layer in backbone.layers if isinstance(layer, layers.Normalization)]
