"""The library is complete and clean; a wrong case file is refused with its name and field."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from service_kit.errors import NotFound
from simulator_svc import mapping
from simulator_svc.cases.library import BUILT_IN, CaseLibrary
from simulator_svc.cases.model import Disclosure, Sex, Split
from simulator_svc.cases.parse import CaseError, parse_case
from simulator_svc.units.claims import names_any
from simulator_svc.units.questions import asked

LIBRARY = CaseLibrary.load()
GOOD = (BUILT_IN / "gout-toe.toml").read_text(encoding="utf-8")


def test_covers_ages_sexes_and_specialties_and_holds_a_third_out() -> None:
    cases = LIBRARY.list()
    assert len(cases) >= 24
    held_out = LIBRARY.list(Split.HELD_OUT)
    assert len(held_out) == len(cases) // 3
    assert not {case.case_id for case in held_out} & {case.case_id for case in LIBRARY.list(Split.TRAIN)}
    assert len({case.specialty for case in cases}) >= 10
    assert min(Counter(case.sex for case in cases)[sex] for sex in Sex) >= 8
    assert any(case.age_years < 12 for case in cases) and any(case.age_years > 75 for case in cases)


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
        ("age_years = 55", "age_years = 5", "age_years"),
        ('split = "train"', "", "split"),
        ('title = "', 'titel = "', "titel"),
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
        ('cues = ["injur*", "wound", "cut", "trauma", "bite", "fall"]', "cues = []", "facts.red_flag.no-wound.cues"),
        ("[facts]", "[facts", ""),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_field(old: str, new: str, field: str) -> None:
    assert old in GOOD
    with pytest.raises(CaseError) as refused:
        parse_case(GOOD.replace(old, new), "gout-toe.toml")
    assert (refused.value.file, refused.value.field) == ("gout-toe.toml", field)


def test_a_missing_category_is_named() -> None:
    lines = [line for line in GOOD.splitlines() if not line.startswith("medication")]
    with pytest.raises(CaseError, match=r"facts\.medication: is missing"):
        parse_case("\n".join(lines), "gout-toe.toml")


def test_two_files_with_one_case_id_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "b.toml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(CaseError, match=r"b\.toml: case_id"):
        CaseLibrary.load(tmp_path)


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError):
        CaseLibrary.load(tmp_path)
