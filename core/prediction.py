"""What a model says about one slice, and what the audit log keeps of it."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from core.errors import BrainTumorError
from core.labels import LABELS, TumourLabel

NOTICE: Final = "Decision support for research and engineering, not a cleared medical device."
"""Stands once in every answer."""


class Decision(StrEnum):
    """Whether an answer should be trusted."""

    ACCEPTED = "ACCEPTED"
    ABSTAINED = "ABSTAINED"
    OUT_OF_DISTRIBUTION = "OUT_OF_DISTRIBUTION"


class Outcome(StrEnum):
    """How a classification request ended."""

    ANSWERED = "ANSWERED"
    REFUSED = "REFUSED"
    """The request itself was at fault; the same request will be refused again."""
    FAILED = "FAILED"
    """The system was at fault or busy; the same request may succeed later."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """Pixels of the input image; x1 and y1 are one past the last pixel."""

    x0: int
    y0: int
    x1: int
    y1: int


class MaskFormat(StrEnum):
    """How the pixels of a region are written down."""

    PNG = "png"
    """A 1-bit PNG of the input image's size; white is the region."""
    COCO_RLE = "coco_rle"
    """COCO's compressed run lengths over the input image, column by column."""


@dataclass(frozen=True, kw_only=True)
class RegionMask:
    """Which pixels of the input image, ``width`` by ``height``, a region covers.

    ``data`` is the PNG, or the ASCII of COCO's ``counts``.
    """

    format: MaskFormat
    width: int
    height: int
    data: bytes


@dataclass(frozen=True, kw_only=True)
class PixelSpacing:
    """Millimetres from one pixel's centre to the next, to the right and down."""

    x_mm: float
    y_mm: float


@dataclass(frozen=True, kw_only=True)
class Region:
    """One outlined lesion. ``score`` is in 0..1; ``area_px`` counts pixels of the input image.

    ``area_mm2`` is None where the spacing of the pixels is not known; ``mask`` is None unless it
    was asked for, and in the audit log.
    """

    box: Box
    score: float
    area_px: int
    area_mm2: float | None = None
    mask: RegionMask | None = None

    def measured(self, spacing: PixelSpacing | None) -> Self:
        """The same with its area in mm2, if the spacing is known."""
        if spacing is None:
            return self
        return replace(self, area_mm2=self.area_px * spacing.x_mm * spacing.y_mm)

    def without_mask(self) -> Self:
        return replace(self, mask=None)


def shows_tumour(label: TumourLabel | None, decision: Decision | None) -> bool:
    """Whether there is something to outline.

    An answer that abstains may still show a tumour; of what is no slice nothing can be said.
    """
    healthy = label is None or label is TumourLabel.NO_TUMOR
    return not healthy and decision is not Decision.OUT_OF_DISTRIBUTION


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One model version's answer for one slice.

    ``probabilities`` follow ``LABELS``, are calibrated, and sum to 1. ``activation_map`` is, when
    it was asked for, a grey PNG of the input's size: how much each place spoke for ``label``.
    ``regions`` are what a segmenter outlined, best first; ``regions_error`` says why it could not,
    though it should have.
    """

    probabilities: tuple[float, ...]
    decision: Decision
    model_version: str
    regions: tuple[Region, ...] = ()
    activation_map: bytes = b""
    regions_error: BrainTumorError | None = None

    @property
    def label(self) -> TumourLabel:
        best = max(range(len(LABELS)), key=self.probabilities.__getitem__)
        return LABELS[best]

    @property
    def shows_tumour(self) -> bool:
        return shows_tumour(self.label, self.decision)

    @property
    def confidence(self) -> float:
        return max(self.probabilities)


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """A classification request and how it ended, before it has its place in the log.

    Never pixels, never a patient's name. ``latency_us`` is microseconds from arrival to the
    moment the answer was ready to be recorded. ``status`` is a gRPC status name.

    ``regions`` are what was outlined, without masks; None where that was not asked for, or could
    not be done: then ``reason`` and ``message`` of an answer say why. ``segmenter_version`` is the
    model version that outlined them or failed to, None where none had to run. ``cached`` says that
    the answer was computed for an earlier request for the same.
    """

    id: str
    create_time: datetime
    request_id: str | None
    caller: str
    image_sha256: str
    image_bytes: int
    model_version: str | None
    probabilities: tuple[float, ...] | None
    label: TumourLabel | None
    decision: Decision | None
    outcome: Outcome
    status: str
    reason: str | None
    message: str | None
    latency_us: int
    software_version: str
    segmenter_version: str | None = None
    regions: tuple[Region, ...] | None = None
    cached: bool = False

    def evolve(self, **changes: Any) -> Self:
        return replace(self, **changes)

    @property
    def name(self) -> str:
        return f"predictions/{self.id}"

    @property
    def shows_tumour(self) -> bool:
        return shows_tumour(self.label, self.decision)


@dataclass(frozen=True, kw_only=True)
class AuditRecord(AuditEntry):
    """An entry in its place: ``sequence`` counts from 1 without gaps; hashes are hex SHA-256."""

    sequence: int
    previous_hash: str
    row_hash: str


@dataclass(frozen=True, kw_only=True)
class Review:
    """A person's verdict on a prediction, kept beside it; the prediction itself never changes.

    ``reviewer`` is whom the caller names; ``caller`` is who sent it, empty where that was not kept.
    """

    id: str
    prediction: str
    create_time: datetime
    caller: str = ""
    reviewer: str
    label: TumourLabel | None
    agrees: bool
    comment: str
