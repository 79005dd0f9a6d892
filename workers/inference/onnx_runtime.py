"""ONNX Runtime: CUDA where there is a GPU, and the CPU where OpenVINO is missing."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from workers.inference.runtime import Outputs, RuntimeLoader
from workers.model_artefact import INPUT_NAME

log = logging.getLogger(__name__)

_CUDA: Final = "CUDAExecutionProvider"
_CPU: Final = "CPUExecutionProvider"
_GPU_BATCH: Final = 32


def cuda_loader() -> RuntimeLoader | None:
    """Loads graphs on the GPU, in batches; None where this build has no CUDA.

    A machine without a GPU shows only when a session is made: ONNX Runtime then serves on the CPU.
    """
    if _CUDA not in ort.get_available_providers():
        return None

    def load(graph: bytes, _size: int, outputs: Sequence[str]) -> OnnxRuntime:
        runtime = OnnxRuntime(graph, outputs, providers=[_CUDA, _CPU], preferred_batch=_GPU_BATCH)
        if runtime.provider == _CUDA:
            return runtime
        log.warning("cuda_not_usable provider=%s", runtime.provider)
        return OnnxRuntime(graph, outputs, providers=[_CPU], preferred_batch=1)

    return load


def cpu_loader() -> RuntimeLoader:
    """Loads graphs on the CPU, one thread a picture."""

    def load(graph: bytes, _size: int, outputs: Sequence[str]) -> OnnxRuntime:
        return OnnxRuntime(graph, outputs, providers=[_CPU], preferred_batch=1)

    return load


class OnnxRuntime:
    """One session; ONNX Runtime lets threads share it."""

    def __init__(
        self, graph: bytes, outputs: Sequence[str], *, providers: list[str], preferred_batch: int
    ) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if preferred_batch == 1:
            options.intra_op_num_threads = 1
        self._session: Any = ort.InferenceSession(graph, options, providers=providers)
        self.provider: str = self._session.get_providers()[0]
        self.name = "onnxruntime-" + self.provider.removesuffix("ExecutionProvider").lower()
        self.preferred_batch = preferred_batch
        self._outputs = list(outputs)

    def run(self, images: NDArray[np.float32], *, alone: bool = False) -> Outputs:  # noqa: ARG002
        found = self._session.run(self._outputs, {INPUT_NAME: images})
        return dict(zip(self._outputs, found, strict=True))
