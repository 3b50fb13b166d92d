"""The life of a serving process, from its first log line to its last.

Invariant: the services are SERVING only between the end of prepare() and the first SIGTERM or SIGINT. Then calls in
flight finish up to drain_seconds, close() runs, telemetry is flushed and serve() returns (exit 0). What ends it
otherwise is logged, and the process exits with 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import uvloop

from service_kit.grpc.server import GrpcServer, Register, StartFailed
from service_kit.logs import configure_logging
from service_kit.settings import ServiceSettings
from service_kit.telemetry import configure_telemetry

log = logging.getLogger(__name__)

Step = Callable[[], Awaitable[None]]

_AVAILABLE_SECONDS = 0.5


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
            # What start-up made stays: looking through all of it again and again would stop the loop for half a second.
            gc.collect()
            gc.freeze()
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


def run_service(main: Coroutine[Any, Any, None]) -> NoReturn:
    """The edge of a process: run `main` and exit with 0, or with 1 after the log has said why."""
    try:
        uvloop.run(main)
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
