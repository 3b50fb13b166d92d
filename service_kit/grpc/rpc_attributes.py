"""The attributes of an RPC, the same on the client's and the server's spans and metrics.

They are those of OpenTelemetry's semantic conventions for gRPC (schema 1.44): the method is fully qualified, the status
code is its name.
"""

from __future__ import annotations

from service_kit.errors import Code

METHOD = "rpc.method"
SYSTEM = "rpc.system.name"
STATUS_CODE = "rpc.response.status_code"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
# The boundaries that the conventions advise for rpc.*.call.duration, and what a generation or a whole run of one takes.
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120)


def rpc_attributes(method: str) -> dict[str, str | int]:
    """Of `/anamnesis.rubric.v1.RubricService/ScoreDialogue`; the convention's method has no slash in front."""
    return {SYSTEM: "grpc", METHOD: method.lstrip("/")}


def server_attributes(target: str) -> dict[str, str | int]:
    """Where calls to a channel's target go. A list of addresses stays one: it names the group."""
    address, _, port = target.rpartition(":")
    if address and port.isdigit() and "," not in target:
        return {SERVER_ADDRESS: address.rpartition("/")[2] or address, SERVER_PORT: int(port)}
    return {SERVER_ADDRESS: target}


def status_name(code: int) -> str:
    return "OK" if code == 0 else Code(code).name
