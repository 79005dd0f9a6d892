"""OpenVINO on the CPU: a static shape, one picture a request, several streams.

A static shape is worth a factor of five over a dynamic one, and a batch is worth nothing to the
arithmetic, so pictures run as parallel singles, each stream with its share of the cores. One that
is alone would leave the others idle: the graph is compiled a second time, for all cores at once.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from workers.inference.runtime import Outputs, RuntimeLoader

_first_picture: Final = threading.Lock()
"""The binding fills a table when it first sees a tensor's data. Two threads that do so at once wait
for each other for ever, one with the table, one with the interpreter's lock; so one goes alone."""


def loader(*, streams: int, precision: str) -> RuntimeLoader:
    """Loads graphs for ``streams`` parallel pictures in ``precision`` (auto, f32 or bf16).

    ``auto`` is bf16 where the processor has instructions for it, which halves the time, else f32.
    """

    def load(graph: bytes, size: int, outputs: Sequence[str]) -> OpenVinoRuntime:
        return OpenVinoRuntime(graph, size, outputs, streams=streams, precision=precision)

    return load


class OpenVinoRuntime:
    """The graph compiled for many pictures at once, and for one."""

    name = "openvino-cpu"
    preferred_batch = 1

    def __init__(
        self, graph: bytes, size: int, outputs: Sequence[str], *, streams: int, precision: str
    ) -> None:
        core = ov.Core()
        self.precision = _native(core) if precision == "auto" else precision
        model = core.read_model(graph)
        model.reshape({0: [1, size, size, 1]})
        many, one = (
            {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(streams)},
            {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"},
        )
        self._many = _Compiled(core, model, many, self.precision, outputs)
        self._one = _Compiled(core, model, one, self.precision, outputs) if streams > 1 else None

    def run(self, images: NDArray[np.float32], *, alone: bool = False) -> Outputs:
        compiled = self._one if alone and self._one is not None else self._many
        singles = [compiled.run(images[i : i + 1]) for i in range(len(images))]
        return {name: np.concatenate([s[name] for s in singles]) for name in singles[0]}


class _Compiled:
    """A graph for one picture; each thread that runs it has its own request."""

    def __init__(
        self,
        core: ov.Core,
        model: ov.Model,
        config: Mapping[str, Any],
        precision: str,
        outputs: Sequence[str],
    ) -> None:
        hints = {**config, "INFERENCE_PRECISION_HINT": precision}
        self._model = core.compile_model(model, "CPU", hints)
        self._outputs = {name: self._model.output(name) for name in outputs}
        self._threads = threading.local()
        with _first_picture:
            self.run(np.zeros(list(self._model.input(0).shape), np.float32))
        del self._threads.request  # of the thread that loads, which need not be one that runs

    def run(self, image: NDArray[np.float32]) -> Outputs:
        request = self._request()
        request.infer({0: image})
        # Copies: the request's own buffers are overwritten by its next picture.
        return {
            name: request.get_tensor(output).data.copy() for name, output in self._outputs.items()
        }

    def _request(self) -> ov.InferRequest:
        if not hasattr(self._threads, "request"):
            self._threads.request = self._model.create_infer_request()
        return self._threads.request


def _native(core: ov.Core) -> str:
    capable = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if capable else "f32"
