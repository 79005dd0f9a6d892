"""Whatever the picture, the model sees the head, upright in brightness, on a black square."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.imaging.preprocess import SquareGeometry, head_geometry, prepare

SIDES = st.integers(1, 60)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)


def full(height: int, width: int, value: int = 255) -> NDArray[np.uint8]:
    return np.full((height, width), value, np.uint8)


def head_in(picture: tuple[int, int], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """A black picture with noise in a box (left, top, right, bottom)."""
    grey = np.zeros(picture, np.uint8)
    left, top, right, bottom = box
    grey[top:bottom, left:right] = np.maximum(noise(bottom - top, right - left), 60)
    return grey


@settings(deadline=None)
@given(height=SIDES, width=SIDES, size=st.integers(1, 40))
def test_any_picture_becomes_one_grey_square(height: int, width: int, size: int) -> None:
    pixels = prepare(noise(height, width), size).pixels
    assert pixels.shape == (size, size, 1)
    assert pixels.dtype == np.float32
    assert pixels.min() >= 0
    assert pixels.max() <= 255


@pytest.mark.parametrize("value", [0, 3, 128, 255])
def test_a_picture_of_one_grey_is_no_error(value: int) -> None:
    prepared = prepare(full(30, 20, value), 16)
    assert prepared.geometry == SquareGeometry(x0=0, y0=0, width=20, height=30)
    assert np.isfinite(prepared.pixels).all()


def test_margins_are_cropped() -> None:
    grey = head_in((100, 80), (10, 20, 60, 90))
    assert head_geometry(grey) == SquareGeometry(x0=10, y0=20, width=50, height=70)


def test_faint_noise_and_letters_on_the_margin_are_no_head() -> None:
    grey = head_in((200, 200), (50, 50, 150, 150))
    grey[:50] += np.random.default_rng(1).integers(0, 8, (50, 200), np.uint8)
    grey[10:14, 20:26] = 255
    assert head_geometry(grey) == SquareGeometry(x0=50, y0=50, width=100, height=100)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), SIDES, SIDES, st.integers(1, 2))
def test_a_head_is_cropped_and_stretched_by_its_sorted_pixels(
    seed: int, height: int, width: int, step: int
) -> None:
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, (height, width), np.uint8) * (rng.random((height, width)) < 0.3)
    grey = grey[::step, ::step]
    bright = grey > max(10, 0.1 * share_of(grey, 0.99))
    rows = np.flatnonzero(bright.mean(axis=1) > 0.04)
    columns = np.flatnonzero(bright.mean(axis=0) > 0.04)
    found = prepare(grey, head_geometry(grey).side)
    if len(rows) and len(columns):
        grey = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (found.geometry.height, found.geometry.width) == grey.shape
    black, white = share_of(grey, 0.01), share_of(grey, 0.995)
    black, white = (min(black, 60), white) if white - black >= 16 else (0, 255)
    scale = np.float32(255 / max(white - black, 1))
    stretched = np.rint(np.clip((grey.astype(np.float32) - black) * scale, 0, 255))
    x, y, width, height = found.geometry.place(found.geometry.side)
    assert (found.pixels[y : y + height, x : x + width, 0] == stretched).all()


def share_of(grey: NDArray[np.uint8], share: float) -> int:
    """The grey value that this share of the pixels do not exceed."""
    ordered = np.sort(grey, axis=None)
    return int(ordered[max(math.ceil(share * grey.size) - 1, 0)])


def test_the_margin_a_source_adds_changes_nothing() -> None:
    head = np.maximum(noise(64, 64), 60)
    framed = np.pad(head, ((10, 40), (25, 0)))
    np.testing.assert_allclose(prepare(framed, 64).pixels, prepare(head, 64).pixels, atol=3)


@pytest.mark.parametrize("factor", [0.4, 0.8])
def test_brightness_is_taken_out(factor: float) -> None:
    head = head_in((64, 64), (8, 8, 56, 56))
    dimmed = np.rint(head * factor).astype(np.uint8)
    np.testing.assert_allclose(prepare(dimmed, 48).pixels, prepare(head, 48).pixels, atol=6)


def test_the_darkest_tissue_of_a_head_without_background_is_not_black() -> None:
    tissue = np.linspace(100, 200, 64 * 64).reshape(64, 64).astype(np.uint8)
    assert prepare(tissue, 64).pixels.min() > 20


def test_a_wide_head_has_black_above_and_below() -> None:
    pixels = prepare(np.maximum(noise(20, 40), 60), 40).pixels[:, :, 0]
    assert pixels[:10].max() == 0
    assert pixels[30:].max() == 0
    assert pixels[10:30].mean() > 60


def test_a_tall_head_has_black_on_both_sides() -> None:
    pixels = prepare(np.maximum(noise(40, 20), 60), 40).pixels[:, :, 0]
    assert pixels[:, :10].max() == 0
    assert pixels[:, 30:].max() == 0


def test_fine_stripes_become_grey_rather_than_false_patterns() -> None:
    stripes = np.tile(np.array([60, 255], np.uint8), (64, 32))
    assert np.ptp(prepare(stripes, 16).pixels[2:-2, 2:-2]) < 30


def test_the_same_picture_gives_the_same_numbers() -> None:
    grey = noise(50, 40)
    np.testing.assert_array_equal(prepare(grey, 32).pixels, prepare(grey.copy(), 32).pixels)


def test_the_picture_itself_is_left_alone() -> None:
    grey = noise(50, 40)
    before = grey.copy()
    prepare(grey, 32)
    np.testing.assert_array_equal(grey, before)


def test_a_thin_picture_needs_no_square_of_its_length() -> None:
    # Its own square would have a billion pixels.
    assert prepare(full(16, 2**15), 32).pixels.shape == (32, 32, 1)
