"""What a segmenter learns from: pixels by cross-entropy, regions by their overlap.

Milletari, Navab and Ahmadi, 3DV 2016, "V-Net", for the Dice loss; the sum of both is that of
Isensee et al., Nature Methods 2021, "nnU-Net".
"""

from typing import Final

import tensorflow as tf

_HALF: Final = 0.5
_SMOOTH: Final = 1.0
"""Pixels: keeps the overlap of small lesions from jumping."""


def mask_losses(logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """The loss (n,) of each slice; ``logits`` and ``masks``, 0..1: (n, size, size, 1).

    A slice without tumour has no overlap to learn: its loss is its cross-entropy.
    """
    pixels = tf.nn.sigmoid_cross_entropy_with_logits(masks, logits)
    entropy = tf.reduce_mean(pixels, axis=(1, 2, 3))
    overlap = soft_dice(tf.sigmoid(logits), masks)
    has_tumour = tf.cast(tf.reduce_max(masks, axis=(1, 2, 3)) > 0, tf.float32)
    return entropy + has_tumour * (1 - overlap)


def soft_dice(probabilities: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """The Dice coefficient (n,) of each slice, 0..1, with probabilities for pixels."""
    shared = tf.reduce_sum(probabilities * masks, axis=(1, 2, 3))
    both = tf.reduce_sum(probabilities + masks, axis=(1, 2, 3))
    return (2 * shared + _SMOOTH) / (both + _SMOOTH)


def hard_dice(logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """The Dice coefficient (n,) of each slice with what is more likely tumour than not.

    Of a slice without tumour it is 1 if nothing was found, else 0.
    """
    found, true = (tf.cast(part, tf.float32) for part in (logits > 0, masks >= _HALF))
    shared = tf.reduce_sum(found * true, axis=(1, 2, 3))
    both = tf.reduce_sum(found + true, axis=(1, 2, 3))
    return tf.where(both > 0, 2 * shared / tf.maximum(both, 1.0), 1.0)
