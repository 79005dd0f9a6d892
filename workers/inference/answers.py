"""From a graph's raw output to an answer a person can use."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.prediction import Decision
from workers.model_artefact import Calibration


def calibrated_probabilities(logits: NDArray[np.float32], temperature: float) -> tuple[float, ...]:
    """Softmax of ``logits`` (classes,) divided by the temperature; sums to 1."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max())
    return tuple(float(p) for p in exponentials / exponentials.sum())


def decide(probabilities: tuple[float, ...], calibration: Calibration) -> Decision:
    """ACCEPTED, or ABSTAINED where the most probable class is not probable enough."""
    sure = max(probabilities) >= calibration.abstain_below
    return Decision.ACCEPTED if sure else Decision.ABSTAINED


def activation_png(activation_map: NDArray[np.float32], width: int, height: int) -> bytes:
    """One class's map (h, w) over the padded square, as a grey PNG of the input's size.

    Only what speaks for the class is shown: negative evidence is black, the strongest place
    white. Undoes the square padding of :func:`workers.imaging.preprocess.prepare`.
    """
    evidence = np.maximum(activation_map, 0.0)
    peak = float(evidence.max())
    grey = (evidence / peak * 255.0 if peak > 0 else evidence).astype(np.uint8)
    side = max(width, height)
    square = Image.fromarray(grey).resize((side, side), Image.Resampling.BICUBIC)
    left, top = (side - width) // 2, (side - height) // 2
    buffer = io.BytesIO()
    square.crop((left, top, left + width, top + height)).save(buffer, "PNG")
    return buffer.getvalue()
