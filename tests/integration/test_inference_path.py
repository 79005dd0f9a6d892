"""Gateway adapters, a real Valkey and a real worker process."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
import redis
from PIL import Image

from core.errors import (
    BrokerUnavailable,
    ImageRefused,
    InternalError,
    NoWorker,
    Overloaded,
    Unavailable,
    WorkerLost,
)
from core.labels import TumourLabel
from core.prediction import Decision, Prediction
from core.settings import Settings
from core.task_names import INFERENCE_QUEUE, begun_key, parcel_key
from db.artefacts import FsspecArtefactStore
from services.adapters import broker as broker_adapter
from services.adapters.broker import WorkChannel
from services.adapters.predictor import LARGE_BYTES, MicroBatchingPredictor
from services.adapters.preloading import RedisModelPreloader
from tests.conftest import Valkey
from tests.fakes.graphs import store_brightness_model
from tests.integration.conftest import Workers


def png(value: int, side: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def slow_png() -> bytes:
    """Noise of 60 megapixels: keeps a worker busy long enough to be killed on the way."""
    noise = np.random.default_rng(0).integers(0, 4, (7700, 7700), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


class Client:
    """A predictor over a real channel, for the brightness model."""

    def __init__(self, settings: Settings, *, pickup: float = 30.0) -> None:
        self.channel = WorkChannel(settings)
        self.predictor = MicroBatchingPredictor(
            self.channel, max_batch_size=4, max_batches=3, pickup_timeout=pickup
        )
        self.digest = store_brightness_model(FsspecArtefactStore(settings.artefact_url))

    async def ask(self, image: bytes, seconds: float = 30.0) -> Prediction:
        return await self.predictor.predict(
            image,
            model_version="brightness",
            digest=self.digest,
            deadline=time.time() + seconds,
            include_activation_map=True,
        )


@pytest.fixture
def broker(valkey: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey.url) as broker:
        yield broker


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    client = Client(settings)
    await client.channel.start()
    yield client
    await client.channel.close()


async def test_many_pictures_are_answered(client: Client, workers: Workers) -> None:
    await asyncio.to_thread(workers.start)
    values = [0, 250] * 12
    answers = await asyncio.gather(*(client.ask(png(v)) for v in values))
    for value, answer in zip(values, answers, strict=True):
        assert answer.label is TumourLabel.GLIOMA
        assert answer.decision is (Decision.ACCEPTED if value else Decision.ABSTAINED)
        assert sum(answer.probabilities) == pytest.approx(1.0)
        assert Image.open(io.BytesIO(answer.activation_map)).size == (64, 64)


def test_a_worker_loads_a_model_that_is_about_to_serve(
    settings: Settings, workers: Workers
) -> None:
    digest = store_brightness_model(FsspecArtefactStore(settings.artefact_url))
    worker = workers.start()
    preloader = RedisModelPreloader(settings)
    preloader.preload(digest)
    preloader.close()
    assert f"model_loaded digest={digest[:12]}" in worker.log.read_text()


async def test_a_bad_picture_in_a_batch_costs_the_others_nothing(
    client: Client, workers: Workers
) -> None:
    await asyncio.to_thread(workers.start)
    images = [png(200), png(200)[:60], png(200), png(200)]
    answers = await asyncio.gather(*(client.ask(i) for i in images), return_exceptions=True)
    assert isinstance(answers[1], ImageRefused)
    assert all(isinstance(a, Prediction) for i, a in enumerate(answers) if i != 1)


async def test_a_worker_killed_in_the_middle_is_unavailable_and_the_next_one_answers(
    client: Client, workers: Workers, broker: redis.Redis
) -> None:
    doomed = await asyncio.to_thread(workers.start)
    await client.ask(png(1))
    asked = asyncio.create_task(client.ask(slow_png()))
    while not broker.keys(begun_key("*")):
        await asyncio.sleep(0.001)
    doomed.kill()
    with pytest.raises(WorkerLost):
        await asked
    await asyncio.to_thread(workers.start)
    assert await client.ask(png(1))


async def test_nobody_there_is_unavailable(settings: Settings) -> None:
    client = Client(settings, pickup=0.5)
    await client.channel.start()
    with pytest.raises(NoWorker):
        await client.ask(png(1))
    await client.channel.close()


async def test_what_nobody_took_does_not_stay_in_the_queue(
    settings: Settings, broker: redis.Redis
) -> None:
    client = Client(settings, pickup=0.5)
    await client.channel.start()
    broker.lpush(INFERENCE_QUEUE, "another gateway's")
    left = asyncio.create_task(client.ask(png(1)))
    while broker.llen(INFERENCE_QUEUE) < 2:
        await asyncio.sleep(0.01)
    left.cancel()  # its message is not answered for that, since others may be in it
    with pytest.raises(NoWorker):
        await client.ask(png(1))
    await client.predictor.close()
    await client.channel.close()
    assert broker.lrange(INFERENCE_QUEUE, 0, -1) == [b"another gateway's"]
    assert broker.keys(parcel_key("*")) == []


@pytest.mark.parametrize("milliseconds", range(10))
async def test_a_channel_that_has_just_begun_closes(settings: Settings, milliseconds: int) -> None:
    """The listener's client swallows a cancellation while it connects."""
    channel = WorkChannel(settings)
    await channel.start()
    await asyncio.sleep(milliseconds / 4000)
    async with asyncio.timeout(30):
        await channel.close()


async def test_where_too_many_messages_wait_callers_are_told_to_come_back(
    settings: Settings, broker: redis.Redis
) -> None:
    client = Client(replace(settings, max_messages_waiting=2))
    await client.channel.start()
    broker.lpush(INFERENCE_QUEUE, "one", "two")
    with pytest.raises(Overloaded):
        await client.ask(png(1))
    await client.channel.close()
    assert broker.llen(INFERENCE_QUEUE) == 2
    assert broker.keys(parcel_key("*")) == []


@pytest.mark.parametrize("begun", [False, True])
async def test_a_message_that_is_sent_twice_is_there_once(
    settings: Settings, broker: redis.Redis, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """As redis-py does if the answer to the first sending is lost on its way."""
    client = Client(replace(settings, max_messages_waiting=1), pickup=0.5)
    await client.channel.start()
    send, sent = client.channel._redis.eval, []

    async def twice(script: str, count: int, *values: Any) -> Any:
        sent.append(await send(script, count, *values))
        if script == broker_adapter._LEAVE:
            if begun:
                broker.set(values[2], "a worker")
                assert broker.getdel(values[1])
            sent.append(await send(script, count, *values))
            assert broker.llen(INFERENCE_QUEUE) == 1
            assert broker.exists(values[1]) == (not begun)
        return sent[-1]

    monkeypatch.setattr(client.channel._redis, "eval", twice)
    with pytest.raises(WorkerLost if begun else NoWorker):
        await client.ask(png(1))
    await client.channel.close()
    assert sent[:2] == [1, 1]
    assert begun or broker.llen(INFERENCE_QUEUE) == 0


async def test_a_broker_that_hangs_is_away(settings: Settings, valkey: Valkey) -> None:
    client = Client(replace(settings, broker_timeout_seconds=0.5))
    await client.channel.start()
    await client.channel._redis.ping()
    valkey.halt()
    with pytest.raises(BrokerUnavailable):  # before the deadline
        await client.ask(png(1), seconds=6.0)
    valkey.halt(False)
    await client.channel.close()


async def test_nothing_of_an_answered_message_stays_with_the_broker(
    client: Client, workers: Workers, broker: redis.Redis
) -> None:
    await asyncio.to_thread(workers.start)
    await client.ask(png(1))
    assert broker.keys(parcel_key("*")) == []
    assert broker.keys(begun_key("*")) == []


@pytest.mark.parametrize(("large", "at_a_time"), [(True, 1), (False, 3)])
async def test_large_messages_are_sent_one_at_a_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, large: bool, at_a_time: int
) -> None:
    sending: list[None] = []
    most = 0

    async def slowly(*_: object) -> None:
        nonlocal most
        sending.append(None)
        most = max(most, len(sending))
        await asyncio.sleep(0.2)
        sending.pop()

    monkeypatch.setattr(WorkChannel, "_send", slowly)
    client = Client(settings, pickup=0.5)
    await client.channel.start()
    image = bytes(LARGE_BYTES + 1) if large else b"x"
    asked = [client.ask(image) for _ in range(3)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {NoWorker}
    await client.channel.close()
    assert most == at_a_time


async def test_a_dead_broker_is_unavailable_and_recovery_needs_no_restart(
    client: Client, workers: Workers, valkey: Valkey
) -> None:
    await asyncio.to_thread(workers.start)
    await client.ask(png(1))
    valkey.stop()
    with pytest.raises(BrokerUnavailable):
        await client.ask(png(1))
    valkey.start()

    async def answered() -> Prediction:
        while True:
            try:
                return await client.ask(png(1), seconds=20)
            except Unavailable:
                await asyncio.sleep(0.2)

    async with asyncio.timeout(60):
        assert await answered()


async def test_a_broker_that_dies_while_callers_wait_fails_them(
    settings: Settings, valkey: Valkey
) -> None:
    client = Client(settings)
    await client.channel.start()
    asked = asyncio.create_task(client.ask(png(1)))
    while not client.channel._calls:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.3)
    valkey.stop()
    with pytest.raises(BrokerUnavailable):
        await asked
    await client.channel.close()


@pytest.mark.parametrize(
    "result", [{"prediction": {"of_tomorrow": 1}}, {"of_tomorrow": 1}], ids=["field", "kind"]
)
async def test_a_reply_that_cannot_be_read_keeps_nobody_waiting(
    client: Client, broker: redis.Redis, result: dict[str, Any]
) -> None:
    asked = asyncio.create_task(client.ask(png(1)))
    while not client.channel._calls:
        await asyncio.sleep(0.001)
    (message,) = client.channel._calls
    garbage = [b"", b"\xc1", msgpack.packb([]), msgpack.packb({"id": ["no id"]})]
    reply = msgpack.packb({"id": message, "worker": "w", "results": [result]})
    broker.rpush(client.channel.reply_to, *garbage, reply)
    async with asyncio.timeout(20):
        with pytest.raises(InternalError, match=message):
            await asked


async def test_late_replies_are_dropped(
    client: Client, workers: Workers, broker: redis.Redis
) -> None:
    await asyncio.to_thread(workers.start)
    await client.ask(png(1))
    asked = asyncio.create_task(client.ask(slow_png()))
    while not broker.keys(begun_key("*")):
        await asyncio.sleep(0.001)
    client.channel._calls.clear()  # as if its callers had been told something else already
    assert await client.ask(png(1))
    asked.cancel()
