"""`make observe`: a trace UI, then the stack with every trace sent to it, then where to look. Ctrl-C stops both.

Invariant: the stack is started only once the UI takes traces, and neither outlives this command.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from service_kit.local_stack import LocalStack, StackError
from service_kit.local_stack.display import Display
from service_kit.local_stack.readiness import port_is_free

UI_PORT = 7195
OTLP_PORT = 7194
START_SECONDS = 120.0
STOP_SECONDS = 15.0
WATCH_SECONDS = 2.0


class UiError(Exception):
    """The trace UI does not run; the message says what to do."""


@contextmanager
def trace_ui(program: Path, state_dir: Path) -> Iterator[str]:
    """Its address. Traces of earlier runs are still there: they lie below the state directory."""
    for port in (UI_PORT, OTLP_PORT):
        if not port_is_free(port):
            raise UiError(f"port {port}, which the trace UI needs, is taken by another program: stop that one first")
    directory = state_dir.absolute() / "traces"
    directory.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(UI_PORT),
        "PHOENIX_GRPC_PORT": str(OTLP_PORT),
        "PHOENIX_WORKING_DIR": str(directory),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (directory / "ui.log").open("w") as log:
        process = subprocess.Popen([program, "serve"], env=environment, stdout=log, stderr=log)
        try:
            _wait_until_it_answers(process, directory / "ui.log")
            yield f"http://127.0.0.1:{UI_PORT}"
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_it_answers(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{UI_PORT}/healthz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise UiError(f"the trace UI does not answer; see {log}")


def watch(stack: LocalStack) -> None:
    """Until Ctrl-C or SIGTERM. Raises StackError if a process dies."""
    while True:
        stack.check()
        time.sleep(WATCH_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="k8s.observe", description=__doc__)
    parser.add_argument("--ui", type=Path, required=True, help="the program phoenix")
    parser.add_argument("--state-dir", type=Path, default=Path(".anamnesis"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False, soft_wrap=True)
    if LocalStack.recorded(options.state_dir).running:
        console.print("A stack runs already, and sends its traces elsewhere or nowhere: make down, then make observe.")
        return 1
    # The UI takes traces alone; metrics have their place behind a collector.
    os.environ["OTEL_METRICS_EXPORTER"] = "none"
    try:
        console.print("Starting the trace UI")
        with trace_ui(options.ui, options.state_dir) as address:
            stack = LocalStack(options.state_dir, otlp_endpoint=f"http://127.0.0.1:{OTLP_PORT}")
            try:
                with Display(console, "Starting the stack") as progress:
                    stack.start(progress)
                console.print(f"Traces: {address} (project default)")
                console.print("Make some, in another terminal: anamnesis chat, or anamnesis train start --preset smoke")
                console.print("An episode: filter by  name == 'rollout.episode'  and open its trace. Ctrl-C stops all.")
                watch(stack)
            except KeyboardInterrupt:
                console.print("Stopping")
            finally:
                stack.stop()
    except (UiError, StackError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
