"""A broker that is away is waited for, as long as a run may stand still; the run obeys its orders meanwhile.

Invariant: what is called again has failed for good before, so nothing of it is still on its way.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from service_kit.errors import Unavailable

T = TypeVar("T")


class LogUnavailable(Exception):
    """The broker was away for longer than a run may stand still."""


@dataclass(frozen=True)
class Patience:
    """`check` raises Halt where there is an order to stop; `told` hears of each outage once."""

    seconds: float
    check: Callable[[], None]
    told: Callable[[str], None]
    first_pause: float = 0.5
    longest_pause: float = 10.0

    def outlast(self, call: Callable[[], T]) -> T:
        """call(), again and again while the broker is away. Raises LogUnavailable."""
        away_since: float | None = None
        pause = self.first_pause
        while True:
            try:
                result = call()
            except Unavailable as error:
                now = time.monotonic()
                if away_since is None:
                    away_since = now
                    self.told(f"the broker is away, the run waits for it: {error.message}")
                if now - away_since >= self.seconds:
                    raise LogUnavailable(
                        f"the broker was away for {now - away_since:.0f} s: {error.message}"
                    ) from error
            else:
                if away_since is not None:
                    self.told(f"the broker is back after {time.monotonic() - away_since:.0f} s")
                return result
            self.check()
            time.sleep(pause)
            pause = min(pause * 2, self.longest_pause)
