"""Channels to other services.

Invariant: only methods named as idempotent are ever sent twice, and only when the server answered UNAVAILABLE. Every
call gives its own timeout (call_deadline): one in the service config would never reach the server. With `tls` nothing
is sent before the other end has shown a certificate of the authority that bears its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import grpc

from service_kit.grpc.certificates import Certificates, Material, channel_credentials
from service_kit.grpc.client_telemetry import telemetry_interceptors
from service_kit.grpc.deadlines import call_deadline
from service_kit.grpc.renewing_channel import RenewingChannel
from service_kit.grpc.status import service_error
from service_kit.settings import MEBIBYTE
from service_kit.tls import TlsSettings, Trust

__all__ = ["call_deadline", "open_channel", "service_error"]

MAX_MESSAGE_BYTES = 64 * MEBIBYTE
_KEEPALIVE_MS = 30_000

_RETRY_POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def open_channel(
    target: str,
    *,
    idempotent: Mapping[str, Sequence[str]] | None = None,
    tls: TlsSettings | Trust | None = None,
    peer: str | None = None,
    health_of: str | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> grpc.aio.Channel:
    """A channel over every address of `target`: a name that resolves to several, or `ipv4:10.0.0.1:7103,10.0.0.2:7103`.

    `idempotent` names what may be sent again: {"anamnesis.inference.v1.InferenceService": ["Choose", "Embed"]}.
    `peer` is the DNS name that the certificate at each address must bear (by default the target's host): "rubric".
    `health_of` names a service there: calls go only to addresses whose health says that it is SERVING, so none goes to
    one that still starts or drains already. A server without health counts as healthy.
    Raises CertificatesWrong where the files of `tls` cannot be used.
    """
    options: list[tuple[str, str | int]] = [
        ("grpc.service_config", json.dumps(service_config(idempotent or {}, health_of))),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_retries", 1),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # A service that restarts is found within seconds; the default backs off to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 3_000),
        # Calls between services never go through a proxy that the environment names for the internet.
        ("grpc.enable_http_proxy", 0),
        # Each channel has its own connections, so that closing or breaking one says nothing about another.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    interceptors = telemetry_interceptors(target)
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    if peer is not None:
        options.append(("grpc.default_authority", peer))

    def connect(material: Material) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(target, channel_credentials(material), options, interceptors=interceptors)

    return RenewingChannel(Certificates(tls), connect)


def service_config(idempotent: Mapping[str, Sequence[str]], health_of: str | None = None) -> dict[str, object]:
    """gRPC's service config: round robin over the healthy addresses, retries for the named methods."""
    names = [{"service": service, "method": method} for service, methods in idempotent.items() for method in methods]
    config: dict[str, object] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": names, "retryPolicy": _RETRY_POLICY}] if names else [],
        # Where many calls fail, retries stop: they would only add to the load.
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }
    return config if health_of is None else config | {"healthCheckConfig": {"serviceName": health_of}}
