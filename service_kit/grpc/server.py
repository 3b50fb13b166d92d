"""One gRPC server, from the first health check to the last answer.

Invariant: health "" is SERVING as long as the process can answer at all; each service is SERVING only between ready()
and drain(). Then, once health's watchers have heard, no call is let in, and those in flight finish up to the drain's
bound (what has not is told that it was interrupted). Where a port is set for it, health alone is also served in
plaintext.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from service_kit.grpc.admission import Admission, Phase
from service_kit.grpc.callers import BUILT_IN, Authorization, load_callers
from service_kit.grpc.certificates import CertificatesWrong, server_credentials
from service_kit.grpc.handlers import Around, Context
from service_kit.grpc.interceptors import AroundEveryCall, deadline, errors, is_infrastructure, validate
from service_kit.grpc.interruption import interruption
from service_kit.grpc.server_telemetry import telemetry
from service_kit.settings import ServiceSettings
from service_kit.tls import KeyPair, TlsSettings

log = logging.getLogger(__name__)

Register = Callable[[grpc.aio.Server], Sequence[str]]

_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVING = health_pb2.HealthCheckResponse.SERVING
# Room above the service's own limit for health, reflection and the refusals themselves.
_BACKSTOP_CALLS = 256
# For health's watchers to go elsewhere before calls are refused.
_HEARD_SECONDS = 0.25
# Above the drain's bound, for telling those who are cut off.
_TELL_SECONDS = 1.0


class StartFailed(Exception):
    """The service could not begin; the log has said why."""


class GrpcServer:
    """A server with health, reflection and the interceptors; tests start it without signals."""

    def __init__(self, settings: ServiceSettings, service: str, register: Register) -> None:
        self.admission = Admission(service, settings.max_concurrent_calls)
        self._settings = settings
        self._service = service
        self._health = HealthServicer()
        self._background: set[asyncio.Task[Any]] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._interrupting = False
        self._server = grpc.aio.server(
            interceptors=[
                AroundEveryCall(
                    [
                        telemetry,
                        deadline,
                        errors,
                        *_authorization(settings, service),
                        self.admission,
                        self._interruptible,
                    ],
                    validate,
                    _is_own,
                ),
                AroundEveryCall([errors, self._tracked], lambda message: None, is_infrastructure),
            ],
            options=_options(settings),
            maximum_concurrent_rpcs=settings.max_concurrent_calls + _BACKSTOP_CALLS,
        )
        self.names = list(register(self._server))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._probes: grpc.aio.Server | None = None
        if settings.offers_reflection:
            reflection.enable_server_reflection(
                [*self.names, "grpc.health.v1.Health", reflection.SERVICE_NAME], self._server
            )

    async def start(self) -> int:
        """Listen and return the port; alive, not yet serving."""
        for name in self.names:
            await self._health.set(name, _NOT_SERVING)
        port = _listen(self._server, self._settings.host, self._settings.grpc_port, self._settings.listener_tls)
        if self._settings.health_port is not None:
            self._probes = grpc.aio.server(options=_options(self._settings), maximum_concurrent_rpcs=_BACKSTOP_CALLS)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._probes)
            self.health_port = _listen(self._probes, self._settings.host, self._settings.health_port, None)
            await self._probes.start()
        await self._server.start()
        return port

    async def ready(self) -> None:
        self.admission.phase = Phase.SERVING
        for name in self.names:
            await self._health.set(name, _SERVING)

    async def offer(self, available: bool) -> None:
        """Whether whoever looks at health is to send calls here; those that come all the same are served."""
        for name in self.names:
            await self._health.set(name, _SERVING if available else _NOT_SERVING)

    async def fail(self) -> None:
        """Calls are still let in, for the service to say what is wrong."""
        for name in ["", *self.names]:
            await self._health.set(name, _NOT_SERVING)

    async def drain(self, seconds: float) -> None:
        """Send clients elsewhere, let nobody in, finish what is in flight, stop."""
        await self._health.enter_graceful_shutdown()
        # Watchers of health hear of it; what they sent before they did is still let in.
        heard = min(_HEARD_SECONDS, seconds / 10)
        await asyncio.sleep(heard)
        seconds -= heard
        self.admission.phase = Phase.DRAINING
        for task in self._background:
            task.cancel()
        stopping = asyncio.ensure_future(self._server.stop(seconds + _TELL_SECONDS))
        await asyncio.wait({stopping}, timeout=seconds)
        self._interrupting = True
        for task in self._serving:
            task.cancel()
        await stopping
        if self._probes is not None:
            await self._probes.stop(None)

    @asynccontextmanager
    async def _interruptible(self, method: str, context: Context) -> AsyncIterator[None]:
        """A call that outlasts the drain ends with a reason that says so."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._interrupting:
                raise
            task.uncancel()  # as below: a cancelled handler would send no status
            raise interruption(self._service) from None
        finally:
            self._serving.discard(task)

    @asynccontextmanager
    async def _tracked(self, method: str, context: Context) -> AsyncIterator[None]:
        """Health watches and reflection streams never end by themselves; a drain does not wait for them."""
        task = asyncio.current_task()
        assert task is not None
        self._background.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if self.admission.phase is not Phase.DRAINING:
                raise
            # grpc.aio sends no status for a cancelled handler, and the stream would stay open.
            task.uncancel()
            raise self.admission.refusal() from None
        finally:
            self._background.discard(task)


def _authorization(settings: ServiceSettings, service: str) -> list[Around]:
    """None where callers show no certificate: on a laptop, and at the gateway, which asks for keys."""
    if not isinstance(settings.listener_tls, TlsSettings):
        return []
    return [Authorization(service, load_callers(settings.callers_file or BUILT_IN))]


def _listen(server: grpc.aio.Server, host: str, port: int, tls: KeyPair | None) -> int:
    """The port that is listened on. Raises StartFailed after the log has said why."""
    address = f"{host}:{port}"
    try:
        if tls is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, server_credentials(tls))
    except CertificatesWrong as error:
        log.error("cannot listen: the certificates are wrong", extra={"address": address, "error": str(error)})
        raise StartFailed(f"cannot listen on {address}: {error}") from error
    except RuntimeError as error:
        log.error("cannot listen: is the port taken?", extra={"address": address, "error": str(error)})
        raise StartFailed(f"cannot listen on {address}") from error


def _is_own(method: str) -> bool:
    return not is_infrastructure(method)


def _options(settings: ServiceSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Two processes on one port would share its calls silently.
        ("grpc.so_reuseport", 0),
        # Callers look the name up again when a connection ends: so new replicas get their share of old callers. Calls
        # under way go on.
        ("grpc.max_connection_age_ms", 300_000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
    ]
