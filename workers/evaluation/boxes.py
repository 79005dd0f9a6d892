"""Average precision of boxes as COCO defines it, by COCO's own code."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.prediction import Box
from workers.evaluation.metrics import Floats

_TUMOUR: Final = 1
"""There is one category: where it is is asked here, not what it is."""


@dataclass(frozen=True, kw_only=True)
class ScoredBox:
    """A box that was found, and how sure that is, 0..1."""

    box: Box
    score: float


@dataclass(frozen=True, kw_only=True)
class BoxPrecision:
    """Mean average precision, 0..1: at an overlap (IoU) of 0.5, and over 0.50, 0.55 ... 0.95."""

    at_50: float
    at_50_to_95: float


class BoxScorer:
    """Average precision of found boxes as a function of how often each picture counts.

    Lin et al., ECCV 2014, "Microsoft COCO: Common Objects in Context", as ``pycocotools`` has it,
    for boxes of any area. ``true`` and ``found`` are of pictures in one order; where nothing is
    found at all every precision is 0. Raises ``ValueError`` if their numbers differ or there is no
    true box.
    """

    def __init__(self, true: Sequence[Sequence[Box]], found: Sequence[Sequence[ScoredBox]]) -> None:
        from pycocotools.cocoeval import COCOeval

        if len(true) != len(found) or not any(true):
            raise ValueError("each picture needs its boxes, and one at least a true one")
        self._evaluation = None
        self._matches: list[Any] = []
        if not any(found):  # COCO's code takes no empty answers
            return
        with _in_silence():
            truth = _truth(true)
            self._evaluation = COCOeval(truth, _answers(truth, found), "bbox")
            self._evaluation.params.areaRng = self._evaluation.params.areaRng[:1]
            self._evaluation.params.maxDets = self._evaluation.params.maxDets[-1:]
            self._evaluation.evaluate()
        self._matches = list(self._evaluation.evalImgs)

    def __call__(self, weights: Floats) -> Mapping[str, Floats]:
        """The two averages by the names that the registry has for them, (m,) each, for each row of
        ``weights``, (m, pictures), which are whole numbers. NaN is not defined."""
        found = [self.precision(np.repeat(np.arange(len(row)), row.astype(int))) for row in weights]
        return {
            "box_map_50": np.array([precision.at_50 for precision in found]),
            "box_map_50_95": np.array([precision.at_50_to_95 for precision in found]),
        }

    def precision(self, pictures: Sequence[int] | NDArray[np.int_]) -> BoxPrecision:
        """Of the pictures at these places, each as often as it is named."""
        if self._evaluation is None:
            return BoxPrecision(at_50=0.0, at_50_to_95=0.0)
        places = list(range(len(pictures)))
        self._evaluation.evalImgs = [self._matches[picture] for picture in pictures]
        self._evaluation.params.imgIds = places
        self._evaluation._paramsEval.imgIds = places
        with _in_silence():
            self._evaluation.accumulate()
        at_overlaps = self._evaluation.eval["precision"][:, :, 0, 0, 0].mean(axis=1)
        at_overlaps[at_overlaps < 0] = np.nan  # no true box among them
        return BoxPrecision(at_50=float(at_overlaps[0]), at_50_to_95=float(at_overlaps.mean()))


def box_precision(
    true: Sequence[Sequence[Box]], found: Sequence[Sequence[ScoredBox]]
) -> BoxPrecision:
    """Of pictures with their true and their found boxes, as :class:`BoxScorer`, each once."""
    return BoxScorer(true, found).precision(range(len(true)))


def _in_silence() -> contextlib.AbstractContextManager[Any]:
    """COCO's code prints what it does."""
    return contextlib.redirect_stdout(io.StringIO())


def _truth(true: Sequence[Sequence[Box]]) -> Any:
    from pycocotools.coco import COCO

    pairs = [(number, box) for number, boxes in enumerate(true, start=1) for box in boxes]
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": number} for number in range(1, len(true) + 1)],
        "categories": [{"id": _TUMOUR}],
        "annotations": [
            {
                "id": place,
                "image_id": number,
                "category_id": _TUMOUR,
                "bbox": _corner_and_size(box),
                "area": (box.x1 - box.x0) * (box.y1 - box.y0),
                "iscrowd": 0,
            }
            for place, (number, box) in enumerate(pairs, start=1)
        ],
    }
    truth.createIndex()
    return truth


def _answers(truth: Any, found: Sequence[Sequence[ScoredBox]]) -> Any:
    rows = [
        [number, *_corner_and_size(scored.box), scored.score, _TUMOUR]
        for number, boxes in enumerate(found, start=1)
        for scored in boxes
    ]
    return truth.loadRes(np.array(rows, np.float64).reshape(-1, 7))


def _corner_and_size(box: Box) -> list[int]:
    return [box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0]
