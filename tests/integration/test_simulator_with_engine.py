"""The patient's server in the running stack: a consultation with the frozen model behind it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import pytest

from anamnesis.common.v1 import dialogue_pb2, patient_pb2
from anamnesis.simulator.v1 import simulator_pb2 as pb
from anamnesis.simulator.v1 import simulator_pb2_grpc
from service_kit.grpc.channel import open_channel

if TYPE_CHECKING:
    from tests.conftest import RunningStack

PERSONA = patient_pb2.Persona(
    personality=patient_pb2.PERSONALITY_ENFP, emotional_state=patient_pb2.EMOTIONAL_STATE_ANXIOUS
)
QUESTIONS = [
    "When did it start?",
    "Where is it?",
    "Do you smoke?",
    "Any allergies?",
    "What makes it worse?",
    "Tell me more.",
]


@dataclass(frozen=True)
class Asked:
    channel: grpc.aio.Channel

    async def __call__(self, case_id: str, seed: int, question: str) -> pb.RespondResponse:
        simulator = simulator_pb2_grpc.PatientSimulatorServiceStub(self.channel)
        response: pb.RespondResponse = await simulator.Respond(
            pb.RespondRequest(
                case=patient_pb2.CaseReference(case_id=case_id),
                persona=PERSONA,
                seed=seed,
                dialogue=dialogue_pb2.Dialogue(
                    messages=[dialogue_pb2.Message(role=dialogue_pb2.ROLE_ASSISTANT, content=question)]
                ),
            ),
            timeout=60,
        )
        return response


@pytest.fixture
async def ask(stack: RunningStack) -> AsyncIterator[Asked]:
    channel = open_channel(stack.targets["simulator"])
    yield Asked(channel)
    await channel.close(None)


@pytest.mark.engine
async def test_the_frozen_model_words_most_answers_and_few_fall_back(ask: Asked) -> None:
    responses = [await ask("renal-colic", seed, question) for seed in range(4) for question in QUESTIONS]
    for response in responses:
        assert response.reply
        assert set(response.disclosed.stated_fact_ids) <= set(response.disclosed.allowed_fact_ids)
    sources = Counter(response.disclosed.source for response in responses)
    own = sources[pb.REPLY_SOURCE_MODEL] + sources[pb.REPLY_SOURCE_REWRITTEN]
    assert own > len(responses) / 2, sources
    assert sources[pb.REPLY_SOURCE_PLAIN_STATEMENT] <= 0.3 * len(responses), sources


@pytest.mark.engine
async def test_a_question_in_no_word_of_the_case_is_answered_by_meaning(ask: Asked) -> None:
    """The embedding model is loaded at its first request, which may be too late for that one."""
    for _ in range(10):
        stated = (await ask("type1-diabetes-teen", 1, "Can you read the blackboard?")).disclosed.stated_fact_ids
        if stated:
            break
        await asyncio.sleep(1)
    assert list(stated) == ["vision"]
