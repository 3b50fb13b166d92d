"""The patient's server in the running stack: a consultation with the frozen model behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anamnesis.common.v1 import dialogue_pb2, patient_pb2
from anamnesis.simulator.v1 import simulator_pb2 as pb
from anamnesis.simulator.v1 import simulator_pb2_grpc
from service_kit.grpc.channel import open_channel

if TYPE_CHECKING:
    from tests.conftest import RunningStack

QUESTIONS = [
    "When did it start?",
    "Where is it?",
    "Do you smoke?",
    "Any allergies?",
    "What makes it worse?",
    "Tell me more.",
]


@pytest.mark.engine
async def test_the_frozen_model_writes_some_of_the_patients_words(stack: RunningStack) -> None:
    channel = open_channel(stack.targets["simulator"])
    simulator = simulator_pb2_grpc.PatientSimulatorServiceStub(channel)
    persona = patient_pb2.Persona(
        personality=patient_pb2.PERSONALITY_ENFP, emotional_state=patient_pb2.EMOTIONAL_STATE_ANXIOUS
    )
    sources = []
    for seed in range(4):
        for question in QUESTIONS:
            response = await simulator.Respond(
                pb.RespondRequest(
                    case=patient_pb2.CaseReference(case_id="renal-colic"),
                    persona=persona,
                    seed=seed,
                    dialogue=dialogue_pb2.Dialogue(
                        messages=[dialogue_pb2.Message(role=dialogue_pb2.ROLE_ASSISTANT, content=question)]
                    ),
                ),
                timeout=60,
            )
            assert response.reply
            assert set(response.disclosed.stated_fact_ids) <= set(response.disclosed.allowed_fact_ids)
            sources.append(response.disclosed.source)
    await channel.close(None)
    assert {pb.REPLY_SOURCE_MODEL, pb.REPLY_SOURCE_REWRITTEN} & set(sources)
