"""The criteria library: large, all of it reachable, chosen by need; each verifiable criterion finds what it names."""

import dataclasses
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from rubric_svc.case_store import CaseStore
from rubric_svc.generate import conditions, templates
from rubric_svc.generate.conditions import Condition
from rubric_svc.generate.generator import generate
from rubric_svc.generate.templates import Moment, Template, WrongCriteria
from rubric_svc.judge.evidence import Evidence
from rubric_svc.judge.verifiable import find
from rubric_svc.model import Case, Dialogue, Dimension, Emotion, Level, Persona, Rubric, Scope, Sex
from tests.unit.rubric_svc.rubric_cases import HEADACHE, talk

CASES = Path(__file__).parents[3] / "simulator_svc" / "cases" / "data"
EXAMPLES: dict[str, list[str]] = tomllib.loads(
    (Path(__file__).parent / "library_examples.toml").read_text(encoding="utf-8")
)
OPENING = talk("I have a terrible headache.")
LAST, WHOLE = Scope.LAST_DOCTOR_TURN, Scope.WHOLE_DIALOGUE
LIBRARY = {template.template_id: template for template in templates.built_in().library}
# A fragment's rubric is a reward in training: its length and its positive points are not to grow with the library.
MOST_IN_FRAGMENT, MOST_IN_WHOLE = 33, 50


def rubric(
    so_far: Dialogue = OPENING, scope: Scope = LAST, *, case: Case = HEADACHE, persona: Persona | None = None
) -> Rubric:
    return generate(case, persona or Persona(), so_far, scope, 1, templates.built_in(), model_criteria=1)


def names(found: Rubric) -> set[str]:
    return {criterion.criterion_id for criterion in found.criteria}


def everything() -> tuple[Template, ...]:
    built_in = templates.built_in()
    return (*built_in.general, *built_in.library, *built_in.model)


def test_the_library_holds_at_least_120_criteria_of_all_dimensions_and_both_signs() -> None:
    assert len(everything()) >= 120
    assert len({template.text for template in everything()}) == len(everything())
    for dimension in set(Dimension) - {Dimension.UNSPECIFIED}:
        signs = {value > 0 for t in everything() if t.dimension is dimension for value in t.points.values()}
        assert signs == {True, False}, dimension


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_a_library_criterion_finds_what_it_names_and_not_its_near_miss(name: str) -> None:
    for text, expected in zip(EXAMPLES[name], (True, False), strict=True):
        evidence = Evidence.of(talk("I do not feel well.", text), LAST)
        assert bool(find(LIBRARY[name].check, evidence)) is expected, text


def test_every_verifiable_library_criterion_has_its_examples() -> None:
    assert set(LIBRARY) - {"very_long"} == set(EXAMPLES)


def test_every_library_criterion_comes_into_some_rubric_of_the_built_in_cases() -> None:
    store = CaseStore(CASES)
    cases = [store.get(file.stem) for file in sorted(CASES.glob("*.toml"))]
    personas = [
        Persona(Emotion.ANXIOUS, Level.LOW, Level.LOW, Level.LOW),
        Persona(Emotion.SAD, Level.HIGH, Level.HIGH, Level.HIGH),
        Persona(Emotion.IRRITABLE),
        Persona(Emotion.STOIC),
    ]
    heard = talk("I am scared, it hurts at work, and the tablets are expensive.")
    middle, later = (*talk(*["I see."] * 7)[:-1], *heard), talk(*["I see."] * 13)
    used: Counter[str] = Counter()
    situations = ((heard, LAST), (middle, LAST), (later, LAST), ((), WHOLE))
    for number, case in enumerate(cases):
        for index, (so_far, scope) in enumerate(situations):
            found = rubric(so_far, scope, case=case, persona=personas[(number + index) % len(personas)])
            used.update(names(found))
            assert len(found.criteria) <= (MOST_IN_WHOLE if scope is WHOLE else MOST_IN_FRAGMENT)
    assert set(LIBRARY) - set(used) == set()


def test_the_library_adds_few_points_to_a_fragment() -> None:
    for so_far in (OPENING, talk(*["I see."] * 13)):
        found = [c for c in rubric(so_far).criteria if c.criterion_id in LIBRARY]
        possible = sum(c.points for c in rubric(so_far).criteria if c.points > 0)
        assert sum(c.points for c in found if c.points > 0) <= 0.2 * possible


def test_other_cases_get_other_criteria_and_the_same_case_the_same() -> None:
    other = dataclasses.replace(HEADACHE, case_id="another")
    assert rubric(scope=WHOLE) == rubric(scope=WHOLE)
    assert names(rubric(scope=WHOLE)) != names(rubric(scope=WHOLE, case=other))


def test_what_the_doctor_has_said_or_asked_earns_nothing_again() -> None:
    for found in rubric(talk(*["I see."] * 13)).criteria:
        if (template := LIBRARY.get(found.criterion_id)) and found.points > 0:
            said = EXAMPLES[found.criterion_id][0]
            after = rubric((*talk(*["I see."] * 13), *talk("", said)[1:], *talk("Yes.")))
            assert (found.criterion_id in names(after)) is (template.check.matcher in ("safety_net", "explains"))


@pytest.mark.parametrize(
    ("told", "criterion"),
    [
        ("I can't afford any tests.", "answers_money"),
        ("I would be better off dead.", "answers_self_harm"),
        ("I don't want to go to any hospital.", "respects_refusal"),
    ],
)
def test_what_the_patient_says_brings_its_criterion_in(told: str, criterion: str) -> None:
    assert criterion in names(rubric(talk(told)))
    assert criterion not in names(rubric())
    later = talk(told, "I see. When did it start?", "Yesterday.")
    assert criterion not in names(rubric(later)), "only the patient's last words call for an answer"


@pytest.mark.parametrize(
    ("age", "sex", "expected"),
    [
        (4, Sex.MALE, {Condition.CHILD}),
        (30, Sex.FEMALE, {Condition.CHILDBEARING_AGE}),
        (30, Sex.MALE, set()),
        (80, Sex.FEMALE, {Condition.ELDERLY}),
        (None, Sex.UNSPECIFIED, set()),
    ],
)
def test_age_and_sex_are_conditions(age: int | None, sex: Sex, expected: set[Condition]) -> None:
    case = dataclasses.replace(HEADACHE, age_years=age, sex=sex)
    found = conditions.conditions(case, Persona(), ())
    assert found & {Condition.CHILD, Condition.ELDERLY, Condition.CHILDBEARING_AGE} == expected


def test_a_condition_of_the_case_is_cancelled_by_its_denial() -> None:
    smoker = next(r for c, r in conditions.rows().items() if c is Condition.SMOKES)
    assert smoker.holds(iter(["Smokes ten cigarettes a day."]))
    assert not smoker.holds(iter(["Does not smoke."]))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"when": ["full_moon"]}, "full_moon"),
        ({"weight": 0}, "weight"),
        ({"terms": ["x"]}, "without a matcher"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_library_criterion_is_refused_by_name(change: dict[str, object], problem: str) -> None:
    row = {"id": "bad", "text": "x", "dimension": "clarity", "points": {Moment.WHOLE.value: 1}, **change}
    with pytest.raises(WrongCriteria, match=rf"library/clarity\.toml: bad: .*{problem}"):
        templates.parse_template("library/clarity.toml", row)
