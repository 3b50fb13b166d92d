"""Which calls of a client are sent again, and how often.

Invariant: a call that may have had an effect is never sent twice: what changes something is repeated only where the
other end says that it was refused before it began. Attempts are counted apart from calls.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from service_kit.errors import Code, ServiceError

Result = TypeVar("Result")

# A replica that starts or drains refuses before anything is begun.
_NOT_BEGUN = frozenset({"SERVICE_STARTING", "SERVICE_DRAINING"})


@dataclass
class Retries:
    """`seconds`: for how long after its first failure a call is tried again."""

    seconds: float
    first_pause: float = 0.1
    longest_pause: float = 2.0
    calls: int = 0
    attempts: int = 0

    async def call(self, attempt: Callable[[], Awaitable[Result]], *, reads: bool) -> Result:
        """`reads`: it changes nothing, so it may be sent again whatever became of it. Raises the last ServiceError."""
        loop = asyncio.get_running_loop()
        self.calls += 1
        gives_up_at: float | None = None
        pause = self.first_pause
        while True:
            self.attempts += 1
            try:
                return await attempt()
            except ServiceError as error:
                gives_up_at = gives_up_at or loop.time() + self.seconds
                wait = max(pause * random.uniform(0.75, 1.25), error.retry_after or 0.0)
                if not may_pass(error, reads) or loop.time() + wait > gives_up_at:
                    raise
            await asyncio.sleep(wait)
            pause = min(pause * 2, self.longest_pause)


def may_pass(error: ServiceError, reads: bool) -> bool:
    if error.code is not Code.UNAVAILABLE:
        return False
    return reads or error.metadata.get("dependency_reason") in _NOT_BEGUN
