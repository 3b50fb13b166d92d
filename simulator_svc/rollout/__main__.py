"""`python -m simulator_svc.rollout`: wires the worker, and serves health so that it can be probed like any service."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import time

import grpc

from anamnesis.common.v1.rollout_pb2 import RolloutRequest
from anamnesis.inference.v1.inference_pb2 import PRIORITY_ROLLOUT
from anamnesis.inference.v1.inference_pb2_grpc import InferenceServiceStub
from anamnesis.rubric.v1.rubric_pb2_grpc import RubricServiceStub
from service_kit.grpc.affine import AffineReplicas
from service_kit.grpc.channel import open_channel
from service_kit.grpc.serving import run_service, serve
from service_kit.kafka.consumer import EventConsumer
from service_kit.kafka.producer import EventProducer
from service_kit.kafka.topics import ensure_topics
from service_kit.settings import load_settings
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.language import INFERENCE, FrozenLanguageModel
from simulator_svc.patient import Patient
from simulator_svc.rollout import measures
from simulator_svc.rollout.episode import EpisodePlayer, Limits
from simulator_svc.rollout.filters import Filters
from simulator_svc.rollout.judge import Judge
from simulator_svc.rollout.patience import Patience
from simulator_svc.rollout.policy import DEPENDENCY, OVERLOAD, Policy
from simulator_svc.rollout.settings import RolloutSettings
from simulator_svc.rollout.worker import REQUESTS, TRAJECTORIES, RolloutWorker

# The name under which health says whether the worker takes requests; it serves no RPC.
READINESS = "anamnesis.rollout.RolloutWorker"
# Above the producer's own bound, so that a record is never sent again while the first may still arrive.
DELIVERY_MARGIN_SECONDS = 5.0
RUBRIC = "anamnesis.rubric.v1.RubricService"


class Process:
    """What lives as long as the process: channels, the Kafka clients, and the one task that plays."""

    def __init__(self, settings: RolloutSettings) -> None:
        self._settings = settings
        self._resources = contextlib.AsyncExitStack()
        self._worker: RolloutWorker | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        settings = self._settings
        # A broker that is away is waited for, however long: the process is alive, and its health says not ready.
        patience = Patience(seconds=math.inf)
        await patience.attempt(lambda: asyncio.to_thread(ensure_topics, settings.kafka, [REQUESTS, TRAJECTORIES]))
        producer = await patience.attempt(lambda: asyncio.to_thread(EventProducer, settings.kafka, "rollout-worker"))
        self._resources.callback(producer.close)
        consumer = await patience.attempt(lambda: asyncio.to_thread(self._consumer, producer))
        player = await self._player()
        self._worker = worker = RolloutWorker(
            consumer=consumer,
            producer=producer,
            play=player.play,
            give_up=player.give_up,
            concurrency=settings.concurrency,
            poll_seconds=settings.poll_seconds,
            publish_seconds=settings.kafka.delivery_timeout_seconds + DELIVERY_MARGIN_SECONDS,
            drain_seconds=settings.drain_seconds,
        )
        measures.observe(lambda: worker.playing)
        self._running = asyncio.create_task(worker.run(), name="rollout-worker")
        self._running.add_done_callback(_end_process)

    @property
    def available(self) -> bool:
        return self._worker is None or self._worker.available

    async def close(self) -> None:
        """Finish what is played, within the drain bound. Raises what ended the worker by itself."""
        try:
            if self._worker is not None and self._running is not None:
                self._worker.stop()
                await self._running
        finally:
            await self._resources.aclose()

    def _consumer(self, producer: EventProducer) -> EventConsumer[RolloutRequest]:
        settings = self._settings
        return EventConsumer(
            settings.kafka,
            REQUESTS,
            RolloutRequest,
            group=settings.group,
            client_id="rollout-worker",
            producer_for_dead_letters=producer,
            instance=settings.instance_name,
        )

    async def _player(self) -> EpisodePlayer:
        settings, deadlines = self._settings, self._settings.deadlines
        policy = AffineReplicas(
            settings.inference_policy_target,
            lambda address: open_channel(address, tls=settings.tls, peer="inference-policy", health_of=INFERENCE),
            dependency=DEPENDENCY,
            overload=OVERLOAD,
        )
        self._resources.push_async_callback(policy.close)
        frozen = InferenceServiceStub(
            await self._channel(settings.inference_frozen_target, "inference-frozen", INFERENCE)
        )
        rubric = RubricServiceStub(await self._channel(settings.rubric_target, "rubric", RUBRIC))
        language = FrozenLanguageModel(frozen, PRIORITY_ROLLOUT, settings.draft_seconds, settings.embed_seconds)
        return EpisodePlayer(
            doctor=Policy(policy, deadline=deadlines.doctor_turn, patience=settings.patience),
            patient=Patient(language, settings.patient),
            scorer=Judge(rubric, deadline=deadlines.scoring, patience=settings.patience),
            library=CaseLibrary.load(settings.case_directory),
            filters=Filters.load(),
            limits=Limits(deadlines.patient_turn, settings.patience, settings.max_sequence_tokens),
            second_opinion_share=settings.second_opinion_share,
            clock=time.time,
        )

    async def _channel(self, target: str, peer: str, service: str) -> grpc.aio.Channel:
        # No method is retried below: every retry goes through Patience, which the request's own expiry bounds.
        channel = open_channel(target, tls=self._settings.tls, peer=peer, health_of=service)
        return await self._resources.enter_async_context(channel)


def _end_process(running: asyncio.Task[None]) -> None:
    """A worker that ended by itself must not leave a process that looks alive: stop it, and close() tells why."""
    if not running.cancelled() and running.exception() is not None:
        signal.raise_signal(signal.SIGTERM)


async def main(settings: RolloutSettings) -> None:
    process = Process(settings)
    await serve(
        settings,
        "rollout",
        lambda server: [READINESS],
        prepare=process.start,
        close=process.close,
        available=lambda: process.available,
    )


if __name__ == "__main__":
    run_service(main(load_settings(RolloutSettings, "rollout")))
