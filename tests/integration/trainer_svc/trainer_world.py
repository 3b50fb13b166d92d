"""A trainer with a real broker, real run processes and a tiny model; the workers and the policy are stand-ins.

What a request is answered with is a function of its purpose, group and sample alone: two runs with the same settings
get the same trajectories.
"""

import asyncio
import hashlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import torch
from google.protobuf.timestamp_pb2 import Timestamp

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2
from service_kit.kafka.consumer import EventConsumer, Record
from service_kit.kafka.producer import EventProducer
from service_kit.kafka.settings import KafkaSettings
from service_kit.kafka.topics import ensure_topics
from tests.tiny_llama import VOCABULARY, save_tiny_model
from trainer_svc.flow.outbox import REQUESTS_TOPIC
from trainer_svc.learner.checkpoint import Checkpoints
from trainer_svc.process import TRAJECTORIES_TOPIC
from trainer_svc.records.database import connect
from trainer_svc.records.runs import ENDED, RunRecord, RunStore, State
from trainer_svc.service import Training
from trainer_svc.settings import TrainerSettings
from trainer_svc.supervisor import Supervisor

Answer = Callable[[rollout_pb2.RolloutRequest], list[rollout_pb2.Trajectory]]
WAIT_SECONDS = 180.0


def source_of(request: rollout_pb2.RolloutRequest) -> random.Random:
    return random.Random(request.request_id.partition("/")[2])


def completed(request: rollout_pb2.RolloutRequest) -> rollout_pb2.Trajectory:
    """Six prompt tokens that the group shares, up to four sampled ones, and a reward by chance."""
    source = source_of(request)
    prompt = random.Random(request.group_id.partition("/")[2])
    count = source.randint(1, 4)
    version = rollout_pb2.VersionRun(policy_version=request.policy_version_wanted, token_count=count)
    said = [
        dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content="It hurts."),
        dialogue_pb2.Message(role=dialogue_pb2.ROLE_ASSISTANT, content=f"Since when? ({source.random():.3f})"),
    ]
    finished = Timestamp()
    finished.GetCurrentTime()
    reward = source.random()
    return rollout_pb2.Trajectory(
        trajectory_id=hashlib.sha256(request.request_id.encode()).hexdigest()[:32],
        request=request,
        segments=[
            rollout_pb2.Segment(
                role=dialogue_pb2.ROLE_USER, token_ids=[prompt.randrange(2, VOCABULARY) for _ in range(6)]
            ),
            rollout_pb2.Segment(
                role=dialogue_pb2.ROLE_ASSISTANT,
                token_ids=[source.randrange(2, VOCABULARY) for _ in range(count)],
                logprobs=[-3.0 - source.random() for _ in range(count)],
                trainable=True,
                version_runs=[version],
            ),
        ],
        rewards=[
            rollout_pb2.RewardComponent(name="rubric", value=reward, trained=True),
            rollout_pb2.RewardComponent(name="coherence", value=0.5, trained=False),
        ],
        reward=reward,
        terminal_state=rollout_pb2.TERMINAL_STATE_COMPLETED,
        dialogue=dialogue_pb2.Dialogue(messages=said),
        finished_at=finished,
    )


def troubled(request: rollout_pb2.RolloutRequest) -> list[rollout_pb2.Trajectory]:
    """Some are filtered, whole groups have no spread, some come twice."""
    trajectory = completed(request)
    if request.purpose == rollout_pb2.PURPOSE_TRAIN:
        group = random.Random(request.group_id.partition("/")[2] + "fate").random()
        if group < 0.3:
            trajectory.reward = 0.25
        if source_of(request).random() < 0.15:
            trajectory.terminal_state = rollout_pb2.TERMINAL_STATE_FILTERED
            trajectory.reasons.append("repeated_turn")
    twice = source_of(request).random() > 0.8
    return [trajectory, trajectory] if twice else [trajectory]


class Worker(threading.Thread):
    """Answers requests from the topic, all at once and each after `seconds`; `answer` decides with what."""

    def __init__(self, kafka: KafkaSettings, answer: Answer) -> None:
        super().__init__(daemon=True)
        self.answer = answer
        self.seconds = 0.0
        self.seen: list[rollout_pb2.RolloutRequest] = []
        # The most training requests that were here and not answered.
        self.most_playing = 0
        self._kafka = kafka
        self._done = threading.Event()

    def run(self) -> None:
        producer = EventProducer(self._kafka, "test-worker")
        consumer: EventConsumer[rollout_pb2.RolloutRequest] = EventConsumer(
            self._kafka,
            REQUESTS_TOPIC,
            rollout_pb2.RolloutRequest,
            group=None,
            client_id="test-worker",
            producer_for_dead_letters=producer,
        )
        consumer.seek(consumer.end_offsets())
        self.ready.set()
        playing: list[tuple[float, Record[rollout_pb2.RolloutRequest]]] = []
        while not self._done.is_set():
            for record in consumer.poll(0.02 if playing else 0.1):
                self.seen.append(record.message)
                playing.append((time.monotonic() + self.seconds, record))
            training = [record for _, record in playing if record.message.purpose == rollout_pb2.PURPOSE_TRAIN]
            self.most_playing = max(self.most_playing, len(training))
            finished = [record for due, record in playing if due <= time.monotonic()]
            playing = [(due, record) for due, record in playing if record not in finished]
            for record in finished:
                for trajectory in self.answer(record.message):
                    producer.publish(
                        TRAJECTORIES_TOPIC, trajectory, key=record.message.group_id, context=record.context
                    )
        consumer.close()
        producer.close()

    def start(self) -> None:
        self.ready = threading.Event()
        super().start()
        assert self.ready.wait(60)

    def stop(self) -> None:
        self._done.set()
        self.join(60)


class Policy:
    """Takes every version whose digest is right, in so many `seconds`, or fails as told."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.versions: list[tuple[str, int, int]] = []
        self.refuse = False
        self.seconds = 0.0

    def UpdateWeights(
        self, request: inference_pb2.UpdateWeightsRequest, context: Any
    ) -> inference_pb2.UpdateWeightsResponse:
        if self.refuse:
            context.abort(grpc.StatusCode.INTERNAL, "out of memory")
        with (self.store / request.path / "model.safetensors").open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == request.sha256
        time.sleep(self.seconds)
        version = request.version
        self.versions.append((version.run_id, version.incarnation, version.step))
        return inference_pb2.UpdateWeightsResponse(version=version)


class World:
    def __init__(self, directory: Path, bootstrap: str) -> None:
        save_tiny_model(directory / "model")
        cases = directory / "cases"
        cases.mkdir()
        for number in range(5):
            split = "held_out" if number < 2 else "train"
            (cases / f"c{number}.toml").write_text(f'case_id = "c{number}"\nsplit = "{split}"\n')
        self.policy = Policy(directory / "state" / "weights")
        self._policies = grpc.server(futures.ThreadPoolExecutor(4))
        update = grpc.unary_unary_rpc_method_handler(
            self.policy.UpdateWeights,
            request_deserializer=inference_pb2.UpdateWeightsRequest.FromString,
            response_serializer=inference_pb2.UpdateWeightsResponse.SerializeToString,
        )
        service = "anamnesis.inference.v1.InferenceService"
        handler = grpc.method_handlers_generic_handler(service, {"UpdateWeights": update})
        self._policies.add_generic_rpc_handlers((handler,))
        port = self._policies.add_insecure_port("127.0.0.1:0")
        self._policies.start()
        kafka = KafkaSettings(bootstrap=bootstrap)
        ensure_topics(kafka, [REQUESTS_TOPIC, TRAJECTORIES_TOPIC])
        self.worker = Worker(kafka, lambda request: [completed(request)])
        self.worker.start()
        self.settings = TrainerSettings(
            kafka=kafka,
            policy_targets=[f"127.0.0.1:{port}"],
            model=directory / "model",
            case_store=cases,
            state_dir=directory / "state",
            threads=1,
            stall_seconds=60,
        )
        self.environment = {
            "ANAMNESIS_TRAINER_KAFKA__BOOTSTRAP": bootstrap,
            "ANAMNESIS_TRAINER_POLICY_TARGETS": f'["127.0.0.1:{port}"]',
            "ANAMNESIS_TRAINER_MODEL": str(directory / "model"),
            "ANAMNESIS_TRAINER_CASE_STORE": str(cases),
            "ANAMNESIS_TRAINER_STATE_DIR": str(directory / "state"),
            "ANAMNESIS_TRAINER_THREADS": "1",
            "ANAMNESIS_TRAINER_STALL_SECONDS": "60",
        }
        os.environ.update(self.environment)
        self.database: sqlite3.Connection = connect(self.settings.database())
        self.store = RunStore(self.database)
        self.supervisor = Supervisor(self.store)
        self.training = Training(self.settings, self.database, self.supervisor)

    async def close(self) -> None:
        await self.supervisor.close(1.0)
        self.worker.stop()
        self._policies.stop(None)
        for name in self.environment:
            os.environ.pop(name, None)

    async def ended(self, run_id: str) -> RunRecord:
        return await self.until(run_id, lambda record: record.state in ENDED)

    async def until(self, run_id: str, true: Callable[[RunRecord], bool]) -> RunRecord:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            record = self.store.get(run_id)
            if true(record):
                return record
            if record.state == State.FAILED:
                raise AssertionError(record.error)
            await asyncio.sleep(0.05)
        raise AssertionError(f"{run_id} is still {self.store.get(run_id)}")

    def tensors(self, run_id: str) -> dict[str, torch.Tensor]:
        found = Checkpoints(self.settings.run_directory(run_id) / "checkpoints", 2).newest()
        assert found is not None
        return found.tensors

    def kill(self, run_id: str) -> None:
        self.supervisor.kill(run_id)
