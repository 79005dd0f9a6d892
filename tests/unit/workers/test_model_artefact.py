import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from core.errors import ArtefactCorrupt, StoreUnavailable
from tests.fakes.store import FakeArtefactStore
from workers.model_artefact import (
    GRAPH,
    MANIFEST,
    REPORT,
    Calibration,
    ModelManifest,
    RegionRule,
    load_file,
    load_manifest,
    sha256_hex,
    store_model,
)

FILES = {GRAPH: b"a graph", REPORT: b"<h1>report</h1>"}


def a_manifest(**changes: Any) -> ModelManifest:
    values: dict[str, Any] = {
        "task": "classification",
        "backbone": "efficientnet_b0",
        "labels": ("glioma", "meningioma", "no_tumor", "pituitary"),
        "image_size": 224,
        "preprocessing": "p1",
        "calibration": Calibration(temperature=0.1 + 0.2, abstain_below=1 / 3),
        "files": {name: sha256_hex(data) for name, data in FILES.items()},
        "spec": {"epochs": 3, "learning_rate": 6e-4},
        "dataset_digest": "d" * 64,
        "weights_source": "none",
        "metrics": {"accuracy": 0.9, "confusion": [[1, 0], [0, 1]]},
        "library_versions": {"tensorflow": "2.21.0"},
    }
    return ModelManifest(**values | changes)


def turned(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same, in the opposite order."""
    return dict(reversed(list(values.items())))


@pytest.fixture
def store() -> FakeArtefactStore:
    return FakeArtefactStore()


def test_a_hash_is_sha256_in_hex() -> None:
    assert sha256_hex(b"") == hashlib.sha256(b"").hexdigest()


def test_a_version_comes_back_as_it_was(store: FakeArtefactStore) -> None:
    digest = store_model(store, a_manifest(), FILES)
    manifest = load_manifest(store, digest)
    assert manifest == a_manifest()
    assert {name: load_file(store, digest, manifest, name) for name in FILES} == FILES


def test_the_digest_is_that_of_the_manifest(store: FakeArtefactStore) -> None:
    digest = store_model(store, a_manifest(), FILES)
    assert digest == sha256_hex(a_manifest().to_json())
    assert store.list("models") == tuple(
        sorted(f"models/{digest}/{name}" for name in [*FILES, MANIFEST])
    )


def test_equal_manifests_have_equal_bytes_in_whatever_order_they_were_made() -> None:
    manifest = a_manifest()
    other = a_manifest(
        files=turned(manifest.files),
        spec=turned(manifest.spec),
        metrics=turned(manifest.metrics),
    )
    assert other.to_json() == manifest.to_json()


def test_reading_and_writing_a_manifest_keeps_its_bytes() -> None:
    text = a_manifest().to_json()
    assert ModelManifest.from_json(text).to_json() == text


def test_a_segmenter_says_what_a_region_is() -> None:
    manifest = a_manifest(task="segmentation", regions=RegionRule(threshold=0.4))
    assert ModelManifest.from_json(manifest.to_json()) == manifest
    assert b"regions" not in a_manifest().to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("meningioma", "glioma", "no_tumor", "pituitary")},
        {"image_size": 225},
        {"calibration": Calibration(temperature=0.3, abstain_below=1 / 3)},
        {"files": {GRAPH: "0" * 64}},
        {"dataset_digest": "e" * 64},
        {"weights_source": "imagenet"},
        {"format": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_a_manifest_says_counts(change: dict[str, Any]) -> None:
    assert a_manifest(**change).to_json() != a_manifest().to_json()


@pytest.mark.parametrize(
    "files",
    [{}, {GRAPH: FILES[GRAPH]}, FILES | {GRAPH: b"another"}, FILES | {"more": b""}],
    ids=["none", "one missing", "another", "one more"],
)
def test_a_manifest_that_does_not_describe_the_files_is_not_stored(
    store: FakeArtefactStore, files: dict[str, bytes]
) -> None:
    with pytest.raises(ValueError, match="does not describe"):
        store_model(store, a_manifest(), files)
    assert store.files == {}


class FullStore(FakeArtefactStore):
    """Has room for ``room`` files."""

    room = 2

    def put(self, key: str, data: bytes) -> None:
        if len(self.files) == self.room:
            raise StoreUnavailable("artefact store")
        super().put(key, data)


def test_a_version_that_was_cut_short_has_no_manifest() -> None:
    store = FullStore()
    with pytest.raises(StoreUnavailable):
        store_model(store, a_manifest(), FILES)
    with pytest.raises(ArtefactCorrupt, match="missing"):
        load_manifest(store, sha256_hex(a_manifest().to_json()))


def test_a_changed_manifest_is_corrupt(store: FakeArtefactStore) -> None:
    digest = store_model(store, a_manifest(), FILES)
    values = json.loads(a_manifest().to_json())
    values["calibration"]["temperature"] = 5.0
    for text in (b"", b"no json", json.dumps(values).encode(), a_manifest().to_json() + b"\n"):
        store.put(f"models/{digest}/{MANIFEST}", text)
        with pytest.raises(ArtefactCorrupt, match=MANIFEST):
            load_manifest(store, digest)


def test_another_versions_manifest_is_corrupt_here(store: FakeArtefactStore) -> None:
    digest = store_model(store, a_manifest(), FILES)
    other = store_model(store, a_manifest(image_size=32), FILES)
    store.put(f"models/{digest}/{MANIFEST}", store.get(f"models/{other}/{MANIFEST}"))
    with pytest.raises(ArtefactCorrupt):
        load_manifest(store, digest)


def test_an_unknown_version_is_corrupt(store: FakeArtefactStore) -> None:
    with pytest.raises(ArtefactCorrupt, match="missing"):
        load_manifest(store, "0" * 64)


@pytest.mark.parametrize("data", [b"", b"a grape", b"a graph\0"])
def test_a_changed_file_is_corrupt(store: FakeArtefactStore, data: bytes) -> None:
    digest = store_model(store, a_manifest(), FILES)
    store.put(f"models/{digest}/{GRAPH}", data)
    with pytest.raises(ArtefactCorrupt, match=GRAPH):
        load_file(store, digest, a_manifest(), GRAPH)
    assert load_file(store, digest, a_manifest(), REPORT) == FILES[REPORT]


def test_a_missing_file_is_corrupt(store: FakeArtefactStore) -> None:
    digest = store_model(store, a_manifest(), FILES)
    store.delete(f"models/{digest}/{GRAPH}")
    with pytest.raises(ArtefactCorrupt, match="missing"):
        load_file(store, digest, a_manifest(), GRAPH)


def test_a_file_that_the_manifest_does_not_name_is_never_loaded(store: FakeArtefactStore) -> None:
    digest = store_model(store, a_manifest(), FILES)
    store.put(f"models/{digest}/extra.onnx", b"smuggled in")
    with pytest.raises(ArtefactCorrupt, match=r"extra\.onnx"):
        load_file(store, digest, a_manifest(), "extra.onnx")
