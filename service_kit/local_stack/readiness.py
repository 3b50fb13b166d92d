"""Is a process ready, and is a port free: questions that never block longer than their bound."""

from __future__ import annotations

import errno
import socket

from service_kit.local_stack.definition import HOST, KAFKA_READY

PROBE_SECONDS = 1.0


def is_ready(port: int, ready: str) -> bool:
    """One question. Anything but a clear yes is no: the caller asks again until its own bound."""
    if not _listens(port):
        return False
    return _kafka_answers(port) if ready == KAFKA_READY else _grpc_serves(port, ready)


def port_is_free(port: int) -> bool:
    """False if anything listens there, even one that would share the port (SO_REUSEPORT)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not hold a port
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=PROBE_SECONDS).close()
    except OSError:
        return False
    return True


def _grpc_serves(port: int, service: str) -> bool:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"{HOST}:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=PROBE_SECONDS
            )
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _kafka_answers(port: int) -> bool:
    """An ApiVersions request (key 18, version 0) gets an answer with the correlation id that it was sent with."""
    request = bytes.fromhex("0012 0000 00000007 ffff")
    try:
        with socket.create_connection((HOST, port), timeout=PROBE_SECONDS) as connection:
            connection.settimeout(PROBE_SECONDS)
            connection.sendall(len(request).to_bytes(4, "big") + request)
            answer = connection.recv(8)
    except OSError:
        return False
    return answer[4:8] == (7).to_bytes(4, "big")
