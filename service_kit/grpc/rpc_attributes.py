"""The attributes that name an RPC, the same on the client's and the server's spans and metrics."""

from __future__ import annotations


def rpc_attributes(method: str) -> dict[str, str | int]:
    """`/anamnesis.rubric.v1.RubricService/ScoreDialogue` -> rpc.system, rpc.service, rpc.method."""
    service, _, name = method.lstrip("/").rpartition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
