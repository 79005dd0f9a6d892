"""The data audit: what is wrong with a data set before anybody learns from it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from core.datasets import (
    ClassLeakage,
    DatasetAudit,
    DatasetItem,
    ShortcutControl,
    SimilarPair,
    SizeCount,
    Split,
)
from core.labels import LABELS, TumourLabel
from workers.curation.audit_warnings import with_warnings
from workers.curation.looks import Look
from workers.curation.mask_audit import audit_masks
from workers.curation.mask_check import MaskFound
from workers.curation.near_duplicates import (
    THUMBNAIL_SIDE,
    NearDuplicates,
    Pair,
    find_near_duplicates,
)
from workers.curation.shortcuts import shortcut_control
from workers.curation.splits import linked_groups

MAX_SIZES: Final = 10
MAX_BLANK_NAMED: Final = 8
_NAME_LENGTH: Final = 16

Looks = Mapping[str, Look]
"""By the SHA-256 of the encoded picture."""


@dataclass(frozen=True, kw_only=True)
class LeftOutByCause:
    """How many files were not kept, by cause; which ones, where their masks are the cause.

    ``unnamed`` are pictures that the manifest passes over.
    """

    unreadable: int = 0
    contradictory: int = 0
    masks: tuple[MaskFound, ...] = ()
    unnamed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Audited:
    """The items, each with its component and look now, and what was found out about them."""

    items: tuple[DatasetItem, ...]
    audit: DatasetAudit


def audit_dataset(
    items: Sequence[DatasetItem],
    looks: Looks,
    left_out: LeftOutByCause,
    odd_masks: Sequence[MaskFound] = (),
) -> Audited:
    """Look for copies, contradictions, leaks and shortcuts among at least one item.

    No picture may have two labels. ``looks`` has every item's picture. ``odd_masks`` were kept,
    but are to be looked at.
    """
    firsts = _first_of_each_picture(items)
    shown = [item for item in firsts if not looks[item.sha256].blank]
    found = _near_duplicates(shown, looks)
    named = _with_looks(_with_components(items, shown, found), looks)
    blank = [item.path for item in items if looks[item.sha256].blank]
    sizes = Counter((item.width, item.height) for item in items)
    copied = _copied_components(named)
    audit = DatasetAudit(
        unreadable_count=left_out.unreadable,
        exact_duplicate_count=len(items) - len(firsts),
        contradictory_exact_count=left_out.contradictory,
        near_duplicate_count=sum(item.component in copied for item in named),
        near_duplicate_pair_count=found.pair_count,
        near_duplicate_component_count=len(copied),
        near_duplicate_examples=_named(found.examples, shown),
        contradictory_pair_count=found.contradictory_pair_count,
        contradictory_examples=_named(found.contradictory_examples, shown),
        leakage=_leakage(named),
        class_ratio=_class_ratio(items),
        sizes=tuple(
            SizeCount(width=width, height=height, count=count)
            for (width, height), count in sizes.most_common(MAX_SIZES)
        ),
        size_count=len(sizes),
        kinds=dict(Counter(looks[i.sha256].statistics.kind for i in items).most_common()),
        blank_count=len(blank),
        blank_examples=tuple(blank[:MAX_BLANK_NAMED]),
        shortcut_control=_shortcut_control(named, looks),
        warnings=(),
        masks=audit_masks(named, left_out.masks, odd_masks),
        unnamed_count=len(left_out.unnamed),
        unnamed_example=next(iter(left_out.unnamed), ""),
    )
    return Audited(items=named, audit=with_warnings(audit, named))


def _first_of_each_picture(items: Sequence[DatasetItem]) -> list[DatasetItem]:
    firsts: dict[str, DatasetItem] = {}
    for item in items:
        firsts.setdefault(item.sha256, item)
    return list(firsts.values())


def _near_duplicates(shown: Sequence[DatasetItem], looks: Looks) -> NearDuplicates:
    thumbnails = b"".join(looks[item.sha256].thumbnail for item in shown)
    return find_near_duplicates(
        np.array([looks[item.sha256].hash for item in shown], np.uint64),
        np.frombuffer(thumbnails, np.uint8).reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE),
        np.array([LABELS.index(item.label) for item in shown], np.int64),
    )


def _with_components(
    items: Sequence[DatasetItem], shown: Sequence[DatasetItem], found: NearDuplicates
) -> tuple[DatasetItem, ...]:
    """A component is named by the first picture in it, so that names do not depend on numbers."""
    names: dict[int, str] = {}
    component_of: dict[str, str] = {}
    pictures = [item.sha256 for item in shown]
    for sha256, number in sorted(zip(pictures, found.components.tolist(), strict=True)):
        component_of[sha256] = names.setdefault(number, sha256[:_NAME_LENGTH])
    return tuple(
        replace(item, component=component_of.get(item.sha256, item.sha256[:_NAME_LENGTH]))
        for item in items
    )


def _with_looks(items: Sequence[DatasetItem], looks: Looks) -> tuple[DatasetItem, ...]:
    return tuple(
        item if (look := looks[item.sha256]).blank else replace(item, look=f"{look.hash:016x}")
        for item in items
    )


def _copied_components(items: Sequence[DatasetItem]) -> set[str]:
    """Components that hold different pictures."""
    pictures = {(item.component, item.sha256) for item in items}
    counts = Counter(component for component, _ in pictures)
    return {component for component, count in counts.items() if count > 1}


def _named(pairs: Sequence[Pair], shown: Sequence[DatasetItem]) -> tuple[SimilarPair, ...]:
    return tuple(
        SimilarPair(
            first=shown[pair.first].path,
            first_label=shown[pair.first].label,
            second=shown[pair.second].path,
            second_label=shown[pair.second].label,
            similarity=pair.similarity,
        )
        for pair in pairs
    )


def _leakage(items: Sequence[DatasetItem]) -> dict[TumourLabel, ClassLeakage]:
    """By class; empty if either side of the given layout is."""
    test = [item for item in items if item.split is Split.TEST]
    train = [item for item in items if item.split is not Split.TEST]
    if not test or not train:
        return {}
    components = {item.component for item in train}
    groups = {item.group for item in train if item.group}
    known = Counter(i.label for i in test if i.component in components or i.group in groups)
    totals = Counter(item.label for item in test)
    return {
        label: ClassLeakage(test_count=totals[label], leaked_count=known[label])
        for label in LABELS
        if totals[label]
    }


def _class_ratio(items: Sequence[DatasetItem]) -> float:
    counts = Counter(item.label for item in items).values()
    return max(counts) / min(counts)


def _shortcut_control(items: Sequence[DatasetItem], looks: Looks) -> ShortcutControl | None:
    groups = enumerate(linked_groups(items))
    group_of = {item.path: number for number, group in groups for item in group}
    return shortcut_control(
        [looks[item.sha256].statistics for item in items],
        [item.label for item in items],
        np.array([group_of[item.path] for item in items], np.int64),
    )
