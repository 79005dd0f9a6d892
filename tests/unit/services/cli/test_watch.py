"""Following a job over a stream that may break off."""

import json
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any

import pytest
from braintumor.v1 import models_pb2, training_pb2
from rich.console import Console

from services.cli.output import Output
from services.cli.refusals import Refusal, ServerRefused
from services.cli.rows import row
from services.cli.session import Session
from services.cli.watch import INTERRUPTED, job_rows, watch_job
from services.cli.watch_live import LiveWatcher

NAME = "trainingJobs/j"
GONE = Refusal(status="UNAVAILABLE", message="connection reset")
REFUSED = Refusal(status="NOT_FOUND", message="no such job", reason="TRAINING_JOB_NOT_FOUND")


def update(
    state: str, sequence: int = 0, message: str = "", **job: Any
) -> training_pb2.WatchTrainingJobResponse:
    number = training_pb2.JobState.Value(f"JOB_STATE_{state}")
    answer = training_pb2.WatchTrainingJobResponse(
        training_job=training_pb2.TrainingJob(name=NAME, state=number, **job)
    )
    if sequence:
        answer.event.CopyFrom(
            training_pb2.JobEvent(sequence=sequence, state=number, message=message)
        )
    return answer


class FakeClient:
    """Each stream gives its updates in turn; an exception among them is raised."""

    class training:  # noqa: N801 - stands where the stub does
        WatchTrainingJob = None

    class models:  # noqa: N801
        GetModelVersion = None

    def __init__(
        self, *streams: list[Any], shortcomings: Sequence[str] = (), away: bool = False
    ) -> None:
        self._streams = list(streams)
        self._away = away
        self._shortcomings = shortcomings
        self.after: list[int] = []

    def call(
        self, _method: None, request: models_pb2.GetModelVersionRequest
    ) -> models_pb2.GetModelVersionResponse:
        if self._away:
            raise ServerRefused(GONE)
        version = models_pb2.ModelVersion(name=request.name, shortcomings=self._shortcomings)
        return models_pb2.GetModelVersionResponse(model_version=version)

    def stream(
        self, _method: None, request: training_pb2.WatchTrainingJobRequest
    ) -> Iterator[training_pb2.WatchTrainingJobResponse]:
        self.after.append(request.after_sequence)
        for item in self._streams.pop(0):
            if isinstance(item, BaseException):
                raise item
            yield item


def connected(client: FakeClient, as_json: bool = False) -> Session:
    return Session(client, Output(as_json))  # type: ignore[arg-type]


def states(client: FakeClient, pauses: list[float] | None = None) -> list[str]:
    record = pauses if pauses is not None else []
    return [row["state"] for row in job_rows(connected(client), NAME, sleep=record.append)]


def test_a_broken_stream_is_taken_up_behind_the_last_event() -> None:
    client = FakeClient(
        [update("QUEUED", 1), update("RUNNING", 2), update("RUNNING"), ServerRefused(GONE)],
        [ServerRefused(GONE)],
        [update("RUNNING"), update("SUCCEEDED", 3)],
    )
    pauses: list[float] = []
    assert states(client, pauses) == ["QUEUED", "RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"]
    assert client.after == [0, 2, 2]
    assert pauses == [1.0, 2.0]


def test_a_stream_that_a_draining_server_ends_is_taken_up_too() -> None:
    client = FakeClient([update("RUNNING", 1)], [update("CANCELLED", 2)])
    assert states(client) == ["RUNNING", "CANCELLED"]


def test_a_server_that_never_answered_is_not_waited_for() -> None:
    with pytest.raises(ServerRefused):
        states(FakeClient([ServerRefused(GONE)]))


def test_a_refusal_ends_the_watch() -> None:
    with pytest.raises(ServerRefused):
        states(FakeClient([update("RUNNING", 1), ServerRefused(REFUSED)]))


def test_a_server_that_stays_away_is_given_up() -> None:
    client = FakeClient([update("RUNNING", 1)], *[[ServerRefused(GONE)]] * 99)
    with pytest.raises(ServerRefused):
        states(client)


def test_success_names_the_version_and_the_next_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = FakeClient([update("SUCCEEDED", 1, model_version="modelVersions/m")])
    assert watch_job(connected(client), NAME) == 0
    assert "braintumor models promote m" in capsys.readouterr().err


def test_what_is_not_fit_to_serve_is_not_recommended(capsys: pytest.CaptureFixture[str]) -> None:
    made = [update("SUCCEEDED", 1, model_version="modelVersions/m")]
    client = FakeClient(made, shortcomings=["it found nothing", "it is empty"])
    assert watch_job(connected(client), NAME) == 0
    said = capsys.readouterr().err
    assert "It is not fit to serve: it found nothing; it is empty." in said
    assert "promote" not in said


def test_a_server_that_goes_away_after_the_end_takes_nothing_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = [update("SUCCEEDED", 1, model_version="modelVersions/m")]
    assert watch_job(connected(FakeClient(made, away=True)), NAME) == 0
    assert "made modelVersions/m." in capsys.readouterr().err


def test_a_search_names_the_job_that_follows(capsys: pytest.CaptureFixture[str]) -> None:
    client = FakeClient([update("SUCCEEDED", 1, result_job="trainingJobs/next")])
    assert watch_job(connected(client), NAME) == 0
    said = capsys.readouterr().err
    assert "trainingJobs/next trains by it" in said
    assert "braintumor jobs watch next" in said


def test_an_epoch_says_where_its_time_went(capsys: pytest.CaptureFixture[str]) -> None:
    told = update("RUNNING", 1)
    told.event.epoch.MergeFrom(
        training_pb2.EpochProgress(
            epoch=1, epochs=3, images_per_second=23.45, input_share=0.02, busy_share=0.97
        )
    )
    older = update("RUNNING", 2)
    older.event.epoch.MergeFrom(training_pb2.EpochProgress(epoch=2, epochs=3))
    done = update("SUCCEEDED", 3, model_version="modelVersions/m")
    watch_job(connected(FakeClient([told, older, done])), NAME)
    first, second = (line for line in capsys.readouterr().out.splitlines() if "epoch " in line)
    assert "23.4 images/s, cores 97% busy, waited 2% for pictures" in first
    assert "images/s" not in second


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_a_job_without_a_result_is_a_failure(
    state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = training_pb2.JobError(reason="TRAINING_FAILED", message="no memory is left")
    client = FakeClient([update(state, 1, error=error if state == "FAILED" else None)])
    assert watch_job(connected(client), NAME) == 1
    said = capsys.readouterr().err
    assert state.lower() in said
    assert ("no memory is left" in said) == (state == "FAILED")


@pytest.mark.parametrize("reason", ["TRAINING_FAILED", ""])
def test_a_program_is_told_the_reason_of_a_failure(
    reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = training_pb2.JobError(reason=reason, message="no memory is left") if reason else None
    client = FakeClient([update("FAILED", 1, error=error)])
    assert watch_job(connected(client, as_json=True), NAME) == 1
    told = json.loads(capsys.readouterr().err)["error"]
    assert told["reason"] == (reason or None)


def test_ctrl_c_says_that_the_job_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    client = FakeClient([update("RUNNING", 1), KeyboardInterrupt()])
    assert watch_job(connected(client), NAME) == INTERRUPTED
    assert "goes on" in capsys.readouterr().err


def test_an_epoch_is_one_plain_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with_epoch = update("RUNNING", 1)
    with_epoch.event.epoch.CopyFrom(
        training_pb2.EpochProgress(epoch=2, epochs=5, val_accuracy=0.75)
    )
    with_epoch.event.create_time.FromSeconds(0)
    done = update("SUCCEEDED", 2, message="done", model_version="modelVersions/m")
    done.event.create_time.FromSeconds(1)
    watch_job(connected(FakeClient([with_epoch, update("RUNNING"), done])), NAME)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "epoch 2/5" in lines[0]
    assert "val_accuracy 0.750" in lines[0]
    assert lines[1].endswith("done")


def test_a_segmenters_epochs_are_told_by_their_dice(capsys: pytest.CaptureFixture[str]) -> None:
    spec = training_pb2.TrainingSpec(task=training_pb2.TASK_SEGMENTATION)
    epoch = update("RUNNING", 1, spec=spec)
    epoch.event.epoch.MergeFrom(training_pb2.EpochProgress(accuracy=0.199, val_accuracy=0.25))
    watch_job(connected(FakeClient([epoch, update("CANCELLED", 2, spec=spec)])), NAME)
    said = capsys.readouterr().out
    assert "  dice 0.199  " in said
    assert "  val_dice 0.250  " in said
    assert "accuracy" not in said


@pytest.mark.parametrize(
    ("task", "score"),
    [
        (training_pb2.TASK_SEGMENTATION, "dice"),
        (training_pb2.TASK_CLASSIFICATION, "accuracy"),
    ],
)
def test_a_terminal_shows_epochs_under_the_name_of_their_score(
    task: training_pb2.Task.ValueType, score: str
) -> None:
    told = update("RUNNING", 1, spec=training_pb2.TrainingSpec(task=task))
    told.event.epoch.MergeFrom(training_pb2.EpochProgress(epoch=1, epochs=2, val_accuracy=0.25))
    console = Console(record=True, width=100, file=StringIO())
    with LiveWatcher(console) as watcher:
        watcher.show(row(told.training_job))
        watcher.show(row(told.training_job) | {"event": row(told.event)})
    shown = console.export_text()
    assert f"val {score}" in shown
    assert ("dice" in shown) == (score == "dice")
    assert "0.250" in shown
