"""The result cache the whole way: gRPC, gateway, a real Valkey, a real worker, SQLite."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import redis
from braintumor.v1 import audit_pb2, classifier_pb2, labels_pb2

from core.settings import Settings
from services.adapters import prediction_cache
from tests.conftest import Valkey
from tests.integration.conftest import Workers
from tests.integration.test_regions_path import System, scan


@pytest.fixture
async def system(
    settings: Settings, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[System]:
    """A gateway that keeps answers, on a machine that may be busy."""
    monkeypatch.setattr(prediction_cache, "PATIENCE_SECONDS", 5.0)
    running = System(replace(settings, result_cache_seconds=600.0))
    await running.start()
    await asyncio.to_thread(workers.start)
    yield running
    await running.stop()


async def kept(system: System) -> None:
    """Wait until what was answered is in the cache."""
    await asyncio.gather(*system.deps.classify._afterwards)


async def answers(system: System, **fields: object) -> classifier_pb2.ClassifyResponse:
    answer: classifier_pb2.ClassifyResponse = await system.classify(**fields)
    await kept(system)
    return answer


async def log(system: System) -> list[audit_pb2.Prediction]:
    listed = await system.audit.ListPredictions(
        audit_pb2.ListPredictionsRequest(order_by="create_time")
    )
    return list(listed.predictions)


def said(answer: classifier_pb2.ClassifyResponse) -> classifier_pb2.ClassifyResponse:
    """What is the same in every answer to the same question."""
    same = classifier_pb2.ClassifyResponse()
    same.CopyFrom(answer)
    for name in ("prediction", "latency", "cached"):
        same.ClearField(name)
    return same


async def test_the_second_call_is_cached_recorded_and_over_with_a_promotion(
    system: System,
) -> None:
    first = await answers(system, include_regions=False)
    second = await answers(system, include_regions=False)
    assert (first.cached, second.cached) == (False, True)
    assert said(second) == said(first)
    assert second.prediction != first.prediction
    assert [(r.name, r.cached) for r in await log(system)] == [
        (first.prediction, False),
        (second.prediction, True),
    ]
    await system.promote("healthy")
    third = await answers(system, include_regions=False)
    assert (third.cached, third.label) == (False, labels_pb2.TUMOR_LABEL_NO_TUMOR)
    assert (await answers(system, include_regions=False)).cached
    assert [record.cached for record in await log(system)] == [False, True, False, True]
    assert await system.verified()


async def test_masks_and_explanations_are_kept_with_their_answer(system: System) -> None:
    await system.add_segmenter()
    wanted = {"mask_format": classifier_pb2.MASK_FORMAT_PNG, "include_explanation": True}
    first, second = await answers(system, **wanted), await answers(system, **wanted)
    assert second.cached
    assert said(second) == said(first)
    assert second.regions[0].mask_png
    assert second.explanation.activation_map_png
    (_, record) = await log(system)
    assert (record.cached, record.outlined, len(record.regions)) == (True, True, 1)
    assert await system.verified()


async def test_no_picture_is_in_the_cache(system: System, valkey: Valkey) -> None:
    await answers(system, include_regions=False)
    with redis.Redis.from_url(valkey.url) as broker:
        kept_keys = broker.keys(f"{prediction_cache.ANSWER_KEY}*")
        (answer,) = broker.mget(kept_keys)
    assert isinstance(answer, bytes)
    assert b"PNG" not in answer
    assert len(answer) < len(scan())


async def test_without_workers_what_is_known_is_still_answered(
    system: System, workers: Workers
) -> None:
    await answers(system, include_regions=False)
    await asyncio.to_thread(workers.stop)
    assert (await answers(system, include_regions=False)).cached


async def test_a_cache_that_is_away_costs_no_answer(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = system.deps.classify._cache
    assert isinstance(cache, prediction_cache.RedisPredictionCache)
    await answers(system, include_regions=False)
    with monkeypatch.context() as away:
        away.setattr(cache, "_redis", prediction_cache._client("unix:///nowhere.sock"))
        assert not (await answers(system, include_regions=False)).cached
