"""The gateway: ``python -m services.server``."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import grpc
import structlog
from braintumor.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    classifier_pb2,
    classifier_pb2_grpc,
    datasets_pb2,
    datasets_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    training_pb2,
    training_pb2_grpc,
)
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from core.errors import BrainTumorError, FailedPrecondition
from core.settings import MIB, Settings
from services.bootstrap import Deps, connect, make_sweeper
from services.health import DrainingHealth
from services.interceptors import CallInterceptor
from services.logging import configure_logging
from services.servicers.audit import AuditServicer
from services.servicers.classifier import ClassifierServicer
from services.servicers.datasets import DatasetsServicer
from services.servicers.models import ModelsServicer
from services.servicers.training import TrainingServicer
from services.supervisor.preflight import check_port
from services.usecases.audit import AuditUseCases
from services.usecases.datasets import DatasetUseCases
from services.usecases.models import ModelUseCases
from services.usecases.training import TrainingUseCases
from services.usecases.upload import UploadUseCase

log = structlog.stdlib.get_logger("services.server")  # not __main__

SERVICES: Final = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (classifier_pb2, "Classifier"),
        (datasets_pb2, "Datasets"),
        (training_pb2, "Training"),
        (models_pb2, "Models"),
        (audit_pb2, "Audit"),
    )
)
OTHER_CALLS: Final = 128
"""Calls beside classifications that are served at a time, watchers and health checks included."""
_RECEIVE_BYTES: Final = 64 * MIB
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class GatewayServer:
    """A gRPC server with health and reflection, which goes away in good order."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._health = DrainingHealth(deps.drain)
        self._server = grpc.aio.server(
            interceptors=[CallInterceptor()],
            options=_options(deps.settings),
            # Beyond what is refused with a reason: each call may hold a picture already.
            maximum_concurrent_rpcs=deps.settings.max_requests_in_flight + OTHER_CALLS,
        )
        services = cast("grpc.aio.Server", _ByName(self._server))
        _add_services(services, deps)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, services)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
            reflection.aio.ReflectionServicer(names), services
        )

    def bind(self, address: str) -> int:
        """The port it will listen on. Raises ``FailedPrecondition`` if the address is taken."""
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError:
            port = 0
        if port == 0:
            raise FailedPrecondition(
                f"Cannot listen on {address}: the address is in use or not of this machine. "
                "Choose another with BRAINTUMOR_ADDRESS."
            )
        return port

    async def start(self) -> None:
        await self._server.start()
        for name in SERVICES:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace: float) -> None:
        """Say that it goes away, let work in flight end for ``grace`` seconds, and end."""
        await self._health.enter_graceful_shutdown()
        self._deps.drain.begin()
        await self._server.stop(grace)


class _ByName:
    """Where services add their handlers, so that each call's is found by its method's name.

    Methods that are registered are each awaited by a task of its own, and for every call gRPC
    starts to wait for all of these tasks anew: thirty of them, for a call that is of one.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(tuple(handlers))

    def add_registered_method_handlers(self, _service: str, _handlers: Mapping[str, Any]) -> None:
        """They are among the generic ones, too."""


def build_server(deps: Deps, address: str | None = None) -> tuple[GatewayServer, int]:
    """The server, bound but not started, and its port. Raises ``FailedPrecondition``."""
    server = GatewayServer(deps)
    return server, server.bind(address or deps.settings.address)


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises any of the taxonomy's errors if it cannot start."""
    _check_address(settings.address)
    with _stop_signals() as stop:
        deps = await connect(settings)
        try:
            await _serve(deps, stop)
        finally:
            await deps.close()
    log.info("gateway_stopped")


async def _serve(deps: Deps, stop: asyncio.Event) -> None:
    server, port = build_server(deps)
    await server.start()
    sweeping = asyncio.create_task(make_sweeper(deps).run(), name="sweeper")
    log.info("gateway_started", address=deps.settings.address, port=port)
    try:
        await stop.wait()
    finally:
        log.info("gateway_stopping", drain_seconds=deps.settings.drain_seconds)
        sweeping.cancel()
        await server.stop(deps.settings.drain_seconds)
        await asyncio.gather(sweeping, return_exceptions=True)


def _check_address(address: str) -> None:
    # gRPC would say it too, but in a line of its own library and without the reason.
    try:
        check_port(address)
    except FailedPrecondition as error:
        message = error.description.replace("--address", "BRAINTUMOR_ADDRESS")
        raise FailedPrecondition(message) from error


@contextlib.contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """An event that the first stop signal sets."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)


def _options(settings: Settings) -> list[tuple[str, Any]]:
    return [
        # A picture somewhat over its limit is refused by us, with a reason and an audit row.
        ("grpc.max_receive_message_length", max(_RECEIVE_BYTES, 2 * settings.max_image_bytes)),
        ("grpc.max_send_message_length", -1),
        # Two servers on one port would share its calls without a word.
        ("grpc.so_reuseport", 0),
        # Clients behind a load balancer need pings to keep idle connections open.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A caller that vanished without a word is noticed, and its work dropped.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]


def _add_services(server: grpc.aio.Server, deps: Deps) -> None:
    settings, uow_factory, long_work = deps.settings, deps.uow_factory, deps.long_work
    datasets = DatasetUseCases(
        uow_factory=uow_factory,
        artefacts=deps.artefacts,
        ingestor=deps.ingestor,
        ingest_timeout=settings.ingest_timeout_seconds,
    )
    uploads = UploadUseCase(
        uow_factory=uow_factory,
        staging=deps.staging,
        ingestor=deps.ingestor,
        long_work=long_work,
        max_bytes=settings.max_dataset_bytes,
        max_file_bytes=settings.max_image_bytes,
        ingest_timeout=settings.ingest_timeout_seconds,
    )
    training = TrainingUseCases(
        uow_factory=uow_factory,
        queue=deps.queue,
        artefacts=deps.artefacts,
        clock=deps.clock,
        drain=deps.drain,
    )
    models = ModelUseCases(
        uow_factory=uow_factory,
        artefacts=deps.artefacts,
        preloader=deps.preloader,
        clock=deps.clock,
    )
    audit = AuditUseCases(uow_factory=uow_factory, clock=deps.clock)
    classifier_pb2_grpc.add_ClassifierServicer_to_server(ClassifierServicer(deps.classify), server)
    datasets_pb2_grpc.add_DatasetsServicer_to_server(DatasetsServicer(datasets, uploads), server)
    training_pb2_grpc.add_TrainingServicer_to_server(TrainingServicer(training), server)
    models_pb2_grpc.add_ModelsServicer_to_server(ModelsServicer(models, long_work), server)
    audit_pb2_grpc.add_AuditServicer_to_server(AuditServicer(audit, long_work), server)


def main() -> int:
    """Run the gateway; the exit status."""
    try:
        settings = Settings.from_environment()
        configure_logging(settings)
        asyncio.run(serve(settings))
    except BrainTumorError as error:
        sys.stderr.write(f"The gateway cannot run. {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
