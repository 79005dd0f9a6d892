"""Names and Celery configuration that producer and consumer share."""

from pathlib import Path
from typing import Any

import pytest

from core import task_names
from core.settings import Settings
from core.task_names import (
    CURATION_QUEUE,
    HEARTBEAT_SECONDS,
    HEARTBEAT_TTL_SECONDS,
    INFER_BATCH,
    INFERENCE_QUEUE,
    INGEST_DATASET,
    RUN_TRAINING_JOB,
    TRAINING_QUEUE,
    broker_for_celery,
    celery_config,
    heartbeat_key,
    reply_key,
    worker_transport,
)


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    settings = Settings.from_environment(
        {}, data_dir=tmp_path, training_visibility_seconds=123_456.0, broker_timeout_seconds=1.5
    )
    return celery_config(settings)


def test_each_task_has_its_queue(config: dict[str, Any]) -> None:
    assert {task: route["queue"] for task, route in config["task_routes"].items()} == {
        INFER_BATCH: INFERENCE_QUEUE,
        INGEST_DATASET: CURATION_QUEUE,
        RUN_TRAINING_JOB: TRAINING_QUEUE,
    }


def test_the_visibility_timeout_is_set_wherever_celery_reads_it(config: dict[str, Any]) -> None:
    assert config["visibility_timeout"] == 123_456
    assert config["broker_transport_options"]["visibility_timeout"] == 123_456
    assert config["result_backend_transport_options"]["visibility_timeout"] == 123_456


@pytest.mark.parametrize(("queue", "longest_wait"), [(INFERENCE_QUEUE, 7), (CURATION_QUEUE, 11)])
def test_what_a_dead_worker_had_fetched_comes_back_soon_but_not_while_one_may_begin_it(
    tmp_path: Path, queue: str, longest_wait: float
) -> None:
    settings = Settings.from_environment(
        {}, data_dir=tmp_path, inference_timeout_seconds=7.0, ingest_pickup_timeout_seconds=11.0
    )
    transport = worker_transport([queue], settings)
    assert longest_wait < transport["visibility_timeout"] < 10 * longest_wait


def test_each_worker_with_a_timeout_of_its_own_keeps_a_book_of_its_own(tmp_path: Path) -> None:
    settings = Settings.from_environment({}, data_dir=tmp_path)
    books = [
        {v for k, v in worker_transport([queue], settings).items() if k.startswith("unacked")}
        for queue in (INFERENCE_QUEUE, CURATION_QUEUE)
    ]
    assert [len(book) for book in books] == [3, 3]
    assert not books[0] & books[1]


@pytest.mark.parametrize("queues", [[TRAINING_QUEUE], [INFERENCE_QUEUE, TRAINING_QUEUE], []])
def test_training_and_mixed_workers_keep_what_they_fetched(
    tmp_path: Path, queues: list[str]
) -> None:
    assert worker_transport(queues, Settings.from_environment({}, data_dir=tmp_path)) == {}


def test_nothing_but_msgpack_is_read(config: dict[str, Any]) -> None:
    assert config["accept_content"] == ["msgpack"]
    assert config["task_serializer"] == "msgpack"


def test_no_result_is_kept(config: dict[str, Any]) -> None:
    assert config["task_ignore_result"] is True
    assert "result_backend" not in config


def test_a_worker_takes_one_message_at_a_time(config: dict[str, Any]) -> None:
    assert config["worker_prefetch_multiplier"] == 1


def test_each_call_gives_a_configuration_of_its_own(tmp_path: Path) -> None:
    settings = Settings.from_environment({}, data_dir=tmp_path)
    celery_config(settings)["broker_transport_options"]["socket_timeout"] = 1
    assert "socket_timeout" not in celery_config(settings)["broker_transport_options"]


@pytest.mark.parametrize(
    ("url", "spelling"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("rediss://h:6379/0", "rediss://h:6379/0"),
        ("unix:///run/v.sock", "redis+socket:///run/v.sock"),
        ("unix:///run/v.sock?db=3", "redis+socket:///run/v.sock?virtual_host=3"),
        ("redis://h?db=3", "redis://h?db=3"),
    ],
)
def test_celerys_spelling_of_a_broker(url: str, spelling: str) -> None:
    assert broker_for_celery(url) == spelling


def test_keys_do_not_collide() -> None:
    keys = {heartbeat_key("a"), heartbeat_key("b"), reply_key("a"), reply_key("b")}
    assert len(keys) == 4


def test_one_lost_heartbeat_is_no_death() -> None:
    assert HEARTBEAT_TTL_SECONDS > 2 * HEARTBEAT_SECONDS


def test_every_task_is_routed() -> None:
    tasks = {v for v in vars(task_names).values() if isinstance(v, str) and v.startswith("brain")}
    assert tasks == set(task_names.TASK_ROUTES)
