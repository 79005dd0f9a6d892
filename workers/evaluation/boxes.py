"""Average precision of boxes as COCO defines it, by COCO's own code."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from core.prediction import Box

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


def box_precision(
    true: Sequence[Sequence[Box]], found: Sequence[Sequence[ScoredBox]]
) -> BoxPrecision:
    """Of pictures with their true and their found boxes, in one order.

    Lin et al., ECCV 2014, "Microsoft COCO: Common Objects in Context", as ``pycocotools`` has it.
    Raises ``ValueError`` if the numbers of pictures differ or there is no true box.
    """
    from pycocotools.cocoeval import COCOeval

    if len(true) != len(found) or not any(true):
        raise ValueError("each picture needs its boxes, and one at least a true one")
    if not any(found):  # COCO's code takes no empty answers
        return BoxPrecision(at_50=0.0, at_50_to_95=0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        truth = _truth(true)
        evaluation = COCOeval(truth, _answers(truth, found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return BoxPrecision(at_50=float(evaluation.stats[1]), at_50_to_95=float(evaluation.stats[0]))


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
