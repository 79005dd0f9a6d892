"""A data set in a store, with its audit and its page, and answers to its slices out of fold."""

from collections.abc import Collection

import numpy as np

from core.datasets import Dataset, DatasetAudit, audit_page_key
from core.labels import LABELS, TumourLabel
from core.ports import ArtefactStore
from tests.fakes.records import a_dataset, an_audit, an_item
from tests.fakes.slices import a_head, png
from workers.curation.audit import Audited
from workers.curation.audit_report import FilesLeftOut, with_page
from workers.curation.blobs import read_items, write_blob, write_items
from workers.curation.label_errors import OutOfFold

GLIOMA, PITUITARY = TumourLabel.GLIOMA, TumourLabel.PITUITARY


def an_audited_dataset(store: ArtefactStore, count: int = 40) -> Dataset:
    """Glioma and pituitary in turn, ``000.png`` and so on; audited, not cross-validated yet."""
    items = []
    for number in range(count):
        sha256 = write_blob(store, png(a_head(number, 48)))
        label = (GLIOMA, PITUITARY)[number % 2]
        items.append(an_item(f"{number:03}.png", sha256=sha256, label=label, component=sha256))
    digest = write_items(store, items)
    audit = an_audit(
        label_errors=None,
        warnings=("old",),
        near_duplicate_examples=(),
        contradictory_examples=(),
    )
    nothing = FilesLeftOut(named=(), count=0)
    page = with_page("brains", digest, Audited(items=tuple(items), audit=audit), nothing, store)
    return a_dataset(digest=digest, audit=page)


def answers_out_of_fold(
    dataset: Dataset, store: ArtefactStore, doubted: Collection[str] = ()
) -> OutOfFold:
    """A model that agrees with every label but those of the doubted paths."""
    items = read_items(store, dataset.digest)
    probabilities = np.full((len(items), len(LABELS)), 0.02)
    for row, item in zip(probabilities, items, strict=True):
        other = PITUITARY if item.label is GLIOMA else GLIOMA
        row[LABELS.index(other if item.path in doubted else item.label)] = 0.94
    return OutOfFold(items=items, probabilities=probabilities)


def page_of(dataset: Dataset, audit: DatasetAudit, store: ArtefactStore) -> str:
    return store.get(audit_page_key(dataset.digest, audit.page_sha256)).decode()
