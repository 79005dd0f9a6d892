"""One training job or search, from its claim to its end. The truth about it is its SQL row."""

import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Final
from uuid import uuid4

from core.datasets import Dataset
from core.errors import BrainTumorError, NotFound, StoreUnavailable, TrainingCancelled
from core.ports import ArtefactStore, Clock, UnitOfWork, UnitOfWorkFactory
from core.registry import ModelVersion
from core.search import SearchTrial, with_recipe
from core.settings import Settings
from core.training import JobState, TrainingJob
from workers.job_lease import Ending, JobLease
from workers.label_check import check_labels
from workers.model_artefact import GRAPH, store_model
from workers.temporary_files import delete_temporary_files, temporary_files_of_its_own
from workers.training_hooks import (
    Learn,
    LearnedModel,
    Search,
    TrainingHooks,
    Trials,
    job_prefix,
)

log = logging.getLogger(__name__)

_ID_DIGITS: Final = 12
_KILLED_STATUS: Final = 70


def end_process() -> None:
    """End this process at once, whatever its other threads do, and leave no temporary files."""
    delete_temporary_files()
    os._exit(_KILLED_STATUS)


@dataclass(frozen=True, kw_only=True)
class TrainingDeps:
    """What a job needs. ``worker`` is the name that the job is claimed under; ``is_leaving`` says
    whether it was told to stop."""

    uow_factory: UnitOfWorkFactory
    store: ArtefactStore
    clock: Clock
    settings: Settings
    worker: str
    learn: Learn
    search: Search
    kill: Callable[[], None] = end_process
    is_leaving: Callable[[], bool] = lambda: False


def learn_with_tensorflow(store: ArtefactStore, settings: Settings) -> Learn:
    """The real trainer. TensorFlow is imported when it is called, so never before a fork."""

    def learn(job: TrainingJob, dataset: Dataset, hooks: TrainingHooks) -> LearnedModel:
        from workers.learning import learn as learning

        with temporary_files_of_its_own():
            return learning.learn(job, dataset, hooks, store=store, settings=settings)

    return learn


def search_with_tensorflow(store: ArtefactStore, settings: Settings) -> Search:
    """The real search, imported as late as the real trainer."""

    def search(
        job: TrainingJob, dataset: Dataset, hooks: TrainingHooks, trials: Trials
    ) -> SearchTrial:
        from workers.learning import trials as learning

        with temporary_files_of_its_own():
            return learning.search_recipe(
                job, dataset, hooks, trials, store=store, settings=settings
            )

    return search


def run_training_job(job_id: str, deps: TrainingDeps) -> None:
    """Claim a job, train, register the model, write down how it ended. Or search for a recipe.

    Returns quietly if the job is not to be claimed: it has ended, or another worker has it.
    Whatever goes wrong in training ends as the job's own error. Raises ``StoreUnavailable``
    where not even that can be written.
    """
    job = _claim(job_id, deps)
    if job is None:
        log.info("job_not_claimable job=%s", job_id)
        return
    log.info("job_started job=%s attempt=%d", job.id, job.attempt)
    lease = JobLease(
        job,
        worker=deps.worker,
        uow_factory=deps.uow_factory,
        clock=deps.clock,
        heartbeat_seconds=deps.settings.training_heartbeat_seconds,
        kill=deps.kill,
        is_leaving=deps.is_leaving,
    )
    with lease:
        ended = _run(job, lease, deps)
    if ended:
        _clean_up(job, deps.store)
    log.info("job_ended job=%s", job.id)


def _claim(job_id: str, deps: TrainingDeps) -> TrainingJob | None:
    with deps.uow_factory(write=True) as uow:
        now = deps.clock.now()
        job = uow.jobs.claim(job_id, deps.worker, now)
        if job is not None:
            message = f"started by {deps.worker}, attempt {job.attempt}"
            uow.jobs.add_event(job.id, now, job.state, message)
            uow.commit()
        return job


def _run(job: TrainingJob, lease: JobLease, deps: TrainingDeps) -> bool:
    """Whether the job has ended, and by this worker."""
    try:
        dataset = lease.patiently(lambda: _dataset(job, deps.uow_factory))
        work = _search if job.search else _learn
        ending, message = work(job, dataset, lease, deps)
    except TrainingCancelled:
        return lease.give_back()
    except StoreUnavailable as error:
        log.warning("job_without_store job=%s message=%s", job.id, error.message)
        if lease.futile_attempts >= deps.settings.training_max_attempts:
            return _fail(lease, deps.clock, error.reason, error.message)
        return lease.put_back(error.message)
    except BrainTumorError as error:
        log.warning("job_failed job=%s reason=%s message=%s", job.id, error.reason, error.message)
        return _fail(lease, deps.clock, error.reason, error.message)
    except MemoryError:
        log.exception("job_failed job=%s", job.id)
        return _fail(lease, deps.clock, *_OUT_OF_MEMORY)
    except Exception:
        log.exception("job_failed job=%s", job.id)
        return _fail(lease, deps.clock, "INTERNAL", _unforeseen(job))
    return lease.finish(ending, message)


def _learn(
    job: TrainingJob, dataset: Dataset, lease: JobLease, deps: TrainingDeps
) -> tuple[Ending, str]:
    # Tried again from its last checkpoint: a store that hiccups must not cost hours.
    learned = lease.patiently(lambda: deps.learn(job, dataset, lease.hooks))
    lease.hooks.on_progress(1.0, "storing the model")
    version = lease.patiently(lambda: _stored(job, dataset, learned, deps))
    audited = check_labels(job, dataset, learned, lease, deps.store)
    return partial(_register, version, audited, deps.clock), f"made {version.name}"


def _search(
    job: TrainingJob, dataset: Dataset, lease: JobLease, deps: TrainingDeps
) -> tuple[Ending, str]:
    best = lease.patiently(lambda: deps.search(job, dataset, lease.hooks, lease))
    now = deps.clock.now()
    result = TrainingJob(
        id=uuid4().hex,
        create_time=now,
        update_time=now,
        request_id=None,
        caller=job.caller,
        dataset=job.dataset,
        spec=with_recipe(job.spec, best.recipe),
    )
    message = f"trial {best.number} is the best; {result.name} trains by its recipe"
    return partial(_promote, result, deps.clock), message


_OUT_OF_MEMORY: Final = (
    "TRAINING_FAILED",
    "The worker ran out of memory. Lower batch_size or image_size.",
)


def _unforeseen(job: TrainingJob) -> str:
    return f"Training failed unexpectedly. Ask the operator to look for {job.id} in the log."


def _dataset(job: TrainingJob, uow_factory: UnitOfWorkFactory) -> Dataset:
    with uow_factory() as uow:
        return uow.datasets.get(job.dataset)


def _stored(
    job: TrainingJob, dataset: Dataset, learned: LearnedModel, deps: TrainingDeps
) -> ModelVersion:
    """Write the model's files; what the registry will say about them."""
    digest = store_model(deps.store, learned.manifest, learned.files)
    return registered_version(job, dataset, learned, digest, deps.clock.now())


def registered_version(
    job: TrainingJob, dataset: Dataset, learned: LearnedModel, digest: str, at: datetime
) -> ModelVersion:
    """What the registry says about a model whose artefact has this digest."""
    return ModelVersion(
        id=version_id(job, digest),
        create_time=at,
        task=job.spec.task,
        backbone=job.spec.backbone,
        digest=digest,
        dataset=dataset.id,
        dataset_digest=dataset.digest,
        training_job=job.id,
        spec=asdict(job.spec),
        weights_source=learned.manifest.weights_source,
        evaluation=learned.evaluation,
        parameters=learned.parameters,
        size_bytes=len(learned.files[GRAPH]),
        train_seconds=learned.train_seconds,
        latency_ms=learned.latency_ms,
        library_versions=learned.manifest.library_versions,
        flops=learned.flops,
    )


def version_id(job: TrainingJob, digest: str) -> str:
    """Such as ``efficientnet-b0-3fa9c1d20b7e``."""
    return f"{job.spec.backbone.replace('_', '-')}-{digest[:_ID_DIGITS]}"


def _register(
    version: ModelVersion,
    audited: Dataset | None,
    clock: Clock,
    uow: UnitOfWork,
    job: TrainingJob,
) -> TrainingJob:
    try:
        uow.models.get(version.id)  # the same recipe may have given the same bytes before
    except NotFound:
        uow.models.add(version)
    if audited is not None and _tells_more(uow, audited) and not uow.datasets.save_audit(audited):
        log.info("audit_not_kept job=%s dataset=%s: it was deleted", job.id, audited.id)
    return job.moved_to(
        JobState.SUCCEEDED, clock.now(), progress=1.0, stage="done", model_version=version.id
    )


def _tells_more(uow: UnitOfWork, audited: Dataset) -> bool:
    """False if it could not judge labels, and another job did so meanwhile."""
    if audited.audit is None or not audited.audit.labels_unjudged:
        return True
    try:
        audit = uow.datasets.get(audited.id).audit
    except NotFound:
        return True
    return audit is None or audit.label_errors is None


def _promote(result: TrainingJob, clock: Clock, uow: UnitOfWork, job: TrainingJob) -> TrainingJob:
    """The best recipe becomes a job like any other; a sweep in the gateway sends it."""
    uow.jobs.add(result)
    message = f"waiting for a worker; {job.name} found its recipe"
    uow.jobs.add_event(result.id, result.create_time, result.state, message)
    return job.moved_to(
        JobState.SUCCEEDED, clock.now(), progress=1.0, stage="done", result_job=result.id
    )


def _fail(lease: JobLease, clock: Clock, reason: str, message: str) -> bool:
    def ending(_: UnitOfWork, job: TrainingJob) -> TrainingJob:
        return job.moved_to(
            JobState.FAILED, clock.now(), error_reason=reason, error_message=message
        )

    return lease.finish(ending, message)


def _clean_up(job: TrainingJob, store: ArtefactStore) -> None:
    try:
        store.delete(job_prefix(job.id))
    except BrainTumorError as error:  # left-overs take room and harm nothing else
        log.warning("checkpoints_left job=%s message=%s", job.id, error.message)
