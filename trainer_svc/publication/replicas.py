"""Every replica behind a target, by its own address: what must reach each of them is not balanced over them."""

from __future__ import annotations

import asyncio
import re
import socket

# host:port or [address]:port; anything with a scheme of its own (ipv4:, dns:, unix:) is left to gRPC.
_HOST_AND_PORT = re.compile(r"(\[(?P<address>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d+)")


async def replicas(target: str) -> list[str]:
    """The targets of all addresses that the name has now, sorted; the target itself where it has none.

    A name without an address stays as it is, so that the call, which waits, says what is wrong.
    """
    parts = _HOST_AND_PORT.fullmatch(target)
    if parts is None:
        return [target]
    host, port = parts["address"] or parts["host"], int(parts["port"])
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return [target]
    # A replica of a dual-stack cluster has an address of each family: one family names every replica once.
    of_v4 = sorted({address[0] for family, _, _, _, address in found if family == socket.AF_INET})
    if of_v4:
        return [f"ipv4:{address}:{port}" for address in of_v4]
    of_v6 = sorted({address[0] for family, _, _, _, address in found if family == socket.AF_INET6})
    return [f"ipv6:[{address}]:{port}" for address in of_v6] or [target]
