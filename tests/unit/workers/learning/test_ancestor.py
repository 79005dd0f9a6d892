"""Going on from a stored version: its weights, its split, and what is said where none fits."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import ArtefactCorrupt, PretrainedWeightsUnavailable
from core.registry import artefact_prefix
from core.settings import Settings
from core.training import Backbone, StartVersion, Task, TrainingSpec
from tests.fakes.learning import SPEC, use_halving_network, use_tiny_network
from tests.fakes.records import a_job
from tests.fakes.store import FakeArtefactStore
from tests.unit.workers.learning import test_learn, test_learn_segmenter
from workers.curation.lineage import NO_LINEAGE, Lineage, Part
from workers.learning.ancestor import Ancestor, lineage_of
from workers.learning.classifier import backbone_of, build_classifier
from workers.learning.unet import build_segmenter
from workers.learning.weights_file import halved, weights_bytes
from workers.model_artefact import (
    LINEAGE,
    SPLIT,
    WEIGHTS,
    Calibration,
    ModelManifest,
    sha256_hex,
    store_model,
)
from workers.training_hooks import LearnedModel, job_prefix

SIZE = 32


@pytest.fixture(autouse=True)
def halving(monkeypatch: pytest.MonkeyPatch) -> None:
    use_halving_network(monkeypatch)


@pytest.fixture
def store() -> FakeArtefactStore:
    return FakeArtefactStore()


def stored(
    store: FakeArtefactStore, files: dict[str, bytes], task: Task = Task.CLASSIFICATION
) -> StartVersion:
    manifest = ModelManifest(
        task=task,
        backbone=Backbone.EFFICIENTNET_B0,
        labels=(),
        image_size=SIZE,
        preprocessing="",
        calibration=Calibration(),
        files={name: sha256_hex(data) for name, data in files.items()},
        spec={},
        dataset_digest="",
        weights_source="package p",
        metrics={},
        library_versions={},
    )
    return StartVersion(id="v1", digest=store_model(store, manifest, files))


def a_version(store: FakeArtefactStore, task: Task = Task.CLASSIFICATION) -> StartVersion:
    build = build_segmenter if task is Task.SEGMENTATION else build_classifier
    model = build(replace(SPEC, image_size=SIZE), pretrained=False)
    lineage = Lineage({"a" * 64: Part.TRAIN})
    return stored(store, {WEIGHTS: weights_bytes(model), LINEAGE: lineage.to_json()}, task)


def spec_from(start: StartVersion, **changes: Any) -> TrainingSpec:
    return replace(SPEC, image_size=SIZE, weights=str(start), **changes)


def ancestor(spec: TrainingSpec, store: FakeArtefactStore) -> Ancestor:
    found = Ancestor.of(spec, store)
    assert found is not None
    return found


def test_other_starts_have_no_ancestor(store: FakeArtefactStore) -> None:
    assert Ancestor.of(SPEC, store) is None
    assert lineage_of(SPEC, store) == NO_LINEAGE


def test_a_classifier_starts_from_all_of_a_classifier(store: FakeArtefactStore) -> None:
    spec = spec_from(a_version(store))
    first = ancestor(spec, store).start_weights(Task.CLASSIFICATION)
    assert (first.source, first.values) == ("version v1 (package p)", None)
    assert first.pretrained
    assert first.whole is not None
    model = build_classifier(spec, pretrained=True)
    assert [v.shape for v in first.whole] == [v.shape for v in model.get_weights()]
    assert lineage_of(spec, store).parts == {"a" * 64: Part.TRAIN}


def test_a_segmenter_starts_from_a_classifiers_backbone(store: FakeArtefactStore) -> None:
    spec = spec_from(a_version(store), task=Task.SEGMENTATION)
    first = ancestor(spec, store).start_weights(Task.SEGMENTATION)
    assert first.whole is None
    assert first.values is not None
    backbone = backbone_of(build_classifier(spec, pretrained=True))
    assert [v.shape for v in first.values] == [v.shape for v in backbone.get_weights()]


def test_a_segmenter_starts_from_all_of_a_segmenter(store: FakeArtefactStore) -> None:
    start = a_version(store, Task.SEGMENTATION)
    spec = spec_from(start, task=Task.SEGMENTATION)
    first = ancestor(spec, store).start_weights(Task.SEGMENTATION)
    assert first.whole is not None
    model = build_segmenter(spec, pretrained=True)
    assert [v.shape for v in first.whole] == [v.shape for v in model.get_weights()]
    with pytest.raises(PretrainedWeightsUnavailable, match="made for segmentation"):
        Ancestor.of(spec_from(start), store)


def test_weights_of_half_the_bits_will_do(store: FakeArtefactStore) -> None:
    model = build_classifier(replace(SPEC, image_size=SIZE), pretrained=False)
    files = {WEIGHTS: halved(weights_bytes(model)), LINEAGE: NO_LINEAGE.to_json()}
    spec = spec_from(stored(store, files))
    first = ancestor(spec, store).start_weights(Task.CLASSIFICATION)
    assert first.whole is not None
    for found, expected in zip(first.whole, model.get_weights(), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("missing", [WEIGHTS, LINEAGE])
def test_a_version_without_weights_or_lineage_cannot_be_gone_on_from(
    store: FakeArtefactStore, missing: str
) -> None:
    files = {WEIGHTS: b"w", LINEAGE: NO_LINEAGE.to_json()}
    del files[missing]
    with pytest.raises(PretrainedWeightsUnavailable, match=missing):
        Ancestor.of(spec_from(stored(store, files)), store)


def test_another_backbone_is_refused(store: FakeArtefactStore) -> None:
    spec = spec_from(a_version(store), backbone=Backbone.VGG19)
    with pytest.raises(PretrainedWeightsUnavailable, match="is efficientnet_b0, not vgg19"):
        Ancestor.of(spec, store)


def test_weights_of_another_release_are_refused(store: FakeArtefactStore) -> None:
    files = {WEIGHTS: b"no such layers", LINEAGE: NO_LINEAGE.to_json()}
    found = ancestor(spec_from(stored(store, files)), store)
    with pytest.raises(PretrainedWeightsUnavailable, match="another release"):
        found.start_weights(Task.CLASSIFICATION)


def test_changed_weights_are_not_opened(store: FakeArtefactStore) -> None:
    start = a_version(store)
    store.put(f"{artefact_prefix(start.digest)}/{WEIGHTS}", b"changed")
    with pytest.raises(ArtefactCorrupt):
        ancestor(spec_from(start), store).start_weights(Task.CLASSIFICATION)


def kept(learned: LearnedModel, store: FakeArtefactStore) -> StartVersion:
    """Its version; the job's checkpoints are gone, as behind its end."""
    digest = store_model(store, learned.manifest, learned.files)
    store.delete(job_prefix(a_job().id))
    return StartVersion(id="v1", digest=digest)


def test_a_job_that_goes_on_is_judged_by_slices_its_ancestor_never_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_network(monkeypatch)
    job = test_learn.Job(Settings.from_environment({}, data_dir=tmp_path))
    first = job.run(epochs=1)
    second = job.run(epochs=1, seed=5, weights=str(kept(first, job.store)))

    assert second.manifest.weights_source == "version v1 (none)"
    splits = [json.loads(learned.files[SPLIT])["final"] for learned in (first, second)]
    assert splits[0]["test"] == splits[1]["test"]
    assert splits[0]["train"] == splits[1]["train"]
    assert second.files[LINEAGE] == first.files[LINEAGE]


def test_a_segmenter_that_goes_on_from_a_classifier_has_its_split(tmp_path: Path) -> None:
    job = test_learn_segmenter.Job(Settings.from_environment({}, data_dir=tmp_path))
    spec = test_learn_segmenter.SPEC
    classifier = job.run(replace(spec, task=Task.CLASSIFICATION, epochs=1), masked=9)
    goes_on = replace(spec, epochs=1, seed=7, weights=str(kept(classifier, job.store)))
    segmenter = job.run(goes_on, masked=9)
    assert segmenter.manifest.weights_source == "version v1 (none)"
    taught, outlined = (
        json.loads(learned.files[SPLIT])["final"] for learned in (classifier, segmenter)
    )
    for part in ("train", "validation", "test"):
        assert set(outlined[part]) <= set(taught[part]), "but for slices that have no mask"
