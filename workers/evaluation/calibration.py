"""How sure a model may be: its temperature, and how far its confidence is from the truth.

The temperature is chosen on validation slices, never on test slices.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from workers.evaluation.metrics import (
    Floats,
    Labels,
    Logits,
    Probabilities,
    cross_entropy,
    softmax,
)
from workers.evaluation.selective import TARGET_RISK, choose_robustly, choose_threshold
from workers.model_artefact import Calibration

BINS: Final = 15
_TEMPERATURES: Final = (0.25, 20.0)
"""A small validation split without an error would else ask for boundless confidence."""


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Answers of like confidence: their mean confidence and accuracy, 0..1, and their number."""

    confidence: float
    accuracy: float
    count: int


def calibrate(
    logits: Logits,
    labels: Labels,
    groups: Sequence[str] | None = None,
    target_risk: float = TARGET_RISK,
    harder_logits: Logits | None = None,
) -> Calibration:
    """The calibration for a model with these logits (n, classes) on validation slices.

    ``groups`` names each slice's patient; ``target_risk`` is the share of accepted answers that
    may be wrong, above 0 and below 1. ``harder_logits`` (n, classes) are of the same slices,
    changed as a worse scanner might have: with them the model is as sure as is right for both
    together, and the target is to hold for them, too (:func:`choose_robustly`).
    """
    if harder_logits is None:
        temperature = fit_temperature(logits, labels)
        chosen = choose_threshold(softmax(logits, temperature), labels, groups, target_risk)
    else:
        both = np.concatenate([logits, harder_logits])
        temperature = fit_temperature(both, np.concatenate([labels, labels]))
        chosen = choose_robustly(
            softmax(logits, temperature),
            softmax(harder_logits, temperature),
            labels,
            groups,
            target_risk,
        )
    return Calibration(
        temperature=temperature,
        abstain_below=chosen.abstain_below,
        target_risk=target_risk,
        note=chosen.note,
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


def reliability(probabilities: Probabilities, labels: Labels) -> tuple[ReliabilityBin, ...]:
    """Confidence against accuracy in 15 bins of equal width; empty ones are left out."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    numbers = bin_numbers(confidence)
    return tuple(
        ReliabilityBin(
            confidence=float(confidence[numbers == number].mean()),
            accuracy=float(right[numbers == number].mean()),
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


def bin_numbers(confidence: Floats) -> NDArray[np.int64]:
    """Which of the 15 bins each confidence (n,) of 0..1 belongs to."""
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
