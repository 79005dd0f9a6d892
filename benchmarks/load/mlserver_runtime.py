"""What MLServer runs: the same decoder and the same graph, in ONNX Runtime. Imported by MLServer.

One BYTES input, ``image``, of encoded pictures; one FP32 output, ``logits`` (pictures, classes).
The adaptive batcher gives several pictures at a time; they are decoded in threads and run as one
batch, on as many threads as ONNX Runtime chooses.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from numpy.typing import NDArray

from workers.imaging.decode import ImageLimits, decode_grey
from workers.imaging.preprocess import prepare

_LIMITS = ImageLimits(max_bytes=32 << 20, max_pixels=64_000_000)


class ScanClassifier(MLModel):
    """A classifier of encoded scans."""

    async def load(self) -> bool:
        parameters = self.settings.parameters
        self._size = int(parameters.extra["image_size"])
        self._session = onnxruntime.InferenceSession(Path(parameters.uri))
        self._threads = ThreadPoolExecutor()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        scans = payload.inputs[0].data.root
        pixels = np.stack(list(self._threads.map(self._pixels, scans)))
        (logits,) = self._session.run(["logits"], {"image": pixels})
        output = NumpyCodec.encode_output("logits", logits)
        return InferenceResponse(model_name=self.name, outputs=[output])

    def _pixels(self, scan: bytes) -> NDArray[np.float32]:
        return prepare(decode_grey(scan, _LIMITS), self._size).pixels
