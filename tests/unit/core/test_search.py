"""What may be searched, and which trial is the best."""

from dataclasses import asdict, fields
from typing import Any

import pytest

from core.errors import InvalidArgument
from core.search import (
    SEARCHABLE,
    Choice,
    Dimension,
    Range,
    SearchSpec,
    TrialState,
    best_trial,
    misfits,
    with_recipe,
)
from core.training import Backbone, BatchNorm, Optimizer, Task, TrainingSpec
from tests.fakes.records import a_search, a_trial

DROPOUT = {"dropout": {"values": ["0.1", "0.3"]}}


def refused(**values: Any) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as caught:
        SearchSpec.validated({"space": DROPOUT} | values)
    return {v.field: v.description for v in caught.value.violations}


def test_plain_values_become_what_the_recipe_takes() -> None:
    space = {
        "backbone": {"values": ["VGG19", "densenet121"]},
        "class_weights": {"values": ["on", "off", "true"]},
        "batch_norm": {"values": ["train", "frozen"]},
        "learning_rate": {"low": "1e-4", "high": "1e-3", "log": True},
        "epochs": {"low": 4.0, "high": "12"},
    }
    spec = SearchSpec.validated({"trials": 3, "seconds": 60.0, "space": space})
    assert spec.space == {
        "backbone": Choice(values=(Backbone.VGG19, Backbone.DENSENET121)),
        "class_weights": Choice(values=(True, False)),
        "batch_norm": Choice(values=(BatchNorm.TRAIN, BatchNorm.FROZEN)),
        "learning_rate": Range(low=1e-4, high=1e-3, log=True),
        "epochs": Range(low=4, high=12),
    }
    epochs = spec.space["epochs"]
    assert isinstance(epochs, Range)
    assert isinstance(epochs.low, int)


def test_it_is_the_same_after_a_way_through_plain_values() -> None:
    assert SearchSpec.validated(asdict(a_search())) == a_search()


def test_defaults() -> None:
    spec = SearchSpec.validated({"space": DROPOUT})
    assert (spec.trials, spec.seconds) == (20, 0.0)


def test_only_fields_of_the_recipe_are_searched_and_none_that_decides_the_split() -> None:
    names = {f.name for f in fields(TrainingSpec)}
    assert names - SEARCHABLE == {
        "task", "weights", "image_size", "validation_share", "test_share", "folds", "seed",
        "precision", "target_risk",
    }  # fmt: skip
    assert names >= SEARCHABLE


@pytest.mark.parametrize("name", ["seed", "image_size", "test_share", "folds", "nonsense"])
def test_other_fields_are_refused(name: str) -> None:
    words = refused(space={name: {"values": ["1", "2"]}})
    assert "cannot be searched; use some of augmentation" in words[f"search.space.{name}"]


@pytest.mark.parametrize(
    ("name", "dimension", "words"),
    [
        ("dropout", {"values": ["0.1", "2"]}, "from 0 to 0.9"),
        ("dropout", {"values": ["0.1", "1e-1"]}, "different values"),
        ("dropout", {"values": []}, "different values"),
        ("dropout", {"low": 0.5, "high": 0.5}, "lower end first"),
        ("dropout", {"low": 0.5, "high": 0.1}, "lower end first"),
        ("dropout", {"low": 0, "high": 0.1, "log": True}, "above 0"),
        ("dropout", {"low": "", "high": "nan"}, "must be a number"),
        ("learning_rate", {"low": 0, "high": 0.1}, "above 0"),
        ("epochs", {"low": 1.5, "high": 3}, "whole number"),
        ("optimizer", {"low": 1, "high": 2}, "list its values"),
        ("augmentation", {"low": 0, "high": 1}, "list its values"),
    ],
)
def test_a_bad_dimension_is_explained(name: str, dimension: dict[str, Any], words: str) -> None:
    assert words in refused(space={name: dimension})[f"search.space.{name}"]


def test_everything_that_is_wrong_is_named_at_once() -> None:
    found = refused(trials=1, seconds=-1.0, space={"seed": {"values": [1, 2]}})
    assert set(found) == {"search.trials", "search.time_limit", "search.space.seed"}
    assert set(refused(trials=501, seconds=1e9, space={})) == {
        "search.trials", "search.time_limit", "search.space",
    }  # fmt: skip
    assert set(refused(seconds=float("nan"))) == {"search.time_limit"}


SEGMENTER = TrainingSpec(task=Task.SEGMENTATION)


def fits(base: TrainingSpec, **space: Dimension) -> dict[str, str]:
    return {v.field: v.description for v in misfits(a_search(space=space), base)}


@pytest.mark.parametrize(
    "name",
    [
        "head_epochs",
        "label_smoothing",
        "mixup",
        "mixup_share",
        "class_weights",
        "guidance",
        "counterfactuals",
    ],
)
def test_what_teaches_no_outlines_is_not_searched_for_segmenters(name: str) -> None:
    varied = Choice(values=(0, 1))
    words = fits(SEGMENTER, dropout=varied, **{name: varied})
    assert list(words) == [f"search.space.{name}"]
    assert "segmenter" in words[f"search.space.{name}"]
    assert not fits(TrainingSpec(), **{name: varied})


def test_a_segmenters_first_size_is_one_that_it_can_halve() -> None:
    assert not fits(SEGMENTER, first_image_size=Choice(values=(0, 64, 96)))
    for unfit in (Choice(values=(64, 100)), Range(low=64, high=96)):
        (words,) = fits(SEGMENTER, first_image_size=unfit).values()
        assert "multiples of 32" in words
        assert not fits(TrainingSpec(), first_image_size=unfit)


def test_a_search_has_no_folds() -> None:
    assert list(fits(TrainingSpec(folds=5))) == ["spec.folds"]


def test_the_best_trial_is_complete() -> None:
    trials = [
        a_trial(1, scores=(0.5, 0.8)),
        a_trial(2, scores=(0.9,), state=TrialState.PRUNED),
        a_trial(3, scores=(0.85, 0.7)),
        a_trial(4, scores=(0.85,)),
        a_trial(5, scores=(), state=TrialState.FAILED),
    ]
    best = best_trial(trials)
    assert best is not None
    assert (best.number, best.score) == (3, 0.85)
    assert best_trial([]) is best_trial(trials[1:2]) is None
    assert trials[4].score is None


def test_a_trials_recipe_is_the_base_with_what_varies() -> None:
    spec = with_recipe(TrainingSpec(epochs=3, seed=7), {"optimizer": "sgd", "dropout": 0.5})
    assert spec == TrainingSpec(epochs=3, seed=7, optimizer=Optimizer.SGD, dropout=0.5)


@pytest.mark.parametrize(
    ("name", "values"),
    [("backbone", (Backbone.EFFICIENTNET_B0, Backbone.VGG19)), ("head_epochs", (0, 5))],
)
def test_what_a_version_has_is_not_searched(name: str, values: tuple[Any, ...]) -> None:
    varied = Choice(values=values)
    words = fits(TrainingSpec(weights="version:v1"), **{name: varied})
    assert list(words) == [f"search.space.{name}"]
    assert "cannot vary with weights=version" in words[f"search.space.{name}"]
    assert not fits(TrainingSpec(), **{name: varied})
