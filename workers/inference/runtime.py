"""What serves a model: a small port, and the choice of the runtime behind it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import FieldViolation, InvalidArgument
from core.settings import Settings

log = logging.getLogger(__name__)


Outputs = Mapping[str, NDArray[np.float32]]
"""What a graph gives for n pictures, by name: arrays (n, ...), as
:mod:`workers.model_artefact` describes them."""


class Runtime(Protocol):
    """A loaded graph. :meth:`run` may be called from several threads at once."""

    name: str
    preferred_batch: int
    """How many pictures are best given to one call; 1 where parallel singles are faster."""

    def run(self, images: NDArray[np.float32], *, alone: bool = False) -> Outputs:
        """``images``: (n, size, size, 1), grey values 0..255.

        ``alone``: nothing else is being computed, so that all cores may work on them.
        """
        ...


RuntimeLoader = Callable[[bytes, int, Sequence[str]], Runtime]
"""Loads an ONNX graph (its bytes) for pictures of a side in pixels; names the outputs to give."""


def choose_runtime(settings: Settings) -> RuntimeLoader:
    """The loader that ``inference_device`` asks for, falling back with a word in the log.

    ``auto`` takes CUDA where there is a GPU, else OpenVINO, else ONNX Runtime on the CPU.
    """
    device = settings.inference_device.lower()
    choices = {
        "auto": (_cuda, _openvino, _onnxruntime_cpu),
        "cuda": (_cuda, _openvino, _onnxruntime_cpu),
        "cpu": (_openvino, _onnxruntime_cpu),
        "onnxruntime": (_onnxruntime_cpu,),
    }
    if device not in choices:
        names = ", ".join(choices)
        raise InvalidArgument(
            (FieldViolation("BRAINTUMOR_INFERENCE_DEVICE", f"must be one of {names}"),)
        )
    for choice in choices[device]:
        loader = choice(settings)
        if loader is not None:
            log.info("inference_runtime wanted=%s got=%s", device, choice.__name__.strip("_"))
            return loader
        if not (device == "auto" and choice is _cuda):
            log.warning("inference_runtime_missing runtime=%s", choice.__name__.strip("_"))
    # By its folder: the project is on no index, where its name may be a stranger's.
    raise RuntimeError(
        "no inference runtime is installed: pip install '.[inference]' in the project's folder"
    )


def _cuda(_settings: Settings) -> RuntimeLoader | None:
    try:
        from workers.inference import onnx_runtime
    except ImportError:
        return None
    return onnx_runtime.cuda_loader()


def _openvino(settings: Settings) -> RuntimeLoader | None:
    try:
        from workers.inference import openvino_runtime
    except ImportError:
        return None
    return openvino_runtime.loader(
        streams=settings.inference_streams, precision=settings.inference_precision
    )


def _onnxruntime_cpu(_settings: Settings) -> RuntimeLoader | None:
    try:
        from workers.inference import onnx_runtime
    except ImportError:
        return None
    return onnx_runtime.cpu_loader()
