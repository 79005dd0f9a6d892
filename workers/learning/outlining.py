"""What a trained segmenter finds in slices: which regions count, and how good they are."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.datasets import DatasetItem
from core.labels import TumourLabel
from core.ports import ArtefactStore
from workers.curation.blobs import read_blob
from workers.curation.splits import group_names
from workers.evaluation.boxes import ScoredBox
from workers.evaluation.outlines import agreement
from workers.evaluation.segmentation import OutlinedSlice
from workers.evaluation.segmentation_report import OutlineExample
from workers.imaging.decode import ImageLimits, decode_grey
from workers.imaging.masks import decode_mask, on_input
from workers.imaging.preprocess import head_geometry
from workers.imaging.regions import FoundRegion, boxes_of, find_regions
from workers.learning.input_pipeline import Slices
from workers.model_artefact import RegionRule

Map = NDArray[np.float32]
"""The probability of tumour, 0..1, of each pixel of a slice: (size, size)."""

THRESHOLDS: Final = (0.3, 0.4, 0.5, 0.6, 0.7)
SMALLEST_SHARES: Final = (0.0, 0.0005, 0.001, 0.002, 0.004)
_HALF: Final = 128
_KINDS: Final = ("best", "median", "worst")
_OF_EACH: Final = 4


def teaches_outlines(item: DatasetItem) -> bool:
    """Whether it is known where in the slice the tumour is: by a mask, or because there is none."""
    return item.mask_sha256 is not None or item.label is TumourLabel.NO_TUMOR


def choose_rule(maps: Iterable[Map], slices: Slices) -> RegionRule:
    """What counts as a region, by validation slices; ``maps`` are theirs, one by one.

    The best mean Dice wins, in which a healthy slice counts 1 if nothing is found in it, else 0.
    """
    rules = [
        RegionRule(threshold=threshold, smallest_share=share)
        for threshold, share in product(THRESHOLDS, SMALLEST_SHARES)
    ]
    scores = [
        [_overlap(map_, true, rule) for rule in rules]
        for map_, true in zip(maps, _true_masks(slices), strict=True)
    ]
    return rules[int(np.mean(scores, axis=0).argmax())]


def _true_masks(slices: Slices) -> Iterator[NDArray[np.bool_]]:
    for number in range(len(slices)):
        yield slices.masks_of(np.array([number]))[0, :, :, 0] >= _HALF


def _overlap(map_: Map, true: NDArray[np.bool_], rule: RegionRule) -> float:
    """Dice, 1 where there is nothing and nothing is found."""
    found = union(find_regions(map_, rule, len(map_)), true.shape)
    both = int(found.sum()) + int(true.sum())
    return 2 * int((found & true).sum()) / both if both else 1.0


def union(regions: Sequence[FoundRegion], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """All regions as one mask of this shape."""
    mask = np.zeros(shape, bool)
    for region in regions:
        box = region.box
        mask[box.y0 : box.y1, box.x0 : box.x1] |= region.mask
    return mask


@dataclass(frozen=True, kw_only=True)
class Outliner:
    """Compares what a segmenter finds with the truth, on the pictures as they came."""

    store: ArtefactStore
    limits: ImageLimits
    rule: RegionRule

    def outlined(self, items: Sequence[DatasetItem], maps: Iterable[Map]) -> list[OutlinedSlice]:
        """``maps`` are the items', in their order and one by one."""
        groups = group_names(items)
        return [
            self._one(item, group, map_)
            for item, group, map_ in zip(items, groups, maps, strict=True)
        ]

    def _one(self, item: DatasetItem, group: str, map_: Map) -> OutlinedSlice:
        grey = decode_grey(read_blob(self.store, item.sha256), self.limits)
        geometry = head_geometry(grey)
        height, width = grey.shape
        regions = find_regions(on_input(map_, geometry, width, height), self.rule, geometry.side)
        true = self._true(item, grey.shape)
        return OutlinedSlice(
            sha256=item.sha256,
            group=group,
            label=item.label,
            agreement=agreement(union(regions, grey.shape), true) if true.any() else None,
            area_px=int(true.sum()),
            true=boxes_of(true),
            found=tuple(ScoredBox(box=region.box, score=region.score) for region in regions),
        )

    def _true(self, item: DatasetItem, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        if item.mask_sha256 is None:
            return np.zeros(shape, bool)
        return decode_mask(read_blob(self.store, item.mask_sha256), self.limits)


def pick_outlines(
    slices: Slices,
    outlined: Sequence[OutlinedSlice],
    maps_of: Callable[[Slices], Iterable[Map]],
    rule: RegionRule,
) -> list[OutlineExample]:
    """The best, median and worst slices with a tumour, a few of each, at the model's own size.

    Their maps are made again: which slices they are is known only when all have been looked at.
    """
    ranked = sorted(
        (n for n, found in enumerate(outlined) if found.agreement is not None),
        key=lambda n: _dice(outlined[n]),
        reverse=True,
    )
    count = min(_OF_EACH, len(ranked))
    middle = (len(ranked) - count) // 2
    parts = (ranked[:count], ranked[middle : middle + count], ranked[len(ranked) - count :])
    chosen = [(kind, number) for kind, part in zip(_KINDS, parts, strict=True) for number in part]
    maps = maps_of(slices.chosen(np.array([number for _, number in chosen], np.int64)))
    return [
        _example(number, kind, slices, outlined[number], map_, rule)
        for (kind, number), map_ in zip(chosen, maps, strict=True)
    ]


def _example(
    number: int,
    kind: str,
    slices: Slices,
    outlined: OutlinedSlice,
    map_: Map,
    rule: RegionRule,
) -> OutlineExample:
    place = np.array([number])
    regions = find_regions(map_, rule, len(map_))
    return OutlineExample(
        picture=slices.pixels_of(place)[0, :, :, 0],
        true=slices.masks_of(place)[0, :, :, 0] >= _HALF,
        found=union(regions, map_.shape),
        label=outlined.label,
        kind=kind,
        dice=_dice(outlined),
    )


def _dice(outlined: OutlinedSlice) -> float:
    return 0.0 if outlined.agreement is None else outlined.agreement.dice
