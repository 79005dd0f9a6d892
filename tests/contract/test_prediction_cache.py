"""Answers that are kept, in memory and in a real Valkey."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import redis

from core.messages import Segmenter
from core.ports import PredictionCache
from core.prediction import Decision, MaskFormat, Prediction, RegionMask
from core.settings import Settings
from services.adapters import prediction_cache
from services.adapters.prediction_cache import RedisPredictionCache
from tests.conftest import Valkey, wait_for
from tests.fakes.gateway import FakePredictionCache, a_prediction
from tests.fakes.records import a_question, a_region
from tests.fakes.store import FakeClock

MADE_WITH = "1.2.3 cpu f32"
SHORT_SECONDS = 0.3
"""How long answers are kept where a test waits for their end."""


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {"data_dir": Path("/nowhere"), "result_cache_seconds": 600.0}
    return Settings.from_environment({}, **(values | changes))


def an_answer_with_everything() -> Prediction:
    masks = (
        RegionMask(format=MaskFormat.PNG, width=3, height=4, data=b"\x00\xff"),
        RegionMask(format=MaskFormat.COCO_RLE, width=3, height=4, data=b"05O"),
    )
    return Prediction(
        probabilities=(0.1 + 0.2, 1 / 3, 5e-324, 0.36666666666666664),
        decision=Decision.ABSTAINED,
        model_version="m1",
        regions=(a_region(area_mm2=None), *(a_region(area_mm2=None, mask=m) for m in masks)),
        activation_map=b"\x89PNG\r\n",
    )


class Caches:
    """Makes caches of one kind."""

    def __init__(self, valkey: Valkey | None) -> None:
        self._valkey = valkey
        self._clock = FakeClock()
        self._real: list[RedisPredictionCache] = []

    def make(self, **changes: Any) -> PredictionCache:
        if self._valkey is None:
            return FakePredictionCache(settings(**changes), self._clock)
        return self.make_real(self._valkey, **changes)

    def make_real(
        self, valkey: Valkey, made_with: str = MADE_WITH, **changes: Any
    ) -> RedisPredictionCache:
        wanted = settings(broker_url=valkey.url, **changes)
        cache = RedisPredictionCache(wanted, made_with=made_with)
        self._real.append(cache)
        return cache

    async def until_forgotten(self, get: Callable[[], Awaitable[Prediction | None]]) -> None:
        self._clock.advance(SHORT_SECONDS)
        async with asyncio.timeout(40):
            while await get() is not None:
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        for cache in self._real:
            await cache.close()


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for a machine that is busy."""
    monkeypatch.setattr(prediction_cache, "PATIENCE_SECONDS", 5.0)


@pytest.fixture(params=["memory", "valkey"])
async def caches(request: pytest.FixtureRequest, patience: None) -> AsyncIterator[Caches]:
    real = request.param == "valkey"
    made = Caches(request.getfixturevalue("valkey") if real else None)
    yield made
    await made.close()


@pytest.fixture
async def real(valkey: Valkey, patience: None) -> AsyncIterator[Caches]:
    """Caches in Valkey alone."""
    made = Caches(valkey)
    yield made
    await made.close()


@pytest.fixture
def broker(valkey: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey.url) as broker:
        yield broker


@pytest.mark.parametrize("prediction", [a_prediction(), an_answer_with_everything()])
async def test_the_same_question_has_the_same_answer(
    caches: Caches, prediction: Prediction
) -> None:
    cache = caches.make()
    assert await cache.get(a_question()) is None
    await cache.put(a_question(), prediction)
    assert await cache.get(a_question()) == prediction
    assert await cache.get(a_question()) == prediction


async def test_another_question_has_another_answer(caches: Caches) -> None:
    cache = caches.make()
    outlined = a_question(segmenter=Segmenter(version="s1", digest="f" * 64))
    await cache.put(a_question(), a_prediction())
    assert await cache.get(outlined) is None
    await cache.put(outlined, an_answer_with_everything())
    assert await cache.get(a_question()) == a_prediction()
    assert await cache.get(outlined) == an_answer_with_everything()


async def test_the_latest_answer_is_kept(caches: Caches) -> None:
    cache = caches.make()
    for best in (0, 1):
        await cache.put(a_question(), a_prediction(best=best))
    assert await cache.get(a_question()) == a_prediction(best=1)


async def test_an_answer_is_forgotten_after_its_time(caches: Caches) -> None:
    cache = caches.make(result_cache_seconds=SHORT_SECONDS)
    await cache.put(a_question(), a_prediction())
    await caches.until_forgotten(lambda: cache.get(a_question()))


async def test_an_answer_that_is_too_large_is_not_kept(caches: Caches) -> None:
    cache = caches.make(result_cache_answer_bytes=150)
    await cache.put(a_question(), a_prediction())
    await cache.put(a_question(digest="e" * 64), an_answer_with_everything())
    assert await cache.get(a_question()) == a_prediction()
    assert await cache.get(a_question(digest="e" * 64)) is None


async def test_the_oldest_answers_make_room(caches: Caches) -> None:
    cache = caches.make(result_cache_bytes=5_000)
    questions = [a_question(digest=str(number)) for number in range(100)]
    for question in questions:
        await cache.put(question, a_prediction())
    kept = [await cache.get(question) is not None for question in questions]
    assert kept == sorted(kept)
    assert (kept[0], kept[-1]) == (False, True)


async def test_what_another_software_said_is_no_answer(real: Caches, valkey: Valkey) -> None:
    await real.make().put(a_question(), a_prediction())
    assert await real.make_real(valkey, made_with="1.2.4 cpu f32").get(a_question()) is None
    assert await real.make_real(valkey).get(a_question()) == a_prediction()


@pytest.mark.parametrize("garbage", [b"", b"\x81", b"x" * 200, msgpack.packb({"decision": "SURE"})])
async def test_garbage_is_no_answer_and_is_replaced(
    real: Caches, broker: redis.Redis, garbage: bytes
) -> None:
    cache = real.make()
    await cache.put(a_question(), a_prediction())
    (key,) = broker.keys(f"{prediction_cache.ANSWER_KEY}*")
    broker.set(key, garbage)
    assert await cache.get(a_question()) is None
    await cache.put(a_question(), a_prediction())
    assert await cache.get(a_question()) == a_prediction()


async def test_an_answer_in_the_place_of_another_is_none(real: Caches, broker: redis.Redis) -> None:
    cache, other = real.make(), a_question(digest="e" * 64)
    await cache.put(a_question(), a_prediction())
    (key,) = broker.keys(f"{prediction_cache.ANSWER_KEY}*")
    await cache.put(other, a_prediction(best=1))
    (moved,) = set(broker.keys(f"{prediction_cache.ANSWER_KEY}*")) - {key}
    broker.rename(moved, key)
    assert await cache.get(a_question()) is None


async def test_an_answer_of_another_build_of_the_same_version_is_none(
    real: Caches, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = real.make()
    with monkeypatch.context() as other:
        other.setattr(prediction_cache, "prediction_to_wire", lambda _: {"verdict": "fine"})
        await cache.put(a_question(), a_prediction())
    assert await cache.get(a_question()) is None


async def test_nothing_stays_when_the_last_answer_has_expired(
    real: Caches, broker: redis.Redis
) -> None:
    cache = real.make(result_cache_seconds=SHORT_SECONDS)
    for number in range(10):
        await cache.put(a_question(digest=str(number)), a_prediction())
    await asyncio.to_thread(wait_for, lambda: not broker.keys("*"), "something stayed")


async def test_the_book_says_what_is_held(real: Caches, broker: redis.Redis) -> None:
    cache = real.make(result_cache_bytes=5_000)
    for number in range(50):
        await cache.put(a_question(digest=str(number)), a_prediction(best=number % 4))
        await cache.put(a_question(digest="0"), a_prediction())
    held = int(broker.get(prediction_cache.HELD_KEY) or 0)
    entries: Any = broker.zrange(prediction_cache.BOOK_KEY, 0, -1)
    keys, sizes = zip(*(entry.split() for entry in entries), strict=True)
    assert held == sum(map(int, sizes)) <= 5_000
    assert set(keys) == set(broker.keys(f"{prediction_cache.ANSWER_KEY}*"))


async def test_what_has_expired_takes_no_room(real: Caches, broker: redis.Redis) -> None:
    short = real.make(result_cache_seconds=SHORT_SECONDS)
    for number in range(10):
        await short.put(a_question(digest=str(number)), a_prediction())
    await real.make().put(a_question(), a_prediction())
    keys = f"{prediction_cache.ANSWER_KEY}*"
    await asyncio.to_thread(wait_for, lambda: len(broker.keys(keys)) == 1, "nothing expired")
    await real.make().put(a_question(digest="e" * 64), a_prediction())
    assert broker.zcard(prediction_cache.BOOK_KEY) == 2


async def test_a_lost_book_does_no_harm(real: Caches, broker: redis.Redis) -> None:
    cache = real.make(result_cache_bytes=5_000)
    for number in range(20):
        await cache.put(a_question(digest=str(number)), a_prediction())
        broker.delete(prediction_cache.BOOK_KEY)
    assert await cache.get(a_question(digest="19")) == a_prediction()


async def test_an_answer_of_a_full_broker_is_none(real: Caches, broker: redis.Redis) -> None:
    cache = real.make()
    broker.config_set("maxmemory", 1)
    await cache.put(a_question(), a_prediction())
    assert await cache.get(a_question()) is None
    assert not broker.keys("*")


async def test_a_cache_that_is_away_has_no_answer_and_the_log_tells_it_once(
    real: Caches,
    valkey: Valkey,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(prediction_cache, "SILENCE_SECONDS", 0.0)
    cache = real.make()
    await cache.put(a_question(), a_prediction())
    valkey.stop()
    for _ in range(3):
        assert await cache.get(a_question()) is None
        await cache.put(a_question(), a_prediction())
    assert [r.getMessage() for r in caplog.records] == ["result_cache_away error=ConnectionError"]
    valkey.start()
    assert await cache.get(a_question()) is None, "it has forgotten"
    await cache.put(a_question(), a_prediction())
    assert await cache.get(a_question()) == a_prediction()
    assert [r.getMessage() for r in caplog.records][1:] == ["result_cache_back"]


async def test_a_cache_that_does_not_answer_is_left_alone(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Caches(valkey).make_real(valkey)
    valkey.halt()
    assert await cache.get(a_question()) is None
    assert [r.getMessage() for r in caplog.records] == ["result_cache_away error=TimeoutError"]
    monkeypatch.setattr(cache, "_redis", None)  # nobody asks it now
    assert await cache.get(a_question()) is None
    await cache.put(a_question(), a_prediction())
    monkeypatch.undo()
    valkey.halt(False)
    await cache.close()


async def test_a_caller_that_leaves_costs_the_cache_nothing(real: Caches, valkey: Valkey) -> None:
    cache = real.make()
    await cache.put(a_question(), a_prediction())
    valkey.halt()
    asked = asyncio.create_task(cache.get(a_question()))
    await asyncio.sleep(0.02)
    asked.cancel()
    valkey.halt(False)
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await cache.get(a_question()) == a_prediction()
