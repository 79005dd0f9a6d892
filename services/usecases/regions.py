"""What an answer says of regions: first to the audit log, then to its caller.

The classification never depends on them. Where a tumour should have been outlined and could not
be, the answer is recorded with the reason, and the caller is told where it is.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from core.errors import (
    AnsweredWithoutRegions,
    ArtefactCorrupt,
    BrainTumorError,
    FieldViolation,
    InvalidArgument,
    SegmentationFailed,
    SegmenterCorrupt,
    SegmenterNotRegistered,
    WrongTask,
)
from core.messages import Segmenter
from core.prediction import AuditRecord, PixelSpacing, Prediction, Region

MAX_SPACING_MM: Final = 100.0

_WHY: Final[Mapping[str, type[AnsweredWithoutRegions]]] = {
    kind.reason: kind for kind in (SegmenterNotRegistered, SegmenterCorrupt, SegmentationFailed)
}


def check_spacing(spacing: PixelSpacing | None) -> None:
    """Raises ``InvalidArgument`` for distances that cannot be those of pixels."""
    violations = () if spacing is None else tuple(_violations(spacing))
    if violations:
        raise InvalidArgument(violations)


def _violations(spacing: PixelSpacing) -> Iterator[FieldViolation]:
    for name, value in (("x_mm", spacing.x_mm), ("y_mm", spacing.y_mm)):
        if not (math.isfinite(value) and 0 < value <= MAX_SPACING_MM):
            limits = f"must be above 0 and at most {MAX_SPACING_MM:g}"
            yield FieldViolation(f"pixel_spacing.{name}", limits)


def regions_to_record(
    prediction: Prediction, segmenter: Segmenter | None, spacing: PixelSpacing | None
) -> dict[str, Any]:
    """The fields of an answer's audit entry, where regions were asked for."""
    if not prediction.shows_tumour:
        return {"regions": ()}
    if segmenter is None:
        return _why(SegmenterNotRegistered, SegmenterNotRegistered.description)
    fields: dict[str, Any] = {"segmenter_version": segmenter.version}
    if prediction.regions_error is not None:
        return fields | _why(*_failure(prediction.regions_error, segmenter))
    regions = measured_regions(prediction, spacing)
    return fields | {"regions": tuple(region.without_mask() for region in regions)}


def measured_regions(prediction: Prediction, spacing: PixelSpacing | None) -> tuple[Region, ...]:
    """The regions with their areas, and with their masks where those were asked for."""
    return tuple(region.measured(spacing) for region in prediction.regions)


def check_outlined(record: AuditRecord) -> None:
    """Raises ``AnsweredWithoutRegions`` if the recorded tumour should have been outlined and could
    not be: the same for the first caller and for whoever repeats the request."""
    if record.regions is None and record.shows_tumour:
        kind = _WHY.get(record.reason or "", SegmentationFailed)
        raise kind(record.name, record.message or kind.description)


def asked_for_no_regions(record: AuditRecord) -> bool:
    """Whether an answer shows a tumour that nobody tried to outline."""
    return record.regions is None and record.shows_tumour and record.reason is None


def measured_otherwise(record: AuditRecord, spacing: PixelSpacing | None) -> bool:
    """Whether the recorded areas are not those that this spacing of the pixels gives.

    So are areas that were not measured at all, where now a spacing is given.
    """
    if spacing is None:
        return False
    return any(
        region.area_mm2 is None
        or not math.isclose(region.area_mm2, region.area_px * spacing.x_mm * spacing.y_mm)
        for region in record.regions or ()
    )


def _why(kind: type[AnsweredWithoutRegions], description: str) -> dict[str, Any]:
    return {"reason": kind.reason, "message": description[:500]}


def _failure(
    error: BrainTumorError, segmenter: Segmenter
) -> tuple[type[AnsweredWithoutRegions], str]:
    if isinstance(error, ArtefactCorrupt):
        return SegmenterCorrupt, error.message
    if isinstance(error, WrongTask):
        return SegmenterNotRegistered, error.message
    return SegmentationFailed, f"modelVersions/{segmenter.version} failed. {error.message}"
