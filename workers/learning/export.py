"""From a Keras model to the ONNX graph that serves, and the check that they agree."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import keras
import numpy as np
import onnxruntime as ort
import tensorflow as tf
import tf2onnx
from numpy.typing import NDArray

from core.errors import TrainingFailed
from workers.learning.classifier import backbone_of, with_explanation
from workers.learning.unet import with_probabilities
from workers.model_artefact import (
    ACTIVATION_MAP_NAME,
    FEATURES_NAME,
    INPUT_NAME,
    LOGITS_NAME,
    MASK_NAME,
)

OPSET: Final = 17
MAX_DIFFERENCE: Final = 1e-3
"""Largest difference of a probability between Keras and the graph that is let through."""
_TIMED_RUNS: Final = 30
_THRESHOLDS: Final = (700, 2, 1)
"""Of Python's generations of garbage; the usual ones are 700, 10, 10."""


def export_graph(model: keras.Model, image_size: int) -> bytes:
    """The model as ONNX for pictures of that side, by :mod:`workers.model_artefact`'s contract."""
    _freeze_normalisation(model)
    explained = with_explanation(model)

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, activation_map, features = explained(image, training=False)
        return {
            LOGITS_NAME: logits,
            ACTIVATION_MAP_NAME: activation_map,
            FEATURES_NAME: features,
        }

    return _converted(serve, image_size, {LOGITS_NAME, ACTIVATION_MAP_NAME, FEATURES_NAME})


def export_segmenter(model: keras.Model, image_size: int) -> bytes:
    """As :func:`export_graph`, of a segmenter."""
    _freeze_normalisation(model)
    served = with_probabilities(model)

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {MASK_NAME: served(image, training=False)}

    return _converted(serve, image_size, {MASK_NAME})


def _converted(
    serve: Callable[[tf.Tensor], dict[str, tf.Tensor]], image_size: int, wanted: set[str]
) -> bytes:
    shape = (None, image_size, image_size, 1)
    signature = [tf.TensorSpec(shape, tf.float32, name=INPUT_NAME)]
    with garbage_collected_soon():
        graph, _ = tf2onnx.convert.from_function(
            tf.function(serve, autograph=False), input_signature=signature, opset=OPSET
        )
    inputs = {node.name for node in graph.graph.input}
    outputs = {node.name for node in graph.graph.output}
    if inputs != {INPUT_NAME} or outputs != wanted:
        raise TrainingFailed(
            f"The exported graph has unexpected inputs {sorted(inputs)} or outputs "
            f"{sorted(outputs)}. Please report this with the job's recipe."
        )
    exported: bytes = graph.SerializeToString()
    return exported


@contextmanager
def garbage_collected_soon() -> Iterator[None]:
    """For work that leaves large objects in cycles: few of them, so Python lets them pile up.

    The converter copies its graph, weights and all, before each of its passes. All there was before
    is left out, so that looking for garbage is quick. With EfficientNetB0 the conversion takes
    0.4 GiB instead of 1.3.
    """
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.collect()  # Python now knows that little is old, and so when there is much more
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        gc.collect()


def _freeze_normalisation(model: keras.Model) -> None:
    # EfficientNet's constants are tensors, which the converter would take for further inputs.
    for layer in backbone_of(model).layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.mean = np.asarray(layer.mean)
            layer.variance = np.asarray(layer.variance)


def check_parity(graph: bytes, model: keras.Model, pixels: NDArray[np.uint8]) -> float:
    """Largest difference of a probability between Keras and the graph on real slices.

    ``pixels``: (n, size, size, 1). Raises ``TrainingFailed`` above ``MAX_DIFFERENCE``.
    """
    images = pixels.astype(np.float32)
    (exported,) = _session(graph).run([LOGITS_NAME], {INPUT_NAME: images})
    original = keras.ops.convert_to_numpy(model(images, training=False))
    return _checked(float(np.abs(_softmax(exported) - _softmax(original)).max()))


def check_mask_parity(graph: bytes, model: keras.Model, pixels: NDArray[np.uint8]) -> float:
    """As :func:`check_parity`, of a segmenter, over all pixels."""
    images = pixels.astype(np.float32)
    (exported,) = _session(graph).run([MASK_NAME], {INPUT_NAME: images})
    original = tf.sigmoid(model(images, training=False)).numpy()
    return _checked(float(np.abs(exported - original).max()))


def _checked(difference: float) -> float:
    if not difference <= MAX_DIFFERENCE:
        raise TrainingFailed(
            f"The exported graph differs from the trained model by {difference:.2g}; at most "
            f"{MAX_DIFFERENCE:g} is let through. Please report this with the job's recipe."
        )
    return difference


def median_latency_ms(graph: bytes, image_size: int) -> float:
    """Median milliseconds for one slice in ONNX Runtime on this machine."""
    session = _session(graph)
    image = np.zeros((1, image_size, image_size, 1), np.float32)
    seconds = []
    for _ in range(_TIMED_RUNS):
        started = time.perf_counter()
        session.run(None, {INPUT_NAME: image})
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1000


def _session(graph: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    exponentials = np.exp((logits - logits.max(axis=1, keepdims=True)).astype(np.float64))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
