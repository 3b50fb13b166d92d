"""The replicas behind a target: each address has a channel of its own, since a balanced one would scatter prefixes.

A target is a name that resolves to several addresses (a headless Service), or several of these with commas between.
It is resolved again every `refresh_seconds`; a name that does not resolve for a while keeps the addresses it had.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence

import grpc

from service_kit.errors import Unavailable

log = logging.getLogger(__name__)
_RESOLVE_SECONDS = 5.0
_RETIRING_SECONDS = 60.0


class Replicas:
    def __init__(
        self, target: str, open_channel: Callable[[str], grpc.aio.Channel], *, refresh_seconds: float, dependency: str
    ) -> None:
        # What gRPC calls ipv4:a:1,b:2 are plain addresses here.
        plain = target.removeprefix("dns:///").removeprefix("ipv4:")
        self._names = [name.strip() for name in plain.split(",") if name.strip()]
        self._open_channel = open_channel
        self._refresh_seconds = refresh_seconds
        self._dependency = dependency
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._resolved_at = float("-inf")
        self._resolving = asyncio.Lock()

    async def addresses(self) -> Sequence[str]:
        """Raises Unavailable where no name has ever resolved."""
        loop = asyncio.get_running_loop()
        async with self._resolving:
            if loop.time() - self._resolved_at >= self._refresh_seconds:
                await self._resolve()
                self._resolved_at = loop.time()
        if not self._channels:
            raise Unavailable(self._dependency, f"{', '.join(self._names)} resolves to no address")
        return list(self._channels)

    def channel(self, address: str) -> grpc.aio.Channel:
        return self._channels[address]

    async def close(self) -> None:
        await asyncio.gather(*(channel.close(None) for channel in self._channels.values()), *self._closing)

    async def _resolve(self) -> None:
        found: set[str] = set()
        try:
            for name in self._names:
                found |= await _addresses_of(name)
        except (OSError, TimeoutError) as error:
            log.warning("a replica's name does not resolve", extra={"asked_for": name, "error": str(error)})
            found |= self._channels.keys()
        for address in found - self._channels.keys():
            self._channels[address] = self._open_channel(address)
        for address in self._channels.keys() - found:
            self._retire(self._channels.pop(address))

    def _retire(self, channel: grpc.aio.Channel) -> None:
        """Nothing new is sent there; what is under way may finish."""
        closing = asyncio.create_task(channel.close(_RETIRING_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _addresses_of(name: str) -> set[str]:
    """ip:port of each address of the host, of one family: a dual-stack host is one replica, not two."""
    host, _, port = name.rpartition(":")
    async with asyncio.timeout(_RESOLVE_SECONDS):
        loop = asyncio.get_running_loop()
        rows = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    found = {(ipaddress.ip_address(row[4][0]), int(row[4][1])) for row in rows}
    four = {f"{ip}:{at}" for ip, at in found if ip.version == 4}
    return four or {f"[{ip}]:{at}" for ip, at in found}
