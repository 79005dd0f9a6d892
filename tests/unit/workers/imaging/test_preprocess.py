"""A picture keeps its shape and its brightness on the way into the model's square."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.imaging.preprocess import SquareGeometry, prepare

sides = st.integers(16, 120)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)


def full(height: int, width: int, value: int = 255) -> NDArray[np.uint8]:
    return np.full((height, width), value, np.uint8)


@settings(deadline=None)
@given(height=sides, width=sides, size=sides)
def test_any_picture_becomes_one_grey_square(height: int, width: int, size: int) -> None:
    prepared = prepare(noise(height, width), size)
    assert prepared.shape == (size, size, 1)
    assert prepared.dtype == np.float32
    assert prepared.min() >= 0
    assert prepared.max() <= 255


def test_a_square_of_the_right_size_is_untouched() -> None:
    pixels = noise(32, 32)
    np.testing.assert_array_equal(prepare(pixels, 32)[:, :, 0], pixels)


def test_black_is_0_and_white_is_255() -> None:
    assert (prepare(full(50, 50, 0), 32) == 0).all()
    assert (prepare(full(50, 50), 32) == 255).all()


@pytest.mark.parametrize("size", [16, 64, 224])
def test_resizing_keeps_brightness(size: int) -> None:
    assert (prepare(full(100, 100, 77), size) == 77).all()


def test_a_wide_picture_has_black_above_and_below() -> None:
    prepared = prepare(full(16, 32), 32)[:, :, 0]
    assert (prepared[8:24] == 255).all()
    assert not prepared[:8].any()
    assert not prepared[24:].any()


def test_a_tall_picture_has_black_on_both_sides() -> None:
    prepared = prepare(full(32, 16), 32)[:, :, 0]
    assert (prepared[:, 8:24] == 255).all()
    assert not prepared[:, :8].any()
    assert not prepared[:, 24:].any()


def test_an_odd_margin_is_wider_on_the_right() -> None:
    prepared = prepare(full(32, 17), 32)[:, :, 0]
    assert prepared.any(axis=0).tolist() == [False] * 7 + [True] * 17 + [False] * 8


@pytest.mark.parametrize(("height", "width"), [(64, 128), (128, 64), (128, 128)])
def test_shapes_are_not_stretched(height: int, width: int) -> None:
    pixels = full(height, width, 0)
    pixels[16:48, 16:48] = 255
    lit = prepare(pixels, 64)[:, :, 0] > 127
    assert lit.any(axis=0).sum() == lit.any(axis=1).sum() == 16


def test_fine_stripes_become_grey_rather_than_false_patterns() -> None:
    pixels = full(256, 256, 0)
    pixels[:, ::2] = 255
    np.testing.assert_allclose(prepare(pixels, 32)[:, 1:-1], 127.5, atol=2)


def test_the_same_picture_gives_the_same_numbers() -> None:
    pixels = noise(61, 97)
    np.testing.assert_array_equal(prepare(pixels, 32), prepare(pixels.copy(), 32))


def test_the_picture_itself_is_left_alone() -> None:
    pixels = noise(61, 97)
    before = pixels.copy()
    pixels.flags.writeable = False  # as the decoder gives it
    prepare(pixels, 32)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(("height", "width"), [(40, 100), (100, 40), (100, 100), (20, 30)])
def test_a_place_in_the_square_leads_back_to_the_picture(height: int, width: int) -> None:
    pixels = full(height, width, 0)
    pixels[12:16, 20:24] = 255
    size = 50
    y, x = np.argwhere(prepare(pixels, size)[:, :, 0] > 127).mean(axis=0) + 0.5
    found = SquareGeometry.of(width, height).to_input(x, y, size)
    assert found == pytest.approx((22, 14), abs=1)


@settings(deadline=None)
@given(width=sides, height=sides, size=sides)
def test_the_square_covers_the_picture(width: int, height: int, size: int) -> None:
    geometry = SquareGeometry.of(width, height)
    left, top = geometry.to_input(0, 0, size)
    right, bottom = geometry.to_input(size, size, size)
    assert (left, top) == (-geometry.left, -geometry.top)
    assert right - left == pytest.approx(geometry.side)
    assert bottom - top == pytest.approx(geometry.side)
    assert left <= 0 <= width <= right + 1e-6
    assert top <= 0 <= height <= bottom + 1e-6


def test_a_square_has_no_margins() -> None:
    assert SquareGeometry.of(30, 30) == SquareGeometry(width=30, height=30, side=30, left=0, top=0)


def test_a_thin_picture_needs_no_square_of_its_length() -> None:
    # Its own square would have a billion pixels.
    assert prepare(full(16, 2**15), 32).sum() == 255 * 32
