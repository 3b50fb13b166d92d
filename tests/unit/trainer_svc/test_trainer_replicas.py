"""A name that stands for several replicas is told apart into them, once each."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from trainer_svc.publication.replicas import replicas

V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[int, str]]]:
    """What the resolver knows: family and address by name."""
    known: dict[str, list[tuple[int, str]]] = {}

    async def getaddrinfo(self: Any, host: str, port: int, **options: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in known[host]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return known


async def test_a_headless_name_becomes_every_replica(names: dict[str, list[tuple[int, str]]]) -> None:
    names["inference-policy"] = [(V4, "10.0.0.7"), (V4, "10.0.0.3"), (V4, "10.0.0.7")]
    assert await replicas("inference-policy:7103") == ["ipv4:10.0.0.3:7103", "ipv4:10.0.0.7:7103"]


async def test_a_replica_with_two_families_is_told_once(names: dict[str, list[tuple[int, str]]]) -> None:
    names["localhost"] = [(V6, "::1"), (V4, "127.0.0.1")]
    assert await replicas("localhost:7103") == ["ipv4:127.0.0.1:7103"]
    names["inference-policy"] = [(V6, "fd00::2"), (V6, "fd00::1")]
    assert await replicas("inference-policy:7103") == ["ipv6:[fd00::1]:7103", "ipv6:[fd00::2]:7103"]


async def test_what_has_no_address_or_a_scheme_stays_as_it_is(names: dict[str, list[tuple[int, str]]]) -> None:
    for target in ("nowhere:7103", "ipv4:10.0.0.1:7103,10.0.0.2:7103", "unix:/run/policy"):
        assert await replicas(target) == [target]


async def test_a_real_address_is_found_without_a_resolver() -> None:
    assert await replicas("127.0.0.1:7103") == ["ipv4:127.0.0.1:7103"]
    assert await replicas("[::1]:7103") == ["ipv6:[::1]:7103"]
