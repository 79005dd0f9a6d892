"""The standard health service, whose watches do not hold up a server that goes away."""

import asyncio
from typing import Any, Final

from grpc_health.v1 import health, health_pb2

from services.drain import Drain

_LAST_WORD_SECONDS: Final = 0.2


class DrainingHealth(health.aio.HealthServicer):
    """Ends each watch once it could say NOT_SERVING."""

    def __init__(self, drain: Drain) -> None:
        super().__init__()
        self._drain = drain

    async def Watch(  # noqa: N802 - gRPC names the methods
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> None:
        watching = asyncio.create_task(super().Watch(request, context))
        draining = asyncio.create_task(self._drain.begins())
        try:
            await asyncio.wait((watching, draining), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((watching,), timeout=_LAST_WORD_SECONDS)
        finally:
            watching.cancel()
            draining.cancel()
            await asyncio.gather(watching, draining, return_exceptions=True)
