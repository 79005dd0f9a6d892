"""Small changes to slices that leave their label alone, for the training stream only.

Every random number comes from the seed that is passed in, none from state: the same seed gives
the same batch, whichever thread makes it and however often the job was interrupted before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import tensorflow as tf


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far a slice is moved at most.

    ``turn`` is an angle in radians, ``shift`` a share of the side; ``zoom`` and ``stretch`` (of the
    picture's width against its height, after the turn) are shares of a length.
    """

    turn: float
    shift: float
    zoom: float
    stretch: float = 0.0


NEAR: Final = Reach(turn=math.radians(15), shift=0.1, zoom=0.15)
"""For whole slices: they come upright."""
FAR: Final = Reach(turn=math.radians(30), shift=0.1, zoom=0.25, stretch=0.2)
"""For outlines, which are learned from fewer slices and in which more can be got by heart."""
MAX_BRIGHTNESS: Final = 0.15
"""Share of 255."""
MAX_CONTRAST: Final = 0.25
MAX_GAMMA: Final = 1.4
MAX_NOISE: Final = 8.0
"""Largest deviation of the noise, in grey values."""
BLURRED: Final = 0.25
"""Share of the slices that are blurred, and of those that are compressed as JPEG."""
LOWEST_QUALITY: Final = 30
HIGHEST_QUALITY: Final = 95
_BINOMIAL: Final = (1 / 4, 1 / 2, 1 / 4)
_TINY: Final = 2.0**-126
"""The smallest normal float32: it has a logarithm."""

Batch = tuple[tf.Tensor, tf.Tensor]
"""Pictures and targets."""


def augment(images: tf.Tensor, seed: tf.Tensor, reach: Reach = NEAR) -> tf.Tensor:
    """Each of ``images``, float32 (n, size, size, 1) of 0..255, changed in its own way.

    A left-right flip of every other one, turn, shift and zoom in a single resampling; then
    blur, contrast, brightness, gamma and noise; then JPEG, since many sources were compressed.
    ``seed`` is two integers.
    """
    seeds = tf.unstack(tf.random.split(seed, 4))
    return _change_looks(move(images, seeds[0], reach), seeds[1:])


def augment_with_masks(
    images: tf.Tensor, masks: tf.Tensor, seed: tf.Tensor, reach: Reach = NEAR
) -> Batch:
    """As :func:`augment`, with masks (n, size, size, 1) of 0..1 that move as their slices do."""
    seeds = tf.unstack(tf.random.split(seed, 4))
    moved = move(tf.concat([images, masks], axis=3), seeds[0], reach)
    return _change_looks(moved[..., :1], seeds[1:]), moved[..., 1:]


def mix(images: tf.Tensor, targets: Any, alpha: float, seed: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Each slice mixed with another of its batch, and their targets (n, ...) alike.

    Zhang et al., ICLR 2018, "mixup: Beyond Empirical Risk Minimization". One weight a batch,
    drawn from Beta(alpha, alpha).
    """
    weight = _beta(alpha, seed)
    mixed: tuple[tf.Tensor, Any] = tf.nest.map_structure(
        lambda x: weight * x + (1 - weight) * tf.reverse(x, [0]), (images, targets)
    )
    return mixed


def _beta(alpha: float, seed: tf.Tensor) -> tf.Tensor:
    """A number of 0..1 from Beta(alpha, alpha), by two gammas whose logarithms are drawn.

    The gammas themselves would both be the smallest float32 where alpha is small, and their shares
    a half, which is what such an alpha makes rarest. Gamma(alpha) is Gamma(alpha + 1) times
    U ** (1 / alpha): Marsaglia and Tsang, ACM Transactions on Mathematical Software 26 (2000).
    """
    seeds = tf.unstack(tf.random.split(seed, 2))
    larger = tf.random.stateless_gamma((2,), seeds[0], alpha + 1)
    uniform = tf.random.stateless_uniform((2,), seeds[1], minval=_TINY)
    logs = tf.math.log(larger) + tf.math.log(uniform) / alpha
    return tf.sigmoid(logs[0] - logs[1])


def _change_looks(images: tf.Tensor, seeds: Sequence[tf.Tensor]) -> tf.Tensor:
    blurred = _blur(images, seeds[0])
    return _compress(_change_grey(blurred, seeds[1]), seeds[2])


def _blur(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    (chosen,) = _uniforms(seed, 1, (tf.shape(images)[0], 1, 1, 1))
    line = tf.constant(_BINOMIAL)
    kernel = (line[:, None] * line[None, :])[:, :, None, None]
    blurred = tf.nn.conv2d(images, kernel, strides=1, padding="SAME")
    return tf.where(chosen < 2 * BLURRED - 1, blurred, images)


def _compress(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Some of the slices as they come out of a JPEG file of some quality."""
    chosen, drawn = _uniforms(seed, 2, (tf.shape(images)[0],))
    span = HIGHEST_QUALITY - LOWEST_QUALITY
    quality = LOWEST_QUALITY + tf.cast((drawn + 1) / 2 * span, tf.int32)

    def one(parts: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, is_chosen, its_quality = parts
        return tf.cond(is_chosen, lambda: _through_jpeg(image, its_quality), lambda: image)

    return tf.map_fn(
        one, (images, chosen < 2 * BLURRED - 1, quality), fn_output_signature=tf.float32
    )


def _through_jpeg(image: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    whole = tf.cast(tf.round(image), tf.uint8)
    three = tf.image.grayscale_to_rgb(whole)
    decoded = tf.io.decode_jpeg(tf.raw_ops.EncodeJpegVariableQuality(images=three, quality=quality))
    return tf.ensure_shape(tf.cast(decoded[:, :, :1], tf.float32), image.shape)


def move(images: tf.Tensor, seed: tf.Tensor, reach: Reach = NEAR) -> tf.Tensor:
    """Each picture, float32 (n, size, size, channels), flipped or not, turned, shifted, zoomed,
    and stretched if that is in reach. ``seed`` is two integers.
    """
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=_transforms(tf.shape(images)[0], tf.shape(images)[1], seed, reach),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(moved, images.shape)


def _transforms(count: tf.Tensor, size: tf.Tensor, seed: tf.Tensor, reach: Reach) -> tf.Tensor:
    """Maps from output to input pixels about the centre: (n, 8), as the operation wants them."""
    side = tf.cast(size, tf.float32)
    # A sixth number only where it is used: the others are the same without it.
    drawn = _uniforms(seed, 6 if reach.stretch else 5, (count,))
    flip, turn, zoom, across, down = drawn[:5]
    angle = turn * reach.turn
    scale = tf.exp(zoom * math.log1p(reach.zoom))
    stretch = tf.exp(drawn[5] * math.log1p(reach.stretch) / 2) if reach.stretch else 1.0
    wide, high = scale * stretch * tf.where(flip > 0, 1.0, -1.0), scale / stretch
    a, b = tf.cos(angle) * wide, -tf.sin(angle) * high
    c, d = tf.sin(angle) * wide, tf.cos(angle) * high
    centre = (side - 1) / 2
    right = centre * (1 - a - b) + across * reach.shift * side
    below = centre * (1 - c - d) + down * reach.shift * side
    nothing = tf.zeros_like(a)
    return tf.stack([a, b, right, c, d, below, nothing, nothing], axis=1)


def _change_grey(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    seeds = tf.unstack(tf.random.split(seed, 2))
    contrast, brightness, gamma, noise = _uniforms(seeds[0], 4, (tf.shape(images)[0], 1, 1, 1))
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    changed = mean + (images - mean) * (1 + contrast * MAX_CONTRAST)
    changed = _clipped(changed + brightness * MAX_BRIGHTNESS * 255)
    changed = 255 * tf.pow(changed / 255, tf.exp(gamma * math.log(MAX_GAMMA)))
    grain = tf.random.stateless_normal(tf.shape(images), seeds[1])
    return _clipped(changed + tf.abs(noise) * MAX_NOISE * grain)


def _uniforms(seed: tf.Tensor, count: int, shape: tuple[object, ...]) -> list[tf.Tensor]:
    """``count`` tensors of numbers between -1 and 1."""
    drawn = tf.random.stateless_uniform((count, *shape), seed, minval=-1.0, maxval=1.0)
    return list(tf.unstack(drawn))


def _clipped(images: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(images, 0.0, 255.0)
