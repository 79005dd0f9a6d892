"""A job from its claim to its end, with a trainer that only pretends."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.datasets import Dataset, DatasetAudit
from core.errors import (
    ArtefactCorrupt,
    PretrainedWeightsUnavailable,
    StoreUnavailable,
    TrainingCancelled,
    TrainingFailed,
)
from core.labels import LABELS
from core.registry import ModelVersion, artefact_prefix
from core.search import SearchTrial, TrialState
from core.settings import Settings
from core.training import EpochProgress, JobState, TrainingJob
from tests.fakes.audited import an_audited_dataset, answers_out_of_fold, page_of
from tests.fakes.records import a_dataset, a_job, a_search, a_trial
from tests.fakes.registry import an_evaluation
from tests.fakes.store import FakeArtefactStore, FakeClock, FakeUnitOfWorkFactory
from workers.model_artefact import (
    GRAPH,
    REPORT,
    Calibration,
    ModelManifest,
    load_manifest,
    sha256_hex,
)
from workers.training_hooks import (
    Learn,
    LearnedModel,
    Search,
    TrainingHooks,
    Trials,
    checkpoint_prefix,
)
from workers.training_job import TrainingDeps, run_training_job

FILES = {GRAPH: b"graph", REPORT: b"<html>"}


def a_learned_model(dataset: Dataset) -> LearnedModel:
    manifest = ModelManifest(
        task="classification",
        backbone="efficientnet_b0",
        labels=LABELS,
        preprocessing="p1",
        image_size=224,
        calibration=Calibration(),
        files={name: sha256_hex(data) for name, data in FILES.items()},
        spec={},
        dataset_digest=dataset.digest,
        weights_source="imagenet",
        metrics={},
        library_versions={"tensorflow": "2.21.0"},
    )
    return LearnedModel(
        manifest=manifest,
        files=FILES,
        evaluation=an_evaluation(),
        parameters=4_054_695,
        train_seconds=12.5,
        latency_ms=8.4,
    )


def an_epoch(number: int) -> EpochProgress:
    return EpochProgress(
        epoch=number,
        epochs=2,
        loss=1 / number,
        accuracy=0.5,
        val_loss=1 / number,
        val_accuracy=0.5,
        seconds=1.0,
        seconds_left=2.0 - number,
    )


def learn_well(job: TrainingJob, dataset: Dataset, hooks: TrainingHooks) -> LearnedModel:
    assert job.spec == a_job().spec
    hooks.on_epoch(an_epoch(1))
    hooks.on_progress(0.5, "epoch 2 of 2")
    hooks.on_epoch(an_epoch(2))
    return a_learned_model(dataset)


def learn_badly(error: BaseException) -> Learn:
    def learn(job: TrainingJob, dataset: Dataset, hooks: TrainingHooks) -> LearnedModel:
        raise error

    return learn


def learn_until_stopped(
    seen: Callable[[], None],
) -> Learn:
    def learn(job: TrainingJob, dataset: Dataset, hooks: TrainingHooks) -> LearnedModel:
        seen()
        while not hooks.should_stop():
            time.sleep(0.001)
        raise TrainingCancelled()

    return learn


def no_search(
    job: TrainingJob, dataset: Dataset, hooks: TrainingHooks, trials: Trials
) -> SearchTrial:
    pytest.fail("nothing is to be searched")


class Stack:
    """A job that waits, its data set, and the stores."""

    def __init__(self, folder: Path) -> None:
        self.uows = FakeUnitOfWorkFactory()
        self.store = FakeArtefactStore()
        self.clock = FakeClock()
        self.settings = Settings.from_environment(
            {}, data_dir=folder, training_heartbeat_seconds=0.001
        )
        self.store.put(f"{checkpoint_prefix('job1')}/state.json", b"{}")
        with self.uows(write=True) as uow:
            uow.datasets.add(a_dataset())
            uow.jobs.add(a_job())
            uow.commit()

    def deps(self, learn: Learn, **changes: Any) -> TrainingDeps:
        values: dict[str, Any] = {
            "uow_factory": self.uows,
            "store": self.store,
            "clock": self.clock,
            "settings": self.settings,
            "worker": "w1",
            "learn": learn,
            "search": no_search,
            "kill": lambda: pytest.fail("the process would have been ended"),
        }
        return TrainingDeps(**(values | changes))

    def run(self, learn: Learn, **changes: Any) -> None:
        run_training_job("job1", self.deps(learn, **changes))

    @property
    def job(self) -> TrainingJob:
        with self.uows() as uow:
            return uow.jobs.get("job1")

    @property
    def messages(self) -> list[str]:
        with self.uows() as uow:
            return [event.message for event in uow.jobs.events("job1")]

    @property
    def versions(self) -> list[ModelVersion]:
        return list(self.uows.state.versions.values())

    def search(self, search: Search) -> None:
        """Make the job a search, and run it."""
        self.uows.state.jobs["job1"] = self.job.evolve(search=a_search())
        run_training_job(
            "job1", self.deps(learn_badly(AssertionError("must not train")), search=search)
        )

    def take_away(self) -> None:
        with self.uows(write=True) as uow:
            job = uow.jobs.get("job1").moved_to(JobState.QUEUED, self.clock.now())
            uow.jobs.save(job, expected=JobState.RUNNING)
            uow.commit()

    @property
    def dataset(self) -> Dataset:
        return self.uows.state.datasets["brains"]

    @property
    def audit(self) -> DatasetAudit:
        assert self.dataset.audit is not None
        return self.dataset.audit

    def cross_validate(self, *doubted: str, before_end: Callable[[], None] | None = None) -> None:
        """Run the job on an audited data set; its models doubt some labels, by path."""
        self.uows.state.datasets["brains"] = an_audited_dataset(self.store)

        def learn(job: TrainingJob, dataset: Dataset, hooks: TrainingHooks) -> LearnedModel:
            answers = answers_out_of_fold(dataset, self.store, doubted)
            if before_end:
                before_end()
            return replace(a_learned_model(dataset), out_of_fold=answers)

        self.run(learn)

    def delete_dataset(self) -> None:
        with self.uows(write=True) as uow:
            uow.datasets.delete("brains")
            uow.commit()

    @property
    def others(self) -> list[TrainingJob]:
        return [job for job in self.uows.state.jobs.values() if job.id != "job1"]

    def cancel(self) -> None:
        with self.uows(write=True) as uow:
            job = uow.jobs.get("job1")
            uow.jobs.save(
                job.moved_to(JobState.CANCELLING, self.clock.now()), expected=JobState.RUNNING
            )
            uow.commit()

    @property
    def checkpoints(self) -> tuple[str, ...]:
        return self.store.list("jobs/job1")


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


def test_a_trained_model_is_stored_and_registered(stack: Stack) -> None:
    stack.run(learn_well)

    (version,) = stack.versions
    assert version.id == f"efficientnet-b0-{version.digest[:12]}"
    assert load_manifest(stack.store, version.digest).weights_source == "imagenet"
    assert stack.store.get(f"{version.artefact_prefix}/{GRAPH}") == b"graph"
    assert version.dataset == "brains"
    assert version.dataset_digest == "d" * 64
    assert version.training_job == "job1"
    assert version.spec["epochs"] == 3
    assert version.evaluation == an_evaluation()
    assert (version.parameters, version.size_bytes) == (4_054_695, len(b"graph"))
    assert (version.train_seconds, version.latency_ms) == (12.5, 8.4)
    assert version.library_versions == {"tensorflow": "2.21.0"}


def test_the_job_tells_its_story(stack: Stack) -> None:
    stack.run(learn_well)

    (version,) = stack.versions
    assert (stack.job.state, stack.job.model_version) == (JobState.SUCCEEDED, version.id)
    assert (stack.job.progress, stack.job.attempt, stack.job.worker) == (1.0, 1, "w1")
    assert stack.job.end_time == stack.clock.now()
    assert stack.messages == [
        "started by w1, attempt 1",
        "epoch 1 of 2",
        "epoch 2 of 2",
        f"made modelVersions/{version.id}",
    ]
    with stack.uows() as uow:
        epochs = [event.epoch for event in uow.jobs.events("job1") if event.epoch]
    # The lease estimates what is left of the job by its own clock.
    assert [replace(e, seconds_left=0.0) for e in epochs] == [
        replace(an_epoch(number), seconds_left=0.0) for number in (1, 2)
    ]


def test_checkpoints_go_with_the_job(stack: Stack) -> None:
    assert stack.checkpoints

    stack.run(learn_well)

    assert not stack.checkpoints


@pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.SUCCEEDED, JobState.RUNNING])
def test_a_job_that_is_not_waiting_is_left_alone(stack: Stack, state: JobState) -> None:
    job = stack.job.evolve(state=state)
    stack.uows.state.jobs["job1"] = job

    stack.run(learn_badly(AssertionError("must not train")))

    assert stack.job == job
    assert stack.checkpoints


def test_an_unknown_job_is_left_alone(stack: Stack) -> None:
    run_training_job("nothing", stack.deps(learn_badly(AssertionError("must not train"))))


@pytest.mark.parametrize(
    "error",
    [
        TrainingFailed("The loss is no longer a number. Lower learning_rate."),
        PretrainedWeightsUnavailable("No connection. Use weights=none."),
    ],
)
def test_a_failure_is_the_jobs_own_error(stack: Stack, error: TrainingFailed) -> None:
    stack.run(learn_badly(error))

    assert stack.job.state is JobState.FAILED
    assert (stack.job.error_reason, stack.job.error_message) == (error.reason, error.message)
    assert stack.messages[-1] == error.message
    assert not stack.versions
    assert not stack.checkpoints


def test_an_unforeseen_error_stays_in_the_log(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack.run(learn_badly(KeyError("a secret path")))

    assert (stack.job.state, stack.job.error_reason) == (JobState.FAILED, "INTERNAL")
    assert stack.job.error_message is not None
    assert "secret" not in stack.job.error_message
    assert "job1" in stack.job.error_message
    assert "a secret path" in caplog.text


def test_too_little_memory_says_what_to_do(stack: Stack) -> None:
    stack.run(learn_badly(MemoryError()))

    assert stack.job.error_message is not None
    assert "batch_size" in stack.job.error_message


def test_a_data_set_that_is_gone_fails_the_job(stack: Stack) -> None:
    stack.uows.state.datasets.clear()

    stack.run(learn_well)

    assert (stack.job.state, stack.job.error_reason) == (JobState.FAILED, "DATASET_NOT_FOUND")


def break_store(stack: Stack, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The store refuses that many writes, each of them at once."""
    real, refused = stack.store.put, iter(range(times))

    def put(key: str, data: bytes) -> None:
        if next(refused, None) is not None:
            raise StoreUnavailable("artefact store")
        real(key, data)

    monkeypatch.setattr(stack.store, "put", put)


def test_a_store_that_hiccups_at_the_end_costs_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_store(stack, monkeypatch, times=3)

    stack.run(learn_well)

    assert stack.job.state is JobState.SUCCEEDED
    assert stack.messages.count("epoch 2 of 2") == 1


def test_a_store_that_hiccups_while_it_is_read_costs_nothing(stack: Stack) -> None:
    tries: list[None] = []

    def learn(job: TrainingJob, dataset: Dataset, hooks: TrainingHooks) -> LearnedModel:
        tries.append(None)
        if len(tries) < 3:
            raise StoreUnavailable("artefact store")
        return a_learned_model(dataset)

    stack.run(learn)

    assert stack.job.state is JobState.SUCCEEDED


def test_a_store_that_stays_away_leaves_the_job_to_a_later_attempt(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.job_lease.STORE_PATIENCE_SECONDS", 0.0)
    break_store(stack, monkeypatch, times=1_000_000)

    stack.run(learn_well)

    job = stack.job
    assert (job.state, job.worker, job.enqueue_time) == (JobState.QUEUED, None, None)
    assert "artefact store cannot be used" in stack.messages[-1]
    assert stack.checkpoints
    assert not stack.versions


def test_a_store_that_stays_away_too_often_fails_the_job(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.job_lease.STORE_PATIENCE_SECONDS", 0.0)
    break_store(stack, monkeypatch, times=1_000_000)
    last = stack.settings.training_max_attempts
    stack.uows.state.jobs["job1"] = stack.job.evolve(futile_attempts=last - 1)

    stack.run(learn_well)

    assert (stack.job.state, stack.job.error_reason) == (JobState.FAILED, "STORE_UNAVAILABLE")
    assert not stack.versions


def test_an_attempt_that_got_further_is_not_the_last(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.job_lease.STORE_PATIENCE_SECONDS", 0.0)
    break_store(stack, monkeypatch, times=1_000_000)
    last = stack.settings.training_max_attempts
    stack.uows.state.jobs["job1"] = stack.job.evolve(futile_attempts=last - 1)

    def learn(job: TrainingJob, dataset: Dataset, hooks: TrainingHooks) -> LearnedModel:
        hooks.on_saved()
        return learn_well(job, dataset, hooks)

    stack.run(learn)

    assert (stack.job.state, stack.job.futile_attempts) == (JobState.QUEUED, 0)
    assert not stack.versions


def test_a_cancel_stops_the_trainer(stack: Stack) -> None:
    stack.run(learn_until_stopped(stack.cancel))

    assert stack.job.state is JobState.CANCELLED
    assert not stack.versions
    assert not stack.checkpoints


def test_a_cancel_during_the_last_moments_wins(stack: Stack) -> None:
    def learn(job: TrainingJob, dataset: Dataset, hooks: TrainingHooks) -> LearnedModel:
        stack.cancel()
        return a_learned_model(dataset)

    stack.run(learn)

    assert stack.job.state is JobState.CANCELLED
    assert not stack.versions


def test_a_stuck_trainer_is_ended(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.job_lease.CANCEL_GRACE_SECONDS", 0.0)
    killed = threading.Event()

    def never_ends(job: TrainingJob, dataset: Dataset, hooks: TrainingHooks) -> LearnedModel:
        stack.cancel()
        assert killed.wait(60)
        return a_learned_model(dataset)

    stack.run(never_ends, kill=killed.set)

    assert stack.job.state is JobState.CANCELLED
    assert stack.messages[-1] == "cancelled; the worker was ended"
    assert not stack.versions


def test_a_lost_job_keeps_its_checkpoints_for_the_next_worker(stack: Stack) -> None:
    stack.run(learn_until_stopped(stack.take_away))

    assert stack.job.state is JobState.QUEUED
    assert stack.checkpoints


def test_a_database_that_goes_away_for_a_while_kills_nothing(stack: Stack) -> None:
    def learn(job: TrainingJob, dataset: Dataset, hooks: TrainingHooks) -> LearnedModel:
        stack.uows.error = StoreUnavailable()
        hooks.on_epoch(an_epoch(1))
        threading.Timer(0.05, lambda: setattr(stack.uows, "error", None)).start()
        return a_learned_model(dataset)

    stack.run(learn)

    assert stack.job.state is JobState.SUCCEEDED
    assert "epoch 1 of 2" in stack.messages


def test_the_same_bytes_again_are_the_same_version(stack: Stack) -> None:
    stack.run(learn_well)
    with stack.uows(write=True) as uow:
        uow.jobs.add(a_job("job2"))
        uow.commit()

    run_training_job("job2", stack.deps(learn_well))

    (version,) = stack.versions
    assert version.training_job == "job1"
    with stack.uows() as uow:
        again = uow.jobs.get("job2")
    assert (again.state, again.model_version) == (JobState.SUCCEEDED, version.id)


def test_left_over_checkpoints_do_not_fail_a_job(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(prefix: str) -> None:
        raise StoreUnavailable("artefact store")

    monkeypatch.setattr(stack.store, "delete", away)

    stack.run(learn_well)

    assert stack.job.state is JobState.SUCCEEDED
    assert "checkpoints_left job=job1" in caplog.text


def test_files_are_stored_under_their_digest(stack: Stack) -> None:
    stack.run(learn_well)

    (version,) = stack.versions
    names = {key.rsplit("/", 1)[-1] for key in stack.store.list(artefact_prefix(version.digest))}
    assert names == {GRAPH, REPORT, "manifest.json"}


# --- likely label errors ----------------------------------------------------------------------


def test_a_cross_validation_completes_the_audit(stack: Stack) -> None:
    stack.cross_validate("004.png", "007.png")

    errors = stack.audit.label_errors
    assert errors is not None
    assert {suspect.path for suspect in errors.suspects} == {"004.png", "007.png"}
    assert "004.png<br>labelled" in page_of(stack.dataset, stack.audit, stack.store)
    assert stack.dataset == replace(an_audited_dataset(stack.store), audit=stack.audit)
    assert stack.job.state is JobState.SUCCEEDED
    assert stack.messages[1:] == [
        "2 slices are likely mislabelled; see the audit of datasets/brains",
        f"made modelVersions/{stack.versions[0].id}",
    ]


def test_labels_that_nothing_speaks_against_are_told_too(stack: Stack) -> None:
    stack.cross_validate()

    assert stack.audit.label_errors is not None
    assert "no slice is likely mislabelled" in stack.messages


def test_models_that_know_too_little_do_not_check_labels(stack: Stack) -> None:
    stack.cross_validate(*(f"{number:03}.png" for number in range(0, 40, 3)))

    assert stack.audit.label_errors is None
    why = "models were right about 65.0% of the slices that they had not seen, and it takes 75.0%"
    assert why in stack.messages[1]
    assert stack.messages[1].startswith("labels were not checked")
    assert stack.job.state is JobState.SUCCEEDED
    (told,) = (text for text in stack.audit.warnings if "Likely label errors" in text)
    assert f"which could not tell: {why}" in told
    assert f"could not tell: {why}" in page_of(stack.dataset, stack.audit, stack.store)


def test_without_cross_validation_the_audit_stays(stack: Stack) -> None:
    before = stack.dataset

    stack.run(learn_well)

    assert stack.dataset == before


def test_a_data_set_from_before_audits_stays_without(stack: Stack) -> None:
    old = replace(an_audited_dataset(stack.store), audit=None)
    answers = answers_out_of_fold(old, stack.store, ("004.png",))
    stack.uows.state.datasets["brains"] = old

    def learn(job: TrainingJob, dataset: Dataset, hooks: TrainingHooks) -> LearnedModel:
        return replace(a_learned_model(dataset), out_of_fold=answers)

    stack.run(learn)

    assert stack.dataset == old
    assert stack.job.state is JobState.SUCCEEDED


def test_a_data_set_that_was_deleted_meanwhile_costs_nothing(stack: Stack) -> None:
    stack.cross_validate("004.png", before_end=stack.delete_dataset)

    assert stack.job.state is JobState.SUCCEEDED
    assert stack.versions
    assert not stack.uows.state.datasets


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ImportError("a secret path"), "Ask the operator to look for job1 in the log."),
        (MemoryError(), "Ask the operator to look for job1 in the log."),
        (ArtefactCorrupt("datasets/d/items.jsonl"), "datasets/d/items.jsonl"),
    ],
    ids=["no cleanlab", "memory", "items"],
)
def test_an_audit_that_fails_is_told_and_the_model_kept(
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    told: str,
) -> None:
    def fails(*_: object) -> DatasetAudit:
        raise error

    monkeypatch.setattr("workers.label_check.audit_labels", fails)

    stack.cross_validate("004.png")

    assert stack.job.state is JobState.SUCCEEDED
    assert stack.versions
    assert stack.audit.label_errors is None
    (message,) = [text for text in stack.messages if "without likely label errors" in text]
    assert told in message
    assert "secret" not in message
    assert "labels_not_checked job=job1" in caplog.text


def test_a_store_that_hiccups_while_the_page_is_written_costs_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.cross_validate("004.png", before_end=lambda: break_store(stack, monkeypatch, times=3))

    assert stack.audit.label_errors is not None


def test_a_job_that_is_cancelled_records_nothing(stack: Stack) -> None:
    stack.cross_validate("004.png", before_end=stack.cancel)

    assert stack.job.state is JobState.CANCELLED
    assert stack.audit.label_errors is None


# --- searches ---------------------------------------------------------------------------------


def search_well(
    job: TrainingJob, dataset: Dataset, hooks: TrainingHooks, trials: Trials
) -> SearchTrial:
    number = len(trials.tried()) + 1
    for trial in (a_trial(number), a_trial(number + 1, state=TrialState.PRUNED)):
        trials.record(trial)
    return trials.tried()[0]


def test_the_best_recipe_becomes_a_job_of_its_own(stack: Stack) -> None:
    stack.search(search_well)

    (result,) = stack.others
    assert (stack.job.state, stack.job.result_job) == (JobState.SUCCEEDED, result.id)
    assert (stack.job.model_version, stack.job.progress) == (None, 1.0)
    assert (result.state, result.search, result.enqueue_time) == (JobState.QUEUED, None, None)
    assert (result.caller, result.dataset) == (stack.job.caller, stack.job.dataset)
    assert result.spec.optimizer == "sgd"
    assert result.spec.augmentation is False
    assert (result.spec.epochs, result.spec.seed) == (stack.job.spec.epochs, stack.job.spec.seed)
    assert stack.messages[-1] == f"trial 1 is the best; {result.name} trains by its recipe"
    with stack.uows() as uow:
        (event,) = uow.jobs.events(result.id)
        assert [trial.number for trial in uow.jobs.trials("job1")] == [1, 2]
    assert event.message == "waiting for a worker; trainingJobs/job1 found its recipe"
    assert not stack.checkpoints
    assert not stack.versions


def test_a_search_that_fails_makes_no_job(stack: Stack) -> None:
    def search(
        job: TrainingJob, dataset: Dataset, hooks: TrainingHooks, trials: Trials
    ) -> SearchTrial:
        raise TrainingFailed("No trial was completed.")

    stack.search(search)

    assert (stack.job.state, stack.job.error_message) == (
        JobState.FAILED,
        "No trial was completed.",
    )
    assert not stack.others


def test_a_cancel_in_the_last_moments_of_a_search_makes_no_job(stack: Stack) -> None:
    def search(
        job: TrainingJob, dataset: Dataset, hooks: TrainingHooks, trials: Trials
    ) -> SearchTrial:
        stack.cancel()
        return search_well(job, dataset, hooks, trials)

    stack.search(search)

    assert stack.job.state is JobState.CANCELLED
    assert not stack.others


def test_a_worker_that_lost_its_search_keeps_no_trial(stack: Stack) -> None:
    def search(
        job: TrainingJob, dataset: Dataset, hooks: TrainingHooks, trials: Trials
    ) -> SearchTrial:
        trials.record(a_trial(1))
        stack.take_away()
        trials.record(a_trial(2))
        pytest.fail("it would have gone on")

    stack.search(search)

    assert stack.job.state is JobState.QUEUED
    assert not stack.others
    assert stack.checkpoints
    with stack.uows() as uow:
        assert [trial.number for trial in uow.jobs.trials("job1")] == [1]


def test_a_trial_waits_for_a_database_that_is_away(stack: Stack) -> None:
    def search(
        job: TrainingJob, dataset: Dataset, hooks: TrainingHooks, trials: Trials
    ) -> SearchTrial:
        stack.uows.error = StoreUnavailable()
        threading.Timer(0.05, lambda: setattr(stack.uows, "error", None)).start()
        trials.record(a_trial(1))
        return trials.tried()[0]

    stack.search(search)

    assert stack.job.state is JobState.SUCCEEDED
