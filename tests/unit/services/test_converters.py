"""Messages carry what the records hold; the calls themselves are in test_gateway.py."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

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
from hypothesis import given
from hypothesis import strategies as st

from core.audit_chain import ChainReport
from core.comparison import PairedComparison, PairedDifference, recommend
from core.datasets import OnBadFile
from core.errors import InvalidArgument
from core.labels import LABELS, TumourLabel
from core.prediction import (
    AuditRecord,
    Box,
    Decision,
    MaskFormat,
    Outcome,
    PixelSpacing,
    Prediction,
    Region,
    RegionMask,
)
from core.registry import AliasMove, ClassMetrics, Interval, ReportFormat
from core.search import TrialState
from core.training import (
    Backbone,
    EpochProgress,
    JobEvent,
    JobState,
    Optimizer,
    Precision,
    Task,
    TrainingSpec,
)
from services import converters
from services.usecases.audit import Verdict
from services.usecases.classify import ClassifyAnswer
from services.usecases.models import Comparison
from services.usecases.training import JobUpdate
from services.usecases.upload import FileStart, Header
from tests.fakes.records import (
    NOW,
    a_dataset,
    a_job,
    a_refusal,
    a_region,
    a_review,
    a_search,
    a_trial,
    an_entry,
)
from tests.fakes.registry import a_model_version, a_segmentation, an_evaluation

PAIRS: list[tuple[converters.EnumPair[Any], type[StrEnum], Any]] = [
    (converters.LABEL, TumourLabel, labels_pb2.TumorLabel),
    (converters.DECISION, Decision, labels_pb2.Decision),
    (converters.OUTCOME, Outcome, audit_pb2.Outcome),
    (converters.MASK_FORMAT, MaskFormat, classifier_pb2.MaskFormat),
    (converters.ON_BAD_FILE, OnBadFile, datasets_pb2.OnBadFile),
    (converters.TASK, Task, training_pb2.Task),
    (converters.BACKBONE, Backbone, training_pb2.Backbone),
    (converters.REPORT_FORMAT, ReportFormat, models_pb2.ReportFormat),
    (converters.OPTIMIZER, Optimizer, training_pb2.Optimizer),
    (converters.TRIAL_STATE, TrialState, training_pb2.TrialState),
    (converters.JOB_STATE, JobState, training_pb2.JobState),
]


def a_record(**changes: Any) -> AuditRecord:
    fields = vars(an_entry()) | {"sequence": 7, "previous_hash": "a" * 64, "row_hash": "b" * 64}
    return AuditRecord(**fields | changes)


@pytest.mark.parametrize(("pair", "kind", "proto"), PAIRS)
def test_enums_go_there_and_back(
    pair: converters.EnumPair[Any], kind: type[StrEnum], proto: Any
) -> None:
    numbers = [pair.to_proto(member) for member in kind]
    assert sorted([0, *numbers]) == sorted(proto.values())
    assert [pair.from_proto(number, "f") for number in numbers] == list(kind)
    assert pair.to_proto(None) == 0
    assert pair.from_proto(0, "f") is None
    with pytest.raises(InvalidArgument) as caught:
        pair.from_proto(99, "some.field")
    assert caught.value.violations[0].field == "some.field"


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1)))  # noqa: DTZ001
def test_times_keep_their_microseconds(naive: datetime) -> None:
    moment = naive.replace(tzinfo=UTC)
    message = converters.timestamp(moment)
    assert message is not None
    assert message.ToDatetime(tzinfo=UTC) == moment


def test_durations_are_seconds_or_microseconds() -> None:
    assert converters.duration(seconds=1.5).ToTimedelta() == timedelta(seconds=1.5)
    assert converters.duration(microseconds=7).ToMicroseconds() == 7


def test_a_command_is_taken_as_it_is_and_never_refused() -> None:
    request = classifier_pb2.ClassifyRequest(
        image=b"x",
        model_version="modelVersions/m1",
        request_id="not checked here",
        include_regions=True,
        include_explanation=True,
    )
    command = converters.classify_command(request, caller="ann", deadline=7.5)
    assert (command.image, command.caller, command.deadline) == (b"x", "ann", 7.5)
    assert (command.model_version, command.request_id) == ("m1", "not checked here")
    assert command.include_regions
    assert command.include_explanation
    bare = converters.classify_command(
        classifier_pb2.ClassifyRequest(model_version="what/is/this"), caller="", deadline=None
    )
    assert (bare.model_version, bare.request_id) == ("what/is/this", None)
    assert (bare.mask_format, bare.pixel_spacing, bare.problem) == (None, None, None)


def test_how_regions_are_wanted_is_read() -> None:
    request = classifier_pb2.ClassifyRequest(
        include_regions=True,
        mask_format=classifier_pb2.MASK_FORMAT_COCO_RLE,
        pixel_spacing=classifier_pb2.PixelSpacing(x_mm=0.5),
    )
    command = converters.classify_command(request, caller="ann", deadline=None)
    assert command.mask_format is MaskFormat.COCO_RLE
    assert command.pixel_spacing == PixelSpacing(x_mm=0.5, y_mm=0.0)


def test_an_unknown_mask_format_is_the_use_cases_to_refuse() -> None:
    request = classifier_pb2.ClassifyRequest(mask_format=99)  # type: ignore[arg-type]
    command = converters.classify_command(request, caller="ann", deadline=None)
    assert command.problem is not None
    assert command.problem.violations[0].field == "mask_format"
    assert "PNG, COCO_RLE" in command.problem.message


def test_an_answer_shows_what_was_recorded() -> None:
    prediction = Prediction(
        probabilities=(0.1, 0.2, 0.3, 0.4),
        decision=Decision.ACCEPTED,
        model_version="m1",
        activation_map=b"png",
    )
    record = a_record(segmenter_version="s1", cached=True)
    regions = (Region(box=Box(x0=1, y0=2, x1=3, y1=4), score=0.5, area_px=4),)
    message = converters.classify_response(
        ClassifyAnswer(record=record, prediction=prediction, regions=regions)
    )
    assert message.segmenter_version == "modelVersions/s1"
    assert message.prediction == record.name
    assert message.cached
    assert message.model_version == "modelVersions/m1"
    assert [p.label for p in message.probabilities] == [1, 2, 3, 4]
    assert tuple(p.probability for p in message.probabilities) == record.probabilities
    assert message.latency.ToMicroseconds() == 19_000
    (region,) = message.regions
    assert (region.box.x0, region.box.y0, region.box.x1, region.box.y1) == (1, 2, 3, 4)
    assert (region.score, region.area_px) == (0.5, 4)
    assert not region.HasField("area_mm2")
    assert region.WhichOneof("mask") is None
    assert message.explanation.activation_map_png == b"png"
    assert message.explanation.label == labels_pb2.TUMOR_LABEL_PITUITARY
    assert "not a cleared medical device" in message.notice
    replayed = converters.classify_response(ClassifyAnswer(record=record, prediction=None))
    assert replayed.notice == message.notice
    assert not replayed.HasField("explanation")
    assert replayed.label == message.label
    assert replayed.cached, "as its record says"


def test_masks_are_written_as_they_were_asked_for() -> None:
    png = RegionMask(format=MaskFormat.PNG, width=3, height=2, data=b"png")
    runs = RegionMask(format=MaskFormat.COCO_RLE, width=3, height=2, data=b"05O")
    answer = ClassifyAnswer(
        record=a_record(),
        prediction=None,
        regions=(a_region(mask=png, area_mm2=0.5), a_region(mask=runs)),
    )
    first, second = converters.classify_response(answer).regions
    assert (first.mask_png, first.area_mm2) == (b"png", 0.5)
    assert (list(second.mask_coco_rle.size), second.mask_coco_rle.counts) == ([2, 3], "05O")


def test_an_audit_record_tells_no_regions_from_none_asked_for() -> None:
    unasked = converters.prediction_message(a_record())
    none = converters.prediction_message(a_record(regions=()))
    some = converters.prediction_message(a_record(regions=(a_region(),), segmenter_version="s1"))
    assert [message.outlined for message in (unasked, none, some)] == [False, True, True]
    assert [len(message.regions) for message in (unasked, none, some)] == [0, 0, 1]
    assert some.segmenter_version == "modelVersions/s1"
    cached = converters.prediction_message(a_record(cached=True))
    assert (cached.cached, some.cached) == (True, False)
    assert some.regions[0].area_mm2 == a_region().area_mm2


def test_a_data_set_counts_every_class() -> None:
    message = converters.dataset_message(a_dataset())
    assert message.name == "datasets/brains"
    assert {c.label: c.count for c in message.class_counts} == {1: 6, 2: 0, 3: 4, 4: 0}
    assert message.size_bytes == 3_000_000_000
    assert (message.rejected_files[0].path, message.rejected_files[0].problem) == (
        "glioma/broken.png",
        "it ends too early",
    )
    assert message.rejected_count == 7
    assert message.create_time.ToDatetime(tzinfo=UTC) == NOW


def test_a_data_set_names_others_with_the_same_data_and_a_list_does_not() -> None:
    dataset = a_dataset()
    assert converters.dataset_message(dataset, ("twin",)).same_as == ["datasets/twin"]
    listed = converters.listed_dataset_message(dataset)
    assert not listed.same_as
    assert not listed.HasField("audit")


def test_a_data_sets_audit_tells_of_its_masks() -> None:
    masks = converters.dataset_message(a_dataset()).audit.masks
    assert [(f.refused, f.count, len(f.examples)) for f in masks.findings] == [
        (True, 5, 4),
        (False, 1, 1),
    ]
    assert masks.findings[0].problem == "has several shades"
    assert masks.unmasked_count == 2


def test_upload_parts_are_told_apart() -> None:
    header = datasets_pb2.UploadHeader(dataset_id="d", on_bad_file=datasets_pb2.ON_BAD_FILE_SKIP)
    file = datasets_pb2.UploadFile(path="p", size_bytes=3, sha256="ff")
    request = datasets_pb2.UploadDatasetRequest
    assert converters.upload_part(request(header=header)) == Header(
        dataset_id="d", on_bad_file=OnBadFile.SKIP
    )
    assert converters.upload_part(request(file=file)) == FileStart(
        path="p", size_bytes=3, sha256="ff"
    )
    assert converters.upload_part(request(chunk=b"")) == b""
    with pytest.raises(InvalidArgument):
        converters.upload_part(request())


def test_a_recipe_left_empty_is_the_default_one() -> None:
    assert converters.training_spec(training_pb2.TrainingSpec()) == TrainingSpec()


def test_a_recipe_goes_there_and_back() -> None:
    spec = TrainingSpec(
        backbone=Backbone.VGG19,
        weights="file:start.h5",
        epochs=3,
        batch_size=8,
        image_size=160,
        optimizer=Optimizer.SGD,
        learning_rate=0.1 + 0.2,
        weight_decay=0.0,
        dropout=0.0,
        augmentation=False,
        validation_share=0.2,
        test_share=0.25,
        seed=0,
        precision=Precision.MIXED_BFLOAT16,
    )
    assert converters.training_spec(converters.training_spec_message(asdict(spec))) == spec


def test_a_bad_recipe_names_each_field_by_its_path_in_the_request() -> None:
    message = training_pb2.TrainingSpec(epochs=0, seed=-1)
    with pytest.raises(InvalidArgument) as caught:
        converters.training_spec(message)
    assert {v.field for v in caught.value.violations} == {
        "training_job.spec.epochs",
        "training_job.spec.seed",
    }


def test_a_recipe_of_another_version_shows_what_is_known_of_it() -> None:
    message = converters.training_spec_message({"epochs": 3, "mixup": 0.2, "backbone": "vgg19"})
    assert (message.epochs, message.backbone) == (3, training_pb2.BACKBONE_VGG19)
    assert not message.HasField("seed")


def test_a_job_shows_how_it_ended() -> None:
    message = converters.training_job_message(a_job(model_version="m1"))
    assert (message.dataset, message.model_version) == ("datasets/brains", "modelVersions/m1")
    assert not message.HasField("error")
    assert not message.HasField("end_time")
    failed = a_job(state=JobState.FAILED, error_reason="WORKER_LOST", error_message="why")
    message = converters.training_job_message(failed)
    assert (message.error.reason, message.error.message) == ("WORKER_LOST", "why")


def test_a_search_goes_out_as_it_came_in() -> None:
    message = converters.training_job_message(a_job(search=a_search(), result_job="job2"))
    assert message.result_job == "trainingJobs/job2"
    assert converters.search_spec(message) == a_search()
    assert converters.search_spec(converters.training_job_message(a_job())) is None
    unlimited = converters.training_job_message(a_job(search=a_search(seconds=0.0)))
    assert not unlimited.search.HasField("time_limit")
    assert converters.search_spec(unlimited) == a_search(seconds=0.0)


def test_a_search_has_defaults() -> None:
    message = training_pb2.TrainingJob()
    message.search.space.add(field="dropout").choice.values.extend(["0.1", "0.3"])
    search = converters.search_spec(message)
    assert search is not None
    assert (search.trials, search.seconds) == (20, 0.0)


def test_a_bad_search_is_refused_by_field() -> None:
    def fields_of(**changes: Any) -> list[str]:
        message = training_pb2.TrainingJob(search=training_pb2.SearchSpec(**changes))
        with pytest.raises(InvalidArgument) as caught:
            converters.search_spec(message)
        return [violation.field for violation in caught.value.violations]

    choice = training_pb2.SearchChoice(values=["0.1", "0.3"])
    dropout = training_pb2.SearchDimension(field="dropout", choice=choice)
    seed = training_pb2.SearchDimension(field="seed", choice=choice)
    empty = training_pb2.SearchDimension(field="mixup")
    path = "training_job.search"
    assert fields_of() == [f"{path}.space"]
    assert fields_of(space=[seed], trials=-1) == [f"{path}.space.seed", f"{path}.trials"]
    assert fields_of(space=[dropout, dropout]) == [f"{path}.space.dropout"]
    assert fields_of(space=[empty]) == [f"{path}.space.mixup"]
    assert fields_of(space=[dropout], time_limit=Duration(seconds=2**62)) == [f"{path}.time_limit"]


def test_trials_say_what_they_varied_and_what_came_of_it() -> None:
    failed = a_trial(2, state=TrialState.FAILED, scores=(), error="NaN")
    message = converters.training_job_message(a_job(), [a_trial(), failed])
    first, second = message.trials
    assert (first.number, first.state) == (1, training_pb2.TRIAL_STATE_COMPLETE)
    assert (first.macro_f1, first.epochs) == (2 / 3, 3)
    assert first.duration.ToMilliseconds() == 12_500
    assert {field.name for field, _ in first.recipe.ListFields()} == set(a_trial().recipe)
    assert first.recipe.optimizer == training_pb2.OPTIMIZER_SGD
    assert (second.state, second.error_message) == (training_pb2.TRIAL_STATE_FAILED, "NaN")
    assert not second.HasField("macro_f1")


def test_an_update_has_an_event_only_if_something_happened() -> None:
    epoch = EpochProgress(
        epoch=1,
        epochs=3,
        loss=0.5,
        accuracy=0.8,
        val_loss=0.6,
        val_accuracy=0.7,
        seconds=2.5,
        seconds_left=5.0,
        val_macro_f1=0.65,
        images_per_second=23.5,
        input_share=0.0,
        validation_share=0.125,
    )
    event = JobEvent(
        job="job1",
        sequence=4,
        create_time=NOW,
        state=JobState.RUNNING,
        message="epoch 1 of 3",
        epoch=epoch,
    )
    message = converters.watch_response(JobUpdate(job=a_job(), event=event))
    assert (message.event.sequence, message.event.state) == (4, training_pb2.JOB_STATE_RUNNING)
    assert message.event.epoch.val_accuracy == 0.7
    assert message.event.epoch.val_macro_f1 == 0.65
    assert message.event.epoch.images_per_second == 23.5
    assert message.event.epoch.HasField("input_share")
    assert message.event.epoch.validation_share == 0.125
    assert not message.event.epoch.HasField("busy_share")
    assert message.event.epoch.duration.ToMilliseconds() == 2500
    assert message.event.epoch.remaining.ToSeconds() == 5
    quiet = converters.watch_response(JobUpdate(job=a_job(), event=replace(event, epoch=None)))
    assert not quiet.event.HasField("epoch")
    assert not converters.watch_response(JobUpdate(job=a_job(), event=None)).HasField("event")


def test_a_segmenter_carries_numbers_of_its_own() -> None:
    version = a_model_version("s1", task=Task.SEGMENTATION, evaluation=a_segmentation(0.85))
    message = converters.model_version_message(version)
    assert not message.HasField("evaluation")
    found = message.segmentation
    assert (found.dice, found.box_map_50, found.hd95) == (0.85, 0.93, 4.5)
    assert not found.HasField("healthy_with_regions")
    assert [metrics.label for metrics in found.per_class] == [
        labels_pb2.TUMOR_LABEL_GLIOMA,
        labels_pb2.TUMOR_LABEL_PITUITARY,
    ]
    assert [(third.up_to_px, third.support) for third in found.per_size] == [(400, 7)]
    assert [(i.metric, i.low, i.high) for i in found.intervals] == [("dice", 0.8, 0.9)]
    assert not converters.model_version_message(a_model_version()).HasField("segmentation")


def test_a_version_carries_its_numbers() -> None:
    version = a_model_version("m1", aliases=("production",), latency_ms=9.5)
    message = converters.model_version_message(version)
    assert message.name == "modelVersions/m1"
    assert message.training_job == "trainingJobs/job1"
    assert message.latency.ToMicroseconds() == 9500
    assert message.aliases == ["production"]
    assert message.library_versions == {"tensorflow": "2.21.0"}
    evaluation = message.evaluation
    assert [row.label for row in evaluation.confusion] == [1, 2, 3, 4]
    assert [metrics.support for metrics in evaluation.per_class] == [25] * len(LABELS)
    assert (evaluation.train_size, evaluation.protocol) == (400, "held out")


def test_a_comparison_names_one() -> None:
    versions = (a_model_version("m1"), a_model_version("m2", latency_ms=1.0))
    difference = PairedDifference(
        difference=0.02, interval=Interval(low=-0.01, high=0.05), probability_better=0.9
    )
    pair = PairedComparison(
        first="modelVersions/m1",
        second="modelVersions/m2",
        slices=400,
        groups=90,
        scores={"accuracy": difference, "macro_f1": difference},
        ranked_by="macro_f1",
    )
    comparison = Comparison(
        versions=versions,
        pairs=(pair,),
        notes=("m3 was left out",),
        recommendation=recommend(versions),
    )
    message = converters.comparison_response(comparison)
    assert [v.name for v in message.model_versions] == ["modelVersions/m1", "modelVersions/m2"]
    assert message.recommended == "modelVersions/m2"
    assert "faster" in message.recommendation_reason
    (shown,) = message.pairs
    assert (shown.first, shown.second) == ("modelVersions/m1", "modelVersions/m2")
    assert (shown.slice_count, shown.group_count) == (400, 90)
    found = shown.macro_f1
    assert (found.difference, found.low, found.high) == (0.02, -0.01, 0.05)
    assert found.probability_better == 0.9
    assert message.notes == ["m3 was left out"]


def test_numbers_that_were_not_measured_are_not_given() -> None:
    evaluation = replace(
        an_evaluation(), ece=0.02, intervals={"accuracy": Interval(low=0.8, high=0.95)}
    )
    message = converters.evaluation_message(evaluation)
    assert (message.HasField("ece"), message.ece) == (True, 0.02)
    assert not message.HasField("specificity")
    assert not message.per_class[0].HasField("roc_auc")
    assert message.per_class[0].HasField("recall")
    (interval,) = message.intervals
    assert (interval.metric, interval.low, interval.high) == ("accuracy", 0.8, 0.95)


def test_a_class_without_slices_has_no_numbers() -> None:
    absent = ClassMetrics(precision=None, recall=None, f1=None, support=0)
    evaluation = replace(an_evaluation(), per_class={TumourLabel.GLIOMA: absent})
    (metrics,) = converters.evaluation_message(evaluation).per_class
    assert not any(metrics.HasField(name) for name in ("precision", "recall", "f1"))


def test_a_first_move_comes_from_nowhere() -> None:
    move = AliasMove(
        alias="production",
        sequence=1,
        create_time=NOW,
        caller="ann",
        from_version=None,
        to_version="m1",
        reason="first",
    )
    message = converters.alias_move_message(move)
    assert (message.from_version, message.to_version) == ("", "modelVersions/m1")


def test_a_record_of_a_refusal_has_no_answer() -> None:
    fields = asdict(a_refusal())
    record = AuditRecord(**fields, sequence=1, previous_hash="0" * 64, row_hash="1" * 64)
    message = converters.prediction_message(record)
    assert (message.label, message.decision, message.model_version) == (0, 0, "")
    assert list(message.probabilities) == []
    assert (message.status, message.error_reason) == ("INVALID_ARGUMENT", "IMAGE_TRUNCATED")


def test_a_record_comes_with_its_reviews() -> None:
    record = a_record()
    review = a_review(record.id)
    message = converters.prediction_message(record, [review])
    assert (message.sequence, message.image_size_bytes) == (7, 1234)
    assert (message.previous_hash, message.row_hash) == ("a" * 64, "b" * 64)
    (shown,) = message.reviews
    assert (shown.reviewer, shown.label, shown.agrees) == ("dr-lee", 1, False)
    assert shown == converters.review_message(review)


def test_a_verdict_is_read_and_must_be_there() -> None:
    review = audit_pb2.Review(reviewer=" dr-lee ", agrees=True, comment="fine")
    request = audit_pb2.RecordReviewRequest(name="predictions/p", review=review)
    assert converters.verdict(request) == Verdict(
        reviewer="dr-lee", agrees=True, label=None, comment="fine"
    )
    with pytest.raises(InvalidArgument):
        converters.verdict(audit_pb2.RecordReviewRequest(name="predictions/p"))


@pytest.mark.parametrize("agrees", [None, False, True])
def test_a_verdict_that_was_forgotten_is_no_disagreement(agrees: bool | None) -> None:
    request = audit_pb2.RecordReviewRequest(review=audit_pb2.Review(agrees=agrees))
    assert converters.verdict(request).agrees is agrees


@pytest.mark.parametrize(
    ("text", "newest"),
    [
        ("", True),
        ("create_time desc", True),
        (" create_time  desc ", True),
        ("create_time", False),
        ("create_time asc", False),
    ],
)
def test_orders(text: str, newest: bool) -> None:
    assert converters.newest_first(text) is newest


@pytest.mark.parametrize("text", ["label", "create_time down", "create_time, label", "desc"])
def test_other_orders_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        converters.newest_first(text)


def test_a_report_names_the_first_bad_row() -> None:
    whole = converters.verify_response(ChainReport(intact=True, rows_checked=3))
    assert (whole.intact, whole.rows_checked, whole.broken_at, whole.problem) == (True, 3, 0, "")
    broken = converters.verify_response(
        ChainReport(
            intact=False,
            rows_checked=1,
            broken_at=2,
            broken_name="predictions/p",
            problem="row 2 was altered",
        )
    )
    assert (broken.broken_at, broken.broken_prediction) == (2, "predictions/p")
