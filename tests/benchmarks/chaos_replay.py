"""An uninterrupted run on one thread that is fed what another run's log recorded: same requests, same trajectories.

Requests that the other run never made are not answered: they lie behind the last group that it needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from rich.console import Console

from anamnesis.common.v1.rollout_pb2 import RolloutRequest, Trajectory
from anamnesis.inference.v1 import inference_pb2
from service_kit.kafka.consumer import EventConsumer
from service_kit.kafka.producer import EventProducer
from service_kit.kafka.settings import KafkaSettings
from tests.benchmarks.stacks import running_stack
from trainer_svc.config import resolve
from trainer_svc.records.database import connect
from trainer_svc.records.runs import RunStore, State
from trainer_svc.settings import TrainerSettings

REQUESTS = "anamnesis.rollout.requests.v1"
TRAJECTORIES = "anamnesis.rollout.trajectories.v1"
PRESET, SEED = "smoke", 11
OVERRIDES = {
    "schedule.steps": "36",
    "schedule.groups_per_step": "2",
    "sampling.max_tokens": "24",
    # A group that waits for a part to come back is not given up: what is dropped would depend on the clock.
    "schedule.group_timeout_seconds": "1800",
    "schedule.request_ttl_seconds": "3600",
}
REPLAY_SECONDS = 1200.0


def take_weights(request: inference_pb2.UpdateWeightsRequest, context: Any) -> inference_pb2.UpdateWeightsResponse:
    return inference_pb2.UpdateWeightsResponse(version=request.version)


@contextmanager
def policy() -> Iterator[str]:
    """One that takes whatever weights come: its samples are on record."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    update = grpc.unary_unary_rpc_method_handler(
        take_weights,
        request_deserializer=inference_pb2.UpdateWeightsRequest.FromString,
        response_serializer=inference_pb2.UpdateWeightsResponse.SerializeToString,
    )
    service = "anamnesis.inference.v1.InferenceService"
    handler = grpc.method_handlers_generic_handler(service, {"UpdateWeights": update})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


@contextmanager
def answering(kafka: KafkaSettings, answers: dict[str, Trajectory]) -> Iterator[None]:
    """A worker that knows every answer already."""
    stop = threading.Event()

    def answer() -> None:
        producer = EventProducer(kafka, "replay")
        consumer: EventConsumer[RolloutRequest] = EventConsumer(
            kafka, REQUESTS, RolloutRequest, group=None, client_id="replay", producer_for_dead_letters=producer
        )
        while not stop.is_set():
            for record in consumer.poll(0.1):
                if (trajectory := answers.get(record.message.request_id)) is not None:
                    producer.publish(TRAJECTORIES, trajectory, key=record.message.group_id)
        consumer.close()
        producer.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def replay(answers: dict[str, Trajectory], console: Console) -> Path:
    """Returns the state directory of the run, which has the same id. Raises RuntimeError if it did not succeed."""
    run_id = next(iter(answers.values())).request.run_id
    with running_stack("chaos-replay", ["broker"], {}, console) as stack, policy() as target:
        kafka = KafkaSettings(bootstrap=stack.bootstrap)
        runs = RunStore(connect(TrainerSettings(state_dir=stack.state_dir).database()))
        config = resolve(PRESET, OVERRIDES)
        runs.create(run_id, PRESET, OVERRIDES, SEED, config.model_dump_json(), config.schedule.steps)
        runs.begin_incarnation(run_id)
        environment = os.environ | {
            "ANAMNESIS_TRAINER_STATE_DIR": str(stack.state_dir),
            "ANAMNESIS_TRAINER_KAFKA__BOOTSTRAP": stack.bootstrap,
            "ANAMNESIS_TRAINER_POLICY_TARGETS": f'["{target}"]',
            "ANAMNESIS_TRAINER_THREADS": "1",
        }
        command = [sys.executable, "-m", "trainer_svc.process", "--run-id", run_id, "--incarnation", "1"]
        began = time.monotonic()
        with answering(kafka, answers), (stack.state_dir / "replay.log").open("wb") as log:
            subprocess.run(
                [*command, "--parent", str(os.getpid())],
                env=environment,
                stdout=log,
                stderr=log,
                timeout=REPLAY_SECONDS,
                check=True,
            )
        record = runs.get(run_id)
        if record.state != State.SUCCEEDED:
            raise RuntimeError(f"the uninterrupted run {record.state}: {record.error}")
        console.print(f"uninterrupted run, from the record: {record.step} steps in {time.monotonic() - began:.0f} s")
        return stack.state_dir
