"""What the gateway pushes by itself is what Celery and Kombu would have pushed."""

import json
from typing import Any

import pytest
import redis
from celery import Celery

from core.settings import Settings
from core.task_names import INFER_BATCH, INFERENCE_QUEUE, INGEST_DATASET, TASK_ROUTES
from services.adapters.broker import make_producer
from services.adapters.celery_message import NO_REPR, celery_message
from tests.conftest import Valkey

PAYLOAD = {"id": "a", "reply_to": "b", "name": "Größe\0", "bytes": bytes(range(256))}


@pytest.fixture
def producer(valkey: Valkey) -> Celery:
    return make_producer(Settings.from_environment({}, broker_url=valkey.url))


def by_celery(producer: Celery, valkey: Valkey, task: str) -> dict[str, Any]:
    producer.send_task(
        task,
        args=[PAYLOAD],
        task_id="a",
        argsrepr=NO_REPR,
        kwargsrepr=NO_REPR,
        ignore_result=True,
    )
    with redis.Redis.from_url(valkey.url) as broker:
        return read(broker.lpop(TASK_ROUTES[task]["queue"]))


def read(message: Any) -> dict[str, Any]:
    """Without what is another one each time, and what nobody reads from there."""
    content: dict[str, Any] = json.loads(message)
    assert len(content["properties"].pop("delivery_tag")) == 36
    for name in ("argsrepr", "kwargsrepr"):
        content["properties"].pop(name, None)
    return content


@pytest.mark.parametrize("task", [INFER_BATCH, INGEST_DATASET])
def test_it_is_what_celery_sends(producer: Celery, valkey: Valkey, task: str) -> None:
    ours = read(celery_message(producer, task, PAYLOAD, "a", TASK_ROUTES[task]["queue"]))
    theirs = by_celery(producer, valkey, task)
    assert ours == theirs
    assert list(ours) == list(theirs), "a message is taken back by what stands behind its body"


def test_kombu_reads_it(producer: Celery, valkey: Valkey) -> None:
    message = celery_message(producer, INFER_BATCH, PAYLOAD, "a", INFERENCE_QUEUE)
    with redis.Redis.from_url(valkey.url) as broker:
        broker.lpush(INFERENCE_QUEUE, message)
    with producer.connection() as connection:
        queue = connection.SimpleQueue(INFERENCE_QUEUE, accept=["msgpack"])
        received = queue.get(timeout=10)
        received.ack()
        args, _kwargs, _embedded = received.decode()
    assert args == [PAYLOAD]
    assert received.headers["task"] == INFER_BATCH


def test_no_two_have_the_same_tag(producer: Celery) -> None:
    """The worker's book of what it has fetched goes by these."""
    messages = [celery_message(producer, INFER_BATCH, PAYLOAD, "a", "q") for _ in range(100)]
    tags = {json.loads(message)["properties"]["delivery_tag"] for message in messages}
    assert len(tags) == len(messages)
