"""What a manifest keeps of how a model was made."""

import logging
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from core.training import EpochProgress

log = logging.getLogger(__name__)

_LIBRARIES: Final = (
    "braintumor",
    "keras",
    "numpy",
    "onnx",
    "onnxruntime",
    "pillow",
    "scikit-learn",
    "tensorflow",
    "tf2onnx",
)


def without_times(epoch: EpochProgress) -> dict[str, float]:
    """An epoch's numbers: the same for the same recipe and data, on whatever machine."""
    names = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
    return {name: getattr(epoch, name) for name in names}


def library_versions() -> dict[str, str]:
    """Versions of what the model was made with; what is not installed is left out."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # TensorFlow has several package names
            log.debug("no_version package=%s", name)
    return found
