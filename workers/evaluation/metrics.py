"""Scores from labels and predictions. Classes are places in :data:`core.labels.LABELS`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from core.labels import LABELS
from core.registry import ClassMetrics, Evaluation

Labels = NDArray[np.int64]
Logits = NDArray[np.floating[Any]]
Probabilities = NDArray[np.float64]

_CLASSES: Final = range(len(LABELS))
_RESAMPLES: Final = 2000


@dataclass(frozen=True, kw_only=True)
class SplitSizes:
    """How many slices each part of the data set has."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % interval of a score, both ends 0..1."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Intervals:
    accuracy: Interval
    macro_f1: Interval


def softmax(logits: Logits, temperature: float = 1.0) -> Probabilities:
    """Probabilities (n, classes) of logits divided by the temperature."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def cross_entropy(logits: Logits, labels: Labels, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood of the labels, in nats."""
    scaled = logits.astype(np.float64) / temperature
    shifted = scaled - scaled.max(axis=1, keepdims=True)
    log_likelihood = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=1))
    return float(-log_likelihood.mean())


def macro_f1(labels: Labels, predicted: Labels) -> float:
    """Mean F1 over the classes that have slices; one that is never right counts 0."""
    return float(_macro_f1(_confusion(labels, predicted)[None])[0])


def evaluate(
    labels: Labels, probabilities: Probabilities, sizes: SplitSizes, protocol: str
) -> Evaluation:
    """Every number of a model version. ``probabilities``: (n, classes), n at least 1.

    Classes without a slice have zeros and do not count in the macro-F1.
    """
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=list(_CLASSES), zero_division=0.0
    )
    per_class = {
        label: ClassMetrics(
            precision=float(precision[i]),
            recall=float(recall[i]),
            f1=float(f1[i]),
            support=int(support[i]),
        )
        for i, label in enumerate(LABELS)
    }
    return Evaluation(
        accuracy=float((predicted == labels).mean()),
        macro_f1=macro_f1(labels, predicted),
        per_class=per_class,
        confusion=tuple(tuple(int(n) for n in row) for row in _confusion(labels, predicted)),
        train_size=sizes.train,
        validation_size=sizes.validation,
        test_size=sizes.test,
        protocol=protocol,
    )


def bootstrap_intervals(
    labels: Labels, predicted: Labels, groups: Sequence[str], seed: int
) -> Intervals:
    """Percentile intervals from resampling whole groups (patients): slices of one are alike.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13.
    """
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    by_group = np.zeros((len(names), len(LABELS), len(LABELS)), np.int64)
    np.add.at(by_group, (members, labels, predicted), 1)
    chance = np.full(len(names), 1 / len(names))
    times = np.random.default_rng(seed).multinomial(len(names), chance, size=_RESAMPLES)
    resampled = np.tensordot(times, by_group, axes=1)
    correct = np.trace(resampled, axis1=1, axis2=2) / resampled.sum(axis=(1, 2))
    return Intervals(accuracy=_interval(correct), macro_f1=_interval(_macro_f1(resampled)))


def majority_share(labels: Labels) -> float:
    """The accuracy of always naming the commonest class: what any model has to beat."""
    return float(np.bincount(labels).max() / len(labels))


def _confusion(labels: Labels, predicted: Labels) -> NDArray[np.int64]:
    return np.asarray(confusion_matrix(labels, predicted, labels=list(_CLASSES)))


def _macro_f1(confusions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each confusion matrix (m, classes, classes), rows the true classes."""
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    support, called = confusions.sum(axis=2), confusions.sum(axis=1)
    f1 = 2 * hits / np.maximum(support + called, 1)
    present = support > 0
    return np.asarray((f1 * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1))


def _interval(scores: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(scores, (0.025, 0.975))
    return Interval(low=float(low), high=float(high))
