"""Which files of a data set are slices, and what is said about each."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from core.datasets import Split
from core.labels import TumourLabel, parse_label
from core.manifest import MANIFEST, Rows, is_manifest, manifest_rows, plain_path, unnamed
from workers.curation.mask_check import MaskFault
from workers.curation.refused import Refused

PICTURE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".dcm"}
)
"""Files that mean to be pictures; some of them cannot be read, and are then named."""

_SPLITS: Final = {
    "training": Split.TRAIN,
    "train": Split.TRAIN,
    "testing": Split.TEST,
    "test": Split.TEST,
}
_MASK_FOLDERS: Final = frozenset({"mask", "masks"})
_MASK_NAME: Final = re.compile(r".[ _-]mask([ _-]?\d+)?$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a data set says about one slice. ``path`` and ``mask`` are paths in the data set."""

    path: str
    label: TumourLabel
    group: str = ""
    split: Split | None = None
    mask: str | None = None


@dataclass(frozen=True, kw_only=True)
class Description:
    """Every slice of a data set, and what could not be understood.

    ``unnamed`` are files that a manifest passes over; it may have been written for a part of them.
    """

    slices: tuple[Described, ...]
    rejected: tuple[Refused, ...] = field(default=())
    unnamed: tuple[str, ...] = field(default=())


def strip_common_folder(paths: Sequence[str]) -> int:
    """How many leading folders all paths share and that say nothing about class or split."""
    parts = [PurePosixPath(path).parts for path in paths]
    count = 0
    while parts and all(len(p) > count + 1 and p[count] == parts[0][count] for p in parts):
        folder = parts[0][count]
        if parse_label(folder) or folder.lower() in _SPLITS:
            break
        count += 1
    return count


def describe(paths: Iterable[str], manifest: bytes | None) -> Description:
    """Slices by manifest where there is one, else by folder.

    Raises ``DatasetRefused`` for a manifest that is no CSV with the columns path and label.
    """
    known = sorted(paths)
    if manifest is None:
        return _by_folder(known)
    return _by_manifest(known, manifest_rows(manifest))


def is_of_interest(path: str) -> bool:
    """Whether the file can be part of a data set: a picture, or the manifest."""
    return is_manifest(path) or path.lower().endswith(tuple(PICTURE_SUFFIXES))


def _by_folder(paths: Sequence[str]) -> Description:
    slices, rejected = [], []
    for path in paths:
        if PurePosixPath(path).suffix.lower() not in PICTURE_SUFFIXES:
            continue
        label = folder_label(path)
        if _is_mask(path):
            rejected.append(
                Refused(
                    path=path,
                    problem="by its name it is a mask, no slice; name it in the column mask of "
                    f"{MANIFEST} or remove it",
                    mask_fault=MaskFault.UNNAMED,
                )
            )
        elif label is None:
            rejected.append(Refused(path=path, problem="no folder above it names a known class"))
        else:
            slices.append(Described(path=path, label=label, split=_folder_split(path)))
    return Description(slices=tuple(slices), rejected=tuple(rejected))


def _is_mask(path: str) -> bool:
    """Whether a file would be taken for a slice although it shows where the tumour of one is."""
    place = PurePosixPath(path)
    in_folder = any(folder.lower() in _MASK_FOLDERS for folder in place.parts[:-1])
    return in_folder or _MASK_NAME.search(place.stem) is not None


def folder_label(path: str) -> TumourLabel | None:
    """The class of the nearest folder that names one."""
    labels = (parse_label(folder) for folder in reversed(PurePosixPath(path).parts[:-1]))
    return next((label for label in labels if label is not None), None)


def _folder_split(path: str) -> Split | None:
    """The part that the topmost folder that names one stands for."""
    splits = (_SPLITS.get(folder.lower()) for folder in PurePosixPath(path).parts[:-1])
    return next((split for split in splits if split is not None), None)


def _by_manifest(known: Sequence[str], rows: Rows) -> Description:
    paths = set(known)
    slices: list[Described] = []
    rejected: list[Refused] = []
    seen: set[str] = set()
    masks = {plain_path(row.get("mask", "")) for row in rows}
    for row in rows:
        path = plain_path(row["path"])
        described = _described(row, path, paths, seen, masks)
        seen.add(path)
        if isinstance(described, Described):
            slices.append(described)
        else:
            rejected.append(described)
    return Description(
        slices=tuple(slices), rejected=tuple(rejected), unnamed=tuple(unnamed(known, rows))
    )


def _described(
    row: Mapping[str, str], path: str, paths: set[str], seen: set[str], masks: set[str]
) -> Described | Refused:
    """What the row says, or what is wrong with it; ``masks`` are those of all rows."""
    label, mask = parse_label(row["label"]), plain_path(row.get("mask", ""))
    if problem := _place_problem(path, mask, paths, seen, masks):
        return Refused(path=path or MANIFEST, problem=problem)
    if label is None:
        return Refused(path=path, problem=f"{MANIFEST} gives it the unknown label {row['label']!r}")
    if mask and mask not in paths:
        return Refused(
            path=path, problem=f"its mask {mask} is not there", mask_fault=MaskFault.MISSING
        )
    return Described(
        path=path,
        label=label,
        group=row.get("group", "").strip(),
        split=_folder_split(path),
        mask=mask or None,
    )


def _place_problem(
    path: str, mask: str, paths: set[str], seen: set[str], masks: set[str]
) -> str | None:
    """What is wrong with a row's path, if anything is."""
    if not path:
        return f"a row names no path{f', only the mask {mask}' if mask else ''}"
    if path in seen:
        return f"{MANIFEST} names it twice"
    if path not in paths:
        return f"{MANIFEST} names it, but it is not there"
    if path in masks and path != mask:
        return f"{MANIFEST} names it as a slice and as the mask of another"
    return None
