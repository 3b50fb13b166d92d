"""Calls that want the replica which holds their prefix in its cache.

Invariant: a call is sent to one replica at a time: first to the home of its prefix and, where that one is away, to the
next of the ranking, until one answers, none is left or the time is up. So only what changes nothing may be sent.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from service_kit.errors import Unavailable
from service_kit.grpc.affinity import Affinity
from service_kit.grpc.channel import call_deadline, service_error
from service_kit.grpc.replicas import Replicas

_REFRESH_SECONDS = 10.0
_REST_SECONDS = 10.0
T = TypeVar("T")
# Sends on this channel, with this timeout.
Send = Callable[[grpc.aio.Channel, float], Awaitable[T]]


class AffineReplicas:
    def __init__(
        self, target: str, open_channel: Callable[[str], grpc.aio.Channel], *, dependency: str, overload: int
    ) -> None:
        """`overload`: the items that the home of a prefix may have in flight beyond the least loaded replica."""
        self._dependency = dependency
        self._replicas = Replicas(target, open_channel, refresh_seconds=_REFRESH_SECONDS, dependency=dependency)
        self._affinity = Affinity(overload=overload, rest_seconds=_REST_SECONDS, clock=time.monotonic)

    async def call(self, prefix: str, send: Send[T], limit_seconds: float, *, items: int = 1) -> T:
        """`items` is what the call counts for in its replica's queue. Raises ServiceError."""
        until = time.monotonic() + limit_seconds
        tried: list[str] = []
        while True:
            addresses = await self._replicas.addresses()
            replica = self._affinity.home(prefix, addresses, but=tried)
            try:
                with self._affinity.carrying(replica, items):
                    answer = await self._send(replica, send, until - time.monotonic())
            except Unavailable:
                self._affinity.failed(replica)
                tried.append(replica)
                if set(addresses) <= set(tried) or time.monotonic() >= until:
                    raise
                continue
            self._affinity.answered(replica)
            return answer

    async def close(self) -> None:
        await self._replicas.close()

    async def _send(self, replica: str, send: Send[T], seconds: float) -> T:
        try:
            return await send(self._replicas.channel(replica), call_deadline(seconds))
        except grpc.aio.AioRpcError as error:
            raise service_error(error, self._dependency) from error
