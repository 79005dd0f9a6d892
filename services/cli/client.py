"""The connection to a server, and calls on it that fail with :class:`ServerRefused`."""

import getpass
import random
import re
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc
from braintumor.v1 import (
    audit_pb2_grpc,
    classifier_pb2_grpc,
    datasets_pb2_grpc,
    models_pb2_grpc,
    training_pb2_grpc,
)
from google.protobuf.message import Message

from core.settings import MIB
from services.cli.refusals import ServerRefused, refusal_of

T = TypeVar("T")

READ_SECONDS: Final = 30.0
SLOW_SECONDS: Final = 600.0
ATTEMPTS: Final = 5
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 8.0

_OPTIONS: Final = [("grpc.max_receive_message_length", 128 * MIB)]
_CALLER: Final = "x-braintumor-caller"


class Client:
    """One channel and a stub for each service."""

    def __init__(self, address: str) -> None:
        self.address: Final = address
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._metadata = _caller_metadata()
        self.classifier = classifier_pb2_grpc.ClassifierStub(self._channel)
        self.datasets = datasets_pb2_grpc.DatasetsStub(self._channel)
        self.training = training_pb2_grpc.TrainingStub(self._channel)
        self.models = models_pb2_grpc.ModelsStub(self._channel)
        self.audit = audit_pb2_grpc.AuditStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def call(
        self,
        method: Callable[..., T],
        request: Message | Iterator[Message],
        *,
        timeout: float | None = READ_SECONDS,
    ) -> T:
        """The answer to a request (or to a stream of them). Raises ``ServerRefused``."""
        try:
            return method(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise ServerRefused(refusal_of(error)) from error

    def stream(self, method: Callable[..., Any], request: Message) -> Iterator[Any]:
        """The answers to a request, as they come. Raises ``ServerRefused``."""
        answers = method(request, metadata=self._metadata)
        try:
            yield from answers
        except grpc.RpcError as error:
            raise ServerRefused(refusal_of(error)) from error
        finally:
            answers.cancel()

    def check_reachable(self, timeout: float = READ_SECONDS) -> None:
        """Raises ``ServerRefused`` if no server answers. Any answer will do."""
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        stub: Any = health_pb2_grpc.HealthStub(self._channel)
        try:
            self.call(stub.Check, health_pb2.HealthCheckRequest(), timeout=timeout)
        except ServerRefused as error:
            if error.refusal.unreachable:
                raise


def with_retries(
    attempt: Callable[[], T],
    *,
    attempts: int = ATTEMPTS,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """What ``attempt`` gives, tried again while the server is busy or away.

    Waits as long as the server says (RetryInfo), else twice as long each time. Only for requests
    that are safe to repeat: those that carry a request id, and reads. Raises ``ServerRefused``.
    """
    for number in range(1, attempts):
        try:
            return attempt()
        except ServerRefused as error:
            if not error.refusal.retryable:
                raise
            sleep(_pause(number, error.refusal.retry_after))
    return attempt()


def _pause(number: int, asked_for: float | None) -> float:
    base = asked_for if asked_for is not None else _FIRST_PAUSE * 2 ** (number - 1)
    jitter = 1 + random.random() / 4  # noqa: S311 - spreads callers out, guards nothing
    return min(base, _LONGEST_PAUSE) * jitter


def _caller_metadata() -> tuple[tuple[str, str], ...]:
    """Who is asking, for the audit log; nothing where the system does not know."""
    try:
        name = re.sub(r"[^A-Za-z0-9@._:-]", "_", getpass.getuser())[:128]
    except (KeyError, OSError):
        return ()
    return ((_CALLER, name),) if name else ()
