"""Recipes are checked field by field, and jobs move along legal ways only."""

from dataclasses import fields
from datetime import timedelta
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import IllegalTransition, InvalidArgument
from core.training import (
    _PARSERS,
    Backbone,
    JobState,
    Optimizer,
    StartVersion,
    Task,
    TrainingSpec,
)
from tests.fakes.records import NOW, a_job

LATER: Final = NOW + timedelta(seconds=5)


def refused_fields(**values: Any) -> list[str]:
    with pytest.raises(InvalidArgument) as caught:
        TrainingSpec.validated(values)
    return [v.field for v in caught.value.violations]


# --- recipes ----------------------------------------------------------------------------------


def test_defaults_are_legal() -> None:
    defaults = {f.name: getattr(TrainingSpec(), f.name) for f in fields(TrainingSpec)}
    assert TrainingSpec.validated({}) == TrainingSpec() == TrainingSpec.validated(defaults)


def test_every_field_is_checked() -> None:
    assert set(_PARSERS) == {f.name for f in fields(TrainingSpec)}


def test_text_as_the_command_line_gives_it() -> None:
    spec = TrainingSpec.validated(
        {
            "backbone": "ResNet101",
            "task": " classification ",
            "weights": "file:b0_notop.h5",
            "epochs": "3",
            "batch_size": "8",
            "image_size": "1.6e2",
            "optimizer": "SGD",
            "learning_rate": "1e-3",
            "weight_decay": "0",
            "dropout": "0.5",
            "augmentation": "off",
            "validation_share": "0.2",
            "test_share": "0.25",
            "seed": "7",
        }
    )
    assert spec == TrainingSpec(
        backbone=Backbone.RESNET101,
        task=Task.CLASSIFICATION,
        weights="file:b0_notop.h5",
        epochs=3,
        batch_size=8,
        image_size=160,
        optimizer=Optimizer.SGD,
        learning_rate=0.001,
        weight_decay=0.0,
        dropout=0.5,
        augmentation=False,
        validation_share=0.2,
        test_share=0.25,
        seed=7,
    )
    assert isinstance(spec.image_size, int)


@pytest.mark.parametrize("backbone", Backbone)
@pytest.mark.parametrize("optimizer", Optimizer)
def test_every_backbone_and_optimizer(backbone: Backbone, optimizer: Optimizer) -> None:
    spec = TrainingSpec.validated({"backbone": str(backbone), "optimizer": str(optimizer)})
    assert (spec.backbone, spec.optimizer) == (backbone, optimizer)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("epochs", 1, 1000),
        ("batch_size", 1, 512),
        ("image_size", 32, 1024),
        ("dropout", 0, 0.9),
        ("weight_decay", 0, 1),
        ("validation_share", 0.05, 0.5),
        ("test_share", 0.05, 0.5),
        ("seed", 0, 2**31 - 1),
    ],
)
def test_ranges(name: str, low: float, high: float) -> None:
    for value in (low, high):
        assert getattr(TrainingSpec.validated({name: value}), name) == value
    for value in (low - 1, high + 1, low - 0.01, high + 0.01):
        assert refused_fields(**{name: value}) == [f"spec.{name}"]


def test_a_learning_rate_is_above_zero() -> None:
    assert TrainingSpec.validated({"learning_rate": 1e-9}).learning_rate == 1e-9
    assert TrainingSpec.validated({"learning_rate": 10}).learning_rate == 10.0
    for value in (0, -1e-9, 10.001):
        assert refused_fields(learning_rate=value) == ["spec.learning_rate"]


@pytest.mark.parametrize("value", ["", "many", "nan", "inf", "-inf", "1e400", None, [], {}])
@pytest.mark.parametrize("name", ["epochs", "learning_rate", "dropout", "seed"])
def test_what_is_no_number(name: str, value: Any) -> None:
    assert refused_fields(**{name: value}) == [f"spec.{name}"]


@pytest.mark.parametrize("name", ["epochs", "learning_rate", "batch_size"])
def test_true_is_no_number(name: str) -> None:
    assert refused_fields(**{name: True}) == [f"spec.{name}"]


def test_half_an_epoch_is_refused() -> None:
    assert refused_fields(epochs=1.5) == ["spec.epochs"]


@pytest.mark.parametrize(
    ("value", "meaning"),
    [(True, True), (False, False), ("on", True), ("No", False), ("1", True), ("false", False)],
)
def test_switches(value: Any, meaning: bool) -> None:
    assert TrainingSpec.validated({"augmentation": value}).augmentation is meaning


@pytest.mark.parametrize("value", ["maybe", "", None, 2])
def test_what_is_no_switch(value: Any) -> None:
    assert refused_fields(augmentation=value) == ["spec.augmentation"]


@pytest.mark.parametrize(
    "value",
    ["auto", "imagenet", "none", "file:b0.h5", "file:a b (1).h5", "version:52e153c9995c"],
)
def test_weights(value: str) -> None:
    assert TrainingSpec.validated({"weights": value}).weights == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "ImageNet21k",
        "b0.h5",
        "file:",
        "file:../secret.h5",
        "file:/etc/passwd",
        "file:a/b.h5",
        "file:a\\b.h5",
        "file:.hidden.h5",
        "file:..",
        "file:a\0b.h5",
        "file:a\nb.h5",
        "version:",
        "version:../v1",
        "version:v1#sha256=12",
    ],
)
def test_weights_that_might_leave_their_folder(value: str) -> None:
    assert refused_fields(weights=value) == ["spec.weights"]


def test_the_version_to_go_on_from() -> None:
    start = StartVersion(id="v1", digest="a" * 64)
    assert StartVersion.of(str(start)) == start
    assert StartVersion.of("version:v1") == StartVersion(id="v1")
    assert str(StartVersion(id="v1")) == "version:v1"
    assert StartVersion.of("file:version.h5") is None


def test_every_bad_field_is_named_at_once() -> None:
    named = refused_fields(epochs=0, backbone="alexnet", batchsize=8, dropout=2)
    assert sorted(named) == ["spec.backbone", "spec.batchsize", "spec.dropout", "spec.epochs"]


def test_the_message_says_what_would_be_right() -> None:
    with pytest.raises(InvalidArgument, match=r"from 1 to 1000"):
        TrainingSpec.validated({"epochs": 0})
    with pytest.raises(InvalidArgument, match="densenet121"):
        TrainingSpec.validated({"backbone": "alexnet"})
    with pytest.raises(InvalidArgument, match=r"use one of .*batch_size"):
        TrainingSpec.validated({"batchsize": 8})


def test_something_must_be_left_to_train_on() -> None:
    assert refused_fields(validation_share=0.5, test_share=0.5) == ["spec.validation_share"]
    assert TrainingSpec.validated({"validation_share": 0.4, "test_share": 0.4}).test_share == 0.4


@pytest.mark.parametrize(
    ("weights", "backbone"), [("package", "vgg19"), ("imagenet", "efficientnet_lite0")]
)
def test_weights_that_nobody_has_are_refused_at_once(weights: str, backbone: str) -> None:
    assert refused_fields(weights=weights, backbone=backbone) == ["spec.weights"]
    assert TrainingSpec.validated({"weights": weights}).weights == weights


def test_tumours_are_given_and_taken_while_slices_are_changed_anyway() -> None:
    assert refused_fields(counterfactuals=0.5, augmentation=False) == ["spec.counterfactuals"]
    assert TrainingSpec.validated({"counterfactuals": 0.5}).augmentation


def test_folds_and_validation_leave_something_to_learn_from() -> None:
    assert refused_fields(validation_share=0.5, folds=2) == ["spec.validation_share"]
    assert refused_fields(validation_share=0.31, folds=2) == ["spec.validation_share"]
    # With folds there is no test share.
    spec = TrainingSpec.validated({"validation_share": 0.5, "test_share": 0.5, "folds": 4})
    assert spec.folds == 4


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.binary(max_size=4)
)


@given(st.dictionaries(st.sampled_from(sorted(_PARSERS)), values))
def test_nothing_but_a_legal_recipe_or_a_refusal_comes_out(given_values: dict[str, Any]) -> None:
    try:
        spec = TrainingSpec.validated(given_values)
    except InvalidArgument as refusal:
        assert refusal.violations
    else:
        as_values = {f.name: getattr(spec, f.name) for f in fields(TrainingSpec)}
        assert TrainingSpec.validated(as_values) == spec


# --- jobs -------------------------------------------------------------------------------------

LEGAL: Final = {
    (JobState.QUEUED, JobState.RUNNING),
    (JobState.QUEUED, JobState.CANCELLED),
    (JobState.QUEUED, JobState.FAILED),
    (JobState.RUNNING, JobState.SUCCEEDED),
    (JobState.RUNNING, JobState.FAILED),
    (JobState.RUNNING, JobState.CANCELLING),
    (JobState.RUNNING, JobState.CANCELLED),
    (JobState.RUNNING, JobState.QUEUED),
    (JobState.CANCELLING, JobState.CANCELLED),
    (JobState.CANCELLING, JobState.SUCCEEDED),
    (JobState.CANCELLING, JobState.FAILED),
}
FINISHED: Final = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


@pytest.mark.parametrize(("before", "after"), list(product(JobState, JobState)))
def test_transitions(before: JobState, after: JobState) -> None:
    job = a_job(state=before)
    if (before, after) in LEGAL:
        moved = job.moved_to(after, LATER)
        assert (moved.state, moved.update_time) == (after, LATER)
        assert moved.end_time == (LATER if after in FINISHED else None)
        assert job.state is before
    else:
        with pytest.raises(IllegalTransition) as caught:
            job.moved_to(after, LATER)
        assert (caught.value.name, caught.value.state, caught.value.wanted) == (
            "trainingJobs/job1",
            before,
            after,
        )


@pytest.mark.parametrize("state", JobState)
def test_finished_states(state: JobState) -> None:
    assert state.finished == (state in FINISHED)


def test_a_move_may_change_more() -> None:
    job = a_job(state=JobState.RUNNING).moved_to(
        JobState.SUCCEEDED, LATER, model_version="v1", progress=1.0, end_time=NOW
    )
    assert (job.model_version, job.progress, job.end_time) == ("v1", 1.0, NOW)


def test_a_change_without_a_move() -> None:
    job = a_job()
    assert job.evolve(progress=0.5).progress == 0.5
    assert job.progress == 0.0


def test_a_segmenters_recipe_is_checked_as_a_whole() -> None:
    with pytest.raises(InvalidArgument) as refused:
        TrainingSpec.validated(
            {"task": "segmentation", "image_size": 150, "first_image_size": 100, "folds": 3}
        )
    fields_of = {violation.field for violation in refused.value.violations}
    assert fields_of == {"spec.image_size", "spec.first_image_size", "spec.folds"}
    assert TrainingSpec.validated({"task": "segmentation"}).task is Task.SEGMENTATION
