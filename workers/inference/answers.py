"""From a graph's raw output to an answer a person can use."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.prediction import Decision
from workers.evaluation.ood import OodModel
from workers.imaging.preprocess import SquareGeometry
from workers.model_artefact import Calibration


def calibrated_probabilities(logits: NDArray[np.float32], temperature: float) -> tuple[float, ...]:
    """Softmax of ``logits`` (classes,) divided by the temperature; sums to 1.

    Raises ``ValueError`` for logits that are no numbers: they must not become an answer.
    """
    if not np.isfinite(logits).all():
        raise ValueError(f"the graph gave {logits}")
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max())
    return tuple(float(p) for p in exponentials / exponentials.sum())


def decide(
    probabilities: tuple[float, ...], calibration: Calibration, *, strange: bool
) -> Decision:
    """OUT_OF_DISTRIBUTION for what is strange to the model; else ACCEPTED, or ABSTAINED where the
    most probable class is not probable enough."""
    if strange:
        return Decision.OUT_OF_DISTRIBUTION
    sure = max(probabilities) >= calibration.abstain_below
    return Decision.ACCEPTED if sure else Decision.ABSTAINED


def is_strange(strangers: OodModel | None, features: NDArray[np.float32]) -> bool:
    """Whether a slice with these features (d,) is unlike all that the model learned from.

    A model that has not learned that finds nothing strange.
    """
    return strangers is not None and bool(strangers.strange(features[None])[0])


def activation_png(
    activation_map: NDArray[np.float32], geometry: SquareGeometry, width: int, height: int
) -> bytes:
    """One class's map (h, w) over the model's square, as a grey PNG of the input's size.

    Only what speaks for the class is shown: negative evidence is black, the strongest place
    white. Undoes the crop and the padding of :func:`workers.imaging.preprocess.prepare`.
    """
    evidence = np.maximum(activation_map, 0.0)
    peak = float(evidence.max())
    grey = (evidence / peak * 255.0 if peak > 0 else evidence).astype(np.uint8)
    cells = grey.shape[0] / geometry.side
    left = (geometry.side - geometry.width) / 2 * cells
    top = (geometry.side - geometry.height) / 2 * cells
    box = (left, top, left + geometry.width * cells, top + geometry.height * cells)
    head = Image.fromarray(grey).resize(
        (geometry.width, geometry.height), Image.Resampling.BICUBIC, box
    )
    picture = Image.new("L", (width, height))
    picture.paste(head, (geometry.x0, geometry.y0))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
