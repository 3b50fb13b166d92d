"""The public client of the gateway's gRPC API."""

from gateway.client.client import DEFAULT_TARGET, AnamnesisClient, has_ended

__all__ = ["DEFAULT_TARGET", "AnamnesisClient", "has_ended"]
