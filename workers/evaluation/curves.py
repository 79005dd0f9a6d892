"""The curves of a report: points to draw, few enough for a light page."""

from collections.abc import Callable
from typing import Final

import numpy as np

from core.labels import LABELS, TumourLabel
from workers.evaluation.metrics import Floats, Labels, Probabilities
from workers.evaluation.ranking import Ranking

Curve = tuple[tuple[float, float], ...]
"""Points (x, y), both 0..1, in the order they are drawn."""

_MOST_POINTS: Final = 150


def roc(probabilities: Probabilities, labels: Labels) -> dict[TumourLabel, Curve]:
    """By class, against the rest: (false positive rate, true positive rate)."""

    def points(positives: Floats, negatives: Floats) -> Curve:
        x, y = negatives / negatives[-1], positives / positives[-1]
        return _curve(np.append(0.0, x), np.append(0.0, y))

    return _by_class(probabilities, labels, points)


def precision_recall(probabilities: Probabilities, labels: Labels) -> dict[TumourLabel, Curve]:
    """By class, against the rest: (recall, precision)."""

    def points(positives: Floats, negatives: Floats) -> Curve:
        return _curve(positives / positives[-1], positives / (positives + negatives))

    return _by_class(probabilities, labels, points)


def risk_coverage(probabilities: Probabilities, labels: Labels) -> Curve:
    """(Coverage, risk): the share of answers, the surest first, and how many of them are wrong."""
    ranking = Ranking(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)
    (right,), (wrong,) = ranking.counts(np.ones((1, len(labels))))
    covered = right + wrong
    return _curve(covered / covered[-1], wrong / covered)


def _by_class(
    probabilities: Probabilities, labels: Labels, points: Callable[[Floats, Floats], Curve]
) -> dict[TumourLabel, Curve]:
    """A curve for each class that has slices, where others have slices too."""
    ones = np.ones((1, len(labels)))
    found = {}
    for place, label in enumerate(LABELS):
        (positives,), (negatives,) = Ranking(probabilities[:, place], labels == place).counts(ones)
        if positives[-1] and negatives[-1]:
            found[label] = points(positives, negatives)
    return found


def _curve(x: Floats, y: Floats) -> Curve:
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).astype(int))
    return tuple((float(x[i]), float(y[i])) for i in kept)
