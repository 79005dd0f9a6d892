"""Ready-made registry records for tests."""

from datetime import UTC, datetime
from typing import Any

from core.labels import LABELS, TumourLabel
from core.registry import (
    AnyEvaluation,
    ClassMetrics,
    Evaluation,
    Interval,
    ModelVersion,
    OutlineMetrics,
    SegmentationEvaluation,
    SizeMetrics,
)
from core.training import Backbone, Task


def an_evaluation(accuracy: float = 0.9) -> Evaluation:
    metrics = ClassMetrics(precision=accuracy, recall=accuracy, f1=accuracy, support=25)
    return Evaluation(
        accuracy=accuracy,
        macro_f1=accuracy,
        per_class=dict.fromkeys(LABELS, metrics),
        confusion=tuple(tuple(25 if i == j else 0 for j in range(4)) for i in range(4)),
        train_size=400,
        validation_size=100,
        test_size=100,
        protocol="held out",
    )


def a_segmentation(dice: float = 0.85) -> SegmentationEvaluation:
    metrics = OutlineMetrics(dice=dice, iou=dice / (2 - dice), support=20)
    return SegmentationEvaluation(
        dice=dice,
        dice_median=0.9,
        iou=0.75,
        iou_median=0.8,
        missed_share=0.05,
        lesion_recall=0.9,
        box_map_50=0.93,
        box_map_50_95=0.65,
        per_class={TumourLabel.GLIOMA: metrics, TumourLabel.PITUITARY: metrics},
        per_size=(SizeMetrics(dice=0.7, iou=0.6, support=7, up_to_px=400),),
        train_size=400,
        validation_size=100,
        test_size=40,
        healthy_size=0,
        protocol="held out",
        hd95=4.5,
        intervals={"dice": Interval(low=0.8, high=0.9)},
    )


def a_model_version(version_id: str = "m1", **changes: Any) -> ModelVersion:
    values: dict[str, Any] = {
        "id": version_id,
        "create_time": datetime(2026, 1, 2, tzinfo=UTC),
        "task": Task.CLASSIFICATION,
        "backbone": Backbone.EFFICIENTNET_B0,
        "digest": f"{version_id:0<64}",
        "dataset": "brains",
        "dataset_digest": "d" * 64,
        "training_job": "job1",
        "spec": {"epochs": 3},
        "weights_source": "none",
        "evaluation": an_evaluation(),
        "parameters": 4_000_000,
        "size_bytes": 16_000_000,
        "train_seconds": 60.0,
        "latency_ms": 9.0,
        "library_versions": {"tensorflow": "2.21.0"},
    }
    return ModelVersion(**(values | changes))


def classifying(evaluation: AnyEvaluation) -> Evaluation:
    """The evaluation, which must be a classifier's."""
    assert isinstance(evaluation, Evaluation)
    return evaluation
