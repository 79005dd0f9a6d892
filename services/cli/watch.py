"""Following a training job until it ends."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

from braintumor.v1 import models_pb2, training_pb2

from core.training import Task
from services.cli.client import ATTEMPTS
from services.cli.jobs import task_of
from services.cli.output import Output, Row, short, when
from services.cli.refusals import ServerRefused
from services.cli.rows import row
from services.cli.session import ALL_ANSWERED, SOME_REFUSED, Session

INTERRUPTED: Final = 130
"""What a shell reports for a command that Ctrl-C ended."""

_LONGEST_PAUSE: Final = 8.0
_FINISHED: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


class Watcher(Protocol):
    """Shows a job as it goes on. A row is the job, with ``event`` if something happened."""

    def show(self, row: Row) -> None: ...


def watch_job(connected: Session, name: str) -> int:
    """Show the job of that full name until it ends; the exit status.

    Ctrl-C ends the watching, not the job. Raises ``ServerRefused``.
    """
    last: Row = {}
    try:
        with _watcher(connected.out) as watcher:
            for last in job_rows(connected, name):
                watcher.show(last)
    except KeyboardInterrupt:
        job_id = short(name)
        connected.out.problem(
            f"{name} goes on. Follow it with: braintumor jobs watch {job_id}; "
            f"end it with: braintumor jobs cancel {job_id}"
        )
        return INTERRUPTED
    return _ended(connected, last)


def job_rows(
    connected: Session, name: str, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Row]:
    """The job at each change, until it has ended. Raises ``ServerRefused``.

    A stream that breaks off, because the server was restarted say, is taken up where it was.
    """
    client = connected.client
    state, seen, breaks = "", 0, 0
    while state not in _FINISHED:
        request = training_pb2.WatchTrainingJobRequest(name=name, after_sequence=seen)
        try:
            for update in client.stream(client.training.WatchTrainingJob, request):
                fields = _watch_row(update)
                state, seen, breaks = fields["state"], max(seen, update.event.sequence), 0
                yield fields
        except ServerRefused as error:
            if not state or not error.refusal.retryable or breaks >= ATTEMPTS:
                raise
        if state not in _FINISHED:
            breaks += 1
            sleep(min(2.0**breaks / 2, _LONGEST_PAUSE))


def share_right(task: Task) -> str:
    """What the field ``accuracy`` of an epoch holds, which of a segmenter is another share."""
    return "dice" if task is Task.SEGMENTATION else "accuracy"


def _watch_row(update: training_pb2.WatchTrainingJobResponse) -> Row:
    fields = row(update.training_job)
    return fields | {"event": row(update.event)} if update.HasField("event") else fields


def _ended(connected: Session, job: Row) -> int:
    out = connected.out
    if job["state"] == "SUCCEEDED" and job["result_job"]:
        out.note(
            f"{job['name']} found a recipe, and {job['result_job']} trains by it. "
            f"Follow that with: braintumor jobs watch {short(job['result_job'])}"
        )
        return ALL_ANSWERED
    if job["state"] == "SUCCEEDED":
        out.note(f"{job['name']} made {job['model_version']}.")
        if not out.as_json:
            out.note(_what_next(connected, job))
        return ALL_ANSWERED
    error = job["error"]
    why = f": {error['reason']}: {error['message']}" if error else "."
    reason = error["reason"] if error else None
    out.problem(f"{job['name']} {job['state'].lower()}{why}", reason=reason)
    return SOME_REFUSED


def _what_next(connected: Session, job: Row) -> str:
    version = short(job["model_version"])
    if why := _shortcomings(connected, job["model_version"]):
        return (
            f"It is not fit to serve: {'; '.join(why)}. Look at its report: braintumor models "
            f"report {version} --output report.html"
        )
    return f"Serve it with: braintumor models promote {version}"


def _shortcomings(connected: Session, version: str) -> Sequence[str]:
    client, request = connected.client, models_pb2.GetModelVersionRequest(name=version)
    try:
        return client.call(client.models.GetModelVersion, request).model_version.shortcomings
    except ServerRefused:  # the job has ended well, whatever became of the server since
        return ()


def _watcher(out: Output) -> AbstractContextManager[Watcher]:
    if out.as_json:
        return nullcontext(_JsonWatcher(out))
    if out.lively:
        from services.cli.watch_live import LiveWatcher

        return LiveWatcher(out.error_console())
    return nullcontext(_PlainWatcher(out))


class _JsonWatcher:
    """One object for each event; mere progress is left out."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def show(self, row: Row) -> None:
        if "event" in row:
            self._out.row(row)


class _PlainWatcher:
    """One line for each event."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def show(self, row: Row) -> None:
        if "event" in row:
            event = row["event"]
            self._out.line(f"{when(event)[11:]}  {event['state']:<10}  {_said(row)}")


def _said(row: Row) -> str:
    event, score = row["event"], share_right(task_of(row))
    epoch: dict[str, Any] | None = event["epoch"]
    if epoch is None:
        return event["message"] or ""
    return (
        f"epoch {epoch['epoch']}/{epoch['epochs']}  "
        f"loss {epoch['loss']:.4f}  {score} {epoch['accuracy']:.3f}  "
        f"val_loss {epoch['val_loss']:.4f}  val_{score} {epoch['val_accuracy']:.3f}  "
        f"{epoch['duration_seconds'] or 0:.1f} s, {epoch['remaining_seconds'] or 0:.0f} s left"
        f"{_pace(epoch)}"
    )


def _pace(epoch: dict[str, Any]) -> str:
    """Nothing where the server does not tell it."""
    if epoch.get("images_per_second") is None:
        return ""
    return (
        f"  ({epoch['images_per_second']:.1f} images/s, cores {epoch['busy_share'] or 0:.0%} busy, "
        f"waited {epoch['input_share'] or 0:.0%} for pictures)"
    )
