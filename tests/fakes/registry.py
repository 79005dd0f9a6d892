"""Ready-made registry records for tests."""

from datetime import UTC, datetime
from typing import Any

from core.labels import LABELS
from core.registry import AnyEvaluation, ClassMetrics, Evaluation, ModelVersion
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
