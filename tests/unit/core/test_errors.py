"""Errors: what they say, and that they survive the wire and a pickle."""

import copy
import pickle
import re
from dataclasses import fields
from typing import Any, Final

import msgpack
import pytest

from core import errors
from core.errors import (
    AliasMoved,
    AlreadyExists,
    AnsweredWithoutRegions,
    ArtefactCorrupt,
    BrainTumorError,
    BrokerUnavailable,
    DatasetRefused,
    DeadlinePassed,
    ExportDiffers,
    FailedPrecondition,
    FieldViolation,
    IllegalTransition,
    ImageProblem,
    ImageRefused,
    InternalError,
    InUse,
    InvalidArgument,
    NoProductionModel,
    NotFitToServe,
    NotFound,
    NothingToRollBackTo,
    NotSupported,
    NoWorker,
    Overloaded,
    PretrainedWeightsUnavailable,
    RejectedFile,
    RequestIdReused,
    SegmentationFailed,
    SegmenterCorrupt,
    SegmenterNotRegistered,
    StoreUnavailable,
    TrainingCancelled,
    TrainingFailed,
    Unavailable,
    WorkerLost,
    WorseThanProduction,
    WrongTask,
    all_errors,
    from_wire,
    to_wire,
)

EXAMPLES: Final[dict[type[BrainTumorError], BrainTumorError]] = {
    type(error): error
    for error in (
        BrainTumorError(),
        InvalidArgument((FieldViolation("page_size", "negative"), FieldViolation("filter", "?"))),
        ImageRefused(ImageProblem.TRUNCATED, "The picture ends too early."),
        DatasetRefused("Two files are bad", (RejectedFile("glioma/ä.png", "empty"),), more=1),
        NotFound("datasets/brains"),
        AlreadyExists("datasets/brains"),
        RequestIdReused("0b4c1f0e-57a4-4c3c-9c1f-2f8f3f0a2a11"),
        FailedPrecondition("The database is newer than this software."),
        NoProductionModel("staging"),
        AnsweredWithoutRegions("predictions/p"),
        SegmenterNotRegistered("predictions/p"),
        SegmenterCorrupt("predictions/p", "Its files were changed."),
        SegmentationFailed("predictions/p"),
        WrongTask("modelVersions/s", "segmentation", "classification", "the alias 'production'"),
        IllegalTransition("trainingJobs/j", "SUCCEEDED", "RUNNING"),
        InUse("datasets/brains", "trainingJobs/j"),
        NothingToRollBackTo("production"),
        AliasMoved("production", "modelVersions/b", "modelVersions/c"),
        NotFitToServe("modelVersions/b", "it is right by chance"),
        WorseThanProduction("modelVersions/b", "modelVersions/a", -0.05, -0.01, 400, "Dice"),
        ExportDiffers("modelVersions/b", 0.02, 0.001),
        Overloaded(2.5),
        DeadlinePassed(),
        Unavailable(),
        BrokerUnavailable(),
        StoreUnavailable("artefact store"),
        WorkerLost(),
        NoWorker(),
        NotSupported("No segmentation yet."),
        ArtefactCorrupt("models/abc/model.onnx", "the file is missing"),
        TrainingFailed("The loss is not a number. Lower the learning rate."),
        PretrainedWeightsUnavailable("No internet."),
        TrainingCancelled(),
        InternalError("r-1"),
    )
}


def names_in_the_drawing() -> set[str]:
    return set(re.findall(r"^ {4}(?:[│├└─ ]*)([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE))


def fields_of(error: BrainTumorError) -> dict[str, Any]:
    return {field.name: getattr(error, field.name) for field in fields(error)}


def test_every_class_has_an_example() -> None:
    assert set(EXAMPLES) == set(all_errors())


def test_the_drawing_shows_every_class() -> None:
    assert names_in_the_drawing() == {cls.__name__ for cls in all_errors()}


def test_an_internal_error_names_the_trace_if_there_is_one() -> None:
    assert InternalError("r-1").message.endswith("look for r-1 in the log.")
    assert InternalError().message == "Internal error."


@pytest.mark.parametrize("error", EXAMPLES.values(), ids=lambda e: type(e).__name__)
class TestEveryError:
    def test_wire_round_trip(self, error: BrainTumorError) -> None:
        back = from_wire(msgpack.unpackb(msgpack.packb(to_wire(error))))
        assert type(back) is type(error)
        assert fields_of(back) == fields_of(error)
        assert (back.reason, back.message) == (error.reason, error.message)

    def test_pickle(self, error: BrainTumorError) -> None:
        back = pickle.loads(pickle.dumps(error))
        assert type(back) is type(error)
        assert fields_of(back) == fields_of(error)

    def test_copy(self, error: BrainTumorError) -> None:
        assert fields_of(copy.copy(error)) == fields_of(error)

    def test_str_is_the_message(self, error: BrainTumorError) -> None:
        assert str(error) == error.message
        assert error.message.strip()

    def test_reason_is_upper_snake_case(self, error: BrainTumorError) -> None:
        assert re.fullmatch(r"[A-Z][A-Z0-9_]{2,62}", error.reason)

    def test_metadata_is_text(self, error: BrainTumorError) -> None:
        assert all(isinstance(v, str) and v for v in error.metadata.values())

    def test_it_can_be_raised_and_hashed(self, error: BrainTumorError) -> None:
        with pytest.raises(type(error)) as caught:
            raise error
        assert caught.value is error
        assert error in {error}


def test_two_errors_of_one_kind_are_not_equal() -> None:
    assert NotFound("datasets/a") != NotFound("datasets/a")


def test_reasons_tell_the_classes_apart() -> None:
    shared = {BrainTumorError, InternalError}  # a caller can do nothing different about these
    reasons = [e.reason for cls, e in EXAMPLES.items() if cls not in shared]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize("problem", ImageProblem)
def test_each_image_problem_is_a_reason(problem: ImageProblem) -> None:
    error = ImageRefused(problem, "no")
    assert error.reason == f"IMAGE_{problem}"
    assert error.violations == (FieldViolation("image", "no"),)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("datasets/d", "DATASET_NOT_FOUND"),
        ("trainingJobs/j", "TRAINING_JOB_NOT_FOUND"),
        ("modelVersions/v", "MODEL_VERSION_NOT_FOUND"),
        ("predictions/p", "PREDICTION_NOT_FOUND"),
        ("blobs/b", "NOT_FOUND"),
        ("", "NOT_FOUND"),
    ],
)
def test_not_found_says_what_kind_of_thing(name: str, reason: str) -> None:
    assert NotFound(name).reason == reason


def test_every_violation_is_in_the_message() -> None:
    error = InvalidArgument((FieldViolation("a", "too low"), FieldViolation("b", "too high")))
    assert error.message == "a: too low; b: too high"
    assert InvalidArgument.of("a", "too low").violations == error.violations[:1]


def test_a_refused_data_set_names_its_files() -> None:
    rejected = tuple(RejectedFile(f"glioma/{i}.png", "empty") for i in range(7))
    error = DatasetRefused("7 files cannot be used", rejected)
    assert error.message.startswith("7 files cannot be used: glioma/0.png: empty; ")
    assert error.message.endswith("glioma/4.png: empty (and 2 more)")
    assert [v.field for v in error.violations] == [f"files[{r.path}]" for r in rejected]


def test_files_that_are_not_named_are_counted() -> None:
    rejected = tuple(RejectedFile(f"glioma/{i}.png", "empty") for i in range(7))
    error = DatasetRefused("250 files cannot be used", rejected, more=243)
    assert error.message.endswith("glioma/4.png: empty (and 245 more)")
    few = DatasetRefused("3 files cannot be used", rejected[:1], more=2)
    assert few.message.endswith("glioma/0.png: empty (and 2 more)")


def test_what_an_error_does_not_use_a_gateway_of_the_version_before_need_not_know() -> None:
    refused = DatasetRefused("It has only the class glioma", ())
    assert to_wire(refused)["data"] == {"description": "It has only the class glioma"}


@pytest.mark.parametrize(
    "kind", [SegmenterNotRegistered, SegmenterCorrupt, SegmentationFailed], ids=lambda k: k.__name__
)
def test_an_answer_without_regions_says_where_it_is(kind: type[AnsweredWithoutRegions]) -> None:
    error = kind("predictions/p")
    assert error.metadata == {"prediction": "predictions/p"}
    assert "get predictions/p, or ask again without include_regions" in error.message


def test_a_data_set_refused_as_a_whole() -> None:
    error = DatasetRefused("It has one class only")
    assert error.message == "It has one class only"
    assert error.violations == (FieldViolation("dataset", "It has one class only"),)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"type": "ErrorOfTomorrow", "data": {}},
        {"type": "NotFound"},
        {"type": "NotFound", "data": {}},
        {"type": "NotFound", "data": {"name": "datasets/d", "hint": "from a newer version"}},
        {"type": "ImageRefused", "data": {"problem": "TOO_BLUE", "description": "blue"}},
        {"type": "InvalidArgument", "data": {"violations": [{"path": "x"}]}},
        {"type": "dict", "data": {}},
    ],
)
def test_what_this_version_does_not_know_is_an_internal_error(payload: dict[str, Any]) -> None:
    assert type(from_wire(payload)) is InternalError
