"""What reports and model cards say in the same words."""

from dataclasses import dataclass
from typing import Final

from core.datasets import Dataset
from core.registry import SCORES, Evaluation
from workers.evaluation.metrics import SplitSizes
from workers.evaluation.selective import NEVER, digits_below_one

DISCLAIMER: Final = (
    "Decision support for research and engineering. This is not a medical device and must not be "
    "the only basis of a diagnosis."
)
INTENDED_USE: Final = (
    "Naming what a single MRI slice of a head shows: a glioma, a meningioma, a pituitary tumour, "
    "or none of them; for people who develop, test and compare such systems.",
    "Ordering and pre-sorting of slices that a person will look at.",
)
LIMITS: Final = (
    "It knows four classes. Whatever else there is (another tumour, a bleed, an abscess, an "
    "artefact) gets one of them, or is abstained from.",
    "It sees one slice at a time, not a study: no history, no other sequence, no neighbouring "
    "slice.",
    "The numbers hold for scans like those it was tested on. Scanners, sequences and patients that "
    "the data set does not hold may give others, and confidence is known to fail there first.",
    "Where slices of the classes come from different sources, a model can tell the sources apart "
    "without looking at the tumour. A control without pictures, where one was run, shows how far "
    "that goes.",
    "The activation map shows where the evidence for an answer is, not the outline of a tumour.",
)
INTERVALS: Final = (
    "Intervals are 95 %, from resampling whole groups of slices; of too few groups there is none. "
    "Where all groups are alike a share has an exact interval, for as many trials as groups, and "
    "any other score none"
)
_NAMES: Final = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "roc_auc": "ROC AUC, mean of the classes",
    "pr_auc": "PR AUC (average precision), mean of the classes",
    "sensitivity": "tumour sensitivity",
    "specificity": "tumour specificity",
    "ece": "expected calibration error (lower is better)",
    "brier": "Brier score (0 to 2, lower is better)",
    "aurc": "area under the risk-coverage curve (lower is better)",
    "coverage": "share of answers accepted",
    "accepted_accuracy": "accuracy of accepted answers",
    "accuracy_at_80": "accuracy of the surest 80 %",
    "majority_share": "floor: always the commonest class",
    "control_accuracy": "control without pictures",
}


def where_from(dataset: Dataset) -> str:
    """What a data set was taken in from, and what is in it, in words."""
    counts = ", ".join(f"{count} {label}" for label, count in sorted(dataset.class_counts.items()))
    return (
        f"{dataset.source}; {dataset.item_count} slices ({counts}) of {dataset.group_count} groups"
    )


def slices_used(evaluation: Evaluation, own: SplitSizes | None) -> str:
    """How many slices had which part. ``own``: the version's, where its folds were measured."""
    chosen = "to choose the epoch, the temperature and the thresholds"
    if own is None:
        return (
            f"{evaluation.train_size} slices to learn from, {evaluation.validation_size} {chosen}, "
            f"{evaluation.test_size} to test, which nothing was chosen on."
        )
    return (
        "The numbers are of the models of the cross-validation: each had about "
        f"{evaluation.train_size} slices to learn from and {evaluation.validation_size} {chosen}, "
        f"and together they were tested on {evaluation.test_size}, each by a model that had "
        f"nothing to do with it. The version itself had {own.train} slices to learn from and "
        f"{own.validation} {chosen}, which is all of them: none was left to test it on."
    )


def abstains(threshold: float) -> str:
    """Which answers are not accepted, where they have to be at least as sure as this."""
    if threshold >= NEVER:
        return "Every answer is marked ABSTAINED: this version accepts none, however sure it is."
    below = f"{threshold:.{digits_below_one(threshold, 3)}f}"
    return f"An answer whose highest probability is below {below} is marked ABSTAINED."


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One number of an evaluation, as a person reads it; ``interval`` may be empty."""

    name: str
    value: str
    interval: str


def score_rows(evaluation: Evaluation) -> tuple[ScoreRow, ...]:
    """The numbers that were measured, in their order."""
    rows = []
    for name in SCORES:
        value = getattr(evaluation, name)
        if value is not None:
            ends = evaluation.intervals.get(name)
            interval = "" if ends is None else f"{ends.low:.3f} to {ends.high:.3f}"
            rows.append(ScoreRow(name=_NAMES[name], value=f"{value:.3f}", interval=interval))
    return tuple(rows)
