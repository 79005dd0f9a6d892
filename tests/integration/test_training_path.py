"""Training jobs over a real Valkey, by real worker processes that really train."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from PIL import Image

from core.datasets import OnBadFile
from core.labels import LABELS, TumourLabel
from core.messages import IngestRequest, IngestSource
from core.registry import ModelVersion, SegmentationEvaluation
from core.search import Choice, SearchSpec, TrialState, best_trial
from core.settings import MIB, Settings
from core.training import (
    Backbone,
    EpochProgress,
    JobEvent,
    JobState,
    Optimizer,
    Task,
    TrainingJob,
    TrainingSpec,
)
from db.artefacts import FsspecArtefactStore
from db.engine import create_store_engine
from db.unit_of_work import SqlUnitOfWorkFactory
from services.adapters.broker import CeleryJobQueue
from services.bootstrap import SystemClock
from services.cli.synthetic import write_dataset
from services.drain import Drain
from services.sweeper import Sweeper
from services.usecases.staging import Staging
from services.usecases.training import TrainingUseCases
from tests.conftest import wait_for
from tests.fakes.registry import classifying
from tests.integration.conftest import Worker, Workers
from workers.curation.ingest import ingest
from workers.job_lease import LEFT
from workers.model_artefact import GRAPH, HELD_OUT_OUTLINES, load_file, load_manifest

pytestmark = pytest.mark.slow

# The network whose graphs are built fastest; with SGD its checkpoints are smallest.
SPEC = TrainingSpec(
    backbone=Backbone.VGG19,
    weights="none",
    epochs=2,
    batch_size=8,
    image_size=32,
    optimizer=Optimizer.SGD,
    augmentation=False,
)
ENDLESS = replace(SPEC, epochs=500)
PER_CLASS = 5
JOB_SECONDS = 200.0
"""Far more than a job takes on a machine that has nothing else to do."""


class Gateway:
    """What the gateway does for training: data sets, jobs and their history, and the sweep."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = create_store_engine(settings.database_url)
        self._clock = SystemClock()
        self.uows = SqlUnitOfWorkFactory(self._engine)
        self.artefacts = FsspecArtefactStore(settings.artefact_url)
        self.queue = CeleryJobQueue(settings)
        self.sweeper = Sweeper(
            uow_factory=self.uows,
            queue=self.queue,
            artefacts=self.artefacts,
            staging=Staging(artefacts=self.artefacts, clock=self._clock),
            clock=self._clock,
            every_seconds=1,
            stale_seconds=1,
            max_attempts=3,
            temporary_folder=settings.data_dir,
        )
        self.jobs = TrainingUseCases(
            uow_factory=self.uows,
            queue=self.queue,
            artefacts=self.artefacts,
            clock=self._clock,
            drain=Drain(),
        )

    def close(self) -> None:
        self.queue.close()
        self._engine.dispose()

    def add_dataset(self, name: str, per_class: int, *, twins: bool = False) -> None:
        """Synthetic slices; each of them twice if they are to be ``twins``."""
        folder = self._settings.data_dir / name
        pictures = write_dataset(folder, per_class=per_class, size=40)
        if twins:
            for picture in pictures:
                shutil.copy(picture, picture.with_stem(f"{picture.stem}-again"))
        self._take_in(name, folder)

    def add_masked_dataset(self, name: str, per_class: int) -> None:
        """Synthetic slices, those with a tumour with a mask that marks some place in the head."""
        folder = self._settings.data_dir / name
        rows = ["path,label,mask"]
        for number, picture in enumerate(write_dataset(folder, per_class=per_class, size=40)):
            label, mask = picture.parent.name, ""
            if label != TumourLabel.NO_TUMOR:
                mask = f"masks/{number}.png"
                place = Image.new("L", (40, 40))
                place.paste(255, (14 + number % 5, 14, 22 + number % 5, 22))
                (folder / "masks").mkdir(exist_ok=True)
                place.save(folder / mask)
            rows.append(f"{picture.relative_to(folder)},{label},{mask}")
        (folder / "manifest.csv").write_text("\n".join(rows))
        self._take_in(name, folder)

    def _take_in(self, name: str, folder: Path) -> None:
        request = IngestRequest(
            id=uuid4().hex,
            reply_to="",
            dataset_id=name,
            source=IngestSource.URI,
            location=folder.as_uri(),
            origin=folder.as_uri(),
            on_bad_file=OnBadFile.REFUSE,
            request_id=None,
            caller="ann",
        )
        ingest(
            request,
            store=self.artefacts,
            uow_factory=self.uows,
            clock=self._clock,
            settings=self._settings,
        )

    def submit(
        self, spec: TrainingSpec, dataset: str = "brains", search: SearchSpec | None = None
    ) -> str:
        return self.jobs.create(dataset, spec, caller="ann", search=search).id

    def wait_until(self, job_id: str, state: JobState) -> TrainingJob:
        """The job once it is in that state; fails at once if it ends in another."""

        def reached() -> bool:
            job = self.jobs.get(job_id)
            assert job.state is state or not job.state.finished, self.messages(job_id)
            return job.state is state

        wait_for(reached, f"the job is not {state}", JOB_SECONDS)
        return self.jobs.get(job_id)

    def wait_for_an_epoch(self, job_id: str) -> None:
        wait_for(lambda: self.epochs(job_id), "no epoch was done", JOB_SECONDS)

    def events(self, job_id: str) -> tuple[JobEvent, ...]:
        with self.uows() as uow:
            return uow.jobs.events(job_id)

    def messages(self, job_id: str) -> list[str]:
        return [event.message for event in self.events(job_id)]

    def starts(self, job_id: str) -> int:
        return sum(message.startswith("started by") for message in self.messages(job_id))

    def epochs(self, job_id: str) -> list[EpochProgress]:
        return [event.epoch for event in self.events(job_id) if event.epoch]

    def version(self, version_id: str | None) -> ModelVersion:
        assert version_id is not None
        with self.uows() as uow:
            return uow.models.get(version_id)

    def sweep_until_requeued(self, job_id: str) -> None:
        def requeued() -> bool:
            self.sweeper.sweep()
            return self.jobs.get(job_id).state is JobState.QUEUED

        wait_for(requeued, "nobody noticed that the worker was lost")

    def sweep_until_sent(self, job_id: str) -> None:
        def sent() -> bool:
            self.sweeper.sweep()
            return self.jobs.get(job_id).enqueue_time is not None

        wait_for(sent, "nobody sent the job")


@pytest.fixture
def visibility_seconds() -> float:
    return 3600


@pytest.fixture
def settings(
    settings: Settings, visibility_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    # TensorFlow has malloc give memory back at once; getting it anew takes half of an export.
    monkeypatch.setenv("MALLOC_TOP_PAD_", str(512 * MIB))
    yield replace(
        settings,
        import_roots=str(settings.data_dir),
        training_heartbeat_seconds=0.2,
        training_visibility_seconds=visibility_seconds,
    )
    # pytest keeps the folders of several runs, and a trained model is large.
    shutil.rmtree(settings.data_dir / "artefacts", ignore_errors=True)


@pytest.fixture
def gateway(settings: Settings) -> Iterator[Gateway]:
    gateway = Gateway(settings)
    gateway.add_dataset("brains", PER_CLASS)
    gateway.add_dataset("twins", 2, twins=True)
    yield gateway
    gateway.close()


def children(worker: Worker) -> list[int]:
    return [child.pid for child in psutil.Process(worker.process.pid).children(recursive=True)]


def has_refused(worker: Worker, job_id: str) -> bool:
    return f"job_not_claimable job={job_id}" in worker.log.read_text()


def test_a_job_becomes_a_registered_model_version(gateway: Gateway, workers: Workers) -> None:
    workers.start("training")
    job = gateway.wait_until(gateway.submit(SPEC), JobState.SUCCEEDED)

    version = gateway.version(job.model_version)
    assert (version.training_job, version.dataset) == (job.id, "brains")
    assert (version.backbone, version.weights_source) == (Backbone.VGG19, "none")
    evaluation = classifying(version.evaluation)
    sizes = (evaluation.train_size, evaluation.validation_size, evaluation.test_size)
    assert sum(sizes) == len(LABELS) * PER_CLASS
    assert 0 <= evaluation.accuracy <= 1
    manifest = load_manifest(gateway.artefacts, version.digest)
    assert len(load_file(gateway.artefacts, version.digest, manifest, GRAPH)) == version.size_bytes

    assert (job.progress, job.attempt) == (1.0, 1)
    assert [(e.epoch, e.epochs) for e in gateway.epochs(job.id)] == [(1, 2), (2, 2)]
    assert all(e.loss > 0 and e.val_loss > 0 for e in gateway.epochs(job.id))
    assert gateway.messages(job.id)[2].startswith("precision ")
    assert gateway.messages(job.id)[3:] == [
        "starting from weights: none",
        "epoch 1 of 2",
        "epoch 2 of 2",
        f"made {version.name}",
    ]


def test_masks_teach_a_segmenter_and_guide_a_classifier(gateway: Gateway, workers: Workers) -> None:
    gateway.add_masked_dataset("masked", 6)
    workers.start("training")
    once = replace(SPEC, epochs=1)
    segmenting = replace(once, task=Task.SEGMENTATION, first_image_size=0)
    outlines = gateway.submit(segmenting, "masked")
    answers = gateway.submit(replace(once, guidance=1.0), "masked")

    segmenter = gateway.version(gateway.wait_until(outlines, JobState.SUCCEEDED).model_version)
    assert segmenter.task is Task.SEGMENTATION
    assert isinstance(segmenter.evaluation, SegmentationEvaluation)
    assert segmenter.evaluation.test_size > 0
    manifest = load_manifest(gateway.artefacts, segmenter.digest)
    assert HELD_OUT_OUTLINES in manifest.files

    guided = gateway.version(gateway.wait_until(answers, JobState.SUCCEEDED).model_version)
    assert guided.spec["guidance"] == 1.0
    plain_loss = 1.5  # ln 4, and a little
    assert gateway.epochs(answers)[0].loss > plain_loss, "guidance is part of the loss"


def test_a_cancelled_job_ends_with_its_process_and_the_worker_takes_the_next(
    gateway: Gateway, workers: Workers
) -> None:
    worker = workers.start("training")
    cancelled = gateway.submit(ENDLESS)
    following = gateway.submit(SPEC, "twins")
    gateway.wait_for_an_epoch(cancelled)
    (child,) = children(worker)

    gateway.jobs.cancel(cancelled, caller="ann")

    gateway.wait_until(cancelled, JobState.CANCELLED)
    wait_for(lambda: not psutil.pid_exists(child), "its process goes on")
    assert not gateway.artefacts.list("jobs"), "checkpoints are left"
    gateway.wait_until(following, JobState.FAILED)


def test_after_a_worker_is_killed_another_goes_on_behind_the_last_checkpoint(
    gateway: Gateway, workers: Workers
) -> None:
    doomed = workers.start("training")
    job_id = gateway.submit(replace(SPEC, epochs=3))
    gateway.wait_for_an_epoch(job_id)
    doomed.kill()
    gateway.sweep_until_requeued(job_id)
    workers.start("training")

    job = gateway.wait_until(job_id, JobState.SUCCEEDED)

    assert job.attempt == gateway.starts(job_id) == 2
    assert job.futile_attempts == 0
    assert gateway.version(job.model_version).training_job == job_id
    resumed = re.search(r"going on behind epoch (\d)", "\n".join(gateway.messages(job_id)))
    assert resumed
    done = int(resumed[1])
    epochs = [progress.epoch for progress in gateway.epochs(job_id)]
    assert epochs == sorted(set(epochs)), "an epoch was trained twice"
    assert [epoch for epoch in epochs if epoch > done] == list(range(done + 1, 4))


def test_a_worker_that_is_told_to_stop_puts_its_job_back(
    gateway: Gateway, workers: Workers
) -> None:
    worker = workers.start("training")
    job_id = gateway.submit(ENDLESS)
    gateway.wait_for_an_epoch(job_id)
    worker.process.terminate()
    job = gateway.wait_until(job_id, JobState.QUEUED)
    assert gateway.messages(job_id)[-1].startswith(LEFT)
    assert (job.worker, job.futile_attempts) == (None, 0)
    worker.process.wait(timeout=30)
    assert gateway.artefacts.list("jobs"), "the checkpoint is gone"


def test_a_job_that_is_sent_twice_runs_once(gateway: Gateway, workers: Workers) -> None:
    job_id = gateway.submit(SPEC, "twins")
    gateway.queue.enqueue(job_id)
    worker = workers.start("training")

    job = gateway.wait_until(job_id, JobState.FAILED)
    wait_for(lambda: has_refused(worker, job_id), "the second message was not taken up")

    assert (job.attempt, gateway.starts(job_id)) == (1, 1)
    assert gateway.jobs.get(job_id) == job


def test_a_data_set_that_is_too_small_fails_the_job_and_says_what_is_missing(
    gateway: Gateway, workers: Workers
) -> None:
    workers.start("training")
    job = gateway.wait_until(gateway.submit(SPEC, "twins"), JobState.FAILED)

    assert job.error_reason == "TRAINING_FAILED"
    assert job.error_message is not None
    assert "too small to split" in job.error_message
    assert "glioma has 2" in job.error_message
    assert gateway.messages(job.id)[-1] == job.error_message


@pytest.mark.parametrize("visibility_seconds", [1.0])
def test_a_message_that_the_broker_gives_out_again_does_not_run_its_job_twice(
    gateway: Gateway, workers: Workers
) -> None:
    workers.start("training")
    job_id = gateway.submit(ENDLESS)
    gateway.wait_for_an_epoch(job_id)  # by now the message is visible again

    other = workers.start("training")

    wait_for(lambda: has_refused(other, job_id), "the message did not come again", 60)
    job = gateway.jobs.get(job_id)
    assert (job.state, job.attempt, gateway.starts(job_id)) == (JobState.RUNNING, 1, 1)
    gateway.jobs.cancel(job_id, caller="ann")
    gateway.wait_until(job_id, JobState.CANCELLED)


@pytest.mark.timeout(2 * JOB_SECONDS + 60)  # two jobs, one after the other
def test_a_search_keeps_its_trials_and_the_job_by_its_best_recipe_makes_a_model(
    gateway: Gateway, workers: Workers
) -> None:
    workers.start("training")
    search = SearchSpec(trials=2, space={"dropout": Choice(values=(0.1, 0.4))})
    job = gateway.wait_until(
        gateway.submit(replace(SPEC, epochs=1), search=search), JobState.SUCCEEDED
    )

    trials = gateway.jobs.trials(job)
    assert [(t.number, t.state, len(t.scores)) for t in trials] == [
        (1, TrialState.COMPLETE, 1),
        (2, TrialState.COMPLETE, 1),
    ]
    assert sorted(t.recipe["dropout"] for t in trials) == [0.1, 0.4]
    assert (job.attempt, job.model_version) == (1, None)
    assert not gateway.artefacts.list("jobs"), "checkpoints are left"

    best = best_trial(trials)
    assert best is not None
    assert job.result_job is not None
    gateway.sweep_until_sent(job.result_job)
    result = gateway.wait_until(job.result_job, JobState.SUCCEEDED)
    assert result.spec == replace(SPEC, epochs=1, dropout=best.recipe["dropout"])
    assert (result.search, result.dataset) == (None, "brains")
    version = gateway.version(result.model_version)
    assert (version.training_job, version.spec["dropout"]) == (result.id, result.spec.dropout)
