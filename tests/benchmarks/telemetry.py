"""`make bench-telemetry`: rollout tokens a second with every trace exported, beside the same rollouts with none.

Two stacks stand side by side, one of them exporting every span and metric over OTLP to a receiver on this machine. The
same requests, seeds included, are played on one and then on the other, and who is first alternates; throughput_ratio is
the median of the passes' ratios. Other load hits single passes, so the processes' own processor time a token is given
beside it: cpu_ratio is that of all passes together, without over traced.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import grpc
import psutil
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc
from rich.console import Console
from rich.table import Table

from anamnesis.common.v1.rollout_pb2 import RolloutRequest
from service_kit.local_stack import LocalStack
from service_kit.local_stack.record import StackRecord
from service_kit.local_stack.stack import OTLP_VARIABLE
from tests.benchmarks.rollout import PROCESSES, Pass, Workload, play_on_stack
from tests.benchmarks.stacks import running_stack
from tests.integration.rollout.rollout_traffic import Traffic

LEAST_RATIO = 0.95


class Receiver(trace_grpc.TraceServiceServicer, metrics_grpc.MetricsServiceServicer):
    """Counts what arrives and keeps nothing."""

    def __init__(self) -> None:
        self.spans = 0

    def Export(self, request: Any, context: Any) -> Any:
        if isinstance(request, metrics_pb2.ExportMetricsServiceRequest):
            return metrics_pb2.ExportMetricsServiceResponse()
        self.spans += sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
        return trace_pb2.ExportTraceServiceResponse()


@contextmanager
def receiving() -> Iterator[tuple[Receiver, str]]:
    """The receiver and its endpoint."""
    receiver, server = Receiver(), grpc.server(ThreadPoolExecutor(2, "otlp"))
    add_traces: Any = trace_grpc.add_TraceServiceServicer_to_server  # generated without types
    add_metrics: Any = metrics_grpc.add_MetricsServiceServicer_to_server
    add_traces(receiver, server)
    add_metrics(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield receiver, f"http://127.0.0.1:{port}"
    finally:
        server.stop(1).wait()


def cpu_seconds(stack: LocalStack) -> float:
    """Processor time that the stack's processes have taken so far, their children included."""
    record = StackRecord.read(stack.state_dir)
    taken = 0.0
    for identity in record.processes.values() if record else ():
        leader = psutil.Process(identity.pid)
        for process in (leader, *leader.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                taken += times.user + times.system
    return taken


@dataclass(frozen=True)
class Side:
    """One of the two stacks."""

    stack: LocalStack
    traffic: Traffic

    def play(self, requests: Sequence[RolloutRequest]) -> Played:
        before = cpu_seconds(self.stack)
        played, _ = play_on_stack(self.traffic, requests)
        return Played(played, cpu_seconds(self.stack) - before)


@dataclass(frozen=True)
class Played:
    played: Pass
    cpu_seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.played.tokens_per_second


@dataclass(frozen=True)
class Pair:
    without: Played
    traced: Played
    spans: int

    @property
    def ratio(self) -> float:
        return self.traced.tokens_per_second / self.without.tokens_per_second


def report(console: Console, pairs: Sequence[Pair], episodes: int) -> dict[str, float]:
    table = Table(title="policy tokens a second, with every trace exported and with none")
    for column in ("pass", "tokens", "without tok/s", "tokens", "traced tok/s", "spans an episode", "ratio"):
        table.add_column(column, justify="right")
    for number, pair in enumerate(pairs, 1):
        table.add_row(
            str(number),
            str(pair.without.played.tokens),
            f"{pair.without.tokens_per_second:.1f}",
            str(pair.traced.played.tokens),
            f"{pair.traced.tokens_per_second:.1f}",
            f"{pair.spans / episodes:.0f}",
            f"{pair.ratio:.3f}",
        )
    console.print(table)
    ratios = [pair.ratio for pair in pairs]
    ratio = statistics.median(ratios)
    spread = f"from {min(ratios):.3f} to {max(ratios):.3f}"
    console.print(f"ratios {spread}, median {ratio:.3f}; wanted: {LEAST_RATIO} or more")
    costs = [cpu_a_token([getattr(pair, side) for pair in pairs]) for side in ("without", "traced")]
    console.print(f"processor seconds a thousand tokens: {1000 * costs[0]:.1f} without, {1000 * costs[1]:.1f} traced")
    return {"throughput_ratio": round(ratio, 3), "cpu_ratio": round(costs[0] / costs[1], 3)}


def cpu_a_token(played: Sequence[Played]) -> float:
    return sum(one.cpu_seconds for one in played) / sum(one.played.tokens for one in played)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=12)
    parser.add_argument("--fragments", type=int, default=12)
    parser.add_argument("--consultations", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=16)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the stacks are stopped
    os.environ.pop(OTLP_VARIABLE, None)
    console, pairs = Console(width=120), list[Pair]()
    overrides = {"rollout-worker": {"ANAMNESIS_ROLLOUT_CONCURRENCY": str(options.concurrency)}}
    with (
        receiving() as (receiver, endpoint),
        running_stack("bench-untraced", PROCESSES, overrides, console) as untraced,
        running_stack("bench-traced", PROCESSES, overrides, console, endpoint) as traced,
    ):
        without, with_traces = Side(untraced, Traffic(untraced.bootstrap)), Side(traced, Traffic(traced.bootstrap))
        try:
            console.print("slicing consultations into fragments, and warming both stacks up")
            workload = Workload(without.traffic, contexts=8)
            warm_up = workload.requests(8, 4)
            for side in (without, with_traces):
                side.play(warm_up)
            for number in range(options.passes):
                requests = workload.requests(options.fragments, options.consultations)
                before = receiver.spans
                order = (without, with_traces) if number % 2 == 0 else (with_traces, without)
                first, second = (side.play(requests) for side in order)
                played = (first, second) if order[0] is without else (second, first)
                pair = Pair(*played, receiver.spans - before)
                pairs.append(pair)
                console.print(f"pass {number + 1} of {options.passes}: ratio {pair.ratio:.3f}")
        finally:
            without.traffic.close()
            with_traces.traffic.close()
    if not receiver.spans:
        sys.exit("incomplete: no span arrived, so nothing was measured")
    print(f"figures: {json.dumps(report(console, pairs, options.fragments + options.consultations))}")


if __name__ == "__main__":
    main()
