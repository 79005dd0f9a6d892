import threading
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import ArtefactCorrupt
from tests.fakes.graphs import brightness_manifest, store_brightness_model
from tests.fakes.store import FakeArtefactStore
from workers.inference.runtime import RawOutput
from workers.inference.sessions import LoadedModel, ModelSessions, load_model
from workers.model_artefact import GRAPH, MANIFEST


class FakeRuntime:
    name = "fake"
    preferred_batch = 1

    def run(self, images: NDArray[np.float32]) -> RawOutput:
        raise NotImplementedError


def counting_loader(calls: list[str]) -> Callable[[str], LoadedModel]:
    def load(digest: str) -> LoadedModel:
        calls.append(digest)
        return LoadedModel(manifest=brightness_manifest(), runtime=FakeRuntime())

    return load


def fake_load(graph: bytes, size: int) -> FakeRuntime:
    return FakeRuntime()


def test_a_model_is_loaded_once_for_many_threads() -> None:
    calls: list[str] = []
    sessions = ModelSessions(counting_loader(calls), capacity=2)
    barrier = threading.Barrier(8)

    def get() -> None:
        barrier.wait()
        sessions.get("a")

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["a"]


def test_the_least_recently_used_model_is_dropped() -> None:
    calls: list[str] = []
    sessions = ModelSessions(counting_loader(calls), capacity=2)
    for digest in ("a", "b", "a", "c", "a", "b"):
        sessions.get(digest)
    assert calls == ["a", "b", "c", "b"]


def test_a_failed_load_is_tried_again() -> None:
    attempts: list[str] = []

    def load(digest: str) -> LoadedModel:
        attempts.append(digest)
        if len(attempts) == 1:
            raise ArtefactCorrupt(digest)
        return LoadedModel(manifest=brightness_manifest(), runtime=FakeRuntime())

    sessions = ModelSessions(load, capacity=1)
    with pytest.raises(ArtefactCorrupt):
        sessions.get("a")
    assert sessions.get("a")


def test_only_untouched_artefacts_reach_a_runtime() -> None:
    store = FakeArtefactStore()
    digest = store_brightness_model(store)
    assert load_model(store, fake_load, digest).manifest == brightness_manifest()
    for name in (GRAPH, MANIFEST):
        key = f"models/{digest}/{name}"
        original = store.get(key)
        store.put(key, original + b" ")
        with pytest.raises(ArtefactCorrupt):
            load_model(store, fake_load, digest)
        store.put(key, original)
    store.delete(f"models/{digest}/{GRAPH}")
    with pytest.raises(ArtefactCorrupt):
        load_model(store, fake_load, digest)
