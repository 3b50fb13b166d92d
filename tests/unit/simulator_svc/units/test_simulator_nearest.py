"""Embeddings answer what no word answers, where a fact is near and clearly nearer; late ones change nothing."""

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
from simulator_svc.units.case_index import case_index
from simulator_svc.units.nearest import Nearest
from simulator_svc.units.questions import Asked, asked
from simulator_svc.units.ranking import CaseVectors, category_questions, chosen, features, weights

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
        general = category_questions().values()
        likenesses = [1.0 if "?" in text and text not in general else self.likeness.get(text, 0.0) for text in texts]
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

    async def choose(self, messages: Sequence[ModelMessage], choices: Sequence[str]) -> list[float]:
        raise Unavailable("inference-frozen", "no choices in this test")


def _wordings(fact_id: str) -> tuple[str, ...]:
    """With how its category is asked about."""
    fact = CASE.fact(fact_id)
    return fact.text, fact.words, category_questions().get(fact.category, "")


def _asked(question: str) -> Asked:
    return asked(CASE, question, ())


@pytest.mark.parametrize(
    ("likeness", "found"),
    [
        ({"vision": 0.95, "tired": 0.1}, {VISION}),
        ({"vision": 0.46, "tired": 0.44}, set()),
        ({"vision": 0.20, "tired": 0.1}, set()),
        # An examination is not found by a question, however near.
        ({"glucose": 0.9}, set()),
    ],
)
async def test_a_fact_is_found_when_it_is_near_and_clearly_nearer(likeness: dict[str, float], found: set[Fact]) -> None:
    weighed = await Nearest(Embeddings(likeness)).weighed(CASE, UNWORDED, _asked(UNWORDED))
    assert set(weighed.facts) == found


async def test_the_facts_of_a_case_are_embedded_once() -> None:
    embeddings = Embeddings({"vision": 0.95})
    nearest = Nearest(embeddings)
    for _ in range(2):
        assert (await nearest.weighed(CASE, UNWORDED, _asked(UNWORDED))).facts
    assert len(embeddings.asked[0]) > 20 and embeddings.asked[1] == [UNWORDED]


async def test_a_flood_of_questions_is_cut() -> None:
    embeddings = Embeddings({})
    flood = " ".join(f"{'why ' * 1000}{number}?" for number in range(50))
    await Nearest(embeddings).weighed(CASE, flood, _asked(flood))
    assert sum("why" in text for text in embeddings.asked[0]) <= 6
    assert max(map(len, embeddings.asked[0])) <= 2048


async def test_an_order_and_an_invitation_are_left_to_words() -> None:
    embeddings = Embeddings({"vision": 0.9})
    for said in ("Could I check your blood glucose?", "What brings you here today?", "I see."):
        question = _asked(said)
        assert await Nearest(embeddings).weighed(CASE, said, question) is question
    assert not embeddings.asked


async def test_what_words_found_goes_where_meaning_is_far_from_it() -> None:
    limits = weights()
    index = case_index(CASE)
    likely = [0.0 if known.fact == VISION else limits.keep for known in index.history]
    tired = CASE.fact("tired")
    assert chosen(index, likely, [VISION, tired]) == [tired]
    glucose = CASE.fact("glucose")
    assert chosen(index, likely, [glucose]) == [glucose], "a finding is not ranked"


def test_every_feature_has_a_weight() -> None:
    index = case_index(CASE)
    count = len(index.history)
    flat = CaseVectors([[1.0]] * count, [[1.0]] * count, [[1.0]] * len(category_questions()))
    rows = features(index, [UNWORDED], [[1.0]], flat, {"vision"})
    assert len(rows) == count and {len(row) for row in rows} == {len(weights().weights)}


@pytest.mark.parametrize("error", [Unavailable("inference-frozen", "away"), DeadlineExceeded("LATE", "too late")])
async def test_late_or_missing_embeddings_leave_the_answer_to_the_words(error: ServiceError) -> None:
    patient = Patient(Embeddings({}, error), PatientSettings(draft_share=0))
    for question, stated in ((UNWORDED, frozenset()), ("Is your vision blurry?", {"vision"})):
        turn = await patient.respond(CASE, Persona(), 1, [Turn(Speaker.DOCTOR, question)], None)
        assert turn.stated == stated and turn.text
