"""Who may come in, for gRPC and REST alike: `Guard.admit` returns for a good key and raises Unauthenticated else."""

from __future__ import annotations

import asyncio

from opentelemetry import trace

from gateway.auth.keys import KeyRefused, KeyStore
from gateway.settings import GatewaySettings
from service_kit.errors import Unauthenticated

_SCHEME = "bearer"


class Guard:
    """Without a store it admits everybody: the settings allow that on loopback alone."""

    def __init__(self, store: KeyStore | None) -> None:
        self._store = store

    @classmethod
    def of(cls, settings: GatewaySettings) -> Guard:
        return cls(KeyStore(settings.key_file) if settings.auth == "keys" else None)

    async def admit(self, authorization: str | None) -> None:
        if self._store is None:
            return
        if not authorization:
            raise Unauthenticated("send the API key as `authorization: Bearer <key>`", "MISSING_API_KEY")
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != _SCHEME or not text.strip():
            raise Unauthenticated("the authorization must read `Bearer <key>`", "MISSING_API_KEY")
        try:
            key = await asyncio.to_thread(self._store.check, text.strip())
        except KeyRefused as refused:
            raise Unauthenticated(refused.message, refused.reason) from refused
        trace.get_current_span().set_attribute("anamnesis.api_key_id", key.key_id)
