"""Messages become plain rows."""

import json

import pytest
from braintumor.v1 import (
    audit_pb2,
    classifier_pb2,
    datasets_pb2,
    labels_pb2,
    models_pb2,
    training_pb2,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from services.cli.rows import answer_row, prediction_row, refused_row, reviewed_row, row, word


def probabilities(*values: float) -> list[labels_pb2.LabelProbability]:
    return [
        labels_pb2.LabelProbability(label=label, probability=value)  # type: ignore[arg-type]
        for label, value in enumerate(values, start=1)
    ]


def test_a_data_set_keeps_its_fields_and_their_order() -> None:
    dataset = datasets_pb2.Dataset(
        name="datasets/a",
        create_time=Timestamp(seconds=1_700_000_000, nanos=250_000_000),
        item_count=3,
        class_counts=[
            datasets_pb2.LabelCount(label=labels_pb2.TUMOR_LABEL_NO_TUMOR, count=3),
        ],
        rejected_files=[datasets_pb2.RejectedFile(path="x.jpg", problem="is empty")],
    )
    found = row(dataset)
    assert list(found) == [field.name for field in datasets_pb2.Dataset.DESCRIPTOR.fields]
    assert next(iter(found)) == "name"
    assert found["create_time"] == "2023-11-14T22:13:20.250000Z"
    assert found["item_count"] == 3
    assert found["class_counts"] == {"no_tumor": 3}
    assert found["rejected_files"] == [{"path": "x.jpg", "problem": "is empty"}]
    assert found["source"] is None
    json.dumps(found)


def test_a_job_has_its_state_in_upper_case_and_its_choices_in_lower_case() -> None:
    job = training_pb2.TrainingJob(
        name="trainingJobs/j",
        state=training_pb2.JOB_STATE_RUNNING,
        spec=training_pb2.TrainingSpec(
            backbone=training_pb2.BACKBONE_EFFICIENTNET_B0,
            optimizer=training_pb2.OPTIMIZER_ADAMW,
            epochs=0,
        ),
    )
    found = row(job)
    assert found["state"] == "RUNNING"
    assert found["spec"]["backbone"] == "efficientnet_b0"
    assert found["spec"]["optimizer"] == "adamw"
    assert found["spec"]["epochs"] == 0
    assert found["spec"]["seed"] is None
    assert found["start_time"] is None
    assert found["error"] is None


def test_a_model_version_has_numbers_by_label_and_units_in_its_keys() -> None:
    version = models_pb2.ModelVersion(
        latency=Duration(nanos=12_345_678),
        train_duration=Duration(seconds=90),
        library_versions={"b": "2", "a": "1"},
        evaluation=models_pb2.Evaluation(
            per_class=[
                models_pb2.ClassMetrics(label=labels_pb2.TUMOR_LABEL_GLIOMA, f1=0.5, support=4)
            ],
            confusion=[
                models_pb2.ConfusionRow(label=labels_pb2.TUMOR_LABEL_GLIOMA, counts=[3, 1, 0, 0])
            ],
        ),
    )
    found = row(version)
    assert found["latency_ms"] == pytest.approx(12.346)
    assert found["train_duration_seconds"] == 90.0
    assert list(found["library_versions"]) == ["a", "b"]
    assert found["evaluation"]["per_class"]["glioma"] == {
        "precision": None,
        "recall": None,
        "f1": 0.5,
        "support": 4,
        "roc_auc": None,
        "pr_auc": None,
    }
    assert found["evaluation"]["specificity"] is None
    assert found["evaluation"]["confusion"] == {"glioma": [3, 1, 0, 0]}


def test_an_answer_has_the_keys_that_are_promised() -> None:
    response = classifier_pb2.ClassifyResponse(
        prediction="predictions/p",
        label=labels_pb2.TUMOR_LABEL_PITUITARY,
        probabilities=probabilities(0.1, 0.1, 0.1, 0.7),
        decision=labels_pb2.DECISION_OUT_OF_DISTRIBUTION,
        model_version="modelVersions/m",
        latency=Duration(nanos=20_000_000),
        regions=[
            classifier_pb2.Region(
                box=classifier_pb2.BoundingBox(x0=1, y0=2, x1=30, y1=40), score=0.5, area_px=99
            )
        ],
        cached=True,
    )
    found = answer_row("a.png", response)
    assert found == {
        "path": "a.png",
        "prediction": "predictions/p",
        "label": "pituitary",
        "probabilities": {"glioma": 0.1, "meningioma": 0.1, "no_tumor": 0.1, "pituitary": 0.7},
        "decision": "OUT_OF_DISTRIBUTION",
        "model_version": "modelVersions/m",
        "latency_ms": 20.0,
        "segmenter_version": None,
        "cached": True,
        "regions": [{"box": [1, 2, 30, 40], "score": 0.5, "area_px": 99, "area_mm2": None}],
        "error": None,
    }
    refused = refused_row("b.png", {"status": "NOT_FOUND", "reason": None, "message": "gone"})
    assert list(refused) == list(found)


def test_an_audit_row_is_named_prediction() -> None:
    prediction = audit_pb2.Prediction(
        name="predictions/p", outcome=audit_pb2.OUTCOME_REFUSED, status="INVALID_ARGUMENT"
    )
    found = prediction_row(prediction)
    assert next(iter(found)) == "prediction"
    assert found["prediction"] == "predictions/p"
    assert found["outcome"] == "REFUSED"
    assert found["label"] is None
    assert found["probabilities"] == {}
    assert found["regions"] is None
    assert found["cached"] is False
    assert not {"name", "reviews", "outlined"} & set(found)


def test_an_audit_row_may_come_with_its_reviews() -> None:
    review = audit_pb2.Review(reviewer="dr", agrees=False, label=labels_pb2.TUMOR_LABEL_GLIOMA)
    found = reviewed_row(audit_pb2.Prediction(name="predictions/p", reviews=[review]))
    (shown,) = found["reviews"]
    assert (shown["reviewer"], shown["agrees"], shown["label"]) == ("dr", False, "glioma")
    assert reviewed_row(audit_pb2.Prediction())["reviews"] == []
    json.dumps(found)


def test_an_audit_row_tells_no_regions_from_none_asked_for() -> None:
    box = classifier_pb2.BoundingBox(x0=1, y0=2, x1=30, y1=40)
    region = classifier_pb2.Region(box=box, score=0.5, area_px=99, area_mm2=24.75)
    none = prediction_row(audit_pb2.Prediction(outlined=True))
    some = prediction_row(audit_pb2.Prediction(outlined=True, regions=[region]))
    assert none["regions"] == []
    assert some["regions"] == [
        {"box": [1, 2, 30, 40], "score": 0.5, "area_px": 99, "area_mm2": 24.75}
    ]
    json.dumps(some)


def test_a_word_of_a_newer_server_is_its_number() -> None:
    assert word(labels_pb2.TumorLabel.DESCRIPTOR, 99) == "99"
