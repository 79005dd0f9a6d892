"""Regions as canonical JSON, for the audit log: boxes, scores and areas, never masks."""

import json
import math
from collections.abc import Sequence
from typing import Any, Final

from core.prediction import Box, Region

_LARGEST_COUNT: Final = 2**53
_LARGEST_CORNER: Final = 2**31 - 1


def plain_regions(regions: Sequence[Region]) -> list[dict[str, Any]]:
    """Plain values: ``area_mm2`` (null if unknown), ``area_px``, ``box`` (x0, y0, x1, y1) and
    ``score``."""
    return [
        {
            "area_mm2": region.area_mm2,
            "area_px": region.area_px,
            "box": [region.box.x0, region.box.y0, region.box.x1, region.box.y1],
            "score": region.score,
        }
        for region in regions
    ]


def regions_to_text(regions: Sequence[Region]) -> str:
    """Canonical JSON: keys sorted, no spaces; the same regions always give the same text."""
    return json.dumps(plain_regions(regions), sort_keys=True, separators=(",", ":"))


def regions_from_text(text: str) -> tuple[Region, ...]:
    """What :func:`regions_to_text` wrote. Raises ``ValueError`` for any other text."""
    values = json.loads(text)
    if not isinstance(values, list):
        raise ValueError("no list of regions")
    regions = tuple(_region(value) for value in values)
    if regions_to_text(regions) != text:
        raise ValueError("regions that are not in their canonical form")
    return regions


def _region(value: Any) -> Region:
    try:
        x0, y0, x1, y1 = (_whole(corner, _LARGEST_CORNER) for corner in value["box"])
        area_mm2 = value["area_mm2"]
        return Region(
            box=Box(x0=x0, y0=y0, x1=x1, y1=y1),
            score=_number(value["score"]),
            area_px=_whole(value["area_px"], _LARGEST_COUNT),
            area_mm2=None if area_mm2 is None else _number(area_mm2),
        )
    except (KeyError, TypeError, IndexError) as exc:
        raise ValueError("no region") from exc


def _whole(value: Any, largest: int) -> int:
    if type(value) is not int or not 0 <= value <= largest:
        raise ValueError("a pixel count out of range")
    return value


def _number(value: Any) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise ValueError("no number")
    return value
