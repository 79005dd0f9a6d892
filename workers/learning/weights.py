"""Where a backbone's first weights come from, and a plain word about which it was."""

import hashlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras

from core.errors import PretrainedWeightsUnavailable
from core.settings import Settings
from core.training import Backbone, TrainingSpec
from workers.learning.backbones import BACKBONES, build_backbone, match_pretrained_graph

log = logging.getLogger(__name__)

_HOST: Final = ("storage.googleapis.com", 443)
_NOTHING: Final = "none"
_PROBE_SECONDS: Final = 4.0
_SILENCE_SECONDS: Final = 30.0
_ALTERNATIVES: Final = (
    "Use weights=file:NAME with a file in the server's folder of weights, weights=none to start "
    "from nothing, or weights=auto to take what there is."
)


@dataclass(frozen=True, kw_only=True)
class StartWeights:
    """``source`` in words; ``values`` in the backbone's own order, None where there are none to
    put in: a model from nothing, or one whose values come from a checkpoint."""

    source: str
    values: Sequence[Any] | None

    @property
    def pretrained(self) -> bool:
        return self.source != _NOTHING


FROM_NOTHING: Final = StartWeights(source=_NOTHING, values=None)


def start_weights(spec: TrainingSpec, settings: Settings) -> StartWeights:
    """The weights that the recipe asks for.

    ``auto`` takes ImageNet's, else a file of Keras' name for them in the server's folder, else
    none. Raises ``PretrainedWeightsUnavailable`` that says what to do instead; without internet
    it does so within seconds.
    """
    match spec.weights:
        case "none":
            return FROM_NOTHING
        case "imagenet":
            return _imagenet(spec)
        case "auto":
            return _whatever_there_is(spec, settings.weights_dir)
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
    return FROM_NOTHING


def _imagenet(spec: TrainingSpec) -> StartWeights:
    if not _is_cached(spec.backbone):
        _probe_internet()
    try:
        with _impatient_sockets():
            backbone = build_backbone(spec.backbone, spec.image_size, weights="imagenet")
    except Exception as exc:  # the download raises whatever its transport does
        raise PretrainedWeightsUnavailable(
            f"The ImageNet weights could not be downloaded ({type(exc).__name__}). {_ALTERNATIVES}"
        ) from exc
    return _taken_from(backbone, "imagenet")


def _taken_from(backbone: keras.Model, source: str) -> StartWeights:
    match_pretrained_graph(backbone)
    return StartWeights(source=source, values=backbone.get_weights())


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
    path = _resolve(folder, name)
    backbone = build_backbone(spec.backbone, spec.image_size)
    try:
        backbone.load_weights(path)  # HDF5 arrays only: nothing in it is run
    except Exception as exc:  # h5py and Keras raise many kinds for a file that does not fit
        raise PretrainedWeightsUnavailable(
            f"{name} does not hold weights of {spec.backbone} without its top. {_ALTERNATIVES}"
        ) from exc
    return _taken_from(backbone, f"file:{name} sha256:{_sha256(path)}")


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
