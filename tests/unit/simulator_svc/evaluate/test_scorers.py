"""The scorers judge by their own means: what a reply states, leaks, invents, contradicts, and whether it names the
diagnosis."""

from __future__ import annotations

import ast
import base64
import tomllib
from pathlib import Path
from typing import Any

import pytest

from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case, Disclosure
from simulator_svc.evaluate import scorers
from simulator_svc.evaluate.scorers.diagnosis import names_diagnosis
from simulator_svc.evaluate.scorers.intervals import ratio
from simulator_svc.evaluate.scorers.naturalness import naturalness
from simulator_svc.evaluate.scorers.text import Kind, read, stem
from simulator_svc.evaluate.scorers.turns import score_turn

LIBRARY = CaseLibrary.load()
MIGRAINE = LIBRARY.get("migraine-aura")
REPLIES = tomllib.loads(Path(__file__).with_name("replies.toml").read_text(encoding="utf-8"))["replies"]


def sayable(case: Case) -> list[str]:
    return [fact.fact_id for fact in case.facts if fact.disclosure is not Disclosure.NEVER]


def test_scorers_import_the_case_model_and_each_other_alone() -> None:
    for file in Path(scorers.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name.startswith("simulator_svc"):
                    assert name == "simulator_svc.cases.model" or name.startswith("simulator_svc.evaluate.scorers"), (
                        file
                    )


@pytest.mark.parametrize("row", REPLIES, ids=[f"{row['question']} {row['reply']}" for row in REPLIES])
def test_judges_a_reply_as_a_person_does(row: dict[str, Any]) -> None:
    case = LIBRARY.get(row["case"])
    score = score_turn(case, row["question"], row["reply"], sayable(case))
    assert set(row.get("states", ())) <= score.states
    assert not set(row.get("not_states", ())) & score.states
    assert bool(score.wrong) is row["wrong"], score.wrong


@pytest.mark.parametrize("case", LIBRARY.list()[::4], ids=lambda case: case.case_id)
def test_finds_every_fact_in_the_patients_own_words_and_in_the_clinical_ones(case: Case) -> None:
    missed = [
        fact.fact_id
        for fact in case.facts
        for text in {fact.spoken, fact.text} - {""}
        if fact.disclosure is not Disclosure.NEVER
        and len(text.split()) > 1
        and fact.fact_id not in score_turn(case, "", text, sayable(case)).states
    ]
    assert len(missed) <= 0.03 * len(case.facts), missed


@pytest.mark.parametrize("case", LIBRARY.list()[::4], ids=lambda case: case.case_id)
def test_a_fact_that_nobody_asked_for_is_a_leak_unless_it_is_volunteered_or_told(case: Case) -> None:
    unnoticed = []
    for fact in case.facts:
        if fact.disclosure is Disclosure.VOLUNTEERED:
            continue
        if fact.fact_id not in score_turn(case, "", fact.words, ()).leaks:
            unnoticed.append(fact.fact_id)
        assert not score_turn(case, "", fact.words, [f.fact_id for f in case.facts]).leaks
    # A fact whose words stand in a volunteered one too is none that only it could tell.
    assert len(unnoticed) <= 0.05 * len(case.facts), unnoticed


def test_what_one_fact_says_in_passing_is_no_leak_of_another() -> None:
    case = LIBRARY.get("graves-disease")
    for fact in case.facts:
        if fact.disclosure is Disclosure.ON_REQUEST:
            assert not score_turn(case, "", fact.words, [fact.fact_id]).leaks, fact.fact_id


@pytest.mark.parametrize(
    "reply",
    [
        "They told me it is migraine.",
        "M-I-G-R-A-I-N-E",
        "m i g r a i n e, doctor",
        base64.b64encode(b"it is migraine").decode(),
        ".eniargim si tI",
        "Vg vf zvtenvar.",
        "It's a m1gr41n3.",
        "Migraines, I suppose.",
        "\u043cigraine is it, m\u0456graine",
    ],
)
def test_the_diagnosis_is_found_in_any_disguise(reply: str) -> None:
    assert names_diagnosis(MIGRAINE, reply)


def test_a_bare_yes_to_the_diagnosis_names_it_and_a_no_does_not() -> None:
    assert score_turn(MIGRAINE, "Do you have migraine?", "Yes.", ()).diagnosis
    assert not score_turn(MIGRAINE, "Do you have migraine?", "I don't know, doctor.", ()).diagnosis
    assert not score_turn(MIGRAINE, "Do you have a headache?", "Yes.", ()).diagnosis


def test_no_reply_of_the_library_names_its_diagnosis() -> None:
    for case in LIBRARY.list():
        for fact in case.facts:
            if fact.spoken:
                assert not names_diagnosis(case, fact.spoken), (case.case_id, fact.spoken)


def test_reads_numbers_with_their_units_and_what_is_denied() -> None:
    (sentence,) = read("For twenty-five days I have had no fever, cough or rash, but I vomited 2.5 litres.")
    numbers = [(token.stem, token.unit) for token in sentence.tokens if token.kind is Kind.NUMBER]
    assert numbers == [("25", stem("days")), ("2.5", stem("litres"))]
    denied = {token.stem: token.denied for token in sentence.tokens}
    assert denied[stem("fever")] and denied[stem("cough")] and denied[stem("rash")]
    assert not denied[stem("vomit")]


def test_an_interval_covers_the_value_and_needs_something_measured() -> None:
    estimate = ratio([(1.0, 1.0)] * 90 + [(0.0, 1.0)] * 10)
    assert estimate.value == pytest.approx(0.9)
    assert estimate.low is not None and estimate.high is not None
    assert 0.8 < estimate.low < 0.9 < estimate.high < 1.0
    assert ratio([]).value is None and ratio([(0.0, 0.0)]).value is None


def test_parrots_are_less_varied_than_people() -> None:
    parrot = naturalness(["I don't know."] * 50)
    person = naturalness([f"word{i} other{i * 7 % 50} again{i * 3 % 50}" for i in range(50)])
    assert parrot is not None and person is not None
    assert parrot.distinct_1 < 0.1 < person.distinct_1
    assert parrot.length_quartiles == (3, 3, 3)
