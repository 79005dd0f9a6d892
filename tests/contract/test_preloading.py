"""Models that workers load before they serve, over a real Valkey."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from core.errors import ArtefactCorrupt
from core.settings import Settings
from core.task_names import preload_channel
from services.adapters.preloading import RedisModelPreloader
from tests.conftest import Valkey, wait_for
from workers.context import redis_client
from workers.preloading import Preloading

DIGEST = "d" * 64


def settings(valkey: Valkey, **changes: Any) -> Settings:
    values = {"data_dir": Path("/nowhere"), "broker_url": valkey.url}
    return Settings.from_environment({}, **(values | changes))


class Workers:
    """Threads that listen, each with what it loads by."""

    def __init__(self, valkey: Valkey) -> None:
        self._settings = settings(valkey)
        self._client = redis_client(self._settings)
        self._listening: list[Preloading] = []

    def start(self, load: Callable[[str], object]) -> Preloading:
        listening = Preloading(redis_client(self._settings), load)
        self._listening.append(listening)
        listening.start()
        assert self.count == len(self._listening)  # it returns once it listens
        return listening

    @property
    def count(self) -> int:
        ((_, count),) = self._client.pubsub_numsub(preload_channel(0))
        return int(count)

    def stop(self) -> None:
        for listening in self._listening:
            listening.stop()
        wait_for(lambda: self.count == 0, "a worker still listens")


@pytest.fixture
def workers(valkey: Valkey) -> Iterator[Workers]:
    workers = Workers(valkey)
    yield workers
    workers.stop()


@pytest.fixture
def preloader(valkey: Valkey) -> Iterator[RedisModelPreloader]:
    preloader = RedisModelPreloader(settings(valkey))
    yield preloader
    preloader.close()


def test_every_worker_has_loaded_it_when_the_call_returns(
    workers: Workers, preloader: RedisModelPreloader
) -> None:
    loaded: list[tuple[str, str]] = []
    workers.start(lambda digest: loaded.append(("a", digest)))
    workers.start(lambda digest: loaded.append(("b", digest)))
    for _ in range(2):
        loaded.clear()
        preloader.preload(DIGEST)
        assert sorted(loaded) == [("a", DIGEST), ("b", DIGEST)]


@pytest.mark.parametrize("error", [ArtefactCorrupt("models/d", "it was changed"), RuntimeError()])
def test_a_worker_that_cannot_load_it_keeps_nobody_waiting(
    workers: Workers,
    preloader: RedisModelPreloader,
    error: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: list[str] = []

    def load(digest: str) -> None:
        tried.append(digest)
        raise error

    workers.start(load)
    preloader.preload(DIGEST)
    preloader.preload(DIGEST)
    assert tried == [DIGEST, DIGEST]
    assert "model_not_preloaded" not in caplog.text


def test_without_workers_there_is_nothing_to_wait_for(valkey: Valkey) -> None:
    patient = RedisModelPreloader(settings(valkey), patience_seconds=3600)
    patient.preload(DIGEST)
    patient.close()


def test_the_workers_of_another_database_are_others(valkey: Valkey, workers: Workers) -> None:
    loaded: list[str] = []
    workers.start(loaded.append)
    elsewhere = settings(valkey, broker_url=f"{valkey.url.rsplit('/', 1)[0]}/1")
    patient = RedisModelPreloader(elsewhere, patience_seconds=3600)
    patient.preload(DIGEST)
    patient.close()
    assert not loaded


def test_a_worker_that_takes_too_long_is_not_waited_for(
    valkey: Valkey, workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    workers.start(lambda _: release.wait(60))
    impatient = RedisModelPreloader(settings(valkey), patience_seconds=0.1)
    impatient.preload(DIGEST)
    assert "workers=1" in caplog.text
    release.set()
    impatient.close()


def test_a_broker_that_is_away_is_no_reason_to_fail(caplog: pytest.LogCaptureFixture) -> None:
    away = Settings.from_environment(
        {}, data_dir=Path("/nowhere"), broker_url="redis://127.0.0.1:1/0"
    )
    RedisModelPreloader(away).preload(DIGEST)
    assert "model_not_preloaded" in caplog.text


def test_a_worker_listens_again_after_its_connection_was_cut(
    valkey: Valkey, workers: Workers, preloader: RedisModelPreloader
) -> None:
    loaded: list[str] = []
    workers.start(loaded.append)
    client = redis.Redis.from_url(valkey.url)
    client.client_kill_filter(_type="pubsub")
    client.close()
    wait_for(lambda: _loads(preloader, loaded), "it does not listen again")


def _loads(preloader: RedisModelPreloader, loaded: list[str]) -> bool:
    preloader.preload(DIGEST)
    return bool(loaded)


def test_what_cannot_be_read_is_passed_over(
    valkey: Valkey, workers: Workers, preloader: RedisModelPreloader
) -> None:
    loaded: list[str] = []
    workers.start(loaded.append)
    client = redis.Redis.from_url(valkey.url)
    client.publish(preload_channel(0), b"\xc1")
    client.close()
    preloader.preload(DIGEST)
    assert loaded == [DIGEST]
