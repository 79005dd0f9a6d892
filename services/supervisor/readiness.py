"""Whether the stack can answer a scan yet."""

import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from core.settings import Settings
from core.task_names import heartbeat_key
from services.supervisor.address import bind_endpoint
from services.supervisor.stack import node_name

_PROBE_SECONDS: Final = 1.0

Probe = Callable[[], bool]


class Readiness:
    """Asks each part until it has said yes once."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._waiting = dict(probes)

    def missing(self) -> tuple[str, ...]:
        """The parts that are not ready yet."""
        for name in [name for name, ready in self._waiting.items() if ready()]:
            del self._waiting[name]
        return tuple(self._waiting)


def stack_readiness(settings: Settings) -> Readiness:
    """Ready is: the gateway reports SERVING and an inference worker's heart beats."""
    return Readiness(
        {
            "gateway": partial(gateway_serves, bind_endpoint(settings.address).local_address),
            "inference worker": partial(worker_lives, settings.broker_url, node_name("inference")),
        }
    )


def gateway_serves(address: str) -> bool:
    """Whether the gateway's health service answers SERVING."""
    if not _listens(address):
        return False
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)  # its type stub lacks the methods
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=_PROBE_SECONDS)
        except grpc.RpcError:
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def _listens(address: str) -> bool:
    # A refused gRPC channel waits a second before it tries again; a plain connect does not.
    endpoint = bind_endpoint(address)
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=_PROBE_SECONDS):
            return True
    except OSError:
        return False


def worker_lives(broker_url: str, node: str) -> bool:
    """Whether a worker of that node name keeps up its heartbeat key."""
    import redis

    client = redis.Redis.from_url(
        broker_url, socket_connect_timeout=_PROBE_SECONDS, socket_timeout=_PROBE_SECONDS
    )
    try:
        with client:
            return any(True for _ in client.scan_iter(match=heartbeat_key(f"{node}*"), count=1000))
    except redis.RedisError:
        return False
