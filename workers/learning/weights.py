"""Where a backbone's first weights come from, and a plain word about which it was."""

import hashlib
import logging
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import keras

from core.errors import InvalidArgument, PretrainedWeightsUnavailable
from core.settings import Settings
from core.training import Backbone, TrainingSpec
from workers.curation.sources import read_remote
from workers.learning.backbones import BACKBONES, match_pretrained_graph, unfused_backbone
from workers.learning.package_weights import PackageWeights, package_weights_for

log = logging.getLogger(__name__)

_HOST: Final = ("storage.googleapis.com", 443)
_NOTHING: Final = "none"
_PROBE_SECONDS: Final = 4.0
_SILENCE_SECONDS: Final = 30.0
_ALTERNATIVES: Final = (
    "Use weights=package for the ImageNet weights of a Python package (EfficientNet only), "
    "weights=file:NAME with a file in the server's folder of weights, weights=none to start from "
    "nothing, or weights=auto to take what there is."
)


@dataclass(frozen=True, kw_only=True)
class StartWeights:
    """``source`` in words; ``values`` in the backbone's own order, None where there are none to
    put in: a model from nothing, or one whose values come from a checkpoint or are ``whole``:
    those of all of a model of the same task, in its order."""

    source: str
    values: Sequence[Any] | None
    whole: Sequence[Any] | None = None

    @property
    def pretrained(self) -> bool:
        return self.source != _NOTHING


FROM_NOTHING: Final = StartWeights(source=_NOTHING, values=None)


def start_weights(spec: TrainingSpec, settings: Settings) -> StartWeights:
    """The weights that the recipe asks for, where it does not go on from a version.

    ``auto`` takes ImageNet's from Keras, else a file of Keras' name for them in the server's
    folder, else what a package has, else none. Raises ``PretrainedWeightsUnavailable`` that says
    what to do instead; without internet it does so within seconds.
    """
    match spec.weights:
        case "none":
            return FROM_NOTHING
        case "imagenet":
            return _imagenet(spec)
        case "package":
            return package_weights(spec.backbone)
        case "auto":
            return _whatever_there_is(spec, settings.weights_dir)
        case uri if "://" in uri:
            return _from_uri(spec, uri, settings)
        case named:
            return _from_file(spec, settings.weights_dir, named.removeprefix("file:"))


def _whatever_there_is(spec: TrainingSpec, folder: Path) -> StartWeights:
    try:
        return _imagenet(spec)
    except PretrainedWeightsUnavailable as exc:
        log.warning("imagenet_weights_unavailable message=%s", exc.message)
    name = BACKBONES[spec.backbone].weights_file
    if (folder / name).is_file():
        return _from_file(spec, folder, name)
    try:
        return package_weights(spec.backbone)
    except PretrainedWeightsUnavailable as exc:
        log.warning("package_weights_unavailable message=%s", exc.message)
    return FROM_NOTHING


def _imagenet(spec: TrainingSpec) -> StartWeights:
    if spec.backbone is Backbone.EFFICIENTNET_LITE0:
        raise PretrainedWeightsUnavailable(
            f"Keras has no ImageNet weights of {spec.backbone}. Use weights=package."
        )
    if not _is_cached(spec.backbone):
        _probe_internet()
    try:
        with _impatient_sockets():
            backbone = unfused_backbone(spec.backbone, weights="imagenet")
    except Exception as exc:  # the download raises whatever its transport does
        raise PretrainedWeightsUnavailable(
            f"The ImageNet weights could not be downloaded ({type(exc).__name__}). {_ALTERNATIVES}"
        ) from exc
    return _taken_from(backbone, "imagenet")


def _taken_from(backbone: keras.Model, source: str) -> StartWeights:
    match_pretrained_graph(backbone)
    return StartWeights(source=source, values=backbone.get_weights())


def package_weights(backbone: Backbone) -> StartWeights:
    """ImageNet weights that an installed package carries.

    Raises ``PretrainedWeightsUnavailable`` if there are none for the backbone.
    """
    found: PackageWeights = package_weights_for(backbone)
    return StartWeights(source=found.source, values=found.values)


def _is_cached(backbone: Backbone) -> bool:
    """Whether Keras has downloaded the weights before; where it keeps them is not in its API."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return (home / "models" / BACKBONES[backbone].weights_file).is_file()


def _probe_internet() -> None:
    """Without a network Keras' download could wait for minutes."""
    try:
        socket.create_connection(_HOST, timeout=_PROBE_SECONDS).close()
    except OSError as exc:
        raise PretrainedWeightsUnavailable(
            f"The ImageNet weights cannot be downloaded: no connection to {_HOST[0]}. "
            f"{_ALTERNATIVES}"
        ) from exc


@contextmanager
def _impatient_sockets() -> Iterator[None]:
    """Keras sets no timeout for its download; a silent server would hold the job for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _from_file(spec: TrainingSpec, folder: Path, name: str) -> StartWeights:
    name, _, expected = name.partition("#sha256=")
    path = _resolve(folder, name)
    digest = _sha256(path)
    if expected not in {"", digest}:
        raise _other_hash(name, digest, expected)
    return _taken_from(_loaded(spec, path, name), f"file:{name} sha256:{digest}")


def _other_hash(name: str, digest: str, expected: str) -> PretrainedWeightsUnavailable:
    return PretrainedWeightsUnavailable(
        f"{name} has the SHA-256 {digest}, not {expected}. It is another file or was damaged: "
        "fetch it again, or name the hash of the file that you mean."
    )


def _loaded(spec: TrainingSpec, path: Path, name: str) -> keras.Model:
    backbone = unfused_backbone(spec.backbone)
    try:
        backbone.load_weights(path)  # HDF5 arrays only: nothing in it is run
        _check_all_taken(path, backbone)
    except Exception as exc:  # h5py and Keras raise many kinds for a file that does not fit
        raise PretrainedWeightsUnavailable(
            f"{name} does not hold weights of {spec.backbone} without its top. Name the backbone "
            f"that it belongs to, or another file. {_ALTERNATIVES}"
        ) from exc
    return backbone


def _check_all_taken(path: Path, backbone: keras.Model) -> None:
    """Raise ``ValueError`` if the file holds more: Keras passes over what a deeper network has."""
    if not path.name.endswith(".weights.h5"):  # of the older layout Keras itself counts the layers
        return
    arrays: list[str] = []
    with h5py.File(path) as file:
        file.visititems(
            lambda name, o: arrays.append(name) if isinstance(o, h5py.Dataset) else None
        )
    if len(arrays) != len(backbone.get_weights()):
        raise ValueError(f"{len(arrays)} arrays for {len(backbone.get_weights())} weights")


def _from_uri(spec: TrainingSpec, uri: str, settings: Settings) -> StartWeights:
    """Weights from elsewhere, whose SHA-256 the recipe names."""
    place, _, expected = uri.partition("#sha256=")
    try:
        data = read_remote(place, settings)
    except InvalidArgument as exc:
        why = exc.violations[0].description.partition(";")[0]  # the rest is about data sets
        raise PretrainedWeightsUnavailable(f"{place}: {why}. {_ALTERNATIVES}") from exc
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected:
        raise _other_hash(place, digest, expected)
    with tempfile.TemporaryDirectory() as folder:
        # Keras tells the two layouts of .h5 files apart by their names.
        modern = place.endswith(".weights.h5")
        path = Path(folder) / ("model.weights.h5" if modern else "model.h5")
        path.write_bytes(data)
        return _taken_from(_loaded(spec, path, place), f"{place} sha256:{digest}")


def _resolve(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise PretrainedWeightsUnavailable(
            f"The server's folder of weights has no file {name}. {_ALTERNATIVES}"
        )
    if path.suffix != ".h5":
        # Formats that can hold code are never opened.
        raise PretrainedWeightsUnavailable(f"{name} is not an .h5 file of weights. {_ALTERNATIVES}")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
