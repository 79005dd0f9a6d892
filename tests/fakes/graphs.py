"""Tiny graphs that keep the model artefact's contract, so that serving is tested for real."""

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from core.labels import LABELS
from core.ports import ArtefactStore
from workers.imaging.preprocess import PREPROCESSING
from workers.model_artefact import (
    GRAPH,
    Calibration,
    ModelManifest,
    RegionRule,
    sha256_hex,
    store_model,
)

WEIGHTS = (1.0, -1.0, 0.5, 0.0)
"""Evidence for each class per unit of brightness (0..1)."""


def brightness_graph(evidence: tuple[float, ...] = WEIGHTS) -> bytes:
    """``activation_map`` is brightness times ``evidence``; ``logits`` and ``features`` its mean."""
    weights = np.array(evidence, np.float32).reshape(1, 1, 1, 4) / 255.0
    nodes = [
        helper.make_node("Mul", ["image", "weights"], ["activation_map"]),
        helper.make_node("ReduceMean", ["activation_map", "axes"], ["logits"], keepdims=0),
        helper.make_node("Identity", ["logits"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", "s", "s", 1])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("activation_map", TensorProto.FLOAT, ["n", "s", "s", 4]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 4]),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checker.check_model(model)
    return model.SerializeToString()


def brightness_manifest(**changes: object) -> ModelManifest:
    values: dict[str, object] = {
        "task": "classification",
        "backbone": "efficientnet_b0",
        "labels": tuple(LABELS),
        "image_size": 32,
        "preprocessing": PREPROCESSING,
        "calibration": Calibration(temperature=0.5, abstain_below=0.4),
        "files": {GRAPH: sha256_hex(brightness_graph())},
        "spec": {},
        "dataset_digest": "0" * 64,
        "weights_source": "none",
        "metrics": {},
        "library_versions": {},
    }
    return ModelManifest(**(values | changes))  # type: ignore[arg-type]


def store_brightness_model(store: ArtefactStore, evidence: tuple[float, ...] = WEIGHTS) -> str:
    """Put the graph and its manifest in the store; its digest."""
    graph = brightness_graph(evidence)
    manifest = brightness_manifest(files={GRAPH: sha256_hex(graph)})
    return store_model(store, manifest, {GRAPH: graph})


def brightness_segmenter_graph() -> bytes:
    """``mask`` is brightness, 0..1: what is bright is tumour."""
    shape: list[str | int | None] = ["n", "s", "s", 1]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["image", "scale"], ["mask"])],
        "bright-places",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(1 / 255.0, np.float32), "scale")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checker.check_model(model)
    return model.SerializeToString()


def segmenter_manifest(**changes: object) -> ModelManifest:
    values: dict[str, object] = {
        "task": "segmentation",
        "image_size": 64,
        "calibration": Calibration(),
        "files": {GRAPH: sha256_hex(brightness_segmenter_graph())},
        "regions": RegionRule(threshold=0.9, smallest_share=0.001),
    }
    return brightness_manifest(**(values | changes))


def store_brightness_segmenter(store: ArtefactStore, **changes: object) -> str:
    """Put the segmenter's graph and its manifest in the store; its digest."""
    return store_model(store, segmenter_manifest(**changes), {GRAPH: brightness_segmenter_graph()})
