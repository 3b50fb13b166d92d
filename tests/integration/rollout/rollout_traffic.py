"""Requests in, terminal records out: what the trainer would do, for the worker's tests and its benchmark."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from google.protobuf.timestamp_pb2 import Timestamp

from anamnesis.common.v1.dialogue_pb2 import ROLE_ASSISTANT, ROLE_USER, Dialogue, Message
from anamnesis.common.v1.patient_pb2 import CaseReference
from anamnesis.common.v1.rollout_pb2 import (
    PURPOSE_TRAIN,
    ROLLOUT_KIND_CONSULTATION,
    ROLLOUT_KIND_FRAGMENT,
    ConsultationContext,
    FragmentContext,
    Purpose,
    RolloutContext,
    RolloutRequest,
    Sampling,
    TerminalState,
    Trajectory,
)
from service_kit.kafka.consumer import EventConsumer, Record
from service_kit.kafka.producer import EventProducer
from service_kit.kafka.settings import KafkaSettings
from service_kit.kafka.topics import DEAD_LETTERS, ensure_topics
from simulator_svc.rollout.worker import REQUESTS, TRAJECTORIES

SYSTEM_PROMPT = "You are a doctor. Ask one short question at a time, then say what you think it is and what to do."
GROUP_SIZE = 4


def new_run() -> str:
    return f"run-{uuid.uuid4().hex[:12]}"


def consultations(
    run_id: str,
    cases: Sequence[str],
    count: int,
    *,
    turns: int = 3,
    tokens: int = 32,
    purpose: Purpose.ValueType = PURPOSE_TRAIN,
    seconds: float = 600,
) -> list[RolloutRequest]:
    return [
        _request(
            f"{run_id}/consultation",
            index,
            RolloutContext(
                system_prompt=SYSTEM_PROMPT,
                consultation=ConsultationContext(
                    case=CaseReference(case_id=cases[index // GROUP_SIZE % len(cases)]),
                    patient_seed=index // GROUP_SIZE,
                    max_doctor_turns=turns,
                ),
            ),
            tokens,
            purpose,
            seconds,
        )
        for index in range(count)
    ]


def fragments(
    run_id: str, cases: Sequence[str], count: int, *, tokens: int = 32, seconds: float = 600
) -> list[RolloutRequest]:
    said = [
        (ROLE_USER, "Hello doctor, I have not been feeling well and would like to know what it is."),
        (ROLE_ASSISTANT, "I am sorry to hear that. What troubles you most?"),
        (ROLE_USER, "It came on quickly and it worries me."),
    ]
    so_far = Dialogue(messages=[Message(role=role, content=text) for role, text in said])
    return [
        _request(
            f"{run_id}/fragment",
            index,
            RolloutContext(
                system_prompt=SYSTEM_PROMPT,
                fragment=FragmentContext(
                    case=CaseReference(case_id=cases[index // GROUP_SIZE % len(cases)]), so_far=so_far
                ),
            ),
            tokens,
            PURPOSE_TRAIN,
            seconds,
        )
        for index in range(count)
    ]


def _request(
    series: str, index: int, context: RolloutContext, tokens: int, purpose: Purpose.ValueType, seconds: float
) -> RolloutRequest:
    fragment = context.HasField("fragment")
    return RolloutRequest(
        request_id=f"{series}/{index}",
        run_id=series.split("/")[0],
        purpose=purpose,
        group_id=f"{series}/{index // GROUP_SIZE}",
        sample_index=index % GROUP_SIZE,
        group_size=GROUP_SIZE,
        kind=ROLLOUT_KIND_FRAGMENT if fragment else ROLLOUT_KIND_CONSULTATION,
        context=context,
        seed=index,
        sampling=Sampling(temperature=1.0, max_tokens=tokens),
        expires_at=Timestamp(seconds=int(time.time() + seconds)),
    )


class Traffic:
    """Publishes to the one topic and reads all of the other, without a group, as the trainer does."""

    def __init__(self, bootstrap: str) -> None:
        self.settings = KafkaSettings.model_validate({"bootstrap": bootstrap})
        ensure_topics(self.settings, [REQUESTS, TRAJECTORIES])
        self._producer = EventProducer(self.settings, "rollout-traffic")

    def publish(self, requests: Iterable[RolloutRequest]) -> None:
        for sent in [self._producer.publish(REQUESTS, r, key=r.group_id or "none") for r in requests]:
            sent.result(30)

    def publish_bytes(self, value: bytes) -> None:
        """What no contract describes."""
        self._producer.publish_raw(REQUESTS, value, key=None, headers=[]).result(30)

    def dead_letters(self) -> int:
        """How many lie in the dead-letter topic now."""
        consumer = EventConsumer(
            self.settings, DEAD_LETTERS, Trajectory, group=None, client_id="letters", producer_for_dead_letters=None
        )
        try:
            return sum(consumer.end_offsets().values())
        finally:
            consumer.close()

    @contextmanager
    def trajectories(self) -> Iterator[EventConsumer[Trajectory]]:
        consumer = EventConsumer(
            self.settings,
            TRAJECTORIES,
            Trajectory,
            group=None,
            client_id="rollout-traffic",
            producer_for_dead_letters=None,
        )
        try:
            yield consumer
        finally:
            consumer.close()

    def records(
        self, run_id: str, enough: Callable[[Sequence[Record[Trajectory]]], bool], seconds: float
    ) -> list[Record[Trajectory]]:
        """All terminal records of a run, read until there are enough and no more come; fails after `seconds`."""
        found: list[Record[Trajectory]] = []
        until = time.monotonic() + seconds
        with self.trajectories() as consumer:
            while True:
                polled = consumer.poll(0.5)
                found += [record for record in polled if record.message.request.run_id == run_id]
                if not polled and enough(found):
                    return found
                if time.monotonic() > until:
                    raise TimeoutError(f"{len(found)} records of {run_id} after {seconds} s")

    def terminal(self, requests: Sequence[RolloutRequest], seconds: float = 60) -> list[Trajectory]:
        """The records of these requests once each of them has one."""
        wanted = {request.request_id for request in requests}
        run_id = requests[0].run_id
        records = self.records(
            run_id, lambda found: wanted <= {record.message.request.request_id for record in found}, seconds
        )
        return [record.message for record in records]

    def close(self) -> None:
        self._producer.close()


def state_of(trajectory: Trajectory) -> tuple[str, list[str]]:
    state = TerminalState.Name(trajectory.terminal_state).removeprefix("TERMINAL_STATE_")
    return state, list(trajectory.reasons)
