"""Between rows and the domain's records. Nothing outside ``db`` sees a row."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, overload

from sqlalchemy import Row

from core.datasets import (
    ClassLeakage,
    Dataset,
    DatasetAudit,
    LabelErrors,
    LabelSuspect,
    MaskAudit,
    MaskFinding,
    ShortcutControl,
    SimilarPair,
    SizeCount,
)
from core.errors import RejectedFile
from core.labels import LABELS, TumourLabel
from core.prediction import AuditRecord, Decision, Outcome, Review
from core.region_text import regions_from_text, regions_to_text
from core.registry import (
    SCORES,
    SEGMENTATION_SCORES,
    AliasMove,
    AnyEvaluation,
    ClassMetrics,
    Evaluation,
    Interval,
    ModelVersion,
    OutlineMetrics,
    SegmentationEvaluation,
    SizeMetrics,
)
from core.search import Choice, Dimension, Range, SearchSpec, SearchTrial, TrialState
from core.training import (
    Backbone,
    EpochProgress,
    JobEvent,
    JobState,
    Task,
    TrainingJob,
    TrainingSpec,
)
from db import tables

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@overload
def to_us(moment: datetime) -> int: ...
@overload
def to_us(moment: datetime | None) -> int | None: ...
def to_us(moment: datetime | None) -> int | None:
    """Microseconds since the epoch."""
    return None if moment is None else (moment - EPOCH) // timedelta(microseconds=1)


@overload
def from_us(microseconds: int) -> datetime: ...
@overload
def from_us(microseconds: int | None) -> datetime | None: ...
def from_us(microseconds: int | None) -> datetime | None:
    """The moment, aware, in UTC."""
    return None if microseconds is None else EPOCH + timedelta(microseconds=microseconds)


# --- data sets --------------------------------------------------------------------------------


def dataset_values(dataset: Dataset) -> dict[str, Any]:
    return {
        "id": dataset.id,
        "create_time": to_us(dataset.create_time),
        "request_id": dataset.request_id,
        "caller": dataset.caller,
        "source": dataset.source,
        "digest": dataset.digest,
        "item_count": dataset.item_count,
        "size_bytes": dataset.size_bytes,
        "class_counts": {str(label): count for label, count in dataset.class_counts.items()},
        "group_count": dataset.group_count,
        "mask_count": dataset.mask_count,
        "has_given_split": dataset.has_given_split,
        "duplicate_count": dataset.duplicate_count,
        "rejected": [asdict(file) for file in dataset.rejected],
        "rejected_count": dataset.rejected_count,
        "audit": _audit_to_json(dataset.audit) if dataset.audit else None,
    }


def dataset_from_row(row: tables.DatasetRow) -> Dataset:
    return Dataset(
        id=row.id,
        create_time=from_us(row.create_time),
        request_id=row.request_id,
        caller=row.caller,
        source=row.source,
        digest=row.digest,
        item_count=row.item_count,
        size_bytes=row.size_bytes,
        class_counts={TumourLabel(k): v for k, v in row.class_counts.items()},
        group_count=row.group_count,
        mask_count=row.mask_count,
        has_given_split=row.has_given_split,
        duplicate_count=row.duplicate_count,
        rejected=tuple(RejectedFile(**file) for file in row.rejected),
        # From before they were counted, all that are known are those that are named.
        rejected_count=max(row.rejected_count, len(row.rejected)),
        audit=_audit_from_json(row.audit) if row.audit else None,
    )


_LATE_IN_AUDITS: Final = frozenset({"unnamed_count", "unnamed_example", "labels_unjudged"})
"""What gateways of before do not know, and are spared where it says nothing."""


def _audit_to_json(audit: DatasetAudit) -> dict[str, Any]:
    values = asdict(audit)
    return {name: v for name, v in values.items() if v or name not in _LATE_IN_AUDITS}


def _audit_from_json(values: Mapping[str, Any]) -> DatasetAudit:
    """Fields that this version does not know are left out."""
    known = {field.name for field in fields(DatasetAudit)}
    values = {name: value for name, value in values.items() if name in known}
    control, errors = values["shortcut_control"], values["label_errors"]
    masks = values.get("masks")  # audits from before have none
    return DatasetAudit(
        **{
            **values,
            "near_duplicate_examples": _pairs_from_json(values["near_duplicate_examples"]),
            "contradictory_examples": _pairs_from_json(values["contradictory_examples"]),
            "leakage": {
                TumourLabel(label): ClassLeakage(**leak)
                for label, leak in values["leakage"].items()
            },
            "sizes": tuple(SizeCount(**size) for size in values["sizes"]),
            "blank_examples": tuple(values["blank_examples"]),
            "shortcut_control": control and _control_from_json(control),
            "warnings": tuple(values["warnings"]),
            "label_errors": errors and _label_errors_from_json(errors),
            "masks": masks and _mask_audit_from_json(masks),
        }
    )


def _pairs_from_json(pairs: list[Mapping[str, Any]]) -> tuple[SimilarPair, ...]:
    return tuple(
        SimilarPair(
            **{
                **pair,
                "first_label": TumourLabel(pair["first_label"]),
                "second_label": TumourLabel(pair["second_label"]),
            }
        )
        for pair in pairs
    )


def _control_from_json(values: Mapping[str, Any]) -> ShortcutControl:
    return ShortcutControl(**{**values, "telling": tuple(values["telling"])})


def _mask_audit_from_json(values: Mapping[str, Any]) -> MaskAudit:
    findings = (
        MaskFinding(**{**finding, "examples": tuple(finding["examples"])})
        for finding in values["findings"]
    )
    return MaskAudit(findings=tuple(findings), unmasked_count=values["unmasked_count"])


def _label_errors_from_json(values: Mapping[str, Any]) -> LabelErrors:
    suspects = (
        LabelSuspect(
            path=suspect["path"],
            label=TumourLabel(suspect["label"]),
            suggested=TumourLabel(suspect["suggested"]),
            probability=suspect["probability"],
        )
        for suspect in values["suspects"]
    )
    return LabelErrors(count=values["count"], suspects=tuple(suspects))


# --- training jobs ----------------------------------------------------------------------------


def job_values(job: TrainingJob) -> dict[str, Any]:
    """Every column of a job's row."""
    return {
        "id": job.id,
        "create_time": to_us(job.create_time),
        "request_id": job.request_id,
        "caller": job.caller,
        "dataset": job.dataset,
        "spec": asdict(job.spec),
        "search": asdict(job.search) if job.search else None,
        "attempt": job.attempt,
        **mutable_job_values(job),
    }


def mutable_job_values(job: TrainingJob) -> dict[str, Any]:
    """The columns that change while a job lives."""
    return {
        "update_time": to_us(job.update_time),
        "state": str(job.state),
        "progress": job.progress,
        "stage": job.stage,
        "futile_attempts": job.futile_attempts,
        "worker": job.worker,
        "heartbeat_time": to_us(job.heartbeat_time),
        "enqueue_time": to_us(job.enqueue_time),
        "start_time": to_us(job.start_time),
        "end_time": to_us(job.end_time),
        "model_version": job.model_version,
        "result_job": job.result_job,
        "error_reason": job.error_reason,
        "error_message": job.error_message,
    }


def job_from_row(row: tables.TrainingJobRow) -> TrainingJob:
    return TrainingJob(
        id=row.id,
        create_time=from_us(row.create_time),
        update_time=from_us(row.update_time),
        request_id=row.request_id,
        caller=row.caller,
        dataset=row.dataset,
        spec=spec_from_json(row.spec),
        search=_search_from_json(row.search) if row.search else None,
        state=JobState(row.state),
        progress=row.progress,
        stage=row.stage,
        attempt=row.attempt,
        futile_attempts=row.futile_attempts,
        worker=row.worker,
        heartbeat_time=from_us(row.heartbeat_time),
        enqueue_time=from_us(row.enqueue_time),
        start_time=from_us(row.start_time),
        end_time=from_us(row.end_time),
        model_version=row.model_version,
        result_job=row.result_job,
        error_reason=row.error_reason,
        error_message=row.error_message,
    )


def _search_from_json(values: Mapping[str, Any]) -> SearchSpec:
    """A stored search, as it is."""
    space: dict[str, Dimension] = {
        name: Choice(values=tuple(found["values"])) if "values" in found else Range(**found)
        for name, found in values["space"].items()
    }
    return SearchSpec(trials=values["trials"], seconds=values["seconds"], space=space)


def trial_values(job_id: str, trial: SearchTrial) -> dict[str, Any]:
    return {"job": job_id, "score": trial.score, **asdict(trial)}


def trial_from_row(row: tables.SearchTrialRow) -> SearchTrial:
    return SearchTrial(
        number=row.number,
        recipe=row.recipe,
        state=TrialState(row.state),
        scores=tuple(row.scores),
        seconds=row.seconds,
        error=row.error,
    )


def spec_from_json(values: Mapping[str, Any]) -> TrainingSpec:
    """A stored spec, as it is: what was accepted once is not judged by today's limits.

    Fields that this version does not know are left out.
    """
    known = {field.name: field.default for field in fields(TrainingSpec)}
    return TrainingSpec(
        **{name: _like(known[name], value) for name, value in values.items() if name in known}
    )


def _like(default: Any, value: Any) -> Any:
    return type(default)(value) if isinstance(default, StrEnum) else value


def event_values(event: JobEvent) -> dict[str, Any]:
    return {
        "job": event.job,
        "sequence": event.sequence,
        "create_time": to_us(event.create_time),
        "state": str(event.state),
        "message": event.message,
        "epoch": asdict(event.epoch) if event.epoch else None,
    }


def event_from_row(row: tables.JobEventRow) -> JobEvent:
    return JobEvent(
        job=row.job,
        sequence=row.sequence,
        create_time=from_us(row.create_time),
        state=JobState(row.state),
        message=row.message,
        epoch=EpochProgress(**row.epoch) if row.epoch else None,
    )


# --- models -----------------------------------------------------------------------------------


def model_values(version: ModelVersion) -> dict[str, Any]:
    return {
        "id": version.id,
        "create_time": to_us(version.create_time),
        "task": str(version.task),
        "backbone": str(version.backbone),
        "digest": version.digest,
        "dataset": version.dataset,
        "dataset_digest": version.dataset_digest,
        "training_job": version.training_job,
        "spec": dict(version.spec),
        "weights_source": version.weights_source,
        "evaluation": evaluation_to_json(version.evaluation) | {"flops": version.flops},
        "parameters": version.parameters,
        "size_bytes": version.size_bytes,
        "train_seconds": version.train_seconds,
        "latency_ms": version.latency_ms,
        "library_versions": dict(version.library_versions),
    }


def model_from_row(row: tables.ModelVersionRow, aliases: tuple[str, ...]) -> ModelVersion:
    return ModelVersion(
        id=row.id,
        create_time=from_us(row.create_time),
        task=Task(row.task),
        backbone=Backbone(row.backbone),
        digest=row.digest,
        dataset=row.dataset,
        dataset_digest=row.dataset_digest,
        training_job=row.training_job,
        spec=row.spec,
        weights_source=row.weights_source,
        evaluation=evaluation_from_json(row.evaluation),
        parameters=row.parameters,
        size_bytes=row.size_bytes,
        train_seconds=row.train_seconds,
        latency_ms=row.latency_ms,
        library_versions=row.library_versions,
        flops=row.evaluation.get("flops", 0),
        aliases=aliases,
    )


def metric_values(version: ModelVersion) -> dict[str, float]:
    """A version's numbers by name, such as ``recall/glioma``; those that are undefined are left
    out, since SQL has no place for NaN that both databases share."""
    values: dict[str, float | None] = {
        **_scores(version.evaluation),
        "latency_ms": version.latency_ms,
        "flops": version.flops or None,
    }
    return {n: float(v) for n, v in values.items() if v is not None and math.isfinite(v)}


def _scores(evaluation: AnyEvaluation) -> dict[str, float | None]:
    is_segmenter = isinstance(evaluation, SegmentationEvaluation)
    names = (*SEGMENTATION_SCORES, "healthy_size") if is_segmenter else SCORES
    values: dict[str, float | None] = {n: getattr(evaluation, n) for n in (*names, *_SIZES)}
    for label, metrics in evaluation.per_class.items():
        values |= {f"{name}/{label}": value for name, value in asdict(metrics).items()}
    return values


_SIZES: Final = ("train_size", "validation_size", "test_size")
_EVALUATION_FIELDS: Final = frozenset(f.name for f in fields(Evaluation))
_SEGMENTATION_FIELDS: Final = frozenset(f.name for f in fields(SegmentationEvaluation))


def evaluation_to_json(evaluation: AnyEvaluation) -> dict[str, Any]:
    per_class = {str(label): asdict(m) for label, m in evaluation.per_class.items()}
    return {**asdict(evaluation), "per_class": per_class}


def evaluation_from_json(values: Mapping[str, Any]) -> AnyEvaluation:
    """Numbers that the version's software did not know are None; such as it alone knew go.

    A segmenter's are told by their Dice.
    """
    if "dice" in values:
        return _segmentation_from_json(values)
    known = {name: value for name, value in values.items() if name in _EVALUATION_FIELDS}
    return Evaluation(
        **known
        | {
            "per_class": {
                TumourLabel(label): ClassMetrics(**m) for label, m in values["per_class"].items()
            },
            "confusion": tuple(tuple(row) for row in values["confusion"]),
            "intervals": _intervals(values),
        }
    )


def _segmentation_from_json(values: Mapping[str, Any]) -> SegmentationEvaluation:
    known = {name: value for name, value in values.items() if name in _SEGMENTATION_FIELDS}
    return SegmentationEvaluation(
        **known
        | {
            "per_class": {
                TumourLabel(label): OutlineMetrics(**m) for label, m in values["per_class"].items()
            },
            "per_size": tuple(SizeMetrics(**third) for third in values["per_size"]),
            "intervals": _intervals(values),
        }
    )


def _intervals(values: Mapping[str, Any]) -> dict[str, Interval]:
    return {name: Interval(**ends) for name, ends in values.get("intervals", {}).items()}


def move_values(move: AliasMove) -> dict[str, Any]:
    return {**asdict(move), "create_time": to_us(move.create_time)}


def move_from_row(row: tables.AliasMoveRow) -> AliasMove:
    return AliasMove(
        alias=row.alias,
        sequence=row.sequence,
        create_time=from_us(row.create_time),
        caller=row.caller,
        from_version=row.from_version,
        to_version=row.to_version,
        reason=row.reason,
    )


# --- audit log --------------------------------------------------------------------------------


def record_values(record: AuditRecord) -> dict[str, Any]:
    """Every column of a prediction's row."""
    probabilities = record.probabilities
    return {
        "sequence": record.sequence,
        "id": record.id,
        "create_time": to_us(record.create_time),
        "request_id": record.request_id,
        "caller": record.caller,
        "image_sha256": record.image_sha256,
        "image_bytes": record.image_bytes,
        "model_version": record.model_version,
        "probabilities": None if probabilities is None else json.dumps(probabilities),
        "label": record.label and str(record.label),
        "decision": record.decision and str(record.decision),
        "outcome": str(record.outcome),
        "status": record.status,
        "reason": record.reason,
        "message": record.message,
        "latency_us": record.latency_us,
        "software_version": record.software_version,
        "previous_hash": record.previous_hash,
        "row_hash": record.row_hash,
        "segmenter_version": record.segmenter_version,
        "regions": None if record.regions is None else regions_to_text(record.regions),
        "cached": int(record.cached),
    }


def record_from_row(row: Row[Any]) -> AuditRecord:
    """The record of a row with every column of ``predictions``.

    A row that somebody has made unreadable still gives a record, but one that does not fit into
    the chain, so that verification names it rather than fails at it.
    """
    try:
        return _readable_record(row)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return AuditRecord(
            sequence=row.sequence,
            id=str(row.id),
            create_time=EPOCH,
            request_id=None,
            caller="",
            image_sha256="",
            image_bytes=0,
            model_version=None,
            probabilities=None,
            label=None,
            decision=None,
            outcome=Outcome.FAILED,
            status="DATA_LOSS",
            reason="ROW_UNREADABLE",
            message="This row of the audit log was changed and cannot be read.",
            latency_us=0,
            software_version="",
            previous_hash=str(row.previous_hash),
            row_hash="",
        )


_COUNTS: Final = ("image_bytes", "latency_us")
_LARGEST_COUNT: Final = 2**53
_WHOLE: Final = frozenset({"sequence", "create_time", "cached", *_COUNTS})


def _readable_record(row: Row[Any]) -> AuditRecord:
    _check_columns(row)
    return AuditRecord(
        sequence=row.sequence,
        id=row.id,
        create_time=from_us(row.create_time),
        request_id=row.request_id,
        caller=row.caller,
        image_sha256=row.image_sha256,
        image_bytes=row.image_bytes,
        model_version=row.model_version,
        probabilities=None if row.probabilities is None else _probabilities(row.probabilities),
        label=None if row.label is None else TumourLabel(row.label),
        decision=None if row.decision is None else Decision(row.decision),
        outcome=Outcome(row.outcome),
        status=row.status,
        reason=row.reason,
        message=row.message,
        latency_us=row.latency_us,
        software_version=row.software_version,
        previous_hash=row.previous_hash,
        row_hash=row.row_hash,
        segmenter_version=row.segmenter_version,
        regions=None if row.regions is None else regions_from_text(row.regions),
        cached=bool(row.cached),
    )


def _check_columns(row: Row[Any]) -> None:
    """Raises unless each value is of its column's type: SQLite lets any column hold anything."""
    for name, value in row._mapping.items():
        kind = int if name in _WHOLE else str
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{type(value).__name__} in {name}")
    if row.cached not in (0, 1):
        raise ValueError("neither cached nor not")
    if any(not 0 <= row._mapping[name] <= _LARGEST_COUNT for name in _COUNTS):
        raise ValueError("a count out of range")


def _probabilities(text: str) -> tuple[float, ...]:
    values = json.loads(text)
    if not isinstance(values, list) or len(values) != len(LABELS):
        raise ValueError("not one probability a label")
    if not all(type(value) in {int, float} and math.isfinite(value) for value in values):
        raise ValueError("a probability that is no number")
    return tuple(values)


def review_values(review: Review) -> dict[str, Any]:
    return {
        "id": review.id,
        "prediction": review.prediction,
        "create_time": to_us(review.create_time),
        "caller": review.caller,
        "reviewer": review.reviewer,
        "label": review.label and str(review.label),
        "agrees": review.agrees,
        "comment": review.comment,
    }


def review_from_row(row: tables.ReviewRow) -> Review:
    """One that somebody has made unreadable says so, and keeps nobody from the others."""
    try:
        return _readable_review(row)
    except (ValueError, TypeError, OverflowError):
        return Review(
            id=str(row.id),
            prediction=row.prediction,
            create_time=EPOCH,
            reviewer="",
            label=None,
            agrees=False,
            comment="This review was changed and cannot be read.",
        )


def _readable_review(row: tables.ReviewRow) -> Review:
    for text in (row.id, row.caller, row.reviewer, row.comment):
        if not isinstance(text, str):
            raise TypeError(f"{type(text).__name__} in a column of text")
    return Review(
        id=row.id,
        prediction=row.prediction,
        create_time=from_us(row.create_time),
        caller=row.caller,
        reviewer=row.reviewer,
        label=None if row.label is None else TumourLabel(row.label),
        agrees=row.agrees,
        comment=row.comment,
    )
