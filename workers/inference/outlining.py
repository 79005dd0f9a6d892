"""What a segmenter says of pictures in which the classifier found a tumour."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.prediction import Region
from workers.imaging.decode import alone_if_huge
from workers.imaging.mask_formats import encoded_mask
from workers.imaging.masks import on_input
from workers.imaging.regions import FoundRegion, find_regions
from workers.inference.pictures import ReadyPicture
from workers.inference.sessions import LoadedModel
from workers.model_artefact import MASK_NAME

MAX_REGIONS: Final = 32
"""The surest ones; a map of specks must not become an endless answer."""
_ROUNDING: Final = 0.01
"""How far a probability may be out of 0..1 where a runtime computes with few bits."""


def outline(
    segmenter: LoadedModel, pictures: Sequence[ReadyPicture], *, alone: bool = False
) -> list[tuple[Region, ...]]:
    """The regions of each picture, the surest first, in pixels of that picture.

    Raises ``ValueError`` for maps that are no probabilities: they must not become an answer.
    """
    size = segmenter.manifest.image_size
    images = np.stack([picture.pixels_at(size) for picture in pictures])
    maps = segmenter.runtime.run(images, alone=alone)[MASK_NAME]
    if maps.shape != images.shape:
        raise ValueError(f"the graph gave {maps.shape} for {images.shape}")
    return [
        _regions(segmenter, picture, _probabilities(found[..., 0]))
        for picture, found in zip(pictures, maps, strict=True)
    ]


def _probabilities(found: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(found).all() or found.min() < -_ROUNDING or found.max() > 1 + _ROUNDING:
        raise ValueError("the graph gave a map that is no probabilities")
    return np.clip(found, 0.0, 1.0).astype(np.float32)


def _regions(
    segmenter: LoadedModel, picture: ReadyPicture, square: NDArray[np.float32]
) -> tuple[Region, ...]:
    rule = segmenter.region_rule
    if square.max() < rule.threshold:  # most of the work is in the picture's own size
        return ()
    width, height, geometry = picture.width, picture.height, picture.geometry
    with alone_if_huge(width * height):
        probabilities = on_input(square, geometry, width, height)
        found = find_regions(probabilities, rule, geometry.side)[:MAX_REGIONS]
        del probabilities
        return tuple(_region(region, picture) for region in found)


def _region(found: FoundRegion, picture: ReadyPicture) -> Region:
    region = Region(box=found.box, score=found.score, area_px=found.area_px)
    wanted = picture.item.mask_format
    if wanted is None:
        return region
    mask = encoded_mask(found, wanted, width=picture.width, height=picture.height)
    return replace(region, mask=mask)
