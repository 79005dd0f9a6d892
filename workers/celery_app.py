"""The Celery app of every worker: ``celery -A workers.celery_app worker -Q ...``.

* ``-Q inference -P threads`` answers scans.
* ``-Q curation -P threads`` checks data sets: apart, since a large one takes minutes.
* ``-Q training -P prefork -c 1 --max-tasks-per-child=1`` trains: each job has a child process
  of its own, so that TensorFlow is never forked and a GPU's memory goes back at the job's end.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import uuid4

from celery import Celery
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.signals import (
    celeryd_init,
    setup_logging,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from core.settings import Settings
from core.task_names import (
    INFERENCE_QUEUE,
    celery_config,
    let_settings_name_the_broker,
    worker_transport,
)
from workers.context import WORKER_NAME_VARIABLE, context, redis_client, worker_name
from workers.leaving import leave
from workers.logging import configure_logging
from workers.preloading import Preloading
from workers.replies import Heartbeat
from workers.warm_up import begin_serving

log = logging.getLogger(__name__)

app = Celery("braintumor", include=["workers.tasks"])
app.conf.update(celery_config(Settings.from_environment()))
let_settings_name_the_broker()

_beside: Final[list[Heartbeat | Preloading]] = []
"""What runs beside the tasks of this worker."""


@setup_logging.connect
def _configure_logging(**_: Any) -> None:
    configure_logging(Settings.from_environment())


@celeryd_init.connect
def _take_role(conf: Any, options: Mapping[str, Any], **_: Any) -> None:
    """Before the worker connects: how it does depends on the queues that it reads."""
    transport = worker_transport(_queues(options), Settings.from_environment())
    conf.broker_transport_options = {**conf.broker_transport_options, **transport}


def _queues(options: Mapping[str, Any]) -> frozenset[str]:
    given = options.get("queues") or ()
    return frozenset(given.split(",") if isinstance(given, str) else given)


@celeryd_init.connect
def _take_name(sender: str, **_: Any) -> None:
    # Unique to this start, so that a restarted worker is not taken for the one that was lost.
    os.environ[WORKER_NAME_VARIABLE] = f"{sender}#{uuid4().hex[:8]}"


@worker_ready.connect
def _begin(sender: Any, **_: Any) -> None:
    for thread in _threads(sender):
        thread.start()
        _beside.append(thread)
    log.warning("worker_ready name=%s", worker_name())


def _threads(sender: Any) -> Iterator[Heartbeat | Preloading]:
    """What to start, each before the next: who has a heartbeat is ready."""
    if not isinstance(sender.pool, ThreadPool):  # no context before a fork
        yield Heartbeat(redis_client(Settings.from_environment()), worker_name())
        return
    if INFERENCE_QUEUE in sender.app.amqp.queues.consume_from:
        yield context().preloading  # from now on no promotion is missed
        begin_serving(context())
    yield context().heartbeat


@worker_shutting_down.connect
def _leave(**_: Any) -> None:
    leave()


@worker_shutdown.connect
def _end(**_: Any) -> None:
    for thread in reversed(_beside):
        thread.stop()
