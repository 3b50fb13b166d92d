"""How many requests are taken in.

Invariant: a refused request was not begun and may come again after `retry_after`. The last places are kept for a
judge, and the very last for a user's consultation, so a flood of rollouts does not lock them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inference_svc.engine.requests import Rank
from service_kit.errors import ResourceExhausted

SHARE = {Rank.CONSULTATION: 1.0, Rank.JUDGE: 0.95, Rank.ROLLOUT: 0.9}
RETRY_SECONDS = 1.0


class RequestAdmission:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.unfinished = 0

    @contextmanager
    def admitted(self, count: int, rank: Rank) -> Iterator[None]:
        places = max(1, int(self._limit * SHARE[rank]))
        if self.unfinished + count > places:
            raise ResourceExhausted(
                "ENGINE_QUEUE_FULL",
                f"{self.unfinished} requests are unfinished, {count} more would pass the limit of {places}",
                retry_after=RETRY_SECONDS,
            )
        self.unfinished += count
        try:
            yield
        finally:
            self.unfinished -= count
