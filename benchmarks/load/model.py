"""The model that every system serves: the classifier that ships with the software, or another."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import onnx

from workers.model_artefact import GRAPH, sha256_hex
from workers.starter import STARTER, Starter, read_starter, write_starter

_PACKAGE: Final = "model.zip"


@dataclass(frozen=True)
class Model:
    """``graph`` is its ONNX file; it takes grey squares of ``image_size`` pixels a side.

    ``package`` is what the service installs.
    """

    name: str
    graph: Path
    image_size: int
    package: Path


def shipped_model(folder: Path, image_size: int | None = None, path: Path = STARTER) -> Model:
    """The starter of this file, unpacked into ``folder``; at another size if one is given."""
    starter = read_starter(path)
    if image_size not in (None, starter.manifest.image_size):
        starter = resized(starter, image_size)
    graph, package = folder / GRAPH, folder / _PACKAGE
    graph.write_bytes(starter.files[GRAPH])
    write_starter(starter, package)
    return Model(starter.version.name, graph, starter.manifest.image_size, package)


def resized(starter: Starter, image_size: int) -> Starter:
    """The same network and weights for larger or smaller pictures.

    It was not trained for them, so its answers are worth less; what they cost is what they would
    cost if it had been.
    """
    graph = _resized_graph(starter.files[GRAPH], image_size)
    files: Mapping[str, bytes] = {**starter.files, GRAPH: graph}
    manifest = replace(
        starter.manifest,
        image_size=image_size,
        files={name: sha256_hex(data) for name, data in files.items()},
    )
    version = replace(
        starter.version,
        id=f"{starter.version.id}-{image_size}",
        digest=sha256_hex(manifest.to_json()),
    )
    return Starter(version=version, manifest=manifest, files=files)


def _resized_graph(data: bytes, image_size: int) -> bytes:
    """Convolutions and pooling fit any size; what the graph says of its own shapes does not."""
    model = onnx.load_from_string(data)
    del model.graph.value_info[:]
    (image,) = model.graph.input
    _batch, height, width, _channels = image.type.tensor_type.shape.dim
    height.dim_value = width.dim_value = image_size
    for output in model.graph.output:
        for number, dimension in enumerate(output.type.tensor_type.shape.dim[1:-1]):
            dimension.dim_param = f"side_{number}"
    return onnx.shape_inference.infer_shapes(model).SerializeToString()
