"""Several replicas of the frozen deployment: a dialogue's questions go together, and on when one is away."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from anamnesis.inference.v1 import inference_pb2
from rubric_svc.inference import FrozenModel
from rubric_svc.judge.model import Failed, Question
from rubric_svc.model import Speaker, Turn
from service_kit.errors import Code, ServiceError
from tests.contract.inference_replicas import InferenceReplica, serving


class Replica(InferenceReplica):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.short = False

    async def Choose(self, request: inference_pb2.ChooseRequest, context: Any) -> inference_pb2.ChooseResponse:
        self.asked.append([item.prompt.new_messages[0].content for item in request.items])
        scores = [inference_pb2.ChoiceScore(choice="Yes", probability=0.7, logprob=-1.0, token_count=1)]
        results = [inference_pb2.ChooseResult(scores=scores) for _ in request.items]
        return inference_pb2.ChooseResponse(results=results[1:] if self.short else results)


@pytest.fixture
async def replicas() -> AsyncIterator[list[Replica]]:
    started = [Replica(), Replica()]  # type: ignore[abstract]  # the generated base answers the rest
    async with serving(started):
        yield started


@pytest.fixture
async def frozen(replicas: list[Replica]) -> AsyncIterator[FrozenModel]:
    model = FrozenModel(",".join(replica.target for replica in replicas))
    yield model
    await model.close()


def _questions(dialogue: int, count: int = 3) -> list[Question]:
    prefix = f"dialogue {dialogue}"
    return [
        Question((Turn(Speaker.PATIENT, f"{prefix}, criterion {number}"),), ("Yes",), prefix) for number in range(count)
    ]


async def test_the_questions_of_a_dialogue_stay_together_and_dialogues_use_every_replica(
    replicas: list[Replica], frozen: FrozenModel
) -> None:
    mixed = [question for dialogue in range(20) for question in _questions(dialogue)]
    answers = await frozen.choose(mixed[::2] + mixed[1::2], 5.0)
    assert len(answers) == 60
    assert not any(isinstance(answer, Failed) for answer in answers)
    for replica in replicas:
        assert replica.asked
        assert all(len(items) == 3 and len({item.split(",")[0] for item in items}) == 1 for items in replica.asked)


async def test_when_a_replica_dies_its_dialogues_go_to_the_other(replicas: list[Replica], frozen: FrozenModel) -> None:
    await replicas[0].server.stop(0)
    answers = await frozen.choose([question for dialogue in range(20) for question in _questions(dialogue)], 5.0)
    assert len(answers) == 60
    assert sum(map(len, replicas[1].asked)) == 60


async def test_when_all_are_away_the_call_says_so_within_its_limit(
    replicas: list[Replica], frozen: FrozenModel
) -> None:
    for replica in replicas:
        await replica.server.stop(0)
    with pytest.raises(ServiceError) as raised:
        await frozen.choose(_questions(1), 3.0)
    assert raised.value.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)


async def test_an_answer_that_misses_a_question_fails_all_of_its_call(
    replicas: list[Replica], frozen: FrozenModel
) -> None:
    for replica in replicas:
        replica.short = True
    assert await frozen.choose(_questions(1), 5.0) == [Failed("WRONG_ANSWER_COUNT")] * 3


async def test_a_name_that_does_not_resolve_is_unavailable() -> None:
    model = FrozenModel("no-such-host.invalid:7104")
    with pytest.raises(ServiceError) as raised:
        await model.choose(_questions(1), 3.0)
    assert raised.value.code is Code.UNAVAILABLE
    await model.close()
