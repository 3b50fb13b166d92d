"""Replicas that failed to take a version: the run does not wait for them, and they are tried again beside it.

Invariant: a replica is in again only once it serves the newest version; until then no publication waits for it.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

R = TypeVar("R")

PAUSE_SECONDS = 2.0


class Latecomers(Generic[R]):
    """R is what each is asked for; `update` asks one replica once, with a deadline, and answers whether it took it."""

    def __init__(self, update: Callable[[str, R], bool], pause_seconds: float = PAUSE_SECONDS) -> None:
        self._update = update
        self._pause = pause_seconds
        self._newest: R | None = None
        self._lock = threading.Lock()
        self._behind: set[str] = set()
        self._tried: set[str] = set()

    def ask_for(self, request: R) -> set[str]:
        """From now on this is the newest version. Returns those that are still left out."""
        with self._lock:
            self._newest = request
            return set(self._behind)

    def leave_out(self, replicas: Iterable[str]) -> None:
        """Tried again, each in a thread of its own, until it has the newest version."""
        with self._lock:
            new = set(replicas) - self._tried
            self._behind |= set(replicas)
            self._tried |= new
        for replica in sorted(new):
            threading.Thread(target=self._catch_up, args=[replica], name=f"late-{replica}", daemon=True).start()

    def keep_only(self, replicas: Iterable[str]) -> None:
        """One that is gone for good is no longer asked for."""
        with self._lock:
            self._behind &= set(replicas)

    def _catch_up(self, replica: str) -> None:
        pause = threading.Event()
        while True:
            pause.wait(self._pause)
            with self._lock:
                if replica not in self._behind:
                    self._tried.discard(replica)
                    return
                request = self._newest
            if request is None or not self._update(replica, request):
                continue
            with self._lock:
                if request is self._newest:
                    self._behind.discard(replica)
