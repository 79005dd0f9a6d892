"""The model that every system serves: the classifier that ships with the software."""

from dataclasses import dataclass
from pathlib import Path

from workers.model_artefact import GRAPH
from workers.starter import read_starter


@dataclass(frozen=True)
class Model:
    """``graph`` is its ONNX file; it takes grey squares of ``image_size`` pixels a side."""

    name: str
    graph: Path
    image_size: int


def shipped_model(folder: Path) -> Model:
    """The starter, its graph written into ``folder``."""
    starter = read_starter()
    graph = folder / GRAPH
    graph.write_bytes(starter.files[GRAPH])
    return Model(starter.version.name, graph, starter.manifest.image_size)
