"""Healthy slices that are given a tumour, and tumour slices whose tumour is taken away.

Public data sets take slices with and without a tumour from different places, so that a network can
learn the place instead of the tumour, and finds none in a picture from elsewhere. A slice that is
changed so has another label and still looks like its source: nothing but the tumour tells them
apart. For the training stream only, where slices have masks.

Kaushik, Hovy and Lipton, ICLR 2020, "Learning the Difference that Makes a Difference with
Counterfactually-Augmented Data"; tumours are pasted as in Yang et al., MICCAI 2021, "TumorCP: A
Simple but Effective Object-Level Data Augmentation for Tumor Segmentation".
"""

from typing import Final

import tensorflow as tf

from core.labels import LABELS, TumourLabel
from workers.learning.augmentation import move

_HEALTHY: Final = LABELS.index(TumourLabel.NO_TUMOR)
_SMALLEST: Final = 0.001
"""A tumour with a smaller share of the picture is too small to be moved or taken away."""
_LARGEST: Final = 0.1
"""One with a larger share has changed what is around it: without it the slice is not healthy."""
_DARK: Final = 16.0
"""Grey values up to this are outside of the head."""
_INSIDE: Final = 0.8
"""At least this share of a tumour's place must be inside the head."""
_MIRRORED: Final = 0.1
"""At most this share of a tumour's place may lie opposite to tumour."""
_FAR: Final = -1e9
"""A logit that is never drawn."""

Labelled = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
"""Pictures, masks and labels."""


def change_some(
    images: tf.Tensor, masks: tf.Tensor, labels: tf.Tensor, share: float, seed: tf.Tensor
) -> Labelled:
    """Take the tumour away from about ``share`` of the slices with a mask, and give one to about
    as large a share of the healthy ones, where there is a place for it.

    ``images`` are float32 (n, size, size, 1) of 0..255, ``masks`` alike of 0..1, ``labels`` (n,)
    into ``LABELS``; ``share`` is 0..1 and ``seed`` two integers. All three come back, changed
    together: a mask is where its slice's tumour is now.
    """
    seeds = tf.unstack(tf.random.split(seed, 2))
    healed = _take_away(images, masks, labels, share, seeds[0])
    return _give(*healed, share, seeds[1])


def _take_away(
    images: tf.Tensor, masks: tf.Tensor, labels: tf.Tensor, share: float, seed: tf.Tensor
) -> Labelled:
    """In the tumour's place comes what is opposite to it, in the other half of the brain."""
    near, around = _widened(masks, 2), _widened(masks, 3)
    opposite = tf.reverse(images, [2])
    chosen = (
        _drawn(share, tf.shape(labels), seed)
        & _is_of_size(masks)
        & (_share_of(around, tf.reverse(around, [2])) < _MIRRORED)
        & (_share_of(around, _inside(opposite)) > _INSIDE)
    )
    changed = _blended(images, opposite, _softened(near))
    return (
        _where(chosen, changed, images),
        _where(chosen, tf.zeros_like(masks), masks),
        tf.where(chosen, tf.cast(_HEALTHY, labels.dtype), labels),
    )


def _give(
    images: tf.Tensor, masks: tf.Tensor, labels: tf.Tensor, share: float, seed: tf.Tensor
) -> Labelled:
    """A tumour of another slice of the batch, moved, and more or less as bright as its new
    surroundings would have it."""
    seeds = tf.unstack(tf.random.split(seed, 4))
    can_give = tf.reduce_mean(masks, axis=(1, 2, 3)) > _SMALLEST
    logits = tf.where(can_give, 0.0, _FAR)[None]
    givers = tf.random.stateless_categorical(logits, tf.shape(labels)[0], seeds[0])[0]
    moved = move(tf.concat([tf.gather(images, givers), tf.gather(masks, givers)], 3), seeds[1])
    tumour, place = moved[..., :1], moved[..., 1:]
    chosen = (
        _drawn(share, tf.shape(labels), seeds[2])
        & (labels == _HEALTHY)
        & tf.reduce_any(can_give)
        & (tf.reduce_mean(place, axis=(1, 2, 3)) > _SMALLEST)
        & (_share_of(place, _inside(images)) > _INSIDE)
    )
    ring = _widened(place, 2) - place
    brighter = tf.math.divide_no_nan(
        tf.reduce_sum(ring * (images - tumour), axis=(1, 2, 3), keepdims=True),
        tf.reduce_sum(ring, axis=(1, 2, 3), keepdims=True),
    )
    adapted = tf.random.stateless_uniform((tf.shape(labels)[0], 1, 1, 1), seeds[3]) * brighter
    fitting = tf.clip_by_value(tumour + adapted, 0.0, 255.0)
    changed = _blended(images, fitting, _softened(_widened(place, 1)))
    return (
        _where(chosen, changed, images),
        _where(chosen, place, masks),
        tf.where(chosen, tf.gather(labels, givers), labels),
    )


def _drawn(share: float, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed) < share


def _is_of_size(masks: tf.Tensor) -> tf.Tensor:
    area = tf.reduce_mean(masks, axis=(1, 2, 3))
    return (area > _SMALLEST) & (area < _LARGEST)


def _inside(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(images > _DARK, tf.float32)


def _share_of(places: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
    """The share of each place's pixels that are also there: (n,)."""
    both = tf.reduce_sum(places * where, axis=(1, 2, 3))
    return tf.math.divide_no_nan(both, tf.reduce_sum(places, axis=(1, 2, 3)))


def _window(masks: tf.Tensor, times: int) -> int:
    """An odd number of pixels: that many times a ninety-sixth of the side to each side."""
    side: int = masks.shape[1]
    return 2 * max(1, round(times * side / 96)) + 1


def _widened(masks: tf.Tensor, times: int) -> tf.Tensor:
    return tf.nn.max_pool2d(masks, _window(masks, times), 1, "SAME")


def _softened(masks: tf.Tensor) -> tf.Tensor:
    return tf.nn.avg_pool2d(masks, _window(masks, 1), 1, "SAME")


def _blended(images: tf.Tensor, others: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return images * (1 - share) + others * share


def _where(chosen: tf.Tensor, yes: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
    return tf.where(chosen[:, None, None, None], yes, no)
