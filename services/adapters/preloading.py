"""Tells the inference workers what is about to serve, and waits for them."""

import logging
import time
from typing import Any, Final
from uuid import uuid4

import msgpack
import redis
from redis.exceptions import RedisError

from core.settings import Settings
from core.task_names import preload_channel, preloaded_key

log = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 5.0
_SPARE_SECONDS: Final = 2.0
"""By how much a broker's answer may be late."""


class RedisModelPreloader:
    """:class:`core.ports.ModelPreloader`: published to all workers, each of which answers."""

    def __init__(self, settings: Settings, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds: Final = patience_seconds
        self._client: Final[Any] = redis.Redis.from_url(
            settings.broker_url,
            socket_timeout=patience_seconds + _SPARE_SECONDS,
            socket_connect_timeout=settings.broker_timeout_seconds,
        )

    def preload(self, digest: str) -> None:
        """See :class:`core.ports.ModelPreloader`."""
        reply_to = preloaded_key(uuid4().hex)
        message = msgpack.packb({"digest": digest, "reply_to": reply_to})
        channel = preload_channel(self._client.get_connection_kwargs().get("db") or 0)
        try:
            told = int(self._client.publish(channel, message))
            done = self._count_done(reply_to, told)
        except RedisError as exc:
            log.warning("model_not_preloaded error=%s", type(exc).__name__)
            return
        log.info("model_preloaded digest=%s workers=%d", digest[:12], done)
        if done < told:
            log.warning("model_not_preloaded digest=%s workers=%d", digest[:12], told - done)

    def close(self) -> None:
        self._client.close()

    def _count_done(self, reply_to: str, told: int) -> int:
        give_up_at = time.monotonic() + self._patience_seconds
        for done in range(told):
            left = give_up_at - time.monotonic()
            if left <= 0 or self._client.blpop([reply_to], timeout=left) is None:
                return done
        return told
