"""A model version on disk: its files, its manifest, and the check that nothing was changed.

A version lives in the artefact store under ``models/{digest}/``. ``manifest.json`` names every
other file with its SHA-256; ``digest`` is the SHA-256 of the manifest itself. So the digest in
the registry vouches for every byte, and nothing is handed to a runtime that does not match it.

The graph (``model.onnx``) takes ``image``: float32 (n, size, size, 1), grey values 0..255, as
:func:`workers.imaging.preprocess.prepare` makes them; the backbone's own input convention is
inside the graph. It gives ``logits``: float32 (n, classes) in the order of ``labels``, and
``activation_map``: float32 (n, h, w, classes), the last feature map weighted by each class's row
of the dense layer (Zhou et al., CVPR 2016, "Learning Deep Features for Discriminative
Localization"); and ``features``: float32 (n, d), mean and spread of each channel halfway through
the network, by which strangers are told.

A segmenter's graph gives ``mask`` instead: float32 (n, size, size, 1), the probability, 0..1, that
a pixel of the square is tumour.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from core import held_out, held_out_outlines
from core.errors import ArtefactCorrupt, NotFound
from core.ports import ArtefactStore
from core.registry import artefact_prefix
from core.training import Task

GRAPH: Final = "model.onnx"
WEIGHTS: Final = "model.weights.h5"
REPORT: Final = "report.html"
MODEL_CARD: Final = "model_card.md"
HELD_OUT: Final = held_out.FILE_NAME
HELD_OUT_OUTLINES: Final = held_out_outlines.FILE_NAME
OOD: Final = "ood.npz"
SPLIT: Final = "split.json"
LINEAGE: Final = "lineage.json"
MANIFEST: Final = "manifest.json"

INPUT_NAME: Final = "image"
LOGITS_NAME: Final = "logits"
ACTIVATION_MAP_NAME: Final = "activation_map"
FEATURES_NAME: Final = "features"
MASK_NAME: Final = "mask"
OUTPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    Task.CLASSIFICATION: (LOGITS_NAME, ACTIVATION_MAP_NAME, FEATURES_NAME),
    Task.SEGMENTATION: (MASK_NAME,),
}
"""What the graph of a model of each task gives."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How logits become an answer.

    ``temperature`` divides the logits before softmax (Guo et al., ICML 2017, "On Calibration of
    Modern Neural Networks"); an answer whose highest probability is below ``abstain_below``
    (0..1, a trifle above 1 where none is to be accepted) is ABSTAINED. That was chosen so that
    at most ``target_risk`` (0..1) of the others are wrong; ``note`` says in a sentence whether
    that could be shown.
    """

    temperature: float = 1.0
    abstain_below: float = 0.0
    target_risk: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class RegionRule:
    """How a segmenter's map becomes regions.

    Pixels of at least ``threshold`` (0..1) that touch are one, if together they cover at least
    ``smallest_share`` (0..1) of the head's square. Chosen on validation slices.
    """

    threshold: float = 0.5
    smallest_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ModelManifest:
    """Everything serving needs to know about a model, and where it came from."""

    task: str
    backbone: str
    labels: tuple[str, ...]
    image_size: int
    preprocessing: str
    """Name of what was done to the pixels before the graph; see :mod:`workers.imaging.preprocess`.
    """
    calibration: Calibration
    files: Mapping[str, str]
    """File name to hex SHA-256."""
    spec: Mapping[str, Any]
    dataset_digest: str
    weights_source: str
    metrics: Mapping[str, Any]
    library_versions: Mapping[str, str]
    format: int = field(default=1)
    regions: RegionRule | None = None
    """Of a segmenter only."""

    def to_json(self) -> bytes:
        """Canonical JSON: the same manifest always gives the same bytes, hence digest."""
        values = asdict(self)
        if self.regions is None:  # manifests from before there were segmenters keep their digests
            del values["regions"]
        return json.dumps(values, sort_keys=True, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "ModelManifest":
        values = json.loads(text)
        values["labels"] = tuple(values["labels"])
        values["calibration"] = Calibration(**values["calibration"])
        if values.get("regions") is not None:
            values["regions"] = RegionRule(**values["regions"])
        return cls(**values)


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def store_model(store: ArtefactStore, manifest: ModelManifest, files: Mapping[str, bytes]) -> str:
    """Write a version and return its digest. ``manifest.files`` must describe ``files``.

    The manifest is written last, so a version that was cut short is never found.
    """
    described = {name: sha256_hex(data) for name, data in files.items()}
    if described != dict(manifest.files):
        raise ValueError("the manifest does not describe the files")
    text = manifest.to_json()
    digest = sha256_hex(text)
    for name, data in files.items():
        store.put(f"{artefact_prefix(digest)}/{name}", data)
    store.put(f"{artefact_prefix(digest)}/{MANIFEST}", text)
    return digest


def load_manifest(store: ArtefactStore, digest: str) -> ModelManifest:
    """The manifest of a version. Raises ``ArtefactCorrupt`` if it is missing or was changed."""
    text = _read(store, digest, MANIFEST)
    if sha256_hex(text) != digest:
        raise ArtefactCorrupt(f"{artefact_prefix(digest)}/{MANIFEST}")
    return ModelManifest.from_json(text)


def load_file(store: ArtefactStore, digest: str, manifest: ModelManifest, name: str) -> bytes:
    """One file of a version. Raises ``ArtefactCorrupt`` if it is missing or was changed."""
    data = _read(store, digest, name)
    if sha256_hex(data) != manifest.files.get(name):
        raise ArtefactCorrupt(f"{artefact_prefix(digest)}/{name}")
    return data


def _read(store: ArtefactStore, digest: str, name: str) -> bytes:
    key = f"{artefact_prefix(digest)}/{name}"
    try:
        return store.get(key)
    except NotFound as exc:
        raise ArtefactCorrupt(key, "the file is missing") from exc
