"""Workers' answers in Redis or Valkey, for whoever asks the same. Off unless it is configured.

It shares the broker's memory, which a full cache must not take from messages: the answers have a
budget of their own, and the oldest make room for the newest.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable
from typing import Any, Final

import msgpack
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.messages import prediction_from_wire, prediction_to_wire
from core.prediction import Prediction
from core.question import Question
from core.settings import Settings

log = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 0.1
"""How long anybody waits for the cache."""
SILENCE_SECONDS: Final = 5.0
"""How long a cache that was away or slow is not asked again."""
_CONNECTIONS: Final = 8
_SEAL_BYTES: Final = 16
_OVERHEAD_BYTES: Final = 512
"""What an answer takes beside itself in Valkey, with its key and its place in the book, at most."""

ANSWER_KEY: Final = "braintumor:answers:"
BOOK_KEY: Final = "braintumor:answers"
HELD_KEY: Final = "braintumor:answers-held"

_PUT: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local lifetime, most, size = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local held = redis.call('EXISTS', KEYS[2]) == 1 and redis.call('GET', KEYS[3]) or 0
redis.call('SET', KEYS[1], ARGV[1], 'PX', lifetime)
held = held + size * redis.call('ZADD', KEYS[2], now + lifetime * 1000, KEYS[1] .. ' ' .. size)
for _ = 1, 1000 do
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  local alive = oldest[1] and tonumber(oldest[2]) > now
  if not oldest[1] or (alive and held <= most) then break end
  local key, bytes = string.match(oldest[1], '^(.+) (%d+)$')
  if alive then redis.call('DEL', key) end
  redis.call('ZREM', KEYS[2], oldest[1])
  held = held - bytes
end
redis.call('SET', KEYS[3], math.max(held, 0), 'PX', lifetime)
redis.call('PEXPIRE', KEYS[2], lifetime)
"""
"""Keeps an answer, writes its size in a book by the microsecond in which it expires, and takes out
what has expired, and the oldest while all of them are over the budget. A thousand at a time, so
that the broker is not held up; the next put goes on. When the last answer expires, so does the
book."""


class RedisPredictionCache:
    """:class:`core.ports.PredictionCache` in Redis or Valkey.

    ``made_with`` names the software and what it runs on: what another software said is no answer.
    A cache that does not answer in time is left alone for a while, which the log tells once.
    """

    def __init__(self, settings: Settings, *, made_with: str) -> None:
        self._lifetime_ms: Final = max(round(settings.result_cache_seconds * 1000), 1)
        self._total_bytes: Final = settings.result_cache_bytes
        self._answer_bytes: Final = settings.result_cache_answer_bytes
        self._made_with: Final = made_with
        self._redis: Final = _client(settings.broker_url)
        self._unfinished: Final[set[asyncio.Future[Any]]] = set()
        self._silent_until = 0.0
        self._away = False

    async def get(self, question: Question) -> Prediction | None:
        if self._is_silent():
            return None
        fingerprint = question.fingerprint(self._made_with)
        kept = await self._in_time(self._redis.get(ANSWER_KEY + fingerprint))
        return None if kept is None else _unsealed(kept, fingerprint)

    async def put(self, question: Question, prediction: Prediction) -> None:
        fingerprint = question.fingerprint(self._made_with)
        answer = _sealed(prediction, fingerprint)
        size = len(answer) + _OVERHEAD_BYTES
        if self._is_silent() or len(answer) > self._answer_bytes or size > self._total_bytes:
            return
        keys = (ANSWER_KEY + fingerprint, BOOK_KEY, HELD_KEY)
        limits = (self._lifetime_ms, self._total_bytes, size)
        await self._in_time(self._redis.eval(_PUT, len(keys), *keys, answer, *limits))

    async def close(self) -> None:
        if self._unfinished:  # they end by themselves, soon
            await asyncio.wait(self._unfinished)
        await self._redis.aclose()

    def _is_silent(self) -> bool:
        return time.monotonic() < self._silent_until

    async def _in_time(self, asked: Awaitable[Any]) -> Any:
        """What the server says; None if it does not say it in time, or not at all.

        A question is never cancelled, only left alone: a client that is just connecting may
        swallow a cancellation, and nobody must wait for it.
        """
        task = asyncio.ensure_future(asked)
        self._unfinished.add(task)
        task.add_done_callback(self._finished)
        await asyncio.wait((task,), timeout=PATIENCE_SECONDS)
        error = task.exception() if task.done() else TimeoutError()
        if error is None:
            self._was_there()
            return task.result()
        if not isinstance(error, RedisError | OSError):
            log.error("result_cache_failed", exc_info=error)
        self._was_away(error)
        return None

    def _finished(self, task: asyncio.Future[Any]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that nobody complains that nobody did

    def _was_away(self, error: BaseException) -> None:
        self._silent_until = time.monotonic() + SILENCE_SECONDS
        if not self._away:
            log.warning("result_cache_away error=%s", type(error).__name__)
        self._away = True

    def _was_there(self) -> None:
        if self._away:
            log.warning("result_cache_back")
        self._away = False


def _client(url: str) -> aioredis.Redis:
    pool = aioredis.BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=PATIENCE_SECONDS,
        socket_timeout=PATIENCE_SECONDS,
        socket_connect_timeout=PATIENCE_SECONDS,
        # One immediate second try for a stale connection.
        retry=Retry(NoBackoff(), 1),
    )
    return aioredis.Redis.from_pool(pool)


def _sealed(prediction: Prediction, fingerprint: str) -> bytes:
    answer: bytes = msgpack.packb(prediction_to_wire(prediction))
    return _seal(answer, fingerprint) + answer


def _unsealed(kept: bytes, fingerprint: str) -> Prediction | None:
    """The answer, or None if it is none that this software gave to this question."""
    seal, answer = kept[:_SEAL_BYTES], kept[_SEAL_BYTES:]
    try:
        if seal == _seal(answer, fingerprint):
            return prediction_from_wire(msgpack.unpackb(answer))
    except Exception as exc:  # of another build that calls itself the same version
        log.debug("cached_answer_foreign key=%s error=%s", fingerprint, type(exc).__name__)
    log.warning("cached_answer_unreadable key=%s", fingerprint)
    return None


def _seal(answer: bytes, fingerprint: str) -> bytes:
    """Tells an answer from garbage, not from a forgery: who writes here could forge replies too."""
    return hashlib.sha256(fingerprint.encode() + answer).digest()[:_SEAL_BYTES]
