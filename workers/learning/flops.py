"""How much arithmetic one slice takes, counted in the exported graph."""

import math
from collections.abc import Mapping

import onnx
from onnx import shape_inference

from workers.model_artefact import INPUT_NAME


def multiply_accumulates(graph: bytes, image_size: int) -> int:
    """Multiply-accumulates of the convolutions and matrix products for one slice."""
    model = onnx.load_from_string(graph)
    for place in model.graph.input:
        if place.name == INPUT_NAME:
            for dimension, side in zip(
                place.type.tensor_type.shape.dim, (1, image_size, image_size, 1), strict=True
            ):
                dimension.dim_value = side
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    shapes = _shapes(inferred.graph)
    return sum(_of_node(node, shapes) for node in inferred.graph.node)


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    found = {array.name: tuple(array.dims) for array in graph.initializer}
    for place in (*graph.input, *graph.value_info, *graph.output):
        dims = place.type.tensor_type.shape.dim
        found[place.name] = tuple(d.dim_value or 1 for d in dims)
    return found


def _of_node(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    if node.op_type == "Conv":
        kernel, output = shapes.get(node.input[1]), shapes.get(node.output[0])
        # Kernel (out, in / groups, h, w): each place of the output sums over all but the first.
        return math.prod(kernel[1:]) * math.prod(output) if kernel and output else 0
    if node.op_type in {"MatMul", "Gemm"}:
        weights, output = shapes.get(node.input[1]), shapes.get(node.output[0])
        return weights[0] * math.prod(output) if weights and output else 0
    return 0
