"""What a model is worth: every number, curve and interval from its answers to held-out slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.held_out import HeldOutPredictions, HeldOutSlice
from core.labels import LABELS, TumourLabel
from core.prediction import Decision
from core.registry import SCORES, ClassMetrics, Evaluation, Interval
from workers.evaluation.bootstrap import RESAMPLES, bootstrap_intervals
from workers.evaluation.calibration import (
    ReliabilityBin,
    expected_calibration_error,
    reliability,
)
from workers.evaluation.curves import Curve, precision_recall, risk_coverage, roc
from workers.evaluation.metrics import (
    Floats,
    Labels,
    Probabilities,
    SplitSizes,
    confusion_matrix,
    majority_share,
)
from workers.evaluation.scores import Scorer

_SUM_TOLERANCE: Final = 1e-3


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Slices that a model never saw, n at least 1, and its answers to them.

    ``sha256`` are hex hashes of the encoded pictures, ``groups`` name the patient or the nearest
    thing known. ``labels``: (n,), places in ``LABELS``. ``probabilities``: (n, classes),
    calibrated; ``uncalibrated``: the same before the temperature, where that is to be shown.
    ``control_accuracy`` is that of a control without pictures on the whole data set, 0..1.

    Out-of-fold answers of a cross-validation are given as one, each slice once. Raises
    ``ValueError`` if the parts do not fit together.
    """

    sha256: Sequence[str]
    groups: Sequence[str]
    labels: Labels
    probabilities: Probabilities
    decisions: Sequence[Decision]
    sizes: SplitSizes
    protocol: str
    uncalibrated: Probabilities | None = None
    control_accuracy: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        count = len(self.labels)
        lengths = {len(part) for part in (self.sha256, self.groups, self.decisions)}
        if not count or lengths != {count} or self.probabilities.shape != (count, len(LABELS)):
            raise ValueError("held-out slices and answers differ in number, or there are none")
        if not np.abs(self.probabilities.sum(axis=1) - 1).max() <= _SUM_TOLERANCE:
            raise ValueError("the answers are no probabilities")
        if not all(self.groups):
            raise ValueError("a held-out slice has no group")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the answers are worth. Curves are by class where a class has slices, and others have.

    ``ece_uncalibrated`` is the calibration error before the temperature, None if that was not
    given; ``decisions`` counts them.
    """

    evaluation: Evaluation
    predictions: HeldOutPredictions
    reliability: tuple[ReliabilityBin, ...]
    ece_uncalibrated: float | None
    roc: Mapping[TumourLabel, Curve]
    precision_recall: Mapping[TumourLabel, Curve]
    risk_coverage: Curve
    decisions: Mapping[Decision, int]


def judge(held_out: HeldOut, resamples: int = RESAMPLES) -> Judgement:
    """Every number of a model version. Nothing is chosen here: what is given is measured.

    Intervals come from resampling whole groups. That of the calibration error leans upwards, as
    every error of one sign adds to it in each resample. A score that is not defined is None, as
    is everything of a class without slices, which counts in no mean.
    """
    labels, probabilities = held_out.labels, held_out.probabilities
    accepted = np.array([d is Decision.ACCEPTED for d in held_out.decisions])
    scorer = Scorer(labels, probabilities, accepted)
    scores = _defined(scorer(np.ones((1, len(labels)))))
    intervals = bootstrap_intervals(scorer, held_out.groups, held_out.seed, resamples)
    before = held_out.uncalibrated
    return Judgement(
        evaluation=_evaluation(held_out, scores, intervals),
        predictions=_predictions(held_out),
        reliability=reliability(probabilities, labels),
        ece_uncalibrated=(
            None if before is None else expected_calibration_error(reliability(before, labels))
        ),
        roc=roc(probabilities, labels),
        precision_recall=precision_recall(probabilities, labels),
        risk_coverage=risk_coverage(probabilities, labels),
        decisions={d: sum(given is d for given in held_out.decisions) for d in Decision},
    )


def _defined(scores: Mapping[str, Floats]) -> dict[str, float]:
    return {name: float(v[0]) for name, v in scores.items() if np.isfinite(v[0])}


def _evaluation(
    held_out: HeldOut, scores: Mapping[str, float], intervals: Mapping[str, Interval]
) -> Evaluation:
    counts = confusion_matrix(held_out.labels, held_out.probabilities.argmax(axis=1))
    known = dict(scores)
    known["majority_share"] = majority_share(held_out.labels)
    if held_out.control_accuracy is not None:
        known["control_accuracy"] = held_out.control_accuracy
    return Evaluation(
        **{name: known[name] for name in SCORES if name in known},
        per_class={
            label: _class_metrics(label, scores, int(counts[place].sum()))
            for place, label in enumerate(LABELS)
        },
        confusion=tuple(tuple(int(n) for n in row) for row in counts),
        train_size=held_out.sizes.train,
        validation_size=held_out.sizes.validation,
        test_size=held_out.sizes.test,
        protocol=held_out.protocol,
        intervals={name: interval for name, interval in intervals.items() if name in scores},
    )


def _class_metrics(label: TumourLabel, scores: Mapping[str, float], support: int) -> ClassMetrics:
    if not support:
        return ClassMetrics(precision=None, recall=None, f1=None, support=0)
    return ClassMetrics(
        precision=scores[f"precision/{label}"],
        recall=scores[f"recall/{label}"],
        f1=scores[f"f1/{label}"],
        support=support,
        roc_auc=scores.get(f"roc_auc/{label}"),
        pr_auc=scores.get(f"pr_auc/{label}"),
    )


def _predictions(held_out: HeldOut) -> HeldOutPredictions:
    parts = zip(
        held_out.sha256,
        held_out.groups,
        held_out.labels,
        held_out.probabilities,
        held_out.decisions,
        strict=True,
    )
    return HeldOutPredictions(
        protocol=held_out.protocol,
        slices=tuple(
            HeldOutSlice(
                sha256=sha256,
                group=group,
                label=LABELS[int(label)],
                probabilities=tuple(float(p) for p in probabilities),
                decision=decision,
            )
            for sha256, group, label, probabilities, decision in parts
        ),
    )
