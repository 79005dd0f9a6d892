"""The recipe of a training job as the command line takes it."""

import pytest
import typer
from braintumor.v1 import training_pb2

from core.training import QUICK, Backbone, Task, TrainingSpec
from services.cli.train import recipe_of, spec_message


def recipe(*settings: str) -> training_pb2.TrainingSpec:
    return spec_message(recipe_of(Backbone.VGG19, Task.CLASSIFICATION, settings))


def test_only_what_was_given_is_sent() -> None:
    spec = recipe(
        "epochs=3", "augmentation=off", "learning_rate=1e-3", "optimizer=SGD", "precision=float32"
    )
    assert spec.backbone == training_pb2.BACKBONE_VGG19
    assert spec.task == training_pb2.TASK_CLASSIFICATION
    assert spec.optimizer == training_pb2.OPTIMIZER_SGD
    assert spec.precision == training_pb2.PRECISION_FLOAT32
    assert spec.epochs == 3
    assert spec.augmentation is False
    assert spec.HasField("augmentation")
    assert spec.learning_rate == 1e-3
    assert not spec.HasField("batch_size")
    assert not spec.HasField("seed")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("epochs=0", "epochs: must be a whole number from 1 to 1000"),
        ("epoch=1", "epoch: unknown; use one of"),
        ("precision=half", "precision: must be one of auto, float32, mixed_bfloat16"),
        ("epochs", "key=value"),
        ("=3", "key=value"),
        ("weights=../etc/passwd", "weights: must be one of"),
    ],
)
def test_a_bad_setting_is_explained(
    setting: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught:
        recipe(setting)
    assert caught.value.exit_code == 2
    assert words in capsys.readouterr().err


def test_there_is_one_place_to_start_from(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        recipe_of(None, Task.CLASSIFICATION, ["weights=none"], "production")
    assert "not both" in capsys.readouterr().err


def test_a_quick_recipe_can_be_changed_and_is_sent_whole() -> None:
    given = recipe_of(None, Task.CLASSIFICATION, ["epochs=2"], quick=True)
    assert given == {**QUICK, "task": Task.CLASSIFICATION, "epochs": 2}
    assert TrainingSpec.validated(QUICK) != TrainingSpec()


@pytest.mark.parametrize(
    ("task", "version"), [(Task.SEGMENTATION, ""), (Task.CLASSIFICATION, "production")]
)
def test_a_quick_recipe_is_for_what_it_was_tried_for(
    task: Task, version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        recipe_of(None, task, [], version, quick=True)
    assert "--quick is for classifiers that begin anew" in capsys.readouterr().err


def test_every_bad_setting_is_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        recipe("epochs=0", "dropout=2")
    said = capsys.readouterr().err
    assert "epochs" in said
    assert "dropout" in said
