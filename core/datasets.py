"""Data sets: immutable, content-addressed collections of labelled slices."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from core.errors import InvalidArgument, RejectedFile
from core.labels import TumourLabel

DATASET_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Split(StrEnum):
    """The part of a data set a slice belongs to, where the data set itself says so."""

    TRAIN = "train"
    TEST = "test"


class OnBadFile(StrEnum):
    """What to do with a data set that has a file that cannot be used."""

    REFUSE = "refuse"
    SKIP = "skip"


@dataclass(frozen=True, kw_only=True)
class DatasetItem:
    """One labelled slice. ``path`` is relative to the data set's root; hashes are hex SHA-256.

    ``group`` names the patient (or the nearest thing known) so that splits keep it on one side;
    empty where the data set does not say. ``width`` and ``height`` are in pixels.
    """

    path: str
    sha256: str
    size_bytes: int
    label: TumourLabel
    width: int
    height: int
    group: str = ""
    split: Split | None = None
    mask_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set as it was accepted; it never changes. ``digest`` covers every item."""

    id: str
    create_time: datetime
    request_id: str | None
    caller: str
    source: str
    digest: str
    item_count: int
    size_bytes: int
    class_counts: Mapping[TumourLabel, int]
    group_count: int
    mask_count: int
    has_given_split: bool
    duplicate_count: int
    rejected: tuple[RejectedFile, ...] = field(default=())

    @property
    def name(self) -> str:
        return f"datasets/{self.id}"


def dataset_digest(items: Iterable[DatasetItem]) -> str:
    """Hex SHA-256 over all items in path order; equal digests mean equal training data."""
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda i: i.path):
        split = item.split or ""
        fields = (item.path, item.sha256, item.label, item.group, split, item.mask_sha256 or "")
        digest.update("\0".join(fields).encode() + b"\n")
    return digest.hexdigest()


def check_dataset_id(dataset_id: str) -> str:
    """The id itself, or ``InvalidArgument`` if it cannot be part of a resource name."""
    if not DATASET_ID.fullmatch(dataset_id):
        raise InvalidArgument.of(
            "dataset_id",
            "use 1 to 63 letters, digits, '.', '_' or '-', starting with a letter or digit",
        )
    return dataset_id
