"""Whether a worker takes messages, for a container's health check.

``python -m workers.healthcheck inference inference curation``: the worker that was started on
this machine as ``-n inference@%h``, and the queues it must take messages from.

A process that lives proves little: a consumer may have lost its queues after a reconnect, and
the parent of a hanging child still answers pings. So four things must hold: the heartbeat is
there, the consumer answers, it holds its queues, and it does not leave messages lying about
while it has nothing to do.
"""

import argparse
import socket
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol

import redis
from celery import Celery
from kombu.exceptions import KombuError

from core.errors import BrainTumorError
from core.settings import Settings
from core.task_names import celery_config, heartbeat_key, let_settings_name_the_broker

_ANSWER_SECONDS: Final = 3.0
_IDLE_SECONDS: Final = 2.0
_BROKER_ERRORS: Final = (redis.RedisError, KombuError, OSError)


class WorkerView(Protocol):
    """What can be seen of one worker from outside."""

    def heart_beats(self) -> bool: ...

    def consumed_queues(self) -> Collection[str] | None:
        """The queues its consumer holds; None if it does not answer."""
        ...

    def busy(self) -> bool:
        """Whether it has a message in its hands."""
        ...

    def waiting(self, queues: Sequence[str]) -> int:
        """How many messages wait in the queues."""
        ...


def problem_with(
    worker: WorkerView, queues: Sequence[str], pause: Callable[[float], None] = time.sleep
) -> str | None:
    """What is wrong with the worker, in words for a person; None if it is well."""
    if not worker.heart_beats():
        return "It has no heartbeat."
    consumed = worker.consumed_queues()
    if consumed is None:
        return "Its consumer does not answer."
    if lost := sorted(set(queues) - set(consumed)):
        return f"It no longer takes messages from {', '.join(lost)}."
    if _leaves_work(worker, queues):
        # A message may just have come in: an idle worker takes it within milliseconds.
        pause(_IDLE_SECONDS)
        if _leaves_work(worker, queues):
            return f"It is idle, and messages wait in {' or '.join(queues)}."
    return None


def _leaves_work(worker: WorkerView, queues: Sequence[str]) -> bool:
    return worker.waiting(queues) > 0 and not worker.busy()


class CeleryWorkerView:
    """A worker as its broker shows it, and as its remote control answers."""

    def __init__(self, settings: Settings, node: str) -> None:
        self._node = node
        self._redis = redis.Redis.from_url(
            settings.broker_url,
            socket_timeout=settings.broker_timeout_seconds,
            socket_connect_timeout=settings.broker_timeout_seconds,
        )
        self._app = Celery("braintumor-healthcheck", set_as_current=False)
        self._app.conf.update(celery_config(settings))
        let_settings_name_the_broker()

    def close(self) -> None:
        self._redis.close()
        self._app.close()

    def heart_beats(self) -> bool:
        keys = self._redis.scan_iter(match=heartbeat_key(f"{self._node}#*"), count=1000)
        return any(True for _ in keys)

    def consumed_queues(self) -> Collection[str] | None:
        held = self._ask("active_queues")
        return None if held is None else {queue["name"] for queue in held}

    def busy(self) -> bool:
        return bool(self._ask("active") or self._ask("reserved"))

    def waiting(self, queues: Sequence[str]) -> int:
        # A queue of the Redis transport is a list of the queue's name.
        return sum(self._redis.llen(queue) for queue in queues)

    def _ask(self, command: str) -> list[dict[str, Any]] | None:
        inspect = self._app.control.inspect(destination=[self._node], timeout=_ANSWER_SECONDS)
        answers = getattr(inspect, command)() or {}
        answer: list[dict[str, Any]] | None = answers.get(self._node)
        return answer


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the worker is well, else 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m workers.healthcheck")
    parser.add_argument("name", help="what stands before the @ in the worker's -n")
    parser.add_argument("queues", nargs="+", help="the queues of its -Q")
    options = parser.parse_args(arguments)
    node = f"{options.name}@{socket.gethostname()}"
    problem = _look_at(node, options.queues)
    if problem is not None:
        sys.stderr.write(f"{node} is not well. {problem}\n")
    return 0 if problem is None else 1


def _look_at(node: str, queues: Sequence[str]) -> str | None:
    try:
        view = CeleryWorkerView(Settings.from_environment(), node)
    except BrainTumorError as error:
        return error.message
    try:
        return problem_with(view, queues)
    except _BROKER_ERRORS as error:
        return f"The broker cannot be asked about it ({type(error).__name__})."
    finally:
        view.close()


if __name__ == "__main__":
    sys.exit(main())
