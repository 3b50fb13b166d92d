"""The library is complete and clean; a wrong case file is refused with its name and field."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from service_kit.errors import NotFound
from simulator_svc import mapping
from simulator_svc.cases.library import BUILT_IN, CaseLibrary
from simulator_svc.cases.model import Disclosure, Sex, Split
from simulator_svc.cases.parse import CaseError, parse_case
from simulator_svc.cases.standard import library_shortcomings, shortcomings
from simulator_svc.units.claims import names_any
from simulator_svc.units.questions import asked

LIBRARY = CaseLibrary.load()
GOOD = (BUILT_IN / "gout-toe.toml").read_text(encoding="utf-8")


def test_covers_ages_sexes_and_specialties_and_holds_a_third_out() -> None:
    cases = LIBRARY.list()
    held_out = LIBRARY.list(Split.HELD_OUT)
    assert len(held_out) == len(cases) // 3
    assert not {case.case_id for case in held_out} & {case.case_id for case in LIBRARY.list(Split.TRAIN)}
    assert len({case.specialty for case in cases}) >= 12
    assert min(Counter(case.sex for case in cases)[sex] for sex in Sex) >= 25
    assert any(case.age_years < 5 for case in cases) and any(case.age_years > 75 for case in cases)
    assert {"common", "rare"} <= {case.prevalence for case in cases}


def test_the_library_meets_its_own_standard() -> None:
    assert library_shortcomings(LIBRARY.list()) == []


@pytest.mark.parametrize("case", LIBRARY.list(), ids=lambda case: case.case_id)
def test_no_spoken_word_names_the_diagnosis(case) -> None:  # type: ignore[no-untyped-def]
    for fact in case.facts:
        assert not names_any(fact.spoken, case.diagnosis_names)


@pytest.mark.parametrize("case", LIBRARY.list(), ids=lambda case: case.case_id)
def test_every_fact_can_be_asked_for_by_its_own_cues(case) -> None:  # type: ignore[no-untyped-def]
    for fact in case.facts:
        if fact.disclosure is Disclosure.NEVER:
            continue
        for cue in fact.cues:
            word = cue.replace("*", "").replace(" .. ", " ")
            turn = f"Let me check the {word}." if fact.disclosure is Disclosure.ON_EXAMINATION else f"Any {word}?"
            assert fact in asked(case, turn, frozenset()).facts, (fact.fact_id, cue)


@pytest.mark.parametrize("case", LIBRARY.list(), ids=lambda case: case.case_id)
def test_survives_the_way_through_protobuf(case) -> None:  # type: ignore[no-untyped-def]
    assert mapping.case_from_proto(mapping.case_to_proto(case)) == case


def test_an_unknown_case_is_not_found() -> None:
    with pytest.raises(NotFound):
        LIBRARY.get("nobody")


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('sex = "male"', 'sex = "other"', "sex"),
        ("age_years = 55", "age_years = 111", "age_years"),
        ('split = "train"', "", "split"),
        ('title = "', 'titel = "', "titel"),
        ('case_id = "gout-toe"', 'case_id = "Gout of Mr. X"', "case_id"),
        ('spoken = "It burns and throbs."', 'spoken = "It burns like gout."', "facts.character.character.spoken"),
        ('spoken = "It burns and throbs."', 'spoken = ""', "facts.character[0].spoken"),
        ('spoken = "It burns and throbs."', 'spoken = "It burns"', "facts.character.character.spoken"),
        (
            'spoken = "It burns and throbs."',
            'spoken = "No other joint hurts."',
            "facts.radiation.radiation.spoken",
        ),
        ('id = "swelling"', 'id = "toe"', "facts.associated.toe.id"),
        (
            'id = "diagnosis", text = "',
            'id = "diagnosis", disclosure = "on_request", text = "',
            "facts.diagnosis[0].disclosure",
        ),
        ("allergy = [", "allergies = [", "facts.allergies"),
        ("[facts]", "[facts", ""),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_field(old: str, new: str, field: str) -> None:
    assert old in GOOD
    with pytest.raises(CaseError) as refused:
        parse_case(GOOD.replace(old, new), "gout-toe.toml")
    assert (refused.value.file, refused.value.field) == ("gout-toe.toml", field)


@pytest.mark.parametrize(
    ("pattern", "new", "shortcoming"),
    [
        (r"(?m)^medication.*$", "", "facts.medication: is missing"),
        (r"(?m)^prevalence.*$", "", "prevalence: is missing"),
        (r"(?m)^sex.*$", "", "sex: is missing"),
        (r'cues = \["injur.*?\]', "cues = []", "facts.red_flag.no-wound.cues: is missing"),
    ],
)
def test_what_an_imported_case_may_lack_falls_short_of_the_library_standard(
    pattern: str, new: str, shortcoming: str
) -> None:
    changed, count = re.subn(pattern, new, GOOD)
    assert count == 1
    assert [problem for problem in shortcomings(parse_case(changed, "x.toml")) if problem.startswith(shortcoming)]


def test_too_few_facts_or_cases_fall_short_of_the_library_standard() -> None:
    case = LIBRARY.get("gout-toe")
    assert any("fewer than" in problem for problem in shortcomings(replace(case, facts=case.facts[:5])))
    assert "the library has 1 cases" in library_shortcomings([case])[-1]


def test_a_case_with_nothing_to_say_is_refused() -> None:
    head = GOOD[: GOOD.index("[facts]")]
    with pytest.raises(CaseError, match="nothing that a patient may say"):
        parse_case(f'{head}[facts]\ndiagnosis = [{{ id = "d", text = "Gout." }}]\n', "x.toml")


@pytest.mark.parametrize("age", [0, 3, 110])
def test_a_patient_may_be_of_any_age(age: int) -> None:
    assert parse_case(GOOD.replace("age_years = 55", f"age_years = {age}"), "x.toml").age_years == age


def test_two_files_with_one_case_id_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "b.toml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(CaseError, match=r"b\.toml: case_id"):
        CaseLibrary.load(tmp_path)


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError):
        CaseLibrary.load(tmp_path)
