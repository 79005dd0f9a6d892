"""Between protobuf messages and the domain's records: pure functions. Protobuf stops here.

What comes in is checked as far as its form goes; each function that reads a request raises
``InvalidArgument`` on the field that is at fault.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

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

from core.audit_chain import ChainReport
from core.comparison import PairedComparison, PairedDifference
from core.datasets import (
    Dataset,
    DatasetAudit,
    LabelErrors,
    MaskAudit,
    OnBadFile,
    ShortcutControl,
    SimilarPair,
)
from core.errors import FieldViolation, InvalidArgument
from core.fitness import shortcomings
from core.labels import LABELS, TumourLabel
from core.prediction import (
    NOTICE,
    AuditRecord,
    Decision,
    MaskFormat,
    Outcome,
    PixelSpacing,
    Prediction,
    Region,
    Review,
)
from core.registry import (
    SCORES,
    SEGMENTATION_SCORES,
    AliasMove,
    AnyEvaluation,
    Evaluation,
    Interval,
    ModelVersion,
    ReportFormat,
    SegmentationEvaluation,
)
from core.search import Choice, Dimension, SearchSpec, SearchTrial, TrialState
from core.training import (
    Backbone,
    BatchNorm,
    EpochProgress,
    JobEvent,
    JobState,
    Optimizer,
    Precision,
    Task,
    TrainingJob,
    TrainingSpec,
)
from services.resource_names import (
    DATASETS,
    MODEL_VERSIONS,
    TRAINING_JOBS,
    full_name,
)
from services.usecases.audit import Verdict
from services.usecases.classify import ClassifyAnswer, ClassifyCommand
from services.usecases.models import Comparison, Moved
from services.usecases.training import JobUpdate
from services.usecases.upload import FileStart, Header, Part

E = TypeVar("E", bound=StrEnum)


# --- enums, times, numbers --------------------------------------------------------------------


class EnumPair(Generic[E]):
    """A domain enum and its protobuf counterpart, whose values carry a prefix."""

    def __init__(self, kind: type[E], proto: Any, prefix: str) -> None:
        self._kind = kind
        self._to = {member: proto.Value(f"{prefix}_{member.name}") for member in kind}
        self._from = {number: member for member, number in self._to.items()}

    def to_proto(self, member: E | None) -> Any:
        """The number; 0 for None."""
        return 0 if member is None else self._to[member]

    def from_proto(self, number: int, field: str) -> E | None:
        """The member, or None if it is unspecified."""
        if number and number not in self._from:
            known = ", ".join(member.name for member in self._kind)
            raise InvalidArgument.of(field, f"has an unknown value; use one of {known}")
        return self._from.get(number)


LABEL: Final = EnumPair(TumourLabel, labels_pb2.TumorLabel, "TUMOR_LABEL")
DECISION: Final = EnumPair(Decision, labels_pb2.Decision, "DECISION")
OUTCOME: Final = EnumPair(Outcome, audit_pb2.Outcome, "OUTCOME")
MASK_FORMAT: Final = EnumPair(MaskFormat, classifier_pb2.MaskFormat, "MASK_FORMAT")
ON_BAD_FILE: Final = EnumPair(OnBadFile, datasets_pb2.OnBadFile, "ON_BAD_FILE")
TASK: Final = EnumPair(Task, training_pb2.Task, "TASK")
BACKBONE: Final = EnumPair(Backbone, training_pb2.Backbone, "BACKBONE")
OPTIMIZER: Final = EnumPair(Optimizer, training_pb2.Optimizer, "OPTIMIZER")
BATCH_NORM: Final = EnumPair(BatchNorm, training_pb2.BatchNorm, "BATCH_NORM")
REPORT_FORMAT: Final = EnumPair(ReportFormat, models_pb2.ReportFormat, "REPORT_FORMAT")
PRECISION: Final = EnumPair(Precision, training_pb2.Precision, "PRECISION")
TRIAL_STATE: Final = EnumPair(TrialState, training_pb2.TrialState, "TRIAL_STATE")
JOB_STATE: Final = EnumPair(JobState, training_pb2.JobState, "JOB_STATE")


def timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def duration(*, seconds: float = 0.0, microseconds: int = 0) -> Duration:
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds, microseconds=microseconds))
    return message


def _probabilities(values: Sequence[float] | None) -> list[labels_pb2.LabelProbability]:
    if values is None:
        return []
    return [
        labels_pb2.LabelProbability(label=LABEL.to_proto(label), probability=value)
        for label, value in zip(LABELS, values, strict=True)
    ]


# --- classifier -------------------------------------------------------------------------------


def classify_command(
    request: classifier_pb2.ClassifyRequest, *, caller: str, deadline: float | None
) -> ClassifyCommand:
    """``deadline`` is seconds since the epoch.

    Never raises: whatever is wrong with a classification is for the use case to refuse, which
    records it. A model version of another form than ``modelVersions/ID`` is one nobody has.
    """
    mask_format, problem = _mask_format(request.mask_format)
    return ClassifyCommand(
        image=request.image,
        caller=caller,
        model_version=request.model_version.removeprefix(f"{MODEL_VERSIONS}/"),
        request_id=request.request_id or None,
        include_regions=request.include_regions,
        include_explanation=request.include_explanation,
        mask_format=mask_format,
        pixel_spacing=_pixel_spacing(request),
        deadline=deadline,
        problem=problem,
    )


def _mask_format(number: int) -> tuple[MaskFormat | None, InvalidArgument | None]:
    try:
        return MASK_FORMAT.from_proto(number, "mask_format"), None
    except InvalidArgument as error:
        return None, error


def _pixel_spacing(request: classifier_pb2.ClassifyRequest) -> PixelSpacing | None:
    if not request.HasField("pixel_spacing"):
        return None
    return PixelSpacing(x_mm=request.pixel_spacing.x_mm, y_mm=request.pixel_spacing.y_mm)


def classify_response(answer: ClassifyAnswer) -> classifier_pb2.ClassifyResponse:
    record, prediction = answer.record, answer.prediction
    return classifier_pb2.ClassifyResponse(
        prediction=record.name,
        label=LABEL.to_proto(record.label),
        probabilities=_probabilities(record.probabilities),
        decision=DECISION.to_proto(record.decision),
        model_version=full_name(MODEL_VERSIONS, record.model_version),
        latency=duration(microseconds=record.latency_us),
        regions=map(_region, answer.regions),
        explanation=_explanation(prediction),
        notice=NOTICE,
        segmenter_version=full_name(MODEL_VERSIONS, record.segmenter_version),
        cached=record.cached,
    )


def _region(region: Region) -> classifier_pb2.Region:
    box = region.box
    message = classifier_pb2.Region(
        box=classifier_pb2.BoundingBox(x0=box.x0, y0=box.y0, x1=box.x1, y1=box.y1),
        score=region.score,
        area_px=region.area_px,
        area_mm2=region.area_mm2,
    )
    mask = region.mask
    if mask is None:
        return message
    if mask.format is MaskFormat.PNG:
        message.mask_png = mask.data
    else:
        message.mask_coco_rle.size.extend((mask.height, mask.width))
        message.mask_coco_rle.counts = mask.data.decode("ascii")
    return message


def _explanation(prediction: Prediction | None) -> classifier_pb2.Explanation | None:
    if prediction is None or not prediction.activation_map:
        return None
    return classifier_pb2.Explanation(
        label=LABEL.to_proto(prediction.label), activation_map_png=prediction.activation_map
    )


# --- data sets --------------------------------------------------------------------------------


def dataset_message(dataset: Dataset, same_as: Sequence[str] = ()) -> datasets_pb2.Dataset:
    """``same_as`` are ids of others that hold the same data."""
    message = listed_dataset_message(dataset)
    message.same_as.extend(f"datasets/{other}" for other in same_as)
    if dataset.audit:
        message.audit.CopyFrom(_dataset_audit(dataset.audit))
    return message


def listed_dataset_message(dataset: Dataset) -> datasets_pb2.Dataset:
    """Without its audit: a page of a thousand must fit into one message."""
    return datasets_pb2.Dataset(
        name=dataset.name,
        create_time=timestamp(dataset.create_time),
        source=dataset.source,
        digest=dataset.digest,
        item_count=dataset.item_count,
        size_bytes=dataset.size_bytes,
        class_counts=[
            datasets_pb2.LabelCount(
                label=LABEL.to_proto(label), count=dataset.class_counts.get(label, 0)
            )
            for label in LABELS
        ],
        group_count=dataset.group_count,
        mask_count=dataset.mask_count,
        has_given_split=dataset.has_given_split,
        duplicate_count=dataset.duplicate_count,
        rejected_files=[
            datasets_pb2.RejectedFile(path=file.path, problem=file.problem)
            for file in dataset.rejected
        ],
        rejected_count=dataset.rejected_count,
    )


def _dataset_audit(audit: DatasetAudit) -> datasets_pb2.DatasetAudit:
    return datasets_pb2.DatasetAudit(
        warnings=audit.warnings,
        unreadable_count=audit.unreadable_count,
        exact_duplicate_count=audit.exact_duplicate_count,
        contradictory_exact_count=audit.contradictory_exact_count,
        near_duplicate_count=audit.near_duplicate_count,
        near_duplicate_pair_count=audit.near_duplicate_pair_count,
        near_duplicate_component_count=audit.near_duplicate_component_count,
        near_duplicate_examples=map(_similar_pair, audit.near_duplicate_examples),
        contradictory_pair_count=audit.contradictory_pair_count,
        contradictory_examples=map(_similar_pair, audit.contradictory_examples),
        leakage=[
            datasets_pb2.ClassLeakage(label=LABEL.to_proto(label), **asdict(audit.leakage[label]))
            for label in LABELS
            if label in audit.leakage
        ],
        class_ratio=audit.class_ratio,
        sizes=[datasets_pb2.SizeCount(**asdict(size)) for size in audit.sizes],
        size_count=audit.size_count,
        kinds=dict(audit.kinds),
        blank_count=audit.blank_count,
        blank_examples=audit.blank_examples,
        shortcut_control=_shortcut_control(audit.shortcut_control),
        label_errors=_label_errors(audit.label_errors),
        masks=_mask_audit(audit.masks),
    )


def _similar_pair(pair: SimilarPair) -> datasets_pb2.SimilarPair:
    return datasets_pb2.SimilarPair(
        first=pair.first,
        first_label=LABEL.to_proto(pair.first_label),
        second=pair.second,
        second_label=LABEL.to_proto(pair.second_label),
        similarity=pair.similarity,
    )


def _shortcut_control(control: ShortcutControl | None) -> datasets_pb2.ShortcutControl | None:
    return None if control is None else datasets_pb2.ShortcutControl(**asdict(control))


def _mask_audit(masks: MaskAudit | None) -> datasets_pb2.MaskAudit | None:
    if masks is None:
        return None
    return datasets_pb2.MaskAudit(
        findings=[datasets_pb2.MaskFinding(**asdict(finding)) for finding in masks.findings],
        unmasked_count=masks.unmasked_count,
    )


def _label_errors(errors: LabelErrors | None) -> datasets_pb2.LabelErrors | None:
    if errors is None:
        return None
    suspects = [
        datasets_pb2.LabelSuspect(
            path=suspect.path,
            label=LABEL.to_proto(suspect.label),
            suggested=LABEL.to_proto(suspect.suggested),
            probability=suspect.probability,
        )
        for suspect in errors.suspects
    ]
    return datasets_pb2.LabelErrors(count=errors.count, suspects=suspects)


def on_bad_file(number: int, field: str = "on_bad_file") -> OnBadFile:
    return ON_BAD_FILE.from_proto(number, field) or OnBadFile.REFUSE


def upload_part(message: datasets_pb2.UploadDatasetRequest) -> Part:
    """One message of an upload stream."""
    match message.WhichOneof("part"):
        case "header":
            header = message.header
            return Header(
                dataset_id=header.dataset_id,
                request_id=header.request_id,
                on_bad_file=on_bad_file(header.on_bad_file, "header.on_bad_file"),
            )
        case "file":
            file = message.file
            return FileStart(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
        case "chunk":
            return message.chunk
        case _:
            raise InvalidArgument.of("part", "must be a header, a file or a chunk")


# --- training ---------------------------------------------------------------------------------

_SPEC_ENUMS: Final[Mapping[str, EnumPair[Any]]] = {
    "task": TASK,
    "backbone": BACKBONE,
    "optimizer": OPTIMIZER,
    "batch_norm": BATCH_NORM,
    "precision": PRECISION,
}
_SPEC_FIELDS: Final = frozenset(training_pb2.TrainingSpec.DESCRIPTOR.fields_by_name)
_SPEC_PATH: Final = "training_job"


def training_spec(message: training_pb2.TrainingSpec) -> TrainingSpec:
    """The recipe, with the default of every field that was left out."""
    values: dict[str, Any] = {field.name: value for field, value in message.ListFields()}
    try:
        for name in _SPEC_ENUMS.keys() & values.keys():
            values[name] = _SPEC_ENUMS[name].from_proto(values[name], f"spec.{name}")
        return TrainingSpec.validated(values)
    except InvalidArgument as error:
        raise _in_job(error) from error


def search_spec(message: training_pb2.TrainingJob) -> SearchSpec | None:
    """What a job is to search; None if it is to train."""
    if not message.HasField("search"):
        return None
    search = message.search
    values = {
        "trials": search.trials or SearchSpec.trials,
        "seconds": search.time_limit.seconds + search.time_limit.nanos / 1e9,
    }
    try:
        return SearchSpec.validated({**values, "space": _search_space(search.space)})
    except InvalidArgument as error:
        raise _in_job(error) from error


def _search_space(
    dimensions: Sequence[training_pb2.SearchDimension],
) -> dict[str, dict[str, Any]]:
    space: dict[str, dict[str, Any]] = {}
    for dimension in dimensions:
        path = f"search.space.{dimension.field}"
        if dimension.field in space:
            raise InvalidArgument.of(path, "is given twice")
        match dimension.WhichOneof("values"):
            case "choice":
                space[dimension.field] = {"values": list(dimension.choice.values)}
            case "range":
                found = dimension.range
                space[dimension.field] = {"low": found.low, "high": found.high, "log": found.log}
            case _:
                raise InvalidArgument.of(path, "must have a choice or a range")
    return space


def _in_job(error: InvalidArgument) -> InvalidArgument:
    """The same with paths from the request on."""
    return InvalidArgument(
        tuple(FieldViolation(f"{_SPEC_PATH}.{v.field}", v.description) for v in error.violations)
    )


def training_spec_message(values: Mapping[str, Any]) -> training_pb2.TrainingSpec:
    """A recipe's fields. One that this version's API does not have is left out."""
    known = {name: value for name, value in values.items() if name in _SPEC_FIELDS}
    kinds: Mapping[str, type[StrEnum]] = {
        "task": Task,
        "backbone": Backbone,
        "optimizer": Optimizer,
        "batch_norm": BatchNorm,
        "precision": Precision,
    }
    for name in kinds.keys() & known.keys():
        known[name] = _SPEC_ENUMS[name].to_proto(kinds[name](known[name]))
    return training_pb2.TrainingSpec(**known)


def training_job_message(
    job: TrainingJob, trials: Sequence[SearchTrial] = ()
) -> training_pb2.TrainingJob:
    return training_pb2.TrainingJob(
        name=job.name,
        dataset=full_name(DATASETS, job.dataset),
        spec=training_spec_message(asdict(job.spec)),
        state=JOB_STATE.to_proto(job.state),
        progress=job.progress,
        stage=job.stage,
        attempt=job.attempt,
        create_time=timestamp(job.create_time),
        start_time=timestamp(job.start_time),
        end_time=timestamp(job.end_time),
        model_version=full_name(MODEL_VERSIONS, job.model_version),
        error=_job_error(job),
        search=_search(job.search) if job.search else None,
        trials=map(_trial, trials),
        result_job=full_name(TRAINING_JOBS, job.result_job),
    )


def _search(search: SearchSpec) -> training_pb2.SearchSpec:
    return training_pb2.SearchSpec(
        trials=search.trials,
        time_limit=duration(seconds=search.seconds) if search.seconds else None,
        space=[_search_dimension(name, found) for name, found in search.space.items()],
    )


def _search_dimension(name: str, found: Dimension) -> training_pb2.SearchDimension:
    if isinstance(found, Choice):
        choice = training_pb2.SearchChoice(values=map(_as_text, found.values))
        return training_pb2.SearchDimension(field=name, choice=choice)
    return training_pb2.SearchDimension(field=name, range=training_pb2.SearchRange(**vars(found)))


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _trial(trial: SearchTrial) -> training_pb2.SearchTrial:
    return training_pb2.SearchTrial(
        number=trial.number,
        recipe=training_spec_message(trial.recipe),
        state=TRIAL_STATE.to_proto(trial.state),
        macro_f1=trial.score,
        epochs=len(trial.scores),
        duration=duration(seconds=trial.seconds),
        error_message=trial.error or "",
    )


def _job_error(job: TrainingJob) -> training_pb2.JobError | None:
    if job.error_reason is None:
        return None
    return training_pb2.JobError(reason=job.error_reason, message=job.error_message or "")


def watch_response(update: JobUpdate) -> training_pb2.WatchTrainingJobResponse:
    return training_pb2.WatchTrainingJobResponse(
        training_job=training_job_message(update.job),
        event=None if update.event is None else job_event_message(update.event),
    )


def job_event_message(event: JobEvent) -> training_pb2.JobEvent:
    return training_pb2.JobEvent(
        sequence=event.sequence,
        create_time=timestamp(event.create_time),
        state=JOB_STATE.to_proto(event.state),
        message=event.message,
        epoch=None if event.epoch is None else _epoch(event.epoch),
    )


def _epoch(epoch: EpochProgress) -> training_pb2.EpochProgress:
    return training_pb2.EpochProgress(
        epoch=epoch.epoch,
        epochs=epoch.epochs,
        loss=epoch.loss,
        accuracy=epoch.accuracy,
        val_loss=epoch.val_loss,
        val_accuracy=epoch.val_accuracy,
        duration=duration(seconds=epoch.seconds),
        remaining=duration(seconds=epoch.seconds_left),
        val_macro_f1=epoch.val_macro_f1,
        images_per_second=epoch.images_per_second,
        input_share=epoch.input_share,
        validation_share=epoch.validation_share,
        busy_share=epoch.busy_share,
    )


# --- models -----------------------------------------------------------------------------------


def report_format(request: models_pb2.GetEvaluationReportRequest) -> ReportFormat:
    """What is to be read; the report if nothing is said. Raises ``InvalidArgument``."""
    return REPORT_FORMAT.from_proto(request.format, "format") or ReportFormat.HTML


def model_version_message(version: ModelVersion) -> models_pb2.ModelVersion:
    return models_pb2.ModelVersion(
        name=version.name,
        create_time=timestamp(version.create_time),
        task=TASK.to_proto(version.task),
        backbone=BACKBONE.to_proto(version.backbone),
        digest=version.digest,
        dataset=full_name(DATASETS, version.dataset),
        dataset_digest=version.dataset_digest,
        training_job=full_name(TRAINING_JOBS, version.training_job),
        spec=training_spec_message(version.spec),
        weights_source=version.weights_source,
        **_numbers(version.evaluation),
        parameter_count=version.parameters,
        size_bytes=version.size_bytes,
        train_duration=duration(seconds=version.train_seconds),
        latency=duration(seconds=version.latency_ms / 1000),
        library_versions=dict(version.library_versions),
        flops=version.flops,
        aliases=version.aliases,
        shortcomings=shortcomings(version.evaluation),
    )


def _numbers(evaluation: AnyEvaluation) -> dict[str, Any]:
    """Under the field that belongs to its kind."""
    if isinstance(evaluation, SegmentationEvaluation):
        return {"segmentation": segmentation_message(evaluation)}
    return {"evaluation": evaluation_message(evaluation)}


def segmentation_message(evaluation: SegmentationEvaluation) -> models_pb2.SegmentationEvaluation:
    per_class = evaluation.per_class
    return models_pb2.SegmentationEvaluation(
        **{name: getattr(evaluation, name) for name in SEGMENTATION_SCORES},
        per_class=[
            models_pb2.OutlineMetrics(label=LABEL.to_proto(label), **asdict(per_class[label]))
            for label in LABELS
            if label in per_class
        ],
        per_size=[models_pb2.SizeMetrics(**asdict(third)) for third in evaluation.per_size],
        train_size=evaluation.train_size,
        validation_size=evaluation.validation_size,
        test_size=evaluation.test_size,
        healthy_size=evaluation.healthy_size,
        protocol=evaluation.protocol,
        intervals=_intervals(evaluation.intervals),
    )


def _intervals(intervals: Mapping[str, Interval]) -> list[models_pb2.MetricInterval]:
    return [
        models_pb2.MetricInterval(metric=name, low=interval.low, high=interval.high)
        for name, interval in intervals.items()
    ]


def evaluation_message(evaluation: Evaluation) -> models_pb2.Evaluation:
    per_class = evaluation.per_class
    return models_pb2.Evaluation(
        **{name: getattr(evaluation, name) for name in SCORES},
        per_class=[
            models_pb2.ClassMetrics(label=LABEL.to_proto(label), **asdict(per_class[label]))
            for label in LABELS
            if label in per_class
        ],
        confusion=[
            models_pb2.ConfusionRow(label=LABEL.to_proto(label), counts=counts)
            for label, counts in zip(LABELS, evaluation.confusion, strict=True)
        ],
        train_size=evaluation.train_size,
        validation_size=evaluation.validation_size,
        test_size=evaluation.test_size,
        protocol=evaluation.protocol,
        intervals=_intervals(evaluation.intervals),
    )


def comparison_response(comparison: Comparison) -> models_pb2.CompareModelVersionsResponse:
    return models_pb2.CompareModelVersionsResponse(
        model_versions=[model_version_message(version) for version in comparison.versions],
        recommended=comparison.recommendation.version,
        recommendation_reason=comparison.recommendation.reason,
        pairs=[_paired(pair) for pair in comparison.pairs],
        notes=comparison.notes,
    )


def _paired(pair: PairedComparison) -> models_pb2.PairedComparison:
    return models_pb2.PairedComparison(
        first=pair.first,
        second=pair.second,
        slice_count=pair.slices,
        group_count=pair.groups,
        **{name: _difference(found) for name, found in pair.scores.items()},
    )


def _difference(found: PairedDifference) -> models_pb2.PairedDifference:
    return models_pb2.PairedDifference(
        difference=found.difference,
        low=found.interval.low,
        high=found.interval.high,
        probability_better=found.probability_better,
    )


def rollback_response(rolled_back: Moved) -> models_pb2.RollbackModelAliasResponse:
    return models_pb2.RollbackModelAliasResponse(
        move=alias_move_message(rolled_back.move), note=rolled_back.note
    )


def promotion_response(promotion: Moved) -> models_pb2.PromoteModelVersionResponse:
    return models_pb2.PromoteModelVersionResponse(
        move=alias_move_message(promotion.move), note=promotion.note
    )


def alias_move_message(move: AliasMove) -> models_pb2.AliasMove:
    return models_pb2.AliasMove(
        alias=move.alias,
        create_time=timestamp(move.create_time),
        caller=move.caller,
        from_version=full_name(MODEL_VERSIONS, move.from_version),
        to_version=full_name(MODEL_VERSIONS, move.to_version),
        reason=move.reason,
    )


# --- audit ------------------------------------------------------------------------------------


def prediction_message(record: AuditRecord, reviews: Sequence[Review] = ()) -> audit_pb2.Prediction:
    return audit_pb2.Prediction(
        name=record.name,
        sequence=record.sequence,
        create_time=timestamp(record.create_time),
        request_id=record.request_id or "",
        caller=record.caller,
        image_sha256=record.image_sha256,
        image_size_bytes=record.image_bytes,
        model_version=full_name(MODEL_VERSIONS, record.model_version),
        label=LABEL.to_proto(record.label),
        probabilities=_probabilities(record.probabilities),
        decision=DECISION.to_proto(record.decision),
        outcome=OUTCOME.to_proto(record.outcome),
        status=record.status,
        error_reason=record.reason or "",
        error_message=record.message or "",
        latency=duration(microseconds=record.latency_us),
        software_version=record.software_version,
        previous_hash=record.previous_hash,
        row_hash=record.row_hash,
        reviews=[review_message(review) for review in reviews],
        segmenter_version=full_name(MODEL_VERSIONS, record.segmenter_version),
        outlined=record.regions is not None,
        regions=map(_region, record.regions or ()),
        cached=record.cached,
    )


def review_message(review: Review) -> audit_pb2.Review:
    return audit_pb2.Review(
        create_time=timestamp(review.create_time),
        reviewer=review.reviewer,
        agrees=review.agrees,
        label=LABEL.to_proto(review.label),
        comment=review.comment,
        caller=review.caller,
    )


def verdict(request: audit_pb2.RecordReviewRequest) -> Verdict:
    if not request.HasField("review"):
        raise InvalidArgument.of("review", "must be given")
    review = request.review
    return Verdict(
        reviewer=review.reviewer.strip(),
        agrees=review.agrees if review.HasField("agrees") else None,
        label=LABEL.from_proto(review.label, "review.label"),
        comment=review.comment,
    )


def newest_first(order_by: str) -> bool:
    """Whether ``order_by`` asks for the newest record first."""
    words = order_by.split()
    if words in ([], ["create_time", "desc"]):
        return True
    if words in (["create_time"], ["create_time", "asc"]):
        return False
    raise InvalidArgument.of("order_by", "use 'create_time desc' or 'create_time'")


def verify_response(report: ChainReport) -> audit_pb2.VerifyAuditLogResponse:
    return audit_pb2.VerifyAuditLogResponse(
        intact=report.intact,
        rows_checked=report.rows_checked,
        broken_at=report.broken_at or 0,
        broken_prediction=report.broken_name or "",
        problem=report.problem or "",
    )
