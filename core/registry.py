"""Model versions, their numbers, and the aliases that point at them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final

from core.labels import TumourLabel
from core.training import Backbone, Task

PRODUCTION: Final = "production"
"""Alias of the classifier that answers."""
SEGMENTATION: Final = "segmentation"
"""Alias of the segmenter that outlines what the classifier found."""
SERVING: Final[Mapping[Task, str]] = {
    Task.CLASSIFICATION: PRODUCTION,
    Task.SEGMENTATION: SEGMENTATION,
}
"""The alias by which a version of each task answers requests."""

SCORES: Final = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "roc_auc",
    "pr_auc",
    "sensitivity",
    "specificity",
    "ece",
    "brier",
    "aurc",
    "coverage",
    "accepted_accuracy",
    "accuracy_at_80",
    "majority_share",
    "control_accuracy",
)
"""The names of an evaluation's numbers, in the order they are shown."""


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """One class's numbers on held-out slices, each 0..1; ``support`` counts its slices.

    Without slices of the class the others are None. ``precision`` is 0 where the class is never
    named. ``roc_auc`` and ``pr_auc`` (average precision) are of the class against the rest, None
    where there are no others, too.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    roc_auc: float | None = None
    pr_auc: float | None = None


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % interval of a number; resampled over groups of slices.

    A number has none where the groups are too few. Where all are alike a share has an exact one,
    for as many trials as groups, and any other score none.
    """

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A version's numbers on slices it never saw. Shares and scores are 0..1.

    ``confusion[i][j]`` counts slices of class ``LABELS[i]`` that were called ``LABELS[j]``.
    ``protocol`` says in words how the slices were held out.

    A number is None where it was not measured, as in versions of before it was introduced, or is
    not defined, such as the specificity without a slice of ``no_tumor``. ``roc_auc`` and
    ``pr_auc`` are means over the classes. ``sensitivity`` is the share of tumours that were
    called a tumour, of whichever kind; ``specificity`` that of slices without one that were
    called so. ``ece`` is the expected calibration error, ``brier`` the Brier score (0..2),
    ``aurc`` the area under the risk-coverage curve: all three are better when lower.
    ``coverage`` is the share of slices whose answer was accepted, ``accepted_accuracy`` theirs;
    ``accuracy_at_80`` is the accuracy of the 80 % of answers that the model is surest of.
    ``majority_share`` is the accuracy of always naming the commonest class, and
    ``control_accuracy`` that of a control that sees no picture, only what the file looks like.

    ``intervals`` are by metric: the name of a field, or ``precision/glioma`` and the like.
    """

    accuracy: float
    macro_f1: float
    per_class: Mapping[TumourLabel, ClassMetrics]
    confusion: tuple[tuple[int, ...], ...]
    train_size: int
    validation_size: int
    test_size: int
    protocol: str
    balanced_accuracy: float | None = None
    roc_auc: float | None = None
    pr_auc: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    ece: float | None = None
    brier: float | None = None
    aurc: float | None = None
    coverage: float | None = None
    accepted_accuracy: float | None = None
    accuracy_at_80: float | None = None
    majority_share: float | None = None
    control_accuracy: float | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    score_name: ClassVar[str] = "macro-F1"

    @property
    def score(self) -> float:
        """What versions are ranked by, 0..1."""
        return self.macro_f1

    @property
    def score_interval(self) -> Interval | None:
        """That of the score, where there is one."""
        return self.intervals.get("macro_f1")

    @property
    def share_right(self) -> float:
        """The mean, 0..1, of how right each slice's answer is."""
        return self.accuracy


SEGMENTATION_SCORES: Final = (
    "dice",
    "dice_median",
    "iou",
    "iou_median",
    "hd95",
    "missed_share",
    "lesion_recall",
    "box_map_50",
    "box_map_50_95",
    "healthy_with_regions",
)
"""Numbers of a :class:`SegmentationEvaluation`, in the order in which people read them."""


@dataclass(frozen=True, kw_only=True)
class OutlineMetrics:
    """Mean Dice and IoU, 0..1, of ``support`` slices."""

    dice: float
    iou: float
    support: int


@dataclass(frozen=True, kw_only=True)
class SizeMetrics(OutlineMetrics):
    """Of a third of the slices by the area of their tumour, at most ``up_to_px`` pixels."""

    up_to_px: int


@dataclass(frozen=True, kw_only=True)
class SegmentationEvaluation:
    """A segmenter's numbers on slices it never saw, in pixels of the pictures as they came.

    ``dice``, ``iou`` and their medians are over ``test_size`` slices with a tumour, 0..1. ``hd95``
    is the mean 95th percentile of the distances between found and true outline in pixels, over
    slices in which something was found; ``missed_share`` is the share of the others. A lesion is
    a connected part of a mask; ``lesion_recall`` is the share of those that were found.
    ``box_map_50`` and ``box_map_50_95`` are COCO's mean average precision of the lesions' boxes, of
    slices with a tumour alone. ``healthy_with_regions`` is the share of ``healthy_size`` slices
    without a tumour in which the segmenter alone, without a classifier before it, finds one; None
    without such slices.
    ``per_size`` are thirds, small lesions first. ``protocol`` and ``intervals`` are as in
    :class:`Evaluation`.
    """

    dice: float
    dice_median: float
    iou: float
    iou_median: float
    missed_share: float
    lesion_recall: float
    box_map_50: float
    box_map_50_95: float
    per_class: Mapping[TumourLabel, OutlineMetrics]
    per_size: tuple[SizeMetrics, ...]
    train_size: int
    validation_size: int
    test_size: int
    healthy_size: int
    protocol: str
    hd95: float | None = None
    healthy_with_regions: float | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    score_name: ClassVar[str] = "Dice"

    @property
    def score(self) -> float:
        """What versions are ranked by, 0..1."""
        return self.dice

    @property
    def score_interval(self) -> Interval | None:
        """That of the score, where there is one."""
        return self.intervals.get("dice")

    @property
    def share_right(self) -> float:
        """The mean, 0..1, of how right each slice's answer is."""
        return self.dice


AnyEvaluation = Evaluation | SegmentationEvaluation


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A trained model in the registry.

    ``digest`` is the content hash its artefact folder is named by; ``latency_ms`` is the median
    of single-slice inference on the machine that trained it, in milliseconds. ``flops`` are the
    multiply-accumulates of one slice, 0 where they were not counted. ``evaluation`` is of the
    kind that belongs to ``task``.
    """

    id: str
    create_time: datetime
    task: Task
    backbone: Backbone
    digest: str
    dataset: str
    dataset_digest: str
    training_job: str
    spec: Mapping[str, Any]
    weights_source: str
    evaluation: AnyEvaluation
    parameters: int
    size_bytes: int
    train_seconds: float
    latency_ms: float
    library_versions: Mapping[str, str]
    flops: int = 0
    aliases: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        return f"modelVersions/{self.id}"

    @property
    def artefact_prefix(self) -> str:
        """Where its files are in the artefact store."""
        return artefact_prefix(self.digest)


def artefact_prefix(digest: str) -> str:
    """The artefact store folder of the model with this content hash."""
    return f"models/{digest}"


class ReportFormat(StrEnum):
    """What there is to read about a version."""

    HTML = "html"
    """The report."""
    MARKDOWN = "markdown"
    """The model card."""


@dataclass(frozen=True, kw_only=True)
class AliasMove:
    """One move of an alias: who pointed it from where to where, when and why."""

    alias: str
    sequence: int
    create_time: datetime
    caller: str
    from_version: str | None
    to_version: str
    reason: str
