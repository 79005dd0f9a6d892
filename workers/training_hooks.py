"""The contract between a training job and whatever trains: what is passed in, what comes out.

No TensorFlow here: the job itself, and its tests, do without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from core.datasets import Dataset
from core.registry import AnyEvaluation
from core.search import SearchTrial
from core.training import EpochProgress, TrainingJob
from workers.curation.label_errors import OutOfFold
from workers.model_artefact import ModelManifest


@dataclass(frozen=True, kw_only=True)
class TrainingHooks:
    """What a trainer tells its job, and asks it; from any thread.

    ``on_progress`` takes a share of 0..1 and a stage in words; ``on_message`` a line for the
    job's history; ``should_stop`` is asked after each batch and each decoded slice; ``on_saved``
    hears that the next attempt would go on from further than this one did.
    """

    on_epoch: Callable[[EpochProgress], None]
    on_progress: Callable[[float, str], None]
    on_message: Callable[[str], None]
    should_stop: Callable[[], bool]
    on_saved: Callable[[], None] = lambda: None

    def within(self, low: float, high: float) -> "TrainingHooks":
        """Hooks whose progress of 0..1 is a part of these hooks' progress."""

        def on_progress(share: float, stage: str) -> None:
            self.on_progress(low + share * (high - low), stage)

        return replace(self, on_progress=on_progress)


@dataclass(frozen=True, kw_only=True)
class LearnedModel:
    """A trained, checked model that is not stored yet.

    ``latency_ms`` and ``flops`` (multiply-accumulates, 0 if not counted) are for one slice.
    ``out_of_fold`` has an answer to each slice of the data set if there was a cross-validation.
    """

    manifest: ModelManifest
    files: Mapping[str, bytes]
    evaluation: AnyEvaluation
    parameters: int
    train_seconds: float
    latency_ms: float
    flops: int = 0
    out_of_fold: OutOfFold | None = None


class Learn(Protocol):
    """Trains a model by a job's recipe on a data set.

    Raises ``TrainingCancelled``, ``TrainingFailed`` or another error of the taxonomy.
    """

    def __call__(
        self, job: TrainingJob, dataset: Dataset, hooks: TrainingHooks
    ) -> LearnedModel: ...


class Trials(Protocol):
    """What a search has tried, kept with its job."""

    @property
    def futile_attempts(self) -> int:
        """How many attempts at the job in a row, this one among them, have got no further."""
        ...

    def tried(self) -> tuple[SearchTrial, ...]:
        """In order, those of earlier attempts among them."""
        ...

    def record(self, trial: SearchTrial) -> None:
        """Raises ``TrainingCancelled`` if the job is no longer this worker's."""
        ...


class Search(Protocol):
    """Looks for a better recipe on a data set; the best trial.

    Raises ``TrainingCancelled``, ``TrainingFailed`` or another error of the taxonomy.
    """

    def __call__(
        self, job: TrainingJob, dataset: Dataset, hooks: TrainingHooks, trials: Trials
    ) -> SearchTrial: ...


def job_prefix(job_id: str) -> str:
    """Where a job's own files are in the artefact store; nothing there outlives the job."""
    return f"jobs/{job_id}"


def checkpoint_prefix(job_id: str) -> str:
    return f"{job_prefix(job_id)}/checkpoint"
