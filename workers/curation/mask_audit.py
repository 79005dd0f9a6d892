"""What a data set's audit says about its masks."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from core.datasets import DatasetItem, MaskAudit, MaskFinding
from core.labels import TumourLabel
from workers.curation.mask_check import MaskFault, MaskFound

MAX_NAMED: Final = 8
"""How many paths of each finding are kept."""


def audit_masks(
    items: Sequence[DatasetItem], refused: Sequence[MaskFound], odd: Sequence[MaskFound]
) -> MaskAudit:
    """Findings about masks, each kind as one, the commonest first.

    ``items`` were kept and have their components; ``refused`` are masks that files were left out
    for, ``odd`` others to look at. Masks of different pictures that are equal are found here.
    """
    kept = {item.path for item in items}
    # A slice may have been left out for another reason since its mask was looked at.
    odd = [*(found for found in odd if found.path in kept), *_shared(items)]
    return MaskAudit(
        findings=(*_findings(refused, refused=True), *_findings(odd, refused=False)),
        unmasked_count=_unmasked(items),
    )


def _shared(items: Iterable[DatasetItem]) -> Iterator[MaskFound]:
    """Tumours of different pictures are never equal to the pixel; those of copies may be."""
    by_mask: dict[str, list[DatasetItem]] = defaultdict(list)
    for item in items:
        if item.mask_sha256 and item.label is not TumourLabel.NO_TUMOR:
            by_mask[item.mask_sha256].append(item)
    for same in by_mask.values():
        if len({item.component for item in same}) > 1:
            yield from (MaskFound(path=item.path, fault=MaskFault.SHARED) for item in same)


def _findings(found: Iterable[MaskFound], *, refused: bool) -> list[MaskFinding]:
    paths: dict[MaskFault, list[str]] = defaultdict(list)
    for one in sorted(found, key=lambda f: f.path):
        paths[one.fault].append(one.path)
    return [
        MaskFinding(
            problem=str(fault), refused=refused, count=len(of), examples=tuple(of[:MAX_NAMED])
        )
        for fault, of in sorted(paths.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    ]


def _unmasked(items: Sequence[DatasetItem]) -> int:
    if not any(item.mask_sha256 for item in items):
        return 0
    tumours = (item for item in items if item.label is not TumourLabel.NO_TUMOR)
    return sum(not item.mask_sha256 for item in tumours)
