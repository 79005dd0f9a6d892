"""Augmented slices stay slices, differ from each other, and can be had again."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import beta, kstest

from tests.fakes.learning import SIZE, some_slices
from workers.learning import augmentation
from workers.learning.augmentation import (
    FAR,
    NEAR,
    Reach,
    augment,
    augment_with_masks,
    mix,
    move,
)


@pytest.fixture
def images() -> tf.Tensor:
    return tf.constant(some_slices(4).pixels, tf.float32)


def test_shape_and_range_stay(images: tf.Tensor) -> None:
    changed = augment(images, tf.constant([1, 2], tf.int64)).numpy()

    assert changed.shape == images.shape
    assert changed.dtype == np.float32
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert not np.isnan(changed).any()


def test_the_same_seed_gives_the_same_and_another_gives_another(images: tf.Tensor) -> None:
    first = augment(images, tf.constant([1, 2], tf.int64)).numpy()

    np.testing.assert_array_equal(first, augment(images, tf.constant([1, 2], tf.int64)).numpy())
    assert np.abs(first - augment(images, tf.constant([1, 3], tf.int64)).numpy()).mean() > 1


def test_slices_of_a_batch_are_changed_differently(images: tf.Tensor) -> None:
    same = tf.repeat(images[:1], 8, axis=0)

    changed = augment(same, tf.constant([0, 0], tf.int64)).numpy()

    assert len(np.unique(changed.reshape(8, -1), axis=0)) == 8


@pytest.fixture
def same_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_BRIGHTNESS", "MAX_CONTRAST", "MAX_NOISE", "BLURRED"):
        monkeypatch.setattr(augmentation, name, 0.0)
    monkeypatch.setattr(augmentation, "MAX_GAMMA", 1.0)


@pytest.mark.usefixtures("same_looks")
def test_flips_are_left_to_right_and_exact() -> None:
    slope = tf.broadcast_to(tf.range(float(SIZE))[None, None, :, None], (32, SIZE, SIZE, 1))
    mirrored = slope[:, :, ::-1]

    changed = augment(slope, tf.constant([5, 6], tf.int64), Reach(turn=0.0, shift=0.0, zoom=0.0))

    as_it_was = tf.reduce_max(tf.abs(changed - slope), axis=(1, 2, 3)).numpy() < 1e-3
    turned_round = tf.reduce_max(tf.abs(changed - mirrored), axis=(1, 2, 3)).numpy() < 1e-3
    assert (as_it_was ^ turned_round).all()
    assert 5 < turned_round.sum() < 27


def test_moves_keep_the_middle_in_sight() -> None:
    dot = np.zeros((64, 32, 32, 1), np.float32)
    dot[:, 13:19, 13:19] = 200

    changed = augment(tf.constant(dot), tf.constant([7, 8], tf.int64)).numpy()

    weight = np.maximum(changed[..., 0] - 60, 0)
    rows, columns = np.mgrid[:32, :32]
    down = (weight * rows).sum((1, 2)) / weight.sum((1, 2)) - 15.5
    across = (weight * columns).sum((1, 2)) / weight.sum((1, 2)) - 15.5
    limit = 32 * NEAR.shift * (1 + NEAR.zoom) * 2**0.5 + 1
    assert np.abs(down).max() < limit
    assert np.abs(across).max() < limit
    assert np.abs(down).max() > 1.5, "some are moved"


def test_what_is_in_reach_is_stretched() -> None:
    square = np.zeros((64, 48, 48, 1), np.float32)
    square[:, 16:32, 16:32] = 1
    only = Reach(turn=0.0, shift=0.0, zoom=0.0, stretch=0.5)

    moved = move(tf.constant(square), tf.constant([1, 2], tf.int64), only).numpy()

    ratios = moved.max(1).sum((1, 2)) / moved.max(2).sum((1, 2))
    assert 1.4 < ratios.max() < 1.6
    assert 1.4 < (1 / ratios).max() < 1.6


@pytest.mark.usefixtures("same_looks")
@pytest.mark.parametrize("reach", [NEAR, FAR])
def test_a_mask_moves_as_its_slice_does(reach: Reach) -> None:
    masks = np.zeros((6, 64, 64, 1), np.float32)
    masks[:, 20:34, 12:30] = 1

    images, moved = augment_with_masks(
        tf.constant(masks * 255), tf.constant(masks), tf.constant([3, 4], tf.int64), reach
    )

    np.testing.assert_allclose(images.numpy() / 255, moved.numpy(), atol=1e-5)
    assert np.abs(moved.numpy() - masks).max() > 0.5


def test_a_slice_is_augmented_alike_with_a_mask_and_without(images: tf.Tensor) -> None:
    seed = tf.constant([5, 6], tf.int64)

    with_mask, _ = augment_with_masks(images, tf.zeros_like(images), seed)

    np.testing.assert_array_equal(with_mask.numpy(), augment(images, seed).numpy())


@pytest.mark.parametrize("alpha", [0.001, 0.02, 0.2, 1.0, 2.0])
def test_slices_are_mixed_by_shares_of_a_beta_distribution(alpha: float) -> None:
    lit = tf.constant([1.0, 0.0])[:, None]  # so the first of a mixed batch is its weight
    seeds = tf.constant([[7, n] for n in range(2000)], tf.int64)

    data = tf.data.Dataset.from_tensor_slices(seeds).map(lambda s: mix(lit, lit, alpha, s)[0][0, 0])
    drawn = np.array(list(data.as_numpy_iterator()))

    assert np.isfinite(drawn).all()
    if alpha > 0.1:  # float32 has no numbers near 1 as it has near 0
        assert kstest(drawn, beta(alpha, alpha).cdf).pvalue > 0.001
    off = np.minimum(drawn, 1 - drawn)
    assert (off < 0.01).mean() == pytest.approx(2 * beta(alpha, alpha).cdf(0.01), abs=0.04)
    assert drawn.mean() == pytest.approx(0.5, abs=0.04)


def test_a_seed_mixes_the_same_way_again(images: tf.Tensor) -> None:
    seed = tf.constant([5, 6], tf.int64)

    first, _ = mix(images, images, 0.2, seed)

    np.testing.assert_array_equal(first, mix(images, images, 0.2, seed)[0])
    assert np.abs(first - mix(images, images, 0.2, tf.constant([5, 7], tf.int64))[0]).max() > 0
