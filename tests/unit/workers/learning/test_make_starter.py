"""What the starters' maker leaves for the segmenter to start from."""

from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession

from core.settings import Settings
from core.training import Task, TrainingSpec
from workers.curation.lineage import Lineage, Part
from workers.learning.backbones import set_backbone_weights
from workers.learning.classifier import backbone_of, build_classifier
from workers.learning.make_starter import BACKBONE_WEIGHTS, RECIPES, keep_backbone
from workers.learning.weights import start_weights
from workers.learning.weights_file import load_weights, weights_bytes
from workers.model_artefact import GRAPH, INPUT_NAME, LINEAGE, LOGITS_NAME, WEIGHTS
from workers.starter import read_starter


def test_a_segmenter_starts_from_the_classifiers_backbone(tmp_path: Path) -> None:
    """With the pixels that its first layers have learned from."""
    recipe = {**RECIPES[Task.CLASSIFICATION], "weights": "package"}
    spec = TrainingSpec.validated(recipe)
    model = build_classifier(spec, pretrained=True)
    settings = Settings.from_environment({}, data_dir=tmp_path)
    first = start_weights(spec, settings)
    assert first.values is not None
    set_backbone_weights(backbone_of(model), first.values)
    keep_backbone(spec, weights_bytes(model), settings.weights_dir / BACKBONE_WEIGHTS)
    first = start_weights(TrainingSpec.validated(RECIPES[Task.SEGMENTATION]), settings)
    assert first.source.startswith(f"file:{BACKBONE_WEIGHTS} sha256:")
    assert first.values is not None
    for found, expected in zip(first.values, backbone_of(model).get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_both_starters_are_split_alike() -> None:
    specs = [TrainingSpec.validated(recipe) for recipe in RECIPES.values()]
    assert len({(s.validation_share, s.test_share, s.seed, s.folds) for s in specs}) == 1


def test_the_starter_that_ships_has_the_weights_of_its_graph() -> None:
    starter = read_starter()
    parts = Lineage.from_json(starter.files[LINEAGE]).parts
    assert set(parts.values()) == {Part.TRAIN, Part.VALIDATION, Part.TEST}

    model = build_classifier(TrainingSpec(backbone=starter.version.backbone), pretrained=True)
    load_weights(model, starter.files[WEIGHTS])
    side = starter.manifest.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 1)).astype(np.float32)
    session = InferenceSession(starter.files[GRAPH])
    (served,) = session.run([LOGITS_NAME], {INPUT_NAME: pixels})
    # Weights of half the bits differ from the graph's by a trifle.
    np.testing.assert_allclose(model(pixels, training=False), served, atol=0.1)
