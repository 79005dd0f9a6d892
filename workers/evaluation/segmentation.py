"""What a segmenter is worth: from masks and boxes of held-out slices to its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from core.held_out_outlines import HeldOutOutline, HeldOutOutlines
from core.labels import LABELS, TumourLabel
from core.prediction import Box
from core.registry import (
    OutlineMetrics,
    SegmentationEvaluation,
    SizeMetrics,
)
from workers.evaluation.bootstrap import RESAMPLES, bootstrap_intervals
from workers.evaluation.boxes import BoxScorer, ScoredBox
from workers.evaluation.metrics import Floats, SplitSizes, ratio
from workers.evaluation.outlines import Agreement

THIRDS: Final = 3
BOX_RESAMPLES: Final = 500
"""Each takes COCO's code some milliseconds."""


@dataclass(frozen=True, kw_only=True)
class OutlinedSlice:
    """One held-out slice. ``sha256`` is that of the encoded picture; ``group`` names the patient,
    or the nearest thing known.

    ``agreement`` is None for a slice without a tumour; ``area_px`` is that of its true mask, and
    ``true`` are the boxes of its lesions, in pixels of the picture.
    """

    sha256: str
    group: str
    label: TumourLabel
    agreement: Agreement | None
    area_px: int
    true: tuple[Box, ...]
    found: tuple[ScoredBox, ...]


def judge_outlines(
    slices: Sequence[OutlinedSlice],
    *,
    sizes: SplitSizes,
    protocol: str,
    seed: int,
    resamples: int = RESAMPLES,
) -> SegmentationEvaluation:
    """Every number, of at least one slice with a tumour; ``sizes.test`` is not used.

    Intervals come from resampling whole groups. Raises ``ValueError`` without a tumour.
    """
    with_tumour = [s for s in slices if s.agreement is not None]
    if not with_tumour:
        raise ValueError("to judge outlines, some slice must have one")
    agreements = [s.agreement for s in with_tumour if s.agreement is not None]
    boxes = BoxScorer([s.true for s in with_tumour], [s.found for s in with_tumour])
    scorer = _Scorer(slices)
    scores = {n: float(v[0]) for n, v in scorer(np.ones((1, len(slices)))).items()}
    precision = boxes.precision(range(len(with_tumour)))
    intervals = bootstrap_intervals(scorer, [s.group for s in slices], seed, resamples)
    box_intervals = bootstrap_intervals(
        boxes, [s.group for s in with_tumour], seed, min(resamples, BOX_RESAMPLES)
    )
    defined = {name: value for name, value in scores.items() if np.isfinite(value)}
    return SegmentationEvaluation(
        **defined,
        dice_median=float(np.median([a.dice for a in agreements])),
        iou_median=float(np.median([a.iou for a in agreements])),
        box_map_50=precision.at_50,
        box_map_50_95=precision.at_50_to_95,
        per_class=_per_class(with_tumour),
        per_size=_per_size(with_tumour),
        train_size=sizes.train,
        validation_size=sizes.validation,
        test_size=len(with_tumour),
        healthy_size=len(slices) - len(with_tumour),
        protocol=protocol,
        intervals={n: i for n, i in intervals.items() if n in defined} | box_intervals,
    )


def held_out_outlines(slices: Sequence[OutlinedSlice], protocol: str) -> HeldOutOutlines:
    """Of the slices with a tumour, for later comparison with other versions."""
    return HeldOutOutlines(
        protocol=protocol,
        slices=tuple(
            HeldOutOutline(sha256=s.sha256, group=s.group, label=s.label, dice=s.agreement.dice)
            for s in slices
            if s.agreement is not None
        ),
    )


class _Scorer:
    """Scores as a function of how much each slice counts, for the bootstrap."""

    def __init__(self, slices: Sequence[OutlinedSlice]) -> None:
        found = [s.agreement for s in slices]
        self._tumour = np.array([a is not None for a in found], float)
        self._dice = np.array([a.dice if a else 0.0 for a in found])
        self._iou = np.array([a.iou if a else 0.0 for a in found])
        self._has_outline = np.array([bool(a and a.hd95 is not None) for a in found], float)
        self._distance = np.array([(a.hd95 if a else None) or 0.0 for a in found])
        self._lesions = np.array([a.lesions if a else 0 for a in found], float)
        self._lesions_found = np.array([a.lesions_found if a else 0 for a in found], float)
        self._false = np.array([bool(s.found and s.agreement is None) for s in slices], float)

    def __call__(self, weights: Floats) -> Mapping[str, Floats]:
        """By name the score, (m,), for each row of weights (m, n). NaN is not defined."""
        tumour = weights @ self._tumour
        outlined = weights @ self._has_outline
        return {
            "dice": ratio(weights @ self._dice, tumour),
            "iou": ratio(weights @ self._iou, tumour),
            "hd95": ratio(weights @ self._distance, outlined),
            "missed_share": ratio(tumour - outlined, tumour),
            "lesion_recall": ratio(weights @ self._lesions_found, weights @ self._lesions),
            "healthy_with_regions": ratio(weights @ self._false, weights @ (1 - self._tumour)),
        }


def _per_class(slices: Sequence[OutlinedSlice]) -> dict[TumourLabel, OutlineMetrics]:
    of_class = {label: [s for s in slices if s.label is label] for label in LABELS}
    return {
        label: OutlineMetrics(**_means(members), support=len(members))
        for label, members in of_class.items()
        if members
    }


def _per_size(slices: Sequence[OutlinedSlice]) -> tuple[SizeMetrics, ...]:
    by_area = sorted(slices, key=lambda s: s.area_px)
    ends = [round(len(by_area) * third / THIRDS) for third in range(THIRDS + 1)]
    thirds = [by_area[a:b] for a, b in pairwise(ends) if b > a]
    return tuple(
        SizeMetrics(**_means(third), support=len(third), up_to_px=third[-1].area_px)
        for third in thirds
    )


def _means(slices: Sequence[OutlinedSlice]) -> dict[str, float]:
    agreements = [s.agreement for s in slices if s.agreement is not None]
    return {
        "dice": float(np.mean([a.dice for a in agreements])),
        "iou": float(np.mean([a.iou for a in agreements])),
    }
