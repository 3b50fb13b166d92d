"""What OpenTelemetry's semantic conventions (schema 1.44) ask of a span, as rules over the spans that were received."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from tests.otlp_receiver import Span

RPC_CODES = frozenset(code.name for code in grpc.StatusCode)
# On a server the others tell of the caller's request, not of the server.
SERVER_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
DEPRECATED = ("rpc.system", "rpc.service", "rpc.grpc.", "http.method", "http.status_code", "net.", "gen_ai.system")
RESOURCE = (
    "service.namespace",
    "service.name",
    "service.version",
    "service.instance.id",
    "deployment.environment.name",
    "telemetry.sdk.name",
)


def breaches(span: Span) -> Iterator[str]:
    """Each rule that the span breaks, in words."""
    attributes = span.attributes
    for name in attributes:
        if any(name == old or (old.endswith(".") and name.startswith(old)) for old in DEPRECATED):
            yield f"{name} is deprecated"
    for name in RESOURCE:
        if not span.resource.get(name):
            yield f"the resource lacks {name}"
    if span.error and not attributes.get("error.type"):
        yield "failed without error.type"
    if "rpc.method" in attributes:
        yield from _rpc(span)
    elif span.kind in ("PRODUCER", "CONSUMER"):
        yield from _messaging(span)
    elif "http.request.method" in attributes:
        yield from _http(span)
    elif span.kind != "INTERNAL":
        yield f"a {span.kind} span of no convention"
    if "gen_ai.operation.name" in attributes:
        yield from _gen_ai(span)


def _rpc(span: Span) -> Iterator[str]:
    attributes = span.attributes
    code = attributes.get("rpc.response.status_code")
    if span.name != attributes["rpc.method"] or span.name.count("/") != 1 or span.name.startswith("/"):
        yield f"{span.name} is not package.Service/Method"
    if attributes.get("rpc.system.name") != "grpc" or span.kind not in ("CLIENT", "SERVER"):
        yield "is no gRPC call"
    if code not in RPC_CODES:
        yield f"{code} is no status code of gRPC"
    if span.error != (code in SERVER_ERRORS if span.kind == "SERVER" else code != "OK"):
        yield f"{code} on a {span.kind}, error {span.error}"
    if span.kind == "CLIENT" and "server.address" not in attributes:
        yield "lacks server.address"


def _messaging(span: Span) -> Iterator[str]:
    attributes = span.attributes
    operation, topic = ("send" if span.kind == "PRODUCER" else "process"), attributes.get("messaging.destination.name")
    if span.name != f"{operation} {topic}":
        yield f"{span.name} is not '{operation} <topic>'"
    expected = {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }
    if not expected.items() <= attributes.items():
        yield f"lacks one of {expected}"
    if not span.error and not {"messaging.destination.partition.id", "messaging.kafka.offset"} <= attributes.keys():
        yield "does not say where the message lies"


def _http(span: Span) -> Iterator[str]:
    attributes = span.attributes
    if span.name != f"{attributes['http.request.method']} {attributes.get('http.route')}":
        yield f"{span.name} is not METHOD route"
    if "http.response.status_code" not in attributes:
        yield "lacks http.response.status_code"


def _gen_ai(span: Span) -> Iterator[str]:
    attributes = span.attributes
    operation = attributes["gen_ai.operation.name"]
    if span.name != f"{operation} {attributes.get('gen_ai.request.model')}":
        yield f"{span.name} is not '{operation} <model>'"
    if not attributes.get("gen_ai.provider.name"):
        yield "lacks gen_ai.provider.name"
    if operation == "chat":
        wanted = {
            "gen_ai.request.max_tokens",
            "gen_ai.response.model",
            "gen_ai.response.finish_reasons",
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.output_tokens",
        }
        if missing := wanted - attributes.keys():
            yield f"lacks {sorted(missing)}"
