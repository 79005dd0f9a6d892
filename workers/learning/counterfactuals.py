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
_GLIOMA: Final = LABELS.index(TumourLabel.GLIOMA)
_PITUITARY: Final = LABELS.index(TumourLabel.PITUITARY)
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
"""Pictures, masks and labels of n slices."""


def change_some(
    images: tf.Tensor, masks: tf.Tensor, labels: tf.Tensor, share: float, seed: tf.Tensor
) -> Labelled:
    """Take the tumour away from about ``share`` of the slices where that can be done, and give one
    to about as many healthy slices, so that these are about as many as before. Of the kinds of
    tumour there are then somewhat more gliomas, which give and do not lose.

    ``images`` are float32 (n, size, size, 1) of 0..255, ``masks`` alike of 0..1, ``labels`` (n,)
    into ``LABELS``; ``share`` is 0..1 and ``seed`` two integers. All three come back, changed
    together: a mask is where its slice's tumour is now.
    """
    seeds = tf.unstack(tf.random.split(seed, 4))
    can_lose = _can_lose(images, masks, labels)
    loses = can_lose & (tf.random.stateless_uniform(tf.shape(labels), seeds[0]) < share)
    tumours, places, kinds = _givers(images, masks, labels, seeds[1])
    can_get = (labels == _HEALTHY) & _fits(places, images)
    gets = can_get & _as_many_as(loses, can_get, seeds[2])
    healed, given = _healed(images, masks), _given(images, tumours, places, seeds[3])
    return (
        _where(loses, healed, _where(gets, given, images)),
        _where(loses, tf.zeros_like(masks), _where(gets, places, masks)),
        tf.where(loses, tf.cast(_HEALTHY, labels.dtype), tf.where(gets, kinds, labels)),
    )


def _can_lose(images: tf.Tensor, masks: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Tumours that leave no traces: (n,).

    No glioma, whose mask leaves out the oedema around it; none that has pushed much aside, and none
    that lies opposite to tumour or to what is outside of the head.
    """
    area = tf.reduce_mean(masks, axis=(1, 2, 3))
    around = _widened(masks, 3)
    return (
        (labels != _GLIOMA)
        & (area > _SMALLEST)
        & (area < _LARGEST)
        & (_share_of(around, tf.reverse(around, [2])) < _MIRRORED)
        & (_share_of(around, _inside(tf.reverse(images, [2]))) > _INSIDE)
    )


def _healed(images: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """In the tumour's place comes what is opposite to it, in the other half of the brain."""
    return _blended(images, tf.reverse(images, [2]), _softened(_widened(masks, 2)))


def _givers(images: tf.Tensor, masks: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Labelled:
    """For each slice another one of the batch with a tumour, moved; with an empty mask where there
    is none.

    No tumour of the pituitary, which is one by where it is.
    """
    seeds = tf.unstack(tf.random.split(seed, 2))
    can_give = (tf.reduce_mean(masks, axis=(1, 2, 3)) > _SMALLEST) & (labels != _PITUITARY)
    logits = tf.where(can_give, 0.0, _FAR)[None]
    givers = tf.random.stateless_categorical(logits, tf.shape(labels)[0], seeds[0])[0]
    moved = move(tf.concat([tf.gather(images, givers), tf.gather(masks, givers)], 3), seeds[1])
    places = moved[..., 1:] * tf.cast(tf.reduce_any(can_give), tf.float32)
    return moved[..., :1], places, tf.gather(labels, givers)


def _fits(places: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Whether there is a place, and it lies inside the head: (n,)."""
    found = tf.reduce_mean(places, axis=(1, 2, 3)) > _SMALLEST
    return found & (_share_of(places, _inside(images)) > _INSIDE)


def _as_many_as(others: tf.Tensor, candidates: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws so that about as many of the candidates are chosen as there are others: (n,)."""
    counts = [tf.reduce_sum(tf.cast(chosen, tf.float32)) for chosen in (others, candidates)]
    share = tf.math.divide_no_nan(counts[0], counts[1])
    return tf.random.stateless_uniform(tf.shape(candidates), seed) < share


def _given(images: tf.Tensor, tumours: tf.Tensor, places: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """With a tumour more or less as bright as its new surroundings would have it."""
    ring = _widened(places, 2) - places
    brighter = tf.math.divide_no_nan(
        tf.reduce_sum(ring * (images - tumours), axis=(1, 2, 3), keepdims=True),
        tf.reduce_sum(ring, axis=(1, 2, 3), keepdims=True),
    )
    adapted = tf.random.stateless_uniform((tf.shape(images)[0], 1, 1, 1), seed) * brighter
    fitting = tf.clip_by_value(tumours + adapted, 0.0, 255.0)
    return _blended(images, fitting, _softened(_widened(places, 1)))


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
