"""Likely label errors, told by a training job in passing: never at the cost of its model."""

import logging
from dataclasses import replace

from core.datasets import Dataset, LabelErrors
from core.errors import BrainTumorError
from core.ports import ArtefactStore
from core.training import TrainingJob
from workers.curation.label_audit import audit_labels, audit_unjudged
from workers.curation.label_errors import OutOfFold, accuracy, can_judge, needed_to_judge
from workers.job_lease import JobLease
from workers.training_hooks import LearnedModel

log = logging.getLogger(__name__)


def check_labels(
    job: TrainingJob, dataset: Dataset, learned: LearnedModel, lease: JobLease, store: ArtefactStore
) -> Dataset | None:
    """The data set with its likely label errors in its audit, whose page is stored already.

    Where the models know too little to contradict anybody, the audit says that instead. None if
    there is nothing to record: there was no cross-validation, the data set is from before there
    were audits, or something went wrong, of which the job's history tells.
    """
    audit, answers = dataset.audit, learned.out_of_fold
    if audit is None or answers is None:
        return None
    lease.hooks.on_progress(1.0, "looking for wrong labels")
    try:
        if not can_judge(answers):
            why = _too_weak(answers)
            lease.hooks.on_message(f"labels were not checked: in the cross-validation {why}")
            unjudged = lease.patiently(lambda: audit_unjudged(dataset, audit, why, store))
            return replace(dataset, audit=unjudged)
        found = lease.patiently(lambda: audit_labels(dataset, audit, answers, store))
    except Exception as error:  # hours of training are not to be lost for it
        log.exception("labels_not_checked job=%s dataset=%s", job.id, dataset.id)
        lease.hooks.on_message(_untold(job, dataset, error))
        return None
    if found.label_errors is not None:
        lease.hooks.on_message(_told(dataset, found.label_errors))
    return replace(dataset, audit=found)


def _told(dataset: Dataset, errors: LabelErrors) -> str:
    if not errors.count:
        return "no slice is likely mislabelled"
    slices = "1 slice is" if errors.count == 1 else f"{errors.count:,} slices are"
    return f"{slices} likely mislabelled; see the audit of {dataset.name}"


def _too_weak(answers: OutOfFold) -> str:
    right, commonest = accuracy(answers)
    return (
        f"models were right about {right:.1%} of the slices that they had not seen, and it takes "
        f"{needed_to_judge(commonest):.1%} to contradict a label (always naming the commonest "
        f"class gives {commonest:.1%})"
    )


def _untold(job: TrainingJob, dataset: Dataset, error: Exception) -> str:
    why = f"Ask the operator to look for {job.id} in the log."
    if isinstance(error, BrainTumorError):
        why = error.message
    return (
        f"the audit of {dataset.name} was left as it was, without likely label errors from this "
        f"job; the model is not affected. {why}"
    )
