"""Which versions are paired, and what is said about those that cannot be."""

import pytest

from core.errors import StoreUnavailable
from core.held_out import FILE_NAME, HeldOutPredictions
from core.registry import ModelVersion
from services.usecases.held_out import pair_versions, read_held_out
from tests.fakes.held_out import held_out, store_version
from tests.fakes.registry import a_model_version, an_evaluation
from tests.fakes.store import FakeArtefactStore


@pytest.fixture
def store() -> FakeArtefactStore:
    return FakeArtefactStore()


def a_version(
    store: FakeArtefactStore, name: str, predictions: HeldOutPredictions | None, score: float = 0.9
) -> ModelVersion:
    digest = store_version(store, {"name": name.encode()}, predictions)
    return a_model_version(name, digest=digest, evaluation=an_evaluation(score))


def test_each_is_paired_with_the_first_and_with_the_best(store: FakeArtefactStore) -> None:
    versions = [
        a_version(store, "a", held_out()),
        a_version(store, "b", held_out(wrong_every=5)),
        a_version(store, "c", held_out(wrong_every=9), score=0.95),
    ]
    found = pair_versions(store, versions)
    names = [(p.first[-1], p.second[-1]) for p in found.pairs]
    assert names == [("a", "b"), ("a", "c"), ("c", "b")]
    assert found.notes == ()


def test_versions_without_shared_slices_are_named(store: FakeArtefactStore) -> None:
    versions = [
        a_version(store, "a", held_out()),
        a_version(store, "b", held_out(first=1000)),
        a_version(store, "old", None),
    ]
    found = pair_versions(store, versions)
    assert found.pairs == ()
    old, apart = found.notes
    assert old == "modelVersions/old keeps no held-out predictions"
    assert "modelVersions/a and modelVersions/b" in apart


@pytest.mark.parametrize("damage", [b"", b"{}"])
def test_a_damaged_file_is_as_good_as_none(store: FakeArtefactStore, damage: bytes) -> None:
    version = a_version(store, "a", held_out())
    store.put(f"models/{version.digest}/{FILE_NAME}", damage)
    assert read_held_out(store, version) is None


def test_a_file_of_another_format_is_as_good_as_none(store: FakeArtefactStore) -> None:
    digest = store_version(store, {FILE_NAME: b'{"format": 99}'})
    assert read_held_out(store, a_model_version("a", digest=digest)) is None


def test_a_store_that_is_away_is_told(store: FakeArtefactStore) -> None:
    class Away(FakeArtefactStore):
        def get(self, key: str) -> bytes:
            raise StoreUnavailable("artefact store")

    with pytest.raises(StoreUnavailable):
        read_held_out(Away(), a_version(store, "a", held_out()))
