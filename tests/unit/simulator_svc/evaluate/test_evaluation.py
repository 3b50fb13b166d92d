"""An evaluation accounts for every consultation, measures what was said, and tells a persona from the replies alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from rich.console import Console

from service_kit.errors import InvalidArgument, Unavailable
from simulator_svc.cases.library import BUILT_IN, CaseLibrary
from simulator_svc.cases.model import Case
from simulator_svc.dialogue import Ending, ReplySource, Turn
from simulator_svc.evaluate.case_source import load_cases
from simulator_svc.evaluate.choices import Unit
from simulator_svc.evaluate.conditions import patient_without
from simulator_svc.evaluate.doctors.base import Question, Script
from simulator_svc.evaluate.engagements import scripted
from simulator_svc.evaluate.measure import measure, score
from simulator_svc.evaluate.patients import Reply
from simulator_svc.evaluate.play import Engagement, play
from simulator_svc.evaluate.report import as_json, axes_table, table
from simulator_svc.evaluate.scorers.personification import LEAST_SESSIONS, Session, personification
from simulator_svc.patient import PatientSettings
from simulator_svc.personas.model import Persona

MIGRAINE = CaseLibrary.load().get("migraine-aura")
SITE = "It is on the left, around my eye and temple."


class Parrot:
    """Says its lines one after the other; an error among them is raised, an ending goes with its words."""

    def __init__(self, *lines: str | Exception | tuple[str, Ending]) -> None:
        self._lines = iter(lines)

    async def open(self, case: Case, persona: Persona, seed: int) -> Reply:
        return Reply("I keep getting terrible headaches.", None, ReplySource.COMPOSED, 0, 0.1)

    async def respond(self, case: Case, persona: Persona, seed: int, dialogue: Sequence[Turn]) -> Reply:
        line = next(self._lines)
        if isinstance(line, Exception):
            raise line
        text, ending = line if isinstance(line, tuple) else (line, None)
        return Reply(text, ending, ReplySource.MODEL, 1, 0.2)


def meeting(*turns: Question, kind: str = "scripted") -> Engagement:
    return Engagement(MIGRAINE, Persona(), 1, Script(turns), kind)


def calls_for(*facts: str, text: str = "Well?") -> Question:
    return Question(text, frozenset(facts), frozenset(facts))


CLOSING = Question("You have migraine. Take a triptan. Goodbye.", closes=True)


async def test_measures_what_was_answered_leaked_invented_and_named() -> None:
    turns = (calls_for("site"), calls_for("timing"), calls_for(), calls_for(), CLOSING)
    patient = Parrot(
        SITE,
        "I don't know.",
        "I do not smoke.",
        "I have migraine and took some codeine.",
        ("Goodbye.", Ending.FAREWELL),
    )
    measured = measure([score(played) for played in await play(patient, [meeting(*turns)], at_once=1)])
    assert measured.turns == 6 and measured.diagnosis_named == 1
    assert measured.answer_recall.value == 0.5
    assert measured.privacy.value == pytest.approx(5 / 6)  # smoking
    assert measured.fact.value == pytest.approx(5 / 6)  # codeine
    assert measured.ended_in_time.value == 1.0 and measured.ended_early.value == 0.0
    assert measured.rewrites_per_turn.value == pytest.approx(5 / 6)
    assert measured.endings == {"farewell": 1}


async def test_what_was_told_before_may_be_said_again() -> None:
    patient = Parrot(SITE, SITE)
    (played,) = await play(patient, [meeting(calls_for("site"), calls_for("timing"))], at_once=1)
    assert measure([score(played)]).privacy.value == 1.0


async def test_an_ending_before_the_closing_turn_is_early_and_none_at_it_is_never() -> None:
    early = await play(Parrot((SITE, Ending.LOOP)), [meeting(calls_for("site"), CLOSING)], at_once=1)
    never = await play(Parrot(SITE, "All right."), [meeting(calls_for("site"), CLOSING)], at_once=1)
    measured = measure([score(played) for played in (*early, *never)])
    assert measured.ended_early.value == 0.5 and measured.never_ended.value == 0.5


async def test_an_open_question_is_answered_by_one_of_its_facts() -> None:
    question = Question(
        "What medicines?", frozenset({"pill", "ibuprofen"}), frozenset({"pill", "ibuprofen"}), open=True
    )
    (played,) = await play(Parrot("I have been on the combined pill for two years."), [meeting(question)], at_once=1)
    measured = measure([score(played)])
    assert measured.answer_recall.value == 1.0
    assert measured.recall_of_every_fact.value == 0.5


async def test_a_refused_turn_is_counted_and_a_dead_service_breaks_the_consultation_off() -> None:
    patient = Parrot(InvalidArgument("dialogue", "too long"), SITE, Unavailable("simulator", "gone"))
    turns = (calls_for(), calls_for("site"), calls_for("timing"), CLOSING)
    measured = measure([score(played) for played in await play(patient, [meeting(*turns)], at_once=1)])
    assert measured.refused == {"INVALID_ARGUMENT": 1}
    assert list(measured.broken.values()) == [1] and measured.turns == 2
    assert measured.never_ended.value is None


async def test_what_does_not_begin_in_time_is_not_played() -> None:
    assert await play(Parrot(), [meeting()] * 3, at_once=2, until=0.0) == []


async def test_turns_of_the_model_doctor_count_for_fact_and_not_for_privacy() -> None:
    unlabelled = Question("Hello?", may_state=None, about="model")
    (played,) = await play(Parrot("I do not smoke."), [meeting(unlabelled, kind="model")], at_once=1)
    measured = measure([score(played)])
    assert measured.privacy.count == 1  # the opening
    assert measured.fact.count == 2


def sessions(count: int, telling: bool) -> list[Session]:
    random = Random(1)
    found = []
    for number in range(count):
        anxious = random.choice([True, False])
        words = ("I'm so scared, doctor." if anxious else "That is fine.") if telling else random.choice("xyz")
        persona = {"emotional_state": "anxious" if anxious else "calm", "means": random.choice(["low", "high"])}
        found.append(Session(f"case-{number % 10}", persona, [f"My toe hurts. {words}"] * 3))
    return found


def test_a_persona_that_shows_is_recognised_and_one_that_does_not_is_not() -> None:
    shows, hides = personification(sessions(120, True)), personification(sessions(120, False))
    assert shows is not None and hides is not None
    assert (shows.axes["emotional_state"].accuracy.value or 0) > 0.95
    for axis in (shows.axes["means"], hides.axes["emotional_state"]):
        assert axis.accuracy.low is not None and axis.accuracy.low < axis.chance + 0.02
    assert personification(sessions(LEAST_SESSIONS - 1, True)) is None


class Blurting:
    """A model that gives the diagnosis away whenever it is asked for words."""

    async def complete(self, messages: object, **options: object) -> str:
        return " because it is migraine. "

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        raise Unavailable("inference-frozen", "no embeddings here")


@pytest.mark.parametrize(
    ("unit", "named", "ends"),
    [(None, False, True), (Unit.GATE, False, False), (Unit.FACT, True, True), (Unit.MODEL, False, True)],
)
async def test_each_unit_is_missed_where_it_is_switched_off(unit: Unit | None, named: bool, ends: bool) -> None:
    patient = patient_without(unit, Blurting(), PatientSettings(draft_share=10))  # type: ignore[arg-type]
    played = await play(patient, scripted([MIGRAINE], 1, turns=6, each=4), at_once=2)
    measured = measure([score(consultation) for consultation in played])
    assert bool(measured.diagnosis_named) is named
    assert (measured.ended_in_time.value == 1.0) is ends


async def test_without_the_affective_unit_every_persona_speaks_alike() -> None:
    said = []
    for engagement in scripted([MIGRAINE], 1, turns=4, each=2):
        patient = patient_without(Unit.AFFECT, Blurting(), PatientSettings())  # type: ignore[arg-type]
        said.append((await patient.open(MIGRAINE, engagement.persona, 1)).text)
    assert said[0] == said[1]


async def test_reports_as_table_and_json() -> None:
    (played,) = await play(
        Parrot(SITE, ("Goodbye.", Ending.FAREWELL)), [meeting(calls_for("site"), CLOSING)], at_once=1
    )
    measured = {"served": measure([score(played)])}
    console = Console(width=100, record=True)
    console.print(table(measured, "one"), axes_table(measured))
    assert "100.0 % [100.0, 100.0]" in console.export_text()
    assert json.loads(json.dumps(as_json(measured), allow_nan=False))["served"]["turns"] == 3


AGENTCLINIC = Path(__file__).parents[5] / "shared" / "data" / "agentclinic" / "agentclinic_medqa.jsonl"


@pytest.mark.slow  # the importer takes half a minute to begin
@pytest.mark.skipif(not AGENTCLINIC.exists(), reason=f"{AGENTCLINIC.name} is missing")
def test_records_of_others_are_imported_for_the_evaluation() -> None:
    found = load_cases(AGENTCLINIC, 2)
    assert len(found) == 2 and all(case.diagnosis_names and len(case.facts) > 5 for case in found)


def test_cases_come_from_files_directories_and_nowhere_else(tmp_path: Path) -> None:
    assert [case.case_id for case in load_cases(BUILT_IN / "migraine-aura.toml")] == ["migraine-aura"]
    assert len(load_cases(BUILT_IN)) == len(load_cases(None))
    (tmp_path / "notes.jsonl").write_text('{"nothing": 1}\n', encoding="utf-8")
    for wrong in (tmp_path / "notes.jsonl", tmp_path / "absent.toml", tmp_path / "empty"):
        with pytest.raises(InvalidArgument):
            load_cases(wrong)
