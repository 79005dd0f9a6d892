"""Celery names and the configuration that producer and consumer must share."""

import math
import os
import re
from collections.abc import Collection
from typing import Any, Final

from core.settings import Settings

INFERENCE_QUEUE: Final = "inference"
CURATION_QUEUE: Final = "curation"
TRAINING_QUEUE: Final = "training"

INFER_BATCH: Final = "braintumor.infer_batch"
INGEST_DATASET: Final = "braintumor.ingest_dataset"
RUN_TRAINING_JOB: Final = "braintumor.run_training_job"

TASK_ROUTES: Final = {
    INFER_BATCH: {"queue": INFERENCE_QUEUE},
    INGEST_DATASET: {"queue": CURATION_QUEUE},
    RUN_TRAINING_JOB: {"queue": TRAINING_QUEUE},
}

_DATABASE: Final = re.compile(r"([?&])db=")

_BEFORE_CONFIGURATION: Final = (
    "CELERY_BROKER_URL",
    "CELERY_BROKER_READ_URL",
    "CELERY_BROKER_WRITE_URL",
)

HEARTBEAT_SECONDS: Final = 1.0
"""How often a worker refreshes its heartbeat key."""
HEARTBEAT_TTL_SECONDS: Final = 4.0
"""A worker whose key is older than this counts as dead."""
BEGUN_TTL_SECONDS: Final = 60
"""How long it can be read which worker has taken a message up; gateways look every second."""


def heartbeat_key(worker: str) -> str:
    """The Redis key that exists while the worker lives."""
    return f"braintumor:worker:{worker}"


def begun_key(message: str) -> str:
    """The Redis key that holds the worker's name from when it takes a message up to its answer."""
    return f"braintumor:begun:{message}"


def parcel_key(message: str) -> str:
    """The Redis key with what belongs to a message and is too large to travel in it.

    Kombu writes each message anew as text for its book of messages that workers have fetched.
    """
    return f"braintumor:parcel:{message}"


def preload_channel(database: int) -> str:
    """Where inference workers are told to load a model that is about to serve.

    Unlike keys, channels are common to all numbered databases of a Redis server.
    """
    return f"braintumor:preload:{database}"


def preloaded_key(request: str) -> str:
    """The Redis list on which each worker says that it is done with what it was told to load."""
    return f"braintumor:preloaded:{request}"


def reply_key(gateway: str) -> str:
    """The Redis list that one gateway's answers arrive on."""
    return f"braintumor:replies:{gateway}"


def broker_for_celery(broker_url: str) -> str:
    """Celery's spelling of a broker URL: redis-py says ``unix://``, kombu ``redis+socket://``.

    A numbered database behind a socket has another name, too.
    """
    if not broker_url.startswith("unix://"):
        return broker_url
    spelled = broker_url.replace("unix://", "redis+socket://", 1)
    return _DATABASE.sub(r"\1virtual_host=", spelled)


def let_settings_name_the_broker() -> None:
    """For every Celery app, before it connects: these variables would beat its configuration.

    Celery's command line sets one from ``BROKER_URL``, which it takes for its own; but a socket is
    spelled otherwise there, and ``BRAINTUMOR_BROKER_URL`` comes before it.
    """
    for variable in _BEFORE_CONFIGURATION:
        os.environ.pop(variable, None)


def worker_transport(queues: Collection[str], settings: Settings) -> dict[str, Any]:
    """Transport options of a worker of one queue.

    What such a worker has fetched and not begun when it dies comes back soon, rather than when
    the longest training job would have ended: inference messages hold pictures. Kombu's book of
    fetched messages is shared by all workers that use its default name, each of which applies its
    own timeout to all of it; so these have a book of their own.
    """
    waits = {
        # Far longer than anybody waits for a worker to begin.
        INFERENCE_QUEUE: 3 * settings.inference_timeout_seconds,
        CURATION_QUEUE: 2 * settings.ingest_pickup_timeout_seconds,
    }
    queue = next(iter(queues)) if len(queues) == 1 else ""
    if queue not in waits:
        return {}
    return {
        "visibility_timeout": math.ceil(waits[queue]),
        "unacked_key": f"unacked.{queue}",
        "unacked_index_key": f"unacked_index.{queue}",
        "unacked_mutex_key": f"unacked_mutex.{queue}",
    }


def celery_config(settings: Settings) -> dict[str, Any]:
    """Configuration for every Celery app of the system, the gateway's producer included.

    Only msgpack is accepted: raw bytes stay raw (JSON would base64 them), and nothing is ever
    unpickled. The visibility timeout must outlast the longest training job, and Celery reads it
    in three places. No results are kept: answers travel on the gateway's own reply list and
    the truth about a job is its SQL row.
    """
    visibility = int(settings.training_visibility_seconds)
    timeouts = {
        "socket_connect_timeout": settings.broker_timeout_seconds,
        "socket_keepalive": True,
        "visibility_timeout": visibility,
    }
    return {
        "broker_url": broker_for_celery(settings.broker_url),
        "broker_transport_options": timeouts,
        "result_backend_transport_options": {"visibility_timeout": visibility},
        "visibility_timeout": visibility,
        "broker_connection_retry_on_startup": True,
        "task_serializer": "msgpack",
        "accept_content": ["msgpack"],
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_routes": TASK_ROUTES,
        "task_default_queue": TRAINING_QUEUE,
        "task_create_missing_queues": True,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": True,
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "event_queue_ttl": 60,
        "control_queue_ttl": 60,
        "timezone": "UTC",
        "enable_utc": True,
    }
