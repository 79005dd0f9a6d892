"""A worker's end of the reply channel, and the heartbeat that says it lives."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgpack
import redis
from redis.exceptions import RedisError

from core.errors import BrainTumorError, InternalError
from core.messages import Reply, ReplyKind
from core.task_names import HEARTBEAT_SECONDS, HEARTBEAT_TTL_SECONDS, heartbeat_key

log = logging.getLogger(__name__)

REPLY_LIST_TTL_SECONDS: Final = 120
"""A reply list that its gateway no longer reads goes away by itself."""
_LAST_BEAT_SECONDS: Final = 5.0


class ReplyChannel:
    """Answers gateways on their reply lists."""

    def __init__(self, client: redis.Redis, worker: str) -> None:
        self._client = client
        self._worker = worker

    def answer(self, message_id: str, reply_to: str, work: Callable[[], Sequence[Any]]) -> None:
        """Say that the work is begun, do it, send its results.

        An error from the taxonomy becomes the one result; any other is logged and becomes
        ``InternalError``.
        """
        self._send(reply_to, ReplyKind.STARTED, message_id, ())
        try:
            results = tuple(work())
        except BrainTumorError as error:
            results = (error,)
        except Exception:
            log.exception("work_failed id=%s", message_id)
            results = (InternalError(message_id),)
        self._send(reply_to, ReplyKind.DONE, message_id, results)

    def _send(
        self, reply_to: str, kind: ReplyKind, message_id: str, results: tuple[Any, ...]
    ) -> None:
        reply = Reply(id=message_id, kind=kind, worker=self._worker, results=results)
        try:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.rpush(reply_to, msgpack.packb(reply.to_wire()))
                pipe.expire(reply_to, REPLY_LIST_TTL_SECONDS)
                pipe.execute()
        except RedisError as exc:
            # The gateway has told the callers already: it watches the broker and the heartbeat.
            log.warning("reply_not_sent id=%s error=%s", message_id, type(exc).__name__)


class Heartbeat:
    """A thread that keeps the worker's key alive in Redis until it is stopped."""

    def __init__(self, client: redis.Redis, worker: str) -> None:
        self._client = client
        self._key = heartbeat_key(worker)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop and let everybody know at once."""
        self._stopped.set()
        if self._thread.is_alive():  # a beat under way would bring the key back
            self._thread.join(_LAST_BEAT_SECONDS)
        try:
            self._client.delete(self._key)
        except RedisError as exc:
            log.debug("heartbeat_not_deleted error=%s", type(exc).__name__)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._client.set(self._key, b"1", px=round(HEARTBEAT_TTL_SECONDS * 1000))
            except RedisError as exc:
                log.warning("heartbeat_missed error=%s", type(exc).__name__)
            self._stopped.wait(HEARTBEAT_SECONDS)
