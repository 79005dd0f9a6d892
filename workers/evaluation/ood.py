"""Whether a slice is of the kind that a model learned from. NumPy only: serving needs it.

A classifier has an answer for a photograph, too. The distance from the training slices tells, in
features from the middle of the network: its end has learned to pass over what does not matter to
tumours, even that a slice is inverted, and its beginning takes another scanner for another world
(`docs/decisions/0006-strangers-by-the-middle.md`). Only training slices are fitted to; only
validation slices choose the limit.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from workers.evaluation.mahalanobis import ARRAYS, ClassDistance, Floats, Vectors, fit_distance

REFUSED_SHARE: Final = 0.01
MARGIN: Final = 1.3
"""Times the distance that this share of the validation slices exceeds: scans of a scanner that no
training slice came from are farther than those, and most strange pictures are farther still."""


@dataclass(frozen=True, kw_only=True)
class OodModel:
    """How strange is too strange.

    ``threshold`` is the longest distance that is not yet strange. Before :func:`with_threshold`
    nothing is.
    """

    distance: ClassDistance
    threshold: float = float("inf")

    def score(self, features: Vectors) -> Floats:
        """How strange each slice with ``features`` (n, d) is: (n,), higher is stranger."""
        return self.distance.of(features)

    def strange(self, features: Vectors) -> NDArray[np.bool_]:
        """Which slices are to be refused: (n,)."""
        return self.score(features) > self.threshold

    def to_bytes(self) -> bytes:
        """An ``.npz`` file of plain arrays, float32; the same bytes for the same model."""
        arrays: dict[str, NDArray[Any]] = {name: getattr(self.distance, name) for name in ARRAYS}
        arrays["threshold"] = np.array(self.threshold)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type] # NumPy's stub takes them for a flag
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "OodModel":
        """What :meth:`to_bytes` wrote; nothing is unpickled. Raises ``ValueError`` otherwise."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            return cls(distance=_distance(arrays), threshold=float(arrays["threshold"]))
        except (LookupError, OSError, EOFError, TypeError, ValueError, BadZipFile) as exc:
            raise ValueError("the out-of-distribution model cannot be read") from exc


def fit(features: Vectors, labels: NDArray[np.int64]) -> OodModel:
    """The model of training features (n, d) with labels (n,), places of classes.

    Raises ``ValueError`` for fewer than two slices, what is no numbers, or all alike.
    """
    return OodModel(distance=fit_distance(features, labels, unit_length=True))


def with_threshold(
    model: OodModel,
    features: Vectors,
    refused_share: float = REFUSED_SHARE,
    margin: float = MARGIN,
) -> OodModel:
    """The model with the threshold ``margin`` times above what all but this share of slices have.

    They are of a validation split, n at least 1: nothing may have been fitted to them.
    """
    scores = np.sort(model.score(features))
    allowed = int(refused_share * len(scores))
    return replace(model, threshold=margin * float(scores[len(scores) - 1 - allowed]))


def _distance(arrays: Mapping[str, NDArray[Any]]) -> ClassDistance:
    return ClassDistance.of_arrays({name: np.asarray(arrays[name], np.float32) for name in ARRAYS})
