"""Going on from a registered model version: its weights, and the slices it has learned from."""

from dataclasses import dataclass, replace

import keras

from core.errors import PretrainedWeightsUnavailable
from core.ports import ArtefactStore
from core.training import Backbone, StartVersion, Task, TrainingSpec
from workers.curation.lineage import NO_LINEAGE, Lineage
from workers.learning.classifier import backbone_of, build_classifier
from workers.learning.unet import build_segmenter
from workers.learning.weights import StartWeights
from workers.learning.weights_file import load_weights
from workers.model_artefact import LINEAGE, WEIGHTS, ModelManifest, load_file, load_manifest


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """A stored version that a training goes on from."""

    start: StartVersion
    manifest: ModelManifest
    store: ArtefactStore

    @classmethod
    def of(cls, spec: TrainingSpec, store: ArtefactStore) -> "Ancestor | None":
        """None if the recipe starts elsewhere.

        Raises ``PretrainedWeightsUnavailable`` if the version cannot be gone on from,
        ``ArtefactCorrupt``.
        """
        start = StartVersion.of(spec.weights)
        if start is None:
            return None
        found = cls(start=start, manifest=load_manifest(store, start.digest), store=store)
        found._check(spec)
        return found

    @property
    def _source(self) -> str:
        return f"version {self.start.id} ({self.manifest.weights_source})"

    @property
    def lineage(self) -> Lineage:
        """What it and its own ancestors have learned from. Raises ``ArtefactCorrupt``."""
        return Lineage.from_json(self._file(LINEAGE))

    def start_weights(self, task: Task) -> StartWeights:
        """What a model of this task starts from: all of it, or a classifier's backbone.

        Raises ``PretrainedWeightsUnavailable``, ``ArtefactCorrupt``.
        """
        model = self._model()
        if self.manifest.task == task:
            return StartWeights(source=self._source, values=None, whole=model.get_weights())
        return StartWeights(source=self._source, values=backbone_of(model).get_weights())

    def _model(self) -> keras.Model:
        spec = replace(
            TrainingSpec(),
            backbone=Backbone(self.manifest.backbone),
            image_size=self.manifest.image_size,
        )
        build = build_segmenter if self.manifest.task == Task.SEGMENTATION else build_classifier
        model = build(spec, pretrained=True)
        data = self._file(WEIGHTS)
        try:
            load_weights(model, data)
        except Exception as exc:  # h5py and Keras raise many kinds for a file that does not fit
            raise PretrainedWeightsUnavailable(
                f"Version {self.start.id} was made by another release of this software, whose "
                f"{self.manifest.backbone} was built otherwise. Go on from a newer version, or "
                "use weights=auto."
            ) from exc
        return model

    def _file(self, name: str) -> bytes:
        return load_file(self.store, self.start.digest, self.manifest, name)

    def _check(self, spec: TrainingSpec) -> None:
        """The gateway has refused what does not fit; jobs may be older than its rules."""
        why = ""
        if missing := sorted({WEIGHTS, LINEAGE} - set(self.manifest.files)):
            why = f"it has no {' and no '.join(missing)}"
        elif self.manifest.backbone != spec.backbone:
            why = f"its backbone is {self.manifest.backbone}, not {spec.backbone}"
        elif self.manifest.task not in {spec.task, Task.CLASSIFICATION}:
            why = f"it was made for {self.manifest.task}, not for {spec.task}"
        if why:
            raise PretrainedWeightsUnavailable(
                f"No training of this recipe can go on from version {self.start.id}: {why}. Name "
                "another version, or use weights=auto."
            )


def lineage_of(spec: TrainingSpec, store: ArtefactStore) -> Lineage:
    """That of the version that the recipe goes on from; an empty one for other starts.

    Raises as :meth:`Ancestor.of`.
    """
    ancestor = Ancestor.of(spec, store)
    return ancestor.lineage if ancestor else NO_LINEAGE
