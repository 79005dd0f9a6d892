"""A segmenter's report and model card: pages that need nothing beside them."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from core.labels import TumourLabel
from core.registry import SEGMENTATION_SCORES, SegmentationEvaluation
from core.training import EpochProgress
from workers.evaluation import wording
from workers.evaluation.model_card import escaped
from workers.evaluation.report import template_environment, training_charts
from workers.evaluation.wording import ScoreRow
from workers.model_artefact import RegionRule

Mask = NDArray[np.bool_]

OUTLINES: Final = "A segmenter outlines what looks like a tumour; it does not say of what kind."
LIMITS: Final = (
    OUTLINES,
    "An outline is of the visible mass in one slice. It is no margin for surgery or radiation, and "
    "no volume.",
    "The numbers hold for scans like those it was tested on: contrast-enhanced T1 slices where the "
    "data set has no others.",
    "Alone it also finds something in some slices of healthy heads. Behind a classifier, whose "
    '"no tumour" keeps it from answering, it does so less often.',
)
_NAMES: Final = {
    "dice": "Dice coefficient, mean",
    "dice_median": "Dice coefficient, median",
    "iou": "intersection over union, mean",
    "iou_median": "intersection over union, median",
    "hd95": "95th percentile of the outlines' distance, pixels, mean",
    "missed_share": "slices with a tumour in which nothing was found",
    "lesion_recall": "lesions found",
    "box_map_50": "boxes of slices with a tumour, mAP at 0.50",
    "box_map_50_95": "boxes of slices with a tumour, mAP over 0.50 to 0.95",
    "healthy_with_regions": "healthy slices with a region, without a classifier before it",
}
_FOUND: Final = (230, 159, 0)
_TRUE: Final = (86, 180, 233)
"""Orange and sky blue of Okabe and Ito, "Color Universal Design", 2008."""
_SIDE: Final = 256


@dataclass(frozen=True, kw_only=True)
class OutlineExample:
    """A held-out slice, (size, size) grey 0..255, with its true and its found mask.

    ``kind`` is best, median or worst; ``dice`` is 0..1.
    """

    picture: NDArray[np.uint8]
    true: Mask
    found: Mask
    label: TumourLabel
    kind: str
    dice: float


@dataclass(frozen=True, kw_only=True)
class SegmentationFacts:
    """Everything that a segmenter's report and model card say.

    As in :class:`workers.evaluation.report.ReportFacts`.
    """

    backbone: str
    weights_source: str
    dataset: str
    dataset_digest: str
    spec: Mapping[str, Any]
    evaluation: SegmentationEvaluation
    regions: RegionRule
    history: Sequence[EpochProgress]
    best_epoch: int
    parameters: int
    latency_ms: float
    export_difference: float
    library_versions: Mapping[str, str]
    training_data: str = ""
    flops: int = 0
    examples: Sequence[OutlineExample] = ()


def render_segmentation_report(facts: SegmentationFacts) -> bytes:
    """The page, HTML in UTF-8. Names from outside are escaped."""
    environment = template_environment(autoescape=True)
    environment.filters["overlay"] = overlay_uri
    text = environment.get_template("segmentation.html.j2").render(
        facts=facts,
        e=facts.evaluation,
        scores=outline_rows(facts.evaluation),
        limits=LIMITS,
        training_charts=training_charts(facts.history, "Dice"),
        wording=wording,
    )
    return text.encode()


def render_segmentation_card(facts: SegmentationFacts) -> bytes:
    """The model card, Markdown in UTF-8, as that of a classifier."""
    environment = template_environment(autoescape=False)
    environment.filters["text"] = escaped
    text = environment.get_template("segmentation_card.md.j2").render(
        facts=facts,
        e=facts.evaluation,
        scores=outline_rows(facts.evaluation),
        limits=LIMITS,
        wording=wording,
    )
    return text.rstrip().encode() + b"\n"


def outline_rows(evaluation: SegmentationEvaluation) -> tuple[ScoreRow, ...]:
    """The numbers that were measured, in their order."""
    rows = []
    for name in SEGMENTATION_SCORES:
        value, ends = getattr(evaluation, name), evaluation.intervals.get(name)
        if value is not None:
            interval = "" if ends is None else f"{ends.low:.3f} to {ends.high:.3f}"
            rows.append(ScoreRow(name=_NAMES[name], value=f"{value:.3f}", interval=interval))
    return tuple(rows)


def overlay_uri(example: OutlineExample) -> str:
    """The slice with both outlines, the true one dashed, as a ``data:`` URI of a PNG."""
    side = (_SIDE, _SIDE)
    picture = np.asarray(Image.fromarray(example.picture).convert("RGB").resize(side)).copy()
    rows, columns = np.indices(side)
    picture[_outline(example.true) & ((rows + columns) // 4 % 2 == 0)] = _TRUE
    picture[_outline(example.found)] = _FOUND
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _outline(mask: Mask) -> Mask:
    larger = Image.fromarray(mask).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
    filled = np.asarray(larger, bool)
    return np.asarray(filled & ~ndimage.binary_erosion(filled, iterations=2))
