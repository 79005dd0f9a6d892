"""A slice that is given a tumour, or loses its own, keeps its source and changes its label."""

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from core.labels import LABELS, TumourLabel
from workers.learning.counterfactuals import change_some

SIZE = 48
HEALTHY = LABELS.index(TumourLabel.NO_TUMOR)
GLIOMA = LABELS.index(TumourLabel.GLIOMA)
MENINGIOMA = LABELS.index(TumourLabel.MENINGIOMA)
PITUITARY = LABELS.index(TumourLabel.PITUITARY)
HEAD = slice(4, 44)
SEEDS = [tf.constant([number, 1], tf.int64) for number in range(5)]

Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


def a_slice(
    shade: float, at: tuple[int, int] | None = None, side: int = 6, label: int = MENINGIOMA
) -> Arrays:
    """A head of one shade, with a bright square tumour in it if that is somewhere."""
    image = np.zeros((1, SIZE, SIZE, 1), np.float32)
    mask = np.zeros_like(image)
    image[0, HEAD, HEAD] = shade
    if at is not None:
        place = (0, slice(at[0], at[0] + side), slice(at[1], at[1] + side))
        image[place] = 220
        mask[place] = 1
    return image, mask, np.array([label if at else HEALTHY])


def a_batch(*slices: Arrays) -> Arrays:
    images, masks, labels = zip(*slices, strict=True)
    return np.concatenate(images), np.concatenate(masks), np.concatenate(labels)


def changed(batch: Arrays, share: float = 1.0, seed: tf.Tensor = SEEDS[0]) -> Arrays:
    images, masks, labels = map(tf.constant, batch)
    found = change_some(images, masks, labels, share, seed)
    images, masks, labels = (part.numpy() for part in found)
    assert images.shape == batch[0].shape
    assert images.min() >= 0
    assert images.max() <= 255
    return images, masks, labels


ONE_SIDED = a_slice(100, (20, 10))
MIDDLE = a_slice(100, (20, 21))
"""Opposite to it is tumour, too."""


def test_a_tumour_is_taken_away() -> None:
    images, masks, labels = changed(a_batch(ONE_SIDED))
    assert labels.tolist() == [HEALTHY]
    assert masks.max() == 0
    np.testing.assert_allclose(images[0, HEAD, HEAD], 100)


@pytest.mark.parametrize(
    "kept",
    [
        MIDDLE,
        a_slice(100, (10, 6), side=16),
        a_slice(100, (20, 10), side=1),
        a_slice(100, (20, 10), label=GLIOMA),
    ],
    ids=["in the middle", "too large", "too small", "glioma"],
)
def test_what_would_leave_traces_is_not_taken_away(kept: Arrays) -> None:
    for found, given in zip(changed(kept), kept, strict=True):
        np.testing.assert_array_equal(found, given)


@pytest.mark.parametrize("seed", SEEDS, ids=str)
def test_a_healthy_slice_is_given_a_tumour_where_its_mask_says(seed: tf.Tensor) -> None:
    images, masks, labels = changed(a_batch(ONE_SIDED, a_slice(60)), seed=seed)
    assert labels.tolist() == [HEALTHY, MENINGIOMA]
    tumour = masks[1, ..., 0] > 0.99
    assert tumour.sum() > 10
    assert images[1, ..., 0][tumour].mean() > 60 + 50
    far = tf.nn.max_pool2d(masks[1:], 9, 1, "SAME").numpy()[0, ..., 0] == 0
    np.testing.assert_allclose(images[1, ..., 0][far], a_slice(60)[0][0, ..., 0][far])


@pytest.mark.parametrize("seed", SEEDS, ids=str)
def test_a_tumour_of_the_pituitary_is_given_to_nobody(seed: tf.Tensor) -> None:
    sideways = a_slice(100, (20, 10), label=PITUITARY)
    batch = a_batch(sideways, MIDDLE, *[a_slice(60)] * 8)
    assert set(changed(batch, seed=seed)[2].tolist()) <= {HEALTHY, MENINGIOMA}
    alone = a_batch(sideways, *[a_slice(60)] * 8)
    assert set(changed(alone, seed=seed)[2].tolist()) == {HEALTHY}


def test_a_tumour_is_not_put_outside_of_the_head() -> None:
    small = np.zeros((1, SIZE, SIZE, 1), np.float32)
    small[0, :8, :8] = 60
    batch = a_batch(ONE_SIDED, (small, np.zeros_like(small), np.array([HEALTHY])))
    images, masks, labels = changed(batch)
    assert labels.tolist() == [HEALTHY, HEALTHY]
    np.testing.assert_array_equal(images[1], small[0])
    assert masks[1].max() == 0


def test_without_masks_nothing_is_changed() -> None:
    batch = a_batch(a_slice(60), a_slice(90))
    for found, given in zip(changed(batch), batch, strict=True):
        np.testing.assert_array_equal(found, given)


def test_a_share_of_them_is_changed_and_as_many_are_given_one() -> None:
    batch = a_batch(*[ONE_SIDED] * 200, *[a_slice(60)] * 400)
    labels = changed(batch, share=0.3)[2]
    taken, given = (labels[:200] == HEALTHY).sum(), (labels[200:] != HEALTHY).sum()
    assert 40 < taken < 80
    assert 0.6 * taken < given < 1.4 * taken


def test_the_same_seed_gives_the_same_and_another_gives_another() -> None:
    batch = a_batch(*[ONE_SIDED] * 4, *[a_slice(60)] * 4)
    first = changed(batch)
    np.testing.assert_array_equal(first[0], changed(batch)[0])
    assert np.abs(first[0] - changed(batch, seed=SEEDS[1])[0]).max() > 1


def test_sizes_of_any_batch_and_picture_go_through_a_graph() -> None:
    graph = tf.function(change_some)
    for side in (32, 96):
        images = tf.zeros((3, side, side, 1))
        found = graph(images, images, tf.zeros(3, tf.int64), 0.5, SEEDS[0])
        assert found[0].shape == (3, side, side, 1)
