"""Loaded models, kept by content hash."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import ArtefactCorrupt
from core.labels import LABELS
from core.ports import ArtefactStore
from core.training import Task
from workers.evaluation.ood import OodModel
from workers.imaging.preprocess import PREPROCESSING
from workers.inference.runtime import Runtime, RuntimeLoader
from workers.model_artefact import (
    GRAPH,
    OOD,
    OUTPUTS,
    ModelManifest,
    RegionRule,
    load_file,
    load_manifest,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A graph ready to run and what its manifest says about it."""

    manifest: ModelManifest
    runtime: Runtime
    strangers: OodModel | None = None
    """What is strange to it; None for a model from before that was learned."""

    @property
    def region_rule(self) -> RegionRule:
        """A segmenter's. :func:`load_model` has seen to it that there is one."""
        assert self.manifest.regions is not None  # noqa: S101
        return self.manifest.regions


def load_model(store: ArtefactStore, load: RuntimeLoader, digest: str) -> LoadedModel:
    """Check the artefact's hashes, then load its graph. Raises ``ArtefactCorrupt``."""
    manifest = load_manifest(store, digest)
    problem = _problem_of(manifest)
    if problem is not None:
        raise ArtefactCorrupt(f"models/{digest}", problem)
    graph = load_file(store, digest, manifest, GRAPH)
    strangers = _load_strangers(store, digest, manifest)
    runtime = load(graph, manifest.image_size, OUTPUTS[manifest.task])
    log.info("model_loaded digest=%s runtime=%s", digest[:12], runtime.name)
    return LoadedModel(manifest=manifest, runtime=runtime, strangers=strangers)


def _problem_of(manifest: ModelManifest) -> str | None:
    """Why this software cannot serve a version that it did not make, or None if it can."""
    if manifest.labels != LABELS:
        return f"its labels are {manifest.labels}"
    if manifest.preprocessing != PREPROCESSING:
        return f"it expects pixels prepared by {manifest.preprocessing}, not {PREPROCESSING}"
    if manifest.task not in OUTPUTS:
        return f"it does {manifest.task}, which nothing here serves"
    if manifest.task == Task.SEGMENTATION and manifest.regions is None:
        return "it does not say how its map becomes regions"
    return None


def _load_strangers(store: ArtefactStore, digest: str, manifest: ModelManifest) -> OodModel | None:
    if OOD not in manifest.files:
        return None
    try:
        return OodModel.from_bytes(load_file(store, digest, manifest, OOD))
    except ValueError as exc:
        raise ArtefactCorrupt(f"models/{digest}/{OOD}", str(exc)) from exc


class ModelSessions:
    """The most recently used models, each loaded once however many threads ask for it."""

    def __init__(self, load: Callable[[str], LoadedModel], *, capacity: int) -> None:
        self._load = load
        self._capacity = capacity
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, digest: str) -> LoadedModel:
        """The model with this content hash. Raises what loading raises; a failure is not kept."""
        with self._lock:
            if (model := self._known(digest)) is not None:
                return model
            loading = self._loading.setdefault(digest, threading.Lock())
        with loading:
            with self._lock:
                if (model := self._known(digest)) is not None:
                    return model
            model = self._load(digest)
            self._keep(digest, model)
            return model

    def _known(self, digest: str) -> LoadedModel | None:
        model = self._models.get(digest)
        if model is not None:
            self._models.move_to_end(digest)
        return model

    def _keep(self, digest: str, model: LoadedModel) -> None:
        with self._lock:
            self._models[digest] = model
            self._loading.pop(digest, None)
            while len(self._models) > self._capacity:
                self._models.popitem(last=False)
