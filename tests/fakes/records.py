"""Ready-made data sets, jobs and audit entries for tests."""

import hashlib
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from core.datasets import (
    ClassLeakage,
    Dataset,
    DatasetAudit,
    DatasetItem,
    LabelErrors,
    LabelSuspect,
    MaskAudit,
    MaskFinding,
    ShortcutControl,
    SimilarPair,
    SizeCount,
)
from core.errors import RejectedFile
from core.labels import TumourLabel
from core.prediction import AuditEntry, Box, Decision, Outcome, Region, Review
from core.question import Question
from core.search import Choice, Range, SearchSpec, SearchTrial, TrialState
from core.training import Optimizer, TrainingJob, TrainingSpec

NOW = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)


def a_dataset(dataset_id: str = "brains", **changes: Any) -> Dataset:
    values: dict[str, Any] = {
        "id": dataset_id,
        "create_time": NOW,
        "request_id": None,
        "caller": "ann",
        "source": "upload of brains.zip",
        "digest": "d" * 64,
        "item_count": 10,
        "size_bytes": 3_000_000_000,
        "class_counts": {TumourLabel.GLIOMA: 6, TumourLabel.NO_TUMOR: 4},
        "group_count": 5,
        "mask_count": 1,
        "has_given_split": True,
        "duplicate_count": 2,
        "rejected": (RejectedFile("glioma/broken.png", "it ends too early"),),
        "rejected_count": 7,
        "audit": an_audit(),
    }
    return Dataset(**(values | changes))


def an_item(path: str, **changes: Any) -> DatasetItem:
    values: dict[str, Any] = {
        "path": path,
        "sha256": hashlib.sha256(path.encode()).hexdigest(),
        "size_bytes": 1000,
        "label": TumourLabel.GLIOMA,
        "width": 128,
        "height": 128,
    }
    return DatasetItem(**(values | changes))


def an_audit(**changes: Any) -> DatasetAudit:
    """An audit that found something of every kind."""
    pair = SimilarPair(
        first="glioma/1.png",
        first_label=TumourLabel.GLIOMA,
        second="no_tumor/1.jpg",
        second_label=TumourLabel.NO_TUMOR,
        similarity=0.1 + 0.2 + 0.69,
    )
    suspect = LabelSuspect(
        path="glioma/2.png",
        label=TumourLabel.GLIOMA,
        suggested=TumourLabel.PITUITARY,
        probability=1 / 3,
    )
    values: dict[str, Any] = {
        "unreadable_count": 1,
        "exact_duplicate_count": 2,
        "contradictory_exact_count": 3,
        "near_duplicate_count": 4,
        "near_duplicate_pair_count": 3_000_000_000,
        "near_duplicate_component_count": 2,
        "near_duplicate_examples": (pair, pair),
        "contradictory_pair_count": 1,
        "contradictory_examples": (pair,),
        "leakage": {TumourLabel.GLIOMA: ClassLeakage(test_count=3, leaked_count=1)},
        "class_ratio": 1.5,
        "sizes": (
            SizeCount(width=512, height=512, count=8),
            SizeCount(width=240, height=256, count=2),
        ),
        "size_count": 2,
        "kinds": {"JPEG RGB": 8, "PNG L": 2},
        "blank_count": 1,
        "blank_examples": ("no_tumor/black.png",),
        "shortcut_control": ShortcutControl(
            accuracy=0.8, macro_f1=0.75, majority_share=0.6, fold_count=2, telling=("width",)
        ),
        "warnings": ("The Testing part leaks.", "Das Bild ist schwarz \N{BRAIN}"),
        "label_errors": LabelErrors(count=1, suspects=(suspect,)),
        "masks": MaskAudit(
            findings=(
                MaskFinding(
                    problem="has several shades",
                    refused=True,
                    count=5,
                    examples=("glioma/3.png", "glioma/4.png", "glioma/5.png", "glioma/6.png"),
                ),
                MaskFinding(
                    problem="marks hardly a pixel of the head",
                    refused=False,
                    count=1,
                    examples=("pituitary/7.png",),
                ),
            ),
            unmasked_count=2,
        ),
        "unnamed_count": 1,
        "unnamed_example": "glioma/8.png",
        "page_sha256": "f" * 64,
    }
    return DatasetAudit(**(values | changes))


def a_job(job_id: str = "job1", **changes: Any) -> TrainingJob:
    values: dict[str, Any] = {
        "id": job_id,
        "create_time": NOW,
        "update_time": NOW,
        "request_id": None,
        "caller": "ann",
        "dataset": "brains",
        "spec": TrainingSpec(learning_rate=0.1 + 0.2, epochs=3),
    }
    return TrainingJob(**(values | changes))


def a_search(**changes: Any) -> SearchSpec:
    """With a dimension of every kind."""
    values: dict[str, Any] = {
        "trials": 7,
        "seconds": 90.5,
        "space": {
            "learning_rate": Range(low=1e-4, high=0.1 + 0.2, log=True),
            "frozen_blocks": Range(low=0, high=3),
            "optimizer": Choice(values=(Optimizer.ADAM, Optimizer.SGD)),
            "augmentation": Choice(values=(True, False)),
        },
    }
    return SearchSpec(**(values | changes))


def a_trial(number: int = 1, **changes: Any) -> SearchTrial:
    values: dict[str, Any] = {
        "number": number,
        "recipe": {"learning_rate": 0.1 + 0.2, "optimizer": "sgd", "augmentation": False},
        "state": TrialState.COMPLETE,
        "scores": (1 / 3, 2 / 3, 0.5),
        "seconds": 12.5,
    }
    return SearchTrial(**(values | changes))


def an_entry(**changes: Any) -> AuditEntry:
    """An answered classification."""
    values: dict[str, Any] = {
        "id": uuid4().hex,
        "create_time": NOW,
        "request_id": None,
        "caller": "ann",
        "image_sha256": "a" * 64,
        "image_bytes": 1234,
        "model_version": "m1",
        "probabilities": (0.1 + 0.2, 1 / 3, 5e-324, 0.36666666666666664),
        "label": TumourLabel.PITUITARY,
        "decision": Decision.ACCEPTED,
        "outcome": Outcome.ANSWERED,
        "status": "OK",
        "reason": None,
        "message": None,
        "latency_us": 19_000,
        "software_version": "0.1.0",
    }
    return AuditEntry(**(values | changes))


def a_question(**changes: Any) -> Question:
    values: dict[str, Any] = {
        "image_sha256": "a" * 64,
        "model_version": "m1",
        "digest": "d" * 64,
    }
    return Question(**(values | changes))


def a_region(**changes: Any) -> Region:
    """A region as the audit log keeps it."""
    values: dict[str, Any] = {
        "box": Box(x0=1, y0=2, x1=31, y1=42),
        "score": 0.1 + 0.2,
        "area_px": 900,
        "area_mm2": 1 / 3,
    }
    return Region(**(values | changes))


def an_outlined_entry(**changes: Any) -> AuditEntry:
    """An answered classification with two regions."""
    regions = (a_region(), a_region(score=0.25, area_mm2=None))
    return an_entry(**({"segmenter_version": "s1", "regions": regions} | changes))


def a_refusal(**changes: Any) -> AuditEntry:
    """A classification that was refused: no answer, no label."""
    values: dict[str, Any] = {
        "model_version": None,
        "probabilities": None,
        "label": None,
        "decision": None,
        "outcome": Outcome.REFUSED,
        "status": "INVALID_ARGUMENT",
        "reason": "IMAGE_TRUNCATED",
        "message": "Das Bild endet zu früh \N{BRAIN}",
    }
    return an_entry(**(values | changes))


def a_review(prediction: str, **changes: Any) -> Review:
    values: dict[str, Any] = {
        "id": uuid4().hex,
        "prediction": prediction,
        "create_time": NOW,
        "caller": "clinic@example.org",
        "reviewer": "dr-lee",
        "label": TumourLabel.GLIOMA,
        "agrees": False,
        "comment": "edge enhancement",
    }
    return Review(**(values | changes))
