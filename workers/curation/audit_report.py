"""A data set's audit as one HTML page that needs nothing beside it."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from core.datasets import DatasetAudit, DatasetItem, LabelSuspect, SimilarPair
from core.errors import RejectedFile
from core.labels import LABELS, TumourLabel
from core.ports import ArtefactStore
from workers.curation.audit import Audited
from workers.curation.blobs import read_blob, write_audit_page
from workers.imaging.decode import ImageLimits, decode_grey

THUMBNAIL_SIDE: Final = 160
"""Pixels of the longer side of a picture in the page."""

_ACCEPTED: Final = ImageLimits(max_bytes=1 << 40, max_pixels=1 << 40)
"""Every picture here was within the limits when it was taken in."""


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A picture in the page; ``source`` is a data URI."""

    path: str
    label: TumourLabel
    source: str


@dataclass(frozen=True, kw_only=True)
class _ShownPair:
    first: _Shown
    second: _Shown
    similarity: float


@dataclass(frozen=True, kw_only=True)
class _ShownSuspect:
    slice: _Shown
    suggested: TumourLabel
    probability: float


@dataclass(frozen=True, kw_only=True)
class FilesLeftOut:
    """Files that were left out: the first of them by name, and how many there are."""

    named: tuple[RejectedFile, ...]
    count: int


def with_page(
    dataset_id: str,
    digest: str,
    audited: Audited,
    left_out: FilesLeftOut,
    store: ArtefactStore,
) -> DatasetAudit:
    """The audit, once its page is stored. An earlier page stays: it may be being read."""
    page = render_audit(dataset_id, digest, audited, left_out, store)
    return replace(audited.audit, page_sha256=write_audit_page(store, digest, page))


def render_audit(
    dataset_id: str,
    digest: str,
    audited: Audited,
    left_out: FilesLeftOut,
    store: ArtefactStore,
) -> bytes:
    """The page, UTF-8. Names from outside are escaped; example pictures come from the store."""
    gallery = _Gallery(audited.items, store)
    items, audit = audited.items, audited.audit
    text = (
        _environment()
        .get_template("audit.html.j2")
        .render(
            name=f"datasets/{dataset_id}",
            digest=digest,
            audit=audit,
            item_count=len(items),
            mask_count=sum(item.has_tumour_mask for item in items),
            class_counts={n: c for n in LABELS if (c := sum(i.label is n for i in items))},
            rejected=left_out.named,
            rejected_count=left_out.count,
            contradictory=[gallery.pair(pair) for pair in audit.contradictory_examples],
            alike=[gallery.pair(pair) for pair in audit.near_duplicate_examples],
            suspects=[gallery.suspect(s) for s in audit.label_errors.suspects]
            if audit.label_errors
            else [],
        )
    )
    return text.encode()


class _Gallery:
    """Pictures of the data set by path, small."""

    def __init__(self, items: Sequence[DatasetItem], store: ArtefactStore) -> None:
        self._items: Mapping[str, DatasetItem] = {item.path: item for item in items}
        self._store = store

    def pair(self, pair: SimilarPair) -> _ShownPair:
        return _ShownPair(
            first=self.shown(pair.first),
            second=self.shown(pair.second),
            similarity=pair.similarity,
        )

    def suspect(self, suspect: LabelSuspect) -> _ShownSuspect:
        return _ShownSuspect(
            slice=self.shown(suspect.path),
            suggested=suspect.suggested,
            probability=suspect.probability,
        )

    def shown(self, path: str) -> _Shown:
        item = self._items[path]
        grey = decode_grey(read_blob(self._store, item.sha256), _ACCEPTED)
        picture = Image.fromarray(grey)
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        png = io.BytesIO()
        picture.save(png, "PNG", optimize=True)
        encoded = base64.b64encode(png.getvalue()).decode()
        return _Shown(path=path, label=item.label, source=f"data:image/png;base64,{encoded}")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("workers.curation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    environment.filters["grouped"] = lambda number: f"{number:,}"
    return environment
