"""The queue of training jobs tells which messages wait, in memory and over a real Valkey."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from core.errors import BrokerUnavailable
from core.ports import JobQueue
from core.settings import Settings
from core.task_names import TRAINING_QUEUE
from services.adapters.broker import CeleryJobQueue
from tests.conftest import Valkey
from tests.fakes.workers import FakeJobQueue


@dataclass(frozen=True, kw_only=True)
class Broker:
    """A queue, and what happens to it from elsewhere."""

    queue: JobQueue
    take_one: Callable[[], object]
    forget: Callable[[], object]


@pytest.fixture(params=["fake", "valkey"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "fake":
        fake = FakeJobQueue()
        yield Broker(queue=fake, take_one=fake.take_one, forget=fake.forget)
        return
    valkey: Valkey = request.getfixturevalue("valkey")
    queue = CeleryJobQueue(settings(valkey.url))
    with redis.Redis.from_url(valkey.url) as client:
        yield Broker(
            queue=queue,
            take_one=lambda: client.rpop(TRAINING_QUEUE),  # as Kombu does
            forget=client.flushall,
        )
    queue.close()


def settings(broker_url: str) -> Settings:
    return Settings.from_environment({}, data_dir=Path("/nowhere"), broker_url=broker_url)


def test_what_was_sent_waits_until_it_is_taken(broker: Broker) -> None:
    assert broker.queue.waiting() == frozenset()
    for job in ("first", "second", "second"):
        broker.queue.enqueue(job)
    assert broker.queue.waiting() == {"first", "second"}
    broker.take_one()
    assert broker.queue.waiting() == {"second"}
    broker.take_one()
    assert broker.queue.waiting() == {"second"}
    broker.take_one()
    assert broker.queue.waiting() == frozenset()


def test_a_broker_that_forgets_has_nothing_waiting(broker: Broker) -> None:
    broker.queue.enqueue("job")
    broker.forget()
    assert broker.queue.waiting() == frozenset()


def test_a_broker_that_is_away_cannot_tell() -> None:
    fake = FakeJobQueue()
    fake.away = True
    away = CeleryJobQueue(settings("redis://127.0.0.1:1/0"))
    for queue in (fake, away):
        with pytest.raises(BrokerUnavailable):
            queue.waiting()
    away.close()


def test_a_message_that_nobody_here_sent_is_passed_over(valkey: Valkey) -> None:
    queue = CeleryJobQueue(settings(valkey.url))
    queue.enqueue("job")
    with redis.Redis.from_url(valkey.url) as client:
        client.lpush(TRAINING_QUEUE, b"\xff", b"[]", b"{}", b'{"headers": []}')
    assert queue.waiting() == {"job"}
    queue.close()
