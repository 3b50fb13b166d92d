"""Who calls whom, out of service_kit/grpc/callers.toml: network policies and the traced topology are held to it."""

from __future__ import annotations

import tomllib

from service_kit.grpc.callers import BUILT_IN, load_callers

Edge = tuple[str, str]


def service_calls() -> frozenset[Edge]:
    """(caller, callee) of every RPC that some service calls."""
    return frozenset(
        (caller, callee)
        for callee, services in load_callers().items()
        for rpcs in services.values()
        for callers in rpcs.values()
        for caller in callers
    )


def outside_calls() -> frozenset[Edge]:
    """(caller, "kafka" | "otlp")."""
    outside = tomllib.loads(BUILT_IN.read_text(encoding="utf-8"))["outside"]
    return frozenset((caller, callee) for callee, callers in outside.items() for caller in callers)
