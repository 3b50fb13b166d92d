"""What may be committed. Invariant: a partition's committed offset never passes a request that has no terminal record.

What was finished and could not be committed before its partition went away is remembered: if it comes again it need not
be played again. The tracker is told from two threads (the event loop that finishes episodes, and the thread that polls
and is told of a rebalance), so it locks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Lock


class CommitTracker:
    def __init__(self) -> None:
        self._lock = Lock()
        self._taken: dict[int, dict[int, bool]] = {}  # partition -> offset in the order taken -> finished
        self._next: dict[int, int] = {}  # partition -> the offset after the last one taken
        self._committed: dict[int, int] = {}
        self._known: dict[int, set[int]] = {}  # of partitions that were revoked: finished, and not committed

    def take(self, partition: int, offset: int) -> bool:
        """The request at this offset was read. Whether it is to be played: not if its terminal record is known."""
        with self._lock:
            known = {earlier for earlier in self._known.get(partition, ()) if earlier >= offset}
            self._known[partition] = known
            taken = self._taken.setdefault(partition, {})
            taken.setdefault(offset, offset in known)
            self._next[partition] = max(offset + 1, self._next.get(partition, 0))
            return not taken[offset]

    def finish(self, partition: int, offset: int) -> None:
        """Its terminal record is on the broker."""
        with self._lock:
            taken = self._taken.get(partition)
            if taken is not None and offset in taken:
                taken[offset] = True
            else:  # revoked meanwhile
                self._known.setdefault(partition, set()).add(offset)

    def revoke(self, partitions: Iterable[int]) -> None:
        """Another worker reads these now: what is still played of them is no longer ours to commit."""
        with self._lock:
            for partition in partitions:
                taken = self._taken.pop(partition, {})
                self._known.setdefault(partition, set()).update(o for o, finished in taken.items() if finished)
                self._next.pop(partition, None)
                self._committed.pop(partition, None)

    def committable(self, positions: Mapping[int, int] | None = None) -> dict[int, int]:
        """The next offset to read of each partition whose contiguous prefix grew since the last `committed`.

        `positions` (the next offset to be polled) lets a partition with nothing open pass records that never came
        out of the poll, such as those that went to the dead letters.
        """
        with self._lock:
            ready: dict[int, int] = {}
            for partition in self._taken.keys() | (positions or {}).keys():
                upto = self._prefix(partition, (positions or {}).get(partition))
                if upto is not None and upto > self._committed.get(partition, -1):
                    ready[partition] = upto
            return ready

    def committed(self, offsets: Mapping[int, int]) -> None:
        with self._lock:
            for partition, upto in offsets.items():
                self._committed[partition] = upto
                taken = self._taken.get(partition, {})
                for offset in [offset for offset in taken if offset < upto]:
                    del taken[offset]

    def unfinished(self) -> int:
        with self._lock:
            return sum(not finished for taken in self._taken.values() for finished in taken.values())

    def _prefix(self, partition: int, position: int | None) -> int | None:
        for offset in sorted(self._taken.get(partition, {})):
            if not self._taken[partition][offset]:
                return offset
        known = [upto for upto in (self._next.get(partition), position) if upto is not None]
        return max(known, default=None)
