"""One gRPC server, from the first health check to the last answer.

Invariant: health "" is SERVING as long as the process can answer at all; each service is SERVING only between the end
of prepare() and the first SIGTERM or SIGINT. Then, once health's watchers have heard, no call is let in, those in
flight finish up to drain_seconds (what has not is told that it was interrupted), close() runs, telemetry is flushed and
serve() returns (exit 0). Where a port is set for it, health alone is also served in plaintext.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

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
from service_kit.logs import configure_logging
from service_kit.settings import ServiceSettings
from service_kit.telemetry import configure_telemetry
from service_kit.tls import KeyPair, TlsSettings

log = logging.getLogger(__name__)

Register = Callable[[grpc.aio.Server], Sequence[str]]
Step = Callable[[], Awaitable[None]]

_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVING = health_pb2.HealthCheckResponse.SERVING
# Room above the service's own limit for health, reflection and the refusals themselves.
_BACKSTOP_CALLS = 256
# For health's watchers to go elsewhere before calls are refused.
_HEARD_SECONDS = 0.25
# Above the drain's bound, for telling those who are cut off.
_TELL_SECONDS = 1.0
_AVAILABLE_SECONDS = 0.5


class StartFailed(Exception):
    """The service could not begin; the log has said why."""


async def serve(
    settings: ServiceSettings,
    service: str,
    register: Register,
    *,
    prepare: Step | None = None,
    drain: Step | None = None,
    close: Step | None = None,
    failure: Step | None = None,
    available: Callable[[], bool] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. `register` adds servicers and returns their full names.

    `drain` is for what else the process serves: it runs beside the drain of gRPC and keeps the same bound.
    `failure` returns when the process has lost what it cannot work without and will not regain: from then on health is
    NOT_SERVING, "" too, so that whoever supervises it starts it again. `available` is asked again and again: while it
    says no (a dependency is away and may come back) the services are NOT_SERVING, and "" stays as it is.
    """
    configure_logging(service, settings.log_level)
    exported = configure_telemetry(service, settings.otlp_endpoint)
    stop = _stop_signal()
    server = GrpcServer(settings, service, register)
    try:
        port = await server.start()
        log.info("listening", extra={"host": settings.host, "port": port})
        if await _prepared(prepare, stop):
            await server.ready()
            log.info("serving", extra={"host": settings.host, "port": port, "services": server.names})
            async with _following(server, available):
                await _stopped_or_failed(server, failure, stop)
    finally:
        log.info("draining", extra={"in_flight": server.admission.in_flight, "limit_seconds": settings.drain_seconds})
        try:
            await asyncio.gather(server.drain(settings.drain_seconds), *([drain()] if drain is not None else []))
            if close is not None:
                await close()
            log.info("stopped")
        finally:
            await asyncio.to_thread(exported.shutdown)


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


def run_service(main: Coroutine[Any, Any, None]) -> NoReturn:
    """The edge of a process: run `main` and exit with 0, or with 1 after the log has said why."""
    try:
        asyncio.run(main)
    except StartFailed:
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        log.exception("the process ends")
        sys.exit(1)
    sys.exit(0)


async def _prepared(prepare: Step | None, stop: asyncio.Event) -> bool:
    """Whether prepare() came to its end; False where a signal came first."""
    if prepare is None:
        return not stop.is_set()
    preparing = asyncio.ensure_future(prepare())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({preparing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not preparing.done():
        preparing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await preparing
        return False
    try:
        await preparing
    except Exception as error:
        log.exception("cannot start", extra={"reason": str(error)})
        raise StartFailed(str(error)) from error
    return True


@asynccontextmanager
async def _following(server: GrpcServer, available: Callable[[], bool] | None) -> AsyncIterator[None]:
    """Health as `available` says, as long as this is open."""
    if available is None:
        yield
        return

    async def follow(available: Callable[[], bool]) -> None:
        offered = True
        while True:
            await asyncio.sleep(_AVAILABLE_SECONDS)
            if available() is not offered:
                offered = not offered
                log.warning("available again" if offered else "not available", extra={"services": server.names})
                await server.offer(offered)

    following = asyncio.create_task(follow(available), name="availability")
    try:
        yield
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def _stopped_or_failed(server: GrpcServer, failure: Step | None, stop: asyncio.Event) -> None:
    if failure is None:
        await stop.wait()
        return
    failing = asyncio.ensure_future(failure())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({failing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if failing.done():
        await server.fail()
        log.error("not serving any more: start the process again")
        await stopping
    else:
        failing.cancel()


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    return stop


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
