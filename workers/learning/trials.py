"""A search on a data set: what its trials learn from, and how each is trained."""

from collections.abc import Sequence
from dataclasses import replace

import keras

from core.datasets import Dataset
from core.errors import NotSupported
from core.ports import ArtefactStore
from core.search import Choice, Range, SearchSpec, SearchTrial
from core.settings import Settings
from core.training import EpochProgress, Task, TrainingJob, TrainingSpec
from workers.curation.blobs import read_items
from workers.imaging.decode import ImageLimits
from workers.learning.ancestor import lineage_of
from workers.learning.checkpoints import Checkpoints
from workers.learning.fitting import fit, fit_segmenter
from workers.learning.input_pipeline import Slices
from workers.learning.learn import split_plans
from workers.learning.learn_segmenter import outlined_plan
from workers.learning.reading import READ_UNTIL, read_slices
from workers.learning.runtime import configure_runtime
from workers.learning.search import run_search
from workers.training_hooks import TrainingHooks, Trials


def search_recipe(
    job: TrainingJob,
    dataset: Dataset,
    hooks: TrainingHooks,
    trials: Trials,
    *,
    store: ArtefactStore,
    settings: Settings,
) -> SearchTrial:
    """Try recipes on the split that a job by the best of them will use; the best trial.

    That job's test slices are not even read. Raises ``TrainingCancelled``, ``TrainingFailed``,
    ``ArtefactCorrupt``, ``NotSupported``.
    """
    if job.search is None:
        raise NotSupported("This job is no search.")
    configure_runtime(settings.training_threads)
    found = read_items(store, dataset.digest)
    lineage = lineage_of(job.spec, store)
    if job.spec.task is Task.SEGMENTATION:
        plan = outlined_plan(found, job.spec, hooks, lineage)
    else:
        plan, _ = split_plans(found, job.spec, lineage)
    items = [*plan.train, *plan.validation]
    needed = replace(
        job.spec,
        guidance=most(job.spec, job.search, "guidance"),
        counterfactuals=most(job.spec, job.search, "counterfactuals"),
        augmentation=bool(most(job.spec, job.search, "augmentation")),
    )
    data = read_slices(items, needed, hooks, store, ImageLimits.of(settings))
    fitter = StoredFitter(
        data.slices(plan.train),
        data.slices(plan.validation),
        job_id=job.id,
        store=store,
        settings=settings,
    )
    return run_search(
        job,
        job.search,
        hooks.within(READ_UNTIL, 1.0),
        trials,
        fitter,
        max_attempts=settings.training_max_attempts,
    )


def most(spec: TrainingSpec, search: SearchSpec, name: str) -> float:
    """The largest that a trial may have: slices are read once, with masks if one wants them."""
    match search.space.get(name):
        case Range(high=high):
            return float(high)
        case Choice(values=values):
            return max(float(value) for value in values)
    return float(getattr(spec, name))


class StoredFitter:
    """:class:`workers.learning.search.TrialFitter` with checkpoints of each trial's own."""

    def __init__(
        self,
        train: Slices,
        validation: Slices,
        *,
        job_id: str,
        store: ArtefactStore,
        settings: Settings,
    ) -> None:
        self._train = train
        self._validation = validation
        self._job_id = job_id
        self._store = store
        self._settings = settings

    def history(self, number: int, spec: TrainingSpec) -> Sequence[EpochProgress]:
        checkpoint = self._checkpoints(number, spec).load()
        return () if checkpoint is None else checkpoint.state.history

    def begin(self, number: int, spec: TrainingSpec) -> bool:
        return self._checkpoints(number, spec).mark_begun()

    def fit(self, number: int, spec: TrainingSpec, hooks: TrainingHooks) -> None:
        keras.backend.clear_session()
        fit_one = fit_segmenter if spec.task is Task.SEGMENTATION else fit
        fit_one(
            spec,
            self._train,
            self._validation,
            checkpoints=self._checkpoints(number, spec),
            settings=self._settings,
            hooks=hooks,
        )

    def forget(self, number: int, spec: TrainingSpec) -> None:
        self._checkpoints(number, spec).forget()

    def _checkpoints(self, number: int, spec: TrainingSpec) -> Checkpoints:
        """Named by the recipe too: whatever suggests another one must not go on from these."""
        return Checkpoints(self._store, self._job_id, f"trial-{number}-{spec.digest[:12]}")
