"""Small changes to slices that leave their label alone, for the training stream only.

Every random number comes from the seed that is passed in, none from state: the same seed gives
the same batch, whichever thread makes it and however often the job was interrupted before.
"""

import math
from typing import Final

import tensorflow as tf

MAX_TURN: Final = math.radians(15)
MAX_SHIFT: Final = 0.1
"""Share of the side."""
MAX_ZOOM: Final = 0.1
MAX_BRIGHTNESS: Final = 0.15
"""Share of 255."""
MAX_CONTRAST: Final = 0.2
MAX_GAMMA: Final = 1.25
MAX_NOISE: Final = 5.0
"""Largest deviation of the noise, in grey values."""


def augment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Each of ``images``, float32 (n, size, size, 1) of 0..255, changed in its own way.

    A left-right flip of every other one, turn, shift and zoom in a single resampling; then
    contrast, brightness, gamma and noise. ``seed`` is two integers.
    """
    seeds = tf.unstack(tf.random.split(seed, 2))
    return _change_grey(_move(images, seeds[0]), seeds[1])


def _move(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=_transforms(tf.shape(images)[0], images.shape[1], seed),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def _transforms(count: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Maps from output to input pixels about the centre: (n, 8), as the operation wants them."""
    flip, turn, zoom, across, down = _uniforms(seed, 5, (count,))
    angle = turn * MAX_TURN
    scale = tf.exp(zoom * math.log1p(MAX_ZOOM))
    mirror = tf.where(flip > 0, 1.0, -1.0)
    a, b = tf.cos(angle) * scale * mirror, -tf.sin(angle) * scale
    c, d = tf.sin(angle) * scale * mirror, tf.cos(angle) * scale
    centre = (size - 1) / 2
    right = centre * (1 - a - b) + across * MAX_SHIFT * size
    below = centre * (1 - c - d) + down * MAX_SHIFT * size
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
