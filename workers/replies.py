"""A worker's end of the reply channel, and the heartbeat that says it lives."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import msgpack
import redis
from redis.exceptions import RedisError

from core.errors import BrainTumorError, BrokerUnavailable, InternalError
from core.messages import Reply
from core.task_names import (
    BEGUN_TTL_SECONDS,
    HEARTBEAT_SECONDS,
    HEARTBEAT_TTL_SECONDS,
    begun_key,
    heartbeat_key,
    parcel_key,
)

log = logging.getLogger(__name__)

REPLY_LIST_TTL_SECONDS: Final = 120
"""A reply list that its gateway no longer reads goes away by itself."""
DONE_PATIENCE_SECONDS: Final = 5.0
"""How long results wait for a broker that hiccups; their gateway holds a place for them."""
_TRY_AGAIN_SECONDS: Final = 0.25
_LAST_BEAT_SECONDS: Final = 5.0


def _nothing() -> None:
    pass


def _without_broker() -> Sequence[Any]:
    raise BrokerUnavailable()


class ReplyChannel:
    """Answers gateways on their reply lists.

    ``on_unheard`` is called when results could not be sent at all: only the worker's heartbeat
    can still tell the gateway that they will not come.
    """

    def __init__(
        self,
        client: redis.Redis,
        worker: str,
        *,
        on_unheard: Callable[[], None] = _nothing,
        patience_seconds: float = DONE_PATIENCE_SECONDS,
    ) -> None:
        self._client = client
        self._worker = worker
        self._on_unheard = on_unheard
        self._patience_seconds = patience_seconds

    def answer(self, message_id: str, reply_to: str, work: Callable[[], Sequence[Any]]) -> None:
        """Say that the work is begun, do it, send its results.

        An error from the taxonomy becomes the one result; any other, and results that cannot be
        sent, are logged and become ``InternalError``.
        """
        try:
            self._say_begun(self._client, message_id)
        except RedisError as exc:
            log.warning("begin_not_said id=%s error=%s", message_id, type(exc).__name__)
        self._answer(message_id, reply_to, work)

    def answer_parcel(
        self, slip: Mapping[str, Any], work: Callable[[Mapping[str, Any]], Sequence[Any]]
    ) -> None:
        """As :meth:`answer`, with what the gateway left beside its message, the ``slip``.

        Where it is gone there is nothing to say: another worker has it, or nobody waits.
        """
        message_id, reply_to = slip["id"], slip["reply_to"]
        if "items" in slip:  # a gateway of the version before sends the whole batch
            self.answer(message_id, reply_to, lambda: work(slip))
            return
        try:
            parcel = self._begin_and_take(message_id)
        except RedisError as exc:
            log.warning("parcel_not_taken id=%s error=%s", message_id, type(exc).__name__)
            self._answer(message_id, reply_to, _without_broker)
            return
        if parcel is not None:
            self._answer(message_id, reply_to, lambda: work(msgpack.unpackb(parcel)))

    def _begin_and_take(self, message_id: str) -> bytes | None:
        with self._client.pipeline(transaction=False) as pipe:
            self._say_begun(pipe, message_id)
            pipe.getdel(parcel_key(message_id))
            return cast(bytes | None, pipe.execute()[-1])

    def _say_begun(self, client: redis.Redis, message_id: str) -> None:
        # A message that was sent twice is its first worker's.
        client.set(begun_key(message_id), self._worker, ex=BEGUN_TTL_SECONDS, nx=True)

    def _answer(self, message_id: str, reply_to: str, work: Callable[[], Sequence[Any]]) -> None:
        if not self._send_patiently(reply_to, message_id, self._worked(message_id, work)):
            self._on_unheard()

    def _worked(self, message_id: str, work: Callable[[], Sequence[Any]]) -> bytes:
        """The reply that ends the work."""
        try:
            return self._packed(message_id, tuple(work()))
        except BrainTumorError as error:
            return self._packed_error(message_id, error)
        except Exception:
            return self._unforeseen(message_id)

    def _packed_error(self, message_id: str, error: BrainTumorError) -> bytes:
        try:
            return self._packed(message_id, (error,))
        except Exception:  # such as a file name in it that is no Unicode
            return self._unforeseen(message_id)

    def _unforeseen(self, message_id: str) -> bytes:
        log.exception("work_failed id=%s", message_id)
        return self._packed(message_id, (InternalError(message_id),))

    def _packed(self, message_id: str, results: tuple[Any, ...]) -> bytes:
        reply = Reply(id=message_id, worker=self._worker, results=results)
        return cast(bytes, msgpack.packb(reply.to_wire()))

    def _send_patiently(self, reply_to: str, message_id: str, reply: bytes) -> bool:
        give_up_at = time.monotonic() + self._patience_seconds
        while not self._send(reply_to, message_id, reply):
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(_TRY_AGAIN_SECONDS)
        return True

    def _send(self, reply_to: str, message_id: str, reply: bytes) -> bool:
        try:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.rpush(reply_to, reply)
                pipe.expire(reply_to, REPLY_LIST_TTL_SECONDS)
                pipe.delete(begun_key(message_id))
                pipe.execute()
        except RedisError as exc:
            log.warning("reply_not_sent id=%s error=%s", message_id, type(exc).__name__)
            return False
        return True


class Heartbeat:
    """A thread that keeps the worker's key alive in Redis until it is stopped."""

    def __init__(self, client: redis.Redis, worker: str) -> None:
        self._client = client
        self._key = heartbeat_key(worker)
        self._stopped = threading.Event()
        self._silent_until = 0.0
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

    def falter(self) -> None:
        """Be silent for so long that every gateway gives up what this worker has in its hands.

        The worker itself goes on: what it takes up afterwards can be answered again.
        """
        self._silent_until = time.monotonic() + HEARTBEAT_TTL_SECONDS + 2 * HEARTBEAT_SECONDS
        log.warning("heartbeat_faltered key=%s", self._key)

    def _run(self) -> None:
        while not self._stopped.is_set():
            if time.monotonic() >= self._silent_until:
                self._beat()
            self._stopped.wait(HEARTBEAT_SECONDS)

    def _beat(self) -> None:
        try:
            self._client.set(self._key, b"1", px=round(HEARTBEAT_TTL_SECONDS * 1000))
        except RedisError as exc:
            log.warning("heartbeat_missed error=%s", type(exc).__name__)
