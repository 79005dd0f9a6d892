"""The gateway's end of the broker: work goes out as Celery messages, answers come in on a list.

Each gateway has one reply list of its own and one listener on it, so no thread is ever parked
waiting for a result, and an answer to a caller that is gone is simply dropped.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

import msgpack
import redis
from celery import Celery
from kombu.exceptions import KombuError
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.errors import (
    BrainTumorError,
    BrokerUnavailable,
    DeadlinePassed,
    InternalError,
    NoWorker,
    Overloaded,
    WorkerLost,
)
from core.messages import IngestRequest, Reply
from core.settings import Settings
from core.task_names import (
    HEARTBEAT_SECONDS,
    INFERENCE_QUEUE,
    INGEST_DATASET,
    RUN_TRAINING_JOB,
    TASK_ROUTES,
    TRAINING_QUEUE,
    begun_key,
    celery_config,
    heartbeat_key,
    let_settings_name_the_broker,
    parcel_key,
    reply_key,
)
from services.adapters.celery_message import NO_REPR, celery_message

log = logging.getLogger(__name__)

_POP_SECONDS: Final = 5.0
_POP_COUNT: Final = 64
_RECONNECT_SECONDS: Final = 0.25
_CANCEL_SECONDS: Final = 0.1
_BROKER_ERRORS: Final = (RedisError, KombuError, OSError)
_PARCEL_SPARE_SECONDS: Final = 1.0
"""How long a parcel outlives its callers' patience: a worker's clock runs differently."""
_READ_SECONDS: Final = _POP_SECONDS + 3
"""A blocking pop that is not answered by then is not answered at all."""

_LEAVE: Final = """
if redis.call('EXISTS', KEYS[2], KEYS[3]) > 0 then return 1 end
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('LPUSH', KEYS[1], ARGV[4])
return 1
"""
"""Puts a message into its queue and what belongs to it beside it, unless too many wait there.

A second time, after the answer to the first was lost on its way, it changes nothing: what belongs
to the message still lies there, or a worker has left word that it has begun.
"""

_WITHDRAW: Final = """
redis.call('DEL', KEYS[2])
for place = 0, redis.call('LLEN', KEYS[1]) - 1 do
  local message = redis.call('LINDEX', KEYS[1], place)
  if message and string.find(message, ARGV[1], -8192, true) then
    return redis.call('LREM', KEYS[1], 1, message)
  end
end
return 0
"""
"""Takes the message with an id out of a queue: Celery has no way to. Its headers, the id among
them, stand behind its body, so its end is all that is searched."""


def make_producer(settings: Settings) -> Celery:
    """A Celery app that only sends. It gives up on a dead broker instead of waiting for it."""
    app = Celery("braintumor-gateway", set_as_current=False)
    config = celery_config(settings)
    config["broker_transport_options"] |= {"socket_timeout": settings.broker_timeout_seconds}
    app.conf.update(config)
    let_settings_name_the_broker()
    return app


def send(app: Celery, task: str, payload: Any, message_id: str) -> None:
    """Publish one task. Blocks for a round trip; raises ``BrokerUnavailable``."""
    try:
        # One immediate second try: a pooled connection may be stale after a broker restart.
        app.send_task(
            task,
            args=[payload],
            task_id=message_id,
            argsrepr=NO_REPR,
            kwargsrepr=NO_REPR,
            retry=True,
            retry_policy={"max_retries": 1, "interval_start": 0},
        )
    except _BROKER_ERRORS as exc:
        raise BrokerUnavailable() from exc


@dataclass(kw_only=True, eq=False)
class _Call:
    """A message that waits for its answer. Times are of the monotonic clock."""

    queue: str
    answer: asyncio.Future[tuple[Any, ...]]
    pickup_by: float
    worker: str | None = None
    sent: bool = False

    @property
    def answered(self) -> bool:
        done = self.answer.done() and not self.answer.cancelled()
        return done and self.answer.exception() is None

    def fail(self, error: BrainTumorError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: a client that is just connecting may swallow the first."""
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=_CANCEL_SECONDS)


def _reply_id(payload: Any) -> str:
    """The id of the message that an unreadable reply is about, as far as it can be read."""
    try:
        return str(msgpack.unpackb(payload)["id"])
    except Exception:
        return ""


class WorkChannel:
    """Sends messages to workers and awaits their replies.

    A worker leaves word when it takes a message up. From then on its heartbeat is watched: if it
    stops, the message's callers are told ``WorkerLost``; a message nobody takes up is ``NoWorker``.
    """

    def __init__(self, settings: Settings, *, producer: Celery | None = None) -> None:
        self._settings = settings
        self._producer = producer or make_producer(settings)
        self._calls: dict[str, _Call] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._withdrawals: set[asyncio.Task[None]] = set()
        self._one_large = asyncio.Lock()
        self._closed = False
        self.reply_to: Final = reply_key(uuid4().hex)

    async def start(self) -> None:
        """Begin to listen. Does not need the broker to be up."""
        self._redis = self._client(self._settings.broker_timeout_seconds)
        # A blocking pop needs a client whose reads do not time out before it does.
        self._popping = self._client(_READ_SECONDS)
        self._tasks = [
            asyncio.create_task(self._listen(), name="replies"),
            asyncio.create_task(self._watch_workers(), name="heartbeats"),
        ]

    async def close(self) -> None:
        await asyncio.gather(*(_ended(task) for task in self._tasks))
        self._fail_all(BrokerUnavailable())
        await asyncio.sleep(0)  # the callers' turn, to withdraw what nobody took
        self._closed = True
        await asyncio.gather(*self._withdrawals, return_exceptions=True)
        await self._redis.aclose()
        await self._popping.aclose()

    async def call(
        self,
        task: str,
        message: Mapping[str, Any],
        *,
        timeout: float,
        pickup_timeout: float,
        large: bool = False,
    ) -> tuple[Any, ...]:
        """The worker's results for the message, whose ``id`` and ``reply_to`` must be set.

        Times are in seconds; of ``large`` messages one is sent at a time. A message that
        its caller gives up before anybody took it is taken out of the queue again. Raises
        ``BrokerUnavailable``, ``NoWorker``, ``WorkerLost``, ``DeadlinePassed``, and
        ``Overloaded`` if too many messages wait already.
        """
        call = _Call(
            queue=TASK_ROUTES[task]["queue"],
            answer=asyncio.get_running_loop().create_future(),
            pickup_by=time.monotonic() + min(pickup_timeout, timeout),
        )
        self._calls[message["id"]] = call
        try:
            async with asyncio.timeout(timeout):
                async with self._one_large if large else contextlib.nullcontext():
                    call.sent = True  # even if the broker's word of it is lost
                    await self._send(task, call.queue, message, timeout)
                return await call.answer
        except TimeoutError as exc:
            raise DeadlinePassed() from exc
        except Overloaded:
            call.sent = False
            raise
        finally:
            del self._calls[message["id"]]
            if call.sent and call.worker is None and not call.answered:
                self._withdraw_later(call.queue, message["id"])
            call.answer.cancel()

    def _client(self, read_seconds: float) -> aioredis.Redis:
        return aioredis.Redis.from_url(
            self._settings.broker_url,
            socket_timeout=read_seconds,
            socket_connect_timeout=self._settings.broker_timeout_seconds,
            # One immediate second try for a stale connection; the listener waits by itself.
            retry=Retry(NoBackoff(), 1),
        )

    async def _send(
        self, task: str, queue: str, message: Mapping[str, Any], timeout: float
    ) -> None:
        try:
            if queue == INFERENCE_QUEUE:
                await self._send_with_parcel(task, queue, message, timeout)
            else:
                await self._redis.lpush(queue, self._message(task, queue, message))
        except _BROKER_ERRORS as exc:
            raise BrokerUnavailable() from exc

    async def _send_with_parcel(
        self, task: str, queue: str, message: Mapping[str, Any], timeout: float
    ) -> None:
        """Send a slip that names the message, which its worker takes from beside the queue.

        Pictures would be written as text, twice, in a message of their own. Raises ``Overloaded``:
        the broker's memory is bounded.
        """
        slip = {name: message[name] for name in ("id", "reply_to")}
        keys = (queue, parcel_key(message["id"]), begun_key(message["id"]))
        left = await self._redis.eval(
            _LEAVE,
            len(keys),
            *keys,
            self._settings.max_messages_waiting,
            msgpack.packb(message),
            round((timeout + _PARCEL_SPARE_SECONDS) * 1000),
            self._message(task, queue, slip),
        )
        if not left:
            raise Overloaded()

    def _message(self, task: str, queue: str, payload: Mapping[str, Any]) -> bytes:
        return celery_message(self._producer, task, dict(payload), payload["id"], queue)

    def _withdraw_later(self, queue: str, message_id: str) -> None:
        if self._closed:
            return
        task = asyncio.create_task(self._withdraw(queue, message_id))
        self._withdrawals.add(task)
        task.add_done_callback(self._withdrawals.discard)

    async def _withdraw(self, queue: str, message_id: str) -> None:
        try:
            await self._redis.eval(_WITHDRAW, 2, queue, parcel_key(message_id), message_id)
        except _BROKER_ERRORS as exc:  # its deadline travels with it: it is dropped unread
            log.debug("message_left id=%s error=%s", message_id, type(exc).__name__)

    async def _listen(self) -> None:
        while True:
            try:
                popped = await self._popping.blmpop(
                    _POP_SECONDS, 1, self.reply_to, direction="LEFT", count=_POP_COUNT
                )
            except _BROKER_ERRORS as exc:
                log.warning("broker_lost error=%s pending=%d", type(exc).__name__, len(self._calls))
                self._fail_all(BrokerUnavailable())
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            for payload in popped[1] if popped else ():
                self._take(payload)

    def _take(self, payload: Any) -> None:
        try:
            reply = Reply.from_wire(msgpack.unpackb(payload))
        except Exception:
            self._fail_unreadable(payload)
            return
        call = self._calls.get(reply.id)
        if call is None or call.answer.done():
            log.debug("late_reply_dropped id=%s", reply.id)
        else:
            call.answer.set_result(reply.results)

    def _fail_unreadable(self, payload: Any) -> None:
        """Such as a newer worker's: whoever waits for it need not wait any longer."""
        message_id = _reply_id(payload)
        log.exception("reply_unreadable id=%s", message_id)
        call = self._calls.get(message_id)
        if call is not None:
            call.fail(InternalError(message_id))

    async def _watch_workers(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            with contextlib.suppress(*_BROKER_ERRORS):  # the listener reports a lost broker
                await self._read_who_began()
                await self._fail_lost_calls()

    async def _read_who_began(self) -> None:
        waiting = {name: call for name, call in self._calls.items() if call.worker is None}
        if not waiting:
            return
        workers = await self._redis.mget([begun_key(name) for name in waiting])
        for call, worker in zip(waiting.values(), workers, strict=True):
            call.worker = str(worker, "utf-8") if isinstance(worker, bytes) else None

    async def _fail_lost_calls(self) -> None:
        workers = {call.worker for call in self._calls.values() if call.worker}
        dead = {w for w in workers if not await self._redis.exists(heartbeat_key(w))}
        now = time.monotonic()
        for call in list(self._calls.values()):
            if call.worker in dead:
                call.fail(WorkerLost())
            elif call.worker is None and now > call.pickup_by:
                call.fail(NoWorker())

    def _fail_all(self, error: BrainTumorError) -> None:
        for call in list(self._calls.values()):
            call.fail(error)


class CeleryDatasetIngestor:
    """Has a curation worker check and store a data set."""

    def __init__(self, channel: WorkChannel, *, pickup_timeout: float) -> None:
        self._channel = channel
        self._pickup_timeout = pickup_timeout

    @property
    def reply_to(self) -> str:
        return self._channel.reply_to

    async def ingest(self, request: IngestRequest, timeout: float) -> str:
        """The id of the stored data set. ``timeout`` is in seconds; raises what the worker did."""
        addressed = replace(
            request,
            reply_to=self._channel.reply_to,
            take_up_by=time.time() + min(self._pickup_timeout, timeout),
        )
        (result,) = await self._channel.call(
            INGEST_DATASET,
            addressed.to_wire(),
            timeout=timeout,
            pickup_timeout=self._pickup_timeout,
        )
        if isinstance(result, BrainTumorError):
            raise result
        return str(result)


class CeleryJobQueue:
    """:class:`core.ports.JobQueue`: a message bears its job's id, by which it is known again."""

    def __init__(self, settings: Settings) -> None:
        self._producer = make_producer(settings)
        self._client: Final[Any] = redis.Redis.from_url(
            settings.broker_url,
            socket_timeout=settings.broker_timeout_seconds,
            socket_connect_timeout=settings.broker_timeout_seconds,
        )

    def enqueue(self, job_id: str) -> None:
        """See :class:`core.ports.JobQueue`."""
        send(self._producer, RUN_TRAINING_JOB, job_id, job_id)

    def waiting(self) -> frozenset[str]:
        """See :class:`core.ports.JobQueue`.

        Kombu's book of what workers have taken is not asked: there, a message stays as long as its
        job runs, and for days if its worker was killed.
        """
        try:
            messages = self._client.lrange(TRAINING_QUEUE, 0, -1)
        except _BROKER_ERRORS as exc:
            raise BrokerUnavailable() from exc
        return frozenset(filter(None, map(_message_id, messages)))

    def close(self) -> None:
        self._producer.close()
        self._client.close()


def _message_id(message: bytes) -> str | None:
    """The id that a message was sent with, or None if it is none of Celery's."""
    try:
        return str(json.loads(message)["headers"]["id"])
    except (ValueError, KeyError, TypeError):
        return None
