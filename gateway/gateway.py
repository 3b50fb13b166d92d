"""The gateway put together: the services behind it, the guard before it, gRPC and REST beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import grpc

from gateway.auth.guard import Guard
from gateway.auth.guarded_server import GuardedServer
from gateway.backends import Backends
from gateway.rest.app import create_app
from gateway.rest.server import RestServer
from gateway.server import add_services
from gateway.settings import GatewaySettings


class Gateway:
    """Made within the event loop that serves it. The steps are those of service_kit.grpc.serving.serve."""

    def __init__(self, settings: GatewaySettings) -> None:
        guard = Guard.of(settings)
        self._guard = guard
        self._backends = Backends(settings)
        self.rest = RestServer(
            create_app(self._backends, guard, ready=lambda: self.rest.accepting),
            settings.host,
            settings.rest_port,
            drain_seconds=settings.drain_seconds,
            max_concurrent=settings.max_concurrent_calls,
            tls=settings.public_tls,
        )

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        return add_services(cast(grpc.aio.Server, GuardedServer(server, self._guard)), self._backends)

    async def prepare(self) -> None:
        await self.rest.start()

    async def drain(self) -> None:
        await self.rest.stop()

    async def close(self) -> None:
        await self._backends.close()
