"""Embeddings answer what no word answers, where one fact is near and clearly nearer; late ones change nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from service_kit.errors import DeadlineExceeded, ServiceError, Unavailable
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Fact
from simulator_svc.dialogue import Speaker, Turn
from simulator_svc.language import ModelMessage
from simulator_svc.patient import Patient, PatientSettings
from simulator_svc.personas.model import Persona
from simulator_svc.units.nearest import Nearest

CASE = CaseLibrary.load().get("type1-diabetes-teen")
VISION = CASE.fact("vision")
UNWORDED = "Can you read the blackboard?"


class Embeddings:
    """The question lies along the first axis; facts lie where `likeness` puts them, by id, and otherwise across."""

    def __init__(self, likeness: dict[str, float], error: ServiceError | None = None) -> None:
        self.likeness = {text: value for key, value in likeness.items() for text in _wordings(key)}
        self.error = error
        self.asked: list[list[str]] = []

    async def embed(self, texts: Sequence[str]) -> list[Sequence[float]]:
        self.asked.append(list(texts))
        if self.error:
            raise self.error
        likenesses = [1.0 if "?" in text else self.likeness.get(text, 0.0) for text in texts]
        return [[value, (1 - value**2) ** 0.5] for value in likenesses]

    async def complete(
        self,
        messages: Sequence[ModelMessage],
        *,
        max_tokens: int,
        seed: int,
        temperature: float,
        stop: Sequence[str],
        pattern: str = "",
    ) -> str:
        raise Unavailable("inference-frozen", "no drafts in this test")


def _wordings(fact_id: str) -> tuple[str, str]:
    return CASE.fact(fact_id).text, CASE.fact(fact_id).words


@pytest.mark.parametrize(
    ("likeness", "found"),
    [
        ({"vision": 0.46, "tired": 0.2}, [VISION]),
        ({"vision": 0.46, "tired": 0.44}, []),
        ({"vision": 0.30, "tired": 0.1}, []),
        # An examination is not found by a question, however near.
        ({"glucose": 0.9, "vision": 0.2}, []),
    ],
)
async def test_a_fact_is_found_when_it_is_near_and_clearly_nearer(
    likeness: dict[str, float], found: list[Fact]
) -> None:
    assert await Nearest(Embeddings(likeness)).facts(CASE, [UNWORDED]) == found


async def test_the_facts_of_a_case_are_embedded_once() -> None:
    embeddings = Embeddings({"vision": 0.46})
    nearest = Nearest(embeddings)
    for _ in range(2):
        assert await nearest.facts(CASE, [UNWORDED])
    assert len(embeddings.asked[0]) > 20 and embeddings.asked[1] == [UNWORDED]


async def test_a_flood_of_questions_is_cut() -> None:
    embeddings = Embeddings({})
    await Nearest(embeddings).facts(CASE, ["why? " * 10_000] * 500)
    assert sum("?" in text for text in embeddings.asked[0]) <= 4
    assert max(map(len, embeddings.asked[0])) <= 2048


@pytest.mark.parametrize("error", [Unavailable("inference-frozen", "away"), DeadlineExceeded("LATE", "too late")])
async def test_late_or_missing_embeddings_leave_the_answer_to_the_words(error: ServiceError) -> None:
    patient = Patient(Embeddings({}, error), PatientSettings(draft_share=0))
    for question, stated in ((UNWORDED, frozenset()), ("Is your vision blurry?", {"vision"})):
        turn = await patient.respond(CASE, Persona(), 1, [Turn(Speaker.DOCTOR, question)], None)
        assert turn.stated == stated and turn.text


async def test_words_that_answer_need_no_embeddings() -> None:
    embeddings = Embeddings({"tired": 0.9})
    patient = Patient(embeddings, PatientSettings(draft_share=0))
    turn = await patient.respond(CASE, Persona(), 1, [Turn(Speaker.DOCTOR, "Is your vision blurry?")], None)
    assert turn.stated == {"vision"} and not embeddings.asked
    turn = await patient.respond(CASE, Persona(), 1, [Turn(Speaker.DOCTOR, "Do you have any rash?")], None)
    assert not turn.stated and not embeddings.asked, "a question that was understood is not guessed at"
