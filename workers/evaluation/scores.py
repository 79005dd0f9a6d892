"""Every score of a model as a function of how much each slice counts.

With a weight of one each they are the scores themselves; with the weights of a bootstrap they are
what the scores might have been.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.labels import LABELS
from workers.evaluation.calibration import bin_numbers
from workers.evaluation.metrics import (
    Floats,
    Labels,
    Probabilities,
    confusion_scores,
    mean_where,
    ratio,
)
from workers.evaluation.ranking import Ranking

COVERAGE: Final = 0.8
"""At this coverage an accuracy is reported, so that models can be compared at the same one."""
_CLASSES: Final = len(LABELS)


class Scorer:
    """The scores of these answers.

    ``labels``: (n,); ``probabilities``: (n, classes); ``accepted``: (n,), n at least 1.
    """

    def __init__(
        self, labels: Labels, probabilities: Probabilities, accepted: NDArray[np.bool_]
    ) -> None:
        confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
        right = predicted == labels
        truth = np.eye(_CLASSES)[labels]
        self._sums = np.column_stack(
            [
                np.eye(_CLASSES**2)[labels * _CLASSES + predicted],
                _by_bin(confidence, confidence - right),
                ((probabilities - truth) ** 2).sum(axis=1),
                accepted,
                accepted & right,
            ]
        ).astype(np.float64)
        self._one_against_rest = [
            Ranking(probabilities[:, place], labels == place) for place in range(_CLASSES)
        ]
        self._selective = Ranking(confidence, right)

    def __call__(self, weights: Floats) -> Mapping[str, Floats]:
        """By name the score, (m,), for each row of weights (m, n). NaN is not defined."""
        cells = _CLASSES**2
        total, sums = weights.sum(axis=1), weights @ self._sums
        brier, accepted, accepted_right = sums[:, -3:].T
        return {
            **confusion_scores(sums[:, :cells].reshape(-1, _CLASSES, _CLASSES)),
            **self._areas(weights),
            "ece": ratio(np.abs(sums[:, cells:-3]).sum(axis=1), total),
            "brier": ratio(brier, total),
            "coverage": ratio(accepted, total),
            "accepted_accuracy": ratio(accepted_right, accepted),
            "accuracy_at_80": self._selective.accuracy_at(weights, COVERAGE),
            "aurc": self._selective.aurc(weights),
        }

    def _areas(self, weights: Floats) -> dict[str, Floats]:
        areas: dict[str, Floats] = {}
        for name in ("roc_auc", "pr_auc"):
            by_class = [_area(ranking, name, weights) for ranking in self._one_against_rest]
            areas |= {f"{name}/{label}": a for label, a in zip(LABELS, by_class, strict=True)}
            stacked = np.stack(by_class, axis=1)
            areas[name] = mean_where(stacked, np.isfinite(stacked))
        return areas


def _area(ranking: Ranking, name: str, weights: Floats) -> Floats:
    return ranking.roc_auc(weights) if name == "roc_auc" else ranking.average_precision(weights)


def _by_bin(confidence: Floats, values: Floats) -> Floats:
    """Each value in the column of its bin: (n, bins)."""
    numbers = bin_numbers(confidence)
    columns = np.zeros((len(values), int(numbers.max()) + 1))
    columns[np.arange(len(values)), numbers] = values
    return columns
