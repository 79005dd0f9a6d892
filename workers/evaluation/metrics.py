"""Scores from labels and predictions. Classes are places in :data:`core.labels.LABELS`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.labels import LABELS, TumourLabel

Labels = NDArray[np.int64]
Logits = NDArray[np.floating[Any]]
Probabilities = NDArray[np.float64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SplitSizes:
    """How many slices each part of the data set has."""

    train: int
    validation: int
    test: int


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


def confusion_matrix(labels: Labels, predicted: Labels) -> NDArray[np.int64]:
    """Counts (classes, classes): rows the true classes, columns the answers."""
    counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def macro_f1(labels: Labels, predicted: Labels) -> float:
    """Mean F1 over the classes that have slices; one that is never right counts 0."""
    confusions = confusion_matrix(labels, predicted)[None].astype(np.float64)
    return float(confusion_scores(confusions)["macro_f1"][0])


def majority_share(labels: Labels) -> float:
    """The accuracy of always naming the commonest class: what any model has to beat."""
    return float(np.bincount(labels).max() / len(labels))


def confusion_scores(confusions: Floats) -> dict[str, Floats]:
    """Every score of each confusion matrix (m, classes, classes), by name, each (m,).

    Rows are the true classes; counts may be weighted. Means over the classes leave out those
    without slices. Precision and F1 of a class that is never named are 0; a recall, sensitivity
    or specificity that has no slices is NaN.
    """
    hits: Floats = np.diagonal(confusions, axis1=1, axis2=2)
    support, called = confusions.sum(axis=2), confusions.sum(axis=1)
    present = support > 0
    recall = ratio(hits, support)
    f1 = 2 * hits / np.where(support + called > 0, support + called, 1)
    precision = hits / np.where(called > 0, called, 1)
    scores = {
        "accuracy": ratio(hits.sum(axis=1), support.sum(axis=1)),
        "balanced_accuracy": mean_where(recall, present),
        "macro_f1": mean_where(f1, present),
    }
    for place, label in enumerate(LABELS):
        scores[f"precision/{label}"] = precision[:, place]
        scores[f"recall/{label}"] = recall[:, place]
        scores[f"f1/{label}"] = f1[:, place]
    return scores | _tumour_scores(confusions)


def _tumour_scores(confusions: Floats) -> dict[str, Floats]:
    """Tumour, of whichever kind, against none."""
    none = LABELS.index(TumourLabel.NO_TUMOR)
    tumours = [place for place in range(len(LABELS)) if place != none]
    with_tumour = confusions[:, tumours]
    return {
        "sensitivity": ratio(with_tumour[:, :, tumours].sum((1, 2)), with_tumour.sum((1, 2))),
        "specificity": ratio(confusions[:, none, none], confusions[:, none].sum(axis=1)),
    }


def ratio(part: Floats, whole: Floats) -> Floats:
    """``part / whole``, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def mean_where(values: Floats, defined: NDArray[np.bool_]) -> Floats:
    """The mean of each row's defined values; NaN where there are none."""
    total = np.where(defined, values, 0.0).sum(axis=1)
    return ratio(total, defined.sum(axis=1).astype(np.float64))
