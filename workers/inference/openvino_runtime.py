"""OpenVINO on the CPU: a static shape, one picture a request, several streams.

A static shape is worth a factor of five over a dynamic one, and a batch is worth nothing to the
arithmetic, so pictures run as parallel singles.
"""

import threading

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from workers.inference.runtime import RawOutput, RuntimeLoader
from workers.model_artefact import ACTIVATION_MAP_NAME, FEATURES_NAME, LOGITS_NAME


def loader(*, streams: int, precision: str) -> RuntimeLoader:
    """Loads graphs for ``streams`` parallel pictures in ``precision`` (f32 or bf16)."""

    def load(graph: bytes, size: int) -> OpenVinoRuntime:
        return OpenVinoRuntime(graph, size, streams=streams, precision=precision)

    return load


class OpenVinoRuntime:
    """One compiled model; each thread that runs it has its own request."""

    name = "openvino-cpu"
    preferred_batch = 1

    def __init__(self, graph: bytes, size: int, *, streams: int, precision: str) -> None:
        core = ov.Core()
        model = core.read_model(graph)
        model.reshape({0: [1, size, size, 1]})
        config = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": str(streams),
            "INFERENCE_PRECISION_HINT": precision,
        }
        self._model = core.compile_model(model, "CPU", config)
        self._logits = self._model.output(LOGITS_NAME)
        self._activation_map = self._model.output(ACTIVATION_MAP_NAME)
        self._features = self._model.output(FEATURES_NAME)
        self._threads = threading.local()

    def run(self, images: NDArray[np.float32]) -> RawOutput:
        singles = [self._run_one(images[i : i + 1]) for i in range(len(images))]
        return RawOutput(
            logits=np.concatenate([s.logits for s in singles]),
            activation_map=np.concatenate([s.activation_map for s in singles]),
            features=np.concatenate([s.features for s in singles]),
        )

    def _run_one(self, image: NDArray[np.float32]) -> RawOutput:
        request = self._request()
        request.infer({0: image})
        # Copies: the request's own buffers are overwritten by its next picture.
        return RawOutput(
            logits=request.get_tensor(self._logits).data.copy(),
            activation_map=request.get_tensor(self._activation_map).data.copy(),
            features=request.get_tensor(self._features).data.copy(),
        )

    def _request(self) -> ov.InferRequest:
        if not hasattr(self._threads, "request"):
            self._threads.request = self._model.create_infer_request()
        return self._threads.request
