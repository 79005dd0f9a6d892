"""Probabilities, the decision whether to trust them, and the map that goes with them."""

import io
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from core.prediction import Decision
from workers.imaging.preprocess import SquareGeometry
from workers.inference.answers import activation_png, calibrated_probabilities, decide
from workers.model_artefact import Calibration

SURE = (0.7, 0.1, 0.1, 0.1)

logits = st.lists(st.floats(-1e4, 1e4, width=32), min_size=4, max_size=4)


def float32(values: Sequence[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def shown(activation_map: NDArray[np.float32], width: int, height: int) -> NDArray[np.uint8]:
    whole = SquareGeometry(x0=0, y0=0, width=width, height=height)
    with Image.open(io.BytesIO(activation_png(activation_map, whole, width, height))) as picture:
        assert (picture.format, picture.mode) == ("PNG", "L")
        return np.asarray(picture)


@given(values=logits, temperature=st.floats(0.05, 20))
def test_probabilities_sum_to_1_in_the_order_of_the_logits(
    values: list[float], temperature: float
) -> None:
    probabilities = calibrated_probabilities(float32(values), temperature)
    assert sum(probabilities) == pytest.approx(1.0)
    assert all(0 <= p <= 1 for p in probabilities)
    assert probabilities[int(np.argmax(values))] == max(probabilities)


def test_known_probabilities() -> None:
    values = float32([math.log(p) for p in SURE])
    assert calibrated_probabilities(values, 1.0) == pytest.approx(SURE)


def test_temperature_divides_the_logits() -> None:
    values = float32([3.0, 1.0, 0.0, -2.0])
    assert calibrated_probabilities(values, 2.0) == calibrated_probabilities(
        values / np.float32(2), 1.0
    )
    assert max(calibrated_probabilities(values, 5.0)) < max(calibrated_probabilities(values, 1.0))


def test_probabilities_are_plain_numbers() -> None:
    # msgpack carries nothing of NumPy's.
    assert {type(p) for p in calibrated_probabilities(float32([1, 2, 3, 4]), 1.0)} == {float}


@pytest.mark.parametrize(
    ("abstain_below", "decision"),
    [
        (0.0, Decision.ACCEPTED),
        (0.7, Decision.ACCEPTED),
        (0.70001, Decision.ABSTAINED),
        (1.0, Decision.ABSTAINED),
    ],
)
def test_an_answer_is_accepted_from_the_threshold_on(
    abstain_below: float, decision: Decision
) -> None:
    assert decide(SURE, Calibration(abstain_below=abstain_below)) is decision


@pytest.mark.parametrize(("width", "height"), [(64, 64), (100, 40), (40, 100), (17, 31)])
def test_a_map_has_the_size_of_the_picture(width: int, height: int) -> None:
    assert shown(np.ones((7, 7), np.float32), width, height).shape == (height, width)


def test_the_strongest_place_is_white_and_negative_evidence_black() -> None:
    evidence = np.full((4, 4), -5, np.float32)
    evidence[1, 2] = 0.01
    pixels = shown(evidence, 64, 64)
    assert pixels[16:32, 32:48].max() > 250
    assert not pixels[:, :16].any()
    assert not pixels[48:].any()


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_map_without_evidence_is_black(value: float) -> None:
    assert not shown(np.full((4, 4), value, np.float32), 32, 32).any()


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_only_the_shape_of_the_evidence_counts(scale: float) -> None:
    evidence = np.eye(4, dtype=np.float32)
    scaled = evidence * np.float32(scale)
    np.testing.assert_array_equal(shown(scaled, 32, 32), shown(evidence, 32, 32))


def test_what_lies_on_the_margins_of_a_wide_picture_is_cut_off() -> None:
    evidence = np.zeros((8, 8), np.float32)
    evidence[0] = 1  # over the black above the picture
    assert not shown(evidence, 64, 16).any()
    evidence[3:5, 6:] = 1
    pixels = shown(evidence, 64, 16)
    assert pixels[:, 56:].min() > 128
    assert not pixels[:, :32].any()


def test_what_lies_on_the_margins_of_a_tall_picture_is_cut_off() -> None:
    evidence = np.zeros((8, 8), np.float32)
    evidence[:, 7] = 1
    assert not shown(evidence, 16, 64).any()
    evidence[6:, 3:5] = 1
    pixels = shown(evidence, 16, 64)
    assert pixels[56:].min() > 128
    assert not pixels[:32].any()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_no_answer(value: float) -> None:
    with pytest.raises(ValueError, match="the graph gave"):
        calibrated_probabilities(float32([value, 0, 0, 0]), 1.0)


def test_the_map_of_a_thin_picture_needs_no_square_of_its_length() -> None:
    assert shown(np.ones((2, 2), np.float32), 2**15, 16).shape == (16, 2**15)


def test_outside_the_head_there_is_no_evidence() -> None:
    head = SquareGeometry(x0=10, y0=20, width=30, height=30)
    data = activation_png(np.ones((4, 4), np.float32), head, 100, 80)
    with Image.open(io.BytesIO(data)) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (80, 100)
    assert pixels[20:50, 10:40].min() == 255
    assert pixels.sum() == 255 * 30 * 30
