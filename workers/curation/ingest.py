"""Takes a data set in: every file checked, every picture stored once, all of it or nothing.

What was checked is audited before it is accepted; see :mod:`workers.curation.audit`.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.datasets import Dataset, DatasetItem, OnBadFile, Split
from core.errors import (
    AlreadyExists,
    DatasetRefused,
    DeadlinePassed,
    ImageRefused,
    NotFound,
    RejectedFile,
    RequestIdReused,
    StoreUnavailable,
)
from core.labels import LABELS, TumourLabel
from core.manifest import MANIFEST, is_manifest, manifest_top
from core.messages import IngestRequest, IngestSource
from core.ports import ArtefactStore, Clock, UnitOfWork, UnitOfWorkFactory
from core.settings import Settings
from workers.curation.audit import Audited, LeftOutByCause, audit_dataset
from workers.curation.audit_report import FilesLeftOut, with_page
from workers.curation.blobs import read_blob, write_blob, write_items
from workers.curation.looks import Look, look_at
from workers.curation.manifest import (
    Described,
    describe,
    is_of_interest,
    strip_common_folder,
)
from workers.curation.mask_check import (
    MaskFault,
    MaskFound,
    MaskProblem,
    examine_mask,
)
from workers.curation.refused import Refused
from workers.curation.sources import SourceFile, open_source
from workers.imaging.decode import ImageLimits, decode_grey

log = logging.getLogger(__name__)

MIN_PER_CLASS: Final = 3
"""One slice each to learn from, to validate on and to test on."""
MAX_REJECTED: Final = 100
"""How many bad files are named; more make no message clearer."""
_DECODERS: Final = 2


def ingest(
    request: IngestRequest,
    *,
    store: ArtefactStore,
    uow_factory: UnitOfWorkFactory,
    clock: Clock,
    settings: Settings,
) -> str:
    """Check and store a data set; its id. The row is committed last: nothing partial is visible.

    A request id that was answered before gives that answer again. Raises ``AlreadyExists``,
    ``RequestIdReused``, ``InvalidArgument`` for a URI that cannot be read, ``DatasetRefused``,
    and ``DeadlinePassed`` if the caller was told already that nobody took it.
    """
    try:
        _check_wanted(request, clock)
        with uow_factory() as uow:
            if (earlier := _answered_before(uow, request)) is not None:
                return earlier
        dataset = _take_in(request, store, clock, settings)
        with uow_factory(write=True) as uow:
            if (earlier := _answered_before(uow, request)) is not None:
                return earlier
            uow.datasets.add(dataset)
            uow.commit()
        log.info("dataset_stored id=%s items=%d", dataset.id, dataset.item_count)
        return dataset.id
    finally:
        if request.source is IngestSource.STAGED:
            _forget(request.location, store)


def _check_wanted(request: IngestRequest, clock: Clock) -> None:
    if request.take_up_by is not None and clock.now().timestamp() > request.take_up_by:
        raise DeadlinePassed()


def _forget(location: str, store: ArtefactStore) -> None:
    try:
        store.delete(location)
    except StoreUnavailable as error:  # the data set is safe; a sweep removes what is left
        log.warning("upload_left location=%s message=%s", location, error.message)


def _answered_before(uow: UnitOfWork, request: IngestRequest) -> str | None:
    """The id this request was answered with before. Raises if the name is somebody else's."""
    if request.request_id:
        earlier = uow.datasets.find_by_request(request.caller, request.request_id)
        if earlier is not None and not earlier.answers(request.dataset_id, request.origin):
            raise RequestIdReused(request.request_id)
        if earlier is not None:
            return earlier.id
    try:
        uow.datasets.get(request.dataset_id)
    except NotFound:
        return None
    raise AlreadyExists(f"datasets/{request.dataset_id}")


def _take_in(
    request: IngestRequest, store: ArtefactStore, clock: Clock, settings: Settings
) -> Dataset:
    received = _receive(open_source(request, store, settings), store, ImageLimits.of(settings))
    described = describe(received.pictures.keys() | received.damaged.keys(), received.manifest)
    checked, refused = _check(described.slices, _Checker(received, store, ImageLimits.of(settings)))
    looks = {picture.sha256: picture.look for picture in received.pictures.values()}
    labelled = [c.item for c in checked]
    items, contradictory = _without_contradictions(labelled, looks)
    unusable = [r.named for r in (*described.rejected, *refused)]
    rejected = [*unusable, *contradictory]
    is_strict = request.on_bad_file is OnBadFile.REFUSE
    if is_strict and unusable:
        raise _not_all_usable(rejected)
    # Before contradictions: equal pictures under two labels may be equal because they are blank.
    _check_visible(labelled, looks)
    if is_strict and contradictory:
        raise _not_all_usable(rejected)
    _check_classes(len(described.slices), items, rejected)
    _check_visible(items, looks)
    left_out = LeftOutByCause(
        unreadable=sum(r.mask_fault is None for r in refused),
        contradictory=len(contradictory),
        masks=tuple(_mask_faults([*described.rejected, *refused])),
        unnamed=(*described.unnamed, *received.outside),
    )
    items.sort(key=lambda item: item.path)
    odd = [MaskFound(path=c.item.path, fault=c.oddity) for c in checked if c.oddity]
    audited = audit_dataset(items, looks, left_out, odd)
    files = FilesLeftOut(named=tuple(rejected[:MAX_REJECTED]), count=len(rejected))
    return _dataset(request, store, clock, audited, files)


def _not_all_usable(rejected: Sequence[RejectedFile]) -> DatasetRefused:
    return _refusal(
        f"{len(rejected)} of its files cannot be used. Mend or remove them, or ask for bad "
        "files to be skipped",
        rejected,
    )


def _refusal(description: str, rejected: Sequence[RejectedFile]) -> DatasetRefused:
    """The error that names some of the files and counts the others."""
    named = tuple(rejected[:MAX_REJECTED])
    return DatasetRefused(description, named, more=len(rejected) - len(named))


def _mask_faults(refused: Iterable[Refused]) -> Iterator[MaskFound]:
    for one in refused:
        if one.mask_fault is not None:
            yield MaskFound(path=one.path, fault=one.mask_fault)


# --- receiving --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A picture that was decoded without complaint and is in the store.

    Sides in pixels; ``darkest`` and ``brightest`` are the grey values, 0..255, of its pixels.
    """

    sha256: str
    size_bytes: int
    width: int
    height: int
    darkest: int
    brightest: int
    look: Look


@dataclass(frozen=True, kw_only=True)
class _Received:
    """A data set's files by path; ``outside`` are those that do not lie where its manifest does."""

    pictures: Mapping[str, _Picture]
    damaged: Mapping[str, str]
    manifest: bytes | None
    outside: tuple[str, ...]


def _receive(files: Iterable[SourceFile], store: ArtefactStore, limits: ImageLimits) -> _Received:
    pictures: dict[str, _Picture] = {}
    damaged: dict[str, str] = {}
    manifests: dict[str, bytes] = {}

    def look_at(file: SourceFile) -> tuple[str, _Picture | bytes | str]:
        data = file.read()
        if is_manifest(file.path):
            return file.path, _whole_manifest(data, limits.max_bytes)
        return file.path, _stored(data, store, limits)

    with ThreadPoolExecutor(_DECODERS) as pool:
        for path, found in _mapped(pool, look_at, (f for f in files if is_of_interest(f.path))):
            if isinstance(found, _Picture):
                pictures[path] = found
            elif isinstance(found, bytes):
                manifests[path] = found
            else:
                damaged[path] = found
    return _without_common_folder(pictures, damaged, manifests)


def _whole_manifest(data: bytes, max_bytes: int) -> bytes:
    if len(data) > max_bytes:
        raise DatasetRefused(f"{MANIFEST} has more than {max_bytes:,} bytes")
    return data


def _stored(data: bytes, store: ArtefactStore, limits: ImageLimits) -> _Picture | str:
    """The picture once it is decoded and stored, or what is wrong with it."""
    try:
        grey = decode_grey(data, limits)
    except ImageRefused as refusal:
        return refusal.message
    return _Picture(
        sha256=write_blob(store, data),
        size_bytes=len(data),
        width=grey.shape[1],
        height=grey.shape[0],
        darkest=int(grey.min()),
        brightest=int(grey.max()),
        look=look_at(data, grey),
    )


def _mapped(
    pool: ThreadPoolExecutor,
    work: Callable[[SourceFile], tuple[str, _Picture | bytes | str]],
    files: Iterator[SourceFile],
) -> Iterator[tuple[str, _Picture | bytes | str]]:
    # In small portions: Executor.map alone would read the whole source into memory first.
    while portion := list(islice(files, 4 * _DECODERS)):
        yield from pool.map(work, portion)


def _without_common_folder(
    pictures: Mapping[str, _Picture],
    damaged: Mapping[str, str],
    manifests: Mapping[str, bytes],
) -> _Received:
    """Paths relative to the data set's own top: the manifest's folder, or below shared folders."""
    if len(manifests) > 1:
        names = ", ".join(sorted(manifests))
        raise DatasetRefused(
            f"There is more than one {MANIFEST}: {names}. Keep one; capitals make no difference."
        )
    everything = [*pictures, *damaged]
    if manifests:
        (path,) = manifests
        top = manifest_top(path)
    else:
        count = strip_common_folder(everything)
        top = "".join(f"{folder}/" for folder in everything[0].split("/")[:count]) if count else ""
    # What lies outside the manifest's folder is no part of the set.
    return _Received(
        pictures={p.removeprefix(top): v for p, v in pictures.items() if p.startswith(top)},
        damaged={p.removeprefix(top): v for p, v in damaged.items() if p.startswith(top)},
        manifest=next(iter(manifests.values()), None),
        outside=tuple(path for path in everything if not path.startswith(top)),
    )


# --- checking ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """A slice that can be used; ``oddity`` is what is to be looked at in its mask."""

    item: DatasetItem
    oddity: MaskFault | None = None


def _check(
    slices: Sequence[Described], checker: "_Checker"
) -> tuple[list[_Checked], list[Refused]]:
    good: list[_Checked] = []
    refused: list[Refused] = []
    with ThreadPoolExecutor(_DECODERS) as pool:
        for checked in pool.map(checker.checked, slices):
            if isinstance(checked, _Checked):
                good.append(checked)
            else:
                refused.append(checked)
    return good, refused


class _Checker:
    """Turns what a slice is said to be into an item, where its files bear that out."""

    def __init__(self, received: _Received, store: ArtefactStore, limits: ImageLimits) -> None:
        self._received = received
        self._store = store
        self._limits = limits

    def checked(self, described: Described) -> _Checked | Refused:
        """The item, or what is wrong with it."""
        picture = self._received.pictures.get(described.path)
        if picture is None:
            return Refused(path=described.path, problem=self._received.damaged[described.path])
        item = DatasetItem(
            path=described.path,
            sha256=picture.sha256,
            size_bytes=picture.size_bytes,
            label=described.label,
            width=picture.width,
            height=picture.height,
            group=described.group,
            split=described.split,
        )
        if described.mask is None:
            return _Checked(item=item)
        mask = self._received.pictures.get(described.mask)
        if mask is None:
            return Refused(
                path=described.path,
                problem=f"its mask {described.mask}: {self._received.damaged[described.mask]}",
                mask_fault=MaskFault.UNREADABLE,
            )
        found = _at_a_glance(mask, picture, described.label) or self._within(mask, picture)
        if isinstance(found, MaskProblem):
            return Refused(
                path=described.path,
                problem=f"its mask {described.mask} {found.words}",
                mask_fault=found.fault,
            )
        return _Checked(item=replace(item, mask_sha256=mask.sha256), oddity=found)

    def _within(self, mask: _Picture, picture: _Picture) -> MaskProblem | MaskFault | None:
        """What is wrong or odd in its pixels. Only masks are decoded again, with their slices."""
        if not mask.brightest:
            return None
        pixels, slice_pixels = self._grey(mask), self._grey(picture)
        return examine_mask(pixels, slice_pixels)

    def _grey(self, picture: _Picture) -> NDArray[np.uint8]:
        return decode_grey(read_blob(self._store, picture.sha256), self._limits)


def _at_a_glance(mask: _Picture, picture: _Picture, label: TumourLabel) -> MaskProblem | None:
    """What is wrong with a mask, which is black but where the tumour is, as a whole."""
    healthy = label is TumourLabel.NO_TUMOR
    if (mask.width, mask.height) != (picture.width, picture.height):
        fault = MaskFault.OTHER_SIZE
        words = (
            f"has {mask.width} x {mask.height} pixels, the picture "
            f"{picture.width} x {picture.height}"
        )
    elif mask.sha256 == picture.sha256:
        fault, words = MaskFault.PICTURE, "is the picture itself"
    elif healthy and mask.brightest:
        fault, words = MaskFault.HEALTHY, f"marks a tumour, but its label is {label}"
    elif not healthy and not mask.brightest:
        fault = MaskFault.BLACK
        words = f"is black all over and marks no tumour, but its label is {label}"
    elif mask.darkest:
        fault, words = MaskFault.NOWHERE_BLACK, "is nowhere black, so it marks the whole picture"
    else:
        return None
    return MaskProblem(fault=fault, words=words)


def _without_contradictions(
    items: list[DatasetItem], looks: Mapping[str, Look]
) -> tuple[list[DatasetItem], list[RejectedFile]]:
    """Leave out pictures that occur under more than one label: one of them must be wrong."""
    labels: dict[str, set[TumourLabel]] = {}
    for item in items:
        labels.setdefault(item.sha256, set()).add(item.label)
    kept = [item for item in items if len(labels[item.sha256]) == 1]
    rejected = [
        RejectedFile(item.path, _contradiction(labels[item.sha256], looks[item.sha256]))
        for item in items
        if len(labels[item.sha256]) > 1
    ]
    return kept, rejected


def _contradiction(labels: set[TumourLabel], look: Look) -> str:
    named = " and ".join(sorted(labels))
    if look.blank:
        return (
            "it is blank: one shade all over, such as black, and labelled "
            f"{named}; check how it was exported"
        )
    return f"the same picture is labelled {named}"


def _check_classes(labelled: int, items: list[DatasetItem], rejected: list[RejectedFile]) -> None:
    """``items`` are those of the labelled pictures that can be used."""
    counts = Counter(item.label for item in items)
    if not labelled:
        raise _refusal(
            "There is no labelled picture in it. Put the pictures in one folder per class "
            f"({', '.join(LABELS)}) or add a {MANIFEST}",
            rejected,
        )
    if not items:
        raise _refusal(
            f"None of its {labelled} labelled pictures can be used. Mend them and send it again",
            rejected,
        )
    if len(counts) == 1:
        raise _refusal(
            f"It has only the class {next(iter(counts))}; at least two are needed", rejected
        )
    for label, count in sorted(counts.items()):
        if count < MIN_PER_CLASS:
            raise _refusal(
                f"The class {label} has {count} picture{'s' if count > 1 else ''}; each class "
                f"needs at least {MIN_PER_CLASS}",
                rejected,
            )


def _check_visible(items: list[DatasetItem], looks: Mapping[str, Look]) -> None:
    """A class of which nothing can be seen would be learned as what is blank."""
    shown = {item.label for item in items if not looks[item.sha256].blank}
    blank = sorted({item.label for item in items} - shown)
    if not blank:
        return
    which = f"All pictures of the class {' and of the class '.join(blank)}"
    raise DatasetRefused(
        f"{which if shown else 'All of its pictures'} are blank: one shade all over, such as "
        "black. Check how they were exported"
    )


# --- the record -------------------------------------------------------------------------------


def _dataset(
    request: IngestRequest,
    store: ArtefactStore,
    clock: Clock,
    audited: Audited,
    left_out: FilesLeftOut,
) -> Dataset:
    items, audit = audited.items, audited.audit
    counts = Counter(item.label for item in items)
    digest = write_items(store, items)
    return Dataset(
        id=request.dataset_id,
        create_time=clock.now(),
        request_id=request.request_id,
        caller=request.caller,
        source=request.origin,
        digest=digest,
        item_count=len(items),
        size_bytes=sum(item.size_bytes for item in items),
        class_counts={label: counts[label] for label in LABELS if counts[label]},
        group_count=len({item.group for item in items if item.group}),
        mask_count=sum(item.has_tumour_mask for item in items),
        has_given_split={item.split for item in items} >= set(Split),
        duplicate_count=audit.exact_duplicate_count,
        rejected=left_out.named,
        rejected_count=left_out.count,
        audit=with_page(request.dataset_id, digest, audited, left_out, store),
    )
