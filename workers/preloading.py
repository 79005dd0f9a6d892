"""Loads models that are about to serve, so that the first caller does not wait for them."""

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

import msgpack
import redis
from redis.exceptions import RedisError

from core.errors import BrainTumorError
from core.task_names import preload_channel

log = logging.getLogger(__name__)

_FIRST_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 1.0
_RECONNECT_SECONDS: Final = 1.0
_LAST_MESSAGE_SECONDS: Final = 5.0
_REPLY_TTL_SECONDS: Final = 60


class Preloading:
    """A thread that listens for models to load until it is stopped.

    What is said while the broker is away is missed, and what cannot be loaded is logged: in both
    cases the model is loaded, or refused, when it is first asked for.
    """

    def __init__(self, client: redis.Redis, load: Callable[[str], object]) -> None:
        self._client: Final[Any] = client
        self._load = load
        self._channel: Final = preload_channel(client.get_connection_kwargs().get("db") or 0)
        self._listening = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="preloading", daemon=True)

    def start(self) -> None:
        """Returns once it listens, or after a while without a broker."""
        self._thread.start()
        self._listening.wait(_FIRST_SECONDS)

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_LAST_MESSAGE_SECONDS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except RedisError as exc:
                log.debug("preloading_without_broker error=%s", type(exc).__name__)
                self._stopped.wait(_RECONNECT_SECONDS)
            except Exception:
                log.exception("preloading_failed")
                self._stopped.wait(_RECONNECT_SECONDS)

    def _listen(self) -> None:
        with self._client.pubsub() as channel:
            channel.subscribe(self._channel)
            while not self._stopped.is_set():
                message = channel.get_message(timeout=_POLL_SECONDS)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._listening.set()
                elif message["type"] == "message":
                    self._take(message["data"])

    def _take(self, data: Any) -> None:
        try:
            request = msgpack.unpackb(data)
            digest, reply_to = str(request["digest"]), str(request["reply_to"])
        except Exception:
            log.exception("preload_unreadable")
            return
        try:
            self._load(digest)
        except BrainTumorError as error:
            log.warning("preload_failed reason=%s message=%s", error.reason, error.message)
        except Exception:  # of a runtime that cannot read the graph
            log.exception("preload_failed")
        with self._client.pipeline(transaction=False) as pipe:
            pipe.rpush(reply_to, b"1")
            pipe.expire(reply_to, _REPLY_TTL_SECONDS)
            pipe.execute()
