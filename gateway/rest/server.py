"""uvicorn inside the gateway's event loop: signals stay with the gRPC server, which says when to drain."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from gateway.rest.tls import context_factory
from service_kit.errors import Unavailable
from service_kit.tls import KeyPair


class _QuietServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class RestServer:
    def __init__(
        self,
        app: FastAPI,
        host: str,
        port: int,
        *,
        drain_seconds: float,
        max_concurrent: int,
        tls: KeyPair | None = None,
    ) -> None:
        self._address = (host, port)
        self._server = _QuietServer(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=max_concurrent,
                timeout_graceful_shutdown=max(1, round(drain_seconds)),
                ssl_context_factory=context_factory(tls),
            )
        )
        self._task: asyncio.Task[None] | None = None
        self.port = port

    @property
    def accepting(self) -> bool:
        return self._server.started and not self._server.should_exit

    async def start(self) -> None:
        """Returns once requests are accepted; a port that is taken is an OSError here and now."""
        listener = socket.create_server(self._address, family=_family(self._address[0]), reuse_port=False)
        self.port = listener.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="rest")
        while not self._server.started:
            if self._task.done():
                raise Unavailable("rest", "the REST server ended while starting") from self._task.exception()
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """No new requests; those under way may finish within the drain bound, then they are cancelled."""
        if self._task is None:
            return
        self._server.should_exit = True
        await self._task


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
