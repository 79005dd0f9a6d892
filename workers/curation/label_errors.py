"""Slices whose label a model that never saw them disagrees with, and is sure of it."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.datasets import DatasetItem, LabelErrors, LabelSuspect
from core.labels import LABELS, TumourLabel

MAX_SUSPECTS: Final = 50
LEAST_SURE: Final = 0.5
"""A model that is less sure of another class than this contradicts no label."""


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """Answers to slices by models that did not learn from them, nor from others of their group.

    ``probabilities`` (n, classes) are calibrated, 0..1, each row of sum 1; columns as ``LABELS``.
    """

    items: tuple[DatasetItem, ...]
    probabilities: NDArray[np.float64]


def likely_label_errors(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating[Any]]
) -> NDArray[np.int64]:
    """Indices of slices that are likely mislabelled, the most likely first.

    ``labels`` (n,) are places among the classes, ``probabilities`` (n, classes) were predicted
    out of fold, by models that did not see the slice. Classes without a label are left out of
    account. Raises ``ValueError`` for shapes that do not fit and for probabilities that are not.

    Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
    JAIR 70, 2021, as ``cleanlab`` has it (prune by noise rate, ranked by self-confidence).
    """
    # In the training image only, and it brings pandas.
    from cleanlab.filter import find_label_issues

    _check(labels, probabilities)
    present, places = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        return np.empty(0, np.int64)
    among = probabilities[:, present].astype(np.float64) + np.finfo(np.float64).tiny
    found = find_label_issues(
        places,
        among / among.sum(axis=1, keepdims=True),
        return_indices_ranked_by="self_confidence",
        min_examples_per_class=0,
        n_jobs=1,
    )
    return np.asarray(found, np.int64)


def accuracy(answers: OutOfFold) -> tuple[float, float]:
    """The share of slices that were named as they are labelled, and that of the commonest label.

    Raises ``ValueError`` for no slices and for what is no probability.
    """
    labels = _labels(answers)
    _check(labels, answers.probabilities)
    right = answers.probabilities.argmax(axis=1) == labels
    return float(right.mean()), float(np.bincount(labels).max() / len(labels))


def can_judge(answers: OutOfFold) -> bool:
    """Whether the models know enough to contradict labels: at least half of what there is to know
    beyond which class is the commonest."""
    right, commonest = accuracy(answers)
    return right >= needed_to_judge(commonest)


def needed_to_judge(commonest: float) -> float:
    """The accuracy it takes to contradict labels, where the commonest class has this share."""
    return (1 + commonest) / 2


def label_errors(answers: OutOfFold) -> LabelErrors:
    """The part of an audit that tells them. Raises ``ValueError`` for what is no probability."""
    found = likely_label_errors(_labels(answers), answers.probabilities)
    suspects = [_suspect(answers.items[i], answers.probabilities[i]) for i in found]
    sure = [suspect for suspect in suspects if suspect.probability >= LEAST_SURE]
    return LabelErrors(count=len(sure), suspects=tuple(sure[:MAX_SUSPECTS]))


def _labels(answers: OutOfFold) -> NDArray[np.int64]:
    return np.array([LABELS.index(item.label) for item in answers.items], np.int64)


def _suspect(item: DatasetItem, probabilities: NDArray[np.float64]) -> LabelSuspect:
    others = np.where(np.arange(len(LABELS)) == LABELS.index(item.label), -1.0, probabilities)
    best = int(others.argmax())
    return LabelSuspect(
        path=item.path,
        label=item.label,
        suggested=TumourLabel(LABELS[best]),
        probability=float(probabilities[best]),
    )


def _check(labels: NDArray[np.int64], probabilities: NDArray[np.floating[Any]]) -> None:
    if labels.ndim != 1 or probabilities.ndim != 2 or len(labels) != len(probabilities):
        raise ValueError("labels must be (n,) and probabilities (n, classes)")
    if not len(labels) or labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError("labels must be places among the classes, and there must be some")
    sums = probabilities.sum(axis=1)
    if not np.isfinite(probabilities).all() or (probabilities < 0).any():
        raise ValueError("probabilities must be 0..1")
    if not np.allclose(sums, 1, atol=1e-3):
        raise ValueError("probabilities of a slice must sum to 1")
