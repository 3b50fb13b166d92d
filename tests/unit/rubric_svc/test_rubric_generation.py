"""Rubrics: the same for the same input, within the points' rule, adapted to dialogue and persona, not to be gamed."""

import dataclasses

import pytest

from rubric_svc.generate import templates
from rubric_svc.generate.generator import generate
from rubric_svc.generate.templates import Moment, WrongCriteria
from rubric_svc.judge import verifiable
from rubric_svc.judge.evidence import Evidence
from rubric_svc.model import (
    CORE_DIMENSIONS,
    Case,
    Category,
    Dialogue,
    Emotion,
    Fact,
    Level,
    Persona,
    Rubric,
    Scope,
)
from rubric_svc.score import score
from tests.unit.rubric_svc.rubric_cases import HEADACHE, talk

OPENING = talk("I have a terrible headache.")
LAST, WHOLE = Scope.LAST_DOCTOR_TURN, Scope.WHOLE_DIALOGUE


def rubric(
    so_far: Dialogue = OPENING,
    scope: Scope = LAST,
    *,
    case: Case = HEADACHE,
    persona: Persona | None = None,
    seed: int = 1,
    model_criteria: int = 1,
) -> Rubric:
    persona = persona or Persona()
    return generate(case, persona, so_far, scope, seed, templates.built_in(), model_criteria=model_criteria)


def points(found: Rubric) -> dict[str, int]:
    return {criterion.criterion_id: criterion.points for criterion in found.criteria}


def reward(text: str, so_far: Dialogue = OPENING) -> float:
    found = rubric(so_far, model_criteria=0)
    evidence = Evidence.of((*so_far, *talk("", text)[1:]), LAST)
    return score(verifiable.judge(list(found.criteria), evidence), void_share=0.3).value


LATER = talk(
    "I have a terrible headache.",
    "When did it start?",
    "It came in a second, yesterday.",
    "Where is it?",
    "It is at the back of my head.",
    "Are you allergic to anything?",
    "No allergies that I know of.",
    "Do you take any medicines?",
    "I take nothing.",
    "What is it like? How bad is it?",
    "It was like a blow. It is the worst I ever had.",
    "Have you vomited?",
    "I threw up twice.",
)


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("so_far", [OPENING, LATER], ids=["early", "late"])
def test_a_rubric_is_a_function_of_its_input_and_seed(scope: Scope, so_far: Dialogue) -> None:
    assert rubric(so_far, scope, seed=7) == rubric(so_far, scope, seed=7)


def test_the_seed_changes_nothing_but_the_models_criteria() -> None:
    rubrics = [rubric(seed=seed) for seed in range(8)]
    assert len({r.criteria for r in rubrics}) > 1
    matched = {tuple(c for c in r.criteria if c.check.matcher) for r in rubrics}
    assert len(matched) == 1


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("so_far", [OPENING, LATER], ids=["early", "late"])
def test_every_rubric_has_the_five_dimensions_and_both_signs(scope: Scope, so_far: Dialogue) -> None:
    found = rubric(so_far, scope)
    assert {c.dimension for c in found.criteria} >= set(CORE_DIMENSIONS)
    assert any(c.points > 0 for c in found.criteria) and any(c.points < 0 for c in found.criteria)
    assert all(-10 <= c.points <= 10 and c.points != 0 for c in found.criteria)
    assert len({c.criterion_id for c in found.criteria}) == len(found.criteria)


def test_few_criteria_are_the_models() -> None:
    assert sum(not c.check.matcher for c in rubric(model_criteria=1).criteria) == 1
    assert sum(not c.check.matcher for c in rubric(model_criteria=0).criteria) == 0


def test_what_was_asked_is_no_longer_rewarded_and_asking_it_again_costs_a_little() -> None:
    asked = talk("I have a terrible headache.", "When did it start?", "I do not know.")
    assert "topic.onset" in points(rubric())
    assert "topic.onset" not in points(rubric(asked))
    assert -3 <= points(rubric(asked))["asks_again"] < 0
    assert reward("When exactly did the pain begin?", asked) < reward("How bad is the pain now?", asked)


def test_what_the_patient_has_told_unasked_is_no_longer_rewarded() -> None:
    told = talk("I have a terrible headache. It came in a second, yesterday.")
    assert "topic.onset" not in points(rubric(told))


def test_only_topics_that_the_case_holds_are_rewarded() -> None:
    assert "topic.radiation" not in points(rubric(scope=WHOLE))


def test_early_turns_reward_history_and_late_ones_the_conclusion() -> None:
    early, late = points(rubric()), points(rubric(LATER))
    assert early["premature_diagnosis"] < 0 and "names_diagnosis" not in early and "plan" not in early
    assert late["names_diagnosis"] > 0 and late["plan"] > 0 and late["safety_net"] > 0
    assert "premature_diagnosis" not in late


def test_a_warning_sign_brings_escalation_and_safety_net_in() -> None:
    told = points(rubric(talk("I have a terrible headache. My neck is stiff.")))
    assert told["escalates_red_flag"] > 0 and told["safety_net_red_flag"] > 0
    assert "safety_net_red_flag" not in points(rubric())


def test_a_case_that_is_no_emergency_asks_for_no_escalation() -> None:
    calm = dataclasses.replace(
        HEADACHE, facts=tuple(f for f in HEADACHE.facts if f.category is not Category.MANAGEMENT)
    )
    assert "escalates" not in points(rubric(scope=WHOLE, case=calm))
    assert "escalates" in points(rubric(scope=WHOLE))


@pytest.mark.parametrize(
    ("persona", "criterion"),
    [
        (Persona(means=Level.LOW), "cost"),
        (Persona(emotional_state=Emotion.ANXIOUS), "reassures"),
        (Persona(health_literacy=Level.LOW), "jargon_low_literacy"),
        (Persona(education=Level.HIGH), "reasons"),
    ],
)
@pytest.mark.parametrize("scope", Scope)
def test_the_persona_brings_its_own_criterion(persona: Persona, criterion: str, scope: Scope) -> None:
    assert criterion in points(rubric(scope=scope, persona=persona))
    assert criterion not in points(rubric(scope=scope))


def test_a_case_without_tests_has_no_criterion_on_them() -> None:
    bare = Case("bare", (Fact("cc", Category.CHIEF_COMPLAINT, "Cough."), Fact("on", Category.ONSET, "A week ago.")))
    found = points(rubric(scope=WHOLE, case=bare))
    assert "tests" not in found and "names_diagnosis" not in found and "topic.onset" in found


def test_cues_that_look_like_matcher_syntax_are_left_out() -> None:
    odd = Case("odd", (Fact("on", Category.ONSET, "A week ago.", cues=("@empathy", "share=2", "...", "last week")),))
    terms = next(c for c in rubric(case=odd).criteria if c.criterion_id == "topic.onset").check.terms
    assert terms == ("most=6", "@onset", "last week")


def test_a_good_turn_beats_a_plain_question_beats_a_statement() -> None:
    good = reward("I'm sorry you are in such pain. When did the headache start, and have you vomited?")
    plain = reward("When did it start?")
    statement = reward("I see.")
    assert good > plain > statement
    assert good > 0.6 and statement < 0.2


@pytest.mark.parametrize(
    "trick",
    [
        "Onset? Site? Character? Severity? Vomiting? Neck? Sorry to hear that. Allergies?",
        "Onset, site, character, severity, vomiting, neck, allergies, medicines?",
        "When did it start? Where is it? What is it like? How bad is it? Have you vomited? Is your neck stiff?",
        "Sorry sorry headache when where how bad vomiting neck start?",
        "I have a terrible headache. When did it start for me, doctor? I have been having it for days.",
    ],
)
def test_a_trick_earns_less_than_an_honest_turn(trick: str) -> None:
    assert reward(trick) < reward("I'm sorry to hear that. When did the headache start?") - 0.1


def test_a_criteria_file_that_is_wrong_names_file_and_criterion() -> None:
    with pytest.raises(WrongCriteria, match=r"general\.toml: bad: .*telepathy"):
        templates.parse_template(
            "general.toml",
            {"id": "bad", "text": "x", "dimension": "treatment", "matcher": "telepathy", "points": {"early": 1}},
        )
    with pytest.raises(WrongCriteria, match="points lie in"):
        templates.parse_template(
            "model.toml", {"id": "z", "text": "x", "dimension": "treatment", "points": {"early": 0}}
        )


def test_every_moment_has_a_reachable_reward() -> None:
    for moment in Moment:
        assert any(t.points.get(moment, 0) > 0 for t in templates.built_in().general)
