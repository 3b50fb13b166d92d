"""Which replica answers a call: the one that has its prefix in the cache.

Rendezvous hashing (Thaler and Ravishankar, 1998): each prefix ranks the replicas by a hash of both, and belongs to the
first. Invariant: as long as the replicas are the same, none of them fails and none is overloaded, a prefix always goes
to the same one; a replica that comes or goes moves only the prefixes that it wins or held.

- Spill-over: a replica with `overload` more items in flight than the least loaded passes a prefix on to the next.
- Re-homing: one that failed gets nothing for `rest_seconds`, unless all rest: then the ranking alone decides.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager


class Affinity:
    """`clock` gives seconds that never run backwards."""

    def __init__(self, *, overload: int, rest_seconds: float, clock: Callable[[], float]) -> None:
        self._overload = overload
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._in_flight: defaultdict[str, int] = defaultdict(int)
        self._rests_until: dict[str, float] = {}

    def home(self, prefix: str, replicas: Collection[str], but: Collection[str] = ()) -> str:
        """The replica for this prefix now, none of `but`. `replicas` must hold another one."""
        wanted = [replica for replica in ranked(prefix, replicas) if replica not in but]
        awake = [replica for replica in wanted if self._rests_until.get(replica, 0.0) <= self._clock()] or wanted
        least = min(self._in_flight[replica] for replica in awake)
        return next(replica for replica in awake if self._in_flight[replica] - least < self._overload)

    @contextmanager
    def carrying(self, replica: str, items: int) -> Iterator[None]:
        """Counts the items as in flight there."""
        self._in_flight[replica] += items
        try:
            yield
        finally:
            self._in_flight[replica] -= items

    def failed(self, replica: str) -> None:
        self._rests_until[replica] = self._clock() + self._rest_seconds

    def answered(self, replica: str) -> None:
        self._rests_until.pop(replica, None)


def ranked(prefix: str, replicas: Collection[str]) -> Sequence[str]:
    return sorted(replicas, key=lambda replica: hashlib.blake2b(f"{replica}\0{prefix}".encode()).digest(), reverse=True)
