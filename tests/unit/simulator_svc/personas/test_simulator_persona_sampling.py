"""Personas fit the age of the one who speaks, and a stratified set is level where chance would not be."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from simulator_svc.cases.coverage import BANDS
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.personas.backgrounds import backgrounds
from simulator_svc.personas.model import EmotionalState, Level, Personality
from simulator_svc.personas.sample import sample_persona, speaker_age
from simulator_svc.personas.stratify import strata, stratified

CASES = CaseLibrary.load().list()


def test_the_same_seed_gives_the_same_persona_and_seeds_differ() -> None:
    assert sample_persona(7) == sample_persona(7)
    assert sample_persona(7, 40) == sample_persona(7, 40)
    personas = [sample_persona(seed) for seed in range(400)]
    assert {persona.personality for persona in personas} == set(Personality)
    assert {persona.emotional_state for persona in personas} == set(EmotionalState)
    for levels in ("means", "education", "health_literacy"):
        assert {getattr(persona, levels) for persona in personas} == set(Level)


def test_every_age_has_somebody_to_be() -> None:
    for age in range(backgrounds().speaks_from_age, 111):
        assert backgrounds().at_age(age), age


@pytest.mark.parametrize(
    ("age", "never"),
    [
        (12, {"lawyer", "university lecturer", "homemaker", "retired teacher", "cook"}),
        (19, {"lawyer", "university lecturer", "retired teacher"}),
        (40, {"pupil", "retired teacher", "university student"}),
        (88, {"lawyer", "pupil", "builder", "university lecturer", "nurse"}),
    ],
)
def test_nobody_works_at_an_age_at_which_nobody_does(age: int, never: set[str]) -> None:
    assert not never & {sample_persona(seed, age).occupation for seed in range(300)}


def test_a_small_child_is_spoken_for_by_a_parent() -> None:
    assert all(20 <= speaker_age(3, Random(seed)) <= 50 for seed in range(50))
    assert speaker_age(12, Random(1)) == 12
    assert "pupil" not in {sample_persona(seed, 3).occupation for seed in range(200)}


def test_a_stratified_set_plays_every_case_before_one_again_and_meets_each_type_equally() -> None:
    draws = stratified(CASES, 2 * len(CASES), seed=3)
    assert set(Counter(draw.case.case_id for draw in draws).values()) == {2}
    for start in range(0, len(draws) - 15, 16):
        assert {draw.persona.personality for draw in draws[start : start + 16]} == set(Personality)
    assert draws == stratified(CASES, 2 * len(CASES), seed=3)
    assert draws != stratified(CASES, 2 * len(CASES), seed=4)


def test_a_small_set_has_more_strata_than_one_by_chance() -> None:
    def spread(seed: int, fair: bool) -> int:
        drawn = [draw.case for draw in stratified(CASES, 12, seed)] if fair else Random(seed).sample(CASES, 12)
        return len({(name, level) for case in drawn for name, level in strata(case).items()})

    by_chance = sum(spread(seed, False) for seed in range(20))
    assert sum(spread(seed, True) for seed in range(20)) > by_chance + 20


def test_traits_are_level_in_a_stratified_set() -> None:
    draws = stratified(CASES, 60, seed=1)
    for trait, levels in (("emotional_state", 5), ("health_literacy", 3), ("education", 3), ("means", 3)):
        counted = Counter(getattr(draw.persona, trait) for draw in draws)
        assert len(counted) == levels
        assert min(counted.values()) >= 0.6 * 60 / levels, (trait, counted)


def test_a_stratum_is_told_by_age_and_comorbidity() -> None:
    assert {strata(case)["age"] for case in CASES} == set(BANDS)
    assert {strata(case)["comorbidity"] for case in CASES} == {"yes", "no"}
    with pytest.raises(ValueError, match="no case"):
        stratified([], 1, 1)


@pytest.mark.parametrize(("words_per_turn", "letters"), [(4.0, {"i"}), (11.0, {"e", "i"}), (20.0, {"e"})])
def test_a_recorded_patient_is_played_as_talkative_as_it_was(words_per_turn: float, letters: set[str]) -> None:
    personas = [sample_persona(seed, 40, words_per_turn) for seed in range(100)]
    assert {persona.personality[0] for persona in personas} == letters
