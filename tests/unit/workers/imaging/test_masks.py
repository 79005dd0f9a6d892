"""A mask goes to the model's square and comes back to where it was."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from workers.imaging.decode import ImageLimits
from workers.imaging.masks import decode_mask, on_input, prepare_mask
from workers.imaging.preprocess import SquareGeometry, prepare


def disc(height: int, width: int, centre: tuple[int, int], radius: int) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[:height, :width]
    return np.asarray((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2)


def shares(square: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a model would give for this target: (size, size), 0..1."""
    return np.asarray(square[:, :, 0] / 255, np.float32)


def overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize("size", [64, 160])
@pytest.mark.parametrize(
    "geometry",
    [
        SquareGeometry(x0=0, y0=0, width=300, height=260),
        SquareGeometry(x0=37, y0=11, width=201, height=244),
        SquareGeometry(x0=20, y0=60, width=270, height=140),
    ],
)
def test_a_mask_comes_back_to_its_place(geometry: SquareGeometry, size: int) -> None:
    mask = disc(260, 300, (130, 140), 40)
    square = prepare_mask(mask, geometry, size)
    assert square.shape == (size, size, 1)
    back = on_input(shares(square), geometry, 300, 260) >= 0.5
    assert overlap(mask, back) > 0.95


def test_the_mask_lies_on_the_square_where_the_picture_does() -> None:
    spot = disc(200, 320, (90, 200), 25)
    picture = np.full((200, 320), 70, np.uint8)
    picture[spot] = 250
    prepared = prepare(picture, 96)
    target = prepare_mask(spot, prepared.geometry, 96) >= 128
    assert overlap(prepared.pixels > 200, target) > 0.9


def test_outside_of_the_head_there_is_nothing() -> None:
    geometry = SquareGeometry(x0=10, y0=20, width=30, height=40)
    back = on_input(np.ones((32, 32), np.float32), geometry, 100, 80)
    inside = np.zeros((80, 100), bool)
    inside[20:60, 10:40] = True
    np.testing.assert_array_equal(back > 0, inside)


@settings(deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    size=st.integers(2, 64),
)
def test_any_shape_goes_both_ways(width: int, height: int, size: int) -> None:
    geometry = SquareGeometry(x0=0, y0=0, width=width, height=height)
    square = prepare_mask(np.ones((height, width), bool), geometry, size)
    back = on_input(shares(square), geometry, width, height)
    assert back.shape == (height, width)
    assert back.min() > 0.99


@pytest.mark.parametrize("white", [1, 128, 255])
def test_any_two_values_are_a_mask(white: int) -> None:
    mask = disc(40, 50, (20, 20), 8)
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * white).save(buffer, "PNG")
    found = decode_mask(buffer.getvalue(), ImageLimits(max_bytes=1 << 20, max_pixels=1 << 20))
    np.testing.assert_array_equal(found, mask)


def test_a_one_bit_mask_and_an_empty_one() -> None:
    limits = ImageLimits(max_bytes=1 << 20, max_pixels=1 << 20)
    for mask in (disc(40, 50, (20, 20), 8), np.zeros((40, 50), bool)):
        buffer = io.BytesIO()
        Image.fromarray(mask).save(buffer, "PNG")
        np.testing.assert_array_equal(decode_mask(buffer.getvalue(), limits), mask)
