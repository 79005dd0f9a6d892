"""Temperature, abstention and calibration error on cases with a known answer."""

import numpy as np
import pytest

from core.labels import LABELS
from workers.evaluation.calibration import (
    calibrate,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from workers.evaluation.metrics import cross_entropy, softmax

Arrays = tuple[np.ndarray, np.ndarray]


def drawn_from(logits: np.ndarray, seed: int) -> np.ndarray:
    """Labels drawn with the probabilities that the logits stand for."""
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(len(LABELS), p=row) for row in softmax(logits)])


@pytest.fixture(scope="module")
def honest() -> Arrays:
    """Logits that mean what they say, and labels."""
    logits = np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32) * 2
    return logits, drawn_from(logits, 1)


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_the_temperature_undoes_a_known_factor(honest: Arrays, factor: float) -> None:
    logits, labels = honest

    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.1)


def test_the_temperature_lowers_calibration_error_and_loss(honest: Arrays) -> None:
    logits, labels = honest[0] * 3, honest[1]
    temperature = fit_temperature(logits, labels)

    before = expected_calibration_error(reliability(softmax(logits), labels))
    after = expected_calibration_error(reliability(softmax(logits, temperature), labels))

    assert after < 0.03 < before
    assert cross_entropy(logits, labels, temperature) < cross_entropy(logits, labels)


def test_a_perfect_model_gets_a_temperature_inside_the_bounds() -> None:
    logits = np.eye(4, dtype=np.float32) * 5

    assert 0.25 <= fit_temperature(logits, np.arange(4)) < 1


def with_confidence(confidence: list[float], right: list[bool]) -> Arrays:
    """Answers that all name class 0, and labels that make them right or wrong."""
    best = np.array(confidence)
    rest = (1 - best) / 3
    return np.stack([best, rest, rest, rest], axis=1), np.where(right, 0, 1)


def test_both_are_chosen_together(honest: Arrays) -> None:
    logits, labels = honest

    chosen = calibrate(logits * 2, labels, target_risk=0.1)

    assert chosen.temperature == pytest.approx(2, rel=0.1)
    assert chosen.target_risk == 0.1
    assert "10.0% of cases" in chosen.note
    answers = softmax(logits * 2, chosen.temperature)
    accepted = answers.max(axis=1) >= chosen.abstain_below
    assert accepted.mean() > 0.2
    assert (answers.argmax(axis=1) != labels)[accepted].mean() < 0.1


def test_harder_slices_make_a_model_less_sure(honest: Arrays) -> None:
    logits, labels = honest
    harder = logits[:, [1, 2, 3, 0]]

    alone = calibrate(logits, labels, target_risk=0.1)
    both = calibrate(logits, labels, target_risk=0.1, harder_logits=harder)

    assert both.temperature > alone.temperature
    assert "could not be shown" in both.note


def test_reliability_bins_by_hand() -> None:
    probabilities, labels = with_confidence([0.95, 0.97, 0.5], [True, False, True])

    low, high = reliability(probabilities, labels)

    assert (low.confidence, low.accuracy, low.count) == (0.5, 1.0, 1)
    assert (high.confidence, high.accuracy, high.count) == pytest.approx((0.96, 0.5, 2))
    expected = (0.5 * 1 + 0.46 * 2) / 3
    assert expected_calibration_error((low, high)) == pytest.approx(expected)


def test_full_confidence_has_a_bin() -> None:
    probabilities, labels = with_confidence([1.0], [True])

    (only,) = reliability(probabilities, labels)

    assert (only.confidence, only.accuracy) == (1.0, 1.0)
