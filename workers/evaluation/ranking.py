"""Curves and areas of one ranking of slices: ROC, precision-recall, risk-coverage.

Each function takes weights (m, n) of the slices, so that one pass scores m resamples; ones are
the slices as they are. Slices with equal scores are taken together: no threshold parts them.
NumPy only.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_ALMOST: Final = 1e-9


class Ranking:
    """Slices in the order of a score, highest first, and which of them are positive.

    ``scores``: (n,), n at least 1; ``positive``: (n,).
    """

    def __init__(self, scores: Floats, positive: Flags) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ranked = scores[self._order]
        self._ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        self._positive = positive[self._order].astype(np.float64)

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """Weighted positives and negatives at or above each distinct score: twice (m, k)."""
        ranked = weights[:, self._order]
        positives = np.cumsum(ranked * self._positive, axis=1)[:, self._ends]
        return positives, np.cumsum(ranked, axis=1)[:, self._ends] - positives

    def roc_auc(self, weights: Floats) -> Floats:
        """Area under the ROC curve, 0..1: (m,). NaN without positives or without negatives.

        Fawcett, Pattern Recognition Letters 27 (2006), "An introduction to ROC analysis".
        """
        positives, negatives = self.counts(weights)
        heights = positives - _steps(positives) / 2
        area = (_steps(negatives) * heights).sum(axis=1)
        return _ratio(area, positives[:, -1] * negatives[:, -1])

    def average_precision(self, weights: Floats) -> Floats:
        """Mean precision over the positives, 0..1: (m,). NaN without positives or negatives.

        The area under the precision-recall curve without interpolation, which would flatter:
        Davis and Goadrich, ICML 2006.
        """
        positives, negatives = self.counts(weights)
        precision = positives / np.maximum(positives + negatives, _ALMOST)
        area = (_steps(positives) * precision).sum(axis=1)
        defined = (positives[:, -1] > 0) & (negatives[:, -1] > 0)
        return np.where(defined, _ratio(area, positives[:, -1]), np.nan)

    def aurc(self, weights: Floats) -> Floats:
        """Area under the risk-coverage curve, 0..1: (m,). Positive is an answer that is right.

        Geifman, Uziel and El-Yaniv, ICLR 2019, "Bias-Reduced Uncertainty Estimation".
        """
        right, wrong = self.counts(weights)
        covered = right + wrong
        risk = wrong / np.maximum(covered, _ALMOST)
        return _ratio((_steps(covered) * risk).sum(axis=1), covered[:, -1])

    def accuracy_at(self, weights: Floats, coverage: float) -> Floats:
        """Share of positives among the ``coverage`` (0..1) with the highest scores: (m,)."""
        right, wrong = self.counts(weights)
        covered = right + wrong
        enough = covered >= coverage * covered[:, -1:] - _ALMOST
        place = enough.argmax(axis=1)[:, None]
        return _ratio(
            np.take_along_axis(right, place, 1)[:, 0], np.take_along_axis(covered, place, 1)[:, 0]
        )


def auroc(positives: Floats, negatives: Floats) -> float:
    """How probable it is that a positive has the higher score than a negative, 0..1.

    Equal scores count half. Each is (k,), k at least 1.
    """
    scores = np.concatenate([positives, negatives]).astype(np.float64)
    ranking = Ranking(scores, np.arange(len(scores)) < len(positives))
    return float(ranking.roc_auc(np.ones((1, len(scores))))[0])


def _steps(cumulative: Floats) -> Floats:
    return np.diff(cumulative, axis=1, prepend=0.0)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)
