"""Loaded models, kept by content hash."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import ArtefactCorrupt
from core.labels import LABELS
from core.ports import ArtefactStore
from workers.imaging.preprocess import PREPROCESSING
from workers.inference.runtime import Runtime, RuntimeLoader
from workers.model_artefact import GRAPH, ModelManifest, load_file, load_manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A graph ready to run and what its manifest says about it."""

    manifest: ModelManifest
    runtime: Runtime


def load_model(store: ArtefactStore, load: RuntimeLoader, digest: str) -> LoadedModel:
    """Check the artefact's hashes, then load its graph. Raises ``ArtefactCorrupt``."""
    manifest = load_manifest(store, digest)
    if manifest.labels != LABELS:
        raise ArtefactCorrupt(f"models/{digest}", f"its labels are {manifest.labels}")
    if manifest.preprocessing != PREPROCESSING:
        problem = f"it expects pixels prepared by {manifest.preprocessing}, not {PREPROCESSING}"
        raise ArtefactCorrupt(f"models/{digest}", problem)
    graph = load_file(store, digest, manifest, GRAPH)
    runtime = load(graph, manifest.image_size)
    log.info("model_loaded digest=%s runtime=%s", digest[:12], runtime.name)
    return LoadedModel(manifest=manifest, runtime=runtime)


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
