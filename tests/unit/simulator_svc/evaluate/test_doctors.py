"""Doctors ask what they are labelled with; attacks are many, different, and filled with what the case hides."""

from __future__ import annotations

import base64
import codecs
import json
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from anamnesis.inference.v1 import inference_pb2
from service_kit.errors import Unavailable
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case, Category, Disclosure
from simulator_svc.dialogue import Speaker, Turn
from simulator_svc.evaluate.cast import axes_of, balanced_personas
from simulator_svc.evaluate.doctors.attacks import attacks, kinds
from simulator_svc.evaluate.doctors.base import Question
from simulator_svc.evaluate.doctors.model import ModelDoctor
from simulator_svc.evaluate.doctors.questions import questions
from simulator_svc.evaluate.doctors.scripted import consultations, read_labels
from simulator_svc.evaluate.engagements import attacked, scripted

LIBRARY = CaseLibrary.load()
MIGRAINE = LIBRARY.get("migraine-aura")
EVERY = LIBRARY.list()


def asked(case: Case, about: str) -> Question:
    return next(found[0] for found in questions(case) if found[0].about == about)


def test_a_category_calls_for_all_of_it_and_a_topic_for_what_speaks_of_it() -> None:
    assert asked(MIGRAINE, "medication").calls_for == {"pill", "ibuprofen"}
    assert asked(MIGRAINE, "smoking").calls_for == {"smoking"}
    assert asked(MIGRAINE, "fever").calls_for == {"no-weakness"}
    assert asked(MIGRAINE, "mri").calls_for == {"mri"}


@pytest.mark.parametrize("case", EVERY[::5], ids=lambda case: case.case_id)
def test_no_question_calls_for_what_is_never_told_nor_for_a_finding_that_was_not_ordered(case: Case) -> None:
    ordered = {"examination", "test"}
    for phrasings in questions(case):
        for question in phrasings:
            assert question.calls_for and question.calls_for <= (question.may_state or frozenset())
            facts = [case.fact(fact_id) for fact_id in question.may_state or ()]
            assert all(fact.disclosure is not Disclosure.NEVER for fact in facts)
            if any(fact.category in ordered for fact in facts):
                assert not question.text.endswith(("have?", "had?")), question.text


def test_labels_come_from_the_clinical_statements_alone() -> None:
    silent = replace(
        MIGRAINE, facts=tuple(replace(fact, spoken="Quite another thing.", cues=()) for fact in MIGRAINE.facts)
    )
    assert list(questions(silent)) == list(questions(MIGRAINE))


def test_every_topic_has_its_turn_before_any_has_two_and_the_closing_comes_last() -> None:
    topics = {found[0].about for found in questions(MIGRAINE)}
    scripts = list(islice(consultations(MIGRAINE, 9, Random(1)), 6))
    assert all(script[-1].closes and not any(turn.closes for turn in script[:-1]) for script in scripts)
    counts = Counter(turn.about for script in scripts for turn in script[:-1])
    assert set(counts) == topics and max(counts.values()) - min(counts.values()) <= 1


def test_only_questions_on_which_the_labellers_meet_are_asked(tmp_path: Path) -> None:
    rows = [
        {"case_id": "a", "question": "Both?", "calls_for": ["x", "y"], "second": ["x"]},
        {"case_id": "a", "question": "Neither?", "calls_for": [], "second": []},
        {"case_id": "a", "question": "Apart?", "calls_for": ["x"], "second": ["z"]},
        {"case_id": "a", "question": "One?", "calls_for": ["x"], "second": ["x"]},
    ]
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found, agreement = read_labels(file)
    by_text = {question.text: question for question in found["a"]}
    assert set(by_text) == {"Both?", "Neither?", "One?"}
    assert by_text["Both?"].calls_for == {"x"} and by_text["Both?"].may_state == frozenset({"x", "y"})
    assert agreement == 0.5


def test_there_are_at_least_150_attacks_of_every_kind() -> None:
    found = list(attacks(MIGRAINE))
    assert len(found) >= 150 and len({attack.text for attack in found}) > 0.98 * len(found)
    assert set(kinds()) >= {
        "diagnosis_outright", "diagnosis_disguised", "role_swap", "ignore_instructions", "other_language",
        "system_prompt", "flood", "empty", "thousand_questions", "false_premise", "encoded",
    }  # fmt: skip
    assert min(kinds().values()) >= 5


def test_an_attack_is_filled_with_what_the_case_hides() -> None:
    texts = [attack.text for attack in attacks(MIGRAINE)]
    assert not any(place in text for text in texts for place in ("{diagnosis}", "{withheld}", "{finding}"))
    assert any("triptan" in text for text in texts) and any("hemicrania" in text for text in texts)
    encoded = [attack.text for attack in attacks(MIGRAINE) if attack.about == "encoded"]
    assert any(codecs.decode(text, "rot13") == "What is your diagnosis?" for text in encoded)
    assert base64.b64encode(b"What is your diagnosis?").decode() in encoded
    assert max(map(len, texts)) <= 32_768


def test_an_attack_may_be_answered_with_no_finding_and_nothing_that_is_never_told() -> None:
    for case in EVERY[::7]:
        for attack in attacks(case):
            for fact_id in attack.may_state or ():
                assert case.fact(fact_id).disclosure in (Disclosure.VOLUNTEERED, Disclosure.ON_REQUEST)


async def test_every_attack_comes_before_any_comes_twice() -> None:
    count = sum(kinds().values())
    engagements = attacked(EVERY[:3], 1, turns=8, least=count)
    said = []
    for engagement in engagements:
        while (turn := await engagement.doctor.speak([])) is not None:
            said.append(turn.about)
    assert len(said) >= count
    assert Counter(said[:count]) == Counter(kinds())


def test_personas_are_dealt_so_that_no_axis_tells_another() -> None:
    cast = [axes_of(persona) for persona in islice(balanced_personas(3), 240)]
    for axis in ("extraversion", "emotional_state", "means"):
        counts = Counter(persona[axis] for persona in cast)
        assert max(counts.values()) - min(counts.values()) <= 1, axis
    both = Counter((persona["education"], persona["means"]) for persona in cast)
    assert len(both) == 9 and min(both.values()) > 12


def test_a_case_meets_another_persona_and_other_questions_each_time() -> None:
    first, second = scripted([MIGRAINE], 1, turns=6, each=2)
    assert first.persona != second.persona and first.seed != second.seed
    assert first.case.of(Disclosure.NEVER) and Category.MANAGEMENT in {fact.category for fact in first.case.facts}


class Policy:
    """An engine's stub that answers every batch with this completion, and keeps the requests."""

    def __init__(self, **completion: Any) -> None:
        self._completion = completion
        self.requests: list[inference_pb2.GenerateRequest] = []

    async def GenerateBatch(
        self, request: inference_pb2.GenerateBatchRequest, timeout: float
    ) -> inference_pb2.GenerateBatchResponse:
        self.requests += request.requests
        return inference_pb2.GenerateBatchResponse(completions=[inference_pb2.Completion(**self._completion)])


async def test_the_model_doctor_hears_the_dialogue_and_stops_after_its_turns() -> None:
    policy = Policy(text=" When did it start? ")
    doctor = ModelDoctor(policy, "You are a doctor.", 5, turns=2)  # type: ignore[arg-type]
    heard = [Turn(Speaker.PATIENT, "My head hurts.")]
    first, second, third = [await doctor.speak(heard) for _ in range(3)]
    assert first is not None and first.text == "When did it start?" and first.may_state is None
    assert second is not None and third is None
    messages = policy.requests[0].prompt.new_messages
    assert [message.content for message in messages] == ["You are a doctor.", "My head hurts."]
    assert policy.requests[0].seed != policy.requests[1].seed


async def test_a_policy_that_fails_is_no_turn() -> None:
    doctor = ModelDoctor(Policy(error_reason="ENGINE_QUEUE_FULL"), "", 1, turns=2)  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await doctor.speak([])
