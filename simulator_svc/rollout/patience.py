"""Retries with backoff while a dependency restarts, is full or swaps its weights.

Invariant: bounded in time, and only of failures that may pass.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from service_kit.errors import Code, ServiceError

logger = logging.getLogger(__name__)
T = TypeVar("T")

PASSING = frozenset({Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.ABORTED})


@dataclass(frozen=True)
class Patience:
    """How long the first failure may lie back, and how the pauses between attempts grow."""

    seconds: float = 120.0
    first_pause: float = 0.2
    longest_pause: float = 5.0

    async def attempt(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await call() until it succeeds. Raises its last ServiceError when it cannot pass or patience is over.

        The caller's own deadline (the request's expires_at) cancels this from outside.
        """
        loop = asyncio.get_running_loop()
        pause = self.first_pause
        gives_up_at: float | None = None
        while True:
            try:
                return await call()
            except ServiceError as error:
                now = loop.time()
                gives_up_at = now + self.seconds if gives_up_at is None else gives_up_at
                wait = max(pause * random.uniform(0.75, 1.25), error.retry_after or 0.0)
                if error.code not in PASSING or now + wait > gives_up_at:
                    raise
                logger.info("retrying", extra={"reason": error.reason, "pause_seconds": round(wait, 3)})
                await asyncio.sleep(wait)
                pause = min(pause * 2, self.longest_pause)
