import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import ArtefactCorrupt
from tests.fakes.graphs import (
    brightness_manifest,
    store_brightness_model,
    store_brightness_segmenter,
)
from tests.fakes.store import FakeArtefactStore
from workers.inference.runtime import Outputs
from workers.inference.sessions import LoadedModel, ModelSessions, load_model
from workers.model_artefact import GRAPH, MANIFEST


class FakeRuntime:
    name = "fake"
    preferred_batch = 1

    def run(self, images: NDArray[np.float32], *, alone: bool = False) -> Outputs:
        raise NotImplementedError


def counting_loader(calls: list[str]) -> Callable[[str], LoadedModel]:
    def load(digest: str) -> LoadedModel:
        calls.append(digest)
        return LoadedModel(manifest=brightness_manifest(), runtime=FakeRuntime())

    return load


def fake_load(graph: bytes, size: int, outputs: Sequence[str]) -> FakeRuntime:
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


@pytest.mark.parametrize(
    ("task", "outputs"),
    [("classification", ("logits", "activation_map", "features")), ("segmentation", ("mask",))],
)
def test_a_graph_is_asked_for_what_its_task_gives(task: str, outputs: tuple[str, ...]) -> None:
    store, asked = FakeArtefactStore(), []

    def load(graph: bytes, size: int, wanted: Sequence[str]) -> FakeRuntime:
        asked.append(tuple(wanted))
        return FakeRuntime()

    make = store_brightness_segmenter if task == "segmentation" else store_brightness_model
    load_model(store, load, make(store))
    assert asked == [outputs]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"regions": None}, "does not say how its map becomes regions"),
        ({"task": "detection"}, "it does detection"),
        ({"preprocessing": "stretch-9"}, "prepared by stretch-9"),
        ({"labels": ("glioma",)}, "its labels are"),
    ],
)
def test_what_this_software_did_not_make_is_not_loaded(
    changes: dict[str, object], problem: str
) -> None:
    store = FakeArtefactStore()
    digest = store_brightness_segmenter(store, **changes)
    with pytest.raises(ArtefactCorrupt, match=problem):
        load_model(store, fake_load, digest)
