"""ONNX Runtime: CUDA where there is a GPU, and the CPU where OpenVINO is missing."""

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from workers.inference.runtime import RawOutput, RuntimeLoader
from workers.model_artefact import ACTIVATION_MAP_NAME, INPUT_NAME, LOGITS_NAME

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


def cuda_loader() -> RuntimeLoader | None:
    """Loads graphs on the GPU, in batches; None where this build or machine has no CUDA."""
    if _CUDA not in ort.get_available_providers():
        return None

    def load(graph: bytes, _size: int) -> OnnxRuntime:
        return OnnxRuntime(graph, providers=[_CUDA, _CPU], preferred_batch=32)

    return load


def cpu_loader() -> RuntimeLoader:
    """Loads graphs on the CPU, one thread a picture."""

    def load(graph: bytes, _size: int) -> OnnxRuntime:
        return OnnxRuntime(graph, providers=[_CPU], preferred_batch=1)

    return load


class OnnxRuntime:
    """One session; ONNX Runtime lets threads share it."""

    def __init__(self, graph: bytes, *, providers: list[str], preferred_batch: int) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if preferred_batch == 1:
            options.intra_op_num_threads = 1
        self._session: Any = ort.InferenceSession(graph, options, providers=providers)
        used = self._session.get_providers()[0]
        self.name = "onnxruntime-" + used.removesuffix("ExecutionProvider").lower()
        self.preferred_batch = preferred_batch

    def run(self, images: NDArray[np.float32]) -> RawOutput:
        logits, maps = self._session.run([LOGITS_NAME, ACTIVATION_MAP_NAME], {INPUT_NAME: images})
        return RawOutput(logits=logits, activation_map=maps)
