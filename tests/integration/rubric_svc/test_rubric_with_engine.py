"""The rubric service on the running stack: the real frozen model judges, and its death is no hang."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from anamnesis.common.v1 import dialogue_pb2, patient_pb2, rubric_pb2
from anamnesis.rubric.v1 import rubric_pb2 as pb
from anamnesis.rubric.v1 import rubric_pb2_grpc
from service_kit.grpc.channel import open_channel

if TYPE_CHECKING:
    from tests.conftest import RunningStack

pytestmark = pytest.mark.engine
UNGRADED = rubric_pb2.VERDICT_OUTCOME_UNGRADED


@pytest.fixture
async def stub(stack: RunningStack) -> AsyncIterator[Any]:
    async with open_channel(stack.targets["rubric"]) as channel:
        yield rubric_pb2_grpc.RubricServiceStub(channel)


def _request(*texts: str, scope: pb.Scope.ValueType = pb.SCOPE_LAST_DOCTOR_TURN) -> pb.ScoreDialogueRequest:
    roles = (dialogue_pb2.ROLE_USER, dialogue_pb2.ROLE_ASSISTANT)
    messages = [dialogue_pb2.Message(role=roles[index % 2], content=text) for index, text in enumerate(texts)]
    return pb.ScoreDialogueRequest(
        dialogue=dialogue_pb2.Dialogue(messages=messages),
        case=patient_pb2.CaseReference(case_id="migraine-aura"),
        scope=scope,
        seed=5,
        measure_coherence=True,
    )


async def test_the_frozen_model_grades_what_words_do_not_show(stub: Any) -> None:
    opening = "I have a bad headache."
    request = _request(
        opening,
        "I'm sorry to hear that. When did the headache start?",
        "Two hours ago.",
        "I see. Do you feel sick with it?",
        scope=pb.SCOPE_WHOLE_DIALOGUE,
    )
    response = await stub.ScoreDialogue(request, timeout=120)
    by_model = [c.criterion_id for c in response.rubric.criteria if c.check.HasField("model")]
    verdicts = {v.criterion_id: v for v in response.score.verdicts}
    assert by_model
    assert all(verdicts[name].outcome != UNGRADED and 0 < verdicts[name].probability < 1 for name in by_model)
    assert not response.score.void and response.score.ungraded_share == 0
    assert 0 < response.coherence < 1


async def test_natural_words_are_more_coherent_than_a_heap_of_them(stub: Any) -> None:
    natural = await stub.ScoreDialogue(
        _request("I have a bad headache.", "I'm sorry to hear that. When did it start?"), timeout=120
    )
    heap = await stub.ScoreDialogue(
        _request("I have a bad headache.", "Headache onset vomit empathy understand neck when sorry?"), timeout=120
    )
    assert natural.coherence > 2 * heap.coherence
    assert natural.score.value > heap.score.value


async def test_many_dialogues_are_scored_in_one_streamed_call(stub: Any) -> None:
    requests = [
        _request("I have a bad headache.", f"I'm sorry to hear that. When did it start? ({index})")
        for index in range(12)
    ]
    answers = [a async for a in stub.ScoreDialogues(pb.ScoreDialoguesRequest(requests=requests), timeout=240)]
    assert sorted(a.index for a in answers) == list(range(12))
    assert not any(a.error_reason or a.response.score.void for a in answers)
