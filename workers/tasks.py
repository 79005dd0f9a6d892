"""The Celery tasks. Each is three lines over a plain function: parse, call, report."""

from typing import Any

from core.messages import InferenceBatch, IngestRequest
from core.task_names import INFER_BATCH, INGEST_DATASET, RUN_TRAINING_JOB
from workers.celery_app import app
from workers.context import context
from workers.training_job import run_training_job


# Acknowledged late, since nobody needs to wait for it; a redelivery finds the pictures taken.
@app.task(name=INFER_BATCH, acks_late=True)
def infer_batch(slip: dict[str, Any]) -> None:
    worker = context()
    run = lambda batch: worker.batch_runner.run(InferenceBatch.from_wire(batch))  # noqa: E731
    worker.replies.answer_parcel(slip, run)


@app.task(name=INGEST_DATASET)
def ingest_dataset(payload: dict[str, Any]) -> None:
    request, worker = IngestRequest.from_wire(payload), context()
    worker.replies.answer(request.id, request.reply_to, lambda: [worker.ingest(request)])


# Acknowledged late, so that the message outlives its worker; a redelivery finds the job claimed.
@app.task(name=RUN_TRAINING_JOB, acks_late=True)
def train(job_id: str) -> None:
    run_training_job(job_id, context().training)
