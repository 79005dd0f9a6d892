"""How sure a model may be: its temperature, and below which confidence it abstains.

Both are chosen on validation slices, never on test slices.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from workers.evaluation.metrics import Labels, Logits, Probabilities, cross_entropy, softmax
from workers.model_artefact import Calibration

MAX_ERROR: Final = 0.05
"""The share of accepted answers that may be wrong, where that can be had."""
MIN_COVERAGE: Final = 0.5
"""The share of answers that is accepted at least: a model that never answers helps nobody."""
_TEMPERATURES: Final = (0.25, 20.0)
"""A small validation split without an error would else ask for boundless confidence."""
_BINS: Final = 15


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Answers of like confidence: their mean confidence and accuracy, 0..1, and their number."""

    confidence: float
    accuracy: float
    count: int


def calibrate(logits: Logits, labels: Labels) -> Calibration:
    """The calibration for a model with these logits (n, classes) on validation slices."""
    temperature = fit_temperature(logits, labels)
    probabilities = softmax(logits, temperature)
    return Calibration(
        temperature=temperature, abstain_below=abstention_threshold(probabilities, labels)
    )


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """The temperature with the lowest cross-entropy, between 0.25 and 20.

    Guo et al., ICML 2017, "On Calibration of Modern Neural Networks".
    """
    low, high = _TEMPERATURES
    found = minimize_scalar(
        lambda log_t: cross_entropy(logits, labels, math.exp(log_t)),
        bounds=(math.log(low), math.log(high)),
        method="bounded",
    )
    return math.exp(float(found.x))


def abstention_threshold(probabilities: Probabilities, labels: Labels) -> float:
    """The lowest confidence at which accepted answers are wrong in at most ``MAX_ERROR``.

    An answer is accepted if its highest probability is at least the threshold. If that would
    leave less than ``MIN_COVERAGE`` of the answers, the highest threshold that leaves so much.
    """
    confidence, correct = _confidence(probabilities, labels)
    ranked = np.sort(np.unique(confidence))
    ranked[0] = 0.0  # accepting all needs no threshold
    for threshold in ranked:
        accepted = confidence >= threshold
        if 1 - correct[accepted].mean() <= MAX_ERROR:
            break
    most = np.quantile(confidence, 1 - MIN_COVERAGE, method="lower")
    return float(min(threshold, most if most > confidence.min() else 0.0))


def reliability(probabilities: Probabilities, labels: Labels) -> tuple[ReliabilityBin, ...]:
    """Confidence against accuracy in 15 bins of equal width; empty ones are left out."""
    confidence, correct = _confidence(probabilities, labels)
    numbers = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return tuple(
        ReliabilityBin(
            confidence=float(confidence[numbers == number].mean()),
            accuracy=float(correct[numbers == number].mean()),
            count=int((numbers == number).sum()),
        )
        for number in np.unique(numbers)
    )


def expected_calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Mean distance of confidence from accuracy, weighted by the bins' sizes, 0..1.

    Naeini et al., AAAI 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning".
    """
    total = sum(b.count for b in bins)
    return sum(abs(b.confidence - b.accuracy) * b.count for b in bins) / total


def coverage(probabilities: Probabilities, threshold: float) -> float:
    """The share of answers that the threshold accepts, 0..1."""
    return float((probabilities.max(axis=1) >= threshold).mean())


def accepted_accuracy(
    probabilities: Probabilities, labels: Labels, threshold: float
) -> float | None:
    """The accuracy of accepted answers, 0..1; None if there are none."""
    confidence, correct = _confidence(probabilities, labels)
    accepted = correct[confidence >= threshold]
    return float(accepted.mean()) if len(accepted) else None


def _confidence(
    probabilities: Probabilities, labels: Labels
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
