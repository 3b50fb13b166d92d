"""Each matcher on the examples of matcher_examples.toml: what shows it, what denies it, what only looks like it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from rubric_svc.judge.evidence import Evidence
from rubric_svc.judge.labelled import read
from rubric_svc.judge.matchers import MATCHERS, WrongTerms
from rubric_svc.judge.verifiable import find, validate, verdict
from rubric_svc.model import Check, Criterion, Outcome, Scope, Speaker, Turn
from tests.benchmarks.rubric import matchers

_TABLES: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "matcher_examples.toml").read_text(encoding="utf-8")
)["matcher"]
_EXAMPLES = [
    pytest.param(table, text, expected, id=f"{table['name']}-{'yes' if expected else 'no'}-{text[:40]}")
    for table in _TABLES
    for expected, texts in ((True, table["yes"]), (False, table["no"]))
    for text in texts
]


def _dialogue(*texts: str) -> tuple[Turn, ...]:
    """Patient and doctor by turns, the doctor last."""
    speakers = (Speaker.PATIENT, Speaker.DOCTOR)
    return tuple(Turn(speakers[index % 2], text) for index, text in enumerate(texts))


@pytest.mark.parametrize(("table", "text", "expected"), _EXAMPLES)
def test_matcher_finds_what_it_names_and_nothing_else(table: dict[str, Any], text: str, expected: bool) -> None:
    dialogue = _dialogue(*table.get("before", ["Good morning."]), text)
    found = find(Check(table["name"], tuple(table.get("terms", ()))), Evidence.of(dialogue, Scope.LAST_DOCTOR_TURN))
    assert bool(found) is expected, [span.of(turn.text) for turn, span in found]


def test_every_matcher_has_at_least_six_examples_of_each_kind() -> None:
    for name in MATCHERS:
        tables = [table for table in _TABLES if table["name"] == name]
        assert tables, name
        assert all(len(table["yes"]) >= 6 and len(table["no"]) >= 6 for table in tables), name


def test_a_verdict_quotes_the_words_that_it_rests_on() -> None:
    criterion = Criterion("c", "Asks about onset.", 3, check=Check("asked_about", ("@onset",)))
    dialogue = _dialogue("My head hurts.", "I\u2019m sorry. When did the pain start? Rest a little.")
    given = verdict(criterion, Evidence.of(dialogue, Scope.LAST_DOCTOR_TURN))
    assert given.outcome is Outcome.MET
    assert given.explanation == 'turn 1: "When did the pain start"'


def test_a_whole_dialogue_needs_the_share_of_turns_that_the_terms_say() -> None:
    criterion = Criterion("c", "x", 3, check=Check("empathy", ("share=0.6",)))
    calm, kind = "When did it start?", "I'm sorry to hear that."
    once = _dialogue("a", kind, "b", calm, "c", calm)
    twice = _dialogue("a", kind, "b", calm, "c", kind)
    assert verdict(criterion, Evidence.of(once, Scope.WHOLE_DIALOGUE)).outcome is Outcome.NOT_MET
    assert verdict(criterion, Evidence.of(twice, Scope.WHOLE_DIALOGUE)).outcome is Outcome.MET


@pytest.mark.parametrize(
    "check",
    [Check("telepathy"), Check("asked_about"), Check("asked_about", ("@nothing",)), Check("empathy", ("min=2",))],
)
def test_a_matcher_that_does_not_exist_or_cannot_read_its_terms_is_refused(check: Check) -> None:
    with pytest.raises(WrongTerms):
        validate(check)


def test_lines_written_in_the_patients_name_earn_nothing() -> None:
    dialogue = _dialogue("My head hurts.", "I see.\nPatient: When did it start? I'm sorry to hear that.")
    evidence = Evidence.of(dialogue, Scope.LAST_DOCTOR_TURN)
    assert not find(Check("asked_about", ("@onset",)), evidence)
    assert not find(Check("empathy"), evidence)
    assert find(Check("role_inversion"), evidence)


def test_verdicts_keep_what_they_reached_beside_two_peoples_labels() -> None:
    """On the part that may be looked at; `make bench-rubric` prints the held-out one."""
    measured = matchers.measured(matchers.split(read(matchers.FILE))["development"])
    assert measured.pairs > 300 and measured.label_agreement > 95
    assert measured.precision >= 0.95 and measured.recall >= 0.84
