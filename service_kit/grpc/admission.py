"""Which calls are let in: none before the service is ready, none once it drains, never more than the limit.

Invariant: a call that is refused was not begun, so the caller may send it again (UNAVAILABLE and RESOURCE_EXHAUSTED
both carry RetryInfo). Health and reflection are not asked here: they answer in every phase.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum

from opentelemetry import metrics

from service_kit.errors import Code, ResourceExhausted, ServiceError
from service_kit.grpc.handlers import Context

_RETRY_SECONDS = 1.0


class Phase(Enum):
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Admission:
    """Counts the calls in flight."""

    def __init__(self, service: str, limit: int) -> None:
        self.phase = Phase.STARTING
        self.in_flight = 0
        self._service = service
        self._limit = limit
        self._active = metrics.get_meter(__name__).create_up_down_counter(
            "rpc.server.active_calls", unit="{call}", description="Calls being served"
        )

    @asynccontextmanager
    async def __call__(self, method: str, context: Context) -> AsyncIterator[None]:
        if self.phase is not Phase.SERVING:
            raise self.refusal()
        if self.in_flight >= self._limit:
            raise ResourceExhausted(
                "TOO_MANY_CALLS", f"{self._service} already serves {self._limit} calls", retry_after=_RETRY_SECONDS
            )
        self.in_flight += 1
        self._active.add(1)
        try:
            yield
        finally:
            self.in_flight -= 1
            self._active.add(-1)

    def refusal(self) -> ServiceError:
        """Why no call is let in in this phase."""
        return ServiceError(
            Code.UNAVAILABLE,
            f"SERVICE_{self.phase.name}",
            f"{self._service} is {self.phase.value}",
            metadata={"service": self._service},
            retry_after=_RETRY_SECONDS,
        )
