"""The segmenter's loss falls as masks agree."""

import numpy as np
import tensorflow as tf

from workers.learning.mask_loss import mask_losses, soft_dice


def masks() -> tf.Tensor:
    """One slice with tumour, one without."""
    found = np.zeros((2, 8, 8, 1), np.float32)
    found[0, 2:5, 2:6] = 1
    return tf.constant(found)


def test_perfect_answers_cost_next_to_nothing() -> None:
    logits = (masks() * 2 - 1) * 20
    np.testing.assert_allclose(mask_losses(logits, masks()), [0, 0], atol=1e-6)


def test_a_missed_tumour_costs_its_whole_overlap() -> None:
    lost, healthy = mask_losses(tf.fill(masks().shape, -20.0), masks()).numpy()
    assert lost > 0.9
    assert healthy < 1e-6


def test_a_slice_without_tumour_pays_for_what_it_finds() -> None:
    some = np.full((2, 8, 8, 1), -20.0, np.float32)
    some[1, 0, 0] = 20
    assert mask_losses(tf.constant(some), masks()).numpy()[1] > 0.1


def test_overlap_is_between_nothing_and_everything() -> None:
    np.testing.assert_allclose(soft_dice(masks(), masks()), [1, 1])
    assert soft_dice(1 - masks(), masks()).numpy()[0] < 0.02


def test_every_pixel_has_a_gradient() -> None:
    logits = tf.Variable(tf.zeros((2, 8, 8, 1)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(mask_losses(logits, masks()))
    gradient = tape.gradient(loss, logits).numpy()
    assert (gradient[0, 2:5, 2:6] < 0).all()
    assert (gradient[1] > 0).all()
