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
    empty where the data set does not say. ``component`` names the set of near-duplicates that the
    audit found it in, alone or not; empty in data sets from before there was an audit. ``look`` is
    its perceptual hash, 16 hex digits, which copies that were encoded anew nearly have too; empty
    where there is nothing to see, and in data sets from before hashes were kept. ``width`` and
    ``height`` are in pixels.
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
    component: str = ""
    look: str = ""

    @property
    def has_tumour_mask(self) -> bool:
        """Whether a mask shows where its tumour is; that of a healthy slice is black."""
        return self.mask_sha256 is not None and self.label is not TumourLabel.NO_TUMOR


# --- the audit --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SimilarPair:
    """Two slices by path that show the same picture; ``similarity`` is their correlation."""

    first: str
    first_label: TumourLabel
    second: str
    second_label: TumourLabel
    similarity: float


@dataclass(frozen=True, kw_only=True)
class ClassLeakage:
    """Of a class's test slices, how many the training part knows.

    A slice is known if the training part has its picture, a near-duplicate of it, or its group.
    """

    test_count: int
    leaked_count: int


@dataclass(frozen=True, kw_only=True)
class SizeCount:
    """How many slices have this size in pixels."""

    width: int
    height: int
    count: int


@dataclass(frozen=True, kw_only=True)
class ShortcutControl:
    """How well a depth-4 tree names the class from file and border statistics alone.

    Scores and ``majority_share`` (the accuracy of always naming the commonest class) are 0..1,
    out of ``fold_count`` folds. ``telling`` names what gave most away, most first.
    """

    accuracy: float
    macro_f1: float
    majority_share: float
    fold_count: int
    telling: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LabelSuspect:
    """A slice that is likely mislabelled; ``probability`` is the suggested class's, 0..1."""

    path: str
    label: TumourLabel
    suggested: TumourLabel
    probability: float


@dataclass(frozen=True, kw_only=True)
class LabelErrors:
    """Likely label errors, the likeliest first; at most some fifty are named."""

    count: int
    suspects: tuple[LabelSuspect, ...]


@dataclass(frozen=True, kw_only=True)
class MaskFinding:
    """Masks with which the same is the matter; ``problem`` says in plain words what.

    ``refused`` if files were left out for it: the slice of the mask, or the mask itself where
    nothing says of which slice it is. Else both were kept. ``examples`` are paths of some of the
    ``count`` files.
    """

    problem: str
    refused: bool
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MaskAudit:
    """What was found out about masks, what was refused first.

    ``unmasked_count`` is of slices with a tumour and no mask, 0 where no slice has one.
    """

    findings: tuple[MaskFinding, ...]
    unmasked_count: int


@dataclass(frozen=True, kw_only=True)
class DatasetAudit:
    """What was found out about a data set, at its arrival. Numbers are of slices unless named.

    ``unreadable_count`` and ``contradictory_exact_count`` (equal pictures under different labels)
    were left out, as were slices whose masks were refused; everything else is about what was
    kept. Examples are a few of many. Components count sets of two or more near-duplicates, pairs
    count pairs of different files. ``leakage`` is empty without a Training/Testing layout.
    ``class_ratio`` is the largest class over the smallest. ``kinds`` maps file format and colour
    mode, such as ``JPEG RGB``, to a number. ``sizes`` has the commonest, of ``size_count`` in all.
    ``label_errors`` alone comes later: None until a training job has cross-validated on the set,
    then what the last such job found that could tell. ``labels_unjudged`` says in words why the
    last one could not, if none could; empty otherwise. ``masks`` is None for data sets from before
    these were audited. ``unnamed_count`` pictures, of which ``unnamed_example`` is one, were left
    out because the data set's manifest does not name them.
    ``page_sha256`` is the hex SHA-256 of the HTML page.
    """

    unreadable_count: int
    exact_duplicate_count: int
    contradictory_exact_count: int
    near_duplicate_count: int
    near_duplicate_pair_count: int
    near_duplicate_component_count: int
    near_duplicate_examples: tuple[SimilarPair, ...]
    contradictory_pair_count: int
    contradictory_examples: tuple[SimilarPair, ...]
    leakage: Mapping[TumourLabel, ClassLeakage]
    class_ratio: float
    sizes: tuple[SizeCount, ...]
    size_count: int
    kinds: Mapping[str, int]
    blank_count: int
    blank_examples: tuple[str, ...]
    shortcut_control: ShortcutControl | None
    warnings: tuple[str, ...]
    label_errors: LabelErrors | None = None
    masks: MaskAudit | None = None
    unnamed_count: int = 0
    unnamed_example: str = ""
    labels_unjudged: str = ""
    page_sha256: str = ""


# --- the data set -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set as it was accepted; it never changes. ``digest`` covers every item.

    ``rejected`` names the first of ``rejected_count`` files that were left out. ``audit`` is what
    is known of it, which may grow; None for data sets from before there was one.
    """

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
    rejected_count: int = 0
    audit: DatasetAudit | None = None

    @property
    def name(self) -> str:
        return f"datasets/{self.id}"

    def answers(self, dataset_id: str, source: str) -> bool:
        """Whether a request under its request id asked for it too, as far as it knows.

        Of an upload that is the name alone: a repeat is answered before its files are looked at.
        """
        return (self.id, self.source) == (dataset_id, source)


def dataset_digest(items: Iterable[DatasetItem]) -> str:
    """Hex SHA-256 over all items in path order; equal digests mean equal training data.

    Components and looks are left out: they follow from the pictures.
    """
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda i: i.path):
        split = item.split or ""
        fields = (item.path, item.sha256, item.label, item.group, split, item.mask_sha256 or "")
        digest.update("\0".join(fields).encode() + b"\n")
    return digest.hexdigest()


def audit_page_key(digest: str, page_sha256: str) -> str:
    """Where a data set's audit is kept as a page.

    By its hash too: two data sets of the same items may have been left with different files out.
    """
    return f"datasets/{digest}/audit-{page_sha256[:16]}.html"


def check_dataset_id(dataset_id: str) -> str:
    """The id itself, or ``InvalidArgument`` if it cannot be part of a resource name."""
    if not DATASET_ID.fullmatch(dataset_id):
        raise InvalidArgument.of(
            "dataset_id",
            "use 1 to 63 letters, digits, '.', '_' or '-', starting with a letter or digit",
        )
    return dataset_id
