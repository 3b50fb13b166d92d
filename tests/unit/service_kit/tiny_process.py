"""A process of a few lines for the supervisor's tests: `python tiny_process.py PORT [behaviour ...]`.

Behaviours: `die` ends at once with code 7, `dies-later` after a second of being ready, `deaf` ignores SIGTERM, `never`
is never ready, `child` starts a child that ignores SIGTERM and outlives it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = "tiny.v1.TinyService"
DEAF_CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def say(message: str) -> None:
    print(json.dumps({"level": "INFO", "message": message}), flush=True)


def main() -> None:
    port, behaviours = int(sys.argv[1]), sys.argv[2:]
    say(f"token is {os.environ.get('TINY_TOKEN', 'unset')}")
    if "die" in behaviours:
        for number in range(40):
            print(f"line {number}", flush=True)
        sys.exit(7)
    if "child" in behaviours:
        child = subprocess.Popen([sys.executable, "-c", DEAF_CHILD])
        say(f"child {child.pid}")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: None if "deaf" in behaviours else stop.set())
    server = grpc.server(futures.ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    if "never" in behaviours:
        say("still loading")
    else:
        servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        say("serving")
    if "dies-later" in behaviours:
        stop.wait(1.0)
        os._exit(3)
    while not stop.wait(0.1):
        pass
    server.stop(None)
    say("stopped")


if __name__ == "__main__":
    main()
