"""A channel whose certificates may change under it.

Invariant: a call uses the certificates that lie in the files when it begins; the calls before it go on over the
connections they have, which end with them or after _OLD_CALLS_SECONDS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc

from service_kit.grpc.certificates import Certificates, Material

Connect = Callable[[Material], grpc.aio.Channel]

# As long as the longest call: a watch that is taken up again after this is no loss.
_OLD_CALLS_SECONDS = 3600.0


class RenewingChannel(grpc.aio.Channel):
    """Made like any other channel: `connect` opens one with the given certificates."""

    def __init__(self, certificates: Certificates, connect: Connect) -> None:
        self._certificates = certificates
        self._connect = connect
        self._channel = connect(certificates.material)
        self._generation = 0
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(None)

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)
        for ending in self._ending:
            ending.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._current().channel_ready()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("unary_unary", args, kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("unary_stream", args, kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("stream_unary", args, kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("stream_stream", args, kwargs)

    def _method(self, shape: str, args: Any, kwargs: Any) -> Callable[..., Any]:
        """As the channel's own, but looked up again after each renewal."""
        made: tuple[int, Any] = (-1, None)

        def call(*call_args: Any, **call_kwargs: Any) -> Any:
            nonlocal made
            channel = self._current()
            if made[0] != self._generation:
                made = (self._generation, getattr(channel, shape)(*args, **kwargs))
            return made[1](*call_args, **call_kwargs)

        return call

    def _current(self) -> grpc.aio.Channel:
        material = self._certificates.renewed()
        if material is not None:
            old, self._channel = self._channel, self._connect(material)
            self._generation += 1
            ending = asyncio.get_running_loop().create_task(old.close(_OLD_CALLS_SECONDS))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        return self._channel
