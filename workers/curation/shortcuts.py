"""The shortcut control: how well a file's outside alone tells the class.

Public sets take their classes from different sources, so size, borders and compression may name
the class without a look at the brain. What a tiny tree reads off them, a network can read too.
"""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.datasets import ShortcutControl
from workers.imaging.decode import FORMATS

MAX_FOLDS: Final = 5
MAX_DEPTH: Final = 4
_TELLING: Final = 3
_SEED: Final = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class FileStatistics:
    """What can be said of a picture without looking at the brain.

    Sides in pixels; shares 0..1. ``border_zero_share`` is of a frame one 32nd of the shorter side
    wide. Table sums are of a JPEG's first and second quantisation table, 0 where there is none.
    """

    width: int
    height: int
    aspect: float
    zero_share: float
    border_zero_share: float
    bytes_per_pixel: float
    luma_table_sum: int
    chroma_table_sum: int
    format: str
    mode: str

    @property
    def kind(self) -> str:
        """Such as ``JPEG RGB``."""
        return f"{self.format} {self.mode}"


_NUMBERS: Final = {
    "width": "width",
    "height": "height",
    "aspect": "aspect ratio",
    "zero_share": "share of black pixels",
    "border_zero_share": "share of black pixels at the border",
    "bytes_per_pixel": "bytes per pixel",
    "luma_table_sum": "JPEG brightness table",
    "chroma_table_sum": "JPEG colour table",
}
_WORDS: Final = {"format": "file format", "mode": "colour mode"}


def file_statistics(data: bytes, grey: NDArray[np.uint8]) -> FileStatistics:
    """Of a file that decodes to ``grey`` (height, width). Reads no more than its header."""
    height, width = grey.shape
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        tables = [sum(t) for _, t in sorted(getattr(picture, "quantization", {}).items())]
        kind, mode = picture.format or "", picture.mode
    zeros = grey == 0
    frame = max(1, min(height, width) // 32)
    inner = zeros[frame:-frame, frame:-frame]
    zero_count, inner_count = np.count_nonzero(zeros), np.count_nonzero(inner)
    return FileStatistics(
        width=width,
        height=height,
        aspect=width / height,
        zero_share=zero_count / zeros.size,
        border_zero_share=(zero_count - inner_count) / max(1, zeros.size - inner.size),
        bytes_per_pixel=len(data) / zeros.size,
        luma_table_sum=tables[0] if tables else 0,
        chroma_table_sum=tables[1] if len(tables) > 1 else 0,
        format=kind,
        mode=mode,
    )


def shortcut_control(
    statistics: Sequence[FileStatistics], labels: Sequence[str], groups: NDArray[np.int64]
) -> ShortcutControl | None:
    """Accuracy and macro-F1 of a depth-4 decision tree, out of fold; each sequence has length n.

    Cross-validated, stratified by label, whole groups held out; folds are as many as the class
    with the fewest groups allows, at most 5. None if that is fewer than 2, or one class is all
    there is.
    """
    # Loaded here: most of what imports this module answers classifications and never needs it.
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    fewest = min(len(np.unique(groups[codes == code])) for code in range(len(names)))
    folds = min(MAX_FOLDS, fewest)
    if folds < 2 or len(names) < 2:
        return None
    features = _features(statistics)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=_SEED)
    with warnings.catch_warnings():
        # Large groups can leave a fold without a class; the score then says so by itself.
        warnings.simplefilter("ignore", UserWarning)
        predicted = cross_val_predict(_tree(), features, codes, groups=groups, cv=splitter)
    return ShortcutControl(
        accuracy=float(accuracy_score(codes, predicted)),
        macro_f1=float(f1_score(codes, predicted, average="macro", zero_division=0.0)),
        majority_share=float(np.bincount(codes).max() / len(codes)),
        fold_count=folds,
        telling=_telling(features, codes),
    )


def _tree() -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=MAX_DEPTH, random_state=_SEED)


def _features(statistics: Sequence[FileStatistics]) -> NDArray[np.float64]:
    """(n, features); words become places in their sorted list."""
    columns = [np.array([getattr(s, name) for s in statistics], float) for name in _NUMBERS]
    for name in _WORDS:
        words = np.array([getattr(s, name) for s in statistics])
        columns.append(np.unique(words, return_inverse=True)[1].astype(float))
    return np.stack(columns, axis=1)


def _telling(features: NDArray[np.float64], codes: NDArray[np.int64]) -> tuple[str, ...]:
    """Plain names of what tells most about the class, most first."""
    importances = _tree().fit(features, codes).feature_importances_
    names = [*_NUMBERS.values(), *_WORDS.values()]
    order = np.argsort(-importances, kind="stable")[:_TELLING]
    return tuple(names[i] for i in order if importances[i] > 0.05)
