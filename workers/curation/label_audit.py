"""The part of a data set's audit that comes after a cross-validation: likely label errors."""

from dataclasses import replace

from core.datasets import Dataset, DatasetAudit
from core.ports import ArtefactStore
from workers.curation.audit import Audited
from workers.curation.audit_report import FilesLeftOut, with_page
from workers.curation.audit_warnings import with_warnings
from workers.curation.blobs import read_items
from workers.curation.label_errors import OutOfFold, label_errors


def audit_labels(
    dataset: Dataset, audit: DatasetAudit, answers: OutOfFold, store: ArtefactStore
) -> DatasetAudit:
    """The data set's audit with its likely label errors, instead of any told before.

    Its page is stored, its warnings are told anew. Raises ``ValueError`` for answers that are no
    probabilities, ``ArtefactCorrupt``, ``StoreUnavailable``.
    """
    told = replace(audit, label_errors=label_errors(answers), labels_unjudged="")
    return _told_anew(dataset, told, store)


def audit_unjudged(
    dataset: Dataset, audit: DatasetAudit, why: str, store: ArtefactStore
) -> DatasetAudit:
    """The data set's audit with the reason why a cross-validation could not judge its labels.

    What an earlier one told stays. Its page is stored, its warnings are told anew. Raises
    ``ArtefactCorrupt``, ``StoreUnavailable``.
    """
    if audit.label_errors is not None:
        return audit
    return _told_anew(dataset, replace(audit, labels_unjudged=why), store)


def _told_anew(dataset: Dataset, audit: DatasetAudit, store: ArtefactStore) -> DatasetAudit:
    items = read_items(store, dataset.digest)
    audited = Audited(items=items, audit=with_warnings(audit, items))
    left_out = FilesLeftOut(named=dataset.rejected, count=dataset.rejected_count)
    return with_page(dataset.id, dataset.digest, audited, left_out, store)
