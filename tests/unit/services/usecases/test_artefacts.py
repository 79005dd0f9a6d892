import hashlib
import json

import pytest

from core.errors import ArtefactCorrupt
from services.usecases.artefacts import check_files, read_file
from tests.fakes.store import FakeArtefactStore
from workers.model_artefact import Calibration, ModelManifest, sha256_hex, store_model

FILES = {"report.html": b"<h1>fine</h1>", "model.onnx": b"graph"}


@pytest.fixture
def store() -> FakeArtefactStore:
    return FakeArtefactStore()


@pytest.fixture
def digest(store: FakeArtefactStore) -> str:
    """A version as the training worker writes it."""
    manifest = ModelManifest(
        task="classification",
        backbone="vgg19",
        labels=("glioma",),
        image_size=32,
        preprocessing="p1",
        calibration=Calibration(),
        files={name: sha256_hex(data) for name, data in FILES.items()},
        spec={},
        dataset_digest="d",
        weights_source="none",
        metrics={},
        library_versions={},
    )
    return store_model(store, manifest, FILES)


def test_what_the_worker_wrote_is_read(store: FakeArtefactStore, digest: str) -> None:
    assert read_file(store, digest, "report.html") == FILES["report.html"]
    check_files(store, digest)


@pytest.mark.parametrize("name", ["report.html", "manifest.json"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_report_that_was_changed_is_not_shown(
    store: FakeArtefactStore, digest: str, name: str, missing: bool
) -> None:
    _damage(store, f"models/{digest}/{name}", missing=missing)
    with pytest.raises(ArtefactCorrupt) as caught:
        read_file(store, digest, "report.html")
    assert caught.value.name == f"models/{digest}/{name}"


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_check_finds_any_file_that_was_changed(
    store: FakeArtefactStore, digest: str, name: str, missing: bool
) -> None:
    _damage(store, f"models/{digest}/{name}", missing=missing)
    with pytest.raises(ArtefactCorrupt) as caught:
        check_files(store, digest)
    assert caught.value.name == f"models/{digest}/{name}"


def test_a_file_that_the_manifest_does_not_name_is_not_read(store: FakeArtefactStore) -> None:
    manifest = json.dumps({"files": {}}).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    store.put(f"models/{digest}/manifest.json", manifest)
    store.put(f"models/{digest}/report.html", b"slipped in")
    with pytest.raises(ArtefactCorrupt):
        read_file(store, digest, "report.html")


def _damage(store: FakeArtefactStore, key: str, *, missing: bool) -> None:
    if missing:
        store.delete(key)
    else:
        store.put(key, store.get(key) + b" ")
